//! The keyboard's controller, an 8042 or what passes for one (IBM PS/2 Hardware
//! Interface Technical Reference, "Keyboard and Auxiliary Device Controller").
//!
//! ```text
//!  0x60  data: from the devices, or to the first device, the keyboard
//!  0x64  read: status; written: a command to the controller itself
//!
//!  status     bit 0  a byte waits to be read        bit 5  it is the second device's
//!             bit 1  the controller is not ready    bits 6, 7  it was not received well
//!
//!  configuration  bit 0, 1  interrupt for the first, second device
//!                 bit 4, 5  the first, second device is cut off
//!                 bit 6     scan codes are translated to set 1
//! ```
//!
//! **Set 1 by translation** is what is used, since it is what every firmware leaves, and
//! what firmware that plays a controller for a USB keyboard knows at all. For the same
//! reason the controller is not asked to test itself: on some machines it forgets its
//! configuration by that, and what firmware plays often does not know the command. The
//! second device, a mouse, is cut off.
//!
//! **Nothing is waited for without a bound**, and whatever does not answer is done
//! without. A port that reads as all ones is nobody's. What firmware has left unread is
//! thrown away. A controller that does not tell its configuration keeps the one it has.
//!
//! The lights are set by a command of two bytes, each of which the keyboard answers as
//! if it were a key. The answers are waited for by nobody: the first one sends the second
//! byte when it comes. A keyboard that does not take the command stays as it is.

use x86_64::instructions::port::Port;

use crate::sync::SpinLock;

const DATA: u16 = 0x60;
const STATUS: u16 = 0x64;

/// Bits of the status.
mod status {
    pub(super) const HAS_DATA: u8 = 1 << 0;
    pub(super) const IS_BUSY: u8 = 1 << 1;
    pub(super) const IS_SECOND: u8 = 1 << 5;
    pub(super) const IS_DAMAGED: u8 = 0b11 << 6;
}

/// Commands to the controller.
mod command {
    pub(super) const READ_CONFIGURATION: u8 = 0x20;
    pub(super) const WRITE_CONFIGURATION: u8 = 0x60;
    pub(super) const CUT_SECOND_OFF: u8 = 0xa7;
    pub(super) const CUT_FIRST_OFF: u8 = 0xad;
    pub(super) const JOIN_FIRST: u8 = 0xae;
    /// Has the next byte arrive as if the keyboard had sent it.
    #[cfg(ktest)]
    pub(super) const ECHO: u8 = 0xd2;
}

/// Bits of the configuration.
mod configuration {
    pub(super) const FIRST_INTERRUPTS: u8 = 1 << 0;
    pub(super) const SECOND_INTERRUPTS: u8 = 1 << 1;
    pub(super) const FIRST_IS_OFF: u8 = 1 << 4;
    pub(super) const SECOND_IS_OFF: u8 = 1 << 5;
    pub(super) const TRANSLATES: u8 = 1 << 6;
}

/// Commands to the keyboard, and its answers.
mod device {
    pub(super) const SET_LIGHTS: u8 = 0xed;
    pub(super) const START: u8 = 0xf4;
    pub(super) const DONE: u8 = 0xfa;
    pub(super) const AGAIN: u8 = 0xfe;
}

/// Polls of a controller that does not go on: a poll takes about a microsecond on a real
/// machine, and a keyboard answers within 20 ms.
const MAX_POLLS: u32 = 30_000;
/// Bytes that may wait in a controller; more means that it never runs empty.
const MAX_LEFT_OVER: usize = 64;

static CONTROLLER: SpinLock<Option<Controller>> = SpinLock::new(None);

/// A controller that answers.
#[derive(Debug)]
struct Controller {
    /// What it was told, if it is known how to tell it.
    configuration: Option<u8>,
    lights: Lights,
}

/// How far the keyboard has been told which lights to put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lights {
    Told,
    /// The command was sent, and these are to follow.
    Asked(u8),
}

/// Sets the controller up; returns whether there is one. `is_said` is what ACPI's tables
/// say of that. It does not interrupt yet.
pub(crate) fn init(is_said: Option<bool>) -> bool {
    if is_said == Some(false) {
        log::info!("keyboard: none at a controller of its own, says the firmware");
        return false;
    }
    let controller = Controller::find();
    match &controller {
        Ok(_) => log::info!("keyboard: at a controller of its own"),
        Err(why) => log::info!("keyboard: none at a controller of its own: {why}"),
    }
    let is_there = controller.is_ok();
    *CONTROLLER.lock() = controller.ok();
    is_there
}

