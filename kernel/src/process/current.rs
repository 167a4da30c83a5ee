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

use nucleus::cpu::CpuSet;
use nucleus::mm::Vaddr;
use nucleus::sync::WaitQueue;
use nucleus::task::{Task, TaskOptions};
use nucleus::user::{FpuContext, ReturnReason, UserContext, UserMode};

use super::clone::Loan;
use super::signal::Signals;
use super::thread::Resources;
use super::{End, Process, Thread, exit};
use crate::errno::Errno;
use crate::fs::{FileTable, FsContext};
use crate::syscall;
use crate::vm::AddressSpace;

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
    /// Where it may run.
    pub(super) affinity: CpuSet,
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
    own_end: Option<End>,
}

impl Beginning {
    /// Returns a task, which does not run yet, for the thread.
    ///
    /// # Errors
    ///
    /// [`Errno::Again`] when there is no memory for it.
    pub(super) fn into_task(self) -> Result<Arc<Task>, Errno> {
        let thread = Arc::clone(&self.thread);
        let affinity = self.affinity;
        let options = TaskOptions::new(move || self.run()).affinity(affinity);
        let task = options.build().map_err(|_| Errno::Again)?;
        task.set_name(&thread.name());
        task.set_thread(thread.id().as_u32());
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
        let user = match self.fpu {
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
        current.show_resources();
        let end = current.live();
        exit::leave(current, end);
    }
}

impl Current {
    /// Shows others what the thread has; to be called whenever that changes.
    pub(crate) fn show_resources(&self) {
        self.thread.show_resources(Some(Resources {
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
                ReturnReason::InvalidState => self.refuse_registers(),
            }
        }
    }

    /// Waits until `condition` finds something, as [`WaitQueue::wait_until_or`] does, or
    /// the thread is called to look around. A call that is made again, since nothing came
    /// of that, waits until it was to end at first.
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
        let deadline = self.signals.deadline.take().or(deadline);
        self.thread.set_waiting(true);
        let result = self.wait_unless(queue, deadline, condition, || self.thread.is_called());
        self.thread.set_waiting(false);
        if matches!(result, Err(Errno::Interrupted)) {
            self.signals.deadline.set(deadline);
        }
        result
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
        if !self.thread.take_attention() {
            return None;
        }
        if self.own_end.is_some() {
            return self.own_end;
        }
        self.handle_signals();
        let dismissed = self.thread.is_dismissed().then_some(DISMISSED);
        self.process.end().or(dismissed)
    }

    /// Has this thread, and perhaps no other of its process, end when it looks around
    /// next: before it enters ring 3 again.
    pub(crate) fn end(&mut self, how: End) {
        self.own_end = Some(how);
        self.thread.call_attention();
    }
}
