//! Pipes, and waiting for several files at once.

use crate::kit::{
    Answer, Case, KERNEL, call, child, close, file_with, fork, open, pause, pipe, say, wait,
};

pub(crate) const CASES: &[Case] = &[
    ("pipe-contents", contents),
    ("pipe-refused", refused),
    ("pipe-ends", ends),
    ("pipe-full", full),
    ("pipe-blocks-writer", blocks_writer),
    ("pipe-atomic", atomic),
    ("pipe-bad-buffer", bad_buffer),
    ("pipe-large", large),
    ("poll-pipes", poll_pipes),
    ("poll-files", poll_files),
    ("poll-refused", poll_refused),
    ("poll-wakes", poll_wakes),
    ("select", select),
];

fn write(file: usize, bytes: &[u8]) -> Answer {
    call(
        libc::SYS_write,
        [file, bytes.as_ptr() as usize, bytes.len()],
    )
}

fn read(file: usize, len: usize) -> String {
    let mut bytes = vec![0_u8; len];
    let answer = call(libc::SYS_read, [file, bytes.as_mut_ptr() as usize, len]);
    format!(
        "{answer} {:?}",
        String::from_utf8_lossy(&bytes[..answer.value().min(len)])
    )
}

fn contents() {
    let (out, end) = pipe(0);
    say!("write = {}, {}", write(end, b"one"), write(end, b"two"));
    say!("read: {}, {}", read(out, 4), read(out, 10));
    say!("wrong ends: {}, {}", read(end, 1), write(out, b"x"));
    say!("nothing: {}, {}", read(out, 0), write(end, b""));
    let process = fork(|| {
        pause(20);
        write(end, b"late").error()
    });
    say!("read waits: {}", read(out, 10));
    let _ = process.map(wait);
}

fn refused() {
    for (name, arguments) in [
        ("kernel", [KERNEL, 0]),
        ("null", [0, 0]),
        ("unknown flag", [KERNEL, 1 << 20]),
        ("write only", [KERNEL, 1]),
    ] {
        say!("pipe2({name}) = {}", call(libc::SYS_pipe2, arguments));
    }
    // What failed has left no descriptors behind.
    let (out, _) = pipe(0);
    say!("the next one is {out}");
}

fn ends() {
    let (out, end) = pipe(0);
    write(end, b"rest");
    close(end);
    say!(
        "after the writer's end: {}, {}",
        read(out, 2),
        read(out, 10)
    );
    say!("at the end: {}, again {}", read(out, 10), read(out, 10));
    let (out, end) = pipe(0);
    let copy = call(libc::SYS_dup, [end]).value();
    close(end);
    let process = fork(|| {
        close(out);
        pause(20);
        write(copy, b"x").error()
    });
    close(copy);
    say!(
        "the last writer is a child: {}, {}",
        read(out, 10),
        read(out, 10)
    );
    let _ = process.map(wait);
    // SAFETY: It installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let (out, end) = pipe(0);
    close(out);
    say!("no reader: {}", write(end, b"x"));
}

fn full() {
    let (out, end) = pipe(libc::O_NONBLOCK);
    say!("empty: {}", read(out, 1));
    let block = [7_u8; 4096];
    let mut count = 0;
    let mut last = write(end, &block);
    while !last.is_error() {
        count += last.value();
        last = write(end, &block);
    }
    say!("full after {count} bytes: {last}");
    let mut bytes = [0_u8; 4096];
    call(libc::SYS_read, [out, bytes.as_mut_ptr() as usize, 4096]);
    say!("room for a page: {}", write(end, &block));
    say!("and no more: {}", write(end, b"x"));
    say!("too much at once: {}", write(end, &[1; 10_000]));
    for _ in 0..3 {
        call(libc::SYS_read, [out, bytes.as_mut_ptr() as usize, 4096]);
    }
    say!("a part of much: {}", write(end, &[1; 100_000]));
}

