//! The debug menu: what the kernel says of itself whatever state it is in.
//!
//! Print Screen on the keyboard, or a break on the serial line, and then a letter. It is
//! for a machine that does not go on: **no lock is waited for**, and nothing is allocated.
//! What runs goes on running meanwhile, and afterwards.
//!
//! What it needs: the boot processor takes interrupts, by a line or by its tick, and the
//! lock of what was typed is free, which is held for a moment only.
//!
//! * **Output** ([`output`]): the console, if its locks are free within a moment;
//!   otherwise the serial port's registers, beside whoever has the port.
//! * **Tasks** ([`tasks`]): the [roll](crate::task::roll), of which a look keeps nobody
//!   for longer than it takes to copy some words.
//! * **Where processors are** ([`processors`]): each is interrupted unmaskably and notes
//!   two registers; the stacks are read by whoever asked, with reads that may fault.
//! * **The page table** ([`listing`](crate::mm::inspect::listing)) and the **events**
//!   ([`trace`]) are read as they are.
//! * **Counts** ([`counts`]): words that are read as they are.
//!
//! **What may be stale.** All of it: each word is read once, at a moment of its own. Sums
//! need not agree, a task may have gone on since its state was read, and a backtrace of
//! what runs on may lead nowhere after some calls. A pool whose lock is taken is said to be
//! so instead of counted.

mod counts;
pub(crate) mod output;
pub(crate) mod processors;
mod tasks;
#[cfg(ktest)]
mod tests;

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use self::output::Output;
use crate::mm::inspect::listing::write_kernel_half;
use crate::{irq, power, trace};

/// Somebody prints.
static IS_BUSY: AtomicBool = AtomicBool::new(false);

/// What the letters do.
const HELP: &str = "\
debug: h  this list\n\
debug: t  tasks of all processors\n\
debug: m  memory\n\
debug: i  interrupts\n\
debug: p  the kernel's page table\n\
debug: e  the last events of all processors\n\
debug: b  backtraces of all processors\n\
debug: s  backtraces of all tasks that sleep\n\
debug: r  restart the machine\n\
debug: o  power it off\n\
debug: any other key: go on\n";

/// Says that a letter is expected.
pub(crate) fn announce() {
    with_output(|out| out.write_str("debug: type a letter; h lists them\n"));
}

/// Does what a letter says, with interrupts off. Callable in any context but an unmaskable
/// interrupt's; may not return.
pub(crate) fn command(letter: u8) {
    match letter.to_ascii_lowercase() {
        b'h' | b'?' => with_output(|out| out.write_str(HELP)),
        b't' => with_output(tasks::print),
        b's' => with_output(tasks::print_sleepers),
        b'm' => with_output(counts::print_memory),
        b'i' => with_output(counts::print_interrupts),
        b'p' => with_output(|out| write_kernel_half(out)),
        b'e' => with_output(trace::report::write_latest_events),
        b'b' => with_output(processors::print_backtraces),
        b'r' => power::restart(),
        b'o' => power::power_off(),
        _ => with_output(|out| out.write_str("debug: going on\n")),
    }
}

/// Prints by a function; nothing if somebody prints already.
fn with_output(print: impl FnOnce(&mut Output) -> core::fmt::Result) {
    let _irq_off = irq::disable_local();
    // Acquire and Release: one after the other.
    if !IS_BUSY.swap(true, Ordering::Acquire) {
        // The output never fails; a failing `Display` just ends early.
        let _ = print(&mut Output::begin());
        IS_BUSY.store(false, Ordering::Release);
    }
}
