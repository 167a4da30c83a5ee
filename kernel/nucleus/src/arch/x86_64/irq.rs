//! The interrupt flag of the processor (SDM vol. 3A, 6.8.1), counted.

use x86_64::instructions::interrupts;

use super::local;
use crate::task::scheduler;

/// Switches interrupts off and remembers, in the outermost call, how they were.
pub(crate) fn enter_disabled() {
    let was_enabled = interrupts::are_enabled();
    interrupts::disable();
    local::current().irq_guards.enter(was_enabled);
}

/// Undoes one [`enter_disabled`]; the last one restores the flag.
pub(crate) fn leave_disabled() {
    if local::current().irq_guards.leave() {
        interrupts::enable();
        if local::is_reschedule_due() {
            scheduler::reschedule();
        }
    }
}

/// Returns whether the interrupt flag is set.
pub(crate) fn is_enabled() -> bool {
    interrupts::are_enabled()
}

/// Sets the interrupt flag; for the ends of start-up and of an abandoned task.
pub(crate) fn enable() {
    interrupts::enable();
}

/// Clears the interrupt flag for good; for the ways into and out of ring 3.
pub(crate) fn disable() {
    interrupts::disable();
}

/// Clears the interrupt flag for good; returns whether it was set as far as guards say.
#[inline]
pub(crate) fn disable_if_free() -> bool {
    interrupts::disable();
    local::current().irq_guards.is_free()
}

/// Runs a few instructions with interrupts off, uncounted: what they call neither
/// sleeps nor makes another task due.
#[inline(always)]
pub(crate) fn without<R>(body: impl FnOnce() -> R) -> R {
    interrupts::without_interrupts(body)
}

/// Sleeps until the next interrupt has been handled.
///
/// Interrupts are on afterwards. The flag is set and the processor halted in
/// one step, so that no interrupt slips in between and is slept through.
pub(crate) fn wait_for_interrupt() {
    interrupts::enable_and_hlt();
}
