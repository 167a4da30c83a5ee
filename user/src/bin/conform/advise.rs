//! Advice about memory, what is in memory, locks on it, the heap, and limits.

use libc::{SYS_brk, SYS_madvise, SYS_mincore, SYS_mlock, SYS_mmap, SYS_msync};

use crate::kit::{
    AT, Answer, FIXED, KERNEL, NONE, PAGE, PRIVATE, READ, RW, SHARED, USER_END, call, child,
    file_with, load, map, peek, poke, say, store, unmap,
};

pub(crate) const CASES: &[(&str, fn())] = &[
    ("madvise-dont-need", dont_need),
    ("madvise-dont-need-shared", dont_need_shared),
    ("madvise-free", free),
    ("madvise-each", each),
    ("madvise-refused", refused),
    ("madvise-dont-fork", dont_fork),
    ("madvise-wipe-on-fork", wipe_on_fork),
    ("madvise-populate", populate),
    ("mincore", resident),
    ("mincore-refused", resident_refused),
    ("msync", sync),
    ("mlock", lock),
    ("brk", heap),
    ("brk-refused", heap_refused),
    ("limit-address-space", limit_address_space),
    ("limit-data", limit_data),
    ("limit-stack", limit_stack),
    ("stack-grows", stack_grows),
    ("memory-exhausted", exhausted),
];

fn advise(at: usize, pages: usize, advice: i32) -> Answer {
    call(SYS_madvise, [at, pages * PAGE, advice as usize])
}

/// Returns the first byte of each of some pages.
fn bytes(pages: usize) -> Vec<u8> {
    (0..pages).map(|page| load(AT + page * PAGE)).collect()
}

fn numbered(pages: usize, kind: usize) {
    map(AT, pages, kind);
    for page in 0..pages {
        store(AT + page * PAGE, page as u8 + 1);
    }
}

fn dont_need() {
    numbered(4, PRIVATE);
    say!(
        "madvise = {}, {:?}",
        advise(AT + PAGE, 2, libc::MADV_DONTNEED),
        bytes(4)
    );
    store(AT + PAGE, 9);
    say!("written again: {:?}", bytes(4));
    unmap(AT + 2 * PAGE, 1);
    say!(
        "madvise(over a hole) = {}",
        advise(AT, 4, libc::MADV_DONTNEED)
    );
    say!("{} {} {}", load(AT), load(AT + PAGE), load(AT + 3 * PAGE));
    let file = file_with(c"a", &[7; PAGE]);
    call(SYS_mmap, [AT, PAGE, RW, FIXED | 2, file, 0]);
    store(AT, 8);
    say!(
        "private copy of a file: {}, {}",
        advise(AT, 1, libc::MADV_DONTNEED),
        load(AT)
    );
    let empty = call(SYS_madvise, [AT, 0, libc::MADV_DONTNEED as usize]);
    let part = call(SYS_madvise, [AT, 1, libc::MADV_DONTNEED as usize]);
    say!("length 0: {empty}, length 1: {part}");
}

fn dont_need_shared() {
    numbered(2, SHARED);
    say!(
        "madvise = {}, {:?}",
        advise(AT, 2, libc::MADV_DONTNEED),
        bytes(2)
    );
    numbered(2, PRIVATE);
    let end = child(|| {
        advise(AT, 1, libc::MADV_DONTNEED);
        i32::from(load(AT)) * 16 + i32::from(load(AT + PAGE))
    });
    say!("a child without: {end}, we have {:?}", bytes(2));
}

fn free() {
    numbered(2, PRIVATE);
    say!("madvise(free) = {}", advise(AT, 1, libc::MADV_FREE));
    store(AT, 5);
    say!("written: {}, the other {}", load(AT), load(AT + PAGE));
    let is_old_or_zero = |byte| byte == 2 || byte == 0;
    advise(AT + PAGE, 1, libc::MADV_FREE);
    say!("not written: {}", is_old_or_zero(load(AT + PAGE)));
    map(AT, 1, SHARED);
    say!("madvise(free, shared) = {}", advise(AT, 1, libc::MADV_FREE));
}

