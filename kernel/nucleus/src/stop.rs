//! Stopping all processors but one, for good: before a panic is reported, and before the
//! machine is restarted or powered off.
//!
//! Whoever comes first goes on, and interrupts the others by a non-maskable interrupt,
//! wherever they are. A processor that does not answer is not waited for without end.
//! Whoever comes second stops by itself.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use crate::arch::x86_64::timer::wait_at_most;
use crate::arch::x86_64::{cpu, irq, power};
use crate::cpu::CpuSet;

/// The processor that goes on, by its number.
static LAST: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;
/// Processors that have stopped.
static NR_STOPPED: AtomicUsize = AtomicUsize::new(0);
/// Time for them to stop before the machine ends in any case: on a machine they take
/// microseconds, on an emulator as long as the host lets them stand still.
const PATIENCE: Duration = Duration::from_secs(3);

/// Makes this processor the only one that goes on, with interrupts off; does not return
/// on any other. May be called again on the same one.
pub(crate) fn take_over() {
    irq::disable();
    let here = cpu::current_id().as_usize();
    // Relaxed, here and below: single words, and nothing is read because of them.
    match LAST.compare_exchange(NOBODY, here, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => stop_others(),
        Err(last) if last == here => {}
        Err(_) => stop(),
    }
}

fn stop_others() {
    let here = cpu::current_id();
    let mut nr_others = 0;
    for other in CpuSet::new_full().iter().filter(|other| *other != here) {
        cpu::interrupt_unmaskably(other);
        nr_others += 1;
    }
    // One that does not is beyond help.
    let _ = wait_at_most(PATIENCE, || NR_STOPPED.load(Ordering::Relaxed) >= nr_others);
}

/// Stops this processor if another one goes on alone; called by the handler of
/// non-maskable interrupts.
pub(crate) fn stop_if_told() {
    let last = LAST.load(Ordering::Relaxed);
    if last != NOBODY && last != cpu::current_id().as_usize() {
        stop();
    }
}

fn stop() -> ! {
    NR_STOPPED.fetch_add(1, Ordering::Relaxed);
    power::halt()
}
