//! New processes and threads: `clone(2)` and its relatives.
//!
//! A new thread starts where its maker called, with the same registers but for the
//! result, and with as much in common with it as the flags say. Whatever can fail is
//! done before the new one is known to others, but for its task: a process that is found
//! without a task has just been made, or was not to be.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use bitflags::bitflags;
use nucleus::cpu::CpuSet;
use nucleus::mm::Vaddr;
use nucleus::mm::frame::ensure_reserve;
use nucleus::sync::WaitQueue;
use nucleus::task::Task;
use nucleus::user::UserContext;

use super::current::Beginning;
use super::signal::{Actions, Signals};
use super::{Current, Pid, Process, Thread, table};
use crate::errno::Errno;

bitflags! {
    /// What a new thread has in common with its maker, and how it begins.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct CloneFlags: u64 {
        /// The memory.
        const MEMORY = 0x100;
        /// The current directory, and what goes with it.
        const FS = 0x200;
        /// The file descriptors.
        const FILES = 0x400;
        /// What is done about signals.
        const ACTIONS = 0x800;
        /// A descriptor is asked for that stands for the process.
        const DESCRIPTOR = 0x1000;
        /// The maker waits until the new process runs a program of its own, or ends.
        const VFORK = 0x4000;
        /// The parent.
        const PARENT = 0x8000;
        /// The process.
        const THREAD = 0x1_0000;
        /// New mounts; and other things that are new instead of in common.
        const NEW_MOUNTS = 0x2_0000;
        const NEW_OTHERS = 0x7e02_0080;
        /// The base of its thread-local storage is given.
        const SET_TLS = 0x8_0000;
        /// Its number is written to the maker's memory.
        const SET_PARENT_TID = 0x10_0000;
        /// Zero is written to its memory when it ends.
        const CLEAR_CHILD_TID = 0x20_0000;
        /// Without a meaning since long ago.
        const DETACHED = 0x40_0000;
        /// Its number is written to its memory.
        const SET_CHILD_TID = 0x100_0000;
        /// It has no handlers of signals.
        const NO_HANDLERS = 0x1_0000_0000;

        const _ = !0;
    }
}

/// What somebody wants to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) flags: CloneFlags,
    /// The signal that tells the parent of its end; zero for none.
    pub(crate) exit_signal: u8,
    /// Where its stack starts, if not where its maker's is.
    pub(crate) stack_pointer: Option<Vaddr>,
    pub(crate) parent_tid: Vaddr,
    pub(crate) child_tid: Vaddr,
    pub(crate) tls: Vaddr,
    /// The number that it is to have.
    pub(crate) number: Option<Pid>,
}

/// What a thread waits for that has lent its memory.
#[derive(Debug)]
pub(super) struct Loan {
    is_over: AtomicBool,
    queue: WaitQueue,
}

impl Loan {
    fn new() -> Self {
        Self {
            is_over: AtomicBool::new(false),
            queue: WaitQueue::new(),
        }
    }

    /// Says that the memory is not used any more.
    pub(super) fn end(&self) {
        // Release: what was done there is seen by the lender.
        self.is_over.store(true, Ordering::Release);
        self.queue.wake_all();
    }

    fn is_over(&self) -> Option<()> {
        // Acquire: pairs with the Release above.
        self.is_over.load(Ordering::Acquire).then_some(())
    }
}

impl Request {
    /// Checks the flags in Linux's order.
    fn check(&self, current: &Current) -> Result<(), Errno> {
        let has = |flags| self.flags.contains(flags);
        let is_odd = has(CloneFlags::NEW_MOUNTS | CloneFlags::FS)
            || has(CloneFlags::THREAD) && !has(CloneFlags::ACTIONS)
            || has(CloneFlags::ACTIONS) && !has(CloneFlags::MEMORY)
            // The first process has no parent to give a child to.
            || has(CloneFlags::PARENT) && current.process.id() == Pid::FIRST
            // There are no namespaces but one, and no descriptors of processes.
            || self.flags.intersects(CloneFlags::NEW_OTHERS | CloneFlags::DESCRIPTOR);
        if is_odd { Err(Errno::Invalid) } else { Ok(()) }
    }

    /// Returns the registers that the new thread starts with.
    fn context(&self, current: &Current) -> Result<UserContext, Errno> {
        let mut context = current.user.context().clone();
        context.set_rax(0);
        if let Some(stack_pointer) = self.stack_pointer {
            context.set_rsp(stack_pointer);
        }
        if self.flags.contains(CloneFlags::SET_TLS) {
            // Linux's answer to an address that is not the user's (peer 91).
            let set = context.set_fs_base(self.tls);
            set.map_err(|_| Errno::NotPermitted)?;
        }
        Ok(context)
    }
}

