//! Running another program: `execve(2)`.
//!
//! The new program's memory is made completely while the old one is still there, and
//! whatever can fail fails before the *point of no return*; the old program goes on then
//! as if nothing had been (peer 100). After that:
//!
//! 1. the other threads of the process end, and this one gets the process's number,
//! 2. the old memory is let go of, and with it a loan of it,
//! 3. files are closed that say so, handlers of signals are forgotten,
//! 4. registers start anew.

use alloc::sync::Arc;

use nucleus::mm::frame::ensure_reserve;
use nucleus::user::UserMode;

use super::arguments::Arguments;
use super::program::{self, Prepared, ProgramFile};
use super::signal::Signals;
use super::{Current, exit, table};
use crate::errno::Errno;

/// Has the calling thread's process run another program. On success, the thread's
/// registers are those that the program starts with.
///
/// # Errors
///
/// Those of [`program::prepare`]; [`Errno::Again`] and [`Errno::Interrupted`] when the
/// thread is to end itself.
pub(crate) fn exec(
    current: &mut Current,
    file: ProgramFile,
    arguments: Arguments,
) -> Result<(), Errno> {
    ensure_reserve()?;
    let limits = current.process.limits.lock().clone();
    let prepared = program::prepare(&current.fs, file, arguments, &limits);
    // Whatever came of it, the old program is still there.
    current.memory.activate();
    let prepared = prepared?;
    let files = Arc::new(current.files.fork());
    current.process.end_others(current)?;
    // ---- The point of no return. ----
    table::lock().become_first(&current.thread);
    exit::let_go_of_memory(current);
    let Prepared {
        memory,
        context,
        running,
        name,
    } = prepared;
    memory.activate();
    current.process.set_program(running, &memory);
    current.thread.set_name(name);
    // The old memory goes here, if nobody else has it.
    current.memory = memory;
    current.files = files;
    current.files.close_for_exec();
    current.show_resources();
    current.process.signals.reset_for_exec();
    current.signals = Signals::default();
    current.user = UserMode::new(context);
    Ok(())
}
