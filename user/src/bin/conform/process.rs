//! Processes: how they begin and end, groups and sessions.

use libc::{SYS_clone, SYS_clone3, SYS_wait4, c_int};

use crate::kit::{
    AT, Answer, Case, KERNEL, NONE, PRIVATE, call, child, ending, exit, fork, load, map, pause,
    pipe, say, signal_name, store, wait,
};

pub(crate) const CASES: &[Case] = &[
    ("exit-codes", exit_codes),
    ("exit-by-signals", exit_by_signals),
    ("fork-raw", fork_raw),
    ("vfork", vfork),
    ("clone-flags", clone_flags),
    ("clone-refused", clone_refused),
    ("clone3-sizes", clone3_sizes),
    ("clone3-refused", clone3_refused),
    ("clone-exit-signal", exit_signal),
    ("process-groups", groups),
    ("sessions", sessions),
    ("kill-refused", kill_refused),
    ("kill-group", kill_group),
    ("exit-group-with-threads", exit_group),
    ("exit-of-first-thread", first_thread),
];

pub(crate) fn wait4(process: c_int, options: c_int) -> (Answer, c_int) {
    let mut status = 0x7777;
    let to = (&raw mut status) as usize;
    (
        call(SYS_wait4, [process as usize, to, options as usize, 0]),
        status,
    )
}

pub(crate) fn kill(process: c_int, signal: c_int) -> Answer {
    call(libc::SYS_kill, [process as usize, signal as usize])
}

pub(crate) fn get_pid() -> c_int {
    call(libc::SYS_getpid, []).value() as c_int
}

/// Starts a child that waits to be killed.
pub(crate) fn sleeper() -> c_int {
    fork(|| {
        loop {
            call(libc::SYS_pause, []);
        }
    })
    .unwrap_or(0)
}

fn exit_codes() {
    for code in [0, 1, 127, 128, 255, 256, 257, -1] {
        say!("exit({code}): {}", child(|| code));
    }
    let by_exit = child(|| call(libc::SYS_exit, [300]).value() as c_int);
    let by_group = child(|| call(libc::SYS_exit_group, [0x1_0000_0005]).value() as c_int);
    say!("exit: {by_exit}, exit_group: {by_group}");
}

fn exit_by_signals() {
    // Those that stop a process would leave it there.
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for signal in (1..32).filter(|signal| !stops.contains(signal)) {
        let end = child(|| {
            // SAFETY: It installs no handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            kill(get_pid(), signal);
            7
        });
        say!("{}: {end}", signal_name(signal));
    }
}

fn fork_raw() {
    match call(libc::SYS_fork, []).value() {
        0 => exit(12),
        process => say!("fork: {}", wait(process as c_int)),
    }
    let is_other = child(|| i32::from(call(libc::SYS_getppid, []).value() as c_int == 0));
    say!("a child has a parent: {is_other}");
    let pid = get_pid();
    let end = child(|| {
        let mine = get_pid();
        let thread = call(libc::SYS_gettid, []).value() as c_int;
        let parent = call(libc::SYS_getppid, []).value() as c_int;
        i32::from(mine != pid) + 2 * i32::from(mine == thread) + 4 * i32::from(parent == pid)
    });
    say!("its numbers: {end}");
}

fn vfork() {
    map(AT, 1, PRIVATE);
    store(AT, 1);
    let (out, end) = pipe(libc::O_NONBLOCK);
    let flags = (libc::CLONE_VFORK | libc::SIGCHLD) as usize;
    match call(SYS_clone, [flags, 0, 0, 0, 0]).value() {
        0 => {
            pause(10);
            store(AT, 2);
            call(libc::SYS_write, [end, c"x".as_ptr() as usize, 1]);
            exit(5)
        }
        // A child that shares no memory; the parent has waited all the same.
        process => {
            let mut byte = [0_u8];
            let read = call(libc::SYS_read, [out, byte.as_mut_ptr() as usize, 1]);
            say!("the child had written: {read}, the byte {}", load(AT));
            say!("{}", wait(process as c_int));
        }
    }
    // With memory in common, by a library call that does so.
    let mut command = std::process::Command::new("/proc/self/exe");
    let status = command
        .arg("exit-codes")
        .output()
        .map(|output| output.status);
    say!(
        "spawned: {:?}",
        status.ok().and_then(|status| status.code())
    );
}

