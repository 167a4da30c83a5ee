//! `mmap`: every flag, hints, and what is refused.

use libc::SYS_mmap;

use crate::kit::{
    AT, Answer, Case, FIXED, KERNEL, NON_CANONICAL, NONE, PAGE, PRIVATE, READ, RW, SHARED,
    USER_END, call, child, file_with, load, map, peek, poke, say, store, unmap,
};

const NOREPLACE: usize = libc::MAP_FIXED_NOREPLACE as usize;
const GROWS_DOWN: usize = libc::MAP_GROWSDOWN as usize;

pub(crate) const CASES: &[Case] = &[
    ("mmap-kinds", kinds),
    ("mmap-protections", protections),
    ("mmap-lengths", lengths),
    ("mmap-offsets", offsets),
    ("mmap-hints", hints),
    ("mmap-fixed", fixed),
    ("mmap-fixed-refused", fixed_refused),
    ("mmap-fixed-noreplace", fixed_noreplace),
    ("mmap-page-zero", page_zero),
    ("mmap-other-flags", other_flags),
    ("mmap-populate", populate),
    ("mmap-grows-down", grows_down),
    ("mmap-grows-down-gap", grows_down_gap),
    ("mmap-many", many),
    ("mmap-fresh-is-zero", fresh_is_zero),
];

/// Maps a page of anonymous memory by these flags.
fn map_by(at: usize, flags: usize) -> Answer {
    call(SYS_mmap, [at, PAGE, RW, flags, NONE, 0])
}

fn kinds() {
    let anonymous = libc::MAP_ANONYMOUS as usize;
    for (name, kind) in [
        ("none", 0),
        ("shared", 1),
        ("private", 2),
        ("shared, validated", 3),
        ("4", 4),
        ("15", 15),
    ] {
        say!("mmap({name}) = {}", map_by(0, anonymous | kind).ok());
    }
    say!(
        "mmap(no file) = {}",
        call(SYS_mmap, [0, PAGE, RW, 2, NONE, 0])
    );
    say!(
        "mmap(anonymous, file 99) = {}",
        call(SYS_mmap, [0, PAGE, RW, PRIVATE, 99, 0]).ok()
    );
}

fn protections() {
    for protection in 0..8 {
        let page = call(SYS_mmap, [AT, PAGE, protection, PRIVATE | FIXED, NONE, 0]);
        let (read, write) = (peek(AT), poke(AT, 1));
        say!(
            "protection {protection}: {}, read {read}, write {write}",
            page.ok()
        );
    }
    for unknown in [8, 0x10, 0x100, 1 << 31, 1 << 40] {
        let page = call(SYS_mmap, [0, PAGE, READ | unknown, PRIVATE, NONE, 0]);
        say!("protection {unknown:#x}: {}", page.ok());
    }
}

fn lengths() {
    for (name, len) in [
        ("0", 0),
        ("1", 1),
        ("a page and a byte", PAGE + 1),
        ("all", usize::MAX),
        ("all but a page", usize::MAX - PAGE + 1),
        ("half", 1 << 47),
        ("user space", USER_END),
        ("user space and a page", USER_END + PAGE),
        ("2^63", 1 << 63),
    ] {
        say!(
            "mmap(length {name}) = {}",
            call(SYS_mmap, [0, len, RW, PRIVATE, NONE, 0]).ok()
        );
    }
    let page = call(SYS_mmap, [AT, PAGE + 1, RW, PRIVATE | FIXED, NONE, 0]);
    say!(
        "rounded up: {}, {}, {}",
        page.ok(),
        peek(AT + 2 * PAGE - 1),
        peek(AT + 2 * PAGE)
    );
    let bad = PRIVATE & !0xf;
    say!(
        "mmap(length 0, no kind) = {}",
        call(SYS_mmap, [0, 0, RW, bad, NONE, 0])
    );
    say!(
        "mmap(length 0, fixed) = {}",
        call(SYS_mmap, [1, 0, RW, PRIVATE | FIXED, NONE, 0])
    );
}

fn offsets() {
    for offset in [1, PAGE - 1, PAGE + 8] {
        let answer = call(SYS_mmap, [0, PAGE, RW, PRIVATE, NONE, offset]);
        say!("mmap(offset {offset}) = {answer}");
    }
    say!(
        "mmap(offset 1, length 0) = {}",
        call(SYS_mmap, [0, 0, RW, PRIVATE, NONE, 1])
    );
    say!(
        "mmap(offset 1, no file) = {}",
        call(SYS_mmap, [0, PAGE, RW, 2, NONE, 1])
    );
    let far = call(
        SYS_mmap,
        [0, PAGE, RW, PRIVATE, NONE, usize::MAX - PAGE + 1],
    );
    say!("mmap(far offset, anonymous) = {}", far.ok());
    let file = file_with(c"a", b"text");
    let far = call(SYS_mmap, [0, PAGE, READ, 2, file, 1 << 63]);
    say!("mmap(far offset, file) = {far}");
    let beyond = call(SYS_mmap, [AT, PAGE, READ, 2 | FIXED, file, 16 * PAGE]);
    say!("mmap(behind the end) = {}, then {}", beyond.ok(), peek(AT));
}

