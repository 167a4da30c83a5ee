//! Files that get shorter, or lose a part in the middle, while they are mapped.

use libc::{SYS_fallocate, SYS_fstat, SYS_ftruncate, SYS_madvise, SYS_mmap, SYS_truncate, c_int};

use crate::kit::{
    AT, Answer, Case, FIXED, NONE, PAGE, PRIVATE, RW, SHARED, call, child, close, exit, file_with,
    fork, load, map, open, pause, peek, pipe, say, store, until_asleep, wait,
};
use crate::signal::handle;

pub(crate) const CASES: &[Case] = &[
    ("truncate-mapped", mapped),
    ("truncate-private-copies", private_copies),
    ("truncate-bus-error", bus_error),
    ("truncate-calls-fault", calls_fault),
    ("truncate-other-process", other_process),
    ("truncate-while-touched", while_touched),
    ("fallocate", allocate),
    ("fallocate-punch-hole", punch_hole),
    ("fallocate-refused", allocate_refused),
    ("madvise-remove", remove),
    ("madvise-remove-refused", remove_refused),
];

const SECOND: usize = AT + 64 * PAGE;

/// Makes a file in memory of some pages, each of which is full of its number and one.
fn memory_file(pages: usize) -> usize {
    let file = call(libc::SYS_memfd_create, [c"m".as_ptr() as usize, 0]).value();
    for page in 0..pages {
        let bytes = [page as u8 + 1; PAGE];
        call(libc::SYS_write, [file, bytes.as_ptr() as usize, PAGE]);
    }
    file
}

fn map_file(at: usize, pages: usize, file: usize, kind: c_int) -> String {
    let flags = FIXED | kind as usize;
    call(SYS_mmap, [at, pages * PAGE, RW, flags, file, 0]).from(at)
}

fn truncate(file: usize, len: usize) -> Answer {
    call(SYS_ftruncate, [file, len])
}

/// Says what is at the start of each of some pages.
fn pages(at: usize, count: usize) -> Vec<String> {
    (0..count).map(|page| peek(at + page * PAGE)).collect()
}

/// Returns length and blocks of a file.
fn size(file: usize) -> (i64, i64) {
    // SAFETY: Zeros are a value of it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    call(SYS_fstat, [file, (&raw mut stat) as usize]);
    (stat.st_size, stat.st_blocks)
}

fn mapped() {
    for (name, file) in [
        ("in memory", memory_file(4)),
        ("with a name", {
            let bytes: Vec<u8> = (0..4 * PAGE).map(|at| (at / PAGE) as u8 + 1).collect();
            file_with(c"a", &bytes)
        }),
    ] {
        map_file(AT, 4, file, libc::MAP_SHARED);
        map_file(SECOND, 4, file, libc::MAP_PRIVATE);
        say!("{name}: {:?} {:?}", pages(AT, 4), pages(SECOND, 4));
        // Made here, not in children.
        (0..4).for_each(|page| {
            load(AT + page * PAGE);
            load(SECOND + page * PAGE);
        });
        say!("shorter: {}", truncate(file, PAGE + 100));
        say!("{:?} {:?}", pages(AT, 4), pages(SECOND, 4));
        for at in [AT, SECOND] {
            let ends = [
                load(at + PAGE + 99),
                load(at + PAGE + 100),
                load(at + 2 * PAGE - 1),
            ];
            say!("the last page: {ends:?}");
        }
        say!("longer: {}", truncate(file, 4 * PAGE));
        say!("{:?} {:?}", pages(AT, 4), pages(SECOND, 4));
        store(AT + 3 * PAGE, 9);
        say!("one file: {}", load(SECOND + 3 * PAGE));
        say!("nothing: {}, {:?}", truncate(file, 0), pages(AT, 1));
        close(file);
    }
    say!(
        "by its name: {}",
        call(SYS_truncate, [c"a".as_ptr() as usize, 2 * PAGE])
    );
    say!("{:?}", pages(AT, 3));
}

/// A private mapping's own pages go, too, but for the one that the end is in.
fn private_copies() {
    let file = memory_file(3);
    map_file(AT, 3, file, libc::MAP_PRIVATE);
    (0..3).for_each(|page| store(AT + page * PAGE + 200, 77));
    say!("shorter: {}", truncate(file, 100));
    say!("kept: {} {}", load(AT + 200), load(AT + 100));
    say!("gone: {:?}", pages(AT, 3));
    truncate(file, 3 * PAGE);
    say!("longer: {}, {}", load(AT + 200), load(AT + PAGE + 200));
}

extern "C" fn tell_and_exit(_: c_int, info: *const libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: The kernel hands over a `siginfo`, whose first words these are.
    let words = unsafe { info.cast::<[u64; 3]>().read() };
    let (code, address) = (words[1] as u32, words[2] as usize);
    say!("code {code}, {} bytes in", address - AT);
    exit(0);
}

