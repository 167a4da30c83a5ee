//! Physical memory as the kernel sees it: the linear map. No hardware of its own.
//!
//! The loader maps all of physical memory at the same base as the kernel's own
//! table does, so these conversions hold from the first instruction on.

use crate::mm::kspace::layout::{LINEAR_MAP_BASE, LINEAR_MAP_SIZE};
use crate::mm::{Paddr, Vaddr};

/// Returns the address at which the kernel sees a physical address.
///
/// # Panics
///
/// Panics when the address is beyond the 64 TiB of the linear map.
pub(crate) fn paddr_to_vaddr(paddr: Paddr) -> Vaddr {
    assert!(
        paddr < LINEAR_MAP_SIZE,
        "physical address {paddr:#x} is beyond the linear map"
    );
    LINEAR_MAP_BASE + paddr
}
