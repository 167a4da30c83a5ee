//! The floating-point and SSE registers (SDM vol. 1, 10.5).
//!
//! The kernel is compiled without them, so what they hold is always ring 3's;
//! where it uses one to zero a page, it puts it back as it was.

use core::arch::asm;

use super::features;

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

/// Loads the state that a program starts with.
pub(crate) fn load_initial_state() {
    // SAFETY: Start-up switched `fxrstor` on; the area is aligned and valid, and
    // the kernel keeps nothing in these registers.
    unsafe { asm!("fxrstor64 [{}]", in(reg) &raw const INITIAL, options(nostack, readonly)) };
    if features::get().avx {
        // SAFETY: Start-up switched the wide registers on; as above.
        unsafe { asm!("vzeroall", options(nostack, nomem)) };
    }
}
