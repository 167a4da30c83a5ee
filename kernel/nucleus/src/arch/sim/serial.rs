//! The serial port of the simulated machine: what is sent goes to standard
//! output, so that a failing test shows it, and nothing ever arrives.

extern crate std;

use std::string::String;

use crate::console::input::Received;

/// Sends bytes.
pub(crate) fn write(bytes: &[u8]) {
    std::print!("{}", String::from_utf8_lossy(bytes));
}

/// Reads nothing: nobody types.
pub(crate) fn try_read() -> Option<Received> {
    None
}
