//! Ways to end the machine: QEMU's debug-exit device, ACPI (specification 6.5,
//! 4.8.3 and 16.1), or at least a halt.

use core::iter;

use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;

use super::irq;
use crate::boot::platform::{self, PortWrite};

/// Port of the debug-exit device, as `xtask` configures QEMU.
const DEBUG_EXIT_PORT: u16 = 0xf4;

/// Ends QEMU with a code, if the device is there.
pub(crate) fn debug_exit(code: u32) {
    // SAFETY: The command line says that the device is at this port.
    unsafe { Port::<u32>::new(DEBUG_EXIT_PORT).write(code) };
}

/// Powers the machine off, if ACPI's tables said how.
pub(crate) fn acpi_power_off() {
    let Some(ports) = platform::try_get().and_then(|platform| platform.power_off) else {
        return;
    };
    for PortWrite { port, value } in iter::once(ports.a).chain(ports.b) {
        // SAFETY: ACPI's tables name the port and the value for this.
        unsafe { Port::<u16>::new(port).write(value) };
    }
}

/// Stops the processor for ever.
pub(crate) fn halt() -> ! {
    irq::disable();
    loop {
        hlt();
    }
}
