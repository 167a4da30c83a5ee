//! Ending the machine.
//!
//! Under QEMU a device made for this takes a code at a port and ends the
//! emulator with it; the command-line option `debug-exit` says that it is
//! there. Everything else is powered off by ACPI, and halted if that fails.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::x86_64::{irq, power, serial};
use crate::console;
pub use crate::exit_code::ExitCode;

static DEBUG_EXIT: AtomicBool = AtomicBool::new(false);

/// Says that QEMU's debug-exit device is there; from the command line.
pub(crate) fn use_debug_exit() {
    // Relaxed: one flag, written at start-up by the only processor.
    DEBUG_EXIT.store(true, Ordering::Relaxed);
}

/// Ends the machine with a code. Callable in any context.
pub fn exit(code: ExitCode) -> ! {
    irq::disable();
    console::show_rest();
    serial::drain();
    // Relaxed: as it is written.
    if DEBUG_EXIT.load(Ordering::Relaxed) {
        power::debug_exit(code as u32);
    }
    power::acpi_power_off();
    power::halt()
}

/// Resets the machine, or halts it if there is no way. Callable in any context.
pub fn restart() -> ! {
    irq::disable();
    console::show_rest();
    serial::drain();
    power::reset();
    power::halt()
}
