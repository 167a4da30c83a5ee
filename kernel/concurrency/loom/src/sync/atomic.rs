//! `loom`'s atomics under the names of the nucleus'. Each is made when it is first
//! used, since those of `loom` cannot be made by constant functions. That has to be
//! before there are threads, who would otherwise have to learn of it first.

use std::sync::OnceLock;

pub(crate) use loom::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        /// An atomic word.
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            initial: $value,
            inner: OnceLock<loom::sync::atomic::$name>,
        }

        impl $name {
            pub(crate) const fn new(initial: $value) -> Self {
                Self {
                    initial,
                    inner: OnceLock::new(),
                }
            }

            fn inner(&self) -> &loom::sync::atomic::$name {
                let new = || loom::sync::atomic::$name::new(self.initial);
                self.inner.get_or_init(new)
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.inner().load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.inner().store(value, order);
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.inner().swap(value, order)
            }

            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.inner().fetch_add(value, order)
            }

            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.inner().fetch_or(value, order)
            }

            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.inner().fetch_and(value, order)
            }
        }
    };
}

atomic!(AtomicU8, u8);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);
