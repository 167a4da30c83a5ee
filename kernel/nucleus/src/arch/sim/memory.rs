//! Physical memory of the simulated machine: memory of the host. No hardware.

use super::machine::current;
use crate::mm::state::Memory;
use crate::mm::{Paddr, Vaddr};

/// Returns the memory state of the machine.
#[inline]
pub(crate) fn memory() -> &'static Memory {
    &current().machine().memory
}

/// Returns the host's address of a physical address.
///
/// # Panics
///
/// Panics when there is no memory.
#[inline]
pub(crate) fn paddr_to_vaddr(paddr: Paddr) -> Vaddr {
    debug_assert!(paddr < max_paddr(), "there is no memory at {paddr:#x}");
    current().ram.wrapping_add(paddr)
}

/// Returns where the array of metadata slots begins.
#[inline]
pub(crate) fn slot_base() -> Vaddr {
    current().slots
}

/// Returns the end of the addresses that have metadata.
#[inline]
pub(crate) fn max_paddr() -> Paddr {
    current().machine().max_paddr
}

/// Returns whether a range can be memory of the host, which is the kernel's.
pub(crate) fn is_kernel_range(start: Vaddr, len: usize) -> bool {
    start != 0 && start.checked_add(len).is_some()
}
