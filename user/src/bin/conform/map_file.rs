//! Mappings of files, and what `munmap` takes away.

use crate::kit::{
    AT, Case, FIXED, KERNEL, NON_CANONICAL, NONE, PAGE, PRIVATE, READ, RW, SHARED, USER_END, call,
    child, close, file_with, load, map, open, peek, pipe, poke, say, store, unmap,
};
use libc::{SYS_mmap, SYS_munmap};

pub(crate) const CASES: &[Case] = &[
    ("mmap-files-refused", files_refused),
    ("mmap-file-private", file_private),
    ("mmap-file-shared", file_shared),
    ("mmap-file-end", file_end),
    ("mmap-zero-device", zero_device),
    ("munmap-split", split),
    ("munmap-several", several),
    ("munmap-refused", unmap_refused),
    ("mmap-huge-aligned", huge_aligned),
];

fn files_refused() {
    let file = |flags| open(c"a", flags).value();
    file_with(c"a", b"text");
    let read_only = file(libc::O_RDONLY);
    let write_only = file(libc::O_WRONLY);
    let path_only = file(libc::O_PATH);
    let directory = open(c".", libc::O_RDONLY).value();
    let null = open(c"/dev/null", libc::O_RDWR).value();
    let (end, _) = pipe(0);
    for (name, file) in [
        ("read only", read_only),
        ("write only", write_only),
        ("path only", path_only),
        ("directory", directory),
        ("/dev/null", null),
        ("pipe", end),
        ("none", 99),
        ("minus one", NONE),
    ] {
        let shared = libc::MAP_SHARED as usize;
        let private = libc::MAP_PRIVATE as usize;
        for (how, protection, kind) in [
            ("read", READ, private),
            ("write", RW, private),
            ("read, shared", READ, shared),
            ("write, shared", RW, shared),
        ] {
            let answer = call(SYS_mmap, [0, PAGE, protection, kind, file, 0]);
            say!("mmap({name}, {how}) = {}", answer.ok());
        }
    }
}

fn file_private() {
    let file = file_with(c"a", &[b'x'; 6000]);
    let answer = call(SYS_mmap, [AT, 2 * PAGE, RW, FIXED | 2, file, 0]);
    say!("mmap = {}", answer.from(AT));
    say!(
        "bytes: {} {} {}",
        load(AT),
        load(AT + 5999),
        load(AT + 6000)
    );
    store(AT, b'y');
    let mut byte = [0_u8];
    call(libc::SYS_pread64, [file, byte.as_mut_ptr() as usize, 1, 0]);
    say!("written {}, the file has {}", load(AT), byte[0]);
    close(file);
    say!("after close: {}", load(AT + PAGE));
    call(libc::SYS_unlink, [c"a".as_ptr() as usize]);
    say!("after unlink: {}", load(AT + PAGE + 1));
}

fn file_shared() {
    let file = file_with(c"a", &[b'x'; PAGE]);
    for at in [AT, AT + 8 * PAGE] {
        call(SYS_mmap, [at, PAGE, RW, FIXED | 1, file, 0]);
    }
    store(AT + 1, b'y');
    say!("the other mapping: {}", load(AT + 8 * PAGE + 1));
    call(libc::SYS_pwrite64, [file, c"z".as_ptr() as usize, 1, 2]);
    say!(
        "written by a call: {} {}",
        load(AT + 2),
        load(AT + 8 * PAGE + 2)
    );
    say!("by a child: {}, seen {}", poke(AT + 3, b'w'), load(AT + 3));
    let mut bytes = [0_u8; 5];
    call(libc::SYS_pread64, [file, bytes.as_mut_ptr() as usize, 5, 0]);
    say!("the file: {:?}", String::from_utf8_lossy(&bytes));
}

fn file_end() {
    let file = file_with(c"a", &[9; 100]);
    call(SYS_mmap, [AT, 3 * PAGE, RW, FIXED | 1, file, 0]);
    say!(
        "in the file {}, behind it {}",
        load(AT + 99),
        load(AT + 100)
    );
    say!(
        "a page behind: {} and {}",
        peek(AT + PAGE),
        poke(AT + PAGE, 1)
    );
    let answer = call(libc::SYS_ftruncate, [file, 2 * PAGE]);
    say!(
        "longer: {answer}, {} and {}",
        peek(AT + PAGE),
        peek(AT + 2 * PAGE)
    );
    store(AT + PAGE, 5);
    let answer = call(libc::SYS_ftruncate, [file, 50]);
    say!(
        "shorter: {answer}, {} and {}",
        peek(AT + 99),
        peek(AT + PAGE)
    );
    call(libc::SYS_ftruncate, [file, 2 * PAGE]);
    say!("longer again: {} and {}", peek(AT + 99), peek(AT + PAGE));
    // A call meets the end of the file by an error instead.
    let (_, end) = pipe(0);
    say!(
        "write from behind the end = {}",
        call(libc::SYS_write, [end, AT + 2 * PAGE, 1])
    );
}

