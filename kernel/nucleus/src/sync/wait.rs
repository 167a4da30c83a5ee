//! Waiting for something that another task brings about.
//!
//! Whoever waits *gets into the queue, looks again, and then sleeps*; whoever brings
//! about what is waited for *does that, and then wakes one out of the queue*. Queues
//! are behind locks, so either the waker finds the sleeper, or the sleeper, which looks
//! after it is in the queue, finds what it waits for. And a wake-up between the look
//! and the sleep is kept by the [task itself](crate::task), which then does not sleep.
//!
//! A wake-up is for somebody: a task that got what it wanted and was woken for it
//! all the same passes the wake-up on. Tasks are woken in the order in which they began
//! to sleep.

use alloc::sync::Arc;

use super::{Rank, SpinLock};
use crate::arch::tasks;
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::Ordering;
use crate::task::{Task, TaskList, WAIT_LINK};

/// Tasks that wait for something.
#[derive(Debug)]
pub struct WaitQueue {
    waiters: SpinLock<TaskList<WAIT_LINK>>,
}

impl WaitQueue {
    /// Returns a queue of nobody.
    pub const fn new() -> Self {
        Self {
            waiters: SpinLock::ranked(TaskList::new(), Rank::Waiters),
        }
    }

    /// Waits until `condition` finds something, and returns that.
    ///
    /// It is asked once at least, and again after each wake-up, so whoever makes it true
    /// has to wake somebody afterwards.
    ///
    /// # Panics
    ///
    /// Panics in atomic mode, and in the absence of tasks, unless the condition is true
    /// at first.
    pub fn wait_until<R>(&self, mut condition: impl FnMut() -> Option<R>) -> R {
        if let Some(result) = condition() {
            return result;
        }
        let Some(task) = tasks::current() else {
            panic!("what waits is no task");
        };
        loop {
            self.enter(&task);
            let found = match is_planted(Bug::LostWakeUp) {
                false => condition(),
                true => None,
            };
            if let Some(result) = found {
                self.leave(&task);
                return result;
            }
            // Acquire: pairs with the Release of the waker.
            while task.is_waiting.load(Ordering::Acquire) {
                tasks::park();
            }
            if let Some(result) = condition() {
                return result;
            }
        }
    }

    /// Wakes the task that has slept longest; returns whether there was one.
    pub fn wake_one(&self) -> bool {
        let first = {
            let mut waiters = self.waiters.lock();
            let first = waiters.pop();
            if let Some(task) = &first {
                // Release: what was brought about is seen by the task.
                task.is_waiting.store(false, Ordering::Release);
            }
            first
        };
        first.inspect(Task::unpark).is_some()
    }

    /// Wakes all tasks that sleep now; returns how many there were.
    pub fn wake_all(&self) -> usize {
        let nr_waiters = self.waiters.lock().len();
        (0..nr_waiters).take_while(|_| self.wake_one()).count()
    }

    /// Puts a task into the queue.
    fn enter(&self, task: &Arc<Task>) {
        let mut waiters = self.waiters.lock();
        waiters.push(Arc::clone(task));
        // Relaxed: for the task itself, and under the lock for the others.
        task.is_waiting.store(true, Ordering::Relaxed);
    }

    /// Takes a task out that need not wait any more.
    fn leave(&self, task: &Arc<Task>) {
        let was_woken = {
            let mut waiters = self.waiters.lock();
            // Relaxed: as in `enter`.
            let was_waiting = task.is_waiting.load(Ordering::Relaxed);
            task.is_waiting.store(false, Ordering::Relaxed);
            if was_waiting {
                waiters.take(|one| core::ptr::eq(one, &raw const **task));
            }
            !was_waiting
        };
        if was_woken {
            self.wake_one();
        }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
