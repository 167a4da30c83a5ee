//! Processors: which one this is, and interrupting the others. One so far.

use super::local;
use crate::cpu::CpuId;
use crate::mm::state::CpuMemory;

/// Returns the processor that asks.
pub(crate) fn current_id() -> CpuId {
    CpuId::bsp()
}

/// Returns the number of processors that run the kernel.
pub(crate) fn nr_cpus() -> usize {
    1
}

/// Returns the memory state of the processor that asks.
#[inline]
pub(crate) fn local() -> &'static CpuMemory {
    &local::current().memory
}

/// Returns the memory state of a processor.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub(crate) fn of(cpu: CpuId) -> &'static CpuMemory {
    assert!(cpu == CpuId::bsp(), "{cpu:?} does not run");
    local()
}

/// Returns the memory states of all processors.
pub(crate) fn all() -> impl Iterator<Item = &'static CpuMemory> {
    core::iter::once(local())
}

/// Waits a moment for another processor, serving what it may wait for.
pub(crate) fn relax() {
    local().flushes.serve_if_due();
    core::hint::spin_loop();
}

/// Has a processor flush what is in its queue.
///
/// # Panics
///
/// Panics, since no other processor runs the kernel.
pub(crate) fn interrupt_to_flush(cpu: CpuId) {
    unreachable!("{cpu:?} does not run, so it has nothing to flush");
}
