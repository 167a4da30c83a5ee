//! Freeing the stacks of tasks that are over, and spaces that nobody uses any more.
//!
//! A task cannot free the stack that it stands on, and whoever runs after it must not
//! wait, as unmapping may. So tasks that are over are put on a list, by whoever ran
//! next on their processor, and a task of its own buries them. So are spaces whose
//! last reference a processor had, which it gives up when it switches tasks.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Once;

use super::list::{RUN_LINK, TaskList};
use super::{Task, TaskOptions, scheduler, stack_cache};
use crate::mm::VmSpace;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Rank, SpinLock};

static DEAD: SpinLock<TaskList<RUN_LINK>> = SpinLock::ranked(TaskList::new(), Rank::Dead);
static DEAD_SPACES: SpinLock<Vec<VmSpace>> = SpinLock::ranked(Vec::new(), Rank::Dead);
static REAPER: Once<Arc<Task>> = Once::new();
/// Tasks and spaces that are over and not buried yet.
static NR_DEAD: AtomicUsize = AtomicUsize::new(0);

/// Starts the reaper.
///
/// # Panics
///
/// Panics when there is no memory for it.
pub(super) fn start() {
    let reaper = TaskOptions::new(reap).name("reaper").spawn();
    let reaper = reaper.expect("the machine has too little memory for the reaper");
    REAPER.call_once(|| reaper);
}

/// Has a task buried that is over. Interrupts are off.
pub(super) fn bury(task: Arc<Task>) {
    // Relaxed: a count.
    NR_DEAD.fetch_add(1, Ordering::Relaxed);
    DEAD.lock().push(task);
    wake();
}

/// Gives a reference to a space up, and has the space buried if it was the last.
/// Interrupts are off.
pub(super) fn give_up(space: Arc<VmSpace>) {
    let Some(space) = Arc::into_inner(space) else {
        return;
    };
    let mut spaces = DEAD_SPACES.lock();
    // Without memory for it, whoever switches tasks takes the time.
    if spaces.try_reserve(1).is_ok() {
        // Relaxed: a count.
        NR_DEAD.fetch_add(1, Ordering::Relaxed);
        spaces.push(space);
        drop(spaces);
        wake();
    }
}

fn wake() {
    if let Some(reaper) = REAPER.get() {
        reaper.unpark();
    }
}

/// Waits until every task and space that is over is buried, and what it had is free.
///
/// # Panics
///
/// Panics in atomic mode.
pub fn settle() {
    // Acquire: what they had is free.
    while NR_DEAD.load(Ordering::Acquire) > 0 {
        Task::yield_now();
    }
}

/// What the reaper does.
fn reap() {
    loop {
        let dead = DEAD.lock().pop();
        let space = DEAD_SPACES.lock().pop();
        if dead.is_none() && space.is_none() {
            scheduler::park();
        }
        if let Some(task) = dead {
            finish(task);
        }
        if let Some(space) = space {
            drop(space);
            // Release: pairs with the Acquire of `settle`.
            NR_DEAD.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Frees what a task has, and says that it is over.
fn finish(task: Arc<Task>) {
    let stack = task.stack.lock().take();
    if let Some(stack) = stack {
        stack_cache::give(stack);
    }
    // Release: what the task has done, and that its stack is free, is seen.
    task.is_reaped.store(true, Ordering::Release);
    task.joiners.wake_all();
    // SAFETY: The task held itself since it was started, and is over now.
    unsafe { Arc::decrement_strong_count(Arc::as_ptr(&task)) };
    drop(task);
    scheduler::count_live(false);
    // Release: pairs with the Acquire of `settle`.
    NR_DEAD.fetch_sub(1, Ordering::Release);
}