fn bus_error() {
    let file = memory_file(2);
    map_file(AT, 2, file, libc::MAP_SHARED);
    load(AT + PAGE);
    truncate(file, 1);
    for offset in [PAGE, PAGE + 77] {
        let end = child(|| {
            handle(libc::SIGBUS, 0, tell_and_exit);
            i32::from(load(AT + offset))
        });
        say!("read: {end}");
        let end = child(|| {
            handle(libc::SIGBUS, 0, tell_and_exit);
            store(AT + offset, 1);
            1
        });
        say!("write: {end}");
    }
}

fn calls_fault() {
    let file = memory_file(2);
    map_file(AT, 2, file, libc::MAP_SHARED);
    load(AT + PAGE);
    let (reader, writer) = pipe(0);
    truncate(file, 10);
    say!("write = {}", call(libc::SYS_write, [writer, AT + PAGE, 5]));
    call(libc::SYS_write, [writer, c"abc".as_ptr() as usize, 3]);
    say!("read = {}", call(libc::SYS_read, [reader, AT + PAGE, 3]));
    let wake = libc::FUTEX_WAKE as usize;
    say!("futex = {}", call(libc::SYS_futex, [AT + PAGE, wake, 1]));
    let lock = call(libc::SYS_mlock, [AT, 2 * PAGE]);
    say!("mlock = {lock}");
    let mut bytes = [9_u8; 2];
    let answer = call(
        libc::SYS_mincore,
        [AT, 2 * PAGE, bytes.as_mut_ptr() as usize],
    );
    say!("mincore = {answer}, {:?}", bytes.map(|byte| byte & 1));
}

fn other_process() {
    let file = memory_file(3);
    map_file(AT, 3, file, libc::MAP_SHARED);
    map_file(SECOND, 3, file, libc::MAP_PRIVATE);
    store(SECOND + 2 * PAGE, 5);
    let (reader, writer) = pipe(0);
    let process = fork(|| {
        let mut byte = 0_u8;
        load(AT + 2 * PAGE);
        call(libc::SYS_read, [reader, (&raw mut byte) as usize, 1]);
        say!("in the child: {:?} {:?}", pages(AT, 3), pages(SECOND, 3));
        0
    });
    // In the call, and not in the fault before it.
    until_asleep(process.unwrap_or(0) as usize);
    say!("shorter: {}", truncate(file, 2 * PAGE));
    call(libc::SYS_write, [writer, c"x".as_ptr() as usize, 1]);
    say!("{:?}", process.map(wait));
}

/// Processes touch pages that another one takes away: each dies, and none sees the old
/// bytes afterwards.
fn while_touched() {
    const PAGES: usize = 16;
    let file = memory_file(PAGES);
    map_file(AT, PAGES, file, libc::MAP_SHARED);
    map_file(SECOND, PAGES, file, libc::MAP_PRIVATE);
    for round in 0..8 {
        truncate(file, PAGES * PAGE);
        let processes: Vec<_> = (0..3)
            .map(|number| {
                fork(|| {
                    loop {
                        for page in 0..PAGES {
                            store(AT + page * PAGE, number);
                            store(SECOND + page * PAGE, number);
                        }
                    }
                })
            })
            .collect();
        pause(5);
        truncate(file, round * PAGE / 2);
        let ends: Vec<_> = processes.into_iter().map(|it| it.map(wait)).collect();
        let len = (round * PAGE / 2).div_ceil(PAGE);
        let left = pages(AT, PAGES).iter().filter(|it| *it != "SIGBUS").count();
        say!("{ends:?}, as many pages as there are: {}", left == len);
        truncate(file, PAGES * PAGE);
        say!(
            "zeros: {}",
            (len * PAGE..PAGES * PAGE).all(|at| load(AT + at) == 0)
        );
    }
}

fn allocated(file: usize, mode: c_int, offset: usize, len: usize) -> Answer {
    call(SYS_fallocate, [file, mode as usize, offset, len])
}

fn allocate() {
    let file = memory_file(1);
    say!(
        "keep the length: {}",
        allocated(file, libc::FALLOC_FL_KEEP_SIZE, 0, 3 * PAGE)
    );
    say!("{:?}", size(file));
    map_file(AT, 3, file, libc::MAP_SHARED);
    say!("{:?}", pages(AT, 3));
    say!("longer: {}", allocated(file, 0, PAGE + 5, PAGE));
    say!("{:?} {:?}", size(file), pages(AT, 3));
    say!("inside: {}", allocated(file, 0, 0, 5));
    say!("{:?} {}", size(file), load(AT));
}

