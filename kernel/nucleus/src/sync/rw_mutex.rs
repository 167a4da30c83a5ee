//! A lock of many readers or one writer, whose takers sleep until they may have it.
//!
//! ```text
//!   31                                3   2     1     0
//!  ┌───────────────────────────────────┬─────┬─────┬─────┐
//!  │ readers that hold it              │  R  │  W  │  H  │
//!  └───────────────────────────────────┴─────┴─────┴─────┘
//!   H: a writer holds it.   W: a writer may wait.   R: a reader may wait.
//! ```
//!
//! | who | needs | or else | on release |
//! |---|---|---|---|
//! | reader | neither H nor W | sets R and sleeps | the last one wakes a writer if there is W |
//! | writer | neither H nor readers | sets W and sleeps | clears all; wakes all readers if there was R, and a writer if there was W |
//!
//! **A writer that waits holds new readers off**, so it has to wait for those alone that
//! are there. When it is done, the readers that came meanwhile are woken together with
//! the next writer, and whoever is first has it: if that is a reader, the writer sets W
//! again and comes after those readers that got in. So neither kind starves the other.
//!
//! **Nobody who sleeps is forgotten.** Whoever sleeps has set its mark, and a mark is
//! cleared by the release of a writer alone, which wakes. It wakes all readers, but one
//! writer of perhaps several. That one takes the lock with W or sets W, as it does not
//! know whether others wait; as in [`Mutex`](super::Mutex).
//!
//! A task that reads and asks to read once more may wait for ever, for a writer that
//! waits for it.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

use super::WaitQueue;
use super::mutex::assert_may_sleep;
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const WRITER_WAITS: u32 = 2;
const READER_WAITS: u32 = 4;
/// What a reader counts for.
const READER: u32 = 8;
/// All readers.
const READERS: u32 = !(READER - 1);

/// A value that many tasks may read, or one may write, for as long as they like.
pub struct RwMutex<T: ?Sized> {
    state: AtomicU32,
    readers: WaitQueue,
    writers: WaitQueue,
    value: UnsafeCell<T>,
}

// SAFETY: The lock lends the value to many for reading, which `Sync` allows, or to one,
// perhaps on another processor, which `Send` allows.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwMutex<T> {}
// SAFETY: It owns the value.
unsafe impl<T: ?Sized + Send> Send for RwMutex<T> {}

/// The right to read the value of a [`RwMutex`]. It may be kept while its task sleeps,
/// and stays with that task.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwMutexReadGuard<'a, T: ?Sized> {
    lock: &'a RwMutex<T>,
    _stays_here: PhantomData<*mut ()>,
}

/// The right to read and write the value of a [`RwMutex`]. It may be kept while its task
/// sleeps, and stays with that task.
#[must_use = "the lock is free as soon as the guard is dropped"]
pub struct RwMutexWriteGuard<'a, T: ?Sized> {
    lock: &'a RwMutex<T>,
    _stays_here: PhantomData<*mut ()>,
}

