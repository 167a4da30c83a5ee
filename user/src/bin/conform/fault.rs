//! Faults, as a handler sees them: signal, code, address, and what the processor says.

use std::arch::global_asm;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::c_int;

use crate::kit::{
    AT, Case, FIXED, KERNEL, NON_CANONICAL, NONE, PAGE, PRIVATE, READ, call, file_with, map, say,
    signal_name, unmap,
};
use crate::signal::handle;

pub(crate) const CASES: &[Case] = &[
    ("fault-memory", memory),
    ("fault-stack-growth", stack_growth),
    ("fault-file-end", file_end),
    ("fault-kernel-addresses", kernel_addresses),
    ("fault-jumps", jumps),
    ("fault-instructions", instructions),
    ("fault-arithmetic", arithmetic),
    ("fault-single-step", single_step),
    ("fault-in-handler", in_handler),
    ("fault-blocked", blocked),
    ("fault-ignored", ignored),
    ("fault-on-alternative-stack", on_alternative_stack),
    ("fault-many", many),
];

// Functions that fault, by what the emulators can do: QEMU has no SSE exceptions, no
// stack fault for what is not canonical, and no `int1`. Each leaves the stack as it found it, so that a handler can
// have it go on at `fault_done`, which returns to the caller.
global_asm!(
    ".globl fault_load, fault_store, fault_jump, fault_call, fault_done",
    "fault_load: mov al, [rdi]",
    "ret",
    "fault_store: mov [rdi], sil",
    "ret",
    "fault_jump: jmp rdi",
    "fault_done: ret",
    ".globl fault_ud2, fault_int3, fault_hlt, fault_in, fault_int, fault_divide",
    "fault_ud2: ud2",
    "ret",
    "fault_int3: int3",
    "ret",
    "fault_hlt: hlt",
    "ret",
    "fault_in: in al, 0x80",
    "ret",
    "fault_int: int 0x81",
    "ret",
    "fault_divide: xor ecx, ecx",
    "div ecx",
    "ret",
    ".globl fault_quotient, fault_wrmsr, fault_mov_cr, fault_lgdt, fault_x87",
    "fault_quotient: mov eax, 0x80000000",
    "cdq",
    "mov ecx, -1",
    "idiv ecx",
    "ret",
    "fault_wrmsr: xor ecx, ecx",
    "wrmsr",
    "ret",
    "fault_mov_cr: mov rax, cr0",
    "ret",
    "fault_lgdt: lgdt [rsp - 16]",
    "ret",
    // Divides by zero with the exception unmasked.
    "fault_x87: mov word ptr [rsp - 4], 0x037b",
    "fldcw [rsp - 4]",
    "fld1",
    "fldz",
    "fdivp",
    "fwait",
    "ret",
);

unsafe extern "C" {
    fn fault_load(address: usize);
    fn fault_store(address: usize, value: u8);
    fn fault_jump(address: usize);
    fn fault_done();
    fn fault_ud2();
    fn fault_int3();
    fn fault_hlt();
    fn fault_in();
    fn fault_int();
    fn fault_divide();
    fn fault_quotient();
    fn fault_wrmsr();
    fn fault_mov_cr();
    fn fault_lgdt();
    fn fault_x87();
}

/// What the last handler saw: signal, code, address, trap number, error code, CR2.
static SEEN: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

/// Notes what it sees, and has the program go on behind the function that faulted.
extern "C" fn recover(signal: c_int, info: *const libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: The kernel hands over a `siginfo`, whose first words these are.
    let words = unsafe { info.cast::<[u64; 3]>().read() };
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: The kernel hands over the context of what was interrupted, which nobody
    // else has.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let register = |index: c_int| registers[index as usize].cast_unsigned();
    let seen = [
        u64::from(signal.cast_unsigned()),
        words[1] & 0xffff_ffff,
        words[2],
        register(libc::REG_TRAPNO),
        register(libc::REG_ERR),
        register(libc::REG_CR2),
    ];
    for (slot, value) in SEEN.iter().zip(seen) {
        // Relaxed: the handler runs in the thread that reads this.
        slot.store(value, Ordering::Relaxed);
    }
    registers[libc::REG_RIP as usize] = fault_done as *const () as i64;
    // A handler of single steps would step for ever.
    registers[libc::REG_EFL as usize] &= !0x100;
}

fn catch_all() {
    for signal in [4, 5, 7, 8, 11] {
        handle(signal, 0, recover);
    }
}

