//! The first serial port, COM1, by `uart_16550` (16550 data sheet).
//!
//! A machine without a UART reads all ones there. The port is probed by its
//! scratch register and its loop-back mode, every wait is bounded, and a port
//! that does not answer is never touched again.

use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::{FifoTriggerLevel, IER, LSR};
use uart_16550::{BaudRate, Config, Uart16550};

use crate::sync::{Rank, SpinLock};

const COM1: u16 = 0x3f8;

/// Polls of a port that makes no progress before it is given up: a full buffer
/// of 16 bytes takes 1.4 ms at 115200 baud, and a poll takes most of a
/// microsecond on a real machine.
const MAX_POLLS: u32 = 100_000;

static PORT: SpinLock<Option<Uart16550<PioBackend>>> = SpinLock::ranked(None, Rank::Serial);

/// Probes the port and sets it to 115200 baud, 8N1; returns whether it is there.
pub(crate) fn init() -> bool {
    // SAFETY: COM1's registers belong to this driver alone.
    let port = unsafe { probe(COM1) };
    let is_present = port.is_some();
    *PORT.lock() = port;
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
    let is_present = uart.check_present() && drain_port(&mut uart);
    let config = Config {
        baud_rate: BaudRate::Baud115200,
        // Leaves half of the buffer for what comes until the interrupt is served.
        fifo_trigger_level: Some(FifoTriggerLevel::Eight),
        ..Config::DEFAULT
    };
    (is_present && uart.init(config).is_ok()).then_some(uart)
}

/// Sends bytes; a port that stops taking them is given up.
pub(crate) fn write(mut bytes: &[u8]) {
    let mut port = PORT.lock();
    let Some(uart) = port.as_mut() else { return };
    let mut polls = 0;
    while !bytes.is_empty() {
        let sent = uart.send_bytes(bytes);
        bytes = &bytes[sent..];
        polls = if sent == 0 { polls + 1 } else { 0 };
        if polls == MAX_POLLS {
            *port = None;
            return;
        }
    }
}

/// Reads what has arrived, without waiting, not even for the port's lock; returns how
/// many bytes.
pub(crate) fn try_read(buffer: &mut [u8]) -> usize {
    let Some(mut port) = PORT.try_lock() else {
        return 0;
    };
    let Some(uart) = port.as_mut() else { return 0 };
    if is_gone(uart) {
        *port = None;
        return 0;
    }
    uart.receive_bytes(buffer)
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
        Some(uart) => {
            uart.enable_interrupts(IER::DATA_READY);
            true
        }
        None => false,
    }
}

/// Waits, for a bounded time, until the last byte has left the port.
pub(crate) fn drain() {
    if let Some(uart) = PORT.lock().as_mut() {
        drain_port(uart);
    }
}

/// Polls until the transmitter is empty; returns whether it is.
fn drain_port(uart: &mut Uart16550<PioBackend>) -> bool {
    (0..MAX_POLLS).any(|_| uart.lsr().contains(LSR::TRANSMITTER_EMPTY))
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
