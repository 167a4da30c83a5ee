//! What one processor owns, found through its GS base (SDM vol. 3A, 3.4.4).
//!
//! In the kernel the GS base always points at the processor's [`CpuLocal`]; in
//! ring 3 it is the program's own, which may be any canonical address, and `swapgs`
//! exchanges the two on the way in and out. The entry code in assembly reaches the
//! first fields by the offsets that are exported here.

use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use x86_64::VirtAddr;
use x86_64::registers::model_specific::{GsBase, KernelGsBase};
use x86_64::structures::gdt::GlobalDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

use super::apic::ApicId;
use super::exception_stacks::OwnStacks;
use super::fpu::LiveRegisters;
use crate::cpu::{CpuId, MAX_CPUS, PreemptState};
use crate::mm::Vaddr;
use crate::mm::heap::Magazines;
use crate::mm::state::CpuMemory;
use crate::smp::CallQueue;
use crate::task::CpuTasks;

/// The state of one processor. Only that processor touches it, but for the
/// segment structures that the hardware reads, and for what is `Sync` of
/// `memory` and `calls`.
// Aligned, so that no two processors write the same line of a cache.
#[repr(C, align(128))]
pub(crate) struct CpuLocal {
    /// Its own address, so that `gs:0` yields a pointer.
    this: Cell<*const CpuLocal>,
    /// Stack pointer to return to when user mode ends; see `user_entry`.
    kernel_rsp: Cell<u64>,
    /// The user's stack pointer, for the three instructions that need a place.
    scratch: Cell<u64>,
    /// The processor's number.
    id: CpuId,
    /// Its name among the interrupt controllers.
    apic_id: Cell<ApicId>,
    /// The task-state segment: the stacks that the hardware switches to.
    pub(super) tss: UnsafeCell<TaskStateSegment>,
    /// The segment descriptors, of which that of the TSS is the processor's own.
    pub(super) gdt: UnsafeCell<GlobalDescriptorTable>,
    /// Where the stacks are that are the processor's own.
    pub(super) stacks: OwnStacks,
    /// Live guards that hold interrupts off.
    pub(super) irq_guards: IrqGuards,
    /// Whose registers of ring 3 the processor has.
    pub(super) live_registers: LiveRegisters,
    /// The processor's part in the memory system.
    pub(super) memory: CpuMemory,
    /// Blocks of the heap that the processor has at hand.
    pub(super) magazines: Magazines,
    /// What others have it call.
    pub(super) calls: CallQueue,
    /// The processor's part in running tasks.
    pub(super) tasks: CpuTasks,
}

impl CpuLocal {
    /// Returns the state of a processor that has not started.
    pub(super) const fn new(id: CpuId) -> Self {
        Self {
            this: Cell::new(ptr::null()),
            kernel_rsp: Cell::new(0),
            scratch: Cell::new(0),
            id,
            apic_id: Cell::new(ApicId(0)),
            tss: UnsafeCell::new(TaskStateSegment::new()),
            gdt: UnsafeCell::new(GlobalDescriptorTable::empty()),
            stacks: OwnStacks::new(),
            irq_guards: IrqGuards::new(),
            live_registers: LiveRegisters::new(),
            memory: CpuMemory::new(),
            magazines: Magazines::new(),
            calls: CallQueue::new(),
            tasks: CpuTasks::new(),
        }
    }

    /// Returns the processor's number.
    pub(super) fn id(&self) -> CpuId {
        self.id
    }

    /// Notes the stack that the processor has when it has nothing to do.
    pub(crate) fn note_idle_stack(&self, stack: Range<Vaddr>) {
        self.stacks.set_idle(stack);
    }

    /// Notes the processor's name among the interrupt controllers, before others
    /// know of the processor.
    pub(super) fn set_apic_id(&self, id: ApicId) {
        self.apic_id.set(id);
    }

    /// Returns the processor's name among the interrupt controllers.
    pub(super) fn apic_id(&self) -> ApicId {
        self.apic_id.get()
    }
}

/// Offset of [`CpuLocal`]'s `kernel_rsp` from the GS base.
pub(super) const KERNEL_RSP: usize = offset_of!(CpuLocal, kernel_rsp);
/// Offset of [`CpuLocal`]'s `scratch` from the GS base.
pub(super) const SCRATCH: usize = offset_of!(CpuLocal, scratch);
/// Offset of the stack that the hardware takes on a trap from ring 3: the end of the
/// register frame that the next way out of user mode fills in.
pub(super) const USER_FRAME_END: usize =
    offset_of!(CpuLocal, tss) + offset_of!(TaskStateSegment, privilege_stack_table);

/// Offset of the guards that keep a task here, from the GS base.
pub(super) const GUARDS: usize = PREEMPT + PreemptState::GUARDS;
/// Offset of the mark of a brief section, from the GS base.
pub(super) const BRIEF: usize = PREEMPT + PreemptState::BRIEF;
const PREEMPT: usize = offset_of!(CpuLocal, memory) + offset_of!(CpuMemory, preempt);

/// The count of live interrupt guards, and how the flag was before the first.
pub(super) struct IrqGuards {
    depth: Cell<u32>,
    restore: Cell<bool>,
}

impl IrqGuards {
    const fn new() -> Self {
        Self {
            depth: Cell::new(0),
            restore: Cell::new(false),
        }
    }

