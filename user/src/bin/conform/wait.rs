//! Waiting for children, and what becomes of those that nobody waits for.

use crate::kit::{
    AT, Answer, Case, KERNEL, PAGE, PRIVATE, call, child, ending, fork, map, pause, pipe, say,
    store, wait,
};
use crate::process::{get_pid, kill, sleeper, wait4};
use libc::{SYS_wait4, SYS_waitid, c_int};

pub(crate) const CASES: &[Case] = &[
    ("wait4-options", wait_options),
    ("wait4-refused", wait_refused),
    ("wait4-any-and-groups", wait_groups),
    ("wait4-usage", wait_usage),
    ("waitid-info", waitid_info),
    ("waitid-refused", waitid_refused),
    ("wait-stopped", wait_stopped),
    ("zombie-stays", zombie),
    ("orphan-is-adopted", orphan),
    ("parent-ignores-children", ignored),
];

fn wait_options() {
    let process = sleeper();
    say!("running: {}", wait4(process, libc::WNOHANG).0);
    kill(process, libc::SIGTERM);
    let (answer, status) = wait4(process, 0);
    say!(
        "killed: {}, {}",
        answer.from(process as usize),
        ending(status)
    );
    say!("again: {}", wait4(process, 0).0);
    say!("any, without a child: {}", wait4(-1, libc::WNOHANG).0);
    let process = fork(|| 9).unwrap_or(0);
    let answer = call(SYS_wait4, [process as usize, 0, 0, 0]);
    say!("without a status: {}", answer.from(process as usize));
}

fn wait_refused() {
    let process = fork(|| 9).unwrap_or(0) as usize;
    say!(
        "wait4(unknown option) = {}",
        call(SYS_wait4, [process, 0, 0x10, 0])
    );
    say!(
        "wait4(option of waitid) = {}",
        call(SYS_wait4, [process, 0, libc::WNOWAIT as usize, 0])
    );
    say!("wait4(nobody's child) = {}", wait4(get_pid(), 0).0);
    say!("wait4(first process) = {}", wait4(1, 0).0);
    say!("wait4(smallest number) = {}", wait4(i32::MIN, 0).0);
    say!("wait4(no such group) = {}", wait4(-1_000_000, 0).0);
    // The child is gone all the same.
    say!(
        "wait4(status to kernel) = {}",
        call(SYS_wait4, [process, KERNEL, 0, 0])
    );
    say!("wait4(again) = {}", call(SYS_wait4, [process, 0, 0, 0]));
    let process = fork(|| 9).unwrap_or(0) as usize;
    say!(
        "wait4(usage to kernel) = {}",
        call(SYS_wait4, [process, 0, 0, KERNEL])
    );
}

fn wait_groups() {
    let first = sleeper();
    let second = sleeper();
    call(libc::SYS_setpgid, [second as usize, 0]);
    say!("own group: {}", wait4(0, libc::WNOHANG).0);
    kill(second, libc::SIGKILL);
    say!("other group: {}", wait4(-second, 0).0.from(second as usize));
    say!("other group again: {}", wait4(-second, 0).0);
    kill(first, libc::SIGTERM);
    let (answer, status) = wait4(0, 0);
    say!(
        "own group: {}, {}",
        answer.from(first as usize),
        ending(status)
    );
    let third = fork(|| 3).unwrap_or(0);
    let (answer, status) = wait4(-1, 0);
    say!("any: {}, {}", answer.from(third as usize), ending(status));
}

fn wait_usage() {
    let process = fork(|| {
        map(AT, 64, PRIVATE);
        (0..64).for_each(|page| store(AT + page * PAGE, 1));
        0
    });
    let mut usage = [u64::MAX; 18];
    let process = process.unwrap_or(0) as usize;
    let answer = call(SYS_wait4, [process, 0, 0, usage.as_mut_ptr() as usize]);
    let is_sane = usage[0] < 100 && usage[1] < 1_000_000 && usage[2] < 100;
    say!("{}, times are sane: {is_sane}", answer.from(process));
    say!("has faults: {}, swaps: {}", usage[8] >= 64, usage[10]);
}

/// Returns what `waitid` returns, and signal, code, user, status of its information,
/// and whether the number is the process's.
fn waitid(kind: u32, id: c_int, options: c_int) -> (Answer, String) {
    let mut info = [0x55_u32; 32];
    let to = info.as_mut_ptr() as usize;
    let answer = call(
        SYS_waitid,
        [kind as usize, id as usize, to, options as usize, 0],
    );
    let is_there = info[4] != 0 && (id <= 0 || info[4] == id.cast_unsigned());
    let text = format!("signal {}, code {}, status {}", info[0], info[2], info[6]);
    (
        answer,
        if is_there {
            text
        } else {
            format!("signal {}, nobody", info[0])
        },
    )
}

