//! The interrupt flag of a simulated processor: on until a guard says otherwise.

extern crate std;

use std::cell::Cell;

std::thread_local! {
    static GUARDS: Cell<u32> = const { Cell::new(0) };
}

/// Counts a guard that holds interrupts off.
pub(crate) fn enter_disabled() {
    GUARDS.set(GUARDS.get() + 1);
}

/// Uncounts a guard.
pub(crate) fn leave_disabled() {
    GUARDS.set(GUARDS.get() - 1);
}

/// Returns whether no guard is live.
pub(crate) fn is_enabled() -> bool {
    GUARDS.get() == 0
}