fn each() {
    for (name, advice) in [
        ("normal", libc::MADV_NORMAL),
        ("random", libc::MADV_RANDOM),
        ("sequential", libc::MADV_SEQUENTIAL),
        ("will need", libc::MADV_WILLNEED),
        ("do not dump", libc::MADV_DONTDUMP),
        ("dump", libc::MADV_DODUMP),
        ("cold", libc::MADV_COLD),
        ("page out", libc::MADV_PAGEOUT),
    ] {
        numbered(2, PRIVATE);
        say!(
            "madvise({name}) = {}, {:?}",
            advise(AT, 2, advice),
            bytes(2)
        );
        say!(
            "madvise({name}, nothing there) = {}",
            advise(AT + 2 * PAGE, 1, advice)
        );
        say!(
            "madvise({name}, behind the end) = {}",
            advise(AT, 3, advice)
        );
    }
    for (name, advice) in [
        ("huge", libc::MADV_HUGEPAGE),
        ("not huge", libc::MADV_NOHUGEPAGE),
    ] {
        numbered(2, PRIVATE);
        say!(
            "madvise({name}) = {}, {:?}",
            advise(AT, 2, advice),
            bytes(2)
        );
    }
}

fn refused() {
    map(AT, 1, PRIVATE);
    for (name, at, len, advice) in [
        ("unknown advice", AT, PAGE, 99_999),
        ("advice -1", AT, PAGE, NONE),
        ("advice 5", AT, PAGE, 5),
        ("not aligned", AT + 1, PAGE, 4),
        ("not aligned, unknown", AT + 1, PAGE, 99_999),
        ("length 0, unknown", AT, 0, 99_999),
        ("length 0, not aligned", AT + 1, 0, 4),
        ("length 0, nothing there", AT + PAGE, 0, 4),
        ("nothing there", AT + PAGE, PAGE, 4),
        ("wraps", AT, usize::MAX - AT, 4),
        ("all", AT, usize::MAX, 4),
        ("2^63", AT, 1 << 63, 4),
        ("kernel", KERNEL, PAGE, 4),
    ] {
        say!("madvise({name}) = {}", call(SYS_madvise, [at, len, advice]));
    }
}

fn dont_fork() {
    numbered(3, PRIVATE);
    say!(
        "madvise(do not fork) = {}",
        advise(AT + PAGE, 1, libc::MADV_DONTFORK)
    );
    say!("{} {} {}", peek(AT), peek(AT + PAGE), peek(AT + 2 * PAGE));
    say!(
        "madvise(fork) = {}",
        advise(AT + PAGE, 1, libc::MADV_DOFORK)
    );
    say!("{} {} {}", peek(AT), peek(AT + PAGE), peek(AT + 2 * PAGE));
}

fn wipe_on_fork() {
    numbered(3, PRIVATE);
    say!(
        "madvise(wipe on fork) = {}",
        advise(AT + PAGE, 1, libc::MADV_WIPEONFORK)
    );
    say!(
        "{} {} {}, ours {:?}",
        peek(AT),
        peek(AT + PAGE),
        peek(AT + 2 * PAGE),
        bytes(3)
    );
    let end = child(|| i32::from(peek(AT + PAGE) == "0"));
    say!("zero in a grandchild, too: {end}");
    say!(
        "madvise(keep) = {}, {}",
        advise(AT + PAGE, 1, libc::MADV_KEEPONFORK),
        peek(AT + PAGE)
    );
    map(AT, 1, SHARED);
    say!(
        "madvise(wipe, shared) = {}",
        advise(AT, 1, libc::MADV_WIPEONFORK)
    );
}

fn populate() {
    map(AT, 4, PRIVATE);
    say!(
        "madvise(populate, read) = {}",
        advise(AT, 2, libc::MADV_POPULATE_READ)
    );
    say!(
        "madvise(populate, write) = {}",
        advise(AT + 2 * PAGE, 2, libc::MADV_POPULATE_WRITE)
    );
    let mut resident = [9_u8; 4];
    call(SYS_mincore, [AT, 4 * PAGE, resident.as_mut_ptr() as usize]);
    say!("resident: {resident:?}, {:?}", bytes(4));
    call(libc::SYS_mprotect, [AT, PAGE, READ]);
    say!(
        "write, of what is read only = {}",
        advise(AT, 1, libc::MADV_POPULATE_WRITE)
    );
    say!(
        "read, of nothing = {}",
        advise(AT + 4 * PAGE, 1, libc::MADV_POPULATE_READ)
    );
    let file = file_with(c"a", b"text");
    call(SYS_mmap, [AT, 2 * PAGE, READ, FIXED | 1, file, 0]);
    say!(
        "read, behind a file's end = {}",
        advise(AT, 2, libc::MADV_POPULATE_READ)
    );
}

