//! Processes and threads, from the first one to the last.
//!
//! * [`Process`], [`Thread`]: what others may see of one; [`table`]: all of them.
//! * [`Current`]: the running thread's own view, and the loop that runs it.
//! * `exit`: how they end. [`alarm`]: what happens at some time.
//! * `elf`, `stack`: what a program starts with.

pub(crate) mod alarm;
mod arguments;
pub(crate) mod clone;
pub(crate) mod cpu_alarm;
mod current;
mod elf;
pub(crate) mod exec;
mod exit;
pub(crate) mod futex;
pub(crate) mod limits;
#[expect(clippy::module_inception, reason = "its file has the type's name")]
mod process;
mod program;
mod script;
pub(crate) mod signal;
mod stack;
pub(crate) mod table;
mod thread;
pub(crate) mod usage;
pub(crate) mod wait;

use alloc::sync::Arc;

use nucleus::cpu::CpuSet;
use nucleus::mm::PAGE_SIZE;
use nucleus::mm::frame::memory_counts;
use nucleus::task;

pub(crate) use self::arguments::Arguments;
use self::current::Beginning;
pub(crate) use self::current::Current;
use self::limits::Limits;
pub(crate) use self::process::Process;
pub(crate) use self::program::ProgramFile;
use self::signal::{Actions, SignalSet, Signals};
pub(crate) use self::table::Pid;
pub(crate) use self::thread::{Activity, Name, Thread};
use crate::errno::Errno;
use crate::fs::{self, FsContext};

/// The environment of the first program.
const ENVIRONMENT: [&str; 3] = ["PATH=/bin", "HOME=/", "TERM=linux"];

/// The status of a program that could not be started, as a shell reports it.
const CANNOT_START: u8 = 126;
const NOT_FOUND: u8 = 127;

/// How a process or thread ended.
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

/// Runs a program, whose path is the first argument, as the first process, and all
/// that come of it, to their ends; returns its exit status.
///
/// When the first process ends, the others are killed.
pub(crate) fn run(arguments: &[&str]) -> u8 {
    let path = arguments.first().copied().unwrap_or("");
    let before = frames_in_use();
    match start(path, arguments) {
        Ok(first) => {
            let end = first.wait_for_end();
            drop(first);
            end_all_others();
            let after = frames_in_use();
            log::info!("frames in use: {before} before, {after} after");
            end.status()
        }
        Err(Errno::NoEntry) => {
            log::error!("{path}: there is no such program in the initramfs");
            NOT_FOUND
        }
        Err(error) => {
            log::error!("{path}: cannot be started: {error:?}");
            CANNOT_START
        }
    }
}

/// Returns how many frames are given out, once all is free that is over.
fn frames_in_use() -> usize {
    task::settle();
    let counts = memory_counts();
    (counts.total - counts.free) / PAGE_SIZE
}

/// Starts a program as the first process.
fn start(path: &str, arguments: &[&str]) -> Result<Arc<Process>, Errno> {
    let context = FsContext::new();
    let files = Arc::new(fs::first_files()?);
    let file = ProgramFile::open(&context, path.as_bytes())?;
    let limits = Limits::default();
    let arguments = Arguments::from_kernel(arguments, &ENVIRONMENT, &limits)?;
    let prepared = program::prepare(&context, file, arguments, &limits)?;

    let mut table = table::lock();
    let process = Arc::new(Process::new(
        table.new_number()?,
        limits,
        Arc::new(Actions::new()),
    ));
    let thread = Arc::new(Thread::new(
        process.id(),
        Arc::clone(&process),
        prepared.name,
        SignalSet::EMPTY,
    ));
    process.add_thread(Arc::clone(&thread))?;
    table.add_process(Arc::clone(&process), None, 0);
    table.add_thread(Arc::clone(&thread));
    drop(table);
    process.set_program(prepared.running, &prepared.memory);
    let beginning = Beginning {
        thread,
        memory: prepared.memory,
        files,
        fs: Arc::new(context),
        signals: Signals::default(),
        context: prepared.context,
        fpu: None,
        tell_number: 0,
        loan: None,
        affinity: CpuSet::new_full(),
    };
    match beginning.into_task() {
        Ok(task) => task.run(),
        Err(error) => {
            let mut table = table::lock();
            table.remove_thread(process.id());
            table.remove_process(process.id());
            return Err(error);
        }
    }
    Ok(process)
}

/// Ends whatever the first process has left behind, and forgets all processes.
fn end_all_others() {
    const KILLED: End = End::Killed(9);
    loop {
        let others: alloc::vec::Vec<_> = {
            let table = table::lock();
            table
                .processes()
                .map(|record| Arc::clone(&record.process))
                .collect()
        };
        if others.is_empty() {
            return;
        }
        for process in others {
            process.end_all(KILLED);
            process.wait_for_end();
            table::lock().remove_process(process.id());
        }
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{End, run};

    #[ktest]
    fn status_of_a_killed_program_is_a_shells() {
        assert_eq!(End::Killed(11).status(), 139);
        assert_eq!(End::Exited(255).status(), 255);
    }

    #[ktest]
    fn missing_program_and_files_that_are_none_cannot_be_started() {
        assert_eq!(run(&["/bin/nonexistent"]), 127);
        assert_eq!(run(&["/boot"]), 126);
        assert_eq!(run(&["/boot/cmdline"]), 126);
    }
}
