//! The end: the report of a panic, written whatever state the machine is in.
//!
//! A report takes the console from whoever holds it, since the holder never
//! runs again, and is guarded against a second panic while it is written. Its
//! backtrace follows the chain of frame pointers with reads that may fault, so
//! that a damaged stack ends it and nothing more. `xtask` turns the addresses
//! into functions and lines as they stream by.
//!
//! The processor that panics first reports; it stops the others by a non-maskable
//! interrupt, wherever they are, before it writes.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::x86_64::{cpu, irq, power as machine, uaccess};
use crate::boot::image;
use crate::console::{self, println};
use crate::cpu::CpuSet;
use crate::mm::Vaddr;
use crate::power::{self, ExitCode};
use crate::{task, trace};

/// Longest backtrace; recursion deeper than that tells nothing new.
const MAX_FRAMES: usize = 32;

/// The processor that reports, by its number.
static REPORTER: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;
/// Processors that have stopped for the report.
static NR_STOPPED: AtomicUsize = AtomicUsize::new(0);
/// Looks at that count before the report is written in any case.
const STOP_POLLS: usize = 10_000_000;

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
    irq::disable();
    let here = cpu::current_id().as_usize();
    // Relaxed, here and below: single words, and nothing is read because of them.
    let first = REPORTER.compare_exchange(NOBODY, here, Ordering::Relaxed, Ordering::Relaxed);
    match first {
        Ok(_) => stop_others(),
        Err(reporter) if reporter == here => power::exit(ExitCode::Panic),
        Err(_) => stop(),
    }
    // SAFETY: The machine stops after the report, so that no holder goes on.
    unsafe { console::force_unlock_for_panic() };
    console::panic_screen();
}

/// Stops all other processors; gives up on one that does not answer.
fn stop_others() {
    let here = cpu::current_id();
    let mut nr_others = 0;
    for other in CpuSet::new_full().iter().filter(|other| *other != here) {
        cpu::interrupt_to_stop(other);
        nr_others += 1;
    }
    for _ in 0..STOP_POLLS {
        if NR_STOPPED.load(Ordering::Relaxed) >= nr_others {
            return;
        }
        core::hint::spin_loop();
    }
}

/// Stops this processor if another one reports a panic; called by the handler of
/// non-maskable interrupts.
pub(crate) fn stop_if_reported() {
    let reporter = REPORTER.load(Ordering::Relaxed);
    if reporter != NOBODY && reporter != cpu::current_id().as_usize() {
        stop();
    }
}

fn stop() -> ! {
    NR_STOPPED.fetch_add(1, Ordering::Relaxed);
    machine::halt()
}

/// Ends the machine after a report.
pub(crate) fn finish_report(code: ExitCode) -> ! {
    trace::print_latest();
    println!("vostok: panic");
    power::exit(code)
}

/// Prints the return addresses of a chain of frame pointers, innermost first.
///
/// `first` is the address of the innermost code itself, if it is known. Of a
/// caller the address before the return address is printed, which belongs to
/// the call. The image's base is said again, for those who see no other line of the log.
pub(crate) fn print_backtrace(first: Option<Vaddr>, frame_pointer: Vaddr) {
    println!(
        "backtrace of processor {} (image base {:#x}):",
        cpu::current_id().as_usize(),
        image::base()
    );
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
