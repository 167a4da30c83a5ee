//! Processors: which one this is, and interrupting the others.

use super::idt::vector;
use super::{apic, local};
use crate::cpu::{CpuId, CpuSet};
use crate::mm::state::CpuMemory;
use crate::smp::CallQueue;

/// Returns the processor that asks.
#[inline]
pub(crate) fn current_id() -> CpuId {
    local::current().id()
}

/// Returns the number of processors that run the kernel.
#[inline]
pub(crate) fn nr_cpus() -> usize {
    local::nr_cpus()
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
#[inline]
pub(crate) fn of(cpu: CpuId) -> &'static CpuMemory {
    &local::of(cpu).memory
}

/// Returns the memory states of all processors.
pub(crate) fn all() -> impl Iterator<Item = &'static CpuMemory> {
    CpuSet::new_full().iter().map(of)
}

/// Returns what a processor is to call.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub(crate) fn calls_of(cpu: CpuId) -> &'static CallQueue {
    &local::of(cpu).calls
}

/// Waits a moment for another processor, serving what it may wait for.
#[inline]
pub(crate) fn relax() {
    local().flushes.serve_if_due();
    core::hint::spin_loop();
}

/// Has a processor flush what is in its queue.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub(crate) fn interrupt_to_flush(cpu: CpuId) {
    apic::send(local::of(cpu).apic_id(), vector::FLUSH);
}

/// Has a processor call what is in its queue.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub(crate) fn interrupt_to_call(cpu: CpuId) {
    apic::send(local::of(cpu).apic_id(), vector::CALL);
}

/// Has a processor stop, whatever it does, if a panic is reported.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub(crate) fn interrupt_to_stop(cpu: CpuId) {
    apic::send_nmi(local::of(cpu).apic_id());
}