fn hints() {
    say!("free: {}", map_by(AT, PRIVATE).from(AT));
    say!("taken: {}", map_by(AT, PRIVATE).from(AT));
    unmap(AT, 1);
    say!("not aligned: {}", map_by(AT + 0x123, PRIVATE).from(AT));
    unmap(AT, 1);
    map(AT + 2 * PAGE, 1, PRIVATE);
    // peer_012: a region that only overlaps the end of what is wanted.
    let long = call(SYS_mmap, [AT, 3 * PAGE, RW, PRIVATE, NONE, 0]);
    say!("taken at its end: {}", long.from(AT));
    unmap(long.value(), 3);
    for (name, hint) in [
        ("kernel", KERNEL),
        ("not canonical", NON_CANONICAL),
        ("end of user space", USER_END),
        ("last page", usize::MAX - PAGE + 1),
        ("last byte", usize::MAX),
    ] {
        // peer_010: hints that overflow when the length is added.
        say!(
            "hint {name}: {}",
            map_by(hint, PRIVATE).from(hint & !(PAGE - 1))
        );
    }
}

fn fixed() {
    map(AT, 4, PRIVATE);
    for page in 0..4 {
        store(AT + page * PAGE, 7);
    }
    say!("replaced: {}", map(AT + PAGE, 2, PRIVATE).from(AT + PAGE));
    let bytes: Vec<_> = (0..4).map(|page| load(AT + page * PAGE)).collect();
    say!("bytes: {bytes:?}");
    say!(
        "shared over private: {}",
        map(AT + 2 * PAGE, 4, SHARED).from(AT + 2 * PAGE)
    );
    let bytes: Vec<_> = (0..6).map(|page| load(AT + page * PAGE)).collect();
    say!("bytes: {bytes:?}");
    let none = call(SYS_mmap, [AT, PAGE, 0, PRIVATE | FIXED, NONE, 0]);
    say!("without access: {}, {}", none.from(AT), peek(AT));
}

fn fixed_refused() {
    for (name, at) in [
        ("not aligned", AT + 1),
        ("kernel", KERNEL),
        ("not canonical", NON_CANONICAL),
        ("end of user space", USER_END),
        ("2^47", 1 << 47),
        ("last page", usize::MAX - PAGE + 1),
    ] {
        say!("mmap(fixed, {name}) = {}", map_by(at, PRIVATE | FIXED));
        say!(
            "mmap(fixed or nothing, {name}) = {}",
            map_by(at, PRIVATE | NOREPLACE)
        );
    }
    let flags = PRIVATE | FIXED;
    let over = call(SYS_mmap, [USER_END - PAGE, 2 * PAGE, RW, flags, NONE, 0]);
    say!("mmap(fixed, over the end) = {over}");
    let wraps = call(SYS_mmap, [AT, usize::MAX - AT, RW, flags, NONE, 0]);
    say!("mmap(fixed, wraps) = {wraps}");
}

fn fixed_noreplace() {
    say!("free: {}", map_by(AT, PRIVATE | NOREPLACE).from(AT));
    store(AT, 5);
    say!("taken: {}", map_by(AT, PRIVATE | NOREPLACE));
    for pages in [1, 3, 9] {
        let at = AT - PAGE;
        let answer = call(
            SYS_mmap,
            [at, pages * PAGE, RW, PRIVATE | NOREPLACE, NONE, 0],
        );
        say!("{pages} pages from the page before: {}", answer.from(at));
        unmap(AT - PAGE, 1);
    }
    say!("the byte: {}", load(AT));
}

fn page_zero() {
    // peer_095
    say!("mmap(fixed, 0) = {}", map_by(0, PRIVATE | FIXED));
    say!(
        "mmap(fixed or nothing, 0) = {}",
        map_by(0, PRIVATE | NOREPLACE)
    );
    say!(
        "mmap(anywhere) is not 0: {}",
        map_by(0, PRIVATE).value() != 0
    );
    say!(
        "mmap(hint 1) is not 0: {}",
        map_by(1, PRIVATE).value() >= PAGE
    );
    map(AT, 1, PRIVATE);
    let moved = call(libc::SYS_mremap, [AT, PAGE, PAGE, 3, 0]);
    say!("mremap(to 0) = {moved}");
    say!("read of 0: {}, write of 0: {}", peek(0), poke(0, 1));
}

