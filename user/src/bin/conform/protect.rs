//! `mprotect` and `mremap`.

use libc::{SYS_mprotect, SYS_mremap};

use crate::kit::{
    AT, Answer, Case, FIXED, KERNEL, NON_CANONICAL, NONE, PAGE, PRIVATE, READ, RW, SHARED,
    USER_END, WRITE, call, child, file_with, load, map, open, peek, poke, say, store, unmap,
};

const MAY_MOVE: usize = libc::MREMAP_MAYMOVE as usize;
const MOVE_TO: usize = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
const DONT_UNMAP: usize = (libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP) as usize;

pub(crate) const CASES: &[Case] = &[
    ("mprotect-each", each),
    ("mprotect-split", split),
    ("mprotect-gap", gap),
    ("mprotect-refused", refused),
    ("mprotect-growing", growing),
    ("mprotect-file", file),
    ("mprotect-after-fork", after_fork),
    ("mprotect-none-keeps-contents", none_keeps),
    ("mprotect-execute", execute),
    ("mremap-shrink", shrink),
    ("mremap-grow-in-place", grow_in_place),
    ("mremap-grow-by-moving", grow_by_moving),
    ("mremap-to", move_to),
    ("mremap-to-refused", move_to_refused),
    ("mremap-dont-unmap", dont_unmap),
    ("mremap-zero-old", zero_old),
    ("mremap-refused", remap_refused),
    ("mremap-file", remap_file),
    ("mremap-keeps-protection", keeps_protection),
];

fn protect(at: usize, pages: usize, protection: usize) -> Answer {
    call(SYS_mprotect, [at, pages * PAGE, protection])
}

fn remap<const N: usize>(arguments: [usize; N]) -> Answer {
    call(SYS_mremap, arguments)
}

/// Says what each of some pages lets a child read.
fn peek_all(pages: usize) -> Vec<String> {
    (0..pages).map(|page| peek(AT + page * PAGE)).collect()
}

/// Says which of some pages let a child write.
fn poke_all(pages: usize) -> Vec<String> {
    (0..pages).map(|page| poke(AT + page * PAGE, 1)).collect()
}

/// Maps pages that hold 1, 2, 3 and so on.
fn numbered(pages: usize, kind: usize) {
    map(AT, pages, kind);
    for page in 0..pages {
        store(AT + page * PAGE, page as u8 + 1);
    }
}

fn each() {
    for kind in [PRIVATE, SHARED] {
        numbered(1, kind);
        for protection in 0..8 {
            let answer = protect(AT, 1, protection);
            say!(
                "mprotect({protection}) = {answer}: {}, {}",
                peek(AT),
                poke(AT, 1)
            );
        }
        protect(AT, 1, RW);
        say!("the byte: {}", load(AT));
    }
}

fn split() {
    numbered(6, PRIVATE);
    say!(
        "mprotect(two in the middle) = {}",
        protect(AT + 2 * PAGE, 2, READ)
    );
    say!("{:?}", poke_all(6));
    say!(
        "mprotect(one of them, none) = {}",
        protect(AT + 3 * PAGE, 1, 0)
    );
    say!("{:?}", peek_all(6));
    say!("mprotect(all) = {}", protect(AT, 6, RW));
    say!("{:?} {:?}", peek_all(6), poke_all(6));
    say!(
        "mprotect(part of a page) = {}",
        call(SYS_mprotect, [AT + PAGE, 1, READ])
    );
    say!("{:?}", poke_all(3));
}

fn gap() {
    numbered(5, PRIVATE);
    unmap(AT + 2 * PAGE, 1);
    say!("mprotect(over a hole) = {}", protect(AT, 5, READ));
    say!("{:?}", poke_all(5));
    protect(AT, 2, RW);
    say!(
        "mprotect(behind the end) = {}",
        protect(AT + 4 * PAGE, 2, READ)
    );
    say!("{:?}", poke_all(5));
    say!("mprotect(hole first) = {}", protect(AT + 2 * PAGE, 2, READ));
    say!("{:?}", poke_all(5));
}

