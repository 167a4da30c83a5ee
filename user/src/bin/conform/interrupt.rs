//! What signals interrupt, and waiting for them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kit::{
    AT, Case, KERNEL, PRIVATE, call, child, fork, load_u64, map, pause, pipe, say, wait,
};
use crate::process::{kill, sleeper};
use crate::signal::{bit, handle, kill_self, note, seen, send_later, set_mask};
use libc::c_int;

pub(crate) const CASES: &[Case] = &[
    ("signal-interrupts-read", interrupts_read),
    ("signal-restarts-read", restarts_read),
    ("signal-interrupts-others", interrupts_others),
    ("signal-stop-and-restart", stop_and_restart),
    ("sigpending", pending),
    ("sigsuspend", suspend),
    ("sigtimedwait", timed_wait),
    ("sigpipe", broken_pipe),
    ("sigchld-info", child_info),
    ("sigchld-options", child_options),
];

fn interrupts_read() {
    handle(libc::SIGUSR1, 0, note);
    let (out, _end) = pipe(0);
    let mut byte = [0_u8];
    let process = send_later(libc::SIGUSR1);
    say!(
        "read = {}",
        call(libc::SYS_read, [out, byte.as_mut_ptr() as usize, 1])
    );
    let _ = process.map(wait);
    say!("{}", seen());
}

fn restarts_read() {
    handle(libc::SIGUSR1, libc::SA_RESTART, note);
    let (out, end) = pipe(0);
    let mut byte = [0_u8];
    let pid = call(libc::SYS_getpid, []).value();
    let process = fork(|| {
        pause(30);
        call(libc::SYS_kill, [pid, libc::SIGUSR1 as usize]);
        pause(30);
        call(libc::SYS_write, [end, c"x".as_ptr() as usize, 1]);
        0
    });
    say!(
        "read = {}",
        call(libc::SYS_read, [out, byte.as_mut_ptr() as usize, 1])
    );
    let _ = process.map(wait);
    say!("{}", seen());
}

/// Calls that end with `EINTR` even if handlers ask for a restart, and others.
fn interrupts_others() {
    map(AT, 1, PRIVATE);
    let (out, _end) = pipe(0);
    for flags in [0, libc::SA_RESTART] {
        handle(libc::SIGUSR1, flags, note);
        let mut left = [0_i64; 2];
        let long = [5_i64, 0];
        let (long, rest) = (long.as_ptr() as usize, left.as_mut_ptr() as usize);
        let poll = [out as u64 | 1 << 32, 0];
        for (name, number, arguments) in [
            ("nanosleep", libc::SYS_nanosleep, [long, rest, 0, 0]),
            (
                "clock_nanosleep",
                libc::SYS_clock_nanosleep,
                [1, 0, long, rest],
            ),
            ("poll", libc::SYS_poll, [poll.as_ptr() as usize, 1, 5000, 0]),
            ("pause", libc::SYS_pause, [0; 4]),
        ] {
            let process = send_later(libc::SIGUSR1);
            say!("flags {flags:#x}: {name} = {}", call(number, arguments));
            let _ = process.map(wait);
        }
        let is_less = (1..5).contains(&left[0]);
        say!("rest of the time: {is_less}, {}", seen());
    }
    handle(libc::SIGUSR1, 0, note);
    let sleeper = sleeper();
    let process = send_later(libc::SIGUSR1);
    say!(
        "wait4 = {}",
        call(libc::SYS_wait4, [sleeper as usize, 0, 0, 0])
    );
    let _ = process.map(wait);
    kill(sleeper, libc::SIGTERM);
    say!("{}", wait(sleeper));
}

