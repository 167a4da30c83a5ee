//! Breakpoints of the hardware (SDM vol. 3B, 18.2): the kernel has none of its own.
//!
//! They serve to have the handler of the debug exception interrupted by itself, which
//! shows that this is noticed; and they are taken back before it is reported.

use x86_64::registers::debug::{DebugAddressRegister, Dr0, Dr7, Dr7Flags, Dr7Value};

use super::trap;

/// Removes all of this processor's.
pub(super) fn clear() {
    Dr7::write_raw(0);
}

/// Raises a debug exception whose handler runs into a breakpoint, to show the report.
pub(crate) fn nest_debug_exceptions() {
    let handler = trap::handle_trap_on_own_stack as *const () as u64;
    Dr0::write(handler);
    // All other fields zero: the fetch of the instruction there.
    let enabled = Dr7Flags::GLOBAL_BREAKPOINT_0_ENABLE;
    Dr7::write(Dr7Value::from_bits_truncate(enabled.bits()));
    // SAFETY: The handler of a debug exception returns, if it does, with every register.
    unsafe { core::arch::asm!("int 1") };
}
