//! Counters of events, and sets of files that are waited for.

use std::ffi::CStr;

use libc::{
    SYS_epoll_create, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_wait,
    SYS_eventfd2, c_int,
};

use crate::kit::{
    AT, Answer, Case, KERNEL, NONE, PAGE, PRIVATE, call, close, file_with, fork, map, open, pause,
    pipe, say, unmap, until_asleep, wait,
};
use crate::signal::handle;

pub(crate) const CASES: &[Case] = &[
    ("eventfd", event_counter),
    ("eventfd-semaphore", semaphore),
    ("eventfd-waits", counter_waits),
    ("eventfd-refused", counter_refused),
    ("epoll-level", level),
    ("epoll-edge", edge),
    ("epoll-edge-of-counters", edge_of_counters),
    ("epoll-once", once),
    ("epoll-hang-up", hang_up),
    ("epoll-files-go", files_go),
    ("epoll-waits", waits),
    ("epoll-few-at-once", few_at_once),
    ("epoll-in-epoll", nested),
    ("epoll-signals", signals),
    ("epoll-refused", refused),
];

const ADD: usize = libc::EPOLL_CTL_ADD as usize;
const MODIFY: usize = libc::EPOLL_CTL_MOD as usize;
const REMOVE: usize = libc::EPOLL_CTL_DEL as usize;
const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const ONCE: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

fn counter(count: usize, flags: c_int) -> usize {
    call(SYS_eventfd2, [count, flags as usize]).value()
}

fn add(file: usize, count: u64) -> Answer {
    call(libc::SYS_write, [file, (&raw const count) as usize, 8])
}

/// Says what is in a counter.
fn take(file: usize) -> String {
    let mut count = 0_u64;
    let answer = call(libc::SYS_read, [file, (&raw mut count) as usize, 8]);
    match answer.is_error() {
        true => answer.to_string(),
        false => format!("{answer} bytes: {count}"),
    }
}

fn event_counter() {
    let file = counter(3, libc::EFD_NONBLOCK);
    say!("{}", take(file));
    say!("{}", take(file));
    say!("{} {}", add(file, 5), add(file, 6));
    say!("{}", take(file));
    say!("too much: {}", add(file, u64::MAX));
    say!(
        "the most: {}, and one: {}",
        add(file, u64::MAX - 1),
        add(file, 1)
    );
    let mut polled = libc::pollfd {
        fd: file as c_int,
        events: libc::POLLIN | libc::POLLOUT,
        revents: 0,
    };
    let mut poll = || {
        let at = (&raw mut polled) as usize;
        let answer = call(libc::SYS_poll, [at, 1, 0]);
        format!("{answer}, {:#x}", polled.revents)
    };
    say!("poll: {}", poll());
    say!("{}", take(file));
    say!("poll: {}", poll());
    let bytes = [1_u64];
    let at = bytes.as_ptr() as usize;
    say!("7 bytes: {}", call(libc::SYS_write, [file, at, 7]));
    say!("poll: {}", poll());
    say!("read 7 bytes: {}", call(libc::SYS_read, [file, AT, 7]));
    say!("nowhere: {}", call(libc::SYS_write, [file, KERNEL, 8]));
    say!(
        "flags: {:#x}",
        call(libc::SYS_fcntl, [file, libc::F_GETFL as usize]).value()
    );
    say!("seek: {}", call(libc::SYS_lseek, [file, 0, 0]));
    say!("pread: {}", call(libc::SYS_pread64, [file, at, 8, 0]));
    say!("truncate: {}", call(libc::SYS_ftruncate, [file, 0]));
    let path = format!("/proc/self/fd/{file}\0");
    let mut name = [0_u8; 64];
    let at = [path.as_ptr() as usize, name.as_mut_ptr() as usize, 64];
    let len = call(libc::SYS_readlink, at).value();
    say!("{}", String::from_utf8_lossy(&name[..len]));
}

fn semaphore() {
    let file = counter(2, libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE);
    say!("{} {} {}", take(file), take(file), take(file));
    add(file, 2);
    say!("{}", take(file));
}

