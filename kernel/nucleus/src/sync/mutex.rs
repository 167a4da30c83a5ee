//! A lock whose takers sleep until it is free.
//!
//! ```text
//!            lock                     somebody else waits
//!   FREE ──────────▶ HELD ─────────────────────────────────▶ CONTENDED
//!     ▲ ◀── unlock ───┘                                           │
//!     └──────────────────── unlock, and wake one ─────────────────┘
//! ```
//!
//! Whoever has waited takes the lock as contended, since it does not know whether
//! others wait; so no sleeper is forgotten, and the last one's release wakes nobody.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::WaitQueue;
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicU8, Ordering};

const FREE: u8 = 0;
const HELD: u8 = 1;
/// Held, and somebody may wait for it.
const CONTENDED: u8 = 2;

/// A value that one task at a time may use, for as long as it likes.
pub struct Mutex<T: ?Sized> {
    state: AtomicU8,
    waiters: WaitQueue,
    value: UnsafeCell<T>,
}

// SAFETY: The lock lends the value to one task at a time, perhaps on another processor.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: It owns the value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

/// The right to use the value of a [`Mutex`]. It may be kept while its task sleeps, and
/// stays with that task.
#[must_use = "the lock is free as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    _stays_here: PhantomData<*mut ()>,
}

static_assertions::assert_not_impl_any!(MutexGuard<'static, ()>: Send);

// SAFETY: A shared guard gives shared access to the value, and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    /// Creates an unlocked lock.
    pub const fn new(value: T) -> Self {
        Self {
            state: AtomicU8::new(FREE),
            waiters: WaitQueue::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the lock is free, and takes it.
    ///
    /// # Panics
    ///
    /// Panics in atomic mode, where assertions are on even if the lock is free.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        assert_may_sleep();
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    /// Takes the lock if it is free. Callable in any context.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        // Acquire: pairs with the Release of the holder before.
        let exchange =
            self.state
                .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        exchange.is_ok().then(|| self.guard())
    }

    /// Returns whether somebody holds the lock at this moment.
    pub fn is_locked(&self) -> bool {
        // Relaxed: the holder knows, and others only wonder.
        self.state.load(Ordering::Relaxed) != FREE
    }

    /// Returns the value, which nobody else can use meanwhile.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cold]
    fn wait(&self) -> MutexGuard<'_, T> {
        self.waiters.wait_until(|| {
            // Acquire: as in `try_lock`.
            let before = self.state.swap(CONTENDED, Ordering::Acquire);
            (before == FREE).then(|| self.guard())
        })
    }

    const fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            _stays_here: PhantomData,
        }
    }
}

/// Stops who takes a lock that sleeps where it could not, even if it need not; where
/// assertions are on.
///
/// # Panics
///
/// Panics in atomic mode.
pub(super) fn assert_may_sleep() {
    if cfg!(debug_assertions) {
        assert!(
            !crate::cpu::is_atomic(),
            "a lock that sleeps was taken in atomic mode"
        );
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the next holder.
        let before = self.mutex.state.swap(FREE, Ordering::Release);
        if before == CONTENDED && !is_planted(Bug::ForgottenWaiter) {
            self.mutex.waiters.wake_one();
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The guard is the right to use the value.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`, and the guard is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MutexGuard")
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::Mutex;
    use crate::cpu::disable_preempt;
    use crate::prelude::*;

    #[ktest]
    fn second_taker_finds_the_mutex_taken() {
        let mutex = Mutex::new(1);
        let guard = mutex.lock();
        assert!(mutex.try_lock().is_none() && mutex.is_locked());
        drop(guard);
        *mutex.try_lock().expect("the lock is free") += 1;
        assert_eq!(mutex.into_inner(), 2);
    }

    #[ktest]
    #[should_panic(expected = "in atomic mode")]
    fn mutex_is_not_taken_in_atomic_mode() {
        let mutex = Mutex::new(());
        let _stays = disable_preempt();
        let _guard = mutex.lock();
    }
}