/// Does what faults; says what the handler saw, with addresses relative to `wanted`.
fn describe(wanted: usize, fault: impl FnOnce()) -> String {
    SEEN[0].store(0, Ordering::Relaxed);
    fault();
    let [signal, code, address, trap, error, cr2] =
        [0, 1, 2, 3, 4, 5].map(|index: usize| SEEN[index].load(Ordering::Relaxed));
    if signal == 0 {
        return "no fault".to_owned();
    }
    let place = match address as usize {
        address if address == wanted => "there".to_owned(),
        address @ 0..0x1000 => format!("at {address}"),
        _ => "elsewhere".to_owned(),
    };
    let code = (code as u32).cast_signed();
    // Whether the page was there is the kernel's affair, and what else the processor
    // says is not the same on all emulators.
    let page = if trap == 14 {
        format!(" error {:#x}, cr2 {}", error & !1, cr2 as usize == wanted)
    } else {
        String::new()
    };
    let signal = signal_name(signal as c_int);
    format!("{signal} code {code} {place}, trap {trap}{page}")
}

fn load(address: usize) -> String {
    // SAFETY: The handler has it go on.
    describe(address, || unsafe { fault_load(address) })
}

fn store(address: usize) -> String {
    // SAFETY: As above; what it may write is a case's own.
    describe(address, || unsafe { fault_store(address, 1) })
}

fn jump(address: usize) -> String {
    // SAFETY: As above.
    describe(address, || unsafe { fault_jump(address) })
}

fn memory() {
    catch_all();
    map(AT, 3, PRIVATE);
    unmap(AT + PAGE, 1);
    for (name, protection) in [("rw", 3), ("r", 1), ("rx", 5), ("none", 0)] {
        call(libc::SYS_mprotect, [AT, PAGE, protection]);
        say!("{name}: read {}", load(AT + 5));
        say!("{name}: write {}", store(AT + 5));
    }
    say!("no page: read {}", load(AT + PAGE + 7));
    say!("no page: write {}", store(AT + PAGE + 7));
    for address in [0, 1, 8, 4095] {
        say!("{address}: read {}", load(address));
        say!("{address}: write {}", store(address));
    }
    say!("own code: write {}", store(memory as *const () as usize));
    let text = c"text".as_ptr() as usize;
    say!("own constants: write {}", store(text));
}

fn stack_growth() {
    // peer_096
    catch_all();
    let flags = PRIVATE | FIXED | libc::MAP_GROWSDOWN as usize;
    call(libc::SYS_mmap, [AT, PAGE, 3, flags, NONE, 0]);
    map(AT - 270 * PAGE, 1, PRIVATE);
    for pages in [1, 2, 12, 13, 14, 15, 100, 269] {
        say!("{pages} pages down: {}", store(AT - pages * PAGE));
    }
}

fn file_end() {
    catch_all();
    let file = file_with(c"a", b"text");
    call(libc::SYS_mmap, [AT, 2 * PAGE, 3, FIXED | 1, file, 0]);
    say!("in the file: {}", load(AT));
    say!("behind it, in its page: {}", store(AT + 100));
    say!("read behind its page: {}", load(AT + PAGE));
    say!("write behind its page: {}", store(AT + PAGE + 9));
    call(libc::SYS_mprotect, [AT, 2 * PAGE, READ]);
    say!("write, what is read only: {}", store(AT + PAGE));
}

fn kernel_addresses() {
    catch_all();
    for (name, address) in [
        ("first of the kernel's", KERNEL),
        ("in the middle", 0xffff_c000_0000_0000),
        ("image", 0xffff_ffff_8000_0000),
        ("last page", usize::MAX - PAGE + 1),
        ("last byte", usize::MAX),
        ("end of user space", 0x7fff_ffff_f000),
        ("last of the lower half", 0x7fff_ffff_ffff),
        ("2^63", NON_CANONICAL),
    ] {
        say!("{name}: read {}", load(address));
        say!("{name}: write {}", store(address));
    }
}

fn jumps() {
    catch_all();
    map(AT, 1, PRIVATE);
    say!("data: {}", jump(AT));
    call(libc::SYS_mprotect, [AT, PAGE, READ]);
    say!("what is read only: {}", jump(AT));
    say!("no page: {}", jump(AT + PAGE));
    say!("null: {}", jump(0));
    say!("kernel: {}", jump(KERNEL));
    say!("2^63: {}", jump(NON_CANONICAL));
}

fn instructions() {
    catch_all();
    for (name, function) in [
        ("ud2", fault_ud2 as unsafe extern "C" fn()),
        ("int3", fault_int3),
        ("hlt", fault_hlt),
        ("in", fault_in),
        ("int 0x81", fault_int),
        ("wrmsr", fault_wrmsr),
        ("mov from cr0", fault_mov_cr),
        ("lgdt", fault_lgdt),
    ] {
        // SAFETY: The handler has it go on.
        say!("{name}: {}", describe(NONE, || unsafe { function() }));
    }
}

