//! Atomic words: from here, the nucleus takes those that processors share.
//!
//! They are `core`'s. With the feature `shuttle`, which no kernel has, they are
//! `core`'s still, and before each operation another thread of a simulated
//! machine may go on: so a checker decides who does what first. What only one
//! processor ever writes, and nobody waits for, need not come from here.

#[cfg(not(feature = "shuttle"))]
pub use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(feature = "shuttle")]
pub use self::interleaved::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Waits until a lock is free, and takes it. Meanwhile, the processor flushes what
/// others ask for: whoever holds the lock may wait for that (peer 63).
#[inline(always)]
pub(super) fn lock<T: ?Sized>(mutex: &spin::Mutex<T>) -> spin::MutexGuard<'_, T> {
    #[cfg(feature = "shuttle")]
    return interleaved::lock(mutex);
    #[cfg(not(feature = "shuttle"))]
    match mutex.try_lock() {
        Some(guard) => guard,
        None => wait_and_lock(mutex),
    }
}

#[cfg(not(feature = "shuttle"))]
#[cold]
fn wait_and_lock<T: ?Sized>(mutex: &spin::Mutex<T>) -> spin::MutexGuard<'_, T> {
    loop {
        // Looks first, without writing to it.
        if !mutex.is_locked()
            && let Some(guard) = mutex.try_lock()
        {
            return guard;
        }
        crate::arch::cpu::local().flushes.try_serve();
        core::hint::spin_loop();
    }
}

#[cfg(feature = "shuttle")]
mod interleaved {
    //! The same names, with a place to switch before each operation.

    pub use core::sync::atomic::Ordering;

    use crate::arch::sim::interleave::{switch, wait};

    /// A fence, which makes no difference where all is in one order.
    pub fn fence(order: Ordering) {
        switch();
        core::sync::atomic::fence(order);
    }

    pub(super) fn lock<T: ?Sized>(mutex: &spin::Mutex<T>) -> spin::MutexGuard<'_, T> {
        loop {
            switch();
            if let Some(guard) = mutex.try_lock() {
                return guard;
            }
            crate::arch::cpu::local().flushes.try_serve();
            wait();
        }
    }

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            /// An atomic word, with a place to switch before each operation.
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub struct $name(core::sync::atomic::$name);

            #[expect(missing_docs, reason = "the names and meanings are those of `core`")]
            impl $name {
                pub const fn new(value: $value) -> Self {
                    Self(core::sync::atomic::$name::new(value))
                }

                pub fn get_mut(&mut self) -> &mut $value {
                    self.0.get_mut()
                }

                pub fn load(&self, order: Ordering) -> $value {
                    switch();
                    self.0.load(order)
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    switch();
                    self.0.store(value, order);
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    switch();
                    self.0.swap(value, order)
                }

                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    switch();
                    self.0.compare_exchange(current, new, success, failure)
                }

                pub fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.compare_exchange(current, new, success, failure)
                }

                pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    switch();
                    self.0.fetch_or(value, order)
                }

                pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                    switch();
                    self.0.fetch_and(value, order)
                }
            }
        };
    }

    macro_rules! number {
        ($name:ident, $value:ty) => {
            atomic!($name, $value);

            #[expect(missing_docs, reason = "the names and meanings are those of `core`")]
            impl $name {
                pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    switch();
                    self.0.fetch_add(value, order)
                }

                pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    switch();
                    self.0.fetch_sub(value, order)
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    number!(AtomicU8, u8);
    number!(AtomicU16, u16);
    number!(AtomicU32, u32);
    number!(AtomicU64, u64);
    number!(AtomicUsize, usize);
}
