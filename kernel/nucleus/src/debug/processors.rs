//! Where all processors are.
//!
//! ```text
//!  who asks                              each of the others, in its unmaskable interrupt
//!  1. forgets old answers, asks
//!  2. interrupts the others              a. finds that it was asked
//!  3. waits for them, not for long       b. notes RIP and RBP, answers
//!  4. follows the stacks that
//!     were answered, and prints
//! ```
//!
//! A handler of an unmaskable interrupt must not fault, so it follows no stack; and what
//! interrupted it goes on at once.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use super::output::Output;
use crate::arch::x86_64::cpu;
use crate::arch::x86_64::timer::wait_at_most;
use crate::cpu::{CpuId, CpuSet, MAX_CPUS};
use crate::mm::Vaddr;
use crate::panic;

/// Time for all of them to answer, before what is there is printed: microseconds on a
/// machine, and on an emulator as long as its host lets a processor stand still.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a processor answered.
struct Answer {
    is_asked: AtomicBool,
    is_given: AtomicBool,
    rip: AtomicUsize,
    rbp: AtomicUsize,
}

static ANSWERS: [Answer; MAX_CPUS] = [const {
    Answer {
        is_asked: AtomicBool::new(false),
        is_given: AtomicBool::new(false),
        rip: AtomicUsize::new(0),
        rbp: AtomicUsize::new(0),
    }
}; MAX_CPUS];

/// Says where this processor was interrupted, if it was asked; called by the handler of
/// unmaskable interrupts. `rip` is zero in ring 3. Returns whether it was asked.
pub(crate) fn answer_if_asked(rip: Vaddr, rbp: Vaddr) -> bool {
    let answer = &ANSWERS[cpu::current_id().as_usize()];
    // Acquire: pairs with the Release of whoever asks.
    let is_asked = answer.is_asked.swap(false, Ordering::Acquire);
    if is_asked {
        // Relaxed, both: published by the Release below.
        answer.rip.store(rip, Ordering::Relaxed);
        answer.rbp.store(rbp, Ordering::Relaxed);
        answer.is_given.store(true, Ordering::Release);
    }
    is_asked
}

/// Prints the calls that each processor is in.
pub(super) fn print_backtraces(out: &mut Output) -> fmt::Result {
    let here = cpu::current_id();
    panic::write_backtrace(out, here, None, panic::frame_pointer())?;
    let others = || CpuSet::new_full().iter().filter(|cpu| *cpu != here);
    for other in others() {
        let answer = &ANSWERS[other.as_usize()];
        // Relaxed: before it is asked.
        answer.is_given.store(false, Ordering::Relaxed);
        // Release: pairs with the Acquire of the handler.
        answer.is_asked.store(true, Ordering::Release);
        cpu::interrupt_unmaskably(other);
    }
    // Acquire: pairs with the Release of the handler.
    let is_given = |cpu: CpuId| ANSWERS[cpu.as_usize()].is_given.load(Ordering::Acquire);
    let _ = wait_at_most(PATIENCE, || others().all(is_given));
    for other in others() {
        let answer = &ANSWERS[other.as_usize()];
        let is_given = is_given(other);
        let [rip, rbp] = [&answer.rip, &answer.rbp].map(|word| word.load(Ordering::Relaxed));
        let number = other.as_usize();
        match (is_given, rip) {
            (false, _) => writeln!(out, "processor {number} does not answer")?,
            (true, 0) => writeln!(out, "processor {number} is in ring 3")?,
            (true, _) => panic::write_backtrace(out, other, Some(rip), rbp)?,
        }
    }
    Ok(())
}
