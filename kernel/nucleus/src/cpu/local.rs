//! Storage of which each processor has its own.
//!
//! ```
//! # use nucleus::{cpu_local, cpu::CpuLocal, irq};
//! # use core::cell::Cell;
//! cpu_local! {
//!     static SWITCHES: Cell<u64> = Cell::new(0);
//! }
//! # fn count() {
//! let irq_off = irq::disable_local();
//! let switches = SWITCHES.get_with(&irq_off);
//! switches.set(switches.get() + 1);
//! # }
//! ```
//!
//! There are as many values as a machine may have processors, in one static. What
//! proves that a value is used by its processor alone is a guard, and how strong it
//! has to be depends on the type:
//!
//! * [`get_with`](CpuLocal::get_with) takes a guard of interrupts, for any type: no
//!   handler of this processor can have the value at the same time.
//! * [`get`](CpuLocal::get) takes any guard that keeps the task here, for types that
//!   may be shared: a handler may have the value as well.
//! * [`get_on_cpu`](CpuLocal::get_on_cpu) takes none, for types that may be shared:
//!   everybody may have the value.

use core::fmt;

use super::{CpuId, InAtomicMode, MAX_CPUS};
use crate::irq::DisabledLocalIrqGuard;

/// A value for each processor; made by [`cpu_local!`](crate::cpu_local).
pub struct CpuLocal<T>([Own<T>; MAX_CPUS]);

/// One processor's value, in lines of the cache of its own.
#[doc(hidden)]
#[derive(Debug)]
#[repr(align(128))]
pub struct Own<T>(T);

impl<T> Own<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

/// Declares statics of which each processor has its own, from constant expressions.
#[macro_export]
macro_rules! cpu_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr;)+) => {
        $(
            $(#[$attribute])*
            $visibility static $name: $crate::cpu::CpuLocal<$type> = $crate::cpu::CpuLocal::new(
                [const { $crate::cpu::Own::new($value) }; $crate::cpu::MAX_CPUS],
            );
        )+
    };
}

// SAFETY: A value that may not be shared is reached by `get_with` alone: on its
// processor, with interrupts off, for as long as they are off. So the accesses of
// one task are over before those of another begin, and pass on to it; hence `Send`.
unsafe impl<T: Send> Sync for CpuLocal<T> {}

impl<T> CpuLocal<T> {
    /// Keeps a value for each processor.
    #[doc(hidden)]
    pub const fn new(values: [Own<T>; MAX_CPUS]) -> Self {
        Self(values)
    }

    /// Returns this processor's value.
    pub fn get_with<'a>(&'a self, _guard: &'a DisabledLocalIrqGuard) -> &'a T {
        &self.0[crate::arch::cpu::current_id().as_usize()].0
    }

    /// Returns a processor's value.
    pub fn get_on_cpu(&self, cpu: CpuId) -> &T
    where
        T: Sync,
    {
        &self.0[cpu.as_usize()].0
    }

    /// Returns this processor's value.
    pub fn get<'a>(&'a self, guard: &'a dyn InAtomicMode) -> &'a T
    where
        T: Sync,
    {
        self.get_on_cpu(CpuId::current(guard))
    }
}

impl<T> fmt::Debug for CpuLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuLocal").finish_non_exhaustive()
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use core::cell::Cell;
    use core::sync::atomic::{AtomicUsize, Ordering};

    use crate::cpu::{CpuId, CpuSet, disable_preempt};
    use crate::irq;
    use crate::prelude::*;

    cpu_local! {
        static COUNT: Cell<usize> = Cell::new(7);
        static SHARED: AtomicUsize = AtomicUsize::new(0);
    }

    #[ktest]
    fn value_is_kept_by_its_processor() {
        let irq_off = irq::disable_local();
        let count = COUNT.get_with(&irq_off);
        assert_eq!(count.replace(8), 7);
        assert_eq!(COUNT.get_with(&irq_off).replace(7), 8);
    }

    #[ktest]
    fn shared_values_of_all_processors_are_at_places_of_their_own() {
        let guard = disable_preempt();
        for cpu in CpuSet::new_full().iter() {
            SHARED
                .get_on_cpu(cpu)
                .store(cpu.as_usize(), Ordering::Relaxed);
        }
        let here = CpuId::current(&guard);
        assert_eq!(SHARED.get(&guard).load(Ordering::Relaxed), here.as_usize());
    }
}