fn blocks_writer() {
    let (out, end) = pipe(0);
    let process = fork(|| {
        close(out);
        i32::from(write(end, &vec![5; 300_000]).value() == 300_000)
    });
    close(end);
    let mut total = 0;
    let mut bytes = vec![0_u8; 7000];
    loop {
        let answer = call(
            libc::SYS_read,
            [out, bytes.as_mut_ptr() as usize, bytes.len()],
        );
        if answer.is_error() || answer.value() == 0 {
            say!("the last read: {answer}");
            break;
        }
        total += answer.value();
    }
    say!(
        "{total} bytes, the writer: {}",
        process.map_or_else(|e| e.to_string(), wait)
    );
}

/// Writes of up to 4096 bytes do not mix.
fn atomic() {
    let (out, end) = pipe(0);
    let writer = |letter: u8| {
        fork(move || {
            close(out);
            (0..60)
                .map(|_| write(end, &[letter; 1000]).error())
                .max()
                .unwrap_or(0)
        })
    };
    let writers = [writer(b'a'), writer(b'b'), writer(b'c')];
    close(end);
    let (mut torn, mut total) = (0, 0);
    let mut block = [0_u8; 1000];
    loop {
        let mut have = 0;
        while have < 1000 {
            let to = block[have..].as_mut_ptr() as usize;
            let answer = call(libc::SYS_read, [out, to, 1000 - have]);
            if answer.is_error() || answer.value() == 0 {
                break;
            }
            have += answer.value();
        }
        if have < 1000 {
            break;
        }
        total += 1;
        torn += usize::from(block.iter().any(|byte| *byte != block[0]));
    }
    for process in writers {
        let _ = process.map(wait);
    }
    say!("{total} blocks, torn: {torn}");
}

fn bad_buffer() {
    let (out, end) = pipe(libc::O_NONBLOCK);
    write(end, b"text");
    say!(
        "read to the kernel = {}",
        call(libc::SYS_read, [out, KERNEL, 4])
    );
    say!("read to null = {}", call(libc::SYS_read, [out, 0, 4]));
    say!("what is left: {}", read(out, 10));
    say!(
        "write from the kernel = {}",
        call(libc::SYS_write, [end, KERNEL, 4])
    );
    say!("what came: {}", read(out, 10));
}

fn large() {
    let (out, end) = pipe(0);
    let process = fork(|| {
        close(out);
        let bytes: Vec<_> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
        write(end, &bytes).error()
    });
    close(end);
    let mut bytes = vec![0_u8; 50_000];
    let (mut total, mut wrong) = (0_usize, 0);
    loop {
        let answer = call(
            libc::SYS_read,
            [out, bytes.as_mut_ptr() as usize, bytes.len()],
        );
        if answer.is_error() || answer.value() == 0 {
            break;
        }
        let there = bytes[..answer.value()].iter().enumerate();
        wrong += there
            .filter(|(index, byte)| (total + index) % 251 != usize::from(**byte))
            .count();
        total += answer.value();
    }
    say!(
        "{total} bytes, wrong: {wrong}, {}",
        process.map_or_else(|e| e.to_string(), wait)
    );
}

/// Polls files with the events that are asked for; returns the answer and the events.
fn poll(files: &[(usize, i16)], milliseconds: i32) -> String {
    let make = |(file, events): &(usize, i16)| libc::pollfd {
        fd: *file as i32,
        events: *events,
        revents: 0x7777,
    };
    let mut all: Vec<_> = files.iter().map(make).collect();
    let at = all.as_mut_ptr() as usize;
    let answer = call(libc::SYS_poll, [at, all.len(), milliseconds as usize]);
    let events: Vec<_> = all
        .iter()
        .map(|one| format!("{:#x}", one.revents))
        .collect();
    format!("{answer} {events:?}")
}

const IN: i16 = libc::POLLIN;
const OUT: i16 = libc::POLLOUT;

