//! Interrupts of the local processor: off by guards that may nest.
//!
//! The processor counts its live guards, so that guards dropped in any order
//! switch interrupts on again only when the last one is gone, and only if they
//! were on before the first.

use core::marker::PhantomData;

use crate::arch::irq;

/// Proof that interrupts are off on this processor.
///
/// It speaks of the processor that made it, so it must stay there: it is
/// neither `Send` nor `Sync`.
#[must_use = "interrupts are on again as soon as the guard is dropped"]
#[derive(Debug)]
pub struct DisabledLocalIrqGuard {
    _stays_here: PhantomData<*mut ()>,
}

static_assertions::assert_not_impl_any!(DisabledLocalIrqGuard: Send, Sync);

/// Switches interrupts off on this processor until the guard is dropped.
///
/// # Panics
///
/// Panics when 2³² guards live at once on a processor.
pub fn disable_local() -> DisabledLocalIrqGuard {
    irq::enter_disabled();
    DisabledLocalIrqGuard {
        _stays_here: PhantomData,
    }
}

/// Returns whether this processor accepts interrupts.
pub fn is_enabled() -> bool {
    irq::is_enabled()
}

impl Drop for DisabledLocalIrqGuard {
    fn drop(&mut self) {
        irq::leave_disabled();
    }
}
