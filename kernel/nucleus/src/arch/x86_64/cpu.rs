//! Processors: which one this is, and interrupting the others.

use core::arch::asm;
use core::sync::atomic::AtomicU64;

use super::apic;
use super::idt::vector;
use super::local::{self, BRIEF, GUARDS};
use crate::cpu::atomic_mode::is_guarded;
use crate::cpu::{CpuId, CpuSet, PreemptState};
use crate::mm::heap::Magazines;
use crate::mm::state::CpuMemory;
use crate::smp::CallQueue;
use crate::task::CpuTasks;

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

/// Returns the blocks of the heap that the processor that asks has at hand.
#[inline]
pub(crate) fn magazines() -> &'static Magazines {
    &local::current().magazines
}

/// Returns the blocks of the heap that each processor has at hand, of which others may
/// use the counts.
pub(crate) fn all_magazines() -> impl Iterator<Item = &'static Magazines> {
    CpuSet::new_full()
        .iter()
        .map(|cpu| &local::of(cpu).magazines)
}

/// Returns what the processor that asks has of tasks.
#[inline]
pub(crate) fn tasks() -> &'static CpuTasks {
    &local::current().tasks
}

/// Returns what a processor has of tasks.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub(crate) fn tasks_of(cpu: CpuId) -> &'static CpuTasks {
    &local::of(cpu).tasks
}

/// Counts a guard that keeps the task on its processor. A single instruction, so that
/// the task is not moved to another processor on the way to this one's count.
///
/// # Panics
///
/// Panics when the count would overflow.
#[inline(always)]
pub(crate) fn enter_atomic() {
    // SAFETY: In the kernel, the count is at this offset from the GS base.
    unsafe {
        asm!(
            "add dword ptr gs:[{word}], {one}",
            "jc {overflow}",
            word = const GUARDS,
            one = const PreemptState::ONE_GUARD,
            overflow = label { guards_overflow() },
            options(nostack),
        );
    }
}

#[cold]
fn guards_overflow() -> ! {
    panic!("the count of guards would overflow");
}

/// Uncounts a guard; returns whether it was the last and another task is due.
#[inline(always)]
pub(crate) fn leave_atomic() -> bool {
    // SAFETY: As in `enter_atomic`.
    unsafe {
        asm!(
            "sub dword ptr gs:[{word}], {one}",
            "jz {due}",
            word = const GUARDS,
            one = const PreemptState::ONE_GUARD,
            due = label { return true },
            options(nostack),
        );
    }
    false
}

/// Returns whether the section has begun that [`begin_brief`] begins.
pub(crate) fn is_brief() -> bool {
    let is_brief: u8;
    // SAFETY: In the kernel, the mark is at this offset from the GS base.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg_byte) is_brief, const BRIEF, options(nostack, preserves_flags, readonly))
    };
    is_brief != 0
}

/// Begins a section that is as short as atomic mode without a count.
#[inline(always)]
pub(crate) fn begin_brief() {
    // SAFETY: In the kernel, the mark is at this offset from the GS base.
    unsafe { asm!("mov byte ptr gs:[{}], 1", const BRIEF, options(nostack, preserves_flags)) };
}

/// Ends that section.
#[inline(always)]
pub(crate) fn end_brief() {
    // SAFETY: As in `begin_brief`.
    unsafe { asm!("mov byte ptr gs:[{}], 0", const BRIEF, options(nostack, preserves_flags)) };
}

/// Has this processor run another task as soon as the current one allows it.
pub(crate) fn request_reschedule() {
    // SAFETY: As in `enter_atomic`.
    unsafe {
        asm!("and dword ptr gs:[{}], {}", const GUARDS, const !PreemptState::IS_NOT_DUE as i32, options(nostack))
    };
}

/// Takes back what [`request_reschedule`] asked for.
pub(crate) fn withdraw_reschedule() {
    // SAFETY: As in `enter_atomic`.
    unsafe {
        asm!("or dword ptr gs:[{}], {}", const GUARDS, const PreemptState::IS_NOT_DUE, options(nostack))
    };
}

/// Returns whether another task is due and the current one allows it, but for the
/// interrupt flag.
#[inline(always)]
pub(crate) fn is_preemption_due() -> bool {
    local::is_reschedule_due() && !is_guarded()
}

/// Adds to a count that this processor alone writes, and returns what it was. A single
/// instruction, so that no interrupt gets in between; other processors could.
#[inline(always)]
pub(crate) fn fetch_add_here(count: &AtomicU64, addend: u64) -> u64 {
    let mut was = addend;
    // SAFETY: The word may be written, since it is an atomic one that is borrowed.
    unsafe {
        asm!("xadd qword ptr [{}], {}", in(reg) count.as_ptr(), inout(reg) was, options(nostack))
    };
    was
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

/// Interrupts a processor whatever it does: to stop, or to say where it is.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub(crate) fn interrupt_unmaskably(cpu: CpuId) {
    apic::send_nmi(local::of(cpu).apic_id());
}

/// Has a processor look for a task to run.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub(crate) fn interrupt_to_reschedule(cpu: CpuId) {
    apic::send(local::of(cpu).apic_id(), vector::RESCHEDULE);
}
