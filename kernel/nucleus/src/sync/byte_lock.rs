//! A lock of one byte, for what has no room for more: a node of paging.
//!
//! It protects nothing by itself. Whoever takes it has to release it, and what it
//! means to hold it is said where it is. Waiting for it never ends for a processor
//! that holds it already.

use crate::arch::cpu;
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicU8, Ordering};

/// A lock that one at a time holds.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct ByteLock(AtomicU8);

impl ByteLock {
    pub(crate) const fn new(is_held: bool) -> Self {
        Self(AtomicU8::new(is_held as u8))
    }

    /// Returns whether somebody holds the lock.
    pub(crate) fn is_held(&self) -> bool {
        // Relaxed: the holder knows, and others only wonder.
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Takes the lock if it is free; returns whether it was.
    #[inline(always)]
    pub(crate) fn try_take(&self) -> bool {
        if is_planted(Bug::TornLock) {
            let is_free = self.0.load(Ordering::Acquire) == 0;
            self.0.store(1, Ordering::Relaxed);
            return is_free;
        }
        // Acquire: pairs with the Release of the holder before.
        self.0.swap(1, Ordering::Acquire) == 0
    }

    /// Waits until the lock is free, and takes it.
    #[inline(always)]
    pub(crate) fn take(&self) {
        while !self.try_take() {
            self.wait_until_free();
        }
    }

    /// Releases the lock, which the caller holds.
    #[inline(always)]
    pub(crate) fn release(&self) {
        // Release: pairs with the Acquire of the next holder.
        self.0.store(0, Ordering::Release);
    }

    /// Waits until the lock looks free, without writing to it.
    #[cold]
    fn wait_until_free(&self) {
        // Relaxed: whoever takes the lock then looks again.
        while self.is_held() {
            cpu::relax();
        }
    }
}
