//! System calls: Linux's numbers, structures and errors.
//!
//! A call's number is in RAX, its arguments in RDI, RSI, RDX, R10, R8 and R9,
//! and its result, or the negated error number, goes to RAX. Calls that are not
//! there return `ENOSYS` and are logged once. Every pointer is a number until a
//! copy through it succeeded.

mod file;
mod memory;
mod number;
mod process;
pub(crate) mod signal;

use core::sync::atomic::{AtomicU64, Ordering};

use crate::errno::Errno;
use crate::process::Current;

/// What a call returns.
type SyscallResult = Result<usize, Errno>;

/// A call's arguments.
type Arguments = [usize; 6];

/// Performs the call that a program's registers ask for.
pub(crate) fn handle(current: &mut Current) {
    let context = current.user.context();
    let call = context.rax();
    let arguments = [
        context.rdi(),
        context.rsi(),
        context.rdx(),
        context.r10(),
        context.r8(),
        context.r9(),
    ];
    let result = dispatch(current, call, arguments);
    let thread = &current.thread;
    log::trace!("{thread:?}: call {call} {arguments:x?} = {result:?}");
    let context = current.user.context_mut();
    context.set_rax(result.unwrap_or_else(Errno::as_result));
}

fn dispatch(current: &mut Current, call: usize, arguments: Arguments) -> SyscallResult {
    let [a, b, c, d, _, _] = arguments;
    match call {
        number::MMAP => memory::mmap(current, arguments),
        number::MPROTECT => memory::mprotect(current, a, b, c),
        number::MUNMAP => memory::munmap(current, a, b),
        number::BRK => Ok(current.memory.set_heap_end(a)),
        number::MREMAP => memory::mremap(current, [a, b, c, d]),
        number::MADVISE => memory::madvise(current, a, b, c),

        number::RT_SIGACTION => signal::sigaction(current, [a, b, c, d]),
        number::RT_SIGPROCMASK => signal::sigprocmask(current, [a, b, c, d]),
        number::SIGALTSTACK => signal::sigaltstack(current, a, b),
        number::KILL | number::TKILL => signal::kill(current, a, b),
        number::TGKILL => signal::tgkill(current, a, b, c),

        number::EXIT => process::exit(current, a),
        number::EXIT_GROUP => process::exit_group(current, a),
        number::GETPID => Ok(current.process.id().as_usize()),
        number::GETTID => Ok(current.thread.id().as_usize()),
        number::SET_TID_ADDRESS => Ok(process::set_tid_address(current, a)),
        number::GETPPID => Ok(0),
        number::GETUID | number::GETGID | number::GETEUID | number::GETEGID => Ok(0),
        number::ARCH_PRCTL => process::arch_prctl(current, a, b),
        number::SET_ROBUST_LIST => process::set_robust_list(b),
        number::PRLIMIT64 => process::prlimit(current, [a, b, c, d]),
        number::UNAME => process::uname(current, a),
        number::GETRANDOM => process::getrandom(current, a, b),
        number::CLOCK_GETTIME => process::clock_gettime(current, a, b),
        number::NANOSLEEP => process::nanosleep(current, a),
        number::CLOCK_NANOSLEEP => process::clock_nanosleep(current, [a, b, c]),
        number::SCHED_YIELD => Ok(0),
        number::SCHED_GETAFFINITY => process::sched_getaffinity(current, b, c),
        // The C library does without restartable sequences, and asks each time.
        number::RSEQ => Err(Errno::NoCall),
        number::FUTEX => process::futex(current, [a, b, c, d]),
        _ => file::dispatch(current, call, arguments).unwrap_or_else(|| {
            log_unknown_once(call);
            Err(Errno::NoCall)
        }),
    }
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