fn other_flags() {
    for (name, flag) in [
        ("stack", libc::MAP_STACK),
        ("no reserve", libc::MAP_NORESERVE),
        ("grows down", libc::MAP_GROWSDOWN),
        ("locked", libc::MAP_LOCKED),
        ("not blocking", libc::MAP_NONBLOCK),
        ("populate", libc::MAP_POPULATE),
        ("deny write", libc::MAP_DENYWRITE),
        ("executable", libc::MAP_EXECUTABLE),
    ] {
        say!("mmap({name}) = {}", map_by(0, PRIVATE | flag as usize).ok());
    }
    let low = map_by(0, PRIVATE | libc::MAP_32BIT as usize);
    say!(
        "mmap(32 bits) = {}, below 2 GiB: {}",
        low.ok(),
        low.value() >> 31 == 0
    );
    let flags = SHARED | GROWS_DOWN;
    say!("mmap(shared, grows down) = {}", map_by(0, flags).ok());
}

fn populate() {
    let flags = PRIVATE | FIXED | libc::MAP_POPULATE as usize;
    let answer = call(SYS_mmap, [AT, 8 * PAGE, RW, flags, NONE, 0]);
    let mut resident = [0_u8; 9];
    call(
        libc::SYS_mincore,
        [AT, 8 * PAGE, resident.as_mut_ptr() as usize],
    );
    say!(
        "mmap(populate) = {}, resident {resident:?}",
        answer.from(AT)
    );
    let answer = call(SYS_mmap, [AT, 8 * PAGE, 0, flags, NONE, 0]);
    say!("mmap(populate, no access) = {}", answer.from(AT));
    let file = file_with(c"a", &[7; 5000]);
    let flags = (libc::MAP_SHARED | libc::MAP_POPULATE) as usize | FIXED;
    let answer = call(SYS_mmap, [AT, 2 * PAGE, READ, flags, file, 0]);
    say!(
        "mmap(populate, file) = {}, {}",
        answer.from(AT),
        load(AT + 4999)
    );
}

fn grows_down() {
    let flags = PRIVATE | FIXED | GROWS_DOWN;
    say!(
        "mmap = {}",
        call(SYS_mmap, [AT, PAGE, RW, flags, NONE, 0]).from(AT)
    );
    let end = child(|| {
        for page in 1..=20 {
            store(AT - page * PAGE, page as u8);
        }
        i32::from((1..=20).all(|page| load(AT - page * PAGE) == page as u8))
    });
    say!("twenty pages down, one by one: {end}");
    say!("the page above: {}", peek(AT + PAGE));
    let fixed = PRIVATE | FIXED;
    call(SYS_mmap, [AT, PAGE, RW, fixed, NONE, 0]);
    say!("the page below what does not grow: {}", poke(AT - PAGE, 1));
}

fn grows_down_gap() {
    // peer_096: the gap below a stack is 256 pages.
    let flags = PRIVATE | FIXED | GROWS_DOWN;
    map(AT - 300 * PAGE, 1, PRIVATE);
    call(SYS_mmap, [AT, PAGE, RW, flags, NONE, 0]);
    for page in [1, 40, 43, 44, 45, 100, 256, 290, 299] {
        let end = child(|| {
            store(AT - page * PAGE, 1);
            0
        });
        let what = if end == "exit 0" { "written" } else { &end };
        say!("{page} pages down, with a region 300 pages down: {what}");
    }
    say!("the region below: {}", peek(AT - 300 * PAGE));
}

fn many() {
    let mut failed = 0;
    for page in 0..2000 {
        let protection = if page % 2 == 0 { RW } else { READ };
        let at = AT + page * PAGE;
        let answer = call(SYS_mmap, [at, PAGE, protection, PRIVATE | FIXED, NONE, 0]);
        failed += usize::from(answer.is_error());
    }
    for page in (0..2000).step_by(2) {
        store(AT + page * PAGE, page as u8);
    }
    let wrong = (0..2000)
        .step_by(2)
        .filter(|page| load(AT + page * PAGE) != *page as u8);
    say!("{failed} failed, {} wrong", wrong.count());
    say!("munmap = {}", unmap(AT, 2000));
    say!("afterwards: {}", peek(AT + 1000 * PAGE));
}

/// Fills memory and gives it back, again and again, in children and here: what comes
/// back must be zero.
fn fresh_is_zero() {
    // peer_101
    let mut dirty = 0_usize;
    for round in 0..6 {
        let fill = || {
            map(AT, 512, PRIVATE);
            let bad = (0..512 * PAGE)
                .step_by(8)
                .filter(|offset| load_word(*offset) != 0);
            let bad = bad.count();
            for offset in (0..512 * PAGE).step_by(8) {
                crate::kit::store_u64(AT + offset, u64::MAX);
            }
            bad
        };
        if round % 2 == 0 {
            dirty += fill();
            unmap(AT, 512);
        } else {
            dirty += usize::from(child(|| i32::from(fill() != 0)) != "exit 0");
        }
    }
    say!("dirty words: {dirty}");
}

fn load_word(offset: usize) -> u64 {
    crate::kit::load_u64(AT + offset)
}
