//! The roll: all tasks, for a look at them that takes no lock.
//!
//! A task is entered when it is made and leaves when it is freed. It holds nothing: a
//! task that nobody knows any more is freed as if there were no roll.
//!
//! ```text
//!  who frees a task                        who looks at it
//!  1. clears its place                     a. reads the place
//!  2. waits while it is looked at          b. says that it looks at that task
//!  3. frees it                             c. reads the place again; looks if it is the same
//! ```
//!
//! 1 and 2 here, and b and c there, are in one order for all processors (`SeqCst`). So
//! either the looker finds the place cleared, and does not look, or the other finds that
//! the task is looked at, and waits. A look is short, prints nothing and has interrupts
//! off; one looks at a time.
//!
//! A task that finds no place is not on the roll, and counted.

use alloc::sync::Arc;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::Task;
use crate::irq;
use crate::sync::SpinLock;

/// Tasks that can be on the roll.
const CAPACITY: usize = 2048;

static ROLL: Roll<CAPACITY> = Roll::new();

/// Places for tasks.
struct Roll<const N: usize> {
    places: [AtomicPtr<Task>; N],
    looked_at: AtomicPtr<Task>,
    /// Whoever looks holds it.
    looker: SpinLock<()>,
    /// The number of the last task that was made.
    last_number: AtomicU64,
    nr_left_out: AtomicUsize,
}

/// A task's place on the roll, and what it is called there.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Counted from one; zero for none.
    place: AtomicUsize,
    number: AtomicU64,
    name: [AtomicU64; 2],
    /// The number of the thread that it runs; zero for a task of the kernel's own.
    thread: AtomicU64,
    stack_top: AtomicUsize,
}

impl Entry {
    pub(super) fn set_name(&self, name: &[u8; 16]) {
        for (word, bytes) in self.name.iter().zip(name.as_chunks().0) {
            // Relaxed, here and below: whoever looks may see a mixture.
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }

    pub(super) fn set_thread(&self, thread: u32) {
        self.thread.store(thread.into(), Ordering::Relaxed);
    }

    /// Returns the number of the task: each has its own.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Returns what the task is called, with zeros behind it.
    pub(crate) fn name(&self) -> [u8; 16] {
        let mut name = [0; 16];
        for (word, bytes) in self.name.iter().zip(name.as_chunks_mut().0) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        name
    }

    /// Returns the number of the thread that the task runs, if it runs one.
    pub(crate) fn thread(&self) -> Option<u64> {
        Some(self.thread.load(Ordering::Relaxed)).filter(|thread| *thread > 0)
    }

    /// Returns where the task's stack ends, if that is known.
    pub(crate) fn stack_top(&self) -> Option<usize> {
        Some(self.stack_top.load(Ordering::Relaxed)).filter(|top| *top > 0)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(place) = self.place.get_mut().checked_sub(1) {
            ROLL.leave(place);
        }
    }
}

/// Enters a task, which ends up with a number; its stack ends at `stack_top`, or nobody
/// knows where.
pub(super) fn enter(task: &Arc<Task>, stack_top: Option<usize>) {
    let entry = &task.entry;
    entry
        .stack_top
        .store(stack_top.unwrap_or(0), Ordering::Relaxed);
    entry.number.store(ROLL.next_number(), Ordering::Relaxed);
    let place = ROLL.enter(Arc::as_ptr(task).cast_mut(), entry.number());
    entry
        .place
        .store(place.map_or(0, |place| place + 1), Ordering::Relaxed);
}

/// Looks at each task, in no order, with interrupts off. Returns how many are not on the
/// roll; nothing if somebody looks already.
///
/// `look` takes no lock, and waits for nothing.
pub(crate) fn look(look: impl FnMut(&Task)) -> Option<usize> {
    ROLL.look(look)
}

impl<const N: usize> Roll<N> {
    const fn new() -> Self {
        Self {
            places: [const { AtomicPtr::new(ptr::null_mut()) }; N],
            looked_at: AtomicPtr::new(ptr::null_mut()),
            looker: SpinLock::new(()),
            last_number: AtomicU64::new(0),
            nr_left_out: AtomicUsize::new(0),
        }
    }