fn clone_flags() {
    const THREAD: usize = libc::CLONE_THREAD as usize;
    const SIGHAND: usize = libc::CLONE_SIGHAND as usize;
    const VM: usize = libc::CLONE_VM as usize;
    for (name, flags) in [
        ("thread", THREAD),
        ("thread and memory", THREAD | VM),
        ("handlers", SIGHAND),
        ("thread and handlers", THREAD | SIGHAND),
        (
            "file system and a new name space",
            (libc::CLONE_FS | libc::CLONE_NEWNS) as usize,
        ),
    ] {
        say!("clone({name}) = {}", call(SYS_clone, [flags, 0, 0, 0, 0]));
    }
    let mut number: c_int = -1;
    let to = (&raw mut number) as usize;
    let flags = (libc::CLONE_PARENT_SETTID | libc::SIGCHLD) as usize;
    match call(SYS_clone, [flags, 0, to, 0, 0]).value() {
        0 => exit(0),
        process => {
            say!("number for the parent: {}", number == process as c_int);
            wait(process as c_int);
        }
    }
    let flags = (libc::CLONE_CHILD_SETTID | libc::SIGCHLD) as usize;
    match call(SYS_clone, [flags, 0, 0, to, 0]).value() {
        0 => exit(c_int::from(number == get_pid())),
        process => say!("number for the child: {}", wait(process as c_int)),
    }
    let (file, _) = pipe(0);
    let flags = (libc::CLONE_FILES | libc::SIGCHLD) as usize;
    match call(SYS_clone, [flags, 0, 0, 0, 0]).value() {
        0 => {
            crate::kit::close(file);
            exit(0)
        }
        process => {
            wait(process as c_int);
            say!(
                "files in common, closed by the child: {}",
                crate::kit::close(file)
            );
        }
    }
}

fn clone_refused() {
    let flags = libc::CLONE_PARENT_SETTID as usize | libc::SIGCHLD as usize;
    for (name, to) in [("kernel", KERNEL), ("null", 0)] {
        // The number cannot be written, and nobody is told.
        match call(SYS_clone, [flags, 0, to, 0, 0]).value() {
            0 => exit(3),
            process => say!("clone(number to {name}): {}", wait(process as c_int)),
        }
    }
    // peer_091
    for (name, base) in [
        ("kernel", KERNEL),
        ("not canonical", 1 << 63),
        ("all", NONE),
    ] {
        let flags = libc::CLONE_SETTLS as usize | libc::SIGCHLD as usize;
        let answer = call(SYS_clone, [flags, 0, 0, 0, base]);
        if answer.value() == 0 && !answer.is_error() {
            exit(4);
        }
        say!("clone(thread-local base {name}) = {answer}");
    }
}

fn clone3_sizes() {
    let mut arguments = [0_u64; 40];
    arguments[4] = libc::SIGCHLD as u64;
    let at = arguments.as_ptr() as usize;
    for size in [0, 1, 63, 64, 72, 80, 88, 96, 320] {
        let answer = call(SYS_clone3, [at, size]);
        if answer.value() == 0 && !answer.is_error() {
            exit(6);
        }
        if answer.is_error() {
            say!("clone3(size {size}) = {answer}");
        } else {
            say!("clone3(size {size}): {}", wait(answer.value() as c_int));
        }
    }
    say!("clone3(size 2^20) = {}", call(SYS_clone3, [at, 1 << 20]));
    arguments[39] = 1;
    say!(
        "clone3(with more behind) = {}",
        call(SYS_clone3, [arguments.as_ptr() as usize, 320])
    );
    say!("clone3(null) = {}", call(SYS_clone3, [0, 88]));
    say!("clone3(kernel) = {}", call(SYS_clone3, [KERNEL, 88]));
}

fn clone3_refused() {
    const FLAGS: usize = 0;
    const SIGNAL: usize = 4;
    const STACK: usize = 5;
    const STACK_SIZE: usize = 6;
    const TLS: usize = 7;
    for (name, changes) in [
        ("exit signal 65", &[(SIGNAL, 65)][..]),
        ("exit signal 2^32", &[(SIGNAL, 1 << 32)]),
        ("stack without a size", &[(STACK, AT as u64)]),
        ("size without a stack", &[(STACK_SIZE, 4096)]),
        (
            "stack in the kernel",
            &[(STACK, KERNEL as u64), (STACK_SIZE, 4096)],
        ),
        ("unknown flag", &[(FLAGS, 1 << 63)]),
        ("signal in the flags", &[(FLAGS, 17)]),
        ("thread", &[(FLAGS, libc::CLONE_THREAD as u64)]),
        (
            "thread-local base",
            &[(FLAGS, libc::CLONE_SETTLS as u64), (TLS, 1 << 63)],
        ),
    ] {
        let mut arguments = [0_u64; 11];
        for (index, value) in changes {
            arguments[*index] = *value;
        }
        let answer = call(SYS_clone3, [arguments.as_ptr() as usize, 88]);
        if answer.value() == 0 && !answer.is_error() {
            exit(7);
        }
        say!("clone3({name}) = {answer}");
    }
}