    /// Counts a guard; interrupts are off already and were `was_enabled` before.
    pub(super) fn enter(&self, was_enabled: bool) {
        if self.depth.get() == 0 {
            self.restore.set(was_enabled);
        }
        self.depth.set(self.depth.get() + 1);
    }

    /// Uncounts a guard and returns whether interrupts are to be switched on.
    pub(super) fn leave(&self) -> bool {
        self.depth.set(self.depth.get() - 1);
        self.depth.get() == 0 && self.restore.get()
    }

    /// Returns whether no guard lives.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.depth.get() == 0
    }

    /// Forgets the guards of a task that was abandoned.
    #[cfg(ktest)]
    pub(super) fn abandon(&self) {
        self.depth.set(0);
    }
}

/// The boot processor's own.
static BOOT_CPU: BootCpu = BootCpu(CpuLocal::new(CpuId::bsp()));

struct BootCpu(CpuLocal);

// SAFETY: Only the boot processor gets at the value, through its GS base; others
// get at its parts that are `Sync`, by `of`.
unsafe impl Sync for BootCpu {}

/// The states of all processors, by their numbers.
static CPUS: [AtomicPtr<CpuLocal>; MAX_CPUS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS];
/// How many of them there are.
static NR_CPUS: AtomicUsize = AtomicUsize::new(1);

/// Points the boot processor's GS base at its [`CpuLocal`].
///
/// Must run before the first lock is taken.
pub(crate) fn init_boot_cpu() {
    let local = &BOOT_CPU.0;
    // Relaxed: there is no other processor yet.
    CPUS[0].store(ptr::from_ref(local).cast_mut(), Ordering::Relaxed);
    // SAFETY: The value is a static, and this is the boot processor.
    unsafe { install(local) };
}

/// Points this processor's GS base at its state.
///
/// # Safety
///
/// `local` is this processor's, and no other's.
pub(super) unsafe fn install(local: &'static CpuLocal) {
    local.this.set(local);
    GsBase::write(VirtAddr::from_ptr(local));
    KernelGsBase::write(VirtAddr::zero());
}

/// Makes a processor known to the others: from here on they ask it to flush.
///
/// # Panics
///
/// Panics when it is not the next one by its number.
pub(super) fn publish(local: &'static CpuLocal) {
    let index = local.id.as_usize();
    assert_eq!(index, nr_cpus(), "processors are numbered as they answer");
    // Relaxed: published by the store below.
    CPUS[index].store(ptr::from_ref(local).cast_mut(), Ordering::Relaxed);
    // Release: whoever counts the processor finds its state.
    NR_CPUS.store(index + 1, Ordering::Release);
}

/// Returns the number of processors that run the kernel.
#[inline]
pub(super) fn nr_cpus() -> usize {
    // Acquire: pairs with the Release in `publish`.
    NR_CPUS.load(Ordering::Acquire)
}

/// Returns the state of a processor, of which the caller may use what is `Sync`,
/// and what never changes.
///
/// # Panics
///
/// Panics when the machine has no such processor.
#[inline]
pub(super) fn of(cpu: CpuId) -> &'static CpuLocal {
    assert!(cpu.as_usize() < nr_cpus(), "{cpu:?} does not run");
    // Relaxed: ordered by the count.
    let local = CPUS[cpu.as_usize()].load(Ordering::Relaxed);
    // SAFETY: Below the count, each is a `CpuLocal` that lives for ever.
    unsafe { &*local }
}

/// Returns the state of the processor that asks.
///
/// The caller must not keep it across a point where it could be moved to another
/// processor: it is in atomic mode, or has interrupts off.
#[inline]
pub(crate) fn current() -> &'static CpuLocal {
    let this: *const CpuLocal;
    // Pure: what is asked twice is read once, if nothing between writes to memory, as
    // whatever begins and ends atomic mode does, or may.
    // SAFETY: The GS base points at this processor's `CpuLocal` from
    // `install` on, and its first field is its address.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) this, options(pure, nostack, preserves_flags, readonly))
    };
    // SAFETY: The value lives for ever, and only this processor uses it.
    unsafe { &*this }
}

/// Returns whether another task is due here. With interrupts on it may soon be another
/// processor that was asked; either way the scheduler looks again.
#[inline(always)]
pub(super) fn is_reschedule_due() -> bool {
    // SAFETY: In the kernel, the word is at this offset from the GS base.
    unsafe {
        asm!(
            "test byte ptr gs:[{word}], {is_not_due}",
            "jz {due}",
            word = const GUARDS,
            is_not_due = const PreemptState::IS_NOT_DUE,
            due = label { return true },
            options(nostack, readonly),
        );
    }
    false
}

/// Forgets the guards of an abandoned task, what it had begun to flush, and that it died
/// in the handler of an exception.
#[cfg(ktest)]
pub(crate) fn abandon_guards() {
    let local = current();
    local.irq_guards.abandon();
    local.memory.preempt.abandon();
    local.memory.locks.abandon();
    local.memory.rcu.abandon();
    local.memory.flush_buffers.abandon();
    super::exception_stacks::abandon();
}

#[cfg(ktest)]
mod tests {
    use super::IrqGuards;
    use crate::prelude::*;

    #[ktest]
    #[should_panic(expected = "overflow")]
    fn peer_081_count_of_interrupt_guards_stops_the_machine_before_it_wraps() {
        let guards = IrqGuards::new();
        guards.enter(true);
        guards.depth.set(u32::MAX);
        guards.enter(false);
    }
}
