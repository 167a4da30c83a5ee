//! Makes system calls with arguments that are wrong, and prints the answers.

use std::io::Error;

fn main() {
    bad_pointers();
    bad_files();
    bad_memory();
    good_memory();
    limits();
}

/// Prints what a call returned, by the name of its error.
fn report(name: &str, result: libc::c_long) {
    if result < 0 {
        println!("{name}: {}", Error::last_os_error());
    } else {
        println!("{name}: {result}");
    }
}

macro_rules! call {
    ($name:expr, $number:ident $(, $argument:expr)*) => {
        // SAFETY: The kernel checks every argument; none leads to memory that
        // the program uses.
        report($name, unsafe { libc::syscall(libc::$number $(, $argument)*) })
    };
}

const KERNEL: usize = 0xffff_8000_0000_0000;
const LAST_PAGE: usize = 0x7fff_ffff_f000;

fn bad_pointers() {
    for (name, pointer) in [
        ("null", 0),
        ("kernel", KERNEL),
        ("end", LAST_PAGE),
        ("top", usize::MAX),
    ] {
        call!(&format!("write from {name}"), SYS_write, 1, pointer, 16);
        call!(&format!("uname to {name}"), SYS_uname, pointer);
        call!(&format!("open {name}"), SYS_open, pointer, 0);
        call!(
            &format!("getrandom to {name}"),
            SYS_getrandom,
            pointer,
            8,
            0
        );
        call!(&format!("clock to {name}"), SYS_clock_gettime, 1, pointer);
        call!(&format!("writev from {name}"), SYS_writev, 1, pointer, 1);
    }
    call!("write of nothing", SYS_write, 1, 1, 0);
    call!("getrandom of nothing", SYS_getrandom, 1, 0, 0);
}

fn bad_files() {
    call!("close of none", SYS_close, 63);
    call!("close of minus one", SYS_close, -1);
    call!("write to none", SYS_write, 63, 0, 0);
    call!("read of none", SYS_read, 1_usize << 40, 0, 0);
    call!("open of nothing", SYS_open, c"".as_ptr(), 0);
    call!("open of no file", SYS_open, c"/no/such/file".as_ptr(), 0);
    call!("lseek of none", SYS_lseek, 40, 0, 0);
}

fn bad_memory() {
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let fixed = anonymous | libc::MAP_FIXED;
    call!("mmap of nothing", SYS_mmap, 0, 0, 3, anonymous, -1, 0);
    call!(
        "mmap without kind",
        SYS_mmap,
        0,
        4096,
        3,
        libc::MAP_ANONYMOUS,
        -1,
        0
    );
    call!("mmap of all", SYS_mmap, 0, usize::MAX, 3, anonymous, -1, 0);
    call!(
        "mmap of half",
        SYS_mmap,
        0,
        1_usize << 47,
        3,
        anonymous,
        -1,
        0
    );
    call!(
        "mmap at unaligned",
        SYS_mmap,
        0x5000_0001,
        4096,
        3,
        fixed,
        -1,
        0
    );
    call!("mmap at kernel", SYS_mmap, KERNEL, 4096, 3, fixed, -1, 0);
    call!(
        "mmap at last page",
        SYS_mmap,
        LAST_PAGE,
        4096,
        3,
        fixed,
        -1,
        0
    );
    call!("munmap of nothing", SYS_munmap, 0x5000_0000, 0);
    call!("munmap at unaligned", SYS_munmap, 0x5000_0001, 4096);
    call!("munmap at kernel", SYS_munmap, KERNEL, 4096);
    call!("munmap of all", SYS_munmap, 0x5000_0000, usize::MAX);
    call!("munmap of a hole", SYS_munmap, 0x5000_0000, 4096);
    call!("mprotect of a hole", SYS_mprotect, 0x5000_0000, 4096, 1);
    call!("mprotect at unaligned", SYS_mprotect, 0x5000_0001, 4096, 1);
    call!("mprotect of nothing", SYS_mprotect, 0x5000_0000, 0, 1);
    call!("madvise at unaligned", SYS_madvise, 0x5000_0001, 4096, 4);
    call!("madvise of a hole", SYS_madvise, 0x5000_0000, 4096, 4);
    call!(
        "madvise with nonsense",
        SYS_madvise,
        0x5000_0000,
        4096,
        99_999
    );
    call!("arch_prctl with nonsense", SYS_arch_prctl, 0, 0);
    call!(
        "arch_prctl beyond canonical",
        SYS_arch_prctl,
        0x1002,
        1_usize << 47
    );
}

/// Maps, protects, discards and splits a range at a fixed address.
fn good_memory() {
    const AT: usize = 0x5000_0000;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    call!("mmap of 8 pages", SYS_mmap, AT, 8 * 4096, 3, flags, -1, 0);
    call!("mmap over it", SYS_mmap, AT + 4096, 4096, 3, flags, -1, 0);
    let pages = AT as *mut u8;
    for page in 0..8 {
        // SAFETY: The pages were just mapped, and are nobody else's.
        unsafe {
            pages
                .wrapping_add(page * 4096)
                .write_volatile(page as u8 + 1)
        };
    }
    call!("mprotect of page 2", SYS_mprotect, AT + 2 * 4096, 4096, 0);
    call!("write from page 2", SYS_write, 1, AT + 2 * 4096, 1);
    call!("uname to page 2", SYS_uname, AT + 2 * 4096);
    call!("mprotect back", SYS_mprotect, AT + 2 * 4096, 4096, 1);
    call!(
        "uname to a page that is read only",
        SYS_uname,
        AT + 2 * 4096
    );
    call!("munmap of page 4", SYS_munmap, AT + 4 * 4096, 4096);
    call!("mprotect over the hole", SYS_mprotect, AT, 8 * 4096, 1);
    call!("madvise away page 5", SYS_madvise, AT + 5 * 4096, 4096, 4);
    for page in [0, 1, 2, 3, 5, 6, 7] {
        // SAFETY: These pages are mapped and can be read.
        let value = unsafe { pages.wrapping_add(page * 4096).read_volatile() };
        println!("page {page} holds {value}");
    }
    call!("munmap of all of it", SYS_munmap, AT, 8 * 4096);
    call!("write from what was", SYS_write, 1, AT, 1);
}

fn limits() {
    call!("no such call", SYS_lookup_dcookie, 0, 0, 0);
    call!("prlimit of nonsense", SYS_prlimit64, 0, 99, 0, 0);
    call!("sigaction of zero", SYS_rt_sigaction, 0, 0, 0, 8);
    call!("sigaction of kill", SYS_rt_sigaction, 9, 8, 0, 8);
    call!("sigaction with a bad size", SYS_rt_sigaction, 1, 0, 0, 4);
    call!(
        "nanosleep of nonsense",
        SYS_nanosleep,
        [-1_i64, 0].as_ptr(),
        0
    );
    call!("kill with nonsense", SYS_kill, 0, 99);
}
