//! `reboot` and `poweroff`: ending the machine.

use std::ffi::OsString;

use rustix::system::{RebootCommand, reboot};

pub(crate) fn off(_arguments: &[OsString]) -> u8 {
    end("poweroff", RebootCommand::PowerOff)
}

pub(crate) fn restart(_arguments: &[OsString]) -> u8 {
    end("reboot", RebootCommand::Restart)
}

/// Asks for the machine's end; returns if that is refused, or takes a moment.
fn end(name: &str, command: RebootCommand) -> u8 {
    match reboot(command) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{name}: {error}");
            1
        }
    }
}
