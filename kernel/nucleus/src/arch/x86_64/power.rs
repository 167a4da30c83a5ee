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

/// Resets the machine, as ACPI's tables say, or by the keyboard controller, whose
/// output 0 is the reset line of the processors.
pub(crate) fn reset() {
    const KEYBOARD_COMMAND: u16 = 0x64;
    const PULSE_RESET: u8 = 0xfe;
    if let Some(register) = platform::try_get().and_then(|platform| platform.reset) {
        // SAFETY: ACPI's tables name the port and the value for this.
        unsafe { Port::<u8>::new(register.port).write(register.value) };
    }
    // SAFETY: On a machine without the controller nobody listens.
    unsafe { Port::<u8>::new(KEYBOARD_COMMAND).write(PULSE_RESET) };
}

/// Stops the processor for ever.
pub(crate) fn halt() -> ! {
    irq::disable();
    loop {
        hlt();
    }
}