/// Makes a thread or a process; returns its number.
///
/// # Errors
///
/// Those of [`Request::check`]; [`Errno::NotPermitted`] for a base of thread-local
/// storage that is not in user space; [`Errno::Exists`] for a number that is taken;
/// [`Errno::Again`] and [`Errno::NoMemory`] when there is too little of something.
pub(crate) fn clone(current: &mut Current, request: &Request) -> Result<Pid, Errno> {
    request.check(current)?;
    ensure_reserve()?;
    let context = request.context(current)?;
    let has = |flags| request.flags.contains(flags);
    let memory = match has(CloneFlags::MEMORY) {
        true => Arc::clone(&current.memory),
        false => current.memory.fork()?,
    };
    let files = match has(CloneFlags::FILES) {
        true => Arc::clone(&current.files),
        false => Arc::new(current.files.fork()),
    };
    let fs = match has(CloneFlags::FS) {
        true => Arc::clone(&current.fs),
        false => Arc::new(current.fs.fork()),
    };
    let loan = has(CloneFlags::VFORK).then(|| Arc::new(Loan::new()));
    let signals = signals_for(current, request.flags);
    let (thread, made) = register(current, request, &memory)?;
    let id = thread.id();
    let start = |address: Vaddr, flag| if has(flag) { address } else { 0 };
    // Relaxed: for the thread itself, which has not started.
    thread.clear_on_exit.store(
        start(request.child_tid, CloneFlags::CLEAR_CHILD_TID),
        Ordering::Relaxed,
    );
    let beginning = Beginning {
        thread: Arc::clone(&thread),
        memory,
        files,
        fs,
        signals,
        context,
        fpu: Some(current.user.fpu_context()),
        tell_number: start(request.child_tid, CloneFlags::SET_CHILD_TID),
        loan: loan.clone(),
        affinity: Task::current().map_or_else(CpuSet::new_full, |task| task.affinity()),
    };
    let task = match beginning.into_task() {
        Ok(task) => task,
        Err(error) => {
            made.undo(&thread, &current.process);
            return Err(error);
        }
    };
    if has(CloneFlags::SET_PARENT_TID) {
        // As in Linux, the new thread is there whether or not it can be told.
        let number = id.as_u32();
        let _ = current.memory.write_value(request.parent_tid, &number);
    }
    task.run();
    if let Some(loan) = loan {
        // The thread is told whether or not the wait was cut short by its end.
        let _ = current.wait_unless_ended(&loan.queue, || loan.is_over());
    }
    Ok(id)
}

/// What was entered into the table of processes.
#[derive(Clone, Copy, Debug)]
enum Made {
    Thread,
    Process,
}

impl Made {
    /// Takes it out again: it could not start.
    fn undo(self, thread: &Arc<Thread>, parent: &Process) {
        let process = thread.process();
        process.remove_thread(thread, thread.usage());
        let mut table = table::lock();
        table.remove_thread(thread.id());
        let record = match self {
            Self::Thread => None,
            Self::Process => table.remove_process(process.id()),
        };
        drop(table);
        drop(record);
        // Another thread may wait for the child.
        parent.child_events.wake_all();
    }
}

/// Gives the new thread a number, and a process if need be, and makes both known.
fn register(
    current: &Current,
    request: &Request,
    memory: &Arc<crate::vm::AddressSpace>,
) -> Result<(Arc<Thread>, Made), Errno> {
    let (name, blocked) = (current.thread.name(), current.blocked());
    let limits = current.process.limits.lock().clone();
    let program = current.process.running();
    let mut table = table::lock();
    let id = match request.number {
        Some(number) => table.take_number(number)?,
        None => table.new_number()?,
    };
    if request.flags.contains(CloneFlags::THREAD) {
        let thread = Arc::new(Thread::new(id, Arc::clone(&current.process), name, blocked));
        current.process.add_thread(Arc::clone(&thread))?;
        table.add_thread(Arc::clone(&thread));
        return Ok((thread, Made::Thread));
    }
    let process = Arc::new(Process::new(
        id,
        limits,
        actions_for(current, request.flags),
    ));
    // A parent that did not ask for the child hears of its end as of the caller's own.
    let own = table.get(current.process.id());
    let (parent, exit_signal) = match own.filter(|_| request.flags.contains(CloneFlags::PARENT)) {
        Some(own) => (own.parent, own.exit_signal),
        None => (Some(current.process.id()), request.exit_signal),
    };
    table.add_process(Arc::clone(&process), parent, exit_signal);
    let thread = Arc::new(Thread::new(id, Arc::clone(&process), name, blocked));
    process.add_thread(Arc::clone(&thread))?;
    table.add_thread(Arc::clone(&thread));
    drop(table);
    process.set_program(program, memory);
    Ok((thread, Made::Process))
}

/// Returns what a new process does about signals.
fn actions_for(current: &Current, flags: CloneFlags) -> Arc<Actions> {
    let actions = current.process.signals.actions();
    if flags.contains(CloneFlags::ACTIONS) {
        return actions;
    }
    let own = actions.fork();
    if flags.contains(CloneFlags::NO_HANDLERS) {
        own.forget_handlers();
    }
    Arc::new(own)
}

/// Returns what a new thread alone knows of its signals. A stack for handlers cannot be
/// that of two threads which run at the same time.
fn signals_for(current: &Current, flags: CloneFlags) -> Signals {
    if flags & (CloneFlags::MEMORY | CloneFlags::VFORK) == CloneFlags::MEMORY {
        Signals::default()
    } else {
        current.signals.clone()
    }
}
