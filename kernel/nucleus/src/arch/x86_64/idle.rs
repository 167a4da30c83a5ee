//! Sleeping until there is something to do: `hlt`, and `monitor` with `mwait` (SDM
//! vol. 2A and 2B).
//!
//! `mwait` also wakes when another processor writes the line of memory that is watched,
//! which saves an interrupt. An emulator or hypervisor may have it and yet not sleep by
//! it, so there it is not used.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

/// Returns whether the processor can watch memory while it sleeps.
pub(crate) fn can_watch() -> bool {
    const MONITOR: u32 = 1 << 3;
    const HYPERVISOR: u32 = 1 << 31;
    __cpuid(1).ecx & (MONITOR | HYPERVISOR) == MONITOR
}

/// Starts to watch the line of memory at an address. The processor has to be able to.
pub(crate) fn watch(address: *const u8) {
    // SAFETY: `monitor` reads the address at most, and changes nothing.
    unsafe {
        asm!("monitor", in("rax") address, in("ecx") 0, in("edx") 0, options(nostack, preserves_flags));
    }
}

/// Sleeps until the line that is watched is written, or was since [`watch`], or an
/// interrupt has been handled. Interrupts are on afterwards.
///
/// They are switched on by the instruction before `mwait`, which takes effect one
/// later, so that none is slept through.
pub(crate) fn wait_for_write_or_interrupt() {
    // SAFETY: The kernel takes interrupts here, and `mwait` changes nothing.
    unsafe { asm!("sti", "mwait", in("eax") 0, in("ecx") 0, options(nostack)) };
}
