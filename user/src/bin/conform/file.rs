//! Files: opening, reading, writing, positions, descriptors.

use std::ffi::CStr;
use std::fs;

use crate::kit::{Answer, Case, KERNEL, NONE, call, child, close, file_with, open, pipe, say};

pub(crate) const CASES: &[Case] = &[
    ("open-flags", open_flags),
    ("open-refused", open_refused),
    ("read-write", read_write),
    ("read-refused", read_refused),
    ("positions", positions),
    ("positions-refused", positions_refused),
    ("vectors", vectors),
    ("truncate", truncate),
    ("dup", dup),
    ("dup-shares-position", dup_shares),
    ("descriptor-limit", descriptor_limit),
    ("fcntl", fcntl),
    ("stat", stat),
];

pub(crate) fn address(path: &CStr) -> usize {
    path.as_ptr() as usize
}

pub(crate) fn write(file: usize, bytes: &[u8]) -> Answer {
    call(
        libc::SYS_write,
        [file, bytes.as_ptr() as usize, bytes.len()],
    )
}

pub(crate) fn read(file: usize, len: usize) -> String {
    let mut bytes = vec![0_u8; len];
    let answer = call(libc::SYS_read, [file, bytes.as_mut_ptr() as usize, len]);
    let there = &bytes[..answer.value().min(len)];
    format!("{answer} {:?}", String::from_utf8_lossy(there))
}

pub(crate) fn seek(file: usize, offset: usize, whence: usize) -> Answer {
    call(libc::SYS_lseek, [file, offset, whence])
}

fn open_flags() {
    file_with(c"a", b"0123456789");
    let _ = fs::create_dir("d");
    for (name, path, flags) in [
        (
            "create, exclusive, there",
            c"a",
            libc::O_CREAT | libc::O_EXCL,
        ),
        ("exclusive without create", c"a", libc::O_EXCL),
        (
            "create, exclusive, new",
            c"b",
            libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY,
        ),
        ("directory, of a file", c"a", libc::O_DIRECTORY),
        ("directory", c"d", libc::O_DIRECTORY),
        ("write a directory", c"d", libc::O_WRONLY),
        ("create, of a directory", c"d", libc::O_CREAT),
        ("create with a slash", c"e/", libc::O_CREAT | libc::O_WRONLY),
        ("file with a slash", c"a/", libc::O_RDONLY),
        ("both accesses", c"a", 3),
        ("path", c"a", libc::O_PATH),
        ("not blocking", c"a", libc::O_NONBLOCK),
        ("no terminal", c"a", libc::O_NOCTTY),
        ("truncate, to read", c"a", libc::O_TRUNC | libc::O_RDWR),
    ] {
        say!("open({name}) = {}", open(path, flags).ok());
    }
    let file = open(c"a", libc::O_RDONLY).value();
    say!("size after that: {}", seek(file, 0, 2));
    let file = open(c"a", libc::O_WRONLY | libc::O_APPEND).value();
    write(file, b"one");
    seek(file, 0, 0);
    write(file, b"two");
    say!("appended: {:?}", fs::read_to_string("a").ok());
}

fn open_refused() {
    file_with(c"a", b"text");
    let at = libc::AT_FDCWD as usize;
    for (name, arguments) in [
        ("nothing", [at, address(c""), 0, 0]),
        ("not there", [at, address(c"x"), 0, 0]),
        (
            "below what is not there",
            [at, address(c"x/y"), 0o100, 0o644],
        ),
        ("below a file", [at, address(c"a/y"), 0, 0]),
        ("kernel", [at, KERNEL, 0, 0]),
        ("null", [at, 0, 0, 0]),
        ("relative to no file", [99, address(c"a"), 0, 0]),
        ("relative to a file", [1, address(c"a"), 0, 0]),
        ("absolute, to no file", [99, address(c"/dev/null"), 0, 0]),
        ("nothing, to no file", [99, address(c""), 0, 0]),
    ] {
        say!(
            "openat({name}) = {}",
            call(libc::SYS_openat, arguments).ok()
        );
    }
    let long = vec![b'x'; 5000];
    say!(
        "a long path: {}",
        call(libc::SYS_open, [long.as_ptr() as usize, 0, 0])
    );
}

