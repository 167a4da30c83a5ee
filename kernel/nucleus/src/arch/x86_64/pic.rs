//! The pair of 8259 interrupt controllers, by `pic8259` (Intel 8259A data sheet).
//!
//! The sixteen lines are moved to vectors 32 to 47, out of the way of the
//! exceptions, and all masked: where there are APICs, for ever.

use pic8259::ChainedPics;
use x86_64::instructions::port::Port;

use super::idt::vector::LINE_BASE;
use crate::sync::SpinLock;

// SAFETY: The vectors from 32 on are free, and nobody else drives the pair.
static PICS: SpinLock<ChainedPics> =
    SpinLock::new(unsafe { ChainedPics::new_contiguous(LINE_BASE) });

/// Remaps the pair, with every line masked.
pub(super) fn init() {
    let mut pics = PICS.lock();
    // SAFETY: Interrupts are off, and the vectors have handlers.
    unsafe { pics.initialize() };
    // SAFETY: Masks only.
    unsafe { pics.write_masks(0xff, 0xff) };
}

/// Lets a line of the first controller interrupt.
pub(super) fn unmask(line: u8) {
    change_masks(|first| first & !(1 << line));
}

/// Keeps a line of the first controller from interrupting.
pub(super) fn mask(line: u8) {
    change_masks(|first| first | 1 << line);
}

/// Changes which lines of the first controller are masked.
fn change_masks(change: impl FnOnce(u8) -> u8) {
    let mut pics = PICS.lock();
    // SAFETY: Reads the mask registers.
    let [first, second] = unsafe { pics.read_masks() };
    // SAFETY: The lines have handlers in `lines`.
    unsafe { pics.write_masks(change(first), second) };
}

/// Acknowledges an interrupt of a line, 0 to 15; returns whether there was one.
pub(super) fn acknowledge(line: u8) -> bool {
    let is_real = !is_spurious(line);
    if is_real {
        end(LINE_BASE + line);
    } else if line == 15 {
        end(LINE_BASE + 2); // the first controller did see its line
    }
    is_real
}

fn end(vector: u8) {
    // SAFETY: The interrupt of this vector is being handled.
    unsafe { PICS.lock().notify_end_of_interrupt(vector) };
}

/// The 8259 reports line 7 or 15 when a request went away before it was accepted.
/// A real interrupt has its bit set in the in-service register.
fn is_spurious(line: u8) -> bool {
    const READ_IN_SERVICE: u8 = 0x0b;
    let command = match line {
        7 => 0x20,
        15 => 0xa0,
        _ => return false,
    };
    let _pics = PICS.lock();
    let mut port = Port::<u8>::new(command);
    // SAFETY: Asks the controller for its in-service register.
    unsafe { port.write(READ_IN_SERVICE) };
    // SAFETY: Reads the register just asked for.
    let in_service = unsafe { port.read() };
    in_service & 0x80 == 0
}
