//! The return from a handler, whose frame a program can change as it likes (peer 93):
//! whatever it holds, the kernel goes on, and so does the program, or it ends.

use std::arch::asm;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::c_int;

use crate::kit::{
    AT, Case, KERNEL, NON_CANONICAL, PAGE, PRIVATE, call, child, load_u64, map, say, store_u64,
};
use crate::signal::handle;

pub(crate) const CASES: &[Case] = &[
    ("peer_093-selectors", selectors),
    ("peer_093-flags", flags),
    ("peer_093-instruction-pointer", instruction_pointer),
    ("peer_093-stack-pointer", stack_pointer),
    ("peer_093-vector-state", vector_state),
    ("peer_093-vector-pointer", vector_pointer),
    ("peer_093-without-a-frame", without_a_frame),
    ("sigreturn-keeps-registers", keeps_registers),
    ("sigreturn-keeps-vectors", keeps_vectors),
    ("sigreturn-mask-and-stack", mask_and_stack),
];

/// What the handler is to do to the frame: which change, and a number for it.
static CHANGE: AtomicUsize = AtomicUsize::new(0);
static NUMBER: AtomicUsize = AtomicUsize::new(0);

const SELECTORS: usize = 1;
const FLAGS: usize = 2;
const RIP: usize = 3;
const RSP: usize = 4;
const VECTOR_WORD: usize = 5;
const VECTOR_POINTER: usize = 6;
const MASK: usize = 7;

/// Changes the frame as it was told to.
extern "C" fn change(_: c_int, _: *const libc::siginfo_t, context: *mut libc::c_void) {
    // Relaxed: told by this thread.
    let (change, number) = (
        CHANGE.load(Ordering::Relaxed),
        NUMBER.load(Ordering::Relaxed),
    );
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: The kernel hands over the context of what was interrupted, which nobody
    // else has.
    let frame = unsafe { &mut *context };
    let registers = &mut frame.uc_mcontext.gregs;
    let value = number as i64;
    match change {
        SELECTORS => registers[libc::REG_CSGSFS as usize] = value,
        FLAGS => registers[libc::REG_EFL as usize] |= value,
        RIP => registers[libc::REG_RIP as usize] = value,
        RSP => registers[libc::REG_RSP as usize] = value,
        VECTOR_WORD => {
            // The number is an offset, and which bit to turn.
            let at = frame.uc_mcontext.fpregs as usize + (number & 0xffff);
            store_u64(at, load_u64(at) ^ 1 << (number >> 16));
        }
        VECTOR_POINTER => frame.uc_mcontext.fpregs = number as *mut _,
        MASK => {
            // SAFETY: It is a set.
            unsafe { libc::sigaddset(&raw mut frame.uc_sigmask, number as c_int) };
        }
        _ => {}
    }
}

/// Has a child return from a handler by a changed frame.
fn return_with(what: usize, number: usize) -> String {
    child(|| {
        raise_with(what, number);
        0
    })
}

fn raise_with(what: usize, number: usize) {
    handle(libc::SIGUSR1, 0, change);
    CHANGE.store(what, Ordering::Relaxed);
    NUMBER.store(number, Ordering::Relaxed);
    let pid = call(libc::SYS_getpid, []).value();
    call(libc::SYS_kill, [pid, libc::SIGUSR1 as usize]);
}

fn selectors() {
    // CS in the low half, SS in the high one; 0x33 and 0x2b are the user's.
    for (name, cs, ss) in [
        ("as they are", 0x33_usize, 0x2b_usize),
        ("the kernel's code", 0x10, 0x2b),
        ("no code", 0, 0x2b),
        ("code beyond the table", 0xfff8, 0x2b),
        ("data for code", 0x2b, 0x2b),
        ("the kernel's stack", 0x33, 0x18),
        ("no stack", 0x33, 0),
        ("code for the stack", 0x33, 0x33),
        ("stack beyond the table", 0x33, 0xfff8),
        ("a local table", 0x37, 0x2f),
    ] {
        say!("{name}: {}", return_with(SELECTORS, cs | ss << 48));
    }
}

fn flags() {
    // I/O privilege, nested task, virtual mode, and what is reserved.
    let end = child(|| {
        raise_with(
            FLAGS,
            0x3000 | 0x4000 | 0x2_0000 | 0x18_0000 | 0x28 | 1 << 40,
        );
        let flags: u64;
        // SAFETY: It reads the flags, by a push and a pop.
        unsafe { asm!("pushfq", "pop {}", out(reg) flags) };
        say!("  flags {:#x}", flags & !0xcd5);
        0
    });
    say!("{end}");
    say!(
        "alignment check: {}",
        child(|| {
            raise_with(FLAGS, 0x4_0000);
            let flags: u64;
            // SAFETY: As above; the flag is taken away again, before what is not aligned.
            unsafe { asm!("pushfq", "pop {0}", "push 0x202", "popfq", out(reg) flags) };
            i32::from(flags & 0x4_0000 != 0)
        })
    );
    say!(
        "direction: {}",
        child(|| {
            raise_with(FLAGS, 0x400);
            let flags: u64;
            // SAFETY: As above; the flag is taken away before anything relies on it.
            unsafe { asm!("pushfq", "pop {0}", "cld", out(reg) flags) };
            i32::from(flags & 0x400 != 0)
        })
    );
    say!("single step: {}", return_with(FLAGS, 0x100));
}

fn instruction_pointer() {
    for (name, to) in [
        ("0", 0),
        ("kernel", KERNEL),
        ("2^47", 1 << 47),
        ("last before 2^47", (1 << 47) - 1),
        ("not canonical", NON_CANONICAL),
        ("all", usize::MAX),
        ("nothing there", AT),
    ] {
        say!("{name}: {}", return_with(RIP, to));
    }
}