/// Has the controller interrupt when a key was used. What it does not do, the tick does.
pub(crate) fn enable_interrupts() {
    let controller = CONTROLLER.lock();
    // Not read again: what the keyboard says meanwhile would be taken for it.
    let configuration = controller.as_ref().and_then(|known| known.configuration);
    if let Some(configuration) = configuration {
        write_configuration(configuration | configuration::FIRST_INTERRUPTS);
    }
}

/// Reads a byte of the keyboard's, without waiting, not even for the lock.
pub(crate) fn try_read() -> Option<u8> {
    let mut place = CONTROLLER.try_lock()?;
    let controller = place.as_mut()?;
    for _ in 0..MAX_LEFT_OVER {
        let status = read_status();
        if status == u8::MAX {
            *place = None;
            return None;
        }
        if status & status::HAS_DATA == 0 {
            return None;
        }
        let byte = read_data();
        let is_keyboards = status & (status::IS_SECOND | status::IS_DAMAGED) == 0;
        if is_keyboards && !controller.take_answer(byte) {
            return Some(byte);
        }
    }
    None
}

/// Puts lights of the keyboard on, and the others off, a little later; not at all if the
/// controller is in use.
pub(crate) fn set_lights(lights: u8) {
    if let Some(mut place) = CONTROLLER.try_lock()
        && let Some(controller) = place.as_mut()
        && write_data(device::SET_LIGHTS)
    {
        controller.lights = Lights::Asked(lights);
    }
}

impl Controller {
    /// Looks for a controller, and has the keyboard speak to it.
    fn find() -> Result<Self, &'static str> {
        if read_status() == u8::MAX {
            return Err("nobody answers");
        }
        // Nothing is to come while what is left over is thrown away.
        if !write_command(command::CUT_FIRST_OFF) || !write_command(command::CUT_SECOND_OFF) {
            return Err("it takes no commands");
        }
        if !throw_away() {
            return Err("it never runs empty");
        }
        let configuration = configure();
        if configuration.is_none() {
            log::warn!("keyboard: the controller does not tell its configuration, and keeps it");
        }
        write_command(command::JOIN_FIRST);
        let has_keyboard = write_data(device::START) && wait_for_data() == Some(device::DONE);
        if !has_keyboard {
            log::info!("keyboard: it does not answer, or there is none yet");
        }
        Ok(Self {
            configuration,
            lights: Lights::Told,
        })
    }

    /// Takes a byte that is an answer to a command; returns whether it is one.
    fn take_answer(&mut self, byte: u8) -> bool {
        let Lights::Asked(lights) = self.lights else {
            // A scan code has no such number, so what comes late is known, too.
            return matches!(byte, device::DONE | device::AGAIN);
        };
        match byte {
            device::DONE => {
                self.lights = Lights::Told;
                write_data(lights);
            }
            device::AGAIN => self.lights = Lights::Told,
            _ => return false,
        }
        true
    }
}

/// Configures the controller as the module says, without interrupts; returns the
/// configuration, if it could be read.
fn configure() -> Option<u8> {
    use configuration::{
        FIRST_INTERRUPTS, FIRST_IS_OFF, SECOND_INTERRUPTS, SECOND_IS_OFF, TRANSLATES,
    };
    let is_asked = write_command(command::READ_CONFIGURATION);
    let old = is_asked.then(wait_for_data).flatten()?;
    let off = FIRST_INTERRUPTS | SECOND_INTERRUPTS | FIRST_IS_OFF;
    let new = old & !off | SECOND_IS_OFF | TRANSLATES;
    write_configuration(new).then_some(new)
}

/// Sets the configuration; returns whether the controller took it.
fn write_configuration(configuration: u8) -> bool {
    write_command(command::WRITE_CONFIGURATION) && write_data(configuration)
}

/// Reads what was left over; returns whether that had an end.
fn throw_away() -> bool {
    (0..MAX_LEFT_OVER).any(|_| {
        let is_empty = read_status() & status::HAS_DATA == 0;
        if !is_empty {
            read_data();
        }
        is_empty
    })
}

