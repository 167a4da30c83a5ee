//! Time: since start-up, and since 1970.
//!
//! * [`uptime`]: the clock that all deadlines are on. It never goes back, whichever
//!   processors are asked in turn.
//! * [`since_epoch`]: the same clock, from where the battery-backed one stood at
//!   start-up.
//! * `calendar`: what a battery-backed clock says, and what that means.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

pub(crate) mod calendar;

pub use crate::arch::timer::uptime;

/// Nanoseconds from 1970 to start-up; zero where nobody knows.
static START_NS: AtomicU64 = AtomicU64::new(0);

/// Returns the time since 1970, in UTC, as of the battery-backed clock at start-up. On a
/// machine without one, start-up was in 1970.
pub fn since_epoch() -> Duration {
    // Relaxed: written at start-up by the only processor.
    let start = Duration::from_nanos(START_NS.load(Ordering::Relaxed));
    start.saturating_add(uptime())
}

/// Says what the time since 1970 is at this moment; at start-up.
pub(crate) fn set_since_epoch(now: Duration) {
    let start = now.saturating_sub(uptime());
    let start_ns = u64::try_from(start.as_nanos()).unwrap_or(0);
    // Relaxed: as above.
    START_NS.store(start_ns, Ordering::Relaxed);
}
