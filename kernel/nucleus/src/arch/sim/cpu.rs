//! Simulated processors: which one this thread plays, and interrupting others.
//!
//! An interrupt is delivered when its processor comes to a yield point with
//! interrupts on: when a guard that held interrupts off is dropped, when a thread
//! starts to play it. While it waits for a lock or a flush, it looks by itself,
//! whether they are on or off. A processor that no thread plays is idle: whoever
//! waits delivers its interrupts.

use core::sync::atomic::{AtomicU64, Ordering};

use super::interleave::{self, wait};
use super::machine::{current, play_if_idle};
use crate::cpu::{CpuId, PreemptState};
use crate::mm::frame::reserve;
use crate::mm::state::CpuMemory;

/// Returns the processor that asks.
pub(crate) fn current_id() -> CpuId {
    current().id
}

/// Returns the number of processors that run the kernel.
#[inline]
pub(crate) fn nr_cpus() -> usize {
    current().machine().cpus.len()
}

/// Returns the memory state of the processor that asks.
#[inline]
pub(crate) fn local() -> &'static CpuMemory {
    &current().memory
}

/// Returns the memory state of a processor.
pub(crate) fn of(cpu: CpuId) -> &'static CpuMemory {
    &current().machine().cpus[cpu.as_usize()].memory
}

/// Returns the memory states of all processors.
pub(crate) fn all() -> impl Iterator<Item = &'static CpuMemory> {
    current().machine().cpus.iter().map(|cpu| &cpu.memory)
}

/// Counts a guard that keeps the task on its processor.
///
/// # Panics
///
/// Panics when the count would overflow.
#[inline(always)]
pub(crate) fn enter_atomic() {
    let guards = &local().preempt.guards;
    guards.set(guards.get() + PreemptState::ONE_GUARD);
}

/// Uncounts a guard; returns whether it was the last and another task is due, which it
/// never is here.
#[inline(always)]
pub(crate) fn leave_atomic() -> bool {
    let guards = &local().preempt.guards;
    // This guard is counted, so nothing wraps.
    guards.set(guards.get().wrapping_sub(PreemptState::ONE_GUARD));
    guards.get() == 0
}

/// Returns whether the section has begun that [`begin_brief`] begins.
pub(crate) fn is_brief() -> bool {
    local().preempt.is_brief.get()
}

/// Begins a section that is as short as atomic mode without a count.
#[inline(always)]
pub(crate) fn begin_brief() {
    local().preempt.is_brief.set(true);
}

/// Ends that section.
#[inline(always)]
pub(crate) fn end_brief() {
    local().preempt.is_brief.set(false);
}

/// Adds to a count that this processor alone writes, and returns what it was.
pub(crate) fn fetch_add_here(count: &AtomicU64, addend: u64) -> u64 {
    // Relaxed: nobody else writes it.
    count.fetch_add(addend, Ordering::Relaxed)
}

/// Waits a moment for another processor, serving what it may wait for: with
/// interrupts off too, as on the bare machine (peer 63).
pub(crate) fn relax() {
    let here = current();
    here.interrupted.store(false, Ordering::Release);
    here.memory.flushes.serve_if_due();
    for other in &here.machine().cpus {
        // Acquire: what the interrupter queued is there to be served.
        if other.id != here.id && other.interrupted.load(Ordering::Acquire) {
            play_if_idle(other, || ());
        }
    }
    wait();
}

/// Delivers the interrupts of the processor that asks, if it takes any.
pub(super) fn serve_interrupts() {
    let cpu = current();
    // Acquire: what the interrupter queued is seen. Release: an interrupt that comes
    // later is another one.
    while cpu.irq_guards.get() == 0 && cpu.interrupted.swap(false, Ordering::AcqRel) {
        // The handler runs with interrupts off.
        cpu.irq_guards.set(1);
        cpu.memory.flushes.serve_if_due();
        reserve::serve();
        cpu.irq_guards.set(0);
    }
}

/// Has a processor flush what is in its queue.
pub(crate) fn interrupt_to_flush(cpu: CpuId) {
    // It is on its way for a while.
    interleave::switch();
    let machine = current().machine();
    machine.cpus[cpu.as_usize()]
        .interrupted
        // Release: what was queued is there when the interrupt is.
        .store(true, Ordering::Release);
}