fn read_write() {
    let file = open(c"a", libc::O_RDWR | libc::O_CREAT).value();
    say!("write = {}", write(file, b"hello, world"));
    say!("write nothing = {}", write(file, b""));
    say!("read at the end: {}", read(file, 5));
    seek(file, 7, 0);
    say!("read: {}", read(file, 100));
    seek(file, 20, 0);
    say!("write behind the end = {}", write(file, b"end"));
    seek(file, 10, 0);
    say!("read over the hole: {}", read(file, 100));
    let at = |offset: usize| {
        let mut bytes = [0_u8; 4];
        call(
            libc::SYS_pread64,
            [file, bytes.as_mut_ptr() as usize, 4, offset],
        )
        .to_string()
            + &format!(" {bytes:?}")
    };
    say!("pread: {}, {}, {}", at(0), at(21), at(50));
    let put = call(libc::SYS_pwrite64, [file, address(c"XY"), 2, 1]);
    seek(file, 0, 0);
    say!("pwrite = {put}: {}", read(file, 5));
}

fn read_refused() {
    let file = file_with(c"a", b"some text");
    let read_only = open(c"a", libc::O_RDONLY).value();
    let write_only = open(c"a", libc::O_WRONLY).value();
    let directory = open(c".", libc::O_RDONLY).value();
    let by_path = open(c"a", libc::O_PATH).value();
    let mut buffer = [0_u8; 16];
    let to = buffer.as_mut_ptr() as usize;
    seek(file, 0, 0);
    for (name, file, to, len) in [
        ("write only", write_only, to, 4),
        ("write only, nothing", write_only, to, 0),
        ("directory", directory, to, 4),
        ("by path", by_path, to, 4),
        ("none", 99, to, 4),
        ("minus one", NONE, to, 4),
        ("2^32", 1 << 32, to, 0),
        ("to the kernel", file, KERNEL, 4),
        ("to the kernel, nothing", file, KERNEL, 0),
        ("to null", file, 0, 4),
        ("to null, nothing", file, 0, 0),
        ("2^63 bytes", file, to, 1 << 63),
        ("all bytes", file, to, NONE),
    ] {
        say!("read({name}) = {}", call(libc::SYS_read, [file, to, len]));
    }
    for (name, file, from, len) in [
        ("read only", read_only, to, 4),
        ("directory", directory, to, 4),
        ("none", 99, to, 4),
        ("from the kernel", file, KERNEL, 4),
        ("from null", file, 0, 4),
        ("2^63 bytes", file, to, 1 << 63),
    ] {
        say!(
            "write({name}) = {}",
            call(libc::SYS_write, [file, from, len])
        );
    }
    for (name, offset) in [("-1", NONE), ("2^63", 1 << 63), ("2^63 - 1", NONE >> 1)] {
        say!(
            "pread({name}) = {}",
            call(libc::SYS_pread64, [file, to, 4, offset])
        );
    }
    let (out, end) = pipe(0);
    say!("pread(pipe) = {}", call(libc::SYS_pread64, [out, to, 4, 0]));
    say!(
        "pwrite(pipe) = {}",
        call(libc::SYS_pwrite64, [end, to, 4, 0])
    );
}

fn positions() {
    let file = file_with(c"a", b"0123456789");
    for (name, offset, whence) in [
        ("set 3", 3, 0),
        ("by 2", 2, 1),
        ("by -1", NONE, 1),
        ("end", 0, 2),
        ("end - 4", NONE - 3, 2),
        ("end + 10", 10, 2),
        ("data", 0, 3),
        ("hole", 0, 4),
        ("data behind the end", 50, 3),
        ("hole behind the end", 50, 4),
    ] {
        say!("lseek({name}) = {}", seek(file, offset, whence));
    }
}

fn positions_refused() {
    let file = file_with(c"a", b"0123456789");
    let (out, _) = pipe(0);
    for (name, file, offset, whence) in [
        ("-1", file, NONE, 0),
        ("before the beginning", file, NONE - 20, 2),
        ("unknown way", file, 0, 9),
        ("way -1", file, 0, NONE),
        ("pipe", out, 0, 0),
        ("pipe, unknown way", out, 0, 9),
        ("none", 99, 0, 0),
        ("2^63 - 1 from the end", file, NONE >> 1, 2),
    ] {
        say!("lseek({name}) = {}", seek(file, offset, whence));
    }
    say!("where it is: {}", seek(file, 0, 1));
}