fn refused() {
    map(AT, 1, PRIVATE);
    for (name, at, len, protection) in [
        ("length 0", AT, 0, READ),
        ("length 0 of nothing", AT + PAGE, 0, READ),
        ("nothing there", AT + PAGE, PAGE, READ),
        ("not aligned", AT + 1, PAGE, READ),
        ("not aligned, length 0", AT + 1, 0, READ),
        ("unknown protection", AT, PAGE, 0x100),
        ("unknown protection, nothing there", AT + PAGE, PAGE, 0x100),
        ("semaphores", AT, PAGE, RW | 8),
        ("wraps", AT, usize::MAX - AT, READ),
        ("all", AT, usize::MAX, READ),
        ("kernel", KERNEL, PAGE, READ),
        ("not canonical", NON_CANONICAL, PAGE, READ),
        ("end of user space", USER_END, PAGE, READ),
        ("2^63", AT, 1 << 63, READ),
    ] {
        say!(
            "mprotect({name}) = {}",
            call(SYS_mprotect, [at, len, protection])
        );
    }
}

fn growing() {
    const DOWN: usize = libc::PROT_GROWSDOWN as usize;
    const UP: usize = libc::PROT_GROWSUP as usize;
    map(AT, 2, PRIVATE);
    say!(
        "mprotect(what does not grow down) = {}",
        protect(AT, 1, READ | DOWN)
    );
    say!("mprotect(up) = {}", protect(AT, 1, READ | UP));
    say!(
        "mprotect(up and down) = {}",
        protect(AT, 1, READ | UP | DOWN)
    );
    let flags = PRIVATE | FIXED | libc::MAP_GROWSDOWN as usize;
    call(libc::SYS_mmap, [AT, 4 * PAGE, RW, flags, NONE, 0]);
    say!(
        "mprotect(what grows down) = {}",
        protect(AT + 2 * PAGE, 1, READ | DOWN)
    );
    say!("{:?}", poke_all(4));
}

fn file() {
    file_with(c"a", b"text");
    let read_only = open(c"a", libc::O_RDONLY).value();
    call(libc::SYS_mmap, [AT, PAGE, READ, FIXED | 1, read_only, 0]);
    call(
        libc::SYS_mmap,
        [AT + PAGE, PAGE, READ, FIXED | 2, read_only, 0],
    );
    say!(
        "mprotect(shared, of a file to be read) = {}",
        protect(AT, 1, RW)
    );
    say!("mprotect(private) = {}", protect(AT + PAGE, 1, RW));
    store(AT + PAGE, b'n');
    say!("written {}, shared {}", load(AT + PAGE), load(AT));
    say!("mprotect(both) = {}", protect(AT, 2, WRITE));
}

fn after_fork() {
    numbered(2, PRIVATE);
    let end = child(|| {
        protect(AT, 1, READ);
        protect(AT, 1, RW);
        store(AT, 50);
        i32::from(load(AT))
    });
    say!("the child has {end}, we have {}", load(AT));
    protect(AT + PAGE, 1, 0);
    let end = child(|| {
        protect(AT + PAGE, 1, RW);
        store(AT + PAGE, 60);
        i32::from(load(AT + PAGE))
    });
    protect(AT + PAGE, 1, READ);
    say!("the child has {end}, we have {}", load(AT + PAGE));
}

fn none_keeps() {
    for kind in [PRIVATE, SHARED] {
        numbered(3, kind);
        protect(AT, 3, 0);
        let (_, end) = crate::kit::pipe(0);
        say!("write from there = {}", call(libc::SYS_write, [end, AT, 1]));
        say!("{:?}", peek_all(3));
        protect(AT, 3, READ);
        say!("{:?}", peek_all(3));
    }
}

fn execute() {
    numbered(1, PRIVATE);
    // A `ret`.
    store(AT, 0xc3);
    let run = || {
        child(|| {
            // SAFETY: A case's own; it is a function that returns.
            let function = unsafe { std::mem::transmute::<usize, extern "C" fn()>(AT) };
            function();
            0
        })
    };
    for (name, protection) in [("rw", 3), ("rx", 5), ("r", 1), ("x", 4), ("none", 0)] {
        say!(
            "mprotect({name}) = {}: {}",
            protect(AT, 1, protection),
            run()
        );
    }
}

