//! Counting what tasks use, on the processors that run them; and the load.

use super::cpu_tasks::CpuTasks;
use super::usage::{CpuTimes, Origin, Switches};
use super::{Task, scheduler};
use crate::arch::cpu;
use crate::arch::x86_64::timer;
use crate::cpu::CpuSet;
use crate::irq;

/// Gives the current task of this processor what has passed since this was done last;
/// returns the count of cycles. Interrupts are off.
pub(super) fn settle(here: &CpuTasks) -> u64 {
    let now = timer::cycles();
    let before = here.settled_at.replace(now);
    if let Some(current) = here.current() {
        current.usage.add_cycles(now.saturating_sub(before));
    }
    now
}

/// Counts a tick that interrupted the current task.
pub(super) fn on_tick(here: &CpuTasks, origin: Origin) {
    settle(here);
    if let Some(current) = here.current() {
        current.usage.add_tick(origin);
    }
}

impl Task {
    /// Returns how long the task has run. What one that runs on another processor has
    /// used since the last tick there is not counted yet.
    ///
    /// The sum is exact, as far as the processors' clocks are. Its parts are as ticks
    /// have found the task; neither of them ever goes back.
    pub fn cpu_times(&self) -> CpuTimes {
        {
            let _irq_off = irq::disable_local();
            let here = cpu::tasks();
            if here
                .current()
                .is_some_and(|task| core::ptr::eq(&raw const **task, self))
            {
                settle(here);
            }
        }
        self.usage.times(timer::time_of, timer::TICK)
    }

    /// Returns how long the task has run, in both rings: as [`Self::cpu_times`].
    pub fn cpu_time(&self) -> core::time::Duration {
        self.cpu_times().total()
    }

    /// Returns how often the task has left its processor for another one.
    pub fn switches(&self) -> Switches {
        self.usage.switches()
    }
}

/// Returns how many tasks run, or are ready to: those of the kernel as well, but not
/// the processors' own. A moment's figure.
pub fn nr_runnable() -> usize {
    let load = |cpu| cpu::tasks_of(cpu).load();
    CpuSet::new_full().iter().map(load).sum()
}

/// Returns how many tasks there are that were started and are not over.
pub fn nr_tasks() -> usize {
    scheduler::nr_live()
}