fn counter_waits() {
    let (one, other) = (counter(0, 0), counter(0, 0));
    let process = fork(|| {
        say!("the child: {}", take(one));
        add(other, u64::MAX - 1);
        // Does not fit until somebody has read.
        say!("fits now: {}", add(other, 7));
        0
    });
    pause(10);
    add(one, 9);
    pause(10);
    let taken = take(other);
    // Not before: the child says something, too.
    say!("{:?}, {taken}, {}", process.map(wait), take(other));
}

fn counter_refused() {
    for flags in [2, 4, 0x100, libc::EFD_NONBLOCK | 2] {
        say!("{flags:#x}: {}", call(SYS_eventfd2, [0, flags as usize]));
    }
    let old = call(libc::SYS_eventfd, [1]);
    say!("the old call: {}, {}", old.ok(), take(old.value()));
}

fn new_set() -> usize {
    call(SYS_epoll_create1, [0]).value()
}

fn control(set: usize, operation: usize, file: usize, bits: u32, data: u64) -> Answer {
    let mut event = [0_u8; 12];
    event[..4].copy_from_slice(&bits.to_le_bytes());
    event[4..].copy_from_slice(&data.to_le_bytes());
    let at = event.as_ptr() as usize;
    call(SYS_epoll_ctl, [set, operation, file, at])
}

/// Says what a set has, sorted.
fn ready_for(set: usize, max: usize, timeout: c_int) -> String {
    let mut bytes = [0_u8; 12 * 8];
    let at = bytes.as_mut_ptr() as usize;
    let answer = call(SYS_epoll_wait, [set, at, max, timeout as usize]);
    let mut events: Vec<_> = bytes
        .chunks(12)
        .take(answer.value())
        .map(|event| {
            let bits = u32::from_le_bytes([event[0], event[1], event[2], event[3]]);
            (event[4], format!("{bits:#x}"))
        })
        .collect();
    events.sort();
    format!("{answer} {events:?}")
}

fn ready(set: usize) -> String {
    ready_for(set, 8, 0)
}

fn write_to(file: usize, text: &CStr) -> Answer {
    let len = text.count_bytes();
    call(libc::SYS_write, [file, text.as_ptr() as usize, len])
}

fn read_from(file: usize, len: usize) -> Answer {
    let mut bytes = [0_u8; 128];
    let at = bytes.as_mut_ptr() as usize;
    call(libc::SYS_read, [file, at, len.min(128)])
}

fn level() {
    let set = new_set();
    let (reader, writer) = pipe(0);
    say!("{}", control(set, ADD, reader, IN, 1));
    say!("{}", control(set, ADD, writer, OUT, 2));
    say!("{}", ready(set));
    write_to(writer, c"abc");
    say!("{} {}", ready(set), ready(set));
    read_from(reader, 1);
    say!("{}", ready(set));
    say!("{}", control(set, MODIFY, writer, 0, 2));
    say!("{}", ready(set));
    read_from(reader, 2);
    say!("{}", ready(set));
    say!("{}", control(set, REMOVE, reader, 0, 0));
    write_to(writer, c"abc");
    say!("{}", ready(set));
}

fn edge() {
    let set = new_set();
    let (reader, writer) = pipe(libc::O_NONBLOCK);
    control(set, ADD, reader, IN | EDGE, 1);
    control(set, ADD, writer, OUT | EDGE, 2);
    say!("{} {}", ready(set), ready(set));
    write_to(writer, c"abc");
    say!("{} {}", ready(set), ready(set));
    read_from(reader, 1);
    say!("a part: {}", ready(set));
    write_to(writer, c"d");
    say!("more: {} {}", ready(set), ready(set));
    control(set, MODIFY, reader, IN | EDGE, 3);
    say!("changed: {} {}", ready(set), ready(set));
    read_from(reader, 128);
    write_to(writer, c"e");
    read_from(reader, 128);
    say!("gone again: {}", ready(set));
    map(AT, 16, PRIVATE);
    say!("full: {}", call(libc::SYS_write, [writer, AT, 16 * PAGE]));
    control(set, REMOVE, reader, 0, 0);
    say!("{}", ready(set));
    call(libc::SYS_read, [reader, AT, PAGE]);
    say!("room: {} {}", ready(set), ready(set));
    call(libc::SYS_read, [reader, AT, PAGE]);
    say!("more room: {}", ready(set));
}

