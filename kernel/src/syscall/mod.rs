//! System calls: Linux's numbers, structures and errors.
//!
//! A call's number is in RAX, its arguments in RDI, RSI, RDX, R10, R8 and R9,
//! and its result, or the negated error number, goes to RAX. Calls that are not
//! there return `ENOSYS` and are logged once. Every pointer is a number until a
//! copy through it succeeded.

pub(crate) mod file;
mod memory;
mod number;
mod process;
pub(crate) mod signal;

use core::sync::atomic::{AtomicU64, Ordering};

use nucleus::user::UserContext;

use crate::errno::Errno;
use crate::process::Process;

/// What a call returns.
type SyscallResult = Result<usize, Errno>;

/// A call's arguments.
type Arguments = [usize; 6];

/// Performs the call that a program's registers ask for.
pub(crate) fn handle(process: &mut Process, context: &mut UserContext) {
    let call = context.rax();
    let arguments = [
        context.rdi(),
        context.rsi(),
        context.rdx(),
        context.r10(),
        context.r8(),
        context.r9(),
    ];
    let result = dispatch(process, context, call, arguments);
    log::trace!("{}: call {call} {arguments:x?} = {result:?}", process.name);
    context.set_rax(result.unwrap_or_else(Errno::as_result));
}

fn dispatch(
    process: &mut Process,
    context: &mut UserContext,
    call: usize,
    arguments: Arguments,
) -> SyscallResult {
    let [a, b, c, d, _, _] = arguments;
    match call {
        number::READ => file::read(process, a, b, c),
        number::WRITE => file::write(process, a, b, c),
        number::WRITEV => file::writev(process, a, b, c),
        number::OPEN => file::open(process, a, b),
        number::OPENAT => file::open(process, b, c),
        number::CLOSE => file::close(process, a),
        number::LSEEK => file::lseek(process, a, b, c),
        number::STAT | number::LSTAT => file::stat(process, a, b),
        number::FSTAT => file::fstat(process, a, b),
        number::NEWFSTATAT => file::newfstatat(process, [a, b, c, d]),
        number::POLL | number::PPOLL => file::poll(process, a, b),
        number::IOCTL => file::ioctl(process, a),
        number::READLINK => file::readlink(process, a, b, c),
        number::READLINKAT => file::readlink(process, b, c, d),
        number::GETCWD => file::getcwd(process, a, b),

        number::MMAP => memory::mmap(process, arguments),
        number::MPROTECT => memory::mprotect(process, a, b, c),
        number::MUNMAP => memory::munmap(process, a, b),
        number::BRK => Ok(process.memory.set_heap_end(a)),
        number::MREMAP => memory::mremap(process, [a, b, c, d]),
        number::MADVISE => memory::madvise(process, a, b, c),

        number::RT_SIGACTION => signal::sigaction(process, [a, b, c, d]),
        number::RT_SIGPROCMASK => signal::sigprocmask(process, [a, b, c, d]),
        number::SIGALTSTACK => signal::sigaltstack(process, a, b),
        number::KILL | number::TKILL => signal::kill(process, a, b),
        number::TGKILL => signal::tgkill(process, a, b, c),

        number::EXIT | number::EXIT_GROUP => process::exit(process, a),
        number::GETPID | number::GETTID | number::SET_TID_ADDRESS => Ok(process::PID),
        number::GETPPID => Ok(0),
        number::GETUID | number::GETGID | number::GETEUID | number::GETEGID => Ok(0),
        number::ARCH_PRCTL => process::arch_prctl(process, context, a, b),
        number::SET_ROBUST_LIST => process::set_robust_list(b),
        number::PRLIMIT64 => process::prlimit(process, [a, b, c, d]),
        number::UNAME => process::uname(process, a),
        number::GETRANDOM => process::getrandom(process, a, b),
        number::CLOCK_GETTIME => process::clock_gettime(process, a, b),
        number::NANOSLEEP => process::nanosleep(process, a),
        number::CLOCK_NANOSLEEP => process::clock_nanosleep(process, [a, b, c]),
        number::SCHED_YIELD => Ok(0),
        number::SCHED_GETAFFINITY => process::sched_getaffinity(process, b, c),
        // The C library does without restartable sequences, and asks each time.
        number::RSEQ => Err(Errno::NoCall),
        number::FUTEX => process::futex(process, [a, b, c, d]),
        _ => {
            log_unknown_once(call);
            Err(Errno::NoCall)
        }
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
