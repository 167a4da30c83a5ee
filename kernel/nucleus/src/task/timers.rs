//! Tasks that want to be woken at some time.
//!
//! Each processor has a *wheel* of slots, each for the length of a tick, and turns it
//! by one slot a tick (scheme 6 of Varghese and Lauck, 1987). A task is in the slot of
//! its deadline, or in the next one if that is past; so a slot also has tasks whose turn
//! is a whole number of rounds later, which it keeps. Starting a timer takes the same
//! few steps however many there are; stopping one, and a tick, look at one slot's.
//!
//! A task that waits starts its timer where it runs, and *stops it itself*, before it
//! goes on. The tick takes a task out whose time has come, says so by `is_started`, and
//! has it go on. Both are under the wheel's lock, which is of the rank before that of
//! ready tasks. So a timer never outlives its wait, and whoever finds it neither started
//! nor stopped by itself knows that the time has come.
//!
//! A deadline is met by the first tick after it, up to 10 ms late.

use alloc::sync::Arc;
use core::cell::Cell;
use core::time::Duration;

use super::Task;
use super::list::{TIMER_LINK, TaskList};
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Rank, SpinLock};

/// Slots a second: as many as ticks.
const SLOTS_PER_SECOND: u32 = 100;
/// Slots of a wheel, a power of two: a round takes 640 ms.
const NR_SLOTS: usize = 64;

/// The timers of a processor.
#[derive(Debug)]
pub(crate) struct Timers(SpinLock<Wheel>);

#[derive(Debug)]
struct Wheel {
    slots: [TaskList<TIMER_LINK>; NR_SLOTS],
    /// The slot that the last tick looked at, counted from start-up.
    turn: u64,
    len: usize,
}

/// A task's timer, of which it has one, as it waits for one thing at a time.
#[derive(Debug)]
pub(crate) struct Timer {
    /// Whether the task is in a wheel, whose lock protects this.
    is_started: AtomicBool,
    /// When it is to be woken, and in which slot it is; protected likewise.
    deadline: Cell<Duration>,
    slot: Cell<u64>,
}

impl Timer {
    pub(super) const fn new() -> Self {
        Self {
            is_started: AtomicBool::new(false),
            deadline: Cell::new(Duration::ZERO),
            slot: Cell::new(0),
        }
    }

    /// Returns whether the time has not come yet; for the task that started the timer.
    pub(crate) fn is_started(&self) -> bool {
        // Acquire: pairs with the Release in `expire`.
        self.is_started.load(Ordering::Acquire)
    }
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::ranked(
            Wheel {
                slots: [const { TaskList::new() }; NR_SLOTS],
                turn: 0,
                len: 0,
            },
            Rank::Timers,
        ))
    }

    /// Has a task be woken at a time; for the task itself, which is in no wheel.
    pub(crate) fn start(&self, task: &Arc<Task>, deadline: Duration) {
        let mut wheel = self.0.lock();
        let slot = slot_of(deadline).max(wheel.turn);
        task.timer.deadline.set(deadline);
        task.timer.slot.set(slot);
        // Relaxed: for the task itself, and under the lock for the others.
        task.timer.is_started.store(true, Ordering::Relaxed);
        wheel.slot(slot).push(Arc::clone(task));
        wheel.len += 1;
    }

    /// Takes a task out if it is still there; for the task itself, of the wheel where
    /// it started its timer.
    pub(crate) fn stop(&self, task: &Arc<Task>) {
        if !task.timer.is_started() || is_planted(Bug::ForgottenTimer) {
            return;
        }
        let mut wheel = self.0.lock();
        // Relaxed: under the lock.
        if task.timer.is_started.load(Ordering::Relaxed) {
            task.timer.is_started.store(false, Ordering::Relaxed);
            let slot = wheel.slot(task.timer.slot.get());
            slot.take(|one| core::ptr::eq(one, &raw const **task));
            wheel.len -= 1;
        }
    }

    /// Wakes the tasks whose time has come; at each tick of the processor.
    pub(crate) fn expire(&self, now: Duration) {
        let mut wheel = self.0.lock();
        let last = slot_of(now).max(wheel.turn);
        // The last one again next time: some of its tasks may still be early.
        let first = core::mem::replace(&mut wheel.turn, last);
        if wheel.len == 0 {
            return;
        }
        let nr_others = (last - first).min(NR_SLOTS as u64 - 1);
        for slot in last - nr_others..=last {
            wheel.expire_slot(slot, now);
        }
    }
}

