//! The first serial port, COM1, by `uart_16550` (16550 data sheet).
//!
//! A machine without a UART reads all ones there. The port is probed by its
//! scratch register and its loop-back mode, every wait is bounded, and a port
//! that does not answer is never touched again.
//!
//! **A break** is a line that is held low for longer than any byte takes, which somebody
//! at a terminal can do on purpose. The port makes a zero byte of it, and a mark in the
//! line status register that is gone once it was read. So everybody who reads that
//! register here keeps the mark, and the next zero byte is taken for the break. (The
//! crate's own reads of the register may lose one: the break is then a zero byte.)

use core::sync::atomic::{AtomicBool, Ordering};

use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::{FifoTriggerLevel, IER, LSR};
use uart_16550::{BaudRate, Config, Uart16550};

use crate::console::input::Received;
use crate::sync::{Rank, SpinLock};

const COM1: u16 = 0x3f8;

/// Polls of a port that makes no progress before it counts as none at start-up: a full
/// buffer of 16 bytes takes 1.4 ms at 115200 baud, and a poll takes most of a
/// microsecond on a real machine.
const MAX_POLLS: u32 = 100_000;
/// Polls of a port that has worked, before it is given up: seconds. An emulator's port
/// stands still until whoever reads its output gets a turn on a busy host.
const MAX_POLLS_LATER: u32 = 50 * MAX_POLLS;

static PORT: SpinLock<Option<SerialPort>> = SpinLock::ranked(None, Rank::Serial);

/// Start-up found the port.
static IS_PRESENT: AtomicBool = AtomicBool::new(false);

/// A port that works.
struct SerialPort {
    uart: Uart16550<PioBackend>,
    /// A break has come whose zero byte was not read yet.
    has_break: bool,
}

/// Probes the port and sets it to 115200 baud, 8N1; returns whether it is there.
pub(crate) fn init() -> bool {
    // SAFETY: COM1's registers belong to this driver alone.
    let uart = unsafe { probe(COM1) };
    let is_present = uart.is_some();
    // Relaxed: by the only processor.
    IS_PRESENT.store(is_present, Ordering::Relaxed);
    *PORT.lock() = uart.map(|uart| SerialPort {
        uart,
        has_break: false,
    });
    is_present
}

/// Sets a port up, if there is one that works.
///
/// # Safety
///
/// The eight registers at `base` are a serial port's, or nobody's, and the
/// caller's alone.
unsafe fn probe(base: u16) -> Option<Uart16550<PioBackend>> {
    // SAFETY: As the caller promises.
    let mut uart = unsafe { Uart16550::new_port(base) }.ok()?;
    // The driver's own set-up waits for an empty transmitter without a bound,
    // so a port whose transmitter never empties is turned away before.
    let is_present = uart.check_present() && drain_port(&mut uart, MAX_POLLS);
    let config = Config {
        baud_rate: BaudRate::Baud115200,
        // Leaves half of the buffer for what comes until the interrupt is served.
        fifo_trigger_level: Some(FifoTriggerLevel::Eight),
        ..Config::DEFAULT
    };
    (is_present && uart.init(config).is_ok()).then_some(uart)
}

impl SerialPort {
    /// Reads the line status register.
    fn status(&mut self) -> LSR {
        let status = self.uart.lsr();
        // All ones are no status.
        self.has_break |= status.contains(LSR::BREAK_INTERRUPT) && status.bits() != u8::MAX;
        status
    }

    /// Returns whether the port takes a byte, or several if it has room for them.
    fn is_ready(&mut self) -> bool {
        self.status().contains(LSR::THR_EMPTY)
    }
}

/// Sends bytes; a port that stops taking them is given up.
pub(crate) fn write(mut bytes: &[u8]) {
    let mut place = PORT.lock();
    let Some(port) = place.as_mut() else { return };
    let mut polls = 0;
    while !bytes.is_empty() {
        let sent = if port.is_ready() {
            port.uart.send_bytes(bytes)
        } else {
            0
        };
        bytes = &bytes[sent..];
        polls = if sent == 0 { polls + 1 } else { 0 };
        if polls == MAX_POLLS_LATER {
            *place = None;
            return;
        }
    }
}

