//! How far all processors have to be with what they were asked to flush.

use crate::arch::cpu;
use crate::cpu::{CpuSet, MAX_CPUS};

/// How far each processor has to be with its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark([u64; MAX_CPUS]);

impl FlushMark {
    pub(crate) const fn new() -> Self {
        Self([0; MAX_CPUS])
    }

    /// Means all requests that were made so far.
    pub(crate) fn set_to_requested(&mut self) {
        for cpu in CpuSet::new_full().iter() {
            self.0[cpu.as_usize()] = cpu::of(cpu).flushes.requested();
        }
    }

    /// Returns whether all processors have done theirs.
    pub(crate) fn is_reached(&self) -> bool {
        let mut cpus = CpuSet::new_full().iter();
        cpus.all(|cpu| cpu::of(cpu).flushes.done() >= self.0[cpu.as_usize()])
    }
}
