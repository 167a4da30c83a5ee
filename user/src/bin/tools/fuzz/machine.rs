//! What the fuzzer does without the standard library, which would not survive it: raw
//! system calls, memory that is to be hurt, and signals.

use std::arch::asm;
use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sys::PAGE;

/// Numbers of calls that may return twice.
const RETURNS_TWICE: [i64; 4] = [
    libc::SYS_clone,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_clone3,
];

/// Makes any system call with any arguments.
///
/// Where it makes a process or a thread, that ends at once, before it touches a stack
/// that it may not have.
///
/// # Safety
///
/// Whoever calls this expects its process to be damaged, and nothing else.
pub(super) unsafe fn call(number: i64, arguments: [u64; 6]) -> i64 {
    let is_twice = RETURNS_TWICE.contains(&(number & 0xffff_ffff));
    // SAFETY: As the caller expects.
    unsafe { raw_call(number, arguments, is_twice) }
}

/// As [`call`]; zero ends the process or thread if `ends_at_zero`.
///
/// # Safety
///
/// As there; and if the call returns twice, then on stacks that are there, or it ends
/// at zero.
unsafe fn raw_call(number: i64, arguments: [u64; 6], ends_at_zero: bool) -> i64 {
    let result;
    // SAFETY: As the caller expects. The other registers stay as they are.
    unsafe {
        asm!(
            "syscall",
            "test {twice}, {twice}",
            "jz 2f",
            "test rax, rax",
            "jnz 2f",
            "3:",
            "xor edi, edi",
            "mov eax, 60",
            "syscall",
            "jmp 3b",
            "2:",
            twice = in(reg) u64::from(ends_at_zero),
            inlateout("rax") number => result,
            inlateout("rdi") arguments[0] => _,
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            // Not late: what decides about the end is looked at afterwards.
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// Makes a call that harms nobody: it changes what the kernel knows of this process,
/// but no memory.
pub(super) fn quiet_call(number: i64, arguments: [u64; 6]) -> i64 {
    // SAFETY: The callers below and in `worker` pass calls of that kind alone.
    unsafe { call(number, arguments) }
}

/// Makes a process; returns zero in it, and its identifier in this one.
///
/// The C library is not asked: its state may be gone.
pub(super) fn fork() -> io::Result<i32> {
    // SAFETY: The copy has a stack of its own, goes on with raw calls, and ends by one.
    let result = unsafe { raw_call(libc::SYS_fork, [0; 6], false) };
    match result {
        0.. => Ok(result as i32),
        error => Err(io::Error::from_raw_os_error(-error as i32)),
    }
}

/// Ends the process, at once.
pub(super) fn exit(status: i32) -> ! {
    loop {
        quiet_call(libc::SYS_exit_group, [status as u64, 0, 0, 0, 0, 0]);
    }
}

/// A process that has ended, and its status as `wait` tells it.
pub(super) fn ended_child() -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: The status is where the kernel may write it.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
        0 => Ok(None),
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Some((pid, status))),
    }
}

/// Kills a process, or, if the number is negative, a group.
pub(super) fn kill(pid: i32) {
    // SAFETY: The callers name processes of their own. What is gone is gone.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Where the board is: far from all that calls are given addresses of, since a long
/// write to the arena may go on into what lies behind it.
const BOARD: usize = 0x6123_4567_8000;

/// Words that the fuzzer and its workers share.
#[derive(Debug)]
pub(super) struct Board {
    words: &'static [AtomicU64],
}

impl Board {
    pub(super) fn new(words: usize) -> io::Result<Self> {
        let len = (words * 8).next_multiple_of(PAGE);
        let address = map(BOARD, len, libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE)?;
        // SAFETY: The words are mapped for good, by zeros, for nothing else.
        let words = unsafe { std::slice::from_raw_parts(address as *const AtomicU64, words) };
        Ok(Self { words })
    }

    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        &self.words[index]
    }
}

fn map(address: usize, len: usize, flags: i32) -> io::Result<usize> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = flags | libc::MAP_ANONYMOUS;
    // SAFETY: The kernel chooses a place, or the place is the fuzzer's own.
    let result = unsafe { libc::mmap(address as *mut libc::c_void, len, protection, flags, -1, 0) };
    if result == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(result.addr())
}

/// Pages of the arena: what can be written, only read, and not used, one after the
/// other, and then nothing.
pub(super) const WRITABLE: usize = 24;
pub(super) const READABLE: usize = 8;
pub(super) const FORBIDDEN: usize = 8;
pub(super) const HOLE: usize = 24;
const ARENA: usize = WRITABLE + READABLE + FORBIDDEN + HOLE;

/// Memory whose addresses calls are given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arena {
    pub(super) start: usize,
}