impl Wheel {
    fn slot(&mut self, slot: u64) -> &mut TaskList<TIMER_LINK> {
        &mut self.slots[slot as usize % NR_SLOTS]
    }

    /// Wakes the tasks of a slot whose time has come. The others keep their order.
    fn expire_slot(&mut self, slot: u64, now: Duration) {
        for _ in 0..self.slot(slot).len() {
            let Some(task) = self.slot(slot).pop() else {
                return;
            };
            if task.timer.deadline.get() > now {
                self.slot(slot).push(task);
                continue;
            }
            self.len -= 1;
            // Release: whoever finds it so was taken out.
            task.timer.is_started.store(false, Ordering::Release);
            task.unpark();
        }
    }
}

/// Returns the slot of a time, counted from start-up.
fn slot_of(time: Duration) -> u64 {
    let in_second = time.subsec_nanos() / (1_000_000_000 / SLOTS_PER_SECOND);
    let seconds = time.as_secs().saturating_mul(SLOTS_PER_SECOND.into());
    seconds.saturating_add(in_second.into())
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::sync::Arc;
    use core::time::Duration;

    use super::{NR_SLOTS, SLOTS_PER_SECOND, Task, Timers};
    use crate::prelude::*;

    /// As long as a slot is.
    fn slots(number: usize) -> Duration {
        Duration::from_secs(number as u64) / SLOTS_PER_SECOND
    }

    fn start<const N: usize>(timers: &Timers, deadlines: [Duration; N]) -> [Arc<Task>; N] {
        deadlines.map(|deadline| {
            let task = Arc::new(Task::without_stack());
            timers.start(&task, deadline);
            task
        })
    }

    /// Returns which of the tasks are still to be woken.
    fn started<const N: usize>(tasks: &[Arc<Task>; N]) -> [bool; N] {
        core::array::from_fn(|index| tasks[index].timer.is_started())
    }

    #[ktest]
    fn task_is_woken_at_its_time_and_not_before() {
        let timers = Timers::new();
        let time = slots(3) + Duration::from_millis(4);
        let tasks = start(&timers, [time]);
        timers.expire(time - Duration::from_nanos(1));
        assert_eq!(started(&tasks), [true]);
        timers.expire(time);
        assert_eq!(started(&tasks), [false]);
        assert!(tasks[0].state.take_token(), "it goes on");
        assert_eq!(Arc::strong_count(&tasks[0]), 1);
    }

    #[ktest]
    fn tasks_of_one_slot_are_woken_in_their_own_rounds() {
        let timers = Timers::new();
        let tasks = start(&timers, [2, 0, 1].map(|round| slots(5 + round * NR_SLOTS)));
        timers.expire(slots(5));
        assert_eq!(started(&tasks), [true, false, true]);
        timers.expire(slots(5 + NR_SLOTS));
        assert_eq!(started(&tasks), [true, false, false]);
        timers.expire(slots(5 + 2 * NR_SLOTS));
        assert_eq!(started(&tasks), [false; 3]);
    }

    #[ktest]
    fn late_tick_wakes_all_that_are_due() {
        let timers = Timers::new();
        timers.expire(slots(NR_SLOTS / 2));
        let tasks = start(&timers, [40, 41, 90, 200, 1000].map(slots));
        timers.expire(slots(500));
        assert_eq!(started(&tasks), [false, false, false, false, true]);
    }

    #[ktest]
    fn deadline_that_is_past_is_met_by_the_next_tick_though_the_clock_stands() {
        let timers = Timers::new();
        timers.expire(slots(100));
        let tasks = start(&timers, [slots(7), Duration::ZERO]);
        timers.expire(slots(100));
        assert_eq!(started(&tasks), [false; 2]);
    }

    #[ktest]
    fn deadline_that_never_comes_is_kept() {
        let timers = Timers::new();
        let [task] = start(&timers, [Duration::MAX]);
        timers.expire(slots(10_000));
        assert!(task.timer.is_started());
        timers.stop(&task);
        assert!(!task.timer.is_started());
    }

    #[ktest]
    fn timer_that_is_stopped_wakes_nobody() {
        let timers = Timers::new();
        let tasks = start(&timers, [slots(1), slots(1)]);
        timers.stop(&tasks[0]);
        timers.stop(&tasks[0]);
        timers.expire(slots(2));
        assert!(!tasks[0].state.take_token() && tasks[1].state.take_token());
        assert_eq!(Arc::strong_count(&tasks[0]), 1);
    }
}