/// Waits for a byte of the first device or of the controller.
fn wait_for_data() -> Option<u8> {
    (0..MAX_POLLS).find_map(|_| (read_status() & status::HAS_DATA != 0).then(read_data))
}

/// Sends a command to the controller; returns whether it took it.
fn write_command(command: u8) -> bool {
    write(STATUS, command)
}

/// Sends a byte to the keyboard, or one that belongs to a command; returns whether the
/// controller took it.
fn write_data(byte: u8) -> bool {
    write(DATA, byte)
}

fn write(port: u16, byte: u8) -> bool {
    let is_ready = (0..MAX_POLLS).any(|_| read_status() & status::IS_BUSY == 0);
    if is_ready {
        // SAFETY: The ports are the controller's, or nobody's. What it is told changes
        // where bytes come from, and no memory.
        unsafe { Port::new(port).write(byte) };
    }
    is_ready
}

fn read_status() -> u8 {
    // SAFETY: Reading the status changes nothing.
    unsafe { Port::new(STATUS).read() }
}

fn read_data() -> u8 {
    // SAFETY: Takes the byte that waits.
    unsafe { Port::new(DATA).read() }
}

/// Has a byte arrive, and interrupt, as if the keyboard had sent it; returns whether
/// there is a controller that does that.
#[cfg(ktest)]
pub(crate) fn inject(byte: u8) -> bool {
    let place = CONTROLLER.lock();
    place.is_some() && write_command(command::ECHO) && write_data(byte)
}

#[cfg(ktest)]
mod tests {
    use super::{CONTROLLER, MAX_LEFT_OVER, inject, try_read};
    use crate::arch::x86_64::lines;
    use crate::console;
    use crate::irq;
    use crate::ktest::skip;
    use crate::prelude::*;

    /// Has scan codes arrive, each after the one before was taken.
    fn press(scancodes: &[u8]) {
        for scancode in scancodes {
            if !inject(*scancode) {
                skip("there is no keyboard controller that lets itself be typed on");
            }
            // With interrupts on, the interrupt or the tick takes it.
            while super::read_status() & super::status::HAS_DATA != 0 {
                core::hint::spin_loop();
            }
        }
    }

    fn type_and_read(scancodes: &[u8], expected: &[u8]) {
        press(scancodes);
        for byte in expected {
            assert_eq!(console::read_key(), *byte, "of {}", expected.escape_ascii());
        }
        assert_eq!(console::input_len(), 0);
    }

    #[ktest]
    fn keys_come_by_the_keyboards_interrupt() {
        let count = || lines::counts().nth(lines::KEYBOARD.into());
        let before = count();
        type_and_read(&[0x23, 0xa3, 0x17, 0x97, 0x1c, 0x9c], b"hi\r");
        let release_and_arrow = [0x2a, 0xe0, 0x48, 0xe0, 0xc8, 0xaa];
        type_and_read(&release_and_arrow, b"\x1b[1;2A");
        assert!(count() > before, "the tick was not needed");
    }

    #[ktest]
    fn waiting_reader_is_woken_by_a_key() {
        use core::sync::atomic::{AtomicU8, Ordering};
        static READ: AtomicU8 = AtomicU8::new(0);
        READ.store(0, Ordering::Relaxed);
        let reader = || READ.store(console::read_key(), Ordering::Relaxed);
        let reader = crate::task::TaskOptions::new(reader).spawn();
        press(&[0x1e, 0x9e]);
        reader.expect("enough memory").join();
        assert_eq!(READ.load(Ordering::Relaxed), b'a');
    }

    #[ktest]
    fn lights_follow_caps_lock_and_answers_are_no_keys() {
        type_and_read(&[0x3a, 0xba, 0x1e, 0x9e], b"A");
        type_and_read(&[0x3a, 0xba, 0x1e, 0x9e], b"a");
    }

    #[ktest]
    fn bytes_of_the_second_device_are_no_keys() {
        let _irq_off = irq::disable_local();
        // 0xd3 is 0xd2 for the second device.
        if CONTROLLER.lock().is_none() {
            skip("there is no keyboard controller");
        }
        let is_sent = super::write_command(0xd3) && super::write_data(0x1e);
        assert!(is_sent);
        for _ in 0..MAX_LEFT_OVER {
            assert_eq!(try_read(), None);
        }
    }
}
