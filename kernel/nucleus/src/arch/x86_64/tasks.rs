//! Tasks on the bare machine: what the locks that sleep need of them.

use alloc::sync::Arc;

use super::cpu;
use crate::cpu::disable_preempt;
use crate::mm::VmSpace;
use crate::task::{Task, scheduler};

pub(crate) use scheduler::{make_ready, park, reschedule, yield_now};

/// Returns the task that asks; nothing before there are tasks.
pub(crate) fn current() -> Option<Arc<Task>> {
    let _stays = disable_preempt();
    cpu::tasks().current().cloned()
}

/// Makes a space that of the current task, in atomic mode; gives the one before up.
pub(crate) fn set_space(space: Option<Arc<VmSpace>>) {
    if let Some(task) = cpu::tasks().current() {
        drop(task.replace_space(space));
    }
}
