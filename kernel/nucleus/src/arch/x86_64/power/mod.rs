//! Ways to end the machine: QEMU's debug-exit device, ACPI (specification 6.5, 4.8.3
//! and 16.1), the ways to reset a PC, or at least a halt.
//!
//! **Power-off** by ACPI's control registers, of 16 bits:
//!
//! ```text
//!   13    12  10        0
//! ┌──────┬──────┬─ ─ ─┬───┐
//! │ go   │ type │     │SCI│   SCI: the operating system has these registers, not firmware
//! └──────┴──────┴─ ─ ─┴───┘
//! ```
//!
//! A machine that was started by a BIOS has them with firmware as a rule, which then may
//! ignore them or do something of its own. So they are asked for first, by the command
//! that the tables name, and that is waited for. The other bits stay as they are, and the
//! type is written before the bit that goes by it, as some chip sets want it.
//!
//! Machines with "reduced hardware" have one register of 8 bits instead, with the type
//! from bit 2 on and bit 5 to go.
//!
//! **Reset.** See [`ResetWay`]. Registers in memory are mapped at start-up, as there may
//! be no memory for that later, or a lock in the way.

mod register;

use core::arch::asm;
use core::iter;

use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;

use super::irq;
use crate::boot::cmdline::ResetWay;
use crate::boot::platform::{self, Platform, PortWrite, PowerOff, SleepPort};

/// Port of the debug-exit device, as `xtask` configures QEMU.
const DEBUG_EXIT_PORT: u16 = 0xf4;

/// Bits of a control register of power management.
mod control {
    pub(super) const IS_OURS: u16 = 1 << 0;
    pub(super) const TYPE: u16 = 7 << TYPE_SHIFT;
    pub(super) const TYPE_SHIFT: u16 = 10;
    pub(super) const GO: u16 = 1 << 13;
}

/// Looks whether firmware has given the registers away: about three seconds on a real
/// machine, where reading a port takes a microsecond, as the specification's own example
/// waits.
const MAX_LOOKS: u32 = 3_000_000;

/// Maps the registers that are in memory.
pub(crate) fn init() {
    register::init();
}

/// Ends QEMU with a code, if the device is there.
pub(crate) fn debug_exit(code: u32) {
    // SAFETY: The command line says that the device is at this port.
    unsafe { Port::<u32>::new(DEBUG_EXIT_PORT).write(code) };
}

/// Powers the machine off, if ACPI's tables said how.
pub(crate) fn acpi_power_off() {
    match platform::try_get().and_then(|platform| platform.power_off) {
        None => {}
        Some(PowerOff::Register {
            control,
            sleep_type,
        }) => register::write(control, sleep_type << 2 | 1 << 5),
        Some(PowerOff::Ports { a, b, enable }) => {
            if let Some(command) = enable {
                take_from_firmware(a, command);
            }
            for go in [0, control::GO] {
                for port in iter::once(a).chain(b) {
                    enter_sleep(port, go);
                }
            }
        }
    }
}

/// Has firmware give the control registers away, if it has them.
fn take_from_firmware(a: SleepPort, command: PortWrite) {
    let is_ours = || read_control(a) & control::IS_OURS != 0;
    if is_ours() {
        return;
    }
    // SAFETY: ACPI's tables name the port and the value for this.
    unsafe { Port::<u8>::new(command.port).write(command.value) };
    (0..MAX_LOOKS).any(|_| is_ours());
}

fn read_control(SleepPort { port, .. }: SleepPort) -> u16 {
    // SAFETY: ACPI's tables say that the control register is there, and reading it
    // changes nothing.
    unsafe { Port::<u16>::new(port).read() }
}

fn enter_sleep(at: SleepPort, go: u16) {
    let others = read_control(at) & !(control::TYPE | control::GO);
    let value = others | u16::from(at.sleep_type) << control::TYPE_SHIFT | go;
    // SAFETY: ACPI's tables name the register and the type for this.
    unsafe { Port::<u16>::new(at.port).write(value) };
}

/// Returns whether there is such a way to reset, as far as one knows before.
pub(crate) fn has_way(way: ResetWay) -> bool {
    let platform = platform::try_get();
    match way {
        ResetWay::Acpi => platform.is_some_and(|platform| platform.reset.is_some()),
        ResetWay::Keyboard => {
            platform.and_then(|platform: &Platform| platform.keyboard_controller) != Some(false)
        }
        ResetWay::Cf9 | ResetWay::TripleFault => true,
    }
}

/// Resets the machine in one of the ways. Returns if it does not work, or works later.
pub(crate) fn reset(way: ResetWay) {
    match way {
        ResetWay::Acpi => {
            if let Some(reset) = platform::try_get().and_then(|platform| platform.reset) {
                register::write(reset.register, reset.value);
            }
        }
        ResetWay::Keyboard => pulse_keyboard_controller(),
        ResetWay::Cf9 => write_reset_control(),
        ResetWay::TripleFault => triple_fault(),
    }
}

/// Has the keyboard controller pulse its output 0, the reset line of the processors.
fn pulse_keyboard_controller() {
    const COMMAND: u16 = 0x64;
    const PULSE_RESET: u8 = 0xfe;
    const IS_BUSY: u8 = 1 << 1;
    const MAX_POLLS: u32 = 30_000;
    let mut port = Port::<u8>::new(COMMAND);
    // SAFETY: Reading the status changes nothing.
    let is_ready = |_| unsafe { port.read() } & IS_BUSY == 0;
    (0..MAX_POLLS).any(is_ready);
    // SAFETY: On a machine without the controller nobody listens.
    unsafe { Port::<u8>::new(COMMAND).write(PULSE_RESET) };
}

/// Resets by the register of most chip sets for that: a hard reset is asked for, and
/// then made.
fn write_reset_control() {
    const RESET_CONTROL: u16 = 0xcf9;
    const IS_HARD: u8 = 1 << 1;
    const GO: u8 = 1 << 2;
    let mut port = Port::<u8>::new(RESET_CONTROL);
    for value in [IS_HARD, IS_HARD | GO] {
        // SAFETY: The register resets the machine, or nobody listens.
        unsafe { port.write(value) };
    }
}

/// Traps without any handler, which processors answer by a shut-down cycle, and chip sets
/// answer that by a reset.
fn triple_fault() {
    let no_handlers = [0_u8; 10];
    // SAFETY: Nothing runs after this; a table of length one has no handler for the trap,
    // nor for the faults that come of it.
    unsafe {
        asm!("lidt [{}]", "int3", in(reg) &raw const no_handlers, options(readonly, nostack));
    }
}

/// Stops the processor for ever.
pub(crate) fn halt() -> ! {
    irq::disable();
    loop {
        hlt();
    }
}
