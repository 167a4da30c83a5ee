//! Changing where a task may run.
//!
//! The new set is written first, and then the task is looked for, where it may not be
//! any more:
//!
//! * **It sleeps**: whoever wakes it finds the new set.
//! * **It is ready**, in the queue of such a processor: it is taken out, and put into
//!   another one. If whoever put it there had read the old set and is late, the processor
//!   itself finds that when the task's turn comes, and sends it on.
//! * **It runs** there: the processor is interrupted, and leaves it. If the task is in
//!   [atomic mode](crate::cpu) it goes on until the last guard is dropped. If it was
//!   about to be switched to and not there yet, the next tick sees it.

use alloc::sync::Arc;

use super::{Task, scheduler};
use crate::arch::cpu;
use crate::cpu::{CpuId, CpuSet, disable_preempt};
use crate::error::{Error, Result};

impl Task {
    /// Has the task run on these processors alone from now on. One that runs elsewhere
    /// is moved at once, the current one before this returns, unless the caller is in
    /// atomic mode.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when none of them is one of the machine's.
    pub fn set_affinity(self: &Arc<Self>, cpus: CpuSet) -> Result<()> {
        let all = CpuSet::new_full();
        if cpus.intersection(all).is_empty() {
            return Err(Error::InvalidArgs);
        }
        self.affinity.store(cpus);
        let others = all.iter().filter(|cpu| !cpus.contains(*cpu));
        for other in others {
            if cpu::tasks_of(other).with_queue(|queue| queue.remove(self)) {
                scheduler::make_ready(Arc::clone(self));
                return Ok(());
            }
        }
        self.leave_cpu();
        Ok(())
    }

    /// Has the processor look where the task ran last, if it may not any more.
    fn leave_cpu(&self) {
        let last = self.last_cpu();
        if self.affinity().contains(last) || !self.state.is_awake() {
            return;
        }
        // When the guard is dropped, the current task leaves, if it was that.
        let stays = disable_preempt();
        if CpuId::current(&stays) == last {
            cpu::request_reschedule();
        } else {
            cpu::interrupt_to_reschedule(last);
        }
    }
}