static_assertions::assert_not_impl_any!(RwMutexReadGuard<'static, ()>: Send);
static_assertions::assert_not_impl_any!(RwMutexWriteGuard<'static, ()>: Send);

// SAFETY: A shared guard gives shared access to the value, and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RwMutexReadGuard<'_, T> {}
// SAFETY: As above.
unsafe impl<T: ?Sized + Sync> Sync for RwMutexWriteGuard<'_, T> {}

impl<T> RwMutex<T> {
    /// Creates an unlocked lock.
    pub const fn new(value: T) -> Self {
        Self {
            state: AtomicU32::new(FREE),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwMutex<T> {
    /// Waits until no writer holds the lock or waits for it, and takes it for reading.
    ///
    /// # Panics
    ///
    /// Panics in atomic mode, where assertions are on even if the lock is free; when
    /// 2²⁹ readers hold it.
    pub fn read(&self) -> RwMutexReadGuard<'_, T> {
        assert_may_sleep();
        self.try_read()
            .unwrap_or_else(|| self.readers.wait_until(|| self.read_or_mark()))
    }

    /// Waits until nobody holds the lock, and takes it for writing.
    ///
    /// # Panics
    ///
    /// Panics in atomic mode, where assertions are on even if the lock is free.
    pub fn write(&self) -> RwMutexWriteGuard<'_, T> {
        assert_may_sleep();
        self.try_write()
            .unwrap_or_else(|| self.writers.wait_until(|| self.write_or_mark()))
    }

    /// Takes the lock for reading if no writer holds it or waits for it. Callable in any
    /// context, but the guard may wake tasks when it is dropped.
    ///
    /// # Panics
    ///
    /// As [`Self::read`].
    pub fn try_read(&self) -> Option<RwMutexReadGuard<'_, T>> {
        self.change(|state| (state & (HELD | WRITER_WAITS) == 0).then(|| one_reader_more(state)))
            .then(|| self.read_guard())
    }

    /// Takes the lock for writing if nobody holds it or waits for it. Callable in any
    /// context, but the guard may wake tasks when it is dropped.
    pub fn try_write(&self) -> Option<RwMutexWriteGuard<'_, T>> {
        // Acquire: pairs with the Release of the holders before.
        let exchange =
            self.state
                .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        exchange.is_ok().then(|| self.write_guard())
    }

    /// Returns the value, which nobody else can use meanwhile.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Takes the lock for reading, or else marks that a reader waits.
    fn read_or_mark(&self) -> Option<RwMutexReadGuard<'_, T>> {
        let mut is_taken = false;
        self.change(|state| {
            is_taken = state & (HELD | WRITER_WAITS) == 0;
            Some(match is_taken {
                true => one_reader_more(state),
                false => state | READER_WAITS,
            })
        });
        is_taken.then(|| self.read_guard())
    }

    /// Takes the lock for writing, or else marks that a writer waits; also if it takes
    /// it, as others may.
    fn write_or_mark(&self) -> Option<RwMutexWriteGuard<'_, T>> {
        let mut is_taken = false;
        self.change(|state| {
            is_taken = state & (HELD | READERS) == 0;
            let held = if is_taken { HELD } else { 0 };
            Some(state | held | WRITER_WAITS)
        });
        is_taken.then(|| self.write_guard())
    }

    /// Changes the state, unless there is no new one; returns whether there was.
    fn change(&self, mut new: impl FnMut(u32) -> Option<u32>) -> bool {
        // Relaxed: what counts is the exchange.
        let mut state = self.state.load(Ordering::Relaxed);
        while let Some(next) = new(state) {
            if is_planted(Bug::TornLock) {
                self.state.store(next, Ordering::Release);
                return true;
            }
            // Acquire: pairs with the Release of the holders before. Release, for a
            // writer that becomes a reader: with the Acquire of the next ones.
            let exchange =
                self.state
                    .compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed);
            match exchange {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Releases the lock for a reader.
    fn release_read(&self) {
        // Release: a writer that comes later does so after what the reader has read.
        let before = self.state.fetch_sub(READER, Ordering::Release);
        if before & READERS == READER && before & WRITER_WAITS != 0 {
            self.writers.wake_one();
        }
    }

    /// Releases the lock for a writer.
    fn release_write(&self) {
        // Release: pairs with the Acquire of the next holders.
        self.wake_after(self.state.swap(FREE, Ordering::Release));
    }

    /// Wakes those who waited before a writer cleared their marks: readers first, as
    /// a writer has just been served.
    fn wake_after(&self, before: u32) {
        if before & READER_WAITS != 0 && !is_planted(Bug::ForgottenWaiter) {
            self.readers.wake_all();
        }
        if before & WRITER_WAITS != 0 {
            self.writers.wake_one();
        }
    }

    const fn read_guard(&self) -> RwMutexReadGuard<'_, T> {
        RwMutexReadGuard {
            lock: self,
            _stays_here: PhantomData,
        }
    }

    const fn write_guard(&self) -> RwMutexWriteGuard<'_, T> {
        RwMutexWriteGuard {
            lock: self,
            _stays_here: PhantomData,
        }
    }
}

