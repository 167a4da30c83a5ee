//! The pair of 8259 interrupt controllers, by `pic8259` (Intel 8259A data sheet).
//!
//! The sixteen lines are moved to vectors 32 to 47, out of the way of the
//! exceptions, and all masked but those that have a handler.

use core::sync::atomic::{AtomicU32, Ordering};

use pic8259::ChainedPics;
use x86_64::instructions::port::Port;

use super::idt::vector::PIC_BASE;
use crate::sync::SpinLock;

/// The line of the interval timer.
pub(crate) const TIMER_LINE: u8 = 0;

// SAFETY: The vectors from 32 on are free, and nobody else drives the pair.
static PICS: SpinLock<ChainedPics> =
    SpinLock::new(unsafe { ChainedPics::new_contiguous(PIC_BASE) });

/// Interrupts that no device asked for: the 8259 reports line 7 or 15 when a
/// request went away before it was acknowledged.
static SPURIOUS: AtomicU32 = AtomicU32::new(0);

/// Remaps the pair, with every line masked.
pub(crate) fn init() {
    let mut pics = PICS.lock();
    // SAFETY: Interrupts are off, and the vectors have handlers.
    unsafe { pics.initialize() };
    // SAFETY: Masks only.
    unsafe { pics.write_masks(0xff, 0xff) };
}

/// Lets a line of the first controller interrupt.
pub(crate) fn unmask(line: u8) {
    let mut pics = PICS.lock();
    // SAFETY: Reads the mask registers.
    let [first, second] = unsafe { pics.read_masks() };
    // SAFETY: The line has a handler in `handle`.
    unsafe { pics.write_masks(first & !(1 << line), second) };
}

/// Returns the line, 0 to 15, that a vector belongs to.
pub(crate) fn line_of(vector: u8) -> Option<u8> {
    vector.checked_sub(PIC_BASE).filter(|line| *line < 16)
}

/// Handles an interrupt of a line; `on_timer` runs after the acknowledgement,
/// since it may not return here.
pub(crate) fn handle(line: u8, on_timer: fn()) {
    if is_spurious(line) {
        // Relaxed: a statistic that orders nothing.
        let count = SPURIOUS.fetch_add(1, Ordering::Relaxed) + 1;
        log::debug!("spurious interrupt on line {line}, number {count}");
        if line == 15 {
            acknowledge(PIC_BASE + 2); // the first controller did see its line
        }
        return;
    }
    acknowledge(PIC_BASE + line);
    if line == TIMER_LINE {
        on_timer();
    }
}

fn acknowledge(vector: u8) {
    // SAFETY: The interrupt of this vector is being handled.
    unsafe { PICS.lock().notify_end_of_interrupt(vector) };
}

/// A real interrupt 7 or 15 has its bit set in the in-service register.
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

#[cfg(ktest)]
mod tests {
    use core::arch::asm;

    use super::{Ordering, SPURIOUS};
    use crate::arch::x86_64::timer;
    use crate::prelude::*;

    #[ktest]
    fn peer_107_interrupts_that_no_device_asked_for_are_counted_and_harm_nothing() {
        let before = SPURIOUS.load(Ordering::Relaxed);
        // SAFETY: The handlers of lines 7 and 15 return, with every register.
        unsafe { asm!("int 39", "int 47") };
        assert_eq!(SPURIOUS.load(Ordering::Relaxed), before + 2);
        // The controllers still deliver.
        let start = timer::ticks();
        while timer::ticks() < start + 2 {
            core::hint::spin_loop();
        }
    }
}
