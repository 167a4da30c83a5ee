//! `init [PROGRAM ARGUMENTS…]`: the first process.
//!
//! It runs a shell, or the program that it is told, waits for that and for every
//! process whose parent has ended, and powers the machine off afterwards. Where it
//! is not the first process, or may not power off, it ends with the status.

use std::ffi::OsString;
use std::process::{Command, id};

use rustix::process::{Pid, WaitOptions, WaitStatus};
use rustix::system::{RebootCommand, reboot};

/// What is run unless something else is named.
const SHELL: &str = "/bin/sh";

pub(crate) fn run(arguments: &[OsString]) -> u8 {
    let shell = [OsString::from(SHELL)];
    let words = if arguments.is_empty() {
        &shell
    } else {
        arguments
    };
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    for (name, value) in [("PATH", "/bin"), ("HOME", "/"), ("TERM", "ansi")] {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    let status = match command.spawn() {
        Ok(child) => wait_for(child.id()),
        Err(error) => {
            eprintln!("init: {}: {error}", words[0].display());
            127
        }
    };
    if id() == 1 {
        // Where this is refused, the end of the first process does the same.
        let _ = reboot(RebootCommand::PowerOff);
    }
    status
}

/// Waits for all processes until this one ends; returns its status.
fn wait_for(child: u32) -> u8 {
    let child = i32::try_from(child).ok().and_then(Pid::from_raw);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == child => return code(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 127,
        }
    }
}

/// Returns a status as shells have it: signals count from 128.
fn code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).unwrap_or(0) as u8
}
