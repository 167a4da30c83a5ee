//! The heap, limits of memory, and the growing stack.

use crate::kit::{
    AT, Case, FIXED, KERNEL, NONE, PAGE, PRIVATE, READ, RW, SHARED, USER_END, call, child,
    file_with, load, map, open, peek, pipe, poke, say, store, unmap,
};
use crate::signal::{handle, note, seen};
use libc::{SYS_brk, SYS_mmap};

pub(crate) const CASES: &[Case] = &[
    ("brk", heap),
    ("brk-refused", heap_refused),
    ("limit-address-space", limit_address_space),
    ("limit-data", limit_data),
    ("limit-stack", limit_stack),
    ("limit-file-size", limit_file_size),
    ("stack-grows", stack_grows),
    ("memory-exhausted", exhausted),
];

fn heap() {
    let start = call(SYS_brk, [0]).value();
    say!(
        "brk(0) twice is the same: {}",
        call(SYS_brk, [0]).value() == start
    );
    let end = start + 5 * PAGE;
    say!("brk(up) = {}", call(SYS_brk, [end]).from(end));
    let last = end - 1;
    store(last, 7);
    say!(
        "the last byte: {}, {}",
        load(last),
        peek(end.next_multiple_of(PAGE))
    );
    let odd = start + 3 * PAGE + 123;
    say!("brk(down, odd) = {}", call(SYS_brk, [odd]).from(odd));
    say!("a page that is gone: {}", peek(odd.next_multiple_of(PAGE)));
    say!(
        "brk(up again) = {}, {}",
        call(SYS_brk, [end]).from(end),
        load(last)
    );
    store(last, 9);
    say!(
        "a child's: {}",
        child(|| {
            call(SYS_brk, [start]);
            store(call(SYS_brk, [end]).value() - 1, 3);
            i32::from(load(last))
        })
    );
    say!("ours: {}", load(last));
    say!("brk(back) = {}", call(SYS_brk, [start]).from(start));
}

fn heap_refused() {
    let start = call(SYS_brk, [0]).value();
    for (name, to) in [
        ("1", 1),
        ("page zero", PAGE),
        ("kernel", KERNEL),
        ("all", usize::MAX),
        ("2^47", 1 << 47),
        ("end of user space", USER_END),
    ] {
        say!(
            "brk({name}) stays: {}",
            call(SYS_brk, [to]).value() == start
        );
    }
    // A region in its way.
    let wall = start.next_multiple_of(PAGE) + 20 * PAGE;
    map(wall, 1, PRIVATE);
    store(wall, 6);
    let over = wall + PAGE;
    say!(
        "brk(over a region) stays: {}",
        call(SYS_brk, [over]).value() == start
    );
    say!("the region: {}", load(wall));
    let before = wall - 4 * PAGE;
    say!("brk(before it) = {}", call(SYS_brk, [before]).from(before));
}

/// Sets a limit in a child and runs something there.
fn limited(resource: u32, bytes: u64, work: impl FnOnce() -> i32) -> String {
    child(|| {
        let limit = [bytes, bytes];
        let arguments = [0, resource as usize, limit.as_ptr() as usize, 0];
        say!("prlimit = {}", call(libc::SYS_prlimit64, arguments));
        work()
    })
}

fn limit_address_space() {
    let end = limited(libc::RLIMIT_AS, 256 << 20, || {
        let small = call(SYS_mmap, [0, 16 << 20, RW, PRIVATE, NONE, 0]);
        let large = call(SYS_mmap, [0, 512 << 20, RW, PRIVATE, NONE, 0]);
        let reserved = call(SYS_mmap, [0, 512 << 20, 0, PRIVATE, NONE, 0]);
        say!(
            "small {}, large {large}, without access {reserved}",
            small.ok()
        );
        let grown = call(libc::SYS_mremap, [small.value(), 16 << 20, 512 << 20, 1]);
        say!("grown {grown}");
        let mut count = 0;
        while !call(SYS_mmap, [0, 1 << 20, RW, PRIVATE, NONE, 0]).is_error() {
            count += 1;
        }
        say!(
            "more than 100 and fewer than 256 MiB: {}",
            (100..256).contains(&count)
        );
        let fixed = call(SYS_mmap, [AT, 1 << 20, RW, PRIVATE | FIXED, NONE, 0]);
        say!("fixed {fixed}");
        unmap(small.value(), (16 << 20) / PAGE);
        let again = call(SYS_mmap, [0, 8 << 20, RW, PRIVATE, NONE, 0]);
        say!("after munmap {}", again.ok());
        0
    });
    say!("{end}");
}

fn limit_data() {
    let end = limited(libc::RLIMIT_DATA, 64 << 20, || {
        let start = call(SYS_brk, [0]).value();
        say!(
            "brk stays: {}",
            call(SYS_brk, [start + (65 << 20)]).value() == start
        );
        let up = start + (1 << 20);
        say!("brk(a little) = {}", call(SYS_brk, [up]).from(up));
        let large = call(SYS_mmap, [0, 128 << 20, RW, PRIVATE, NONE, 0]);
        let shared = call(SYS_mmap, [0, 128 << 20, RW, SHARED, NONE, 0]);
        let read_only = call(SYS_mmap, [0, 128 << 20, READ, PRIVATE, NONE, 0]);
        say!(
            "private {large}, shared {}, read only {}",
            shared.ok(),
            read_only.ok()
        );
        let writable = call(libc::SYS_mprotect, [read_only.value(), 128 << 20, RW]);
        say!("then writable {writable}");
        0
    });
    say!("{end}");
}