    fn next_number(&self) -> u64 {
        // Relaxed: a count.
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Finds a place for a task, beginning at one that follows from its number, so that
    /// the first is free as a rule.
    fn enter(&self, task: *mut Task, number: u64) -> Option<usize> {
        let start = number as usize % N;
        let mut places = (0..N).map(|offset| (start + offset) % N);
        // Release: whoever looks finds a whole task.
        let take = |place: &usize| {
            let place = &self.places[*place];
            let nobody = ptr::null_mut();
            place
                .compare_exchange(nobody, task, Ordering::Release, Ordering::Relaxed)
                .is_ok()
        };
        let place = places.find(take);
        if place.is_none() {
            // Relaxed: a count.
            self.nr_left_out.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    /// Clears a place, and waits until nobody looks at the task that had it.
    fn leave(&self, place: usize) {
        // SeqCst, both: see the module's protocol.
        let task = self.places[place].swap(ptr::null_mut(), Ordering::SeqCst);
        while self.looked_at.load(Ordering::SeqCst) == task {
            core::hint::spin_loop();
        }
    }

    fn look(&self, mut look: impl FnMut(&Task)) -> Option<usize> {
        let _irq_off = irq::disable_local();
        let _looker = self.looker.try_lock()?;
        for place in &self.places {
            // Relaxed: read again below.
            let task = place.load(Ordering::Relaxed);
            if task.is_null() {
                continue;
            }
            // SeqCst, both: see the module's protocol.
            self.looked_at.store(task, Ordering::SeqCst);
            if place.load(Ordering::SeqCst) == task {
                // SAFETY: Whoever frees the task clears its place first, and waits while
                // it is looked at; its other fields are dropped after that.
                look(unsafe { &*task });
            }
            // Release: the look is over.
            self.looked_at.store(ptr::null_mut(), Ordering::Release);
        }
        // Relaxed: a count.
        Some(self.nr_left_out.load(Ordering::Relaxed))
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use super::{Roll, Task};
    use crate::prelude::*;

    fn task() -> *mut Task {
        Arc::into_raw(Arc::new(Task::without_stack())).cast_mut()
    }

    /// Frees a task of [`task`].
    fn free(task: *mut Task) {
        // SAFETY: It was made so, and is freed once.
        drop(unsafe { Arc::from_raw(task) });
    }

    fn seen<const N: usize>(roll: &Roll<N>) -> (Vec<*mut Task>, usize) {
        let mut seen = Vec::new();
        let left_out = roll.look(|task| seen.push(core::ptr::from_ref(task).cast_mut()));
        (seen, left_out.expect("nobody else looks"))
    }

    #[ktest]
    fn tasks_are_on_the_roll_until_they_leave() {
        let roll = Roll::<4>::new();
        let tasks = [task(), task()];
        let places = tasks.map(|task| roll.enter(task, roll.next_number()).expect("room"));
        assert_eq!(seen(&roll), (tasks.to_vec(), 0));
        roll.leave(places[0]);
        assert_eq!(seen(&roll), ([tasks[1]].to_vec(), 0));
        roll.leave(places[1]);
        tasks.into_iter().for_each(free);
    }

    #[ktest]
    fn task_without_a_place_is_counted() {
        let roll = Roll::<2>::new();
        let tasks = [task(), task(), task()];
        let places = tasks.map(|task| roll.enter(task, 1));
        assert_eq!(places, [Some(1), Some(0), None]);
        assert_eq!(seen(&roll).1, 1);
        roll.leave(1);
        assert_eq!(roll.enter(tasks[2], 1), Some(1));
        tasks.into_iter().for_each(free);
    }

    #[ktest]
    fn one_looks_at_a_time() {
        let roll = Roll::<1>::new();
        let task = task();
        roll.enter(task, 0);
        let mut inner = Some(0);
        roll.look(|_| inner = roll.look(|_| panic!("two look")));
        assert_eq!(inner, None);
        free(task);
    }
}