/// Reads what has arrived next, without waiting, not even for the port's lock.
pub(crate) fn try_read() -> Option<Received> {
    let mut place = PORT.try_lock()?;
    let port = place.as_mut()?;
    let status = port.status();
    if status.bits() == u8::MAX && is_gone(&mut port.uart) {
        *place = None;
        return None;
    }
    if !status.contains(LSR::DATA_READY) {
        return None;
    }
    let byte = port.uart.try_receive_byte().ok()?;
    let is_break = byte == 0 && core::mem::take(&mut port.has_break);
    Some(if is_break {
        Received::Break
    } else {
        Received::Byte(byte)
    })
}

/// Returns whether nobody answers any more: a UART never has all of these bits set, as
/// there are no parity errors without parity, and half of the interrupts do not exist.
fn is_gone(uart: &mut Uart16550<PioBackend>) -> bool {
    uart.lsr().bits() == u8::MAX && uart.ier().bits() == u8::MAX
}

/// Has the port interrupt when something arrives, if there is one; returns whether
/// there is.
pub(crate) fn enable_interrupts() -> bool {
    match PORT.lock().as_mut() {
        Some(port) => {
            port.uart.enable_interrupts(IER::DATA_READY);
            true
        }
        None => false,
    }
}

/// Waits, for a bounded time, until the last byte has left the port.
pub(crate) fn drain() {
    if let Some(port) = PORT.lock().as_mut() {
        drain_port(&mut port.uart, MAX_POLLS_LATER);
    }
}

/// Returns whether somebody has the port at this moment.
pub(crate) fn is_locked() -> bool {
    PORT.is_locked()
}

/// Sends bytes without the port's lock, beside whoever has it: what both send is mixed,
/// and some of it may be lost. A port that does not go on is written to all the same.
pub(crate) fn write_beside(bytes: &[u8]) {
    // Relaxed: written at start-up by the only processor.
    if !IS_PRESENT.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: The port's registers are a serial port's. Beside its driver, this sends
    // bytes and reads the status, which breaks no invariant of the driver's.
    let Ok(mut uart) = (unsafe { Uart16550::new_port(COM1) }) else {
        return;
    };
    let mut send = |byte: u8| {
        (0..MAX_POLLS).any(|_| uart.lsr().contains(LSR::THR_EMPTY));
        uart.send_bytes(&[byte]);
    };
    for byte in bytes {
        if *byte == b'\n' {
            send(b'\r');
        }
        send(*byte);
    }
}

/// Polls until the transmitter is empty, so often at most; returns whether it is.
fn drain_port(uart: &mut Uart16550<PioBackend>, polls: u32) -> bool {
    (0..polls).any(|_| uart.lsr().contains(LSR::TRANSMITTER_EMPTY))
}

/// Makes the port usable for a panic report, whoever held it.
///
/// # Safety
///
/// Whoever holds the port's lock never runs again.
pub(crate) unsafe fn force_unlock() {
    // SAFETY: As the caller promises.
    unsafe { PORT.force_unlock() };
}

#[cfg(ktest)]
mod tests {
    use uart_16550::Uart16550;

    use super::{is_gone, probe};
    use crate::prelude::*;

    /// The fourth port, which the emulators' machines do not have.
    const COM4: u16 = 0x2e8;

    #[ktest]
    fn peer_103_port_that_reads_as_ones_is_none() {
        // SAFETY: Nobody else uses the port, if there is one.
        let uart = unsafe { Uart16550::new_port(COM4) };
        let status = uart.expect("a legal address").lsr();
        if status.bits() != 0xff {
            crate::ktest::skip("the machine has a fourth serial port");
        }
        // SAFETY: As above.
        assert!(unsafe { probe(COM4) }.is_none());
        // SAFETY: As above.
        let mut uart = unsafe { Uart16550::new_port(COM4) }.expect("as before");
        assert!(is_gone(&mut uart), "one that vanishes is given up");
    }
}
