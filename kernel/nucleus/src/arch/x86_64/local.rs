//! What one processor owns, found through its GS base (SDM vol. 3A, 3.4.4).
//!
//! In the kernel the GS base always points at the processor's [`CpuLocal`]; in
//! ring 3 it is the program's own, and `swapgs` exchanges the two on the way in
//! and out. The entry code in assembly reaches the first fields by the offsets
//! that are exported here.

use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;

use x86_64::VirtAddr;
use x86_64::registers::model_specific::{GsBase, KernelGsBase};
use x86_64::structures::tss::TaskStateSegment;

use crate::cpu::PreemptState;
use crate::mm::state::CpuMemory;
use crate::task::CpuTasks;

/// The state of one processor. Only that processor touches it, but for the
/// segment structures that the hardware reads.
#[repr(C)]
pub(crate) struct CpuLocal {
    /// Its own address, so that `gs:0` yields a pointer.
    this: Cell<*const CpuLocal>,
    /// Stack pointer to return to when user mode ends; see `user_entry`.
    kernel_rsp: Cell<u64>,
    /// End of the register frame that the next way out of user mode fills in.
    user_frame_end: Cell<u64>,
    /// The user's stack pointer, for the three instructions that need a place.
    scratch: Cell<u64>,
    /// The task-state segment: the stacks that the hardware switches to.
    pub(super) tss: UnsafeCell<TaskStateSegment>,
    /// Live guards that hold interrupts off.
    pub(super) irq_guards: IrqGuards,
    /// The FS base that the register holds, to save needless writes.
    pub(super) fs_base: Cell<u64>,
    /// The processor's part in the memory system.
    pub(super) memory: CpuMemory,
    /// The processor's part in running tasks.
    pub(super) tasks: CpuTasks,
}

/// Offset of [`CpuLocal`]'s `kernel_rsp` from the GS base.
pub(super) const KERNEL_RSP: usize = offset_of!(CpuLocal, kernel_rsp);
/// Offset of [`CpuLocal`]'s `user_frame_end` from the GS base.
pub(super) const USER_FRAME_END: usize = offset_of!(CpuLocal, user_frame_end);
/// Offset of [`CpuLocal`]'s `scratch` from the GS base.
pub(super) const SCRATCH: usize = offset_of!(CpuLocal, scratch);
/// Offset of the stack that the hardware takes on a trap from ring 3.
pub(super) const TSS_RSP0: usize =
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

    /// Forgets the guards of a task that was abandoned.
    #[cfg(ktest)]
    pub(super) fn abandon(&self) {
        self.depth.set(0);
    }
}

/// The boot processor's own.
static BOOT_CPU: BootCpu = BootCpu(CpuLocal {
    this: Cell::new(core::ptr::null()),
    kernel_rsp: Cell::new(0),
    user_frame_end: Cell::new(0),
    scratch: Cell::new(0),
    tss: UnsafeCell::new(TaskStateSegment::new()),
    irq_guards: IrqGuards::new(),
    fs_base: Cell::new(0),
    memory: CpuMemory::new(),
    tasks: CpuTasks::new(),
});

struct BootCpu(CpuLocal);

// SAFETY: Only the boot processor gets at the value, through its GS base.
unsafe impl Sync for BootCpu {}

/// Points the boot processor's GS base at its [`CpuLocal`].
///
/// Must run before the first lock is taken.
pub(crate) fn init_boot_cpu() {
    let local = &BOOT_CPU.0;
    local.this.set(local);
    GsBase::write(VirtAddr::from_ptr(local));
    KernelGsBase::write(VirtAddr::zero());
}

/// Returns the state of the processor that asks.
///
/// The caller must not keep it across a point where it could be moved to another
/// processor: it is in atomic mode, or has interrupts off.
pub(crate) fn current() -> &'static CpuLocal {
    let this: *const CpuLocal;
    // SAFETY: The GS base points at this processor's `CpuLocal` from
    // `init_boot_cpu` on, and its first field is its address.
    unsafe { asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, readonly)) };
    // SAFETY: The value is a static, and only this processor uses it.
    unsafe { &*this }
}

/// Returns whether another task is due here, now that interrupts are on. By then it
/// may be another processor that is asked; either way the scheduler looks again.
pub(super) fn is_reschedule_due() -> bool {
    let is_due: u8;
    // SAFETY: In the kernel, the word is at this offset from the GS base.
    unsafe {
        asm!("test byte ptr gs:[{}], 1", "setz {}", const GUARDS, out(reg_byte) is_due, options(nostack, readonly))
    };
    is_due != 0
}

/// Forgets the guards of an abandoned task, and what it had begun to flush.
#[cfg(ktest)]
pub(crate) fn abandon_guards() {
    let local = current();
    local.irq_guards.abandon();
    local.memory.preempt.abandon();
    local.memory.held.abandon();
    local.memory.rcu.abandon();
    local.memory.flush_buffers.abandon();
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
