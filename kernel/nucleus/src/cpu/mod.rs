//! Processors: their names, sets of them, and the proof of staying on one.
//!
//! * [`CpuId`], [`num_cpus`]: which processor, of how many.
//! * [`CpuSet`], [`AtomicCpuSet`]: sets of processors.
//! * [`CpuLocal`]: storage of which each has its own.
//! * [`InAtomicMode`]: what a guard proves that keeps its task on its processor.

pub(crate) mod atomic_mode;
mod local;
mod set;
#[cfg(any(test, ktest))]
mod set_tests;

pub use self::atomic_mode::{DisabledPreemptGuard, InAtomicMode, disable_preempt};
pub(crate) use self::atomic_mode::{PreemptState, brief, is_atomic, may_switch};
pub use self::local::{CpuLocal, Own};
pub use self::set::{AtomicCpuSet, CpuSet};
use crate::arch::cpu;

/// Most processors that a machine may have.
pub const MAX_CPUS: usize = 64;

/// A processor: a number below [`num_cpus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(u32);

impl CpuId {
    /// Returns the processor that started the machine.
    pub const fn bsp() -> Self {
        Self(0)
    }

    /// Names a processor by its number.
    ///
    /// # Panics
    ///
    /// Panics when `index` is not below [`MAX_CPUS`].
    pub const fn new(index: usize) -> Self {
        assert!(index < MAX_CPUS, "no machine has so many processors");
        Self(index as u32)
    }

    /// Returns the processor that asks; it stays that one while `guard` lives.
    pub fn current(_guard: &dyn InAtomicMode) -> Self {
        cpu::current_id()
    }

    /// Returns the processor's number.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// Returns the number of processors that run the kernel.
pub fn num_cpus() -> usize {
    cpu::nr_cpus()
}
