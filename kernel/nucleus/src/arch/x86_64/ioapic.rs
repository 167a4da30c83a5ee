//! I/O APICs: from the lines of devices to vectors of processors (Intel 82093AA
//! data sheet).
//!
//! Registers are reached through a window: an index is written, then the register
//! read or written. A line's redirection entry is
//!
//! ```text
//!  63       56 55            17 16   15     14   13    12  11 10  8 7      0
//! ┌───────────┬────────────────┬────┬─────┬────┬───┬──────┬──┬─────┬────────┐
//! │ processor │       0        │mask│level│    │low│      │0 │  0  │ vector │
//! └───────────┴────────────────┴────┴─────┴────┴───┴──────┴──┴─────┴────────┘
//! ```
//!
//! All lines go to the boot processor, whose id has to fit into 8 bits for that.

use super::apic::ApicId;
use super::device_memory;
use crate::boot::platform::{IoApic, Platform, Polarity, Route, Trigger};
use crate::error::Result;
use crate::mm::Vaddr;
use crate::sync::SpinLock;

const VERSION: u32 = 1;
const FIRST_ENTRY: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;
/// Offset of the window, in bytes.
const WINDOW: usize = 0x10;
/// Most I/O APICs that are used; few machines have more than one.
const MAX_IO_APICS: usize = 16;

static IO_APICS: SpinLock<[Option<Unit>; MAX_IO_APICS]> =
    SpinLock::new([const { None }; MAX_IO_APICS]);

/// An I/O APIC that answers.
#[derive(Debug)]
struct Unit {
    registers: Vaddr,
    first_line: u32,
    nr_lines: u32,
}

/// Finds the I/O APICs and masks all of their lines; returns whether the lines of
/// the ISA bus can be used through them, with the boot processor as the target.
pub(super) fn init(platform: &Platform, target: ApicId) -> bool {
    if target > ApicId::MAX_XAPIC {
        log::warn!("I/O APICs: {target} has too large an id to be interrupted by them");
        return false;
    }
    let mut units = IO_APICS.lock();
    let found = platform.io_apics.iter().filter_map(|description| {
        let unit = Unit::map(description);
        if let Err(error) = &unit {
            log::warn!("I/O APIC at {:#x}: {error}", description.address);
        }
        unit.ok().flatten()
    });
    for (place, unit) in units.iter_mut().zip(found) {
        unit.mask_all();
        *place = Some(unit);
    }
    let has_line = |line| units.iter().flatten().any(|unit| unit.has(line));
    (0..16).any(|isa_line| has_line(platform.route(isa_line).line))
}

/// Lets a line interrupt a processor with a vector.
pub(super) fn connect(route: Route, target: ApicId, vector: u8) {
    let mut low = u32::from(vector);
    if route.polarity == Polarity::ActiveLow {
        low |= ACTIVE_LOW;
    }
    if route.trigger == Trigger::Level {
        low |= LEVEL;
    }
    with_line(route.line, |unit, entry| {
        // Masked until it is complete.
        unit.write(entry, MASKED);
        unit.write(entry + 1, target.0 << 24);
        unit.write(entry, low);
    });
}

/// Masks a line.
pub(super) fn disconnect(route: Route) {
    with_line(route.line, |unit, entry| unit.write(entry, MASKED));
}

/// Does something with the unit and the redirection entry of a line.
fn with_line(line: u32, act: impl FnOnce(&Unit, u32)) {
    let units = IO_APICS.lock();
    match units.iter().flatten().find(|unit| unit.has(line)) {
        Some(unit) => act(unit, FIRST_ENTRY + 2 * (line - unit.first_line)),
        None => log::warn!("I/O APICs: there is no line {line}"),
    }
}

impl Unit {
    /// Maps the registers, for ever; nothing when nobody answers there.
    ///
    /// # Errors
    ///
    /// As [`device_memory::map`].
    fn map(description: &IoApic) -> Result<Option<Self>> {
        let registers = device_memory::map(description.address)?;
        let unit = Self {
            registers: registers - registers % WINDOW,
            first_line: description.first_line,
            nr_lines: 0,
        };
        let version = unit.read(VERSION);
        // Nobody drives the bus where all bits are one.
        let is_there = version != u32::MAX;
        Ok(is_there.then(|| Self {
            nr_lines: (version >> 16 & 0xff) + 1,
            ..unit
        }))
    }

    const fn has(&self, line: u32) -> bool {
        line >= self.first_line && line - self.first_line < self.nr_lines
    }

    fn mask_all(&self) {
        for number in 0..self.nr_lines {
            self.write(FIRST_ENTRY + 2 * number, MASKED);
        }
    }

    fn select(&self, register: u32) {
        let index = self.registers as *mut u32;
        // SAFETY: The page is mapped while the unit lives.
        unsafe { index.write_volatile(register) };
    }

    fn read(&self, register: u32) -> u32 {
        self.select(register);
        let window = (self.registers + WINDOW) as *const u32;
        // SAFETY: As in `select`.
        unsafe { window.read_volatile() }
    }

    fn write(&self, register: u32, value: u32) {
        self.select(register);
        let window = (self.registers + WINDOW) as *mut u32;
        // SAFETY: As in `select`; what is written interrupts processors that have
        // handlers for all vectors, and changes no memory.
        unsafe { window.write_volatile(value) };
    }
}