fn zero_device() {
    let file = open(c"/dev/zero", libc::O_RDWR).value();
    for (name, kind) in [("private", 2), ("shared", 1)] {
        let answer = call(SYS_mmap, [AT, PAGE, RW, FIXED | kind, file, 0]);
        say!("{name}: {}, {}", answer.from(AT), load(AT));
        let end = poke(AT, 3);
        say!("a child: {end}, then {}", load(AT));
    }
}

fn split() {
    map(AT, 5, PRIVATE);
    for page in 0..5 {
        store(AT + page * PAGE, page as u8 + 1);
    }
    say!("munmap(middle) = {}", unmap(AT + 2 * PAGE, 1));
    let bytes: Vec<_> = (0..5).map(|page| peek(AT + page * PAGE)).collect();
    say!("{bytes:?}");
    say!("munmap(part of a page) = {}", call(SYS_munmap, [AT, 1]));
    say!("munmap(end) = {}", unmap(AT + 4 * PAGE, 1));
    let bytes: Vec<_> = (0..5).map(|page| peek(AT + page * PAGE)).collect();
    say!("{bytes:?}");
    say!(
        "the hole again: {}",
        map(AT + 2 * PAGE, 1, PRIVATE).from(AT + 2 * PAGE)
    );
    say!("it holds {}", load(AT + 2 * PAGE));
}

fn several() {
    for page in [0, 1, 3, 6] {
        let kind = if page == 1 { SHARED } else { PRIVATE };
        map(AT + page * PAGE, 1, kind);
    }
    say!("munmap(regions and holes) = {}", unmap(AT, 6));
    let ends: Vec<_> = (0..7).map(|page| peek(AT + page * PAGE)).collect();
    say!("{ends:?}");
    say!("munmap(nothing there) = {}", unmap(AT, 6));
}

fn unmap_refused() {
    for (name, at, len) in [
        ("length 0", AT, 0),
        ("not aligned", AT + 1, PAGE),
        ("not aligned, length 0", AT + 1, 0),
        ("all", 0, usize::MAX),
        ("wraps", AT, usize::MAX - AT),
        ("rounds to 0", AT, usize::MAX),
        ("kernel", KERNEL, PAGE),
        ("over the end", USER_END - PAGE, 2 * PAGE),
        ("2^63", AT, 1 << 63),
        ("not canonical", NON_CANONICAL, PAGE),
    ] {
        say!("munmap({name}) = {}", call(SYS_munmap, [at, len]));
    }
}

/// Large aligned regions may be mapped by huge pages; nothing of that may show.
fn huge_aligned() {
    const HUGE: usize = 2 << 20;
    let at = AT.next_multiple_of(HUGE);
    map(at, 4 * HUGE / PAGE, PRIVATE);
    for offset in (0..4 * HUGE).step_by(HUGE / 2) {
        store(at + offset, (offset >> 20) as u8 + 1);
    }
    unmap(at + HUGE + 5 * PAGE, 1);
    call(libc::SYS_mprotect, [at + 2 * HUGE + PAGE, PAGE, READ]);
    say!("in the hole: {}", peek(at + HUGE + 5 * PAGE));
    say!(
        "beside it: {} {}",
        peek(at + HUGE + 4 * PAGE),
        peek(at + HUGE + HUGE / 2)
    );
    say!(
        "protected: {} {}",
        peek(at + 2 * HUGE + PAGE),
        poke(at + 2 * HUGE + PAGE, 1)
    );
    say!("beside it: {}", poke(at + 2 * HUGE + 2 * PAGE, 1));
    call(
        libc::SYS_madvise,
        [at + 3 * HUGE, PAGE, libc::MADV_DONTNEED as usize],
    );
    say!(
        "discarded: {} and {}",
        load(at + 3 * HUGE),
        load(at + 3 * HUGE + HUGE / 2)
    );
    let end = child(|| {
        store(at, 99);
        i32::from(load(at))
    });
    say!("a child's copy: {end}, ours {}", load(at));
}
