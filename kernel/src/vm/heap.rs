//! The heap: what `brk(2)` moves the end of.

use core::ops::Range;

use nucleus::mm::{PAGE_SIZE, PageFlags, Vaddr};

use super::region::{Backing, Region, RegionFlags};
use super::{AddressSpace, UserRange};

/// Where the heap starts, and where the program wants it to end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heap {
    pub(super) start: Vaddr,
    pub(super) end: Vaddr,
}

impl Heap {
    /// Returns the addresses that are mapped for it.
    pub(super) fn range(&self) -> Range<Vaddr> {
        self.start..self.end.next_multiple_of(PAGE_SIZE)
    }
}

impl AddressSpace {
    /// Starts the heap behind the program's image.
    pub(crate) fn set_heap_start(&self, start: Vaddr) {
        let start = start.next_multiple_of(PAGE_SIZE);
        self.change().heap = Heap { start, end: start };
    }

    /// Moves the heap's end if that is possible; returns where it is now.
    pub(crate) fn set_heap_end(&self, wanted: Vaddr) -> Vaddr {
        let mut layout = self.change();
        let Heap { start, end } = layout.heap;
        let is_within_limit = wanted
            .checked_sub(start)
            .is_some_and(|len| len <= layout.limits.data);
        let Some(new) = wanted.checked_next_multiple_of(PAGE_SIZE) else {
            return end;
        };
        if !is_within_limit {
            return end;
        }
        let old = end.next_multiple_of(PAGE_SIZE);
        let is_done = if let Some(growth) = UserRange::between(old, new) {
            // A page is kept free behind the heap.
            let with_gap = UserRange::new(old, growth.len() + PAGE_SIZE);
            let is_free = with_gap.is_some_and(|range| layout.regions.is_free(&range));
            is_free && layout.add_region(&growth, heap_region()).is_ok()
        } else if let Some(rest) = UserRange::between(new, old) {
            let is_taken = layout.check_room(1).is_ok() && self.take_pages_out(&rest).is_ok();
            if is_taken {
                layout.regions.remove(&rest);
            }
            is_taken
        } else {
            old == new
        };
        if is_done {
            layout.heap.end = wanted;
        }
        layout.heap.end
    }
}

fn heap_region() -> Region {
    Region {
        protection: PageFlags::RW,
        flags: RegionFlags::MAY_WRITE,
        backing: Backing::Anonymous,
    }
}
