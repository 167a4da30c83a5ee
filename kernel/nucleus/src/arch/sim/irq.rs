//! The interrupt flag of a simulated processor: on until a guard says otherwise.

use super::cpu;
use super::machine::current;

/// Counts a guard that holds interrupts off.
pub(crate) fn enter_disabled() {
    let guards = &current().irq_guards;
    guards.set(guards.get() + 1);
}

/// Uncounts a guard; after the last one, interrupts that are due arrive.
pub(crate) fn leave_disabled() {
    let guards = &current().irq_guards;
    guards.set(guards.get() - 1);
    cpu::serve_interrupts();
}

/// Returns whether no guard is live.
pub(crate) fn is_enabled() -> bool {
    current().irq_guards.get() == 0
}
