//! What a task has used: time of processors, and turns.
//!
//! **Time** is counted in cycles of the processors' counters, exactly: whoever switches
//! tasks gives the one that is left what has passed since it was switched to. How much
//! of that was in ring 3 is *sampled*, since reading the counter on each way into ring 3
//! and back would cost every system call: each tick notes where it found the task, and
//! the exact sum is split in that proportion. Neither part ever goes back: what was said
//! once is kept, and the other part gives way.
//!
//! All words but those of the last answer are written by the processor that runs the
//! task, in atomic mode or with interrupts off, and read by anybody.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::sync::SpinLock;

/// Where an interrupt found a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In ring 3.
    User,
    /// In the kernel.
    Kernel,
}

/// Time that a task has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In ring 3.
    pub user: Duration,
    /// In the kernel.
    pub kernel: Duration,
}

/// How often a task has left its processor for another task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// To sleep.
    pub voluntary: u64,
    /// Though it could have gone on; when it yielded, too.
    pub involuntary: u64,
}

/// What a task has used.
#[derive(Debug)]
pub(crate) struct Usage {
    cycles: AtomicU64,
    user_ticks: AtomicU64,
    kernel_ticks: AtomicU64,
    voluntary: AtomicU64,
    involuntary: AtomicU64,
    /// The last answer, which the next ones do not go behind.
    answer: SpinLock<CpuTimes>,
}

/// Adds to a word that one processor at a time writes.
fn add(word: &AtomicU64, more: u64) {
    // Relaxed, both: a count; whoever writes it next comes after a switch.
    let count = word.load(Ordering::Relaxed);
    word.store(count.wrapping_add(more), Ordering::Relaxed);
}

impl Usage {
    pub(super) const fn new() -> Self {
        Self {
            cycles: AtomicU64::new(0),
            user_ticks: AtomicU64::new(0),
            kernel_ticks: AtomicU64::new(0),
            voluntary: AtomicU64::new(0),
            involuntary: AtomicU64::new(0),
            answer: SpinLock::new(CpuTimes {
                user: Duration::ZERO,
                kernel: Duration::ZERO,
            }),
        }
    }

    /// Adds cycles.
    pub(super) fn add_cycles(&self, cycles: u64) {
        add(&self.cycles, cycles);
    }

    /// Counts a tick that found the task running.
    pub(super) fn add_tick(&self, origin: Origin) {
        match origin {
            Origin::User => add(&self.user_ticks, 1),
            Origin::Kernel => add(&self.kernel_ticks, 1),
        }
    }

    /// Counts a switch away from the task.
    pub(super) fn add_switch(&self, is_sleep: bool) {
        match is_sleep {
            true => add(&self.voluntary, 1),
            false => add(&self.involuntary, 1),
        }
    }

    /// Returns how many cycles were added.
    pub(super) fn cycles(&self) -> u64 {
        // Relaxed: a count.
        self.cycles.load(Ordering::Relaxed)
    }

    /// Returns how often the task has left its processor.
    pub(super) fn switches(&self) -> Switches {
        // Relaxed, both: counts.
        Switches {
            voluntary: self.voluntary.load(Ordering::Relaxed),
            involuntary: self.involuntary.load(Ordering::Relaxed),
        }
    }

    /// Returns how long the task has run: by the cycles, if they mean something, and
    /// else by the ticks, each of which stands for `tick`.
    pub(super) fn times(
        &self,
        time_of: impl FnOnce(u64) -> Option<Duration>,
        tick: Duration,
    ) -> CpuTimes {
        // Relaxed: counts.
        let user_ticks = self.user_ticks.load(Ordering::Relaxed);
        let kernel_ticks = self.kernel_ticks.load(Ordering::Relaxed);
        let ticks = user_ticks.saturating_add(kernel_ticks);
        let by_ticks = || tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        let total = time_of(self.cycles.load(Ordering::Relaxed)).unwrap_or_else(by_ticks);
        let mut answer = self.answer.lock();
        *answer = answer.advanced(total, share(total, user_ticks, ticks));
        *answer
    }
}

/// Returns so many of so many parts of a time; nothing of no parts.
fn share(time: Duration, parts: u64, of: u64) -> Duration {
    let nanos = time.as_nanos().saturating_mul(u128::from(parts));
    let nanos = nanos.checked_div(u128::from(of)).unwrap_or(0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl CpuTimes {
    /// Returns both together.
    pub fn total(&self) -> Duration {
        self.user.saturating_add(self.kernel)
    }

    /// Returns the times with a new sum, of which `user` was in ring 3 if that lets
    /// neither of them go back.
    fn advanced(self, total: Duration, user: Duration) -> Self {
        let total = total.max(self.total());
        let most = total.saturating_sub(self.kernel);
        let user = user.clamp(self.user, most);
        Self {
            user,
            kernel: total.saturating_sub(user),
        }
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{CpuTimes, Duration, Origin, Switches, Usage};
    use crate::prelude::*;

    const TICK: Duration = Duration::from_millis(10);

    fn ms(user: u64, kernel: u64) -> CpuTimes {
        CpuTimes {
            user: Duration::from_millis(user),
            kernel: Duration::from_millis(kernel),
        }
    }

    /// A cycle takes a millisecond.
    fn times(usage: &Usage) -> CpuTimes {
        usage.times(|cycles| Some(Duration::from_millis(cycles)), TICK)
    }

    #[ktest]
    fn exact_time_is_split_as_ticks_found_the_task() {
        let usage = Usage::new();
        usage.add_cycles(40);
        assert_eq!(times(&usage), ms(0, 40), "no tick has found it");
        let usage = Usage::new();
        usage.add_cycles(40);
        for origin in [Origin::User, Origin::User, Origin::Kernel, Origin::User] {
            usage.add_tick(origin);
        }
        assert_eq!(times(&usage), ms(30, 10));
        assert_eq!(times(&usage).total(), Duration::from_millis(40));
    }

    #[ktest]
    fn neither_part_of_the_time_goes_back() {
        let usage = Usage::new();
        usage.add_cycles(100);
        usage.add_tick(Origin::User);
        assert_eq!(times(&usage), ms(100, 0));
        // Two thirds in the kernel, as it seems now; that much has not passed.
        usage.add_tick(Origin::Kernel);
        usage.add_tick(Origin::Kernel);
        usage.add_cycles(20);
        assert_eq!(times(&usage), ms(100, 20));
        usage.add_cycles(240);
        assert_eq!(times(&usage), ms(120, 240));
    }

    #[ktest]
    fn peer_108_time_of_a_task_is_counted_in_ticks_where_cycles_mean_nothing() {
        let usage = Usage::new();
        usage.add_cycles(1 << 60);
        usage.add_tick(Origin::User);
        usage.add_tick(Origin::Kernel);
        assert_eq!(usage.times(|_| None, TICK), ms(10, 10));
    }

    #[ktest]
    fn switches_are_voluntary_if_the_task_sleeps() {
        let usage = Usage::new();
        [true, false, true]
            .into_iter()
            .for_each(|is_sleep| usage.add_switch(is_sleep));
        let expected = Switches {
            voluntary: 2,
            involuntary: 1,
        };
        assert_eq!(usage.switches(), expected);
    }
}
