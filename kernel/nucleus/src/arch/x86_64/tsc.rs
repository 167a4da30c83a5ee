//! Do the processors' time-stamp counters agree?
//!
//! On most machines they started together and count together. Each processor that starts
//! compares its counter with the boot processor's: both read theirs again and again, and
//! look whether a count that the other one has read *before* is larger. If so, the
//! counters are apart, and from then on nobody says a time that is before what somebody
//! else has said: that costs a word that all processors write, and so is done only then.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Readings with which a processor compares its counter; some tens of microseconds.
pub(super) const ROUNDS: usize = 500;

/// The largest count that somebody has read, in comparisons, and then for time.
static LATEST: AtomicU64 = AtomicU64::new(0);
/// A processor is behind another one.
static ARE_APART: AtomicBool = AtomicBool::new(false);

/// Compares this processor's counter with those of the processors that do the same, once.
pub(super) fn compare() {
    // Acquire: whoever has read this has read it before.
    let latest = LATEST.load(Ordering::Acquire);
    let here = read_in_order();
    if here < latest {
        // Relaxed: it stays so; a clock that does not know yet is not asked much.
        ARE_APART.store(true, Ordering::Relaxed);
    }
    // AcqRel: the counter was read before.
    LATEST.fetch_max(here, Ordering::AcqRel);
}

/// Returns whether the counters are known to disagree.
pub(super) fn are_apart() -> bool {
    // Relaxed: as above.
    ARE_APART.load(Ordering::Relaxed)
}

/// Returns a count that is no less than any that was returned before, on whichever
/// processor.
pub(super) fn read_monotonic() -> u64 {
    let here = read_in_order();
    if !are_apart() {
        return here;
    }
    // AcqRel: as in `compare`.
    LATEST.fetch_max(here, Ordering::AcqRel).max(here)
}

/// Reads the counter, not before what comes before it is done (SDM vol. 2B, RDTSC).
fn read_in_order() -> u64 {
    // SAFETY: The instruction waits, and changes nothing.
    unsafe { core::arch::asm!("lfence", options(nostack, preserves_flags)) };
    // SAFETY: Every 64-bit processor has the counter.
    unsafe { _rdtsc() }
}

#[cfg(ktest)]
mod tests {
    use super::{ARE_APART, LATEST, Ordering, read_in_order, read_monotonic};
    use crate::prelude::*;

    #[ktest]
    fn peer_108_time_does_not_go_back_where_counters_are_apart() {
        let before = (
            ARE_APART.swap(true, Ordering::Relaxed),
            LATEST.load(Ordering::Relaxed),
        );
        // As if another processor were ahead, by less than what a test may take.
        let ahead = read_in_order() + 1000;
        LATEST.fetch_max(ahead, Ordering::Relaxed);
        let counts = [(); 100].map(|()| read_monotonic());
        ARE_APART.store(before.0, Ordering::Relaxed);
        LATEST.store(before.1, Ordering::Relaxed);
        assert!(counts[0] >= ahead && counts.is_sorted());
    }
}
