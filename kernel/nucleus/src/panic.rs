//! The end: the report of a panic, written whatever state the machine is in.
//!
//! A report takes the console from whoever holds it, since the holder never
//! runs again, and is guarded against a second panic while it is written. Its
//! backtrace follows the chain of frame pointers with reads that may fault, so
//! that a damaged stack ends it and nothing more. `xtask` turns the addresses
//! into functions and lines as they stream by.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::x86_64::{irq, uaccess};
use crate::console::{self, println};
use crate::mm::Vaddr;
use crate::power::{self, ExitCode};
use crate::task;

/// Longest backtrace; recursion deeper than that tells nothing new.
const MAX_FRAMES: usize = 32;

static REPORTING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    irq::disable();
    task::panic_current_test(info);
    start_report();
    match info.location() {
        Some(place) => println!("kernel panic at {place}: {}", info.message()),
        None => println!("kernel panic: {}", info.message()),
    }
    print_backtrace(None, frame_pointer());
    finish_report(ExitCode::Panic)
}

/// Takes the console and shows that what follows is a report.
///
/// A panic during a report ends the machine at once.
pub(crate) fn start_report() {
    irq::disable();
    // Relaxed: only this processor writes reports; the others do not exist yet.
    if REPORTING.swap(true, Ordering::Relaxed) {
        power::exit(ExitCode::Panic);
    }
    // SAFETY: The machine stops after the report, so that no holder goes on.
    unsafe { console::force_unlock_for_panic() };
    console::panic_screen();
}

/// Ends the machine after a report.
pub(crate) fn finish_report(code: ExitCode) -> ! {
    println!("vostok: panic");
    power::exit(code)
}

/// Prints the return addresses of a chain of frame pointers, innermost first.
///
/// `first` is the address of the innermost code itself, if it is known. Of a
/// caller the address before the return address is printed, which belongs to
/// the call.
pub(crate) fn print_backtrace(first: Option<Vaddr>, frame_pointer: Vaddr) {
    println!("backtrace:");
    let callers = Frames { frame_pointer };
    for (number, address) in first
        .into_iter()
        .chain(callers)
        .take(MAX_FRAMES)
        .enumerate()
    {
        println!("  #{number} {address:#018x}");
    }
}

/// The calls on a stack, by their frame pointers.
struct Frames {
    frame_pointer: Vaddr,
}

impl Iterator for Frames {
    type Item = Vaddr;

    fn next(&mut self) -> Option<Vaddr> {
        let aligned = self.frame_pointer.is_multiple_of(size_of::<usize>());
        if !aligned || !crate::mm::kspace::layout::is_kernel_address(self.frame_pointer) {
            return None;
        }
        let next = uaccess::read_kernel_word(self.frame_pointer)?;
        let return_address = uaccess::read_kernel_word(self.frame_pointer.wrapping_add(8))?;
        // Stacks grow down, so callers are above; anything else is damage, or
        // the zero that ends the chain.
        self.frame_pointer = if next > self.frame_pointer { next } else { 0 };
        return_address.checked_sub(1)
    }
}

/// Returns the frame pointer of the caller.
#[inline(always)]
pub(crate) fn frame_pointer() -> Vaddr {
    let rbp: usize;
    // SAFETY: Copies a register.
    unsafe {
        core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags))
    };
    rbp
}
