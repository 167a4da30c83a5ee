//! What the cases are written with: raw system calls, children, and lines of output
//! that are the same on each run.
//!
//! Calls and accesses take numbers for addresses, and are not marked `unsafe`, although
//! a case could break its own program by them: each works on memory that it made for
//! itself, at addresses where nothing of Rust's lives, and hands only such memory, or
//! what is no memory at all, to the kernel. That is the reason behind each block here
//! that says `A case's own`.

use std::arch::asm;
use std::fmt;

use libc::{c_int, c_long};

/// The name of a case, and what it does.
pub(crate) type Case = (&'static str, fn());

pub(crate) const PAGE: usize = 4096;
/// Where cases map what has to be at a known address: nothing else is there, neither
/// on Linux nor on Vostok.
pub(crate) const AT: usize = 0x10_0000_0000;
/// A pointer into the kernel.
pub(crate) const KERNEL: usize = 0xffff_8000_0000_0000;
/// The end of what a program can map on Linux.
pub(crate) const USER_END: usize = 0x7fff_ffff_f000;
/// An address that the processor refuses whatever is mapped.
pub(crate) const NON_CANONICAL: usize = 0x8000_0000_0000_0000;
/// Minus one: no file, or no address.
pub(crate) const NONE: usize = usize::MAX;

pub(crate) const READ: usize = libc::PROT_READ as usize;
pub(crate) const WRITE: usize = libc::PROT_WRITE as usize;
pub(crate) const RW: usize = READ | WRITE;
pub(crate) const PRIVATE: usize = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
pub(crate) const SHARED: usize = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as usize;
pub(crate) const FIXED: usize = libc::MAP_FIXED as usize;

/// Prints a line by one call, so that lines of several processes do not mix.
macro_rules! say {
    ($($arguments:tt)*) => { $crate::kit::print_line(format_args!($($arguments)*)) };
}
pub(crate) use say;

/// Prints a line; see `say`.
pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    call(libc::SYS_write, [1, line.as_ptr() as usize, line.len()]);
}

/// What a call returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer(isize);

impl Answer {
    /// Returns the value, as a number that may be an address; of an error, zero.
    pub(crate) fn value(self) -> usize {
        self.0.max(0).cast_unsigned()
    }

    pub(crate) fn is_error(self) -> bool {
        (-4095..0).contains(&self.0)
    }

    /// Returns the error's number; zero if there is none.
    pub(crate) fn error(self) -> c_int {
        if self.is_error() { -self.0 as c_int } else { 0 }
    }

    /// Says whether it went well, where the value may differ from run to run.
    pub(crate) fn ok(self) -> String {
        if self.is_error() {
            self.to_string()
        } else {
            "ok".to_owned()
        }
    }