fn edge_of_counters() {
    let set = new_set();
    let file = counter(0, libc::EFD_NONBLOCK);
    control(set, ADD, file, IN | EDGE, 1);
    let same = call(libc::SYS_dup, [file]).value();
    control(set, ADD, same, OUT | EDGE, 2);
    say!("{} {}", ready(set), ready(set));
    add(file, 1);
    say!("{} {}", ready(set), ready(set));
    add(file, 1);
    say!("{} {}", ready(set), ready(set));
    take(file);
    say!("{} {}", ready(set), ready(set));
}

fn once() {
    let set = new_set();
    let (reader, writer) = pipe(0);
    control(set, ADD, reader, IN | ONCE, 1);
    say!("{}", ready(set));
    write_to(writer, c"abc");
    say!("{} {}", ready(set), ready(set));
    write_to(writer, c"abc");
    say!("{}", ready(set));
    say!("there already: {}", control(set, ADD, reader, IN, 1));
    control(set, MODIFY, reader, IN | ONCE, 2);
    say!("{} {}", ready(set), ready(set));
    close(writer);
    say!("{}", ready(set));
    control(set, MODIFY, reader, ONCE, 3);
    say!("{} {}", ready(set), ready(set));
}

fn hang_up() {
    for kind in [0, EDGE] {
        let set = new_set();
        let (reader, writer) = pipe(0);
        control(set, ADD, reader, IN | kind, 1);
        write_to(writer, c"x");
        say!("{}", ready(set));
        close(writer);
        say!("{} {}", ready(set), ready(set));
        let (reader, writer) = pipe(0);
        control(set, ADD, writer, OUT | kind, 2);
        say!("{}", ready(set));
        close(reader);
        say!("{} {}", ready(set), ready(set));
    }
}

fn files_go() {
    let set = new_set();
    let (reader, writer) = pipe(0);
    let same = call(libc::SYS_dup, [reader]).value();
    control(set, ADD, reader, IN, 1);
    write_to(writer, c"x");
    close(reader);
    say!("still open: {}", ready(set));
    say!("by the other number: {}", control(set, MODIFY, same, IN, 2));
    close(same);
    say!("closed: {}", ready(set));
    let (reader, writer) = pipe(0);
    say!("the number again: {}", control(set, ADD, reader, IN, 3));
    say!("{}", ready(set));
    write_to(writer, c"x");
    say!("{}", ready(set));
}

fn waits() {
    let set = new_set();
    let (reader, writer) = pipe(0);
    let file = counter(0, 0);
    control(set, ADD, reader, IN, 1);
    say!("time is over: {}", ready_for(set, 8, 10));
    let own = call(libc::SYS_getpid, []).value();
    let process = fork(|| {
        until_asleep(own);
        write_to(writer, c"x");
        // It is awake until it waits again.
        until_asleep(own);
        control(set, ADD, file, OUT, 2);
        0
    });
    say!("{}", ready_for(set, 8, -1));
    control(set, REMOVE, reader, 0, 0);
    say!("added meanwhile: {}", ready_for(set, 8, -1));
    say!("{:?}", process.map(wait));
}

fn few_at_once() {
    let set = new_set();
    for data in 0..4 {
        control(set, ADD, counter(1, 0), IN, data);
    }
    let mut seen: Vec<_> = (0..4).map(|_| ready_for(set, 1, 0)).collect();
    seen.sort();
    say!("{seen:?}");
    say!("{}", ready_for(set, 3, 0).starts_with('3'));
}

fn nested() {
    let (inner, outer) = (new_set(), new_set());
    let file = counter(0, 0);
    control(inner, ADD, file, IN, 1);
    say!("{}", control(outer, ADD, inner, IN, 2));
    say!("{}", ready(outer));
    add(file, 1);
    say!("{} {}", ready(outer), ready(inner));
    say!("a circle: {}", control(inner, ADD, outer, IN, 3));
    say!("itself: {}", control(inner, ADD, inner, IN, 3));
    take(file);
    say!("{}", ready(outer));
    say!("read: {}", read_from(outer, 8));
    say!("write: {}", write_to(outer, c"x"));
}

extern "C" fn note(signal: c_int, _: *const libc::siginfo_t, _: *mut libc::c_void) {
    say!("signal {signal}");
}

