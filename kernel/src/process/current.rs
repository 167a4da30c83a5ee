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
use nucleus::user::{ReturnReason, UserContext, UserMode};

use super::signal::Signals;
use super::{End, Process, Thread, exit, table};
use crate::errno::Errno;
use crate::syscall;
use crate::syscall::file::FileTable;
use crate::vm::AddressSpace;

/// What a thread starts with.
pub(super) struct Beginning {
    pub(super) thread: Arc<Thread>,
    pub(super) memory: AddressSpace,
    pub(super) files: FileTable,
    pub(super) signals: Signals,
    pub(super) context: UserContext,
}

/// The thread that runs.
pub(crate) struct Current {
    pub(crate) thread: Arc<Thread>,
    pub(crate) process: Arc<Process>,
    pub(crate) memory: AddressSpace,
    pub(crate) files: FileTable,
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
            signals: self.signals,
            user: UserMode::new(self.context),
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
                ReturnReason::InvalidState => self.refuse_registers(),
            }
        }
    }

    /// Looks around before ring 3 is entered; returns how the thread ends, if it does.
    fn look(&mut self) -> Option<End> {
        if self.own_end.is_some() {
            return self.own_end;
        }
        if self.thread.take_attention() {
            self.handle_signals();
            return self.process.end();
        }
        None
    }
}
