//! Which function performs which call.
//!
//! A call is an entry of a table that is made at compile time, so that finding it takes
//! the same few instructions for all, and the frame of a large one is no burden to a
//! small one. Calls about files are found by [`file::dispatch`](super::file).

use super::{
    Arguments, SyscallResult, barrier, futex, identity, limits, memory, number, process, schedule,
    signal, system, time, timer,
};
use crate::errno::Errno;
use crate::process::Current;

/// What performs a call.
type Call = fn(&mut Current, &Arguments) -> SyscallResult;
/// By their numbers.
type Calls = [Option<Call>; NR_CALLS];

/// One more than the highest number that is looked up here.
const NR_CALLS: usize = 452;

static CALLS: Calls = {
    let mut calls: Calls = [None; NR_CALLS];
    add_memory_calls(&mut calls);
    add_signal_calls(&mut calls);
    add_process_calls(&mut calls);
    add_identity_calls(&mut calls);
    add_limit_calls(&mut calls);
    add_schedule_calls(&mut calls);
    add_time_calls(&mut calls);
    add_system_calls(&mut calls);
    calls
};

/// Returns what performs a call.
pub(super) fn find(call: usize) -> Option<Call> {
    CALLS.get(call).copied().flatten()
}

/// Memory.
const fn add_memory_calls(calls: &mut Calls) {
    calls[number::MMAP] = Some(|current, arguments| memory::mmap(current, *arguments));
    calls[number::MPROTECT] = Some(|current, &[a, b, c, ..]| memory::mprotect(current, a, b, c));
    calls[number::MUNMAP] = Some(|current, &[a, b, ..]| memory::munmap(current, a, b));
    calls[number::BRK] = Some(|current, &[a, ..]| Ok(current.memory.set_heap_end(a)));
    calls[number::MREMAP] =
        Some(|current, &[a, b, c, d, e, ..]| memory::mremap(current, [a, b, c, d, e]));
    calls[number::MADVISE] = Some(|current, &[a, b, c, ..]| memory::madvise(current, a, b, c));
    calls[number::MINCORE] = Some(|current, &[a, b, c, ..]| memory::mincore(current, a, b, c));
    calls[number::MSYNC] = Some(|current, &[a, b, c, ..]| memory::msync(current, a, b, c));
    calls[number::MLOCK] = Some(|current, &[a, b, ..]| memory::mlock(current, a, b, 0));
    calls[number::MLOCK2] = Some(|current, &[a, b, c, ..]| memory::mlock(current, a, b, c));
    calls[number::MUNLOCK] = Some(|current, &[a, b, ..]| memory::munlock(current, a, b));
    calls[number::MLOCKALL] = Some(|current, &[a, ..]| memory::mlockall(current, a));
    calls[number::MUNLOCKALL] = Some(|current, _| memory::munlockall(current));
}

/// Signals.
const fn add_signal_calls(calls: &mut Calls) {
    calls[number::RT_SIGACTION] =
        Some(|current, &[a, b, c, d, ..]| signal::sigaction(current, [a, b, c, d]));
    calls[number::RT_SIGPROCMASK] =
        Some(|current, &[a, b, c, d, ..]| signal::sigprocmask(current, [a, b, c, d]));
    calls[number::RT_SIGRETURN] = Some(|current, _| signal::sigreturn(current));
    calls[number::RT_SIGPENDING] = Some(|current, &[a, b, ..]| signal::sigpending(current, a, b));
    calls[number::RT_SIGSUSPEND] = Some(|current, &[a, b, ..]| signal::sigsuspend(current, a, b));
    calls[number::RT_SIGTIMEDWAIT] =
        Some(|current, &[a, b, c, d, ..]| signal::sigtimedwait(current, [a, b, c, d]));
    calls[number::RT_SIGQUEUEINFO] =
        Some(|current, &[a, b, c, ..]| signal::sigqueueinfo(current, a, b, c));
    calls[number::RT_TGSIGQUEUEINFO] =
        Some(|current, &[a, b, c, d, ..]| signal::tgsigqueueinfo(current, [a, b, c, d]));
    calls[number::SIGALTSTACK] = Some(|current, &[a, b, ..]| signal::sigaltstack(current, a, b));
    calls[number::PAUSE] = Some(|current, _| signal::pause(current));
    calls[number::KILL] = Some(|current, &[a, b, ..]| signal::kill(current, a, b));
    calls[number::TKILL] = Some(|current, &[a, b, ..]| signal::tkill(current, a, b));
    calls[number::TGKILL] = Some(|current, &[a, b, c, ..]| signal::tgkill(current, a, b, c));
}

