//! The spin lock: for short sections that an interrupt handler may need too.
//!
//! Holding the guard proves that this processor has interrupts off, so that a
//! handler cannot spin for ever on a lock that its own processor holds. The
//! guard must stay on its processor and is therefore neither `Send` nor `Sync`.

use core::fmt;
use core::ops::{Deref, DerefMut};

use super::atomic;
use super::rank::Rank;
use crate::arch::cpu;
use crate::irq::{self, DisabledLocalIrqGuard};

/// A value that one processor at a time may use, for a short time.
///
/// Locking may be done in any context, interrupt handlers included.
pub struct SpinLock<T: ?Sized> {
    /// Where it stands in the lock order, if anywhere.
    #[cfg(debug_assertions)]
    rank: Option<Rank>,
    inner: spin::Mutex<T>,
}

/// The right to use the value of a [`SpinLock`].
///
/// The lock is released before interrupts are restored: fields drop in order.
pub struct SpinLockGuard<'a, T: ?Sized> {
    value: spin::MutexGuard<'a, T>,
    _held: Held,
    _irq_off: DisabledLocalIrqGuard,
}

static_assertions::assert_not_impl_any!(SpinLockGuard<'static, ()>: Send, Sync);

impl<T> SpinLock<T> {
    /// Creates an unlocked lock.
    pub const fn new(value: T) -> Self {
        Self::with_rank(value, None)
    }

    /// Creates an unlocked lock with a place in the lock order.
    pub(crate) const fn ranked(value: T, rank: Rank) -> Self {
        Self::with_rank(value, Some(rank))
    }

    #[cfg_attr(
        not(debug_assertions),
        expect(unused_variables, reason = "the order is checked by assertions")
    )]
    const fn with_rank(value: T, rank: Option<Rank>) -> Self {
        Self {
            #[cfg(debug_assertions)]
            rank,
            inner: spin::Mutex::new(value),
        }
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Waits until the lock is free, and takes it with interrupts off.
    ///
    /// # Panics
    ///
    /// Panics where assertions are on when the lock is taken out of order.
    pub fn lock(&self) -> SpinLockGuard<'_, T> {
        let irq_off = irq::disable_local();
        if let Some(rank) = self.rank() {
            cpu::local().held.check(rank);
        }
        SpinLockGuard {
            value: atomic::lock(&self.inner),
            _held: Held::new(self.rank()),
            _irq_off: irq_off,
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<SpinLockGuard<'_, T>> {
        let irq_off = irq::disable_local();
        Some(SpinLockGuard {
            value: self.inner.try_lock()?,
            _held: Held::new(self.rank()),
            _irq_off: irq_off,
        })
    }

    /// Returns the lock's rank where the order is checked.
    #[inline(always)]
    const fn rank(&self) -> Option<Rank> {
        #[cfg(debug_assertions)]
        return self.rank;
        #[cfg(not(debug_assertions))]
        None
    }

    /// Returns whether somebody holds the lock at this moment.
    pub fn is_locked(&self) -> bool {
        self.inner.is_locked()
    }

    /// Releases the lock on behalf of a holder that is gone, for a last report.
    ///
    /// # Safety
    ///
    /// Whoever holds the lock never runs again.
    pub(crate) unsafe fn force_unlock(&self) {
        cpu::local().held.abandon();
        if self.is_locked() {
            // SAFETY: As the caller promises, nobody uses the guard any more.
            unsafe { self.inner.force_unlock() };
        }
    }
}

/// Notes that a lock is held, as long as this lives; nothing where the order is not
/// checked.
struct Held {
    #[cfg(debug_assertions)]
    rank: Option<Rank>,
}

impl Held {
    #[inline(always)]
    fn new(rank: Option<Rank>) -> Self {
        if let Some(rank) = rank {
            cpu::local().held.add(rank);
        }
        Self {
            #[cfg(debug_assertions)]
            rank,
        }
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        if let Some(rank) = self.rank {
            cpu::local().held.remove(rank);
        }
    }
}

impl<T: ?Sized> Deref for SpinLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> DerefMut for SpinLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: ?Sized> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock")
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized> fmt::Debug for SpinLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpinLockGuard")
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::SpinLock;
    use crate::irq;
    use crate::prelude::*;

    #[ktest]
    fn second_taker_finds_the_lock_taken() {
        let lock = SpinLock::new(1);
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert_eq!(*lock.try_lock().expect("the lock is free"), 1);
    }

    #[ktest]
    fn guards_dropped_out_of_order_keep_interrupts_off() {
        // peer_079: the first guard's drop must not switch interrupts on.
        let (a, b) = (SpinLock::new(()), SpinLock::new(()));
        let before = irq::is_enabled();
        let first = a.lock();
        let second = b.lock();
        drop(first);
        assert!(!irq::is_enabled());
        drop(second);
        assert_eq!(irq::is_enabled(), before);
    }

    #[ktest]
    fn failed_attempt_restores_interrupts() {
        let lock = SpinLock::new(());
        let before = irq::is_enabled();
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert_eq!(irq::is_enabled(), before);
    }
}
