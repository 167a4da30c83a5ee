//! The running thread's own view, and the loop that runs it.
//!
//! ```text
//!             ┌──────────── system call, exception ◀──────────┐
//!             ▼                                               │
//!   perform it ─▶ called to look? ─▶ look: end, signals ─▶ ring 3
//! ```
//!
//! A [`Current`] lives on its task's stack, and what is in it needs no lock: its
//! handles of the memory and of the files are the thread's own, even where what they
//! lead to is shared.

use alloc::sync::Arc;

use nucleus::task::TaskOptions;
use nucleus::user::{CpuException, ReturnReason, UserContext, UserMode};

use super::thread::Resources;
use super::{End, Process, Thread, exit, table};
use crate::errno::Errno;
use crate::fs::{FileTable, FsContext};
use crate::syscall;
use crate::syscall::signal::Signals;
use crate::vm::{Access, AccessError, AddressSpace};

/// What a thread starts with.
pub(super) struct Beginning {
    pub(super) thread: Arc<Thread>,
    pub(super) memory: Arc<AddressSpace>,
    pub(super) files: Arc<FileTable>,
    pub(super) fs: Arc<FsContext>,
    pub(super) signals: Signals,
    pub(super) context: UserContext,
}

/// The thread that runs.
pub(crate) struct Current {
    pub(crate) thread: Arc<Thread>,
    pub(crate) process: Arc<Process>,
    pub(crate) memory: Arc<AddressSpace>,
    pub(crate) files: Arc<FileTable>,
    pub(crate) fs: Arc<FsContext>,
    pub(crate) signals: Signals,
    pub(crate) user: UserMode,
    /// How this thread, and perhaps no other of its process, is to end.
    pub(crate) own_end: Option<End>,
}

impl Beginning {
    /// Has the thread run, as a task of its own.
    ///
    /// # Errors
    ///
    /// [`Errno::Again`] when there is no memory for a task.
    pub(super) fn start(self) -> Result<(), Errno> {
        let thread = Arc::clone(&self.thread);
        let task = TaskOptions::new(move || self.run()).build();
        let task = task.map_err(|_| Errno::Again)?;
        thread.set_task(Arc::clone(&task));
        thread.process().add_thread(Arc::clone(&thread));
        table::lock().add_thread(thread);
        task.run();
        Ok(())
    }

    fn run(self) {
        self.memory.activate();
        let mut current = Current {
            process: Arc::clone(self.thread.process()),
            thread: self.thread,
            memory: self.memory,
            files: self.files,
            fs: self.fs,
            signals: self.signals,
            user: UserMode::new(self.context),
            own_end: None,
        };
        current.show_resources();
        let end = current.live();
        exit::leave(current, end);
    }
}

impl Current {
    /// Shows others what the thread has; to be called whenever that changes.
    pub(crate) fn show_resources(&self) {
        self.thread.show_resources(Some(Resources {
            memory: Arc::clone(&self.memory),
            files: Arc::clone(&self.files),
            fs: Arc::clone(&self.fs),
        }));
    }

    /// Runs the thread to its end.
    fn live(&mut self) -> End {
        loop {
            if let Some(end) = self.look() {
                return end;
            }
            match self.user.execute() {
                ReturnReason::UserSyscall => syscall::handle(self),
                ReturnReason::UserException(exception) => self.handle_exception(&exception),
                ReturnReason::KernelEvent => {}
                ReturnReason::InvalidState => {
                    let at = self.user.context().rip();
                    self.raise(
                        Signal::Segmentation,
                        format_args!("cannot go on at {at:#x}"),
                    );
                }
            }
        }
    }

    /// Looks around before ring 3 is entered; returns how the thread ends, if it does.
    fn look(&mut self) -> Option<End> {
        if self.own_end.is_some() {
            return self.own_end;
        }
        if self.thread.take_attention() {
            return self.process.end();
        }
        None
    }

    /// Ends the process by a signal that its own doing raised, for a reason that is
    /// logged.
    fn raise(&mut self, signal: Signal, reason: core::fmt::Arguments<'_>) {
        log::error!(
            "{} ({}): killed by {signal:?} (signal {}): {reason}",
            self.process.program(),
            self.process.id(),
            signal as u8
        );
        self.process.end_all(End::Killed(signal as u8));
    }

    fn handle_exception(&mut self, exception: &CpuException) {
        let rip = self.user.context().rip();
        let Some(address) = exception.fault_address else {
            let name = exception.name();
            self.raise(
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
                self.raise(Signal::Kill, format_args!("no memory for {address:#x}"));
            }
            Err(error) => {
                let what = exception.page_fault_code();
                self.raise(
                    Signal::Segmentation,
                    format_args!("{what}: {address:#x} at {rip:#x} ({error:?})"),
                );
            }
        }
    }
}

/// Signals that the kernel raises (`signal(7)`).
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

    use super::{Signal, signal_of};

    #[ktest]
    fn exceptions_become_linux_signals() {
        assert_eq!(signal_of(0), Signal::FloatingPoint);
        assert_eq!(signal_of(6), Signal::Illegal);
        assert_eq!(signal_of(13), Signal::Segmentation);
    }
}
