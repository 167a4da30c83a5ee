//! Tasks of the simulated machine: each processor has one, which is the thread that
//! plays it. Parked, it lets the other threads go on until it is woken.

use alloc::sync::Arc;

use super::interleave::{switch, wait};
use super::machine;
use crate::cpu::may_switch;
use crate::mm::VmSpace;
use crate::task::{Task, Timers};

/// Returns the task that asks.
pub(crate) fn current() -> Option<Arc<Task>> {
    machine::current().tasks.current().cloned()
}

/// Has a task that is awake run: it finds that out by itself, and may be asleep again
/// by now.
pub(crate) fn make_ready(_task: Arc<Task>) {}

/// Has the current task sleep, unless there is a token for it. It may wake without
/// reason.
///
/// # Panics
///
/// Panics in atomic mode.
pub(crate) fn park() {
    assert!(may_switch(), "a task sleeps in atomic mode");
    let Some(task) = machine::current().tasks.current() else {
        return;
    };
    if task.state.begin_park() && task.state.finish_park() {
        while task.state.is_parked() {
            wait();
        }
    }
    task.state.take_token();
}

/// Lets other tasks go on.
///
/// # Panics
///
/// Panics in atomic mode.
pub(crate) fn yield_now() {
    assert!(may_switch(), "a task yields in atomic mode");
    wait();
}

/// Lets another task go on if that is due.
pub(crate) fn reschedule() {
    switch();
}

/// Returns the timers of this processor.
pub(crate) fn timers() -> &'static Timers {
    &machine::current().tasks.timers
}

/// Makes a space that of the current task, in atomic mode; gives the one before up.
pub(crate) fn set_space(space: Option<Arc<VmSpace>>) {
    if let Some(task) = machine::current().tasks.current() {
        drop(task.replace_space(space));
    }
}