/// The address of these is the instruction's.
fn arithmetic() {
    catch_all();
    let near = |function: unsafe extern "C" fn()| {
        // SAFETY: The handler has it go on.
        let text = describe(NONE, || unsafe { function() });
        let address = SEEN[2].load(Ordering::Relaxed) as usize;
        let start = function as usize;
        format!("{text}, near: {}", (start..start + 64).contains(&address))
    };
    say!("divide by zero: {}", near(fault_divide));
    say!("quotient too large: {}", near(fault_quotient));
    say!("x87: {}", near(fault_x87));
    say!("ud2: {}", near(fault_ud2));
}

extern "C" fn count_steps(_: c_int, _: *const libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: As in `recover`.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    // Relaxed: as in `recover`.
    if SEEN[0].fetch_add(1, Ordering::Relaxed) == 4 {
        registers[libc::REG_EFL as usize] &= !0x100;
    }
}

fn single_step() {
    handle(libc::SIGTRAP, 0, count_steps);
    SEEN[0].store(0, Ordering::Relaxed);
    // SAFETY: The flag raises an exception after each instruction, until the handler
    // takes it away.
    unsafe {
        std::arch::asm!(
            "pushfq",
            "or dword ptr [rsp], 0x100",
            "popfq",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
        );
    }
    say!("steps: {}", SEEN[0].load(Ordering::Relaxed));
    SEEN[0].store(0, Ordering::Relaxed);
    // A call is one step.
    // SAFETY: As above.
    unsafe {
        std::arch::asm!(
            "pushfq", "or dword ptr [rsp], 0x100", "popfq", "mov eax, 39", "syscall",
            "nop", "nop", "nop", "nop", "nop", "nop",
            out("rax") _, out("rcx") _, out("r11") _,
        );
    }
    say!("steps over a call: {}", SEEN[0].load(Ordering::Relaxed));
}

extern "C" fn fault_again(_: c_int, _: *const libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: It faults, and ends the process.
    unsafe { fault_load(8) };
}

fn in_handler() {
    let end = crate::kit::child(|| {
        handle(libc::SIGSEGV, 0, fault_again);
        // SAFETY: As above.
        unsafe { fault_load(16) };
        3
    });
    say!("a fault while it is handled: {end}");
}

fn block(signal: c_int) {
    let set = [1_u64 << (signal - 1)];
    call(libc::SYS_rt_sigprocmask, [0, set.as_ptr() as usize, 0, 8]);
}

fn blocked() {
    catch_all();
    let end = crate::kit::child(|| {
        block(libc::SIGSEGV);
        let pid = call(libc::SYS_getpid, []).value();
        say!("kill, blocked = {}", call(libc::SYS_kill, [pid, 11]));
        say!("{}", load(8));
        3
    });
    say!("a fault that is blocked: {end}");
    let end = crate::kit::child(|| {
        block(libc::SIGTRAP);
        // SAFETY: It ends the process.
        unsafe { fault_int3() };
        4
    });
    say!("a trap that is blocked: {end}");
}

fn ignored() {
    for (signal, function) in [
        (libc::SIGILL, fault_ud2 as unsafe extern "C" fn()),
        (libc::SIGFPE, fault_divide),
    ] {
        let end = crate::kit::child(|| {
            // SAFETY: It installs no handler.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
            // SAFETY: It ends the process.
            unsafe { function() };
            5
        });
        say!("{} that is ignored: {end}", signal_name(signal));
    }
}

extern "C" fn where_am_i(signal: c_int, info: *const libc::siginfo_t, context: *mut libc::c_void) {
    let local = 0_u8;
    let is_there = (AT..AT + 16 * PAGE).contains(&((&raw const local) as usize));
    say!("  on it: {is_there}");
    recover(signal, info, context);
}

fn on_alternative_stack() {
    map(AT, 16, PRIVATE);
    let stack = [AT, 0, 16 * PAGE];
    call(libc::SYS_sigaltstack, [stack.as_ptr() as usize, 0]);
    handle(libc::SIGSEGV, libc::SA_ONSTACK, where_am_i);
    say!("{}", load(8));
    say!("{}", store(24));
}

fn many() {
    catch_all();
    let mut caught = 0;
    for round in 0..2000_usize {
        caught += usize::from(load(round % PAGE).starts_with("SIGSEGV"));
    }
    say!("caught: {caught}");
}