/// A stop and a continuation interrupt nothing that can go on.
fn stop_and_restart() {
    let (out, end) = pipe(0);
    let process = fork(|| {
        let mut byte = [0_u8];
        call(libc::SYS_read, [out, byte.as_mut_ptr() as usize, 1]).value() as i32
    });
    let process = process.unwrap_or(0);
    pause(20);
    for signal in [libc::SIGSTOP, libc::SIGCONT] {
        call(libc::SYS_kill, [process as usize, signal as usize]);
        pause(20);
    }
    call(libc::SYS_write, [end, c"x".as_ptr() as usize, 1]);
    say!("read went on: {}", wait(process));
    let process = fork(|| {
        let time = [0_i64, 80_000_000];
        call(libc::SYS_nanosleep, [time.as_ptr() as usize, 0]).error()
    });
    let process = process.unwrap_or(0);
    pause(20);
    for signal in [libc::SIGSTOP, libc::SIGCONT] {
        call(libc::SYS_kill, [process as usize, signal as usize]);
        pause(20);
    }
    say!("sleep went on: {}", wait(process));
}

fn pending() {
    let mut set = [0_u64];
    let to = set.as_mut_ptr() as usize;
    let now = || {
        call(libc::SYS_rt_sigpending, [to, 8]);
        load_u64(to)
    };
    handle(libc::SIGUSR1, 0, note);
    set_mask(
        0,
        bit(libc::SIGUSR1) | bit(libc::SIGUSR2) | bit(libc::SIGCHLD),
    );
    kill_self(libc::SIGUSR1);
    kill_self(libc::SIGUSR1);
    kill_self(libc::SIGCHLD);
    say!("pending: {:#x}", now());
    // SAFETY: It installs no handler.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
    kill_self(libc::SIGUSR2);
    say!("ignored and blocked: {:#x}", now());
    set_mask(1, bit(libc::SIGUSR1));
    say!("{}, pending: {:#x}", seen(), now());
    // SAFETY: As above.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    say!("ignored later: {:#x}", now());
    say!(
        "sigpending(to the kernel) = {}",
        call(libc::SYS_rt_sigpending, [KERNEL, 8])
    );
    say!(
        "sigpending(size 16) = {}",
        call(libc::SYS_rt_sigpending, [to, 16])
    );
    say!(
        "sigpending(size 4) = {}",
        call(libc::SYS_rt_sigpending, [to, 4])
    );
}

fn suspend() {
    handle(libc::SIGUSR1, libc::SA_RESTART, note);
    set_mask(0, bit(libc::SIGUSR1));
    kill_self(libc::SIGUSR1);
    let none = [0_u64];
    let at = none.as_ptr() as usize;
    say!(
        "sigsuspend = {}, {}",
        call(libc::SYS_rt_sigsuspend, [at, 8]),
        seen()
    );
    kill_self(libc::SIGUSR1);
    say!("blocked again: {}", seen());
    let process = send_later(libc::SIGUSR2);
    handle(libc::SIGUSR2, 0, note);
    let others = [bit(libc::SIGUSR1)];
    let at = others.as_ptr() as usize;
    say!(
        "sigsuspend = {}, {}",
        call(libc::SYS_rt_sigsuspend, [at, 8]),
        seen()
    );
    let _ = process.map(wait);
    say!(
        "sigsuspend(size 4) = {}",
        call(libc::SYS_rt_sigsuspend, [at, 4])
    );
    say!(
        "sigsuspend(kernel) = {}",
        call(libc::SYS_rt_sigsuspend, [KERNEL, 8])
    );
}

fn timed_wait() {
    let set = [bit(libc::SIGUSR1) | bit(40)];
    set_mask(0, set[0]);
    let mut info = [0_u32; 32];
    let (set, to) = (set.as_ptr() as usize, info.as_mut_ptr() as usize);
    let short = [0_i64, 2_000_000];
    let now = [0_i64, 0];
    let bad = [0_i64, 1_000_000_000];
    let wait_for = |set, to, time, size| call(libc::SYS_rt_sigtimedwait, [set, to, time, size]);
    say!("nothing: {}", wait_for(set, to, short.as_ptr() as usize, 8));
    say!(
        "nothing now: {}",
        wait_for(set, to, now.as_ptr() as usize, 8)
    );
    kill_self(40);
    kill_self(libc::SIGUSR1);
    for _ in 0..2 {
        let answer = wait_for(set, to, now.as_ptr() as usize, 8);
        say!("there: {answer}, signal {}", crate::kit::load_u32(to));
    }
    let process = send_later(libc::SIGUSR1);
    say!("later: {}", wait_for(set, 0, 0, 8));
    let _ = process.map(wait);
    handle(libc::SIGUSR2, libc::SA_RESTART, note);
    let process = send_later(libc::SIGUSR2);
    say!("another one: {}, {}", wait_for(set, 0, 0, 8), seen());
    let _ = process.map(wait);
    say!("bad time: {}", wait_for(set, to, bad.as_ptr() as usize, 8));
    say!("time in the kernel: {}", wait_for(set, to, KERNEL, 8));
    say!("set in the kernel: {}", wait_for(KERNEL, to, 0, 8));
    say!("size 4: {}", wait_for(set, to, 0, 4));
    kill_self(libc::SIGUSR1);
    say!("to the kernel: {}", wait_for(set, KERNEL, 0, 8));
}

