//! Ways to end the machine: QEMU's debug-exit device, ACPI (specification 6.5,
//! 4.8.3 and 16.1), or at least a halt.

use core::sync::atomic::{AtomicU32, Ordering};

use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;

use super::irq;

/// Port of the debug-exit device, as `xtask` configures QEMU.
const DEBUG_EXIT_PORT: u16 = 0xf4;

/// Ports and values that enter sleep state S5, found at start-up: port A in the
/// low half and the value in the high one; zero when there is none.
static PM1A: AtomicU32 = AtomicU32::new(0);
/// As [`PM1A`], for the second control block that some machines have.
static PM1B: AtomicU32 = AtomicU32::new(0);

/// Remembers how ACPI powers the machine off.
pub(crate) fn set_acpi_power_off(control_a: (u16, u16), control_b: Option<(u16, u16)>) {
    let pack = |(port, value): (u16, u16)| u32::from(port) | u32::from(value) << 16;
    // Relaxed: single words, written at start-up by the only processor.
    PM1A.store(pack(control_a), Ordering::Relaxed);
    PM1B.store(control_b.map_or(0, pack), Ordering::Relaxed);
}

/// Ends QEMU with a code, if the device is there.
pub(crate) fn debug_exit(code: u32) {
    // SAFETY: The command line says that the device is at this port.
    unsafe { Port::<u32>::new(DEBUG_EXIT_PORT).write(code) };
}

/// Powers the machine off, if start-up found out how.
pub(crate) fn acpi_power_off() {
    for control in [&PM1A, &PM1B] {
        // Relaxed: a single word.
        let packed = control.load(Ordering::Relaxed);
        let (port, value) = (packed as u16, (packed >> 16) as u16);
        if port != 0 {
            // SAFETY: ACPI's tables name the port and the value for this.
            unsafe { Port::<u16>::new(port).write(value) };
        }
    }
}

/// Stops the processor for ever.
pub(crate) fn halt() -> ! {
    irq::disable();
    loop {
        hlt();
    }
}
