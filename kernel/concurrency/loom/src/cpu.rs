//! Stands for the processors: two of them, and their sets.

#[path = "../../../nucleus/src/cpu/set.rs"]
mod set;

pub(crate) use self::set::{AtomicCpuSet, CpuSet};

/// Most processors that a machine may have.
pub(crate) const MAX_CPUS: usize = 64;

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuId(u32);

impl CpuId {
    pub(crate) const fn new(index: u32) -> Self {
        Self(index)
    }
}

/// Returns the number of processors.
pub(crate) const fn num_cpus() -> usize {
    3
}