/// Uses some kilobytes of stack.
fn recurse(depth: usize) -> usize {
    let pad = std::hint::black_box([depth; 512]);
    if depth == 0 {
        0
    } else {
        recurse(depth - 1) + pad[depth % 512] / depth
    }
}

fn limit_stack() {
    let small = limited(libc::RLIMIT_STACK, 512 << 10, || {
        say!("within: {}", recurse(20));
        recurse(400) as i32
    });
    say!("over it: {small}");
    say!("with 8 MiB: {}", child(|| recurse(500) as i32 / 500));
    say!("over 8 MiB: {}", child(|| recurse(4000) as i32 / 4000));
}

fn stack_grows() {
    let local = 0_u8;
    let here = (&raw const local) as usize;
    say!("a page far below: {}", poke(here - (1 << 20), 1));
    say!("below the limit: {}", poke(here - (9 << 20), 1));
    say!(
        "by a call: {}",
        child(|| {
            let (out, end) = crate::kit::pipe(0);
            call(libc::SYS_write, [end, c"x".as_ptr() as usize, 1]);
            let answer = call(libc::SYS_read, [out, here - (2 << 20), 1]);
            answer.value() as i32
        })
    );
}

/// Fills what a limit leaves, and finds that it can go on.
fn exhausted() {
    let end = limited(libc::RLIMIT_AS, 96 << 20, || {
        let mut blocks = Vec::new();
        loop {
            let block = call(SYS_mmap, [0, 1 << 20, RW, PRIVATE, NONE, 0]);
            if block.is_error() {
                say!("then {block}");
                break;
            }
            for page in 0..256 {
                store(block.value() + page * PAGE, 1);
            }
            blocks.push(block.value());
        }
        say!(
            "thread: {}",
            std::thread::Builder::new().spawn(|| ()).is_err()
        );
        say!("child: {}", child(|| 3));
        for block in &blocks {
            unmap(*block, 256);
        }
        say!(
            "after munmap: {}",
            call(SYS_mmap, [0, 32 << 20, RW, PRIVATE, NONE, 0]).ok()
        );
        i32::from(blocks.len() < 10)
    });
    say!("{end}");
}

/// Files end at the limit: a part is written, and then comes a signal.
fn limit_file_size() {
    const LIMIT: usize = 100;
    let bytes = [7_u8; 200];
    let at = bytes.as_ptr() as usize;
    let write = |file, len| call(libc::SYS_write, [file, at, len]);
    let size = |file| call(libc::SYS_lseek, [file, 0, libc::SEEK_END as usize]);
    let killed = limited(libc::RLIMIT_FSIZE, LIMIT as u64, || {
        let file = file_with(c"a", b"");
        write(file, 200);
        write(file, 1);
        1
    });
    say!(
        "without a handler: {killed}, {}",
        size(open(c"a", libc::O_RDONLY).value())
    );
    let end = limited(libc::RLIMIT_FSIZE, LIMIT as u64, || {
        handle(libc::SIGXFSZ, 0, note);
        let file = file_with(c"a", &bytes[..40]);
        say!("up to the limit: {} {}", write(file, 200), seen());
        say!("behind it: {} {}", write(file, 1), seen());
        say!("nothing: {} {}", write(file, 0), seen());
        let pwrite = |len, offset| call(libc::SYS_pwrite64, [file, at, len, offset]);
        say!("before it: {} {}", pwrite(50, 60), seen());
        say!("at it: {} {}", pwrite(1, LIMIT), seen());
        say!("over it: {} {}", pwrite(50, 99), seen());
        let append = open(c"a", libc::O_WRONLY | libc::O_APPEND).value();
        say!("at the end: {} {}", write(append, 1), seen());
        let truncate = |len| call(libc::SYS_ftruncate, [file, len]);
        say!("shorter: {} {}", truncate(90), seen());
        say!("at the end: {} {}", write(append, 20), seen());
        say!("longer: {} {}", truncate(LIMIT), seen());
        say!("too long: {} {}", truncate(LIMIT + 1), seen());
        let name = c"a".as_ptr() as usize;
        say!(
            "by name: {} {}",
            call(libc::SYS_truncate, [name, 101]),
            seen()
        );
        let memory = call(libc::SYS_memfd_create, [name, 0]).value();
        let allocate = |mode, len| call(libc::SYS_fallocate, [memory, mode, 0, len]);
        say!("memory: {} {}", allocate(0, LIMIT), seen());
        say!("too much: {} {}", allocate(0, LIMIT + 1), seen());
        say!("kept: {} {}", allocate(1, LIMIT + 1), seen());
        say!("{} {}", size(file), size(memory));
        let (_, writer) = pipe(0);
        say!("a pipe: {} {}", write(writer, 200), seen());
        0
    });
    say!("{end}");
    // What is there already stays, and may be shortened no further than that.
    let file = file_with(c"a", &bytes);
    let end = limited(libc::RLIMIT_FSIZE, LIMIT as u64, || {
        say!(
            "longer than the limit: {}",
            call(libc::SYS_ftruncate, [file, 150])
        );
        0
    });
    say!("{end}");
}
