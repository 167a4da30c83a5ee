//! The battery-backed clock of a PC, behind two ports (Motorola MC146818 data sheet).
//!
//! While it goes on by a second its registers mean nothing, for 2 ms at most, and it says
//! so 244 µs before. So they are read while it says nothing, until two readings in a
//! row are the same. A machine without the clock reads all ones, which says that it is
//! busy for ever; every wait has a bound.

use x86_64::instructions::port::Port;

use crate::boot::platform::CalendarClock;
use crate::time::calendar::{DateTime, Registers};

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
/// The bit of status register A that says that the clock goes on at this moment.
const IS_BUSY: u8 = 1 << 7;

/// Polls of a clock that is busy before it is given up; one takes two accesses to ports,
/// of a microsecond together.
const MAX_POLLS: u32 = 100_000;
/// Pairs of readings that may differ.
const ATTEMPTS: usize = 4;

/// Returns what the clock says; nothing if there is none that says something sane.
pub(crate) fn read(clock: CalendarClock) -> Option<DateTime> {
    let mut last = read_once(clock)?;
    for _ in 0..ATTEMPTS {
        let registers = read_once(clock)?;
        if registers == last {
            return registers.decode();
        }
        last = registers;
    }
    None
}

/// Reads the registers as soon as the clock stands still.
fn read_once(clock: CalendarClock) -> Option<Registers> {
    (0..MAX_POLLS).find(|_| read_register(STATUS_A) & IS_BUSY == 0)?;
    Some(Registers {
        second: read_register(0),
        minute: read_register(2),
        hour: read_register(4),
        day: read_register(7),
        month: read_register(8),
        year: read_register(9),
        century: clock.century.map(read_register),
        format: read_register(STATUS_B),
    })
}

/// Reads a register. Interrupts that cannot be masked stay on: the index has its highest
/// bit clear.
fn read_register(index: u8) -> u8 {
    // SAFETY: The index names a register; nobody else uses the ports, and this is done
    // at start-up, by the only processor.
    unsafe { Port::<u8>::new(INDEX).write(index & 0x7f) };
    // SAFETY: Reading these registers changes nothing.
    unsafe { Port::<u8>::new(DATA).read() }
}
