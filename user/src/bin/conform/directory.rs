//! Directories, names, devices, and what `/proc` tells.

use crate::file::{address, read, seek, write};
use crate::kit::{
    AT, Case, KERNEL, PAGE, PRIVATE, SHARED, call, child, file_with, map, open, say, unmap,
};
use std::fs;

pub(crate) const CASES: &[Case] = &[
    ("directories", directories),
    ("directories-refused", directories_refused),
    ("getdents64", entries),
    ("rename-link", rename),
    ("current-directory", current_directory),
    ("paths", paths),
    ("devices", devices),
    ("proc-self", proc_self),
    ("maps-consistent", maps),
    ("unlinked-file", unlinked),
];

fn directories() {
    let make = |path| call(libc::SYS_mkdir, [address(path), 0o755]);
    let remove = |path| call(libc::SYS_rmdir, [address(path)]);
    say!("mkdir = {}, again {}", make(c"d"), make(c"d"));
    say!(
        "mkdir(below) = {}, with a slash {}",
        make(c"d/e"),
        make(c"d/f/")
    );
    say!("rmdir(full) = {}", remove(c"d"));
    say!(
        "rmdir = {}, {}, {}",
        remove(c"d/e"),
        remove(c"d/f/"),
        remove(c"d")
    );
    say!("rmdir(again) = {}", remove(c"d"));
    let end = child(|| {
        call(libc::SYS_umask, [0o077]);
        make(c"g").error()
    });
    let mut data = [0_u64; 18];
    call(libc::SYS_stat, [address(c"g"), data.as_mut_ptr() as usize]);
    say!("with a mask: {end}, mode {:o}", data[3] & 0xffff_ffff);
}

fn directories_refused() {
    file_with(c"a", b"");
    let _ = fs::create_dir("d");
    for (name, path) in [
        ("nothing", c""),
        (".", c"."),
        ("..", c".."),
        ("/", c"/"),
        ("below a file", c"a/b"),
        ("below what is not there", c"x/y"),
        ("a file", c"a"),
        ("d/.", c"d/."),
    ] {
        let make = call(libc::SYS_mkdir, [address(path), 0o755]);
        let remove = call(libc::SYS_rmdir, [address(path)]);
        let unlink = call(libc::SYS_unlink, [address(path)]);
        say!("{name}: mkdir {make}, rmdir {remove}, unlink {unlink}");
    }
    say!(
        "unlink(directory) = {}",
        call(libc::SYS_unlink, [address(c"d")])
    );
    say!("mkdir(kernel) = {}", call(libc::SYS_mkdir, [KERNEL, 0o755]));
}

fn entries() {
    let _ = fs::create_dir("d");
    for index in 0..40 {
        let _ = fs::write(format!("d/{index:02}"), "");
    }
    let _ = fs::create_dir("d/sub");
    let file = open(c"d", libc::O_RDONLY).value();
    let mut names = Vec::new();
    let mut buffer = [0_u64; 32];
    let mut calls = 0;
    loop {
        let to = buffer.as_mut_ptr() as usize;
        let answer = call(libc::SYS_getdents64, [file, to, 256]);
        if answer.is_error() || answer.value() == 0 {
            say!("the last call: {answer}");
            break;
        }
        calls += 1;
        let mut at = 0;
        while at < answer.value() {
            let len = usize::from(crate::kit::load(to + at + 16));
            let kind = crate::kit::load(to + at + 18);
            let bytes: Vec<_> = (19..len)
                .map(|index| crate::kit::load(to + at + index))
                .collect();
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            names.push(format!("{} {kind}", String::from_utf8_lossy(name)));
            at += len;
        }
    }
    names.sort();
    say!("in several calls: {}, {} names", calls > 1, names.len());
    say!("{:?} {:?}", &names[..4], names.last());
    let mut small = [0_u64; 2];
    call(libc::SYS_lseek, [file, 0, 0]);
    say!(
        "too small: {}",
        call(
            libc::SYS_getdents64,
            [file, small.as_mut_ptr() as usize, 16]
        )
    );
    say!(
        "to the kernel: {}",
        call(libc::SYS_getdents64, [file, KERNEL, 256])
    );
    let plain = file_with(c"a", b"");
    say!(
        "of a file: {}",
        call(
            libc::SYS_getdents64,
            [plain, small.as_mut_ptr() as usize, 16]
        )
    );
    say!(
        "of none: {}",
        call(libc::SYS_getdents64, [99, small.as_mut_ptr() as usize, 16])
    );
}

