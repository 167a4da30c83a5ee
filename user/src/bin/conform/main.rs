//! Cases of system calls: what a call does, and what it refuses.
//!
//! `conform CASE` runs one; `conform --list` names them. Each prints lines that do not
//! depend on addresses, numbers of processes, or time, so that a run on Linux and one
//! on Vostok can be compared.

mod advise;
mod alarm;
mod directory;
mod epoll;
mod exec;
mod fault;
mod file;
mod frame;
mod futex;
mod info;
mod interrupt;
mod kit;
mod limit;
mod map;
mod map_file;
mod pipe;
mod pointer;
mod process;
mod processor;
mod protect;
mod robust;
mod share;
mod signal;
mod thread;
mod truncate;
mod wait;

use std::process::ExitCode;

/// All cases, by file.
const ALL: &[&[kit::Case]] = &[
    map::CASES,
    map_file::CASES,
    truncate::CASES,
    protect::CASES,
    advise::CASES,
    limit::CASES,
    share::CASES,
    process::CASES,
    wait::CASES,
    exec::CASES,
    futex::CASES,
    robust::CASES,
    signal::CASES,
    interrupt::CASES,
    fault::CASES,
    frame::CASES,
    file::CASES,
    directory::CASES,
    pipe::CASES,
    epoll::CASES,
    alarm::CASES,
    thread::CASES,
    info::CASES,
    processor::CASES,
    pointer::CASES,
];

fn main() -> ExitCode {
    // A panic in a child must not run the parent's code again.
    std::panic::set_hook(Box::new(|panic| {
        kit::say!("{panic}");
        kit::exit(101);
    }));
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let mut cases = ALL.iter().copied().flatten();
    if wanted == "--list" {
        cases.for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let Some((_, run)) = cases.find(|(name, _)| *name == wanted) else {
        println!("usage: conform CASE, or conform --list");
        return ExitCode::from(2);
    };
    reset_signals();
    run();
    ExitCode::SUCCESS
}

/// Undoes what the standard library does to signals at its start.
fn reset_signals() {
    for signal in [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: No handler is installed; a stack that overflows just ends the case.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let off = [0, libc::SS_DISABLE as usize, 0];
    kit::call(libc::SYS_sigaltstack, [off.as_ptr() as usize, 0]);
}