fn signals() {
    let set = new_set();
    handle(libc::SIGUSR1, libc::SA_RESTART, note);
    // Blocked but while the call waits, so that it is the call that is interrupted.
    let (all, none) = (u64::MAX, 0_u64);
    call(
        libc::SYS_rt_sigprocmask,
        [2, (&raw const all) as usize, 0, 8],
    );
    let own = call(libc::SYS_getpid, []).value();
    let process = fork(|| {
        until_asleep(own);
        call(libc::SYS_kill, [own, libc::SIGUSR1 as usize]);
        0
    });
    map(AT, 1, PRIVATE);
    let none = (&raw const none) as usize;
    say!(
        "let in: {}",
        call(SYS_epoll_pwait, [set, AT, 1, NONE, none, 8])
    );
    say!("{:?}", process.map(wait));
    say!("size: {}", call(SYS_epoll_pwait, [set, AT, 1, 0, none, 9]));
    say!(
        "nowhere: {}",
        call(SYS_epoll_pwait, [set, AT, 1, 0, KERNEL, 8])
    );
    let time = [0_usize, 1_000_000];
    let time = time.as_ptr() as usize;
    let answer = call(libc::SYS_epoll_pwait2, [set, AT, 1, time, 0, 0]);
    say!("the newer call: {answer}");
    let odd = [0_usize, 1_000_000_000];
    let odd = odd.as_ptr() as usize;
    say!(
        "no time: {}",
        call(libc::SYS_epoll_pwait2, [set, AT, 1, odd, 0, 0])
    );
}

fn refused() {
    for size in [0, NONE, 1] {
        say!(
            "create({}) = {}",
            size as isize,
            call(SYS_epoll_create, [size]).ok()
        );
    }
    say!("create1(1) = {}", call(SYS_epoll_create1, [1]));
    let set = new_set();
    let (reader, _writer) = pipe(0);
    let file = file_with(c"a", b"text");
    let directory = open(c".", libc::O_RDONLY).value();
    let null = open(c"/dev/null", libc::O_RDWR).value();
    let path = open(c"a", libc::O_PATH).value();
    for (name, file) in [
        ("none", 99),
        ("file", file),
        ("directory", directory),
        ("/dev/null", null),
        ("path", path),
    ] {
        say!("add({name}) = {}", control(set, ADD, file, IN, 0));
    }
    for operation in [0, 4, NONE] {
        let answer = control(set, operation, reader, IN, 0);
        say!("operation {} = {answer}", operation as isize);
    }
    say!("not there: {}", control(set, MODIFY, reader, IN, 0));
    say!("not there: {}", control(set, REMOVE, reader, IN, 0));
    say!("no set: {}", control(reader, ADD, set, IN, 0));
    say!("no file: {}", control(99, ADD, reader, IN, 0));
    say!(
        "no event: {}",
        call(SYS_epoll_ctl, [set, ADD, reader, KERNEL])
    );
    say!(
        "none needed: {}",
        call(SYS_epoll_ctl, [set, REMOVE, reader, KERNEL])
    );
    say!(
        "one waiter: {}",
        control(set, ADD, reader, IN | EXCLUSIVE, 0)
    );
    say!("changed: {}", control(set, MODIFY, reader, IN, 0));
    control(set, REMOVE, reader, 0, 0);
    say!(
        "one, once: {}",
        control(set, ADD, reader, IN | EXCLUSIVE | ONCE, 0)
    );
    say!(
        "one set: {}",
        control(new_set(), ADD, set, IN | EXCLUSIVE, 0)
    );
    let wait_for = |set: usize, at: usize, max: usize| call(SYS_epoll_wait, [set, at, max, 0]);
    map(AT, 1, PRIVATE);
    say!("max 0: {}", wait_for(set, AT, 0));
    say!("max -1: {}", wait_for(set, AT, NONE));
    say!("too many: {}", wait_for(set, AT, i32::MAX as usize));
    say!("kernel: {}", wait_for(set, KERNEL, 1));
    say!("no file: {}", wait_for(99, AT, 1));
    say!("no set: {}", wait_for(reader, AT, 1));
    control(set, ADD, counter(1, 0), IN, 0);
    unmap(AT, 1);
    say!("nowhere: {}", wait_for(set, AT, 1));
}