/// Processes and threads: how they begin, end, wait for each other.
const fn add_process_calls(calls: &mut Calls) {
    calls[number::FORK] = Some(|current, _| process::fork(current));
    calls[number::VFORK] = Some(|current, _| process::vfork(current));
    calls[number::CLONE] = Some(|current, arguments| process::clone(current, *arguments));
    calls[number::CLONE3] = Some(|current, &[a, b, ..]| process::clone3(current, a, b));
    calls[number::EXECVE] = Some(|current, &[a, b, c, ..]| process::execve(current, a, b, c));
    calls[number::EXECVEAT] =
        Some(|current, &[a, b, c, d, e, ..]| process::execveat(current, [a, b, c, d, e]));
    calls[number::EXIT] = Some(|current, &[a, ..]| process::exit(current, a));
    calls[number::EXIT_GROUP] = Some(|current, &[a, ..]| process::exit_group(current, a));
    calls[number::WAIT4] = Some(|current, &[a, b, c, d, ..]| process::wait4(current, [a, b, c, d]));
    calls[number::WAITID] =
        Some(|current, &[a, b, c, d, e, ..]| process::waitid(current, [a, b, c, d, e]));
    calls[number::ARCH_PRCTL] = Some(|current, &[a, b, ..]| process::arch_prctl(current, a, b));
    calls[number::SET_TID_ADDRESS] =
        Some(|current, &[a, ..]| Ok(process::set_tid_address(current, a)));
    calls[number::SET_ROBUST_LIST] =
        Some(|current, &[a, b, ..]| process::set_robust_list(current, a, b));
    calls[number::GET_ROBUST_LIST] =
        Some(|current, &[a, b, c, ..]| process::get_robust_list(current, a, b, c));
    calls[number::FUTEX] = Some(|current, arguments| futex::futex(current, *arguments));
}

/// Who a process is.
const fn add_identity_calls(calls: &mut Calls) {
    calls[number::GETPID] = Some(|current, _| Ok(current.process.id().as_usize()));
    calls[number::GETTID] = Some(|current, _| Ok(current.thread.id().as_usize()));
    calls[number::GETPPID] = Some(|current, _| identity::getppid(current));
    calls[number::GETPGRP] = Some(|current, _| identity::getpgid(current, 0));
    calls[number::GETPGID] = Some(|current, &[a, ..]| identity::getpgid(current, a));
    calls[number::SETPGID] = Some(|current, &[a, b, ..]| identity::setpgid(current, a, b));
    calls[number::GETSID] = Some(|current, &[a, ..]| identity::getsid(current, a));
    calls[number::SETSID] = Some(|current, _| identity::setsid(current));
    calls[number::GETUID] = Some(|_, _| Ok(0));
    calls[number::GETGID] = Some(|_, _| Ok(0));
    calls[number::GETEUID] = Some(|_, _| Ok(0));
    calls[number::GETEGID] = Some(|_, _| Ok(0));
    calls[number::SETUID] = Some(|_, &[a, ..]| identity::set_id(a));
    calls[number::SETGID] = Some(|_, &[a, ..]| identity::set_id(a));
    calls[number::SETREUID] = Some(|_, &[a, b, ..]| identity::set_ids(&[a, b]));
    calls[number::SETREGID] = Some(|_, &[a, b, ..]| identity::set_ids(&[a, b]));
    calls[number::SETRESUID] = Some(|_, &[a, b, c, ..]| identity::set_ids(&[a, b, c]));
    calls[number::SETRESGID] = Some(|_, &[a, b, c, ..]| identity::set_ids(&[a, b, c]));
    calls[number::GETRESUID] =
        Some(|current, &[a, b, c, ..]| identity::get_ids(current, [a, b, c]));
    calls[number::GETRESGID] =
        Some(|current, &[a, b, c, ..]| identity::get_ids(current, [a, b, c]));
    // They return what it was before.
    calls[number::SETFSUID] = Some(|_, _| Ok(0));
    calls[number::SETFSGID] = Some(|_, _| Ok(0));
    calls[number::GETGROUPS] = Some(|_, &[a, ..]| identity::getgroups(a));
    calls[number::SETGROUPS] = Some(|current, &[a, b, ..]| identity::setgroups(current, a, b));
}

/// What a process may have, and has used.
const fn add_limit_calls(calls: &mut Calls) {
    calls[number::GETRLIMIT] = Some(|current, &[a, b, ..]| limits::getrlimit(current, a, b));
    calls[number::SETRLIMIT] = Some(|current, &[a, b, ..]| limits::setrlimit(current, a, b));
    calls[number::PRLIMIT64] =
        Some(|current, &[a, b, c, d, ..]| limits::prlimit(current, [a, b, c, d]));
    calls[number::GETRUSAGE] = Some(|current, &[a, b, ..]| limits::getrusage(current, a, b));
    calls[number::TIMES] = Some(|current, &[a, ..]| limits::times(current, a));
}