fn resident() {
    let resident = |pages: usize| {
        let mut each = vec![9_u8; pages];
        let answer = call(SYS_mincore, [AT, pages * PAGE, each.as_mut_ptr() as usize]);
        format!("{answer} {each:?}")
    };
    map(AT, 4, PRIVATE);
    say!("fresh: {}", resident(4));
    store(AT + PAGE, 1);
    say!("one written: {}", resident(4));
    load(AT + 2 * PAGE);
    advise(AT, 4, libc::MADV_DONTNEED);
    say!("discarded: {}", resident(4));
    let mut one = [9_u8; 2];
    let answer = call(SYS_mincore, [AT, 1, one.as_mut_ptr() as usize]);
    say!("length 1: {answer} {one:?}");
    say!(
        "over the end: {}",
        resident(5).split(' ').next().unwrap_or_default()
    );
}

fn resident_refused() {
    map(AT, 2, PRIVATE);
    let mut each = [9_u8; 8];
    let to = each.as_mut_ptr() as usize;
    for (name, at, len, to) in [
        ("not aligned", AT + 1, PAGE, to),
        ("not aligned, bad pointer", AT + 1, PAGE, KERNEL),
        ("length 0", AT, 0, to),
        ("length 0, bad pointer", AT, 0, KERNEL),
        ("bad pointer", AT, PAGE, KERNEL),
        ("no pointer", AT, PAGE, 0),
        ("nothing there", AT + 2 * PAGE, PAGE, to),
        ("kernel", KERNEL, PAGE, to),
        ("end of user space", USER_END, PAGE, to),
        ("all", AT, usize::MAX, to),
        ("read-only pointer", AT, PAGE, c"text".as_ptr() as usize),
    ] {
        say!("mincore({name}) = {}", call(SYS_mincore, [at, len, to]));
    }
}

fn sync() {
    const ASYNC: usize = libc::MS_ASYNC as usize;
    const SYNC: usize = libc::MS_SYNC as usize;
    const INVALIDATE: usize = libc::MS_INVALIDATE as usize;
    map(AT, 2, PRIVATE);
    for (name, at, len, flags) in [
        ("no flags", AT, PAGE, 0),
        ("async", AT, PAGE, ASYNC),
        ("sync", AT, PAGE, SYNC),
        ("sync, invalidate", AT, PAGE, SYNC | INVALIDATE),
        ("both", AT, PAGE, SYNC | ASYNC),
        ("unknown flag", AT, PAGE, 8),
        ("not aligned", AT + 1, PAGE, SYNC),
        ("length 0", AT, 0, SYNC),
        ("length 0, nothing there", AT + 2 * PAGE, 0, SYNC),
        ("nothing there", AT + 2 * PAGE, PAGE, SYNC),
        ("over the end", AT, 3 * PAGE, SYNC),
        ("wraps", AT, usize::MAX - AT - PAGE, SYNC),
        ("all", AT, usize::MAX, SYNC),
    ] {
        say!("msync({name}) = {}", call(SYS_msync, [at, len, flags]));
    }
    let file = file_with(c"a", &[1; PAGE]);
    call(SYS_mmap, [AT, PAGE, RW, FIXED | 1, file, 0]);
    store(AT, 2);
    say!("msync(file) = {}", call(SYS_msync, [AT, PAGE, SYNC]));
}

fn lock() {
    map(AT, 4, PRIVATE);
    say!("mlock = {}", call(SYS_mlock, [AT, 2 * PAGE]));
    let mut resident = [9_u8; 4];
    call(SYS_mincore, [AT, 4 * PAGE, resident.as_mut_ptr() as usize]);
    say!("resident: {resident:?}");
    say!("mlock(not aligned) = {}", call(SYS_mlock, [AT + 5, 1]));
    say!("mlock(length 0) = {}", call(SYS_mlock, [AT, 0]));
    say!("mlock(over the end) = {}", call(SYS_mlock, [AT, 5 * PAGE]));
    say!(
        "mlock(nothing there) = {}",
        call(SYS_mlock, [AT + 4 * PAGE, PAGE])
    );
    say!("mlock(all) = {}", call(SYS_mlock, [AT, usize::MAX]));
    say!("munlock = {}", call(libc::SYS_munlock, [AT, 4 * PAGE]));
    say!(
        "munlock(nothing there) = {}",
        call(libc::SYS_munlock, [AT + 4 * PAGE, PAGE])
    );
    say!("munlockall = {}", call(libc::SYS_munlockall, []));
    say!("mlockall(no flags) = {}", call(libc::SYS_mlockall, [0]));
    say!("mlockall(unknown flag) = {}", call(libc::SYS_mlockall, [8]));
}

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