fn vectors() {
    let file = file_with(c"a", b"");
    let parts = [address(c"abc"), 3, 0, 0, address(c"defg"), 4];
    let from = parts.as_ptr() as usize;
    say!("writev = {}", call(libc::SYS_writev, [file, from, 3]));
    seek(file, 0, 0);
    let mut bytes = [b'.'; 12];
    let to = bytes.as_mut_ptr() as usize;
    let parts = [to, 2, to + 4, 100];
    let (list, short) = (parts.as_ptr() as usize, parts.as_ptr() as usize);
    say!(
        "readv(too long a part) = {}",
        call(libc::SYS_readv, [file, short, 1])
    );
    let parts = [to, 2, to + 4, 3];
    say!(
        "readv = {}",
        call(libc::SYS_readv, [file, parts.as_ptr() as usize, 2])
    );
    say!("bytes: {:?}", String::from_utf8_lossy(&bytes));
    let bad = [to, 1 << 63, to, 1];
    let over = [to, NONE >> 1, to, NONE >> 1];
    let half = [address(c"xy"), 2, KERNEL, 4];
    for (name, list, count) in [
        ("no parts", list, 0),
        ("1025 parts", list, 1025),
        ("-1 parts", list, NONE),
        ("list in the kernel", KERNEL, 1),
        ("list at null", 0, 1),
        ("2^63 bytes", bad.as_ptr() as usize, 2),
        ("too much together", over.as_ptr() as usize, 2),
        ("second part in the kernel", half.as_ptr() as usize, 2),
    ] {
        say!(
            "writev({name}) = {}",
            call(libc::SYS_writev, [file, list, count])
        );
    }
}

fn truncate() {
    let file = file_with(c"a", b"0123456789");
    let size = || seek(file, 0, 2).to_string();
    say!(
        "ftruncate(4) = {}, size {}",
        call(libc::SYS_ftruncate, [file, 4]),
        size()
    );
    say!(
        "ftruncate(9000) = {}, size {}",
        call(libc::SYS_ftruncate, [file, 9000]),
        size()
    );
    seek(file, 2, 0);
    say!("{}", read(file, 5));
    say!(
        "ftruncate(-1) = {}",
        call(libc::SYS_ftruncate, [file, NONE])
    );
    let read_only = open(c"a", libc::O_RDONLY).value();
    say!(
        "ftruncate(read only) = {}",
        call(libc::SYS_ftruncate, [read_only, 0])
    );
    say!("ftruncate(none) = {}", call(libc::SYS_ftruncate, [99, 0]));
    let (_, end) = pipe(0);
    say!("ftruncate(pipe) = {}", call(libc::SYS_ftruncate, [end, 0]));
}

fn dup() {
    let file = file_with(c"a", b"text");
    say!("dup = {}", call(libc::SYS_dup, [file]).from(file + 1));
    say!("dup(none) = {}", call(libc::SYS_dup, [99]));
    say!(
        "dup2(to itself) = {}",
        call(libc::SYS_dup2, [file, file]).from(file)
    );
    say!("dup2(none, to itself) = {}", call(libc::SYS_dup2, [99, 99]));
    say!("dup2(40) = {}", call(libc::SYS_dup2, [file, 40]));
    say!(
        "dup2(over the limit) = {}",
        call(libc::SYS_dup2, [file, 5000])
    );
    say!("dup2(-1) = {}", call(libc::SYS_dup2, [file, NONE]));
    say!(
        "dup3(to itself) = {}",
        call(libc::SYS_dup3, [file, file, 0])
    );
    say!(
        "dup3(unknown flag) = {}",
        call(libc::SYS_dup3, [file, 41, 1])
    );
    say!("dup3(none) = {}", call(libc::SYS_dup3, [99, 41, 0]));
    let by = |command: i32, least| call(libc::SYS_fcntl, [file, command as usize, least]);
    say!("fcntl(dup from 30) = {}", by(libc::F_DUPFD, 30));
    say!("fcntl(dup from 40) = {}", by(libc::F_DUPFD, 40));
    say!("fcntl(dup over the limit) = {}", by(libc::F_DUPFD, 1024));
    say!("fcntl(dup from -1) = {}", by(libc::F_DUPFD_CLOEXEC, NONE));
    say!("close = {}, again {}", close(40), close(40));
}