fn broken_pipe() {
    let (out, end) = pipe(0);
    crate::kit::close(out);
    let write = || call(libc::SYS_write, [end, c"x".as_ptr() as usize, 1]);
    say!("by default: {}", child(|| write().error()));
    handle(libc::SIGPIPE, 0, note);
    say!("handled: {}, {}", write(), seen());
    // SAFETY: It installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    say!("ignored: {}", write());
    say!(
        "nothing to write: {}",
        call(libc::SYS_write, [end, KERNEL, 0])
    );
    say!("a bad pointer: {}", call(libc::SYS_write, [end, KERNEL, 1]));
}

/// How often [`note_child`] was called.
static NOTED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_child(_: c_int, info: *const libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: The kernel hands over a `siginfo`, whose first words these are.
    let words = unsafe { info.cast::<[u32; 8]>().read() };
    say!(
        "  code {}, a child {}, status {}",
        words[2],
        words[4] > 1,
        words[6]
    );
    NOTED.fetch_add(1, Ordering::Relaxed);
}

/// Waits until the handler has noted so many more children than before.
fn until_noted(before: usize, more: usize) {
    while NOTED.load(Ordering::Relaxed) < before + more {
        pause(1);
    }
}

/// Stops a child, lets it go on, and kills it, each when the one before has happened;
/// `is_noted` says whether the handler is told of stops.
fn stop_and_kill(is_noted: bool) -> String {
    let process = sleeper();
    let before = NOTED.load(Ordering::Relaxed);
    let steps = [
        (libc::SIGSTOP, libc::WSTOPPED),
        (libc::SIGCONT, libc::WCONTINUED),
        (libc::SIGKILL, libc::WEXITED),
    ];
    for (number, (signal, change)) in steps.into_iter().enumerate() {
        kill(process, signal);
        if is_noted {
            until_noted(before, number + 1);
        }
        let options = (change | libc::WNOWAIT) as usize;
        let arguments = [libc::P_PID as usize, process as usize, 0, options, 0];
        call(libc::SYS_waitid, arguments);
    }
    until_noted(before, if is_noted { steps.len() } else { 1 });
    wait(process)
}

fn child_info() {
    handle(libc::SIGCHLD, libc::SA_RESTART, note_child);
    say!("{}", child(|| 6));
    say!("{}", child(|| kill_self(libc::SIGTERM).error()));
    let end = child(|| {
        // SAFETY: Not sound, which is the point: nothing is mapped there.
        unsafe { (8 as *mut u8).write_volatile(1) };
        0
    });
    say!("{end}");
}

fn child_options() {
    handle(libc::SIGCHLD, libc::SA_RESTART, note_child);
    say!("all: {}", stop_and_kill(true));
    handle(
        libc::SIGCHLD,
        libc::SA_RESTART | libc::SA_NOCLDSTOP,
        note_child,
    );
    say!("without stops: {}", stop_and_kill(false));
    handle(
        libc::SIGCHLD,
        libc::SA_RESTART | libc::SA_NOCLDWAIT,
        note_child,
    );
    let process = fork(|| 4).unwrap_or(0);
    say!(
        "without zombies: {}",
        call(libc::SYS_wait4, [process as usize, 0, 0, 0])
    );
}
