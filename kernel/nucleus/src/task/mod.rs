//! Tasks: threads of the kernel, and which of them runs where.
//!
//! * [`Task`], [`TaskOptions`]: a task, and how one is made.
//! * `state`: what a task may be, and how it becomes something else.
//! * `roll`: all tasks, for the debug menu.
//! * `list`: lists that tasks are linked into without allocating.
//! * `run_queue`: a processor's ready tasks, where new ones go, who takes whose.
//! * `timers`: tasks that want to be woken at some time.
//! * `cpu_tasks`: what each processor has of all that.
//! * `scheduler`: leaving a task for another one.
//! * `affinity`: changing where a task may run.
//! * `usage`, `times`: what a task has used, and counting it.
//! * `idle`: a processor that has nothing to do.
//! * `stack_cache`: stacks at hand.
//! * `reaper`: freeing the stacks of tasks that are over.
//! * `test_task`: a test, which can be abandoned.
//!
//! **Preemption.** A task leaves its processor where it asks to, and at the end of
//! any interrupt that says so, unless the task is in [atomic mode](crate::cpu). So
//! whoever uses what belongs to the processor must be in atomic mode, or have
//! interrupts off.
//!
//! **The switch.** Tasks are switched with interrupts off, and with no guard alive
//! on the processor: neither its counters nor its locks change hands. A task whose
//! registers are not saved yet is in no queue: it is put there, or buried, by the
//! task that runs next, as the first thing that it does. So a task that is found in
//! a queue can be run by whoever finds it.

mod cpu_tasks;
mod list;
mod record;
pub(crate) mod roll;
mod run_queue;
mod state;
mod timers;
mod usage;

pub(crate) use self::cpu_tasks::CpuTasks;
pub(crate) use self::list::{TaskList, WAIT_LINK};
pub use self::record::Task;
pub(crate) use self::timers::Timers;
pub use self::usage::{CpuTimes, Switches};

// ---- From here on, the bare machine alone. ----

#[cfg(target_os = "none")]
mod affinity;
#[cfg(target_os = "none")]
mod idle;
#[cfg(target_os = "none")]
mod options;
#[cfg(ktest)]
mod policy_tests;
#[cfg(target_os = "none")]
mod reaper;
#[cfg(target_os = "none")]
pub(crate) mod scheduler;
#[cfg(target_os = "none")]
pub(crate) mod stack_cache;
#[cfg(target_os = "none")]
mod test_task;
#[cfg(ktest)]
mod tests;
#[cfg(target_os = "none")]
mod times;
#[cfg(ktest)]
mod wait_tests;

#[cfg(target_os = "none")]
pub(crate) use self::idle::{adopt, run_idle};
#[cfg(target_os = "none")]
pub use self::options::TaskOptions;
#[cfg(target_os = "none")]
pub use self::reaper::settle;
#[cfg(ktest)]
pub(crate) use self::test_task::{end_test, prepare_tests, run_test, test_stack};
#[cfg(target_os = "none")]
pub use self::times::{nr_runnable, nr_tasks};
#[cfg(target_os = "none")]
pub(crate) use self::usage::Origin;
#[cfg(target_os = "none")]
pub(crate) use self::{
    scheduler::{on_tick, start},
    test_task::{fault_current_test, is_testing, panic_current_test},
};