fn dup_shares() {
    let file = file_with(c"a", b"0123456789");
    let copy = call(libc::SYS_dup, [file]).value();
    let other = open(c"a", libc::O_RDWR).value();
    seek(file, 4, 0);
    say!(
        "the copy: {}, opened again: {}",
        read(copy, 2),
        read(other, 2)
    );
    say!("a child: {}", child(|| seek(file, 1, 1).value() as i32));
    say!("afterwards: {}", seek(file, 0, 1));
    call(
        libc::SYS_fcntl,
        [copy, libc::F_SETFL as usize, libc::O_APPEND as usize],
    );
    let flags = call(libc::SYS_fcntl, [file, libc::F_GETFL as usize, 0]).value();
    say!("flags are shared: {}", flags & libc::O_APPEND as usize != 0);
}

fn descriptor_limit() {
    let mut last = call(libc::SYS_dup, [1]);
    let mut count = 1;
    while !last.is_error() {
        last = call(libc::SYS_dup, [1]);
        count += 1;
    }
    say!("after more than 1000: {}, {last}", count > 1000);
    let mut ends = [-1_i32; 2];
    let pipe = call(libc::SYS_pipe2, [ends.as_mut_ptr() as usize, 0]);
    say!("pipe2 = {pipe}, open = {}", open(c"/dev/null", 0));
    close(500);
    say!(
        "one is free: pipe2 = {}",
        call(libc::SYS_pipe2, [ends.as_mut_ptr() as usize, 0])
    );
    say!("dup = {}", call(libc::SYS_dup, [1]));
}

fn fcntl() {
    let file = file_with(c"a", b"text");
    let by =
        |command: i32, argument: usize| call(libc::SYS_fcntl, [file, command as usize, argument]);
    say!("descriptor flags {}", by(libc::F_GETFD, 0));
    say!(
        "set {}, then {}",
        by(libc::F_SETFD, 5),
        by(libc::F_GETFD, 0)
    );
    say!("access {}", by(libc::F_GETFL, 0).value() & 3);
    let flags = (libc::O_NONBLOCK | libc::O_APPEND | libc::O_WRONLY) as usize;
    let answer = by(libc::F_SETFL, flags);
    let now = by(libc::F_GETFL, 0).value() & (flags | 3);
    say!("set {answer}, then {now:o}");
    say!("unknown command: {}", by(9999, 0));
    say!(
        "of none: {}",
        call(libc::SYS_fcntl, [99, libc::F_GETFD as usize, 0])
    );
    let path = open(c"a", libc::O_PATH).value();
    say!(
        "of a path: {}",
        call(libc::SYS_fcntl, [path, libc::F_SETFL as usize, 0])
    );
    say!(
        "ioctl(terminal) = {}",
        call(libc::SYS_ioctl, [file, 0x5401, KERNEL])
    );
}

fn stat() {
    let file = file_with(c"a", b"0123456789");
    let _ = fs::create_dir("d");
    let mut data = [0_u64; 18];
    let to = data.as_mut_ptr() as usize;
    let show = |answer: Answer, data: &[u64; 18]| {
        let mode = data[3] & 0xffff_ffff;
        format!(
            "{answer}, mode {mode:o}, size {}, links {}",
            data[6], data[2]
        )
    };
    let answer = call(libc::SYS_fstat, [file, to]);
    say!("file: {}", show(answer, &data));
    let answer = call(libc::SYS_stat, [address(c"d"), to]);
    say!("directory: {answer}, mode {:o}", data[3] & 0xffff_ffff);
    let answer = call(libc::SYS_stat, [address(c"/dev/null"), to]);
    say!(
        "/dev/null: {answer}, mode {:o}, device {:#x}",
        data[3] & 0xffff_ffff,
        data[5]
    );
    let (out, _) = pipe(0);
    let answer = call(libc::SYS_fstat, [out, to]);
    say!("pipe: {answer}, kind {:o}", data[3] & 0o170_000);
    let empty = libc::AT_EMPTY_PATH as usize;
    let answer = call(libc::SYS_newfstatat, [file, address(c""), to, empty]);
    say!("by an empty path: {}", show(answer, &data));
    for (name, arguments) in [
        ("empty path", [file, address(c""), to, 0]),
        ("not there", [NONE - 99, address(c"x"), to, 0]),
        ("to the kernel", [NONE - 99, address(c"a"), KERNEL, 0]),
        ("path in the kernel", [NONE - 99, KERNEL, to, 0]),
        ("unknown flag", [NONE - 99, address(c"a"), to, 0x8000]),
        ("no file", [99, address(c"a"), to, 0]),
    ] {
        say!(
            "newfstatat({name}) = {}",
            call(libc::SYS_newfstatat, arguments)
        );
    }
    say!("fstat(none) = {}", call(libc::SYS_fstat, [99, to]));
}
