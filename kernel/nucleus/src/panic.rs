//! The end: the report of a panic, written whatever state the machine is in.
//!
//! A report takes the console from whoever holds it, since the holder never
//! runs again, and is guarded against a second panic while it is written. Its
//! backtrace follows the chain of frame pointers with reads that may fault, so
//! that a damaged stack ends it and nothing more. `xtask` turns the addresses
//! into functions and lines as they stream by.
//!
//! The processor that panics first reports; it [stops](crate::stop) the others before it
//! writes.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::x86_64::{cpu, irq, uaccess};
use crate::boot::image;
use crate::console::{self, println};
use crate::cpu::CpuId;
use crate::mm::Vaddr;
use crate::power::{self, ExitCode};
use crate::{stop, task, trace};

/// Longest backtrace; recursion deeper than that tells nothing new.
const MAX_FRAMES: usize = 32;

/// A report is being written.
static IS_REPORTING: AtomicBool = AtomicBool::new(false);

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
/// A panic during a report ends the machine at once; one on another processor
/// stops that.
pub(crate) fn start_report() {
    stop::take_over();
    // Relaxed: this processor's own from here on.
    if IS_REPORTING.swap(true, Ordering::Relaxed) {
        power::exit(ExitCode::Panic);
    }
    // SAFETY: The machine stops after the report, so that no holder goes on.
    unsafe { console::force_unlock_for_panic() };
    console::panic_screen();
}

/// Ends the machine after a report.
pub(crate) fn finish_report(code: ExitCode) -> ! {
    trace::print_latest();
    println!("vostok: panic");
    power::exit(code)
}

/// Prints the return addresses of a chain of frame pointers of this processor, innermost
/// first: as [`write_backtrace`].
pub(crate) fn print_backtrace(first: Option<Vaddr>, frame_pointer: Vaddr) {
    // The console never fails.
    let _ = write_backtrace(
        &mut console::Printer,
        cpu::current_id(),
        first,
        frame_pointer,
    );
}

/// Writes the return addresses of a chain of frame pointers of a processor, innermost
/// first.
///
/// `first` is the address of the innermost code itself, if it is known. Of a
/// caller the address before the return address is printed, which belongs to
/// the call. The image's base is said again, for those who see no other line of the log.
pub(crate) fn write_backtrace(
    out: &mut impl Write,
    cpu: CpuId,
    first: Option<Vaddr>,
    frame_pointer: Vaddr,
) -> fmt::Result {
    writeln!(
        out,
        "backtrace of processor {} (image base {:#x}):",
        cpu.as_usize(),
        image::base()
    )?;
    write_calls(out, first, frame_pointer)
}

/// Writes the addresses of [`write_backtrace`] alone.
pub(crate) fn write_calls(
    out: &mut impl Write,
    first: Option<Vaddr>,
    frame_pointer: Vaddr,
) -> fmt::Result {
    let callers = Frames { frame_pointer };
    let calls = first.into_iter().chain(callers).take(MAX_FRAMES);
    for (number, address) in calls.enumerate() {
        writeln!(out, "  #{number} {address:#018x}")?;
    }
    Ok(())
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
