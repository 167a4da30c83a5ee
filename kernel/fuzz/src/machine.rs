//! Simulated machines, used by one input after the other.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::thread::LocalKey;

use nucleus::arch::sim::{Config, Machine};

/// A target's machine. One on which something has gone wrong is never used again.
pub(crate) type Kept = Cell<Option<ManuallyDrop<Machine>>>;

/// Runs with a machine.
pub(crate) fn with<R>(
    kept: &'static LocalKey<Kept>,
    config: Config,
    body: impl FnOnce(&Machine) -> R,
) -> R {
    // Not dropped when the body panics: handles may still be around.
    let machine = kept
        .take()
        .unwrap_or_else(|| ManuallyDrop::new(Machine::new(config)));
    let result = body(&machine);
    kept.set(Some(machine));
    result
}
