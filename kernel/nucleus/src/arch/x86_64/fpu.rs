//! The floating-point and vector registers (SDM vol. 1, 10.5 and 13).
//!
//! The kernel is compiled without them, so what they hold is always ring 3's;
//! where it uses one to zero a page, it puts it back as it was before its task can
//! leave the processor.
//!
//! They are saved when a task that has been in ring 3 since leaves its processor, and
//! loaded when it enters ring 3 next, unless the processor still has them.

use core::arch::asm;

use super::{cpu, features};
use crate::mm::Vaddr;
use crate::task::Task;

/// Bytes of the area where a task's registers are saved. `xsave` needs 832 of them for
/// what start-up switches on: 512 for the old registers, 64 for its header, and 256 for
/// the upper halves of the wide ones.
pub(crate) const AREA_SIZE: usize = 1024;

/// The memory image of `fxsave`.
#[repr(C, align(16))]
struct FxArea([u8; 512]);

/// The state after power-up as the System V ABI wants it: all exceptions masked,
/// extended precision, every register zero.
static INITIAL: FxArea = {
    let mut area = [0; 512];
    area[0] = 0x7f; // control word 0x037f
    area[1] = 0x03;
    area[24] = 0x80; // MXCSR 0x1f80
    area[25] = 0x1f;
    FxArea(area)
};

/// Prepares an area to save registers in: the header of `xsave` has to be zero.
///
/// # Safety
///
/// The [`AREA_SIZE`] bytes at the address are mapped and nobody else's.
pub(crate) unsafe fn prepare_area(area: Vaddr) {
    assert!(area.is_multiple_of(64), "`xsave` wants aligned areas");
    // SAFETY: As the caller promises.
    unsafe { (area as *mut u8).write_bytes(0, AREA_SIZE) };
}

/// Has the registers hold what a task's program left in them, or what programs start
/// with if it is another program than before. Interrupts are off, and ring 3 is about
/// to be entered.
///
/// # Panics
///
/// Panics when the task cannot enter ring 3: a processor's own.
pub(crate) fn load_for(task: &Task, program: u64) {
    let registers = &task.user;
    let here = cpu::current_id();
    let owner = &cpu::tasks().user_owner;
    assert!(registers.area.get() != 0, "{task:?} has no programs");
    if registers.program.replace(program) != program {
        load_initial_state();
    } else if owner.get() != task || registers.cpu.get() != Some(here) {
        load(registers.area.get());
    }
    owner.set(task);
    registers.cpu.set(Some(here));
    registers.is_changed.set(true);
}

/// Saves what a task has left in the registers, if anything. Interrupts are off, and
/// the task is about to leave the processor.
pub(crate) fn save_of(task: &Task) -> bool {
    let is_changed = task.user.is_changed.replace(false);
    if is_changed {
        save(task.user.area.get());
    }
    is_changed
}

/// Loads the state that a program starts with.
fn load_initial_state() {
    // SAFETY: Start-up switched `fxrstor` on; the area is aligned and valid, and
    // the kernel keeps nothing in these registers.
    unsafe { asm!("fxrstor64 [{}]", in(reg) &raw const INITIAL, options(nostack, readonly)) };
    if features::has_avx() {
        // SAFETY: Start-up switched the wide registers on; as above.
        unsafe { asm!("vzeroall", options(nostack, nomem)) };
    }
}

/// Saves all of the registers.
fn save(area: Vaddr) {
    if features::has_avx() {
        // SAFETY: Start-up switched `xsave` on. The area is a task's, prepared, aligned
        // and large enough for all that is switched on.
        unsafe {
            asm!("xsave64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX, options(nostack))
        };
    } else {
        // SAFETY: As above, for `fxsave`.
        unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) };
    }
}

/// Loads all of the registers.
fn load(area: Vaddr) {
    if features::has_avx() {
        // SAFETY: The area was filled in by `save`, for these features; the kernel keeps
        // nothing in the registers.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX, options(nostack, readonly))
        };
    } else {
        // SAFETY: As above, for `fxrstor`.
        unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack, readonly)) };
    }
}
