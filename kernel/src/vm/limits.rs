//! How much a program may map.
//!
//! **Limits of the process** are `setrlimit(2)`'s: `RLIMIT_AS` for all regions,
//! `RLIMIT_DATA` for what is private and writable, `RLIMIT_STACK` for how far the
//! stack grows. They are looked at when regions are made, not when pages are.
//!
//! **Over-commit** follows Linux's default: a program may promise itself more than
//! there is, since most of it will not be touched, but a single request for more
//! private or shared anonymous memory than the machine has frames is refused with
//! `ENOMEM`, unless it says `MAP_NORESERVE`. What was promised and is not there when
//! it is touched ends the program that touches it, with a message; the kernel has a
//! reserve of its own and lives (`ensure_reserve`).

use nucleus::mm::PAGE_SIZE;
use nucleus::mm::frame::frame_counts;
use nucleus::sync::Once;

use super::region::{Region, RegionFlags};
use super::region_map::Totals;
use crate::errno::Errno;

/// Bytes that a stack may have unless somebody says otherwise.
const DEFAULT_STACK: usize = 8 << 20;

/// What an address space may have at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) address_space: usize,
    pub(crate) data: usize,
    pub(crate) stack: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address_space: usize::MAX,
            data: usize::MAX,
            stack: DEFAULT_STACK,
        }
    }
}

impl Limits {
    /// Checks that another region of `len` bytes is within the limits.
    pub(super) fn check(&self, totals: Totals, region: &Region, len: usize) -> Result<(), Errno> {
        let is_exceeded = |total: usize, limit| total.saturating_add(len) > limit;
        if is_exceeded(totals.all, self.address_space)
            || region.is_data() && is_exceeded(totals.data, self.data)
        {
            return Err(Errno::NoMemory);
        }
        Ok(())
    }
}

/// Refuses what can never be kept: see the module's text.
pub(super) fn check_commitment(region: &Region, len: usize) -> Result<(), Errno> {
    let is_counted = region.is_data() || region.is_anonymous() && region.is_shared();
    if is_counted
        && !region.flags.contains(RegionFlags::NO_RESERVE)
        && len / PAGE_SIZE > total_frames()
    {
        return Err(Errno::NoMemory);
    }
    Ok(())
}

/// Returns how many frames the machine has for whatever purpose.
fn total_frames() -> usize {
    static TOTAL: Once<usize> = Once::new();
    *TOTAL.call_once(|| frame_counts().managed)
}