impl Arena {
    pub(super) fn new() -> io::Result<Self> {
        let start = map(0, ARENA * PAGE, libc::MAP_PRIVATE)?;
        let arena = Self { start };
        arena.restore();
        Ok(arena)
    }

    /// Makes the arena as it was, whatever has become of it.
    pub(super) fn restore(&self) {
        let fixed = libc::MAP_PRIVATE | libc::MAP_FIXED;
        // What fails leaves less to hurt. Calls are raw: they may no longer use what
        // belongs to a thread.
        let map = |page: usize, pages: usize, protection: i32| {
            let flags = fixed | libc::MAP_ANONYMOUS;
            let (start, len) = (self.start + page * PAGE, pages * PAGE);
            let numbers = [
                start,
                len,
                protection as usize,
                flags as usize,
                usize::MAX,
                0,
            ];
            // SAFETY: The pages are the arena's own.
            unsafe { call(libc::SYS_mmap, numbers.map(|number| number as u64)) };
        };
        map(0, WRITABLE, libc::PROT_READ | libc::PROT_WRITE);
        map(WRITABLE, READABLE, libc::PROT_READ);
        map(WRITABLE + READABLE, FORBIDDEN, libc::PROT_NONE);
        let hole = self.start + (WRITABLE + READABLE + FORBIDDEN) * PAGE;
        // SAFETY: As above.
        unsafe {
            call(
                libc::SYS_munmap,
                [hole as u64, (HOLE * PAGE) as u64, 0, 0, 0, 0],
            )
        };
    }

    /// Writes words; if the memory is not there any more, the process dies of it.
    pub(super) fn write(&self, address: usize, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            let place = address.wrapping_add(8 * index) as *mut u64;
            // SAFETY: Callers name places in the arena's writable part, which nothing
            // refers to. A fault ends the process, which it was made for.
            unsafe { place.write_unaligned(*word) };
        }
    }
}

/// Signals that were handled; after some, the process ends, since a handler that
/// returns to a fault would do so for ever.
static HANDLED: AtomicUsize = AtomicUsize::new(0);
const MOST_HANDLED: usize = 1000;

/// What a handler changes in the state that it returns to.
static DAMAGE: AtomicU64 = AtomicU64::new(0);

/// Returns the address of a handler that only counts.
pub(super) fn handler() -> u64 {
    count as *const () as u64
}

extern "C" fn count(_: i32) {
    // Relaxed, both: a number that orders nothing.
    if HANDLED.fetch_add(1, Ordering::Relaxed) > MOST_HANDLED {
        quiet_call(libc::SYS_exit_group, [99, 0, 0, 0, 0, 0]);
    }
}

/// Changes some words of the state that the kernel restores after it.
extern "C" fn mangle(_: i32, _: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    count(0);
    let damage = DAMAGE.load(Ordering::Relaxed);
    // SAFETY: The kernel put the context there, and it is this handler's to change.
    let vectors = unsafe { (*context).uc_mcontext.fpregs }.cast::<u64>();
    let registers = context.cast::<u64>();
    let bits = 1_u64 << (damage & 63);
    let word = (damage >> 6) as usize;
    // A context is 121 words; images of vector registers start with 64 words that have
    // the flags, and the header follows.
    let place = if damage >> 63 == 0 || vectors.is_null() {
        registers.wrapping_add(word % 121)
    } else {
        vectors.wrapping_add(word % 80)
    };
    // SAFETY: As above; both are on the stack, with more behind them.
    let old = unsafe { place.read_volatile() };
    // SAFETY: As above.
    unsafe { place.write_volatile(old ^ bits) };
}

/// Handles all signals that can be handled, but for faults: those end the process.
pub(super) fn handle_signals() {
    let faults = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
    ];
    for signal in (1..=64).filter(|signal| !faults.contains(signal)) {
        handle(signal, count as *const () as usize, 0);
    }
}

fn handle(signal: i32, handler: usize, flags: i32) {
    // SAFETY: A structure of zeros is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags | libc::SA_RESTART;
    // SAFETY: The handler is there for good; what it does, this process expects.
    unsafe { libc::sigaction(signal, &raw const action, null_mut()) };
}

/// Lets a handler damage what it returns to.
pub(super) fn return_to_damage(damage: u64) {
    DAMAGE.store(damage, Ordering::Relaxed);
    handle(
        libc::SIGUSR2,
        mangle as *const () as usize,
        libc::SA_SIGINFO,
    );
    let pid = quiet_call(libc::SYS_getpid, [0; 6]) as u64;
    let thread = quiet_call(libc::SYS_gettid, [0; 6]) as u64;
    let arguments = [pid, thread, libc::SIGUSR2 as u64, 0, 0, 0];
    quiet_call(libc::SYS_tgkill, arguments);
}