/// Which thread runs where and when.
const fn add_schedule_calls(calls: &mut Calls) {
    calls[number::SCHED_YIELD] = Some(|_, _| schedule::sched_yield());
    calls[number::SCHED_GETAFFINITY] =
        Some(|current, &[a, b, c, ..]| schedule::sched_getaffinity(current, a, b, c));
    calls[number::SCHED_SETAFFINITY] =
        Some(|current, &[a, b, c, ..]| schedule::sched_setaffinity(current, a, b, c));
    calls[number::SCHED_GETSCHEDULER] =
        Some(|current, &[a, ..]| schedule::sched_getscheduler(current, a));
    calls[number::SCHED_SETSCHEDULER] =
        Some(|current, &[a, b, c, ..]| schedule::sched_setscheduler(current, a, b, c));
    calls[number::SCHED_GETPARAM] =
        Some(|current, &[a, b, ..]| schedule::sched_getparam(current, a, b));
    calls[number::SCHED_SETPARAM] =
        Some(|current, &[a, b, ..]| schedule::sched_setparam(current, a, b));
    calls[number::SCHED_GET_PRIORITY_MIN] =
        Some(|_, &[a, ..]| schedule::priorities(a).map(|(min, _)| min));
    calls[number::SCHED_GET_PRIORITY_MAX] =
        Some(|_, &[a, ..]| schedule::priorities(a).map(|(_, max)| max));
    calls[number::GETPRIORITY] = Some(|current, &[a, b, ..]| schedule::getpriority(current, a, b));
    calls[number::SETPRIORITY] = Some(|current, &[a, b, ..]| schedule::setpriority(current, a, b));
    calls[number::GETCPU] = Some(|current, &[a, b, ..]| schedule::getcpu(current, a, b));
}

/// Clocks and sleep.
const fn add_time_calls(calls: &mut Calls) {
    calls[number::CLOCK_GETTIME] = Some(|current, &[a, b, ..]| time::clock_gettime(current, a, b));
    calls[number::CLOCK_SETTIME] = Some(|current, &[a, b, ..]| time::clock_settime(current, a, b));
    calls[number::CLOCK_GETRES] = Some(|current, &[a, b, ..]| time::clock_getres(current, a, b));
    calls[number::CLOCK_NANOSLEEP] =
        Some(|current, &[a, b, c, d, ..]| time::clock_nanosleep(current, [a, b, c, d]));
    calls[number::NANOSLEEP] = Some(|current, &[a, b, ..]| time::nanosleep(current, a, b));
    calls[number::GETTIMEOFDAY] = Some(|current, &[a, b, ..]| time::gettimeofday(current, a, b));
    calls[number::ALARM] = Some(|current, &[a, ..]| timer::alarm(current, a));
    calls[number::GETITIMER] = Some(|current, &[a, b, ..]| timer::getitimer(current, a, b));
    calls[number::SETITIMER] = Some(|current, &[a, b, c, ..]| timer::setitimer(current, a, b, c));
    calls[number::TIMERFD_CREATE] =
        Some(|current, &[a, b, ..]| timer::timerfd_create(current, a, b));
    calls[number::TIMERFD_SETTIME] =
        Some(|current, &[a, b, c, d, ..]| timer::timerfd_settime(current, [a, b, c, d]));
    calls[number::TIMERFD_GETTIME] =
        Some(|current, &[a, b, ..]| timer::timerfd_gettime(current, a, b));
    calls[number::TIME] = Some(|current, &[a, ..]| time::time(current, a));
}

/// The system as a whole, and what a thread says of itself.
const fn add_system_calls(calls: &mut Calls) {
    calls[number::UNAME] = Some(|current, &[a, ..]| system::uname(current, a));
    calls[number::SYSINFO] = Some(|current, &[a, ..]| system::sysinfo(current, a));
    calls[number::GETRANDOM] = Some(|current, &[a, b, c, ..]| system::getrandom(current, a, b, c));
    calls[number::PRCTL] =
        Some(|current, &[a, b, c, d, e, ..]| system::prctl(current, [a, b, c, d, e]));
    calls[number::REBOOT] = Some(|_, &[a, b, c, ..]| system::reboot(a, b, c));
    // The C library does without restartable sequences, and asks each time.
    calls[number::RSEQ] = Some(|_, _| Err(Errno::NoCall));
    calls[number::MEMBARRIER] = Some(|current, &[a, b, ..]| barrier::membarrier(current, a, b));
}
