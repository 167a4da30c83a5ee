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
use core::time::Duration;

use nucleus::mm::Vaddr;
use nucleus::sync::WaitQueue;
use nucleus::task::{Task, TaskOptions};
use nucleus::user::{CpuException, FpuContext, ReturnReason, UserContext, UserMode};

use super::clone::Loan;
use super::{End, Process, Thread, exit};
use crate::errno::Errno;
use crate::fs::{FileTable, FsContext};
use crate::syscall;
use crate::syscall::signal::Signals;
use crate::vm::{Access, AccessError, AddressSpace};

/// How a thread ends whose process goes on without it; nobody asks.
const DISMISSED: End = End::Exited(0);

/// What a thread starts with.
pub(super) struct Beginning {
    pub(super) thread: Arc<Thread>,
    pub(super) memory: Arc<AddressSpace>,
    pub(super) files: Arc<FileTable>,
    pub(super) fs: Arc<FsContext>,
    pub(super) signals: Signals,
    pub(super) context: UserContext,
    /// What is in its floating-point registers, if it goes on where another one was.
    pub(super) fpu: Option<FpuContext>,
    /// Where its number is written, in its own memory; zero for nowhere.
    pub(super) tell_number: Vaddr,
    /// Whose memory it uses until it has its own.
    pub(super) loan: Option<Arc<Loan>>,
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
    pub(super) loan: Option<Arc<Loan>>,
    /// How this thread, and perhaps no other of its process, is to end.
    pub(crate) own_end: Option<End>,
}

impl Beginning {
    /// Returns a task, which does not run yet, for the thread.
    ///
    /// # Errors
    ///
    /// [`Errno::Again`] when there is no memory for it.
    pub(super) fn into_task(self) -> Result<Arc<Task>, Errno> {
        let thread = Arc::clone(&self.thread);
        let affinity = Task::current().map(|task| task.affinity());
        let mut options = TaskOptions::new(move || self.run());
        if let Some(affinity) = affinity {
            options = options.affinity(affinity);
        }
        let task = options.build().map_err(|_| Errno::Again)?;
        thread.set_task(Arc::clone(&task));
        Ok(task)
    }

    fn run(self) {
        self.memory.activate();
        if self.tell_number != 0 {
            // As in Linux, the thread runs whether or not it can be told.
            let number = self.thread.id().as_u32();
            let _ = self.memory.write_value(self.tell_number, &number);
        }
        let user = match &self.fpu {
            Some(fpu) => UserMode::with_fpu(self.context, fpu),
            None => UserMode::new(self.context),
        };
        let mut current = Current {
            process: Arc::clone(self.thread.process()),
            thread: self.thread,
            memory: self.memory,
            files: self.files,
            fs: self.fs,
            signals: self.signals,
            user,
            loan: self.loan,
            own_end: None,
        };
        let end = current.live();
        exit::leave(current, end);
    }
}

impl Current {
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

    /// Waits until `condition` finds something, as [`WaitQueue::wait_until_or`] does, or
    /// the thread is called to look around.
    ///
    /// # Errors
    ///
    /// [`Errno::TimedOut`] when the deadline, a time of `uptime`, has come;
    /// [`Errno::Interrupted`] when the thread was called.
    pub(crate) fn wait<R>(
        &self,
        queue: &WaitQueue,
        deadline: Option<Duration>,
        condition: impl FnMut() -> Option<R>,
    ) -> Result<R, Errno> {
        self.wait_unless(queue, deadline, condition, || self.thread.is_called())
    }

    /// Waits as [`Self::wait`], without a deadline, for something that no handler of a
    /// signal may cut short.
    ///
    /// # Errors
    ///
    /// [`Errno::Interrupted`] when the thread is to end.
    pub(super) fn wait_unless_ended<R>(
        &self,
        queue: &WaitQueue,
        condition: impl FnMut() -> Option<R>,
    ) -> Result<R, Errno> {
        let must_end = || self.process.end().is_some() || self.thread.is_dismissed();
        self.wait_unless(queue, None, condition, must_end)
    }

    fn wait_unless<R>(
        &self,
        queue: &WaitQueue,
        deadline: Option<Duration>,
        mut condition: impl FnMut() -> Option<R>,
        is_interrupted: impl Fn() -> bool,
    ) -> Result<R, Errno> {
        let found = queue.wait_until_or(deadline, || {
            let found = condition().map(Ok);
            found.or_else(|| is_interrupted().then_some(Err(Errno::Interrupted)))
        });
        let result = found.unwrap_or(Err(Errno::TimedOut));
        if matches!(result, Err(Errno::Interrupted)) {
            // It may have been woken at the same time: the wake-up is for somebody.
            queue.wake_one();
        }
        result
    }

    /// Looks around before ring 3 is entered; returns how the thread ends, if it does.
    fn look(&mut self) -> Option<End> {
        if self.own_end.is_some() {
            return self.own_end;
        }
        if self.thread.take_attention() {
            let dismissed = self.thread.is_dismissed().then_some(DISMISSED);
            return self.process.end().or(dismissed);
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
        self.thread.count_fault();
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
