//! A process: memory, registers, files, and the loop that runs it.

mod elf;
mod stack;

use alloc::string::String;

use nucleus::mm::VmSpace;
use nucleus::user::{CpuException, ReturnReason, UserContext, UserMode};

use crate::errno::Errno;
use crate::fs;
use crate::syscall;
use crate::syscall::file::FileTable;
use crate::syscall::signal::Signals;
use crate::vm::{Access, AccessError, AddressSpace};

/// The environment of the first program.
const ENVIRONMENT: [&str; 3] = ["PATH=/bin", "HOME=/", "TERM=linux"];

/// The status of a program that could not be started, as a shell reports it.
const CANNOT_START: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Signals that end a program (`signal(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Signal {
    Illegal = 4,
    Trap = 5,
    Bus = 7,
    FloatingPoint = 8,
    Kill = 9,
    Segmentation = 11,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited with a status.
    Exited(u8),
    /// A signal of this number ended it.
    Killed(u8),
}

impl End {
    /// Returns the status as a shell reports it.
    const fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128 + signal,
        }
    }
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) memory: AddressSpace,
    pub(crate) files: FileTable,
    pub(crate) signals: Signals,
    /// Set by the call that ends the process.
    pub(crate) end: Option<End>,
}

/// Runs a program, whose path is the first argument, to its end; returns its
/// exit status.
pub(crate) fn run(arguments: &[&str]) -> u8 {
    let path = arguments.first().copied().unwrap_or("");
    let status = match Process::start(path, arguments) {
        Ok((mut process, mut user)) => process.run(&mut user).status(),
        Err(Errno::NoEntry) => {
            log::error!("{path}: there is no such program in the initramfs");
            NOT_FOUND
        }
        Err(error) => {
            log::error!("{path}: cannot be started: {error:?}");
            CANNOT_START
        }
    };
    VmSpace::deactivate_current();
    status
}

impl Process {
    /// Loads a program; nothing of it has run yet.
    fn start(path: &str, arguments: &[&str]) -> Result<(Self, UserMode), Errno> {
        let file = fs::find(path)
            .filter(|file| !file.is_directory())
            .ok_or(Errno::NoEntry)?;
        let mut memory = AddressSpace::new()?;
        memory.activate();
        let program = elf::load(file.contents, &mut memory)?;
        let stack_pointer = stack::build(&mut memory, &program, arguments, &ENVIRONMENT)?;
        let process = Self {
            name: String::from(path),
            memory,
            files: FileTable::new(),
            signals: Signals::default(),
            end: None,
        };
        Ok((
            process,
            UserMode::new(UserContext::new(program.entry, stack_pointer)),
        ))
    }

    fn run(&mut self, user: &mut UserMode) -> End {
        loop {
            match user.execute() {
                ReturnReason::UserSyscall => syscall::handle(self, user.context_mut()),
                ReturnReason::UserException(exception) => self.handle_exception(&exception, user),
                ReturnReason::KernelEvent => {}
                ReturnReason::InvalidState => {
                    let at = user.context().rip();
                    self.kill(
                        Signal::Segmentation,
                        format_args!("cannot go on at {at:#x}"),
                    );
                }
            }
            if let Some(end) = self.end {
                return end;
            }
        }
    }

    /// Ends the process by a signal, for a reason that is logged.
    fn kill(&mut self, signal: Signal, reason: core::fmt::Arguments<'_>) {
        log::error!(
            "{}: killed by {signal:?} (signal {}): {reason}",
            self.name,
            signal as u8
        );
        self.end = Some(End::Killed(signal as u8));
    }

    fn handle_exception(&mut self, exception: &CpuException, user: &UserMode) {
        let rip = user.context().rip();
        let Some(address) = exception.fault_address else {
            let name = exception.name();
            self.kill(
                signal_of(exception.vector),
                format_args!("{name} at {rip:#x}"),
            );
            return;
        };
        let access = if exception.instruction_fetch() {
            Access::Execute
        } else if exception.write() {
            Access::Write
        } else {
            Access::Read
        };
        match self.memory.handle_fault(address, access) {
            Ok(()) => {}
            Err(AccessError::NoMemory) => {
                self.kill(Signal::Kill, format_args!("no memory for {address:#x}"));
            }
            Err(error) => {
                let what = exception.page_fault_code();
                self.kill(
                    Signal::Segmentation,
                    format_args!("{what}: {address:#x} at {rip:#x} ({error:?})"),
                );
            }
        }
    }
}

/// Returns the signal that Linux sends for an exception that is no page fault.
const fn signal_of(vector: u8) -> Signal {
    match vector {
        0 | 16 | 19 => Signal::FloatingPoint,
        1 | 3 => Signal::Trap,
        6 => Signal::Illegal,
        17 => Signal::Bus,
        _ => Signal::Segmentation,
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{End, Signal, run, signal_of};

    #[ktest]
    fn status_of_a_killed_program_is_a_shells() {
        assert_eq!(End::Killed(Signal::Segmentation as u8).status(), 139);
        assert_eq!(End::Exited(255).status(), 255);
    }

    #[ktest]
    fn exceptions_become_linux_signals() {
        assert_eq!(signal_of(0), Signal::FloatingPoint);
        assert_eq!(signal_of(6), Signal::Illegal);
        assert_eq!(signal_of(13), Signal::Segmentation);
    }

    #[ktest]
    fn missing_program_and_files_that_are_none_cannot_be_started() {
        assert_eq!(run(&["/bin/nonexistent"]), 127);
        assert_eq!(run(&["/boot"]), 127);
        assert_eq!(run(&["/boot/cmdline"]), 126);
    }
}