fn exit_signal() {
    let flags = libc::SIGUSR1 as usize;
    // SAFETY: It installs no handler.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    for (name, flags) in [("SIGUSR1", flags), ("none", 0)] {
        match call(SYS_clone, [flags, 0, 0, 0, 0]).value() {
            0 => exit(1),
            process => {
                let process = process as c_int;
                let (plain, _) = wait4(process, 0);
                let (other, status) = wait4(process, libc::__WCLONE);
                say!(
                    "{name}: wait {plain}, of clones {}, {}",
                    other.ok(),
                    ending(status)
                );
            }
        }
    }
    let process = fork(|| 2).unwrap_or(0);
    let (clones, _) = wait4(process, libc::__WCLONE);
    let (all, status) = wait4(process, libc::__WALL);
    say!(
        "SIGCHLD: of clones {clones}, of all {}, {}",
        all.ok(),
        ending(status)
    );
}

fn groups() {
    let pid = get_pid() as usize;
    let set = |process, group| call(libc::SYS_setpgid, [process, group]);
    say!(
        "own group is the session's: {}",
        call(libc::SYS_getpgrp, []).from(pid)
    );
    say!("setpgid(leader of a session) = {}", set(0, 0));
    say!("setpgid(first process) = {}", set(1, 0));
    say!("setpgid(nobody) = {}", set(9_999_999, 0));
    say!("setpgid(negative group) = {}", set(0, NONE));
    say!("getpgid(nobody) = {}", call(libc::SYS_getpgid, [9_999_999]));
    let process = sleeper() as usize;
    say!("setpgid(child) = {}", set(process, 0));
    say!(
        "its group: {}",
        call(libc::SYS_getpgid, [process]).from(process)
    );
    say!(
        "setpgid(child, group of nobody) = {}",
        set(process, 9_999_999)
    );
    say!("setpgid(child, back) = {}", set(process, pid));
    kill(process as c_int, libc::SIGKILL);
    wait(process as c_int);
}

fn sessions() {
    let pid = get_pid() as usize;
    say!("getsid = {}", call(libc::SYS_getsid, [0]).from(pid));
    say!("setsid(leader of a group) = {}", call(libc::SYS_setsid, []));
    say!("getsid(nobody) = {}", call(libc::SYS_getsid, [9_999_999]));
    let end = child(|| {
        let mine = get_pid() as usize;
        let session = call(libc::SYS_setsid, []);
        let group = call(libc::SYS_getpgid, [0]);
        i32::from(session.value() == mine && group.value() == mine)
    });
    say!("setsid in a child: {end}");
}

fn kill_refused() {
    for (name, process, signal) in [
        ("signal 65", get_pid(), 65),
        ("signal -1", get_pid(), -1),
        ("nobody", 9_999_999, 0),
        ("no such group", -9_999_999, 0),
        ("nobody, signal 65", 9_999_999, 65),
        ("nothing", get_pid(), 0),
        ("smallest number", i32::MIN, 0),
    ] {
        say!("kill({name}) = {}", kill(process, signal));
    }
    let pid = get_pid() as usize;
    for (name, process, thread, signal) in [
        ("own", pid, pid, 0),
        ("thread 0", pid, 0, 0),
        ("thread -1", pid, NONE, 0),
        ("process 0", 0, pid, 0),
        ("nobody", pid, 9_999_999, 0),
        ("thread of another", 1, pid, 0),
        ("signal 65", pid, pid, 65),
    ] {
        say!(
            "tgkill({name}) = {}",
            call(libc::SYS_tgkill, [process, thread, signal])
        );
    }
    say!("tkill(0) = {}", call(libc::SYS_tkill, [0, 0]));
    say!("tkill(nobody) = {}", call(libc::SYS_tkill, [9_999_999, 0]));
}

fn kill_group() {
    let first = sleeper();
    call(libc::SYS_setpgid, [first as usize, 0]);
    let second = sleeper();
    call(libc::SYS_setpgid, [second as usize, first as usize]);
    let third = sleeper();
    say!("kill = {}", kill(-first, libc::SIGTERM));
    say!("{}, {}", wait(first), wait(second));
    say!("not in the group: {}", wait4(third, libc::WNOHANG).0);
    kill(third, libc::SIGINT);
    say!("{}", wait(third));
}

fn exit_group() {
    let end = child(|| {
        for _ in 0..4 {
            std::thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
        }
        std::thread::spawn(|| exit(33));
        loop {
            pause(1000);
        }
    });
    say!("one of six threads exits: {end}");
    let end = child(|| {
        for _ in 0..3 {
            std::thread::spawn(|| pause(100_000));
        }
        pause(5);
        kill(get_pid(), libc::SIGKILL);
        0
    });
    say!("killed with threads: {end}");
}

/// The process lives on when its first thread ends; who waits waits for the last.
fn first_thread() {
    let end = child(|| {
        std::thread::spawn(|| {
            pause(20);
            exit(44)
        });
        call(libc::SYS_exit, [11]).value() as c_int
    });
    say!("the last thread decides: {end}");
}
