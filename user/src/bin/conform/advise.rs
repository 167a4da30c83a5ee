//! Advice about memory, what is in memory, and locks on it.

use libc::{SYS_madvise, SYS_mincore, SYS_mlock, SYS_mmap, SYS_msync};

use crate::kit::{
    AT, Answer, Case, FIXED, KERNEL, NONE, PAGE, PRIVATE, READ, RW, SHARED, USER_END, call, child,
    file_with, load, map, peek, say, store, unmap,
};

pub(crate) const CASES: &[Case] = &[
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
