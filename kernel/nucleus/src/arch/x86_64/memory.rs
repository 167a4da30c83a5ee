//! Physical memory as the kernel sees it: the linear map and the metadata. No
//! hardware of its own.
//!
//! The loader maps all of physical memory at the same base as the kernel's own
//! table does, so these conversions hold from the first instruction on.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::mm::kspace::layout::{LINEAR_MAP_BASE, LINEAR_MAP_SIZE, META_BASE, is_kernel_address};
use crate::mm::state::Memory;
use crate::mm::{Paddr, Vaddr};

static MEMORY: Memory = Memory::new();

/// End of the addresses that have metadata.
static BOUND: Bound = Bound::new();

/// The end of the addresses that have metadata: zero until it is there.
struct Bound(AtomicUsize);

impl Bound {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[inline]
    fn get(&self) -> Paddr {
        // Acquire pairs with the Release in `publish`.
        self.0.load(Ordering::Acquire)
    }

    fn publish(&self, bound: Paddr) {
        assert_eq!(self.get(), 0, "the metadata is made once");
        // Release: whoever sees the bound sees the slots below it initialised.
        self.0.store(bound, Ordering::Release);
    }
}

/// Returns the memory state of the machine.
#[inline]
pub(crate) fn memory() -> &'static Memory {
    &MEMORY
}

/// Returns the address at which the kernel sees the physical address of RAM, which
/// is below the 64 TiB of the linear map: [`publish_max_paddr`] checks it.
#[inline]
pub(crate) fn paddr_to_vaddr(paddr: Paddr) -> Vaddr {
    debug_assert!(
        paddr < LINEAR_MAP_SIZE,
        "physical address {paddr:#x} is beyond the linear map"
    );
    LINEAR_MAP_BASE + paddr
}

/// Returns where the array of metadata slots begins.
#[inline]
pub(crate) fn slot_base() -> Vaddr {
    META_BASE
}

/// Returns the end of the addresses that have metadata; zero until it is there.
#[inline]
pub(crate) fn max_paddr() -> Paddr {
    BOUND.get()
}

/// Declares the metadata of all frames below `max_paddr` mapped and initialised.
pub(crate) fn publish_max_paddr(max_paddr: Paddr) {
    assert!(
        max_paddr <= LINEAR_MAP_SIZE,
        "RAM up to {max_paddr:#x} is beyond the linear map"
    );
    BOUND.publish(max_paddr);
}

/// Returns whether a range is in the kernel's half.
pub(crate) fn is_kernel_range(start: Vaddr, len: usize) -> bool {
    is_kernel_address(start) && start.checked_add(len).is_some()
}

#[cfg(ktest)]
mod tests {
    use super::Bound;
    use crate::prelude::*;

    #[ktest]
    fn claim_194_bound_is_zero_until_it_is_published() {
        let bound = Bound::new();
        assert_eq!(bound.get(), 0);
        bound.publish(0x1000);
        assert_eq!(bound.get(), 0x1000);
    }

    #[ktest]
    #[should_panic(expected = "the metadata is made once")]
    fn bound_is_published_once() {
        super::publish_max_paddr(0x1000);
    }
}