fn shrink() {
    numbered(4, PRIVATE);
    say!(
        "mremap(4 to 2) = {}",
        remap([AT, 4 * PAGE, 2 * PAGE, 0]).from(AT)
    );
    say!("{:?}", peek_all(4));
    say!(
        "mremap(2 to 1 byte) = {}",
        remap([AT, 2 * PAGE, 1, 0]).from(AT)
    );
    say!("{:?}", peek_all(2));
    say!(
        "mremap(to the same) = {}",
        remap([AT, PAGE, PAGE, 0]).from(AT)
    );
    say!("mremap(to nothing) = {}", remap([AT, PAGE, 0, 0]));
}

fn grow_in_place() {
    numbered(2, PRIVATE);
    say!(
        "mremap(2 to 4) = {}",
        remap([AT, 2 * PAGE, 4 * PAGE, 0]).from(AT)
    );
    say!("{:?}", peek_all(5));
    map(AT + 5 * PAGE, 1, PRIVATE);
    say!(
        "mremap(4 to 6, taken) = {}",
        remap([AT, 4 * PAGE, 6 * PAGE, 0])
    );
    say!(
        "mremap(4 to 5) = {}",
        remap([AT, 4 * PAGE, 5 * PAGE, 0]).from(AT)
    );
    // The new pages are in front of another region: only the last may grow.
    let inner = remap([AT, 2 * PAGE, 3 * PAGE, 0]);
    say!("mremap(a part, in place) = {inner}");
    // peer_011: which error it is depends on the version of Linux.
    for flags in [0, MAY_MOVE] {
        let answer = remap([AT, PAGE, 1 << 47, flags]);
        say!("mremap(2^47, {flags}) is refused: {}", answer.is_error());
    }
}

fn grow_by_moving() {
    numbered(2, PRIVATE);
    map(AT + 2 * PAGE, 1, PRIVATE);
    let moved = remap([AT, 2 * PAGE, 600 * PAGE, MAY_MOVE]);
    let at = moved.value();
    say!("mremap = {}, moved {}", moved.ok(), at != AT);
    say!(
        "bytes {} {} {}",
        load(at),
        load(at + PAGE),
        load(at + 599 * PAGE)
    );
    say!("{:?}", peek_all(3));
    let end = child(|| {
        store(at, 77);
        i32::from(load(at))
    });
    say!("a child's copy: {end}, ours {}", load(at));
    map(AT, 4, PRIVATE);
    store(AT + PAGE, 5);
    let part = remap([AT + PAGE, PAGE, 2 * PAGE, MAY_MOVE]);
    say!("a part: {}, {}", part.ok(), load(part.value()));
    say!("{:?}", peek_all(4));
}

fn move_to() {
    let to = AT + 64 * PAGE;
    numbered(3, PRIVATE);
    say!(
        "mremap(free place) = {}",
        remap([AT, 3 * PAGE, 3 * PAGE, MOVE_TO, to]).from(to)
    );
    say!("{:?} and {} {}", peek_all(3), load(to), load(to + 2 * PAGE));
    numbered(3, PRIVATE);
    say!(
        "mremap(taken place) = {}",
        remap([AT, PAGE, 2 * PAGE, MOVE_TO, to]).from(to)
    );
    let there: Vec<_> = (0..4).map(|page| peek(to + page * PAGE)).collect();
    say!("{:?} and {there:?}", peek_all(3));
    say!(
        "mremap(smaller) = {}",
        remap([AT + PAGE, 2 * PAGE, PAGE, MOVE_TO, to]).from(to)
    );
    let there: Vec<_> = (0..4).map(|page| peek(to + page * PAGE)).collect();
    say!("{:?} and {there:?}", peek_all(3));
}

fn move_to_refused() {
    numbered(4, PRIVATE);
    for (name, flags, to) in [
        ("overlaps behind", MOVE_TO, AT + PAGE),
        ("overlaps in front", MOVE_TO, AT - PAGE),
        ("itself", MOVE_TO, AT),
        ("not aligned", MOVE_TO, AT + 64 * PAGE + 1),
        ("kernel", MOVE_TO, KERNEL),
        ("end of user space", MOVE_TO, USER_END),
        ("last page", MOVE_TO, usize::MAX - PAGE + 1),
        ("fixed and may not move", 2, AT + 64 * PAGE),
    ] {
        say!(
            "mremap({name}) = {}",
            remap([AT, 2 * PAGE, 2 * PAGE, flags, to])
        );
    }
    say!("{:?}", peek_all(4));
}