fn stack_pointer() {
    for (name, to) in [
        ("0", 0),
        ("kernel", KERNEL),
        ("not canonical", NON_CANONICAL),
        ("nothing there", AT),
        ("all", usize::MAX),
    ] {
        say!("{name}: {}", return_with(RSP, to));
    }
}

/// Bits of the image of the vector registers: 512 bytes as FXSAVE has them, then the
/// header of XSAVE.
fn vector_state() {
    const MXCSR: usize = 24;
    const SIZE: usize = 464;
    const HEADER: usize = 512;
    for (name, offset, bit) in [
        ("a register", 160, 5),
        ("a reserved bit of MXCSR", MXCSR, 16),
        ("another one", MXCSR, 31),
        ("the magic number", SIZE, 3),
        ("the size", SIZE + 4, 30),
        ("the features", SIZE + 8, 60),
        ("a present feature", HEADER, 1),
        ("an absent feature", HEADER, 40),
        ("the last feature", HEADER, 63),
        ("compaction", HEADER + 8, 63),
        ("compaction of a feature", HEADER + 8, 1),
        ("what is reserved", HEADER + 16, 0),
    ] {
        say!("{name}: {}", return_with(VECTOR_WORD, offset | bit << 16));
    }
}

fn vector_pointer() {
    map(AT, 4, PRIVATE);
    for (name, to) in [
        ("none", 0),
        ("zeros", AT),
        ("zeros, not aligned", AT + 8),
        ("into what is not there", AT + 4 * PAGE - 64),
        ("nothing there", AT + 16 * PAGE),
        ("kernel", KERNEL),
        ("not canonical", NON_CANONICAL),
        ("end of user space", 0x7fff_ffff_f000 - 64),
    ] {
        say!("{name}: {}", return_with(VECTOR_POINTER, to));
    }
}

/// Returns from a handler that never ran, with a stack of the program's choice.
fn without_a_frame() {
    let back = |stack: usize| {
        child(|| {
            // SAFETY: Not sound, which is the point: there is no frame.
            unsafe { asm!("mov rsp, {0}", "mov eax, 15", "syscall", "ud2", in(reg) stack) };
            9
        })
    };
    map(AT, 4, PRIVATE);
    say!("zeros: {}", back(AT));
    (0..4 * PAGE)
        .step_by(8)
        .for_each(|offset| store_u64(AT + offset, u64::MAX));
    say!("ones: {}", back(AT));
    say!("ones, not aligned: {}", back(AT + 13));
    say!("into what is not there: {}", back(AT + 4 * PAGE - 64));
    say!("nothing there: {}", back(AT + 64 * PAGE));
    say!("kernel: {}", back(KERNEL));
    say!("not canonical: {}", back(NON_CANONICAL));
}

extern "C" fn clobber(_: c_int, _: *const libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: It says what it clobbers.
    unsafe {
        asm!("xorps xmm8, xmm8", "xorps xmm15, xmm15", "mov r12, -1", "mov r13, -1", "std", "cld",
            out("xmm8") _, out("xmm15") _, out("r12") _, out("r13") _);
    }
}

fn keeps_registers() {
    handle(libc::SIGUSR1, 0, clobber);
    let pid = call(libc::SYS_getpid, []).value();
    let (r8, r9, r10, r12, r13): (u64, u64, u64, u64, u64);
    // SAFETY: A call that sends a signal to this process.
    unsafe {
        asm!("mov r8, 8", "mov r9, 9", "mov r10, 10", "mov r12, 12", "mov r13, 13", "syscall",
            inlateout("rax") libc::SYS_kill => _, in("rdi") pid, in("rsi") libc::SIGUSR1,
            lateout("r8") r8, lateout("r9") r9, lateout("r10") r10, lateout("r12") r12,
            lateout("r13") r13, lateout("rcx") _, lateout("r11") _);
    }
    say!("registers: {r8} {r9} {r10} {r12} {r13}");
}

fn keeps_vectors() {
    handle(libc::SIGUSR1, 0, clobber);
    let pid = call(libc::SYS_getpid, []).value();
    let (low, high): (u64, u64);
    // SAFETY: As above.
    unsafe {
        asm!("mov r8, 0x1122", "movq xmm8, r8", "movq xmm15, r8", "syscall", "movq r8, xmm8",
            "movq r9, xmm15", inlateout("rax") libc::SYS_kill => _, in("rdi") pid,
            in("rsi") libc::SIGUSR1, lateout("r8") low, lateout("r9") high, lateout("rcx") _,
            lateout("r11") _, lateout("xmm8") _, lateout("xmm15") _);
    }
    say!("vectors: {low:#x} {high:#x}");
    // The handler itself starts with clean ones.
    let end = child(|| {
        let low: u64;
        // SAFETY: It reads a register's initial value from a new program's view.
        unsafe { asm!("stmxcsr [rsp - 4]", "mov {0:e}, [rsp - 4]", out(reg) low) };
        i32::from(low & 0xffff == 0x1f80)
    });
    say!("control word of a child: {end}");
}

fn mask_and_stack() {
    let mut mask = [0_u64];
    raise_with(MASK, libc::SIGUSR2 as usize);
    call(
        libc::SYS_rt_sigprocmask,
        [0, 0, mask.as_mut_ptr() as usize, 8],
    );
    say!("mask, as the frame had it: {mask:x?}");
    raise_with(MASK, libc::SIGKILL as usize);
    call(
        libc::SYS_rt_sigprocmask,
        [0, 0, mask.as_mut_ptr() as usize, 8],
    );
    say!("one that cannot be blocked: {mask:x?}");
}
