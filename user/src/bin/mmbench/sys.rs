//! Everything that is `unsafe`: the entry, system calls, and memory that is
//! mapped by them.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

pub(crate) const PAGE: usize = 4096;

/// Numbers of calls, as Linux has them on this architecture.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Call {
    Write = 1,
    Mmap = 9,
    Mprotect = 10,
    Munmap = 11,
    SchedYield = 24,
    Getpid = 39,
    Fork = 57,
    Wait4 = 61,
    Prctl = 157,
    ExitGroup = 231,
}

const READABLE: usize = 1;
const WRITABLE: usize = 2;
const SHARED: usize = 0x1;
const PRIVATE: usize = 0x2;
const ANONYMOUS: usize = 0x20;
const NO_RESERVE: usize = 0x4000;
const POPULATE: usize = 0x8000;
/// An option of `prctl`.
const DISABLE_HUGE_PAGES: usize = 41;

/// The most arguments that are looked at, the program's name included.
const MOST_ARGUMENTS: usize = 16;

// The kernel leaves the count of arguments at the top of the stack, and pointers
// to them above it.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

extern "C" fn start(stack: *const usize) -> ! {
    let mut arguments = [&[][..]; MOST_ARGUMENTS];
    // SAFETY: The kernel put the count there.
    let count = unsafe { stack.read() }.min(MOST_ARGUMENTS);
    for (index, argument) in arguments.iter_mut().enumerate().take(count) {
        let place = stack.wrapping_add(1 + index).cast::<*const u8>();
        // SAFETY: So many pointers follow it.
        let text = unsafe { place.read() };
        // SAFETY: Each leads to a string that ends with a zero and stays.
        *argument = unsafe { until_zero(text) };
    }
    crate::run(arguments.get(..count).unwrap_or_default());
    exit(0)
}

/// Returns the bytes in front of the first that is zero.
///
/// # Safety
///
/// There is one, and all up to it can be read and stays as it is.
unsafe fn until_zero(text: *const u8) -> &'static [u8] {
    let mut len = 0;
    // SAFETY: Not beyond the zero, as the caller promises; and volatile, so that
    // this does not become a call of the C library.
    while unsafe { text.wrapping_add(len).read_volatile() } != 0 {
        len += 1;
    }
    // SAFETY: As the caller promises.
    unsafe { core::slice::from_raw_parts(text, len) }
}

/// What is left to do when an assertion of the compiler's does not hold.
#[cfg(panic = "abort")]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("an assertion")
}

/// Makes a system call; a negative result is an error's number.
///
/// # Safety
///
/// The call changes no memory that Rust knows of, except where its arguments lead.
#[inline(always)]
unsafe fn call(call: Call, arguments: [usize; 6]) -> isize {
    let result;
    // SAFETY: The kernel changes RAX, RCX and R11 alone, and memory as the caller
    // answers for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") call as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Returns what a call returned, or ends the program with a message.
#[inline(always)]
fn must(what: &str, result: isize) -> usize {
    if result < 0 {
        fail(what);
    }
    result.unsigned_abs()
}

/// Ends the program with a message.
#[cold]
#[inline(never)]
pub(crate) fn fail(what: &str) -> ! {
    write(2, b"mmbench: this failed: ");
    write(2, what.as_bytes());
    write(2, b"\n");
    exit(1)
}

/// Returns the time-stamp counter.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: Reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Goes round a loop of three instructions.
#[inline(always)]
pub(crate) fn spin(turns: u64) {
    // SAFETY: Changes a register and the flags.
    unsafe {
        asm!("2:", "nop", "dec {}", "jnz 2b", inout(reg) turns => _, options(nomem, nostack))
    };
}

/// Ends the process.
pub(crate) fn exit(status: usize) -> ! {
    loop {
        // SAFETY: Nothing runs afterwards.
        unsafe { call(Call::ExitGroup, [status, 0, 0, 0, 0, 0]) };
    }
}

/// Writes to a file; a failure leaves nobody to tell.
pub(crate) fn write(file: usize, bytes: &[u8]) {
    let place = bytes.as_ptr() as usize;
    // SAFETY: The kernel only reads the bytes.
    unsafe { call(Call::Write, [file, place, bytes.len(), 0, 0, 0]) };
}

/// The call that does least.
#[inline(always)]
pub(crate) fn process_id() -> usize {
    // SAFETY: Only returns a number.
    must("getpid", unsafe { call(Call::Getpid, [0; 6]) })
}

/// Lets the other process run.
#[inline(always)]
pub(crate) fn yield_now() {
    // SAFETY: Changes nothing.
    unsafe { call(Call::SchedYield, [0; 6]) };
}

/// Asks for pages of 4 KiB alone; a kernel that has no others may not know this.
pub(crate) fn disable_huge_pages() {
    // SAFETY: Changes no memory's contents.
    unsafe { call(Call::Prctl, [DISABLE_HUGE_PAGES, 1, 0, 0, 0, 0]) };
}

/// Runs `child` in a copy of this process, which ends then; returns its identifier.
#[inline(always)]
pub(crate) fn fork(child: impl FnOnce()) -> usize {
    // SAFETY: There are no other threads, so that all of the program is there in
    // the copy.
    match must("fork", unsafe { call(Call::Fork, [0; 6]) }) {
        0 => {
            child();
            exit(0)
        }
        child => child,
    }
}

/// Waits for a process to end, which has to do so well.
#[inline(always)]
pub(crate) fn wait(child: usize) {
    let mut status = 0_i32;
    let place = &raw mut status as usize;
    // SAFETY: The kernel writes the status, and no more.
    let result = unsafe { call(Call::Wait4, [child, place, 0, 0, 0, 0]) };
    must("wait4", result);
    if status != 0 {
        fail("a process that was forked");
    }
}

/// How memory is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Private, and there once it is touched.
    Private,
    /// Private, and more than there is memory for, if all of it were touched.
    Sparse,
    /// Private, and there at once.
    Populated,
    /// Shared with the processes that are forked.
    Shared,
}