fn rename() {
    file_with(c"a", b"one");
    file_with(c"b", b"two");
    let _ = fs::create_dir("d");
    let _ = fs::create_dir("e");
    let to = |from, to| call(libc::SYS_rename, [address(from), address(to)]);
    for (from, there) in [
        (c"a", c"b"),
        (c"a", c"c"),
        (c"b", c"d"),
        (c"d", c"b"),
        (c"b", c"d/b"),
        (c"e", c"d"),
        (c"d", c"d/x"),
        (c"d", c"e"),
        (c"e", c"d"),
        (c"d/b", c"d/b"),
        (c"", c"x"),
        (c"x", c""),
    ] {
        say!("rename({from:?}, {there:?}) = {}", to(from, there));
    }
    say!("{:?}", fs::read_to_string("d/b").ok());
}

fn current_directory() {
    let _ = fs::create_dir_all("d/e");
    file_with(c"a", b"");
    let go = |path| call(libc::SYS_chdir, [address(path)]);
    let here = || {
        let path = std::env::current_dir().unwrap_or_default();
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    say!("chdir = {}, in {:?}", go(c"d"), here());
    say!("chdir = {}, in {:?}", go(c"./e/../e//"), here());
    say!("chdir(file) = {}", go(c"../../a"));
    say!("chdir(not there) = {}", go(c"x"));
    say!("chdir(nothing) = {}", go(c""));
    say!("in a child: {}", child(|| go(c"..").error()));
    say!("here: {:?}", here());
    let file = open(c"..", libc::O_RDONLY).value();
    say!(
        "fchdir = {}, in {:?}",
        call(libc::SYS_fchdir, [file]),
        here()
    );
    say!("fchdir(none) = {}", call(libc::SYS_fchdir, [99]));
    let mut path = [0_u8; 64];
    let to = path.as_mut_ptr() as usize;
    go(c"/");
    say!(
        "getcwd(/) = {}, {:?}",
        call(libc::SYS_getcwd, [to, 64]),
        path[0]
    );
    say!("getcwd(1 byte) = {}", call(libc::SYS_getcwd, [to, 1]));
    say!("getcwd(nothing) = {}", call(libc::SYS_getcwd, [to, 0]));
    say!("getcwd(kernel) = {}", call(libc::SYS_getcwd, [KERNEL, 64]));
    say!("chdir(above the root) = {}, {:?}", go(c"/../.."), here());
}

fn paths() {
    let _ = fs::create_dir("d");
    file_with(c"d/a", b"text");
    for path in [
        c"d/a",
        c"./d/a",
        c"d//a",
        c"d/./a",
        c"d/../d/a",
        c"d/a/",
        c"d/a/.",
        c"d/b/../a",
        c"d/.",
        c"d/",
        c"d/..",
        c"//dev/null",
        c"/dev/../dev/null",
    ] {
        say!("{path:?}: {}", open(path, libc::O_RDONLY).ok());
    }
    let name = "x".repeat(255);
    say!("a name of 255 bytes: {:?}", fs::write(&name, "").is_ok());
    say!(
        "of 256: {:?}",
        fs::write(name + "x", "").map_err(|error| error.raw_os_error())
    );
}

fn devices() {
    let null = open(c"/dev/null", libc::O_RDWR).value();
    say!(
        "null: read {}, write {}",
        read(null, 4),
        write(null, b"text")
    );
    say!(
        "from the kernel: {}",
        call(libc::SYS_write, [null, KERNEL, 4])
    );
    let zero = open(c"/dev/zero", libc::O_RDWR).value();
    say!(
        "zero: read {}, write {}",
        read(zero, 4),
        write(zero, b"text")
    );
    say!("to the kernel: {}", call(libc::SYS_read, [zero, KERNEL, 4]));
    say!("lseek: {}, {}", seek(null, 5, 0), seek(zero, 5, 0));
    say!("below a device: {}", open(c"/dev/null/x", libc::O_RDONLY));
    say!(
        "create: {}",
        open(c"/dev/null", libc::O_CREAT | libc::O_RDWR).ok()
    );
}

fn proc_self() {
    let name = fs::read_link("/proc/self/exe").unwrap_or_default();
    say!("exe: {:?}", name.file_name());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of_interest = ["Name:", "State:", "Threads:", "VmSize:", "VmRSS:"];
    for line in status.lines() {
        if let Some(field) = of_interest.iter().find(|field| line.starts_with(**field)) {
            let is_size = field.starts_with("Vm");
            say!("{}", if is_size { field } else { line });
        }
    }
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    for field in ["MemTotal:", "MemFree:", "MemAvailable:"] {
        say!(
            "{field} {}",
            info.lines()
                .any(|line| line.starts_with(field) && line.ends_with("kB"))
        );
    }
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    say!("a processor: {}", info.starts_with("processor\t: 0"));
    say!(
        "of nobody: {:?}",
        fs::read("/proc/9999999/maps").map_err(|error| error.kind())
    );
    let write = fs::write("/proc/self/maps", "x").is_err();
    say!("maps cannot be written: {write}");
}

/// Reads the own regions: start, end, rights.
fn regions() -> Vec<(usize, usize, String)> {
    let text = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let region = |line: &str| {
        let mut words = line.split(' ');
        let (start, end) = words.next()?.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        Some((number(start)?, number(end)?, words.next()?.to_owned()))
    };
    // Where Linux's own page for calls is, Vostok has nothing.
    let all = text.lines().filter(|line| !line.contains("[vsyscall]"));
    all.filter_map(region).collect()
}

fn maps() {
    map(AT, 6, PRIVATE);
    call(libc::SYS_mprotect, [AT + PAGE, PAGE, 1]);
    call(libc::SYS_mprotect, [AT + 2 * PAGE, PAGE, 0]);
    unmap(AT + 4 * PAGE, 1);
    map(AT + 8 * PAGE, 1, SHARED);
    let all = regions();
    let is_sorted = all.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    let is_sane = all
        .iter()
        .all(|(start, end, _)| start < end && (start | end) % PAGE == 0);
    say!("sorted: {is_sorted}, sane: {is_sane}");
    for (start, end, rights) in all
        .iter()
        .filter(|(start, ..)| (AT..AT + 16 * PAGE).contains(start))
    {
        say!(
            "pages {} to {}: {rights}",
            (start - AT) / PAGE,
            (end - AT) / PAGE
        );
    }
    let has = |address: usize, rights: &str| {
        all.iter()
            .any(|(start, end, has)| (*start..*end).contains(&address) && has == rights)
    };
    let local = 0_u8;
    say!("code: {}", has(maps as *const () as usize, "r-xp"));
    say!("stack: {}", has((&raw const local) as usize, "rw-p"));
    say!("constants: {}", has(c"text".as_ptr() as usize, "r--p"));
}

fn unlinked() {
    let file = file_with(c"a", b"text");
    say!("unlink = {}", call(libc::SYS_unlink, [address(c"a")]));
    say!("open = {}", open(c"a", libc::O_RDONLY));
    seek(file, 0, 0);
    say!("still there: {}", read(file, 10));
    say!("write = {}", write(file, b" and more"));
    let mut data = [0_u64; 18];
    call(libc::SYS_fstat, [file, data.as_mut_ptr() as usize]);
    say!("size {}, links {}", data[6], data[2]);
    file_with(c"a", b"new");
    seek(file, 0, 0);
    say!("not the new one: {}", read(file, 20));
}
