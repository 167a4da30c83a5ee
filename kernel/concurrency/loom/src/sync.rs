//! Stands for the nucleus' `sync`: its small files, on `loom`'s atomics and mutexes.

pub(crate) mod atomic;
#[path = "../../../nucleus/src/sync/byte_lock.rs"]
pub(crate) mod byte_lock;
#[path = "../../../nucleus/src/sync/section.rs"]
pub(crate) mod section;

use std::sync::OnceLock;

use loom::sync::{Mutex, MutexGuard};

/// Stands for the spin lock. It is made when it is first used, since those of
/// `loom` cannot be made by constant functions.
#[derive(Debug)]
pub(crate) struct SpinLock<T> {
    initial: T,
    inner: OnceLock<Mutex<T>>,
}

impl<T: Copy> SpinLock<T> {
    pub(crate) const fn new(initial: T) -> Self {
        Self {
            initial,
            inner: OnceLock::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let mutex = self.inner.get_or_init(|| Mutex::new(self.initial));
        mutex.lock().expect("nobody panics with the lock held")
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let mutex = self.inner.get_or_init(|| Mutex::new(self.initial));
        mutex.try_lock().ok()
    }
}