fn punch_hole() {
    const MODE: c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let file = memory_file(6);
    map_file(AT, 6, file, libc::MAP_SHARED);
    map_file(SECOND, 6, file, libc::MAP_PRIVATE);
    (0..6).for_each(|page| {
        load(AT + page * PAGE);
        load(SECOND + page * PAGE);
    });
    store(SECOND + 2 * PAGE, 55);
    say!("before: {:?}", size(file));
    say!("whole pages: {}", allocated(file, MODE, PAGE, 2 * PAGE));
    say!("{:?} {:?} {:?}", size(file), pages(AT, 6), pages(SECOND, 6));
    say!("parts: {}", allocated(file, MODE, 3 * PAGE + 100, PAGE));
    for offset in [99, 100, PAGE, PAGE + 99, PAGE + 100] {
        let at = 3 * PAGE + offset;
        say!("{offset}: {} {}", load(AT + at), load(SECOND + at));
    }
    say!("within a page: {}", allocated(file, MODE, 10, 20));
    say!(
        "{:?}",
        [load(AT + 9), load(AT + 10), load(AT + 29), load(AT + 30)]
    );
    say!(
        "over the end: {}",
        allocated(file, MODE, 5 * PAGE, 100 * PAGE)
    );
    say!("behind it: {}", allocated(file, MODE, 50 * PAGE, PAGE));
    say!("{:?} {:?}", size(file), pages(AT, 6));
    store(AT + PAGE, 66);
    say!("again: {} {:?}", load(SECOND + PAGE), size(file));
}

fn allocate_refused() {
    let file = memory_file(1);
    let read_only = {
        file_with(c"a", b"text");
        open(c"a", libc::O_RDONLY).value()
    };
    let directory = open(c".", libc::O_RDONLY).value();
    let null = open(c"/dev/null", libc::O_RDWR).value();
    let (_, end) = pipe(0);
    for (name, file) in [
        ("none", NONE),
        ("read only", read_only),
        ("directory", directory),
        ("/dev/null", null),
        ("pipe", end),
    ] {
        say!("{name}: {}", allocated(file, 0, 0, 1));
    }
    let max = isize::MAX as usize;
    for (offset, len) in [(0, 0), (NONE, 1), (0, NONE), (max, 1), (1, max), (max, max)] {
        say!("{}: {}", offset as isize, allocated(file, 0, offset, len));
    }
    // Of other mixtures, newer versions of Linux think otherwise than older ones.
    for mode in [
        2, 4, 5, 6, 8, 0x10, 0x11, 0x12, 0x13, 0x20, 0x40, 0x41, 0x80,
    ] {
        say!("mode {mode:#x}: {}", allocated(file, mode, 0, PAGE));
    }
    say!("mode and offset: {}", allocated(file, 0x100, 0, 0));
}

fn advise_remove(at: usize, pages: usize) -> Answer {
    call(SYS_madvise, [at, pages * PAGE, libc::MADV_REMOVE as usize])
}

fn remove() {
    let file = memory_file(4);
    map_file(AT, 4, file, libc::MAP_SHARED);
    map_file(SECOND, 4, file, libc::MAP_SHARED);
    say!("{} {:?}", advise_remove(AT + PAGE, 2), size(file));
    say!("{:?} {:?}", pages(AT, 4), pages(SECOND, 4));
    store(AT + PAGE, 9);
    say!("written again: {} {:?}", load(SECOND + PAGE), size(file));
    map(AT, 3, SHARED);
    (0..3).for_each(|page| store(AT + page * PAGE, page as u8 + 1));
    let end = child(|| {
        i32::from(advise_remove(AT, 2).is_error())
            + i32::from(load(AT))
            + i32::from(load(AT + PAGE))
    });
    say!("shared memory, by a child: {end}, {:?}", pages(AT, 3));
    say!("no length: {}", advise_remove(AT, 0));
}

fn remove_refused() {
    let file = memory_file(4);
    map(AT, 1, PRIVATE);
    say!("private: {}", advise_remove(AT, 1));
    map_file(AT, 4, file, libc::MAP_PRIVATE);
    say!("a file, privately: {}", advise_remove(AT, 1));
    map_file(AT, 4, file, libc::MAP_SHARED);
    call(libc::SYS_mlock, [AT + PAGE, PAGE]);
    say!("locked: {}, {:?}", advise_remove(AT, 3), pages(AT, 3));
    call(libc::SYS_munlock, [AT + PAGE, PAGE]);
    call(libc::SYS_munmap, [AT + PAGE, PAGE]);
    say!(
        "over a hole: {}, {}",
        advise_remove(AT, 3),
        peek(AT + 2 * PAGE)
    );
    say!("not aligned: {}", advise_remove(AT + 1, 1));
}