/// Returns the state with one more reader.
fn one_reader_more(state: u32) -> u32 {
    let more = state.checked_add(READER);
    more.expect("no lock has so many readers")
}

impl<'a, T: ?Sized> RwMutexWriteGuard<'a, T> {
    /// Goes on as a reader; no writer gets in between.
    pub fn downgrade(self) -> RwMutexReadGuard<'a, T> {
        let lock = ManuallyDrop::new(self).lock;
        let mut before = FREE;
        // The marks are cleared, and the tasks woken, as by a release.
        lock.change(|state| {
            before = state;
            Some(READER)
        });
        lock.wake_after(before);
        lock.read_guard()
    }
}

impl<T: ?Sized> Drop for RwMutexReadGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.release_read();
    }
}

impl<T: ?Sized> Drop for RwMutexWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.release_write();
    }
}

impl<T: ?Sized> Deref for RwMutexReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The guard is the right to read the value: nobody writes it.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwMutexWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The guard is the right to use the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwMutexWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> fmt::Debug for RwMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: a look in passing.
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("RwMutex")
            .field("readers", &(state / READER))
            .field("is_written", &(state & HELD != 0))
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized> fmt::Debug for RwMutexReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwMutexReadGuard")
    }
}

impl<T: ?Sized> fmt::Debug for RwMutexWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwMutexWriteGuard")
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{HELD, Ordering, READER, READERS, RwMutex};
    use crate::cpu::disable_preempt;
    use crate::prelude::*;

    #[ktest]
    fn readers_share_the_lock_and_keep_writers_out() {
        let lock = RwMutex::new(1);
        let (one, other) = (lock.read(), lock.try_read());
        assert_eq!((*one, other.as_deref().copied()), (1, Some(1)));
        drop(one);
        assert!(lock.try_write().is_none());
        drop(other);
        *lock.write() += 1;
        assert_eq!(lock.into_inner(), 2);
    }

    #[ktest]
    fn writer_is_alone() {
        let lock = RwMutex::new(());
        let writer = lock.write();
        assert!(lock.try_read().is_none() && lock.try_write().is_none());
        drop(writer);
        assert!(lock.try_read().is_some());
    }

    #[ktest]
    fn writer_that_waits_holds_new_readers_off_and_other_writers_too() {
        let lock = RwMutex::new(());
        let reader = lock.read();
        assert!(lock.write_or_mark().is_none());
        assert!(lock.try_read().is_none() && lock.try_write().is_none());
        assert!(lock.read_or_mark().is_none());
        drop(reader);
        assert!(lock.try_read().is_none(), "the writer comes first");
        let writer = lock.write_or_mark();
        assert!(writer.is_some());
        drop(writer);
        assert!(lock.try_read().is_some());
    }

    #[ktest]
    fn writer_that_becomes_a_reader_lets_readers_in() {
        let lock = RwMutex::new(1);
        let mut writer = lock.write();
        *writer += 1;
        assert!(lock.read_or_mark().is_none());
        let reader = writer.downgrade();
        assert_eq!(lock.try_read().as_deref(), Some(&2));
        assert!(lock.try_write().is_none());
        drop(reader);
        assert!(lock.try_write().is_some());
    }

    #[ktest]
    #[should_panic(expected = "so many readers")]
    fn readers_whose_guards_are_forgotten_never_become_a_writer() {
        let lock = RwMutex::new(());
        // Relaxed: nobody else has the lock.
        lock.state.store(READERS, Ordering::Relaxed);
        core::mem::forget(lock.try_read());
    }

    #[ktest]
    #[should_panic(expected = "in atomic mode")]
    fn lock_of_readers_is_not_taken_in_atomic_mode() {
        let lock = RwMutex::new(());
        let _stays = disable_preempt();
        let _guard = lock.read();
    }

    #[ktest]
    fn bits_and_readers_do_not_overlap() {
        assert_eq!(READERS & (READER - 1), 0);
        assert_eq!(READERS.wrapping_add(READER), 0);
        assert_eq!(HELD & READERS, 0);
    }
}
