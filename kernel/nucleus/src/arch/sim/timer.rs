//! Time of a simulated machine: it stands still but for [`Machine::pass_time`].

use core::sync::atomic::Ordering;
use core::time::Duration;

use super::interleave::switch;
use super::machine::{self, Machine};

/// Returns the time since start-up; zero outside of machines.
pub fn uptime() -> Duration {
    switch();
    let cpu = machine::CURRENT.get();
    if cpu.is_null() {
        return Duration::ZERO;
    }
    let clock = &machine::current().machine().clock_ns;
    // Relaxed: a clock orders nothing.
    Duration::from_nanos(clock.load(Ordering::Relaxed))
}

/// Returns a count that goes up with time, and is never zero: nanoseconds, and one.
pub(crate) fn cycles() -> u64 {
    let cpu = machine::CURRENT.get();
    if cpu.is_null() {
        return 1;
    }
    // Relaxed: as above.
    machine::current()
        .machine()
        .clock_ns
        .load(Ordering::Relaxed)
        .saturating_add(1)
}

/// Returns how long so many cycles take, which a bare machine may not know.
pub(crate) fn time_of(cycles: u64) -> Option<Duration> {
    Some(Duration::from_nanos(cycles))
}

/// Returns the time since start-up at such a count.
pub(crate) fn uptime_at(cycles: u64) -> Option<Duration> {
    time_of(cycles.saturating_sub(1))
}

impl Machine {
    /// Lets time pass, and then has each processor tick once; as one of them.
    pub fn pass_time(&self, time: Duration) {
        let state = self.state();
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        switch();
        // Relaxed: as above.
        state.clock_ns.fetch_add(time_ns, Ordering::Relaxed);
        let now = uptime();
        for cpu in &state.cpus {
            cpu.tasks.timers.expire(now);
        }
    }
}
