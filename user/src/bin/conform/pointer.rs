//! Bad pointers in every argument of every call: whichever it is, the kernel says
//! `EFAULT`, or what it finds first, and lives on.
//!
//! The other arguments are good ones, so that the pointer is reached.

use libc::c_long;

use crate::kit::{
    AT, Case, KERNEL, NONE, PAGE, PRIVATE, RW, call, child, file_with, map, open, pipe, say, unmap,
};

pub(crate) const CASES: &[Case] = &[
    ("pointers-of-files", of_files),
    ("pointers-of-paths", of_paths),
    ("pointers-of-processes", of_processes),
    ("pointers-of-signals", of_signals),
    ("pointers-of-time", of_time),
    ("pointers-at-edges", at_edges),
    ("pointers-read-only", read_only),
    ("lengths-that-overflow", overflow),
];

/// A call by name, its arguments, and which of them are pointers.
type Row<'a> = (&'a str, c_long, [usize; 6], &'a [usize]);

/// Puts each bad address where each pointer of a call is, one at a time.
fn try_all(rows: &[Row<'_>]) {
    map(AT, 1, PRIVATE);
    unmap(AT + PAGE, 1);
    map(AT + 4 * PAGE, 1, PRIVATE);
    call(libc::SYS_mprotect, [AT + 4 * PAGE, PAGE, 0]);
    let bad = [
        ("null", 0),
        ("1", 1),
        ("not there", AT + 2 * PAGE),
        ("no access", AT + 4 * PAGE),
        ("end of user space", 0x7fff_ffff_f000),
        ("not canonical", 1 << 63),
        ("kernel", KERNEL),
        ("last word", NONE - 7),
        ("last byte", NONE),
    ];
    for (name, number, arguments, pointers) in rows {
        for index in *pointers {
            let answers = bad.map(|(_, address)| {
                let mut arguments = *arguments;
                arguments[*index] = address;
                call(*number, arguments).ok()
            });
            // Mostly they are all the same.
            if answers.iter().all(|answer| *answer == answers[0]) {
                say!("{name}, argument {index}: {}", answers[0]);
            } else {
                let each = bad
                    .iter()
                    .zip(&answers)
                    .map(|((what, _), answer)| format!("{what} {answer}"));
                say!(
                    "{name}, argument {index}: {}",
                    each.collect::<Vec<_>>().join(", ")
                );
            }
        }
    }
}

fn of_files() {
    let file = file_with(c"a", b"some text that is long enough");
    call(libc::SYS_lseek, [file, 0, 0]);
    let (out, end) = pipe(libc::O_NONBLOCK);
    call(libc::SYS_write, [end, c"0123456789".as_ptr() as usize, 10]);
    let directory = open(c".", 0).value();
    let list = [c"x".as_ptr() as usize, 1];
    let list = list.as_ptr() as usize;
    try_all(&[
        ("read", libc::SYS_read, [file, 0, 8, 0, 0, 0], &[1]),
        ("write", libc::SYS_write, [file, 0, 8, 0, 0, 0], &[1]),
        ("read of a pipe", libc::SYS_read, [out, 0, 8, 0, 0, 0], &[1]),
        (
            "write to a pipe",
            libc::SYS_write,
            [end, 0, 8, 0, 0, 0],
            &[1],
        ),
        ("pread64", libc::SYS_pread64, [file, 0, 8, 0, 0, 0], &[1]),
        ("pwrite64", libc::SYS_pwrite64, [file, 0, 8, 0, 0, 0], &[1]),
        ("readv", libc::SYS_readv, [file, list, 1, 0, 0, 0], &[1]),
        ("writev", libc::SYS_writev, [file, list, 1, 0, 0, 0], &[1]),
        ("fstat", libc::SYS_fstat, [file, 0, 0, 0, 0, 0], &[1]),
        (
            "getdents64",
            libc::SYS_getdents64,
            [directory, 0, 512, 0, 0, 0],
            &[1],
        ),
        ("pipe2", libc::SYS_pipe2, [0; 6], &[0]),
        ("poll", libc::SYS_poll, [0, 1, 0, 0, 0, 0], &[0]),
    ]);
    // Nothing was read of the pipe, nor written to it.
    let mut bytes = [0_u8; 20];
    say!(
        "in the pipe: {}",
        call(libc::SYS_read, [out, bytes.as_mut_ptr() as usize, 20])
    );
}

fn of_paths() {
    file_with(c"a", b"text");
    let name = c"a".as_ptr() as usize;
    let here = libc::AT_FDCWD as usize;
    let mut buffer = [0_u64; 32];
    let to = buffer.as_mut_ptr() as usize;
    try_all(&[
        ("open", libc::SYS_open, [name, 0, 0, 0, 0, 0], &[0]),
        ("openat", libc::SYS_openat, [here, name, 0, 0, 0, 0], &[1]),
        ("stat", libc::SYS_stat, [name, to, 0, 0, 0, 0], &[0, 1]),
        ("lstat", libc::SYS_lstat, [name, to, 0, 0, 0, 0], &[0, 1]),
        (
            "newfstatat",
            libc::SYS_newfstatat,
            [here, name, to, 0, 0, 0],
            &[1, 2],
        ),
        ("chdir", libc::SYS_chdir, [name, 0, 0, 0, 0, 0], &[0]),
        ("mkdir", libc::SYS_mkdir, [name, 0, 0, 0, 0, 0], &[0]),
        ("rmdir", libc::SYS_rmdir, [name, 0, 0, 0, 0, 0], &[0]),
        ("unlink", libc::SYS_unlink, [name, 0, 0, 0, 0, 0], &[0]),
        (
            "unlinkat",
            libc::SYS_unlinkat,
            [here, name, 0, 0, 0, 0],
            &[1],
        ),
        (
            "rename",
            libc::SYS_rename,
            [name, name, 0, 0, 0, 0],
            &[0, 1],
        ),
        ("getcwd", libc::SYS_getcwd, [to, 200, 0, 0, 0, 0], &[0]),
        ("execve", libc::SYS_execve, [name, 0, 0, 0, 0, 0], &[0]),
    ]);
    let link = c"/proc/self/exe".as_ptr() as usize;
    try_all(&[
        (
            "readlink",
            libc::SYS_readlink,
            [link, to, 64, 0, 0, 0],
            &[0, 1],
        ),
        (
            "readlinkat",
            libc::SYS_readlinkat,
            [here, link, to, 64, 0, 0],
            &[1, 2],
        ),
    ]);
    say!("the file is still there: {}", open(c"a", 0).ok());
}

fn of_processes() {
    let mut buffer = [0_u64; 64];
    let to = buffer.as_mut_ptr() as usize;
    try_all(&[
        ("uname", libc::SYS_uname, [0; 6], &[0]),
        ("sysinfo", libc::SYS_sysinfo, [0; 6], &[0]),
        ("getrusage", libc::SYS_getrusage, [0; 6], &[1]),
        (
            "prlimit64, new",
            libc::SYS_prlimit64,
            [0, 7, 0, 0, 0, 0],
            &[2],
        ),
        (
            "prlimit64, old",
            libc::SYS_prlimit64,
            [0, 7, 0, to, 0, 0],
            &[3],
        ),
        ("getrandom", libc::SYS_getrandom, [0, 16, 0, 0, 0, 0], &[0]),
        (
            "sched_getaffinity",
            libc::SYS_sched_getaffinity,
            [0, 128, 0, 0, 0, 0],
            &[2],
        ),
        (
            "sched_setaffinity",
            libc::SYS_sched_setaffinity,
            [0, 8, 0, 0, 0, 0],
            &[2],
        ),
        (
            "arch_prctl",
            libc::SYS_arch_prctl,
            [0x1003, 0, 0, 0, 0, 0],
            &[1],
        ),
        ("clone3", libc::SYS_clone3, [0, 88, 0, 0, 0, 0], &[0]),
        (
            "get_robust_list",
            libc::SYS_get_robust_list,
            [0, to, to, 0, 0, 0],
            &[1, 2],
        ),
        ("mincore", libc::SYS_mincore, [AT, PAGE, 0, 0, 0, 0], &[2]),
    ]);
    for bad in [KERNEL, 1, NONE] {
        let answers = child(|| {
            let process = crate::kit::fork(|| 0).unwrap_or(0) as usize;
            let status = call(libc::SYS_wait4, [process, bad, 0, 0]);
            let process = crate::kit::fork(|| 0).unwrap_or(0) as usize;
            let usage = call(libc::SYS_wait4, [process, 0, 0, bad]);
            let process = crate::kit::fork(|| 0).unwrap_or(0) as usize;
            let info = call(libc::SYS_waitid, [1, process, bad, 4, 0]);
            say!("wait4: {status}, {usage}, waitid: {info}");
            0
        });
        say!("{answers}");
    }
}

fn of_signals() {
    let set = [0_u64; 4];
    let good = set.as_ptr() as usize;
    let time = [0_i64; 2];
    let now = time.as_ptr() as usize;
    try_all(&[
        (
            "rt_sigaction, new",
            libc::SYS_rt_sigaction,
            [10, 0, 0, 8, 0, 0],
            &[1],
        ),
        (
            "rt_sigaction, old",
            libc::SYS_rt_sigaction,
            [10, 0, 0, 8, 0, 0],
            &[2],
        ),
        (
            "rt_sigprocmask, new",
            libc::SYS_rt_sigprocmask,
            [0, 0, 0, 8, 0, 0],
            &[1],
        ),
        (
            "rt_sigprocmask, old",
            libc::SYS_rt_sigprocmask,
            [0, 0, 0, 8, 0, 0],
            &[2],
        ),
        (
            "rt_sigpending",
            libc::SYS_rt_sigpending,
            [0, 8, 0, 0, 0, 0],
            &[0],
        ),
        (
            "rt_sigsuspend",
            libc::SYS_rt_sigsuspend,
            [0, 8, 0, 0, 0, 0],
            &[0],
        ),
        (
            "rt_sigtimedwait",
            libc::SYS_rt_sigtimedwait,
            [good, 0, now, 8, 0, 0],
            &[0],
        ),
        ("sigaltstack, new", libc::SYS_sigaltstack, [0; 6], &[0]),
        ("sigaltstack, old", libc::SYS_sigaltstack, [0; 6], &[1]),
        (
            "rt_sigqueueinfo",
            libc::SYS_rt_sigqueueinfo,
            [9_999_999, 10, 0, 0, 0, 0],
            &[2],
        ),
    ]);
}

fn of_time() {
    let time = [0_i64; 2];
    let now = time.as_ptr() as usize;
    try_all(&[
        (
            "clock_gettime",
            libc::SYS_clock_gettime,
            [1, 0, 0, 0, 0, 0],
            &[1],
        ),
        (
            "clock_getres",
            libc::SYS_clock_getres,
            [1, 0, 0, 0, 0, 0],
            &[1],
        ),
        (
            "nanosleep",
            libc::SYS_nanosleep,
            [now, 0, 0, 0, 0, 0],
            &[0, 1],
        ),
        (
            "clock_nanosleep",
            libc::SYS_clock_nanosleep,
            [1, 0, now, 0, 0, 0],
            &[2, 3],
        ),
        ("gettimeofday", libc::SYS_gettimeofday, [0; 6], &[0, 1]),
        ("times", libc::SYS_times, [0; 6], &[0]),
        ("time", libc::SYS_time, [0; 6], &[0]),
    ]);
}

/// Pointers to what starts in good memory and ends elsewhere.
fn at_edges() {
    // peer_094
    map(AT, 1, PRIVATE);
    unmap(AT + PAGE, 1);
    let edge = AT + PAGE;
    for before in [1, 4, 8, 100] {
        let at = edge - before;
        say!(
            "{before} bytes before: uname {}, clock {}, stat {}, path {}",
            call(libc::SYS_uname, [at]),
            call(libc::SYS_clock_gettime, [1, at]),
            call(libc::SYS_fstat, [1, at]),
            call(libc::SYS_open, [at, 0]),
        );
    }
    let file = file_with(c"a", &[b'x'; 300]);
    call(libc::SYS_lseek, [file, 0, 0]);
    // Half of it can be done.
    say!(
        "read over the edge = {}",
        call(libc::SYS_read, [file, edge - 100, 200])
    );
    say!("position {}", call(libc::SYS_lseek, [file, 0, 1]));
    let (out, end) = pipe(libc::O_NONBLOCK);
    say!(
        "write over the edge = {}",
        call(libc::SYS_write, [file, edge - 100, 200])
    );
    say!(
        "to a pipe = {}",
        call(libc::SYS_write, [end, edge - 100, 200])
    );
    let mut bytes = [0_u8; 300];
    let read = call(libc::SYS_read, [out, bytes.as_mut_ptr() as usize, 300]);
    say!("in the pipe: {read}");
    say!(
        "getrandom = {}",
        call(libc::SYS_getrandom, [edge - 100, 200, 0])
    );
    (0..8).for_each(|index| crate::kit::store(edge - 8 + index, b'a'));
    say!(
        "path without an end = {}",
        call(libc::SYS_open, [edge - 8, 0])
    );
    crate::kit::store(edge - 1, 0);
    say!(
        "path up to the edge = {}",
        call(libc::SYS_open, [edge - 8, 0])
    );
}

fn read_only() {
    let there = c"text that cannot be written, and is long enough for all that: \
        ................................................................................\
        ................................................................................\
        ................................................................................\
        ................................................................................\
        ................................................................................";
    let there = there.as_ptr() as usize;
    let file = file_with(c"a", &[b'x'; 300]);
    call(libc::SYS_lseek, [file, 0, 0]);
    for (name, number, arguments) in [
        ("uname", libc::SYS_uname, [there, 0, 0, 0]),
        ("read", libc::SYS_read, [file, there, 8, 0]),
        ("fstat", libc::SYS_fstat, [file, there, 0, 0]),
        ("clock_gettime", libc::SYS_clock_gettime, [1, there, 0, 0]),
        ("getrandom", libc::SYS_getrandom, [there, 8, 0, 0]),
        ("pipe2", libc::SYS_pipe2, [there, 0, 0, 0]),
        ("sysinfo", libc::SYS_sysinfo, [there, 0, 0, 0]),
        ("rt_sigpending", libc::SYS_rt_sigpending, [there, 8, 0, 0]),
        ("getcwd", libc::SYS_getcwd, [there, 200, 0, 0]),
    ] {
        say!("{name} = {}", call(number, arguments));
    }
    let code = of_files as *const () as usize;
    say!("read to code = {}", call(libc::SYS_read, [file, code, 8]));
    let write_only = call(libc::SYS_mmap, [0, PAGE, RW & !1, PRIVATE, NONE, 0]).value();
    say!(
        "read to what is write only = {}",
        call(libc::SYS_read, [file, write_only, 8])
    );
}

fn overflow() {
    let file = file_with(c"a", &[b'x'; 300]);
    let mut buffer = [0_u64; 32];
    let to = buffer.as_mut_ptr() as usize;
    for (name, len) in [
        ("2^31", 1 << 31),
        ("2^32", 1 << 32),
        ("2^47", 1 << 47),
        ("2^63", 1 << 63),
        ("up to the end", NONE - to),
        ("all but a page", NONE - PAGE),
        ("all", NONE),
    ] {
        call(libc::SYS_lseek, [file, 0, 0]);
        say!(
            "{name}: read {}, getrandom {}, getdents {}, readlink {}",
            child(|| call(libc::SYS_read, [file, AT - PAGE, len]).error()),
            child(|| call(libc::SYS_getrandom, [AT - PAGE, len, 0]).error()),
            call(libc::SYS_getdents64, [99, to, len]),
            call(libc::SYS_readlink, [c"a".as_ptr() as usize, to, len]),
        );
    }
}
