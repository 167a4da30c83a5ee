//! Dying on purpose, to show and to test the reports: the option `crash=`.

use core::fmt;
use core::hint::black_box;
use core::sync::atomic::AtomicU8;
use core::{mem, ptr};

use super::cmdline::Crash;
use super::start::command_line;
use crate::arch::x86_64::{breakpoints, exception_stacks};
use crate::cpu::{CpuId, CpuSet, num_cpus};
use crate::mm::kspace::KernelStack;
use crate::smp::inter_processor_call_and_wait;

/// Dies after start-up if the command line wants that.
pub(super) fn die_if_asked() {
    match command_line().crash {
        None | Some(Crash::AfterProgram) => {}
        Some(way) => die(way),
    }
}

/// Dies in a way.
fn die(way: Crash) -> ! {
    log::warn!("dying on purpose: {way:?}");
    match way {
        Crash::Null => read_null(),
        Crash::Panic => panic!("the command line asked for it"),
        Crash::OtherPanic => panic_elsewhere(),
        Crash::Message => panic_in_a_message(),
        Crash::StackOverflow => {
            recurse_for_ever(0);
        }
        Crash::DoubleFault => fault_without_a_stack(),
        Crash::WriteText => write_text(),
        Crash::RunData => run_data(),
        Crash::GuardPage => read_guard_page(),
        Crash::Canary => exception_stacks::destroy_canary(),
        Crash::NestedTrap => breakpoints::nest_debug_exceptions(),
        Crash::AfterProgram => crash_after_program(),
    }
    unreachable!("the crash did not happen")
}

/// Panics if the command line wants that when the program has ended.
///
/// # Panics
///
/// As it says.
pub fn crash_after_program() {
    let asked = command_line().crash == Some(Crash::AfterProgram);
    assert!(!asked, "the command line asked for it, after the program");
}

/// Has the last processor panic.
fn panic_elsewhere() {
    let last = CpuSet::from(CpuId::new(num_cpus() - 1));
    inter_processor_call_and_wait(&last, || panic!("another processor asked for it"));
}

/// Panics in the middle of a message, with the console's lock held.
fn panic_in_a_message() {
    struct Fatal;
    impl fmt::Display for Fatal {
        fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("a message asked for it")
        }
    }
    crate::console::println!("half of a line, and {Fatal}");
}

#[inline(never)]
fn read_null() {
    let null = black_box(ptr::null::<u64>());
    // SAFETY: Not sound at all, which is the point: page 0 is never mapped, so
    // that the processor refuses, and the kernel dies with a report.
    black_box(unsafe { ptr::read_volatile(null) });
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
#[inline(never)]
fn recurse_for_ever(depth: u64) -> u64 {
    let padding = black_box([depth; 64]);
    recurse_for_ever(depth + 1) + padding[0]
}

#[inline(never)]
fn write_text() {
    let text = black_box(write_text as *const () as *mut u8);
    // SAFETY: Not sound at all, which is the point: text cannot be written, so that the
    // processor refuses.
    unsafe { ptr::write_volatile(text, 0xcc) };
}

#[inline(never)]
fn run_data() {
    /// The instruction `ret`, in memory that can be written.
    static DATA: AtomicU8 = AtomicU8::new(0xc3);
    // SAFETY: Not sound at all, which is the point: data cannot be executed, so that the
    // processor refuses.
    let data: fn() = unsafe { mem::transmute(black_box(DATA.as_ptr())) };
    data();
}

#[inline(never)]
fn read_guard_page() {
    let stack = KernelStack::new(KernelStack::DEFAULT_SIZE).expect("memory for a stack");
    let guard = black_box(stack.bottom() - size_of::<u64>()) as *const u64;
    // SAFETY: Not sound at all, which is the point: the page is not mapped, so that the
    // processor refuses.
    black_box(unsafe { ptr::read_volatile(guard) });
}

/// Faults with a stack on which the fault cannot be delivered.
#[inline(never)]
fn fault_without_a_stack() {
    // SAFETY: Nothing is pushed, since page 0 is never mapped; the page fault
    // and the fault of its delivery make a double fault, which has a stack of
    // its own and ends the kernel.
    unsafe { core::arch::asm!("mov esp, 0x1000", "push rax", options(noreturn)) };
}
