//! Waiting for something that another task brings about.
//!
//! ```text
//!   the waiter                               the waker
//!   1. reads the count of wake-ups           a. brings about what is waited for
//!   2. looks for what it wants               b. counts a wake-up, and takes the first
//!   3. gets into the queue, if the              task out of the queue
//!      count is still the same               c. has that task go on
//!   4. sleeps
//! ```
//!
//! 3 and b are under the queue's lock. So either the waker finds the waiter in the
//! queue, or the waiter finds that the count has changed, and looks again; and if it
//! read the count after b, it looked after a. A wake-up between 3 and 4 is kept by the
//! [task itself](crate::task), which then does not sleep. So no wake-up is lost between
//! the look and the sleep (peer 102).
//!
//! A task looks while it is in no queue. So **what looks may itself sleep**, for example
//! take a [`Mutex`](super::Mutex). And a wake-up is never for somebody who has got what
//! it wanted without it: whoever was taken out of the queue looks after that.
//!
//! Tasks are woken in the order in which they began to sleep. There are two more reasons
//! for a sleeper to look again, each of which costs it its place in the queue:
//!
//! * **a nudge**, by [`Task::nudge`]: something else has come up, such as a signal. One
//!   that comes while the task does not sleep is kept until its next wait.
//! * **a deadline**, by [`WaitQueue::wait_until_or`]: the time has come up to which it
//!   wants to wait. The task is in the [timers](crate::task) of a processor meanwhile.

use alloc::sync::Arc;
use core::time::Duration;

use super::{Rank, SpinLock};
use crate::arch::tasks;
use crate::cpu::may_switch;
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::task::{Task, TaskList, WAIT_LINK};
use crate::time;

/// Tasks that wait for something.
#[derive(Debug)]
pub struct WaitQueue {
    waiters: SpinLock<TaskList<WAIT_LINK>>,
    /// How often somebody was to be woken, be it that nobody was there; written under
    /// the lock of the list.
    nr_wakes: AtomicU64,
}

impl WaitQueue {
    /// Returns a queue of nobody.
    pub const fn new() -> Self {
        Self {
            waiters: SpinLock::ranked(TaskList::new(), Rank::Waiters),
            nr_wakes: AtomicU64::new(0),
        }
    }

    /// Waits until `condition` finds something, and returns that.
    ///
    /// It is asked once at least, and again after each wake-up and each nudge, so
    /// whoever makes it true has to wake somebody afterwards. It may sleep itself.
    ///
    /// A condition that can end the wait for another reason than what the queue's tasks
    /// are woken for, such as a signal, may be told so by a task that was woken: its
    /// caller then has to [wake another one](Self::wake_one).
    ///
    /// # Panics
    ///
    /// Panics in atomic mode, and in the absence of tasks, unless the condition is true
    /// at first.
    pub fn wait_until<R>(&self, mut condition: impl FnMut() -> Option<R>) -> R {
        loop {
            let nr_wakes = self.nr_wakes();
            if let Some(result) = condition() {
                return result;
            }
            self.sleep(nr_wakes, None);
        }
    }

    /// As [`Self::wait_until`], but until a time of [`time::uptime`] at most. Returns
    /// nothing when that has come and the condition, asked after that, finds nothing.
    /// Such a task has not used up a wake-up.
    ///
    /// # Panics
    ///
    /// As [`Self::wait_until`].
    pub fn wait_until_or<R>(
        &self,
        deadline: Option<Duration>,
        mut condition: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            let nr_wakes = self.nr_wakes();
            // The clock first: what is there when the time has come is found.
            let is_late = deadline.is_some_and(|deadline| time::uptime() >= deadline);
            if is_late && is_planted(Bug::HastyDeadline) {
                return None;
            }
            if let Some(result) = condition() {
                return Some(result);
            }
            if is_late {
                return None;
            }
            self.sleep(nr_wakes, deadline);
        }
    }

    /// Wakes the task that has slept longest; returns whether there was one. Callable
    /// in any context, but not with a lock held of the rank of wait queues or later.
    pub fn wake_one(&self) -> bool {
        let first = {
            let mut waiters = self.waiters.lock();
            self.count_wake();
            let first = waiters.pop();
            if let Some(task) = &first {
                // Release: what was brought about is seen by the task.
                task.is_waiting.store(false, Ordering::Release);
            }
            first
        };
        first.inspect(Task::unpark).is_some()
    }

    /// Wakes all tasks that sleep now; returns how many there were. Callable as
    /// [`Self::wake_one`].
    pub fn wake_all(&self) -> usize {
        let nr_waiters = {
            let waiters = self.waiters.lock();
            self.count_wake();
            waiters.len()
        };
        (0..nr_waiters).take_while(|_| self.wake_one()).count()
    }

    /// Returns how often somebody was to be woken.
    fn nr_wakes(&self) -> u64 {
        // Acquire: pairs with `count_wake`: a look after this finds what those have
        // brought about who are counted.
        self.nr_wakes.load(Ordering::Acquire)
    }

    /// Counts a wake-up; under the lock of the list.
    fn count_wake(&self) {
        // Relaxed: under the lock.
        let nr_wakes = self.nr_wakes.load(Ordering::Relaxed);
        // Release: pairs with the Acquire of `nr_wakes`.
        self.nr_wakes
            .store(nr_wakes.wrapping_add(1), Ordering::Release);
    }

    /// Sleeps until the task is woken, nudged, or late; not at all if somebody was to
    /// be woken since `nr_wakes` was read. The task is in no queue afterwards.
    #[cold]
    fn sleep(&self, nr_wakes: u64, deadline: Option<Duration>) {
        let Some(task) = tasks::current() else {
            panic!("what waits is no task");
        };
        assert!(may_switch(), "a task sleeps in atomic mode");
        if !self.enter(&task, nr_wakes) {
            return;
        }
        let timers = deadline.map(|deadline| {
            let timers = tasks::timers();
            timers.start(&task, deadline);
            timers
        });
        let is_late = || timers.is_some() && !task.timer.is_started();
        // Acquire: pairs with the Release of the waker.
        while task.is_waiting.load(Ordering::Acquire) && !task.take_nudge() && !is_late() {
            tasks::park();
        }
        if let Some(timers) = timers {
            timers.stop(&task);
        }
        self.leave(&task);
    }

    /// Puts a task into the queue, unless somebody was to be woken since `nr_wakes` was
    /// read; returns whether it is there.
    fn enter(&self, task: &Arc<Task>, nr_wakes: u64) -> bool {
        let mut waiters = self.waiters.lock();
        // Relaxed: written under the lock.
        let is_as_before = self.nr_wakes.load(Ordering::Relaxed) == nr_wakes;
        if is_as_before || is_planted(Bug::LostWakeUp) {
            waiters.push(Arc::clone(task));
            // Relaxed: for the task itself, and under the lock for the others.
            task.is_waiting.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// Takes a task out, if nobody else has done that.
    fn leave(&self, task: &Arc<Task>) {
        // Acquire: as in `sleep`.
        if !task.is_waiting.load(Ordering::Acquire) {
            return;
        }
        let mut waiters = self.waiters.lock();
        // Relaxed: as in `enter`.
        if task.is_waiting.load(Ordering::Relaxed) {
            task.is_waiting.store(false, Ordering::Relaxed);
            waiters.take(|one| core::ptr::eq(one, &raw const **task));
        }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
