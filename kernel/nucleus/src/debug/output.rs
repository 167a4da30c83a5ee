//! Where the debug menu prints: somewhere, without waiting for it.

use core::fmt::{self, Write};

use crate::arch::serial;
use crate::console::{self, HeldConsole};

/// Attempts to take the console from whoever prints: some tens of milliseconds.
const ATTEMPTS: u32 = 1_000_000;

/// A way to print.
pub(crate) enum Output {
    /// The console, held from the first line to the last.
    Console(HeldConsole),
    /// The serial port's registers. Somebody has the console, or the port, and may be
    /// writing: what both write is mixed, and a few characters may be lost.
    Registers,
}

impl Output {
    /// Takes the console if it is free within a moment.
    pub(super) fn begin() -> Self {
        let held = (0..ATTEMPTS).find_map(|_| {
            core::hint::spin_loop();
            console::try_hold()
        });
        held.map_or(Self::Registers, Self::Console)
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match self {
            Self::Console(console) => console.write_str(text),
            Self::Registers => {
                serial::write_beside(text.as_bytes());
                Ok(())
            }
        }
    }
}
