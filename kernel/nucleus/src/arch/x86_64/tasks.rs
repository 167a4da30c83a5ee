//! Tasks on the bare machine: what the locks that sleep need of them.

use alloc::sync::Arc;

use super::{cpu, timer};
use crate::cpu::{CpuId, disable_preempt};
use crate::mm::VmSpace;
use crate::task::{Task, Timers, scheduler};

pub(crate) use scheduler::{make_ready, park, reschedule, yield_now};

/// Returns the task that asks; nothing before there are tasks.
pub(crate) fn current() -> Option<Arc<Task>> {
    let _stays = disable_preempt();
    cpu::tasks().current().cloned()
}

/// Returns the timers of this processor, or of one that ticks.
pub(crate) fn timers() -> &'static Timers {
    let stays = disable_preempt();
    let cpu = match timer::is_local() {
        true => CpuId::current(&stays),
        false => CpuId::bsp(),
    };
    &cpu::tasks_of(cpu).timers
}

/// Makes a space that of the current task, in atomic mode; gives the one before up.
pub(crate) fn set_space(space: Option<Arc<VmSpace>>) {
    if let Some(task) = cpu::tasks().current() {
        drop(task.replace_space(space));
    }
}
