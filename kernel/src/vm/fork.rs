//! Fork: another address space with the same contents.
//!
//! The child gets all regions, and those pages that cannot be had again by a fault:
//! those of private regions that may have pages of their own. They are shared, and
//! neither side may write them in place from then on. Everything else, text above all,
//! the child finds in the objects when it touches it.
//!
//! The parent's layout is held exclusively meanwhile, so that no thread of it makes,
//! writes by a fault, or takes away a page that is being copied (peer 97). What its
//! threads may still write by what their processors have cached is flushed everywhere
//! before the child can run (peer 77).

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use nucleus::cpu::disable_preempt;
use nucleus::mm::frame::{MemoryCounts, memory_counts};
use nucleus::mm::tlb::TlbFlusher;
use nucleus::mm::{PAGE_SIZE, PageFlags, PageProperty, VmSpace};

use super::region::{Region, RegionFlags, WRITE_IN_PLACE};
use super::region_map::RegionMap;
use super::{AddressSpace, Layout, UserRange, ensure_reserve};
use crate::errno::Errno;

/// Bytes whose pages are copied at once, with preemption off.
const PART: usize = 1 << 30;

impl AddressSpace {
    /// Returns a copy of this space.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; this space is then as it was, but that writes to some of its pages
    /// fault once more.
    pub(crate) fn fork(&self) -> Result<Arc<Self>, Errno> {
        let parent = self.change();
        ensure_memory_for(parent.regions.count())?;
        let child = Self::with_layout(VmSpace::new()?, parent.fork());
        // Relaxed: nobody else knows the child, and each asks for itself alone.
        let barriers = self.barriers.load(Ordering::Relaxed);
        child.barriers.store(barriers, Ordering::Relaxed);
        // Before it has pages: see `mappers`.
        child.join_mappers(&parent.regions);
        if self.may_have_huge_pages() {
            child.note_huge_pages();
        }
        for (range, region) in parent.regions.iter() {
            if needs_pages(region)
                && let Some(range) = UserRange::between(range.start, range.end)
            {
                self.copy_pages(&child, &range)?;
            }
        }
        let stays = disable_preempt();
        TlbFlusher::new(self.space.users(), &stays).sync_tlb_flush();
        Ok(child)
    }

    /// Has a child share the pages of a range.
    fn copy_pages(&self, child: &Self, range: &UserRange) -> Result<(), Errno> {
        let mut start = range.start();
        while let Some(rest) = UserRange::between(start, range.end()) {
            let Some(first) = self.first_page(&rest)? else {
                return Ok(());
            };
            let part_end = (first / PART + 1) * PART;
            let Some(part) = UserRange::between(first, part_end.min(range.end())) else {
                return Ok(());
            };
            let pages = match self.may_have_huge_pages() {
                true => Some(self.count_pages(&part)?),
                false => None,
            };
            let guard = disable_preempt();
            // The older space's first.
            let mut source = self.space.cursor_mut(&guard, part.as_range())?;
            let mut copy = child.space.cursor_mut(&guard, part.as_range())?;
            let copied = copy.copy_from(&mut source, part.len(), share)?;
            child.count_made(pages.unwrap_or(copied));
            start = part.end();
        }
        Ok(())
    }

    /// Returns the first page of a range that exists.
    fn first_page(&self, range: &UserRange) -> Result<Option<usize>, Errno> {
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, range.as_range())?;
        Ok(cursor.find_next(range.len()))
    }
}

impl Layout {
    /// Returns the layout of a child.
    fn fork(&self) -> Self {
        let mut child = self.clone();
        child.locks_new = false;
        let leaves_out: alloc::vec::Vec<UserRange> = self
            .regions
            .iter()
            .filter(|(_, region)| region.flags.contains(RegionFlags::NOT_FORKED))
            .filter_map(|(range, _)| UserRange::between(range.start, range.end))
            .collect();
        for range in leaves_out {
            child.regions.remove(&range);
        }
        child
    }
}

/// Checks that there is memory for copies of so many regions beside the kernel's
/// reserve: twice what they take, as nodes of the map may be half full.
fn ensure_memory_for(regions: usize) -> Result<(), Errno> {
    const BYTES: usize = 2 * RegionMap::BYTES_A_REGION;
    ensure_reserve()?;
    // A few fit into the reserve.
    if regions < PAGE_SIZE / BYTES {
        return Ok(());
    }
    let MemoryCounts { free, reserve, .. } = memory_counts();
    let is_enough = free.saturating_sub(reserve) > regions * BYTES;
    is_enough.then_some(()).ok_or(Errno::NoMemory)
}

/// Returns whether a child needs the pages of a region from its parent.
fn needs_pages(region: &Region) -> bool {
    let left_out = RegionFlags::NOT_FORKED | RegionFlags::FORGOTTEN_IN_FORK;
    region.flags.contains(RegionFlags::HAS_OWN_PAGES) && !region.flags.intersects(left_out)
}

/// Returns what a page that becomes shared allows, on both sides.
fn share(old: PageProperty) -> PageProperty {
    PageProperty {
        flags: old.flags - (PageFlags::W | WRITE_IN_PLACE),
        ..old
    }
}
