//! The stack, and other regions that grow downwards.
//!
//! Such a region starts small. A fault below it, with nothing between, makes it
//! larger: down to the page that was touched, as far as `RLIMIT_STACK` allows, and
//! not nearer to what is below than the guard gap. So a stack that overflows ends
//! in a fault and not in somebody else's memory (peer 96).

use nucleus::mm::{PAGE_SIZE, PageFlags, Vaddr};

use super::range::{LOWEST_ADDRESS, UserRange, page_start};
use super::region::{Access, Backing, Region, RegionFlags};
use super::{AccessError, AddressSpace, Layout};
use crate::errno::Errno;

/// Addresses that stay free below a region that grows: 256 pages.
pub(super) const GUARD_GAP: usize = 256 * PAGE_SIZE;

/// End of the stack: 64 KiB below the end of the lower half.
const STACK_END: Vaddr = 0x7fff_ffff_0000;

/// Bytes that the stack has from the start.
const FIRST_SIZE: usize = 132 << 10;

/// Addresses that are kept for the stack at least, and at most.
const LEAST_ROOM: usize = 128 << 20;
const MOST_ROOM: usize = STACK_END / 6 * 5;

impl AddressSpace {
    /// Makes the stack; returns its end. What is mapped anywhere from now on leaves
    /// room for the stack to grow to its limit.
    pub(crate) fn map_stack(&self) -> Result<Vaddr, Errno> {
        let mut layout = self.change();
        let room = layout.limits.stack.clamp(LEAST_ROOM, MOST_ROOM);
        let range = UserRange::between(STACK_END - FIRST_SIZE, STACK_END).ok_or(Errno::NoMemory)?;
        let region = Region {
            protection: PageFlags::RW,
            flags: RegionFlags::GROWS_DOWN | RegionFlags::MAY_WRITE,
            backing: Backing::Anonymous,
        };
        if !layout.regions.is_free(&range) {
            return Err(Errno::Exists);
        }
        layout.add_region(&range, region)?;
        layout
            .regions
            .set_ceiling(page_start(STACK_END - room) - GUARD_GAP);
        layout.stack_start = STACK_END;
        Ok(STACK_END)
    }

    /// Has the region that is next above an address grow down to it.
    pub(super) fn grow_down_to(&self, address: Vaddr) -> Result<(), AccessError> {
        let mut layout = self.change();
        let page = page_start(address);
        let Some((above, region)) = layout.regions.first_above(address) else {
            return Err(AccessError::Unmapped);
        };
        if above.start <= address {
            // Another thread was here before.
            return Ok(());
        }
        if !region.flags.contains(RegionFlags::GROWS_DOWN) || page < LOWEST_ADDRESS {
            return Err(AccessError::Unmapped);
        }
        let region = region.clone();
        layout.check_growth(page, above.end, &region)?;
        let growth = UserRange::between(page, above.start).ok_or(AccessError::Unmapped)?;
        layout
            .add_region(&growth, region)
            .map_err(|_| AccessError::Unmapped)
    }
}

impl Layout {
    /// Checks that a region that ends at `end` may grow down to a page.
    fn check_growth(&self, page: Vaddr, end: Vaddr, region: &Region) -> Result<(), AccessError> {
        if end - page > self.limits.stack {
            return Err(AccessError::Unmapped);
        }
        match self.regions.last_below(page) {
            Some((below, other))
                if page - below.end < GUARD_GAP
                    && other.allows(Access::Read)
                    && !other.flags.contains(RegionFlags::GROWS_DOWN) =>
            {
                Err(AccessError::Unmapped)
            }
            _ if region.protection.is_empty() => Err(AccessError::Forbidden),
            _ => Ok(()),
        }
    }
}