/// Anonymous memory. It stays mapped unless it is unmapped.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: usize,
    len: usize,
}

impl Mapping {
    #[inline(always)]
    pub(crate) fn new(len: usize, kind: Kind) -> Self {
        let flags = match kind {
            Kind::Private => PRIVATE,
            Kind::Sparse => PRIVATE | NO_RESERVE,
            Kind::Populated => PRIVATE | POPULATE,
            Kind::Shared => SHARED,
        };
        let flags = flags | ANONYMOUS;
        let arguments = [0, len, READABLE | WRITABLE, flags, usize::MAX, 0];
        // SAFETY: The kernel chooses a place where nothing is.
        let address = must("mmap", unsafe { call(Call::Mmap, arguments) });
        Self { address, len }
    }

    /// Writes a byte of a page.
    #[inline(always)]
    pub(crate) fn touch(&self, offset: usize) {
        if offset >= self.len {
            fail("a touch within the mapping");
        }
        // SAFETY: The byte is in the mapping, which is writable, and which nothing
        // else refers to.
        unsafe { ((self.address + offset) as *mut u8).write_volatile(1) };
    }

    /// Writes a byte of each page in order, from page to page by a stride.
    #[inline(always)]
    pub(crate) fn touch_all(&self, stride: usize) {
        for offset in (0..self.len).step_by(stride) {
            self.touch(offset);
        }
    }

    /// Lets a range be written to, or not.
    #[inline(always)]
    pub(crate) fn protect(&self, offset: usize, len: usize, is_writable: bool) {
        let protection = if is_writable {
            READABLE | WRITABLE
        } else {
            READABLE
        };
        let arguments = [self.address + offset, len, protection, 0, 0, 0];
        // SAFETY: Contents stay as they are.
        must("mprotect", unsafe { call(Call::Mprotect, arguments) });
    }

    #[inline(always)]
    pub(crate) fn unmap(self) {
        let arguments = [self.address, self.len, 0, 0, 0, 0];
        // SAFETY: The mapping is consumed, so that nobody uses it afterwards.
        must("munmap", unsafe { call(Call::Munmap, arguments) });
    }
}

/// A page with a number that processes share.
#[derive(Debug)]
pub(crate) struct SharedNumber(Mapping);

impl SharedNumber {
    pub(crate) fn new() -> Self {
        Self(Mapping::new(PAGE, Kind::Shared))
    }

    fn number(&self) -> &AtomicU64 {
        // SAFETY: The page stays mapped as long as this value is there, is used for
        // the number alone, and starts as zeros.
        unsafe { AtomicU64::from_ptr(self.0.address as *mut u64) }
    }

    // Relaxed, both: waiting for a process orders what it wrote, and a flag that
    // ends a loop orders nothing.
    pub(crate) fn set(&self, value: u64) {
        self.number().store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.number().load(Ordering::Relaxed)
    }

    pub(crate) fn unmap(self) {
        self.0.unmap();
    }
}