fn waitid_info() {
    let process = fork(|| 300).unwrap_or(0);
    for (name, options) in [
        ("leave", libc::WEXITED | libc::WNOWAIT),
        ("leave again", libc::WEXITED | libc::WNOWAIT),
        ("take", libc::WEXITED),
        ("take again", libc::WEXITED),
    ] {
        let (answer, info) = waitid(libc::P_PID, process, options);
        if answer.is_error() {
            say!("{name}: {answer}");
        } else {
            say!("{name}: {answer}, {info}");
        }
    }
    let process = sleeper();
    let (answer, info) = waitid(libc::P_PID, process, libc::WEXITED | libc::WNOHANG);
    say!("running: {answer}, {info}");
    kill(process, libc::SIGKILL);
    let (answer, info) = waitid(libc::P_ALL, 0, libc::WEXITED);
    say!("killed: {answer}, {info}");
    let process = fork(|| 4).unwrap_or(0);
    let group = call(libc::SYS_getpgid, [0]).value() as c_int;
    let mut info = [0_u32; 32];
    let to = info.as_mut_ptr() as usize;
    let arguments = [
        libc::P_PGID as usize,
        group as usize,
        to,
        libc::WEXITED as usize,
        0,
    ];
    let answer = call(SYS_waitid, arguments);
    say!(
        "by group: {answer}, {}, {}",
        info[4] == process.cast_unsigned(),
        info[6]
    );
}

fn waitid_refused() {
    let exited = libc::WEXITED;
    let process = sleeper();
    for (name, kind, id, options) in [
        ("no options", libc::P_PID, process, 0),
        ("only WNOHANG", libc::P_PID, process, libc::WNOHANG),
        ("unknown option", libc::P_PID, process, exited | 0x10),
        ("unknown kind", 77, process, exited),
        ("number 0", libc::P_PID, 0, exited),
        ("number -1", libc::P_PID, -1, exited),
        ("nobody's", libc::P_PID, get_pid(), exited),
        ("group -1", libc::P_PGID, -1, exited),
    ] {
        say!("waitid({name}) = {}", waitid(kind, id, options).0);
    }
    kill(process, libc::SIGKILL);
    let arguments = [
        libc::P_PID as usize,
        process as usize,
        KERNEL,
        exited as usize,
        0,
    ];
    say!(
        "waitid(information to kernel) = {}",
        call(SYS_waitid, arguments)
    );
    let arguments = [libc::P_ALL as usize, 0, 0, exited as usize, 0];
    say!("waitid(the rest) = {}", call(SYS_waitid, arguments));
}

fn wait_stopped() {
    let process = sleeper();
    kill(process, libc::SIGSTOP);
    let (answer, status) = wait4(process, libc::WUNTRACED);
    say!("{}, {}", answer.from(process as usize), ending(status));
    say!(
        "once only: {}",
        wait4(process, libc::WUNTRACED | libc::WNOHANG).0
    );
    kill(process, libc::SIGTERM);
    say!("a signal waits: {}", wait4(process, libc::WNOHANG).0);
    kill(process, libc::SIGCONT);
    let (answer, status) = wait4(process, 0);
    say!("{}, {}", answer.from(process as usize), ending(status));
    let process = sleeper();
    kill(process, libc::SIGSTOP);
    wait4(process, libc::WUNTRACED);
    kill(process, libc::SIGCONT);
    let (answer, status) = wait4(process, libc::WCONTINUED);
    say!("{}, {}", answer.from(process as usize), ending(status));
    kill(process, libc::SIGSTOP);
    let (answer, info) = waitid(libc::P_PID, process, libc::WSTOPPED);
    say!("waitid: {answer}, {info}");
    kill(process, libc::SIGKILL);
    say!("killed though stopped: {}", wait(process));
}

fn zombie() {
    let process = fork(|| 8).unwrap_or(0);
    waitid(libc::P_PID, process, libc::WEXITED | libc::WNOWAIT);
    say!("kill(0) = {}", kill(process, 0));
    say!("kill(SIGKILL) = {}", kill(process, libc::SIGKILL));
    say!("wait: {}", wait(process));
    say!("kill(0) = {}", kill(process, 0));
}

fn orphan() {
    let (out, end) = pipe(0);
    let middle = child(|| {
        let parent = get_pid();
        let grandchild = fork(|| {
            while call(libc::SYS_getppid, []).value() as c_int == parent {
                pause(1);
            }
            let byte = [b'a' + u8::from(call(libc::SYS_getppid, []).value() != 0)];
            call(libc::SYS_write, [end, byte.as_ptr() as usize, 1]);
            0
        });
        i32::from(grandchild.is_err())
    });
    let mut byte = [0_u8];
    call(libc::SYS_read, [out, byte.as_mut_ptr() as usize, 1]);
    say!("the middle: {middle}, the orphan: {}", char::from(byte[0]));
    say!("not ours: {}", wait4(-1, 0).0);
}

fn ignored() {
    // SAFETY: It installs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    for _ in 0..3 {
        let process = fork(|| 5).unwrap_or(0);
        say!("ignored: {}", wait4(process, 0).0);
    }
    let process = fork(|| 5).unwrap_or(0);
    while !kill(process, 0).is_error() {
        pause(1);
    }
    say!("gone by itself: {}", kill(process, 0));
}
