//! System calls: Linux's numbers, structures and errors.
//!
//! A call's number is in RAX, its arguments in RDI, RSI, RDX, R10, R8 and R9,
//! and its result, or the negated error number, goes to RAX. Calls that are not
//! there return `ENOSYS` and are logged once. Every pointer is a number until a
//! copy through it succeeded.

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
mod time;

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
    let call = context.rax();
    let arguments = arguments(context);
    let result = dispatch(current, call, arguments);
    let thread = &current.thread;
    log::trace!("{thread:?}: call {call} {arguments:x?} = {result:?}");
    if result == Err(Errno::Interrupted) {
        current.note_interrupted(call);
    }
    let context = current.user.context_mut();
    context.set_rax(result.unwrap_or_else(Errno::as_result));
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

fn dispatch(current: &mut Current, call: usize, arguments: Arguments) -> SyscallResult {
    let [a, b, c, d, e, _] = arguments;
    match call {
        number::MMAP => memory::mmap(current, arguments),
        number::MPROTECT => memory::mprotect(current, a, b, c),
        number::MUNMAP => memory::munmap(current, a, b),
        number::BRK => Ok(current.memory.set_heap_end(a)),
        number::MREMAP => memory::mremap(current, [a, b, c, d, e]),
        number::MADVISE => memory::madvise(current, a, b, c),
        number::MINCORE => memory::mincore(current, a, b, c),
        number::MSYNC => memory::msync(current, a, b, c),
        number::MLOCK => memory::mlock(current, a, b, 0),
        number::MLOCK2 => memory::mlock(current, a, b, c),
        number::MUNLOCK => memory::munlock(current, a, b),
        number::MLOCKALL => memory::mlockall(current, a),
        number::MUNLOCKALL => memory::munlockall(current),

        number::RT_SIGACTION => signal::sigaction(current, [a, b, c, d]),
        number::RT_SIGPROCMASK => signal::sigprocmask(current, [a, b, c, d]),
        number::RT_SIGRETURN => signal::sigreturn(current),
        number::RT_SIGPENDING => signal::sigpending(current, a, b),
        number::RT_SIGSUSPEND => signal::sigsuspend(current, a, b),
        number::RT_SIGTIMEDWAIT => signal::sigtimedwait(current, [a, b, c, d]),
        number::RT_SIGQUEUEINFO => signal::sigqueueinfo(current, a, b, c),
        number::RT_TGSIGQUEUEINFO => signal::tgsigqueueinfo(current, [a, b, c, d]),
        number::SIGALTSTACK => signal::sigaltstack(current, a, b),
        number::PAUSE => signal::pause(current),
        number::KILL => signal::kill(current, a, b),
        number::TKILL => signal::tkill(current, a, b),
        number::TGKILL => signal::tgkill(current, a, b, c),

        number::FORK => process::fork(current),
        number::VFORK => process::vfork(current),
        number::CLONE => process::clone(current, arguments),
        number::CLONE3 => process::clone3(current, a, b),
        number::EXECVE => process::execve(current, a, b, c),
        number::EXECVEAT => process::execveat(current, [a, b, c, d, e]),
        number::EXIT => process::exit(current, a),
        number::EXIT_GROUP => process::exit_group(current, a),
        number::WAIT4 => process::wait4(current, [a, b, c, d]),
        number::WAITID => process::waitid(current, [a, b, c, d, e]),
        number::ARCH_PRCTL => process::arch_prctl(current, a, b),
        number::SET_TID_ADDRESS => Ok(process::set_tid_address(current, a)),
        number::SET_ROBUST_LIST => process::set_robust_list(current, a, b),
        number::GET_ROBUST_LIST => process::get_robust_list(current, a, b, c),
        number::FUTEX => futex::futex(current, arguments),

        number::GETPID => Ok(current.process.id().as_usize()),
        number::GETTID => Ok(current.thread.id().as_usize()),
        number::GETPPID => identity::getppid(current),
        number::GETPGRP => identity::getpgid(current, 0),
        number::GETPGID => identity::getpgid(current, a),
        number::SETPGID => identity::setpgid(current, a, b),
        number::GETSID => identity::getsid(current, a),
        number::SETSID => identity::setsid(current),
        number::GETUID | number::GETGID | number::GETEUID | number::GETEGID => Ok(0),
        number::SETUID | number::SETGID => identity::set_id(a),
        number::SETREUID | number::SETREGID => identity::set_ids(&[a, b]),
        number::SETRESUID | number::SETRESGID => identity::set_ids(&[a, b, c]),
        number::GETRESUID | number::GETRESGID => identity::get_ids(current, [a, b, c]),
        // They return what it was before.
        number::SETFSUID | number::SETFSGID => Ok(0),
        number::GETGROUPS => identity::getgroups(a),
        number::SETGROUPS => identity::setgroups(current, a, b),

        number::GETRLIMIT => limits::getrlimit(current, a, b),
        number::SETRLIMIT => limits::setrlimit(current, a, b),
        number::PRLIMIT64 => limits::prlimit(current, [a, b, c, d]),
        number::GETRUSAGE => limits::getrusage(current, a, b),
        number::TIMES => limits::times(current, a),

        number::SCHED_YIELD => schedule::sched_yield(),
        number::SCHED_GETAFFINITY => schedule::sched_getaffinity(current, a, b, c),
        number::SCHED_SETAFFINITY => schedule::sched_setaffinity(current, a, b, c),
        number::SCHED_GETSCHEDULER => schedule::sched_getscheduler(current, a),
        number::SCHED_SETSCHEDULER => schedule::sched_setscheduler(current, a, b, c),
        number::SCHED_GETPARAM => schedule::sched_getparam(current, a, b),
        number::SCHED_SETPARAM => schedule::sched_setparam(current, a, b),
        number::SCHED_GET_PRIORITY_MIN => schedule::priorities(a).map(|(min, _)| min),
        number::SCHED_GET_PRIORITY_MAX => schedule::priorities(a).map(|(_, max)| max),
        number::GETPRIORITY => schedule::getpriority(current, a, b),
        number::SETPRIORITY => schedule::setpriority(current, a, b),
        number::GETCPU => schedule::getcpu(current, a, b),

        number::CLOCK_GETTIME => time::clock_gettime(current, a, b),
        number::CLOCK_SETTIME => time::clock_settime(current, a, b),
        number::CLOCK_GETRES => time::clock_getres(current, a, b),
        number::CLOCK_NANOSLEEP => time::clock_nanosleep(current, [a, b, c, d]),
        number::NANOSLEEP => time::nanosleep(current, a, b),
        number::GETTIMEOFDAY => time::gettimeofday(current, a, b),
        number::TIME => time::time(current, a),

        number::UNAME => system::uname(current, a),
        number::SYSINFO => system::sysinfo(current, a),
        number::GETRANDOM => system::getrandom(current, a, b, c),
        number::PRCTL => system::prctl(current, [a, b, c, d, e]),
        number::REBOOT => system::reboot(a, b, c),
        // The C library does without restartable sequences, and asks each time; and so
        // do others without barriers in other threads.
        number::RSEQ | number::MEMBARRIER => Err(Errno::NoCall),
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
