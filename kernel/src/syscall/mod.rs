//! System calls: Linux's numbers, structures and errors.
//!
//! A call's number is in RAX, its arguments in RDI, RSI, RDX, R10, R8 and R9,
//! and its result, or the negated error number, goes to RAX. Calls that are not
//! there return `ENOSYS` and are logged once. Every pointer is a number until a
//! copy through it succeeded.

mod barrier;
mod file;
mod futex;
mod identity;
mod limits;
mod memory;
pub(crate) mod number;
mod process;
mod schedule;
mod signal;
mod system;
mod table;
mod time;
mod timer;

use core::sync::atomic::{AtomicU64, Ordering};

use nucleus::user::UserContext;

use crate::errno::Errno;
use crate::process::Current;

/// What a call returns.
type SyscallResult = Result<usize, Errno>;

/// A call's arguments.
type Arguments = [usize; 6];

/// Performs the call that a program's registers ask for.
pub(crate) fn handle(current: &mut Current) {
    let context = current.user.context();
    // The upper half of the register is nothing to Linux.
    let call = context.rax() as u32 as usize;
    let arguments = arguments(context);
    let result = match table::find(call) {
        Some(perform) => perform(current, &arguments),
        None => perform_other(current, call, arguments),
    };
    if log::log_enabled!(log::Level::Trace) {
        trace(current, call, &arguments, result);
    }
    if result == Err(Errno::Interrupted) {
        current.note_interrupted(call);
    }
    let context = current.user.context_mut();
    context.set_rax(result.unwrap_or_else(Errno::as_result));
}

/// Logs a call; apart from where calls are performed, which is to be short.
#[cold]
fn trace(current: &Current, call: usize, arguments: &Arguments, result: SyscallResult) {
    let thread = &current.thread;
    log::trace!("{thread:?}: call {call} {arguments:x?} = {result:?}");
}

/// Returns the arguments of a call that the registers ask for.
pub(crate) fn arguments(context: &UserContext) -> Arguments {
    [
        context.rdi(),
        context.rsi(),
        context.rdx(),
        context.r10(),
        context.r8(),
        context.r9(),
    ]
}

/// Performs a call that is not in the table.
#[inline(never)]
fn perform_other(current: &mut Current, call: usize, arguments: Arguments) -> SyscallResult {
    file::dispatch(current, call, arguments).unwrap_or_else(|| {
        log_unknown_once(call);
        Err(Errno::NoCall)
    })
}

/// Logs a call that is not there, the first time that it is made. The first one of a
/// number that Linux has not given stands for all of these.
fn log_unknown_once(call: usize) {
    const WORDS: usize = 9;
    static SEEN: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
    let call_or_last = call.min(WORDS * 64 - 1);
    let bit = 1 << (call_or_last % 64);
    // Relaxed: at worst a line is logged twice.
    if SEEN[call_or_last / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        log::warn!("system call {call} is not there");
    }
}
