//! The event timer (HPET specification 1.0a): a counter in memory, as a
//! [`Reference`].
//!
//! It is used during start-up, through the loader's map. That map is write-back
//! everywhere, but the memory types that firmware set for devices are uncached,
//! and win.

use super::calibration::Reference;
use crate::mm::Vaddr;

/// Capabilities: the period in femtoseconds is in the high half.
const CAPABILITIES: usize = 0x00;
const CONFIGURATION: usize = 0x10;
const COUNTER: usize = 0xf0;
/// The counter counts.
const ENABLED: u64 = 1 << 0;
const FEMTOSECONDS_PER_SECOND: u64 = 1_000_000_000_000_000;
/// The longest period that the specification allows: 100 ns.
const MAX_PERIOD_FS: u64 = 100_000_000;

/// Bytes of the registers that are used here.
pub(crate) const SIZE: usize = 0x100;

/// The event timer, while it counts.
#[derive(Debug)]
pub(crate) struct Hpet {
    registers: Vaddr,
    hz: u64,
}

impl Hpet {
    /// Starts the counter of the timer with registers at `registers`; nothing when
    /// there seems to be no timer.
    ///
    /// # Safety
    ///
    /// [`SIZE`] bytes are mapped there while the value lives, they are a device's
    /// registers, if anything, and `registers` is a multiple of 8.
    pub(crate) unsafe fn start(registers: Vaddr) -> Option<Self> {
        let read = |offset: usize| {
            // SAFETY: By the contract of this function.
            unsafe { ((registers + offset) as *const u64).read_volatile() }
        };
        let period_fs = read(CAPABILITIES) >> 32;
        if period_fs == 0 || period_fs > MAX_PERIOD_FS {
            return None;
        }
        let configuration = read(CONFIGURATION) | ENABLED;
        // SAFETY: As above; a counter that counts does no harm, and interrupts
        // stay as firmware left them.
        unsafe { ((registers + CONFIGURATION) as *mut u64).write_volatile(configuration) };
        Some(Self {
            registers,
            hz: FEMTOSECONDS_PER_SECOND / period_fs,
        })
    }
}

impl Reference for Hpet {
    fn name(&self) -> &'static str {
        "event timer"
    }

    fn hz(&self) -> u64 {
        self.hz
    }

    /// The low half of the counter, which all of them have and which is read in
    /// one piece.
    fn mask(&self) -> u64 {
        u64::from(u32::MAX)
    }

    fn read(&self) -> Option<u64> {
        let counter = (self.registers + COUNTER) as *const u32;
        // SAFETY: By the contract of `start`.
        let count = unsafe { counter.read_volatile() };
        Some(u64::from(count))
    }
}