    /// Says how far an address is from where it was wanted.
    pub(crate) fn from(self, wanted: usize) -> String {
        if self.is_error() {
            self.to_string()
        } else if self.value() == wanted {
            "there".to_owned()
        } else {
            "elsewhere".to_owned()
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_error() {
            f.write_str(&error_name(self.error()))
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Makes a system call.
pub(crate) fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> Answer {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    let result;
    // SAFETY: A case's own memory, if any.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _);
    }
    Answer(result)
}

/// Maps anonymous memory that can be read and written, at a fixed place.
pub(crate) fn map(at: usize, pages: usize, kind: usize) -> Answer {
    let flags = kind | FIXED;
    call(libc::SYS_mmap, [at, pages * PAGE, RW, flags, NONE, 0])
}

pub(crate) fn unmap(at: usize, pages: usize) -> Answer {
    call(libc::SYS_munmap, [at, pages * PAGE])
}

/// Reads a byte that has to be there.
pub(crate) fn load(address: usize) -> u8 {
    // SAFETY: A case's own.
    unsafe { (address as *const u8).read_volatile() }
}

/// Writes a byte that has to be there.
pub(crate) fn store(address: usize, value: u8) {
    // SAFETY: A case's own.
    unsafe { (address as *mut u8).write_volatile(value) }
}

pub(crate) fn load_u32(address: usize) -> u32 {
    // SAFETY: A case's own.
    unsafe { (address as *const u32).read_volatile() }
}

pub(crate) fn store_u32(address: usize, value: u32) {
    // SAFETY: A case's own.
    unsafe { (address as *mut u32).write_volatile(value) }
}

pub(crate) fn load_u64(address: usize) -> u64 {
    // SAFETY: A case's own.
    unsafe { (address as *const u64).read_volatile() }
}

pub(crate) fn store_u64(address: usize, value: u64) {
    // SAFETY: A case's own.
    unsafe { (address as *mut u64).write_volatile(value) }
}

/// Says what a child gets that reads a byte: the byte, or the signal that ends it.
pub(crate) fn peek(address: usize) -> String {
    child(|| c_int::from(load(address))).replace("exit ", "")
}

/// Says what a child gets that writes a byte: nothing, or the signal that ends it.
pub(crate) fn poke(address: usize, value: u8) -> String {
    let end = child(|| {
        store(address, value);
        0
    });
    end.replace("exit 0", "written")
}

/// Runs something in a child, and says how that ended.
pub(crate) fn child(work: impl FnOnce() -> c_int) -> String {
    match fork(work) {
        Ok(process) => wait(process),
        Err(error) => format!("fork: {}", error_name(error)),
    }
}

/// Starts a child that exits with what the work returns; returns its number.
pub(crate) fn fork(work: impl FnOnce() -> c_int) -> Result<c_int, c_int> {
    // SAFETY: The child does the work and exits; threads that it lacks are not asked for.
    match unsafe { libc::fork() } {
        0 => exit(work()),
        process @ 1.. => Ok(process),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

/// Waits for a child, and says how it ended.
pub(crate) fn wait(process: c_int) -> String {
    let mut status: c_int = 0;
    let arguments = [process as usize, (&raw mut status) as usize, 0, 0];
    let answer = call(libc::SYS_wait4, arguments);
    if answer.is_error() {
        return format!("wait: {answer}");
    }
    ending(status)
}

/// Says what a status of `wait4` means.
pub(crate) fn ending(status: c_int) -> String {
    if libc::WIFSIGNALED(status) {
        signal_name(libc::WTERMSIG(status)).to_owned()
    } else if libc::WIFSTOPPED(status) {
        format!("stopped by {}", signal_name(libc::WSTOPSIG(status)))
    } else if libc::WIFCONTINUED(status) {
        "continued".to_owned()
    } else {
        format!("exit {}", libc::WEXITSTATUS(status))
    }
}

/// Ends the process at once.
pub(crate) fn exit(status: c_int) -> ! {
    // SAFETY: It ends the process.
    unsafe { libc::_exit(status) }
}

/// Sleeps for some milliseconds.
pub(crate) fn pause(milliseconds: usize) {
    let time = [0, milliseconds * 1_000_000];
    call(libc::SYS_nanosleep, [time.as_ptr() as usize, 0]);
}

/// Waits until a process sleeps in a call that a signal may interrupt, or is gone.
pub(crate) fn until_asleep(process: usize) {
    let path = format!("/proc/{process}/stat");
    while let Ok(text) = std::fs::read_to_string(&path) {
        // Behind the name, which may have any signs in it.
        let state = text.rsplit(") ").next();
        if state.is_some_and(|state| state.starts_with('S')) {
            return;
        }
        pause(1);
    }
}

/// Returns a pipe's two ends: for reading, for writing.
pub(crate) fn pipe(flags: c_int) -> (usize, usize) {
    let mut ends: [c_int; 2] = [-1; 2];
    call(
        libc::SYS_pipe2,
        [ends.as_mut_ptr() as usize, flags as usize],
    );
    (ends[0] as usize, ends[1] as usize)
}

/// Makes or opens a file.
pub(crate) fn open(path: &std::ffi::CStr, flags: c_int) -> Answer {
    let at = libc::AT_FDCWD as usize;
    call(
        libc::SYS_openat,
        [at, path.as_ptr() as usize, flags as usize, 0o644],
    )
}

/// Makes a file that holds these bytes, open for reading and writing.
pub(crate) fn file_with(path: &std::ffi::CStr, bytes: &[u8]) -> usize {
    let file = open(path, libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC).value();
    call(
        libc::SYS_write,
        [file, bytes.as_ptr() as usize, bytes.len()],
    );
    file
}

pub(crate) fn close(file: usize) -> Answer {
    call(libc::SYS_close, [file])
}

/// Returns the name of a signal.
pub(crate) fn signal_name(signal: c_int) -> &'static str {
    const NAMES: [&str; 32] = [
        "none",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let index = usize::try_from(signal).unwrap_or(NAMES.len());
    NAMES.get(index).copied().unwrap_or("another signal")
}

/// Returns the name of an error.
pub(crate) fn error_name(error: c_int) -> String {
    const NAMES: [&str; 41] = [
        "ok",
        "EPERM",
        "ENOENT",
        "ESRCH",
        "EINTR",
        "EIO",
        "ENXIO",
        "E2BIG",
        "ENOEXEC",
        "EBADF",
        "ECHILD",
        "EAGAIN",
        "ENOMEM",
        "EACCES",
        "EFAULT",
        "ENOTBLK",
        "EBUSY",
        "EEXIST",
        "EXDEV",
        "ENODEV",
        "ENOTDIR",
        "EISDIR",
        "EINVAL",
        "ENFILE",
        "EMFILE",
        "ENOTTY",
        "ETXTBSY",
        "EFBIG",
        "ENOSPC",
        "ESPIPE",
        "EROFS",
        "EMLINK",
        "EPIPE",
        "EDOM",
        "ERANGE",
        "EDEADLK",
        "ENAMETOOLONG",
        "ENOLCK",
        "ENOSYS",
        "ENOTEMPTY",
        "ELOOP",
    ];
    let index = usize::try_from(error).unwrap_or(NAMES.len());
    match (NAMES.get(index), error) {
        (Some(name), _) => (*name).to_owned(),
        (None, libc::EOVERFLOW) => "EOVERFLOW".to_owned(),
        (None, libc::EOPNOTSUPP) => "EOPNOTSUPP".to_owned(),
        (None, libc::ETIMEDOUT) => "ETIMEDOUT".to_owned(),
        (None, libc::ENOTSOCK) => "ENOTSOCK".to_owned(),
        (None, _) => format!("error {error}"),
    }
}