fn dont_unmap() {
    let to = AT + 64 * PAGE;
    numbered(2, PRIVATE);
    let flags = DONT_UNMAP | libc::MREMAP_FIXED as usize;
    say!(
        "mremap = {}",
        remap([AT, 2 * PAGE, 2 * PAGE, flags, to]).from(to)
    );
    say!("{:?} and {} {}", peek_all(2), load(to), load(to + PAGE));
    say!(
        "mremap(other length) = {}",
        remap([AT, 2 * PAGE, PAGE, DONT_UNMAP])
    );
    say!(
        "mremap(may not move) = {}",
        remap([AT, PAGE, PAGE, DONT_UNMAP & !MAY_MOVE])
    );
}

fn zero_old() {
    numbered(1, SHARED);
    let double = remap([AT, 0, PAGE, MAY_MOVE]);
    say!("mremap(0 of shared) = {}", double.ok());
    store(AT, 42);
    say!("both have {} and {}", load(AT), load(double.value()));
    numbered(1, PRIVATE);
    say!("mremap(0 of private) = {}", remap([AT, 0, PAGE, MAY_MOVE]));
    say!(
        "mremap(0 of shared, may not move) = {}",
        remap([double.value(), 0, PAGE, 0])
    );
}

fn remap_refused() {
    numbered(2, PRIVATE);
    for (name, at, old, new, flags) in [
        ("not aligned", AT + 1, PAGE, PAGE, 0),
        ("new length 0", AT, PAGE, 0, 0),
        ("unknown flag", AT, PAGE, PAGE, 8),
        ("nothing there", AT + 2 * PAGE, PAGE, PAGE, 0),
        (
            "nothing there, larger",
            AT + 2 * PAGE,
            PAGE,
            2 * PAGE,
            MAY_MOVE,
        ),
        (
            "old behind the end, larger",
            AT,
            3 * PAGE,
            4 * PAGE,
            MAY_MOVE,
        ),
        ("old all", AT, usize::MAX, PAGE, 0),
        ("old wraps", AT, usize::MAX - AT + 1, 2 * PAGE, MAY_MOVE),
        ("new all", AT, PAGE, usize::MAX, MAY_MOVE),
        ("kernel", KERNEL, PAGE, 2 * PAGE, MAY_MOVE),
        ("not canonical", NON_CANONICAL, PAGE, 2 * PAGE, MAY_MOVE),
    ] {
        say!("mremap({name}) = {}", remap([at, old, new, flags]));
    }
    say!("{:?}", peek_all(3));
}

fn remap_file() {
    let file = file_with(c"a", &[b'x'; 2 * PAGE]);
    call(libc::SYS_mmap, [AT, PAGE, RW, FIXED | 1, file, 0]);
    let grown = remap([AT, PAGE, 3 * PAGE, 0]);
    say!(
        "mremap(grow) = {}, {}, {}",
        grown.from(AT),
        load(AT + PAGE),
        peek(AT + 2 * PAGE)
    );
    let to = AT + 64 * PAGE;
    let moved = remap([AT + PAGE, PAGE, PAGE, MOVE_TO, to]);
    store(to, b'y');
    let mut byte = [0_u8];
    call(
        libc::SYS_pread64,
        [file, byte.as_mut_ptr() as usize, 1, PAGE],
    );
    say!(
        "mremap(a part) = {}, the file has {}",
        moved.from(to),
        byte[0]
    );
}

fn keeps_protection() {
    let to = AT + 64 * PAGE;
    numbered(2, PRIVATE);
    protect(AT, 2, READ);
    remap([AT, 2 * PAGE, 3 * PAGE, MOVE_TO, to]);
    let there: Vec<_> = (0..4).map(|page| poke(to + page * PAGE, 1)).collect();
    say!("read only: {there:?}, {}", load(to + 2 * PAGE));
    numbered(2, PRIVATE);
    protect(AT + PAGE, 1, READ);
    let grown = remap([AT, 2 * PAGE, 3 * PAGE, MAY_MOVE]);
    say!("grow two regions = {}", grown);
    let both = remap([AT, 2 * PAGE, PAGE, 0]);
    say!("shrink two regions = {}, {:?}", both.from(AT), peek_all(2));
}