fn poll_pipes() {
    let (out, end) = pipe(libc::O_NONBLOCK);
    let both = [(out, IN | OUT), (end, IN | OUT)];
    say!("empty: {}", poll(&both, 0));
    write(end, b"x");
    say!("a byte: {}", poll(&both, 0));
    while !write(end, &[0; 4096]).is_error() {}
    say!("full: {}", poll(&both, 0));
    close(end);
    say!("no writer: {}", poll(&[(out, IN)], 0));
    while read(out, 5000).starts_with(|first: char| ('1'..='9').contains(&first)) {}
    say!("and nothing left: {}", poll(&[(out, IN), (out, 0)], 0));
    let (out, end) = pipe(0);
    close(out);
    say!("no reader: {}", poll(&[(end, OUT), (end, 0)], 0));
}

fn poll_files() {
    let file = file_with(c"a", b"");
    let null = open(c"/dev/null", libc::O_RDWR).value();
    let directory = open(c".", libc::O_RDONLY).value();
    let all = [
        (file, IN | OUT),
        (null, IN | OUT),
        (directory, IN),
        (99, IN),
        (usize::MAX, IN),
    ];
    say!("{}", poll(&all, 0));
    say!(
        "other events: {}",
        poll(&[(file, libc::POLLPRI | libc::POLLRDNORM)], 0)
    );
    say!("nothing: {}", poll(&[], 10));
}

fn poll_refused() {
    let file = file_with(c"a", b"");
    let one = [(file as u64) | 1 << 32];
    let at = one.as_ptr() as usize;
    say!("poll(kernel) = {}", call(libc::SYS_poll, [KERNEL, 1, 0]));
    say!("poll(null) = {}", call(libc::SYS_poll, [0, 1, 0]));
    say!("poll(too many) = {}", call(libc::SYS_poll, [at, 5000, 0]));
    let bad = [0_i64, 1_000_000_000];
    let none = [0_i64, 0];
    let wait_for =
        |time: usize, set: usize, size: usize| call(libc::SYS_ppoll, [at, 1, time, set, size]);
    say!("ppoll = {}", wait_for(none.as_ptr() as usize, 0, 8));
    say!(
        "ppoll(bad time) = {}",
        wait_for(bad.as_ptr() as usize, 0, 8)
    );
    say!("ppoll(time in the kernel) = {}", wait_for(KERNEL, 0, 8));
    say!("ppoll(set in the kernel) = {}", wait_for(0, KERNEL, 8));
    say!("ppoll(set of 4 bytes) = {}", wait_for(0, at, 4));
}

fn poll_wakes() {
    let (out, end) = pipe(0);
    let process = fork(|| {
        pause(20);
        write(end, b"x").error()
    });
    say!("a byte comes: {}", poll(&[(out, IN)], 10_000));
    let _ = process.map(wait);
    read(out, 1);
    say!("time-out: {}", poll(&[(out, IN)], 5));
    let process = fork(|| {
        pause(20);
        0
    });
    close(end);
    say!("the last writer ends: {}", poll(&[(out, IN)], 10_000));
    let _ = process.map(wait);
    say!(
        "for ever, and ready: {}",
        child(|| i32::from(poll(&[(out, IN)], -1).starts_with('1')))
    );
}

fn select() {
    let (out, end) = pipe(0);
    let most = out.max(end) + 1;
    let ask = |bits_in: u64, bits_out: u64| {
        let mut sets = [bits_in, bits_out, 0];
        let at = sets.as_mut_ptr() as usize;
        let none = [0_i64, 0];
        let time = none.as_ptr() as usize;
        let answer = call(libc::SYS_select, [most, at, at + 8, at + 16, time]);
        format!("{answer} {} {}", sets[0] == bits_in, sets[1] == bits_out)
    };
    say!("empty: {}", ask(1 << out, 1 << end));
    write(end, b"x");
    say!("a byte: {}", ask(1 << out, 1 << end));
    say!("none: {}", ask(1 << 60, 0));
    let mut sets = [1_u64 << 50];
    let at = sets.as_mut_ptr() as usize;
    say!(
        "select(closed) = {}",
        call(libc::SYS_select, [64, at, 0, 0, 0])
    );
    say!(
        "select(-1) = {}",
        call(libc::SYS_select, [usize::MAX, 0, 0, 0, 0])
    );
    say!(
        "select(kernel) = {}",
        call(libc::SYS_select, [4, KERNEL, 0, 0, 0])
    );
}
