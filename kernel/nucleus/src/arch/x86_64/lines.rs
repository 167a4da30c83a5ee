//! The sixteen lines of the ISA bus, through whichever controller there is.
//!
//! Line `n` interrupts the boot processor with vector 32 + `n`, be it through an
//! [I/O APIC](super::ioapic) or through the [8259 pair](super::pic). The pair is
//! used on machines without APICs, and with the option `no-apic`; otherwise all of
//! it is masked.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::idt::vector::LINE_BASE;
use super::{apic, ioapic, pic, timer};
use crate::boot::platform;
use crate::console::input::{self, Source};
use crate::console::requests;
use crate::task::Origin;

/// The line of the interval timer.
pub(crate) const TIMER: u8 = 0;
/// The line of the keyboard.
pub(crate) const KEYBOARD: u8 = 1;
/// The line of the first serial port.
pub(crate) const SERIAL: u8 = 4;
const NR_LINES: u8 = 16;

/// I/O APICs deliver, and not the 8259 pair.
static BY_IO_APIC: AtomicBool = AtomicBool::new(false);
/// Interrupts that no device asked for.
static SPURIOUS: AtomicU32 = AtomicU32::new(0);
/// Interrupts of each line.
static COUNTS: [AtomicU32; NR_LINES as usize] = [const { AtomicU32::new(0) }; NR_LINES as usize];

/// Finds the controller and masks all lines, on the boot processor, whose APIC has
/// been brought up if there is one. Interrupts are off.
pub(crate) fn init() {
    pic::init();
    if !apic::is_available() {
        return;
    }
    let by_io_apic = ioapic::init(platform::get(), apic::id());
    // Relaxed, here and below: written before there are interrupts.
    BY_IO_APIC.store(by_io_apic, Ordering::Relaxed);
    if !by_io_apic {
        apic::connect_8259();
    }
    log::debug!("lines: by {}", if by_io_apic { "I/O APIC" } else { "8259" });
}

/// Lets a line interrupt.
pub(crate) fn unmask(line: u8) {
    if BY_IO_APIC.load(Ordering::Relaxed) {
        let route = platform::get().route(line);
        ioapic::connect(route, apic::id(), LINE_BASE + line);
    } else {
        pic::unmask(line);
    }
}

/// Keeps a line from interrupting.
pub(crate) fn mask(line: u8) {
    if BY_IO_APIC.load(Ordering::Relaxed) {
        ioapic::disconnect(platform::get().route(line));
    } else {
        pic::mask(line);
    }
}

/// Returns the line, 0 to 15, that a vector belongs to.
pub(super) fn of_vector(vector: u8) -> Option<u8> {
    vector
        .checked_sub(LINE_BASE)
        .filter(|line| *line < NR_LINES)
}

/// Handles an interrupt of a line. May not return here, if it is the timer's.
pub(super) fn handle(line: u8, origin: Origin) {
    if !acknowledge(line) {
        // Relaxed, here and below: statistics that order nothing.
        let count = SPURIOUS.fetch_add(1, Ordering::Relaxed) + 1;
        log::debug!("spurious interrupt on line {line}, number {count}");
        return;
    }
    COUNTS[usize::from(line)].fetch_add(1, Ordering::Relaxed);
    match line {
        TIMER => timer::on_line_tick(origin),
        KEYBOARD => on_input(line, Source::Keyboard),
        SERIAL => on_input(line, Source::Serial),
        _ => {}
    }
}

/// Handles an interrupt of where somebody types.
fn on_input(line: u8, source: Source) {
    if input::on_interrupt(source) {
        log::warn!("line {line} interrupts for nothing, and is masked");
        mask(line);
    }
    requests::perform();
}

/// Returns how often each line has interrupted.
pub(crate) fn counts() -> impl Iterator<Item = u32> {
    // Relaxed: as where they are counted.
    COUNTS.iter().map(|count| count.load(Ordering::Relaxed))
}

/// Returns how many interrupts no device asked for.
pub(crate) fn nr_spurious() -> u32 {
    // Relaxed: as above.
    SPURIOUS.load(Ordering::Relaxed)
}

/// Tells the controller that the interrupt has been handled; returns whether there
/// was one.
fn acknowledge(line: u8) -> bool {
    if !BY_IO_APIC.load(Ordering::Relaxed) {
        return pic::acknowledge(line);
    }
    // To end an interrupt that never was would end another one.
    let is_real = apic::is_in_service(LINE_BASE + line);
    if is_real {
        apic::end_of_interrupt();
    }
    is_real
}

#[cfg(ktest)]
mod tests {
    use core::arch::asm;

    use super::{BY_IO_APIC, COUNTS, Ordering, SPURIOUS, TIMER, mask, unmask};
    use crate::arch::x86_64::{pit, timer};
    use crate::ktest::skip;
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

    #[ktest]
    fn interval_timer_interrupts_through_the_io_apic() {
        if !BY_IO_APIC.load(Ordering::Relaxed) {
            skip("no I/O APIC is used");
        }
        let before = COUNTS[0].load(Ordering::Relaxed);
        pit::start_tick(timer::TICKS_PER_SECOND);
        unmask(TIMER);
        while COUNTS[0].load(Ordering::Relaxed) < before + 2 {
            core::hint::spin_loop();
        }
        mask(TIMER);
    }
}
