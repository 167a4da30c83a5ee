//! Huge pages: 2 MiB of zeros at once, where that is wanted and there is room.
//!
//! The first fault in an aligned 2 MiB of a private anonymous region, none of which
//! exists yet, makes all of it as one page, if there are frames side by side; otherwise
//! it makes the one page. What is done to a part of it later splits it.
//!
//! **When**: the kernel's option `thp=on` wants them in all regions that are large
//! enough, `thp=advised` (the default) where the program says so (`MADV_HUGEPAGE`),
//! `thp=off` nowhere. A huge page costs some 40 instructions for each 4 KiB of it
//! beyond the zeroing, against 900 for a fault each; but a program that touches one
//! byte of each, of its stacks for example, has 512 times the memory. So it is for the
//! program to say.

use core::ops::Range;

use nucleus::boot::cmdline::HugePages;
use nucleus::cpu::disable_preempt;
use nucleus::mm::page_table::MappedItemRef;
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, Vaddr};
use nucleus::sync::Once;

use super::fault::Anonymous;
use super::region::{Access, Region, RegionFlags};
use super::{AccessError, AddressSpace, UserRange};
use crate::errno::Errno;

/// Bytes of a huge page.
pub(super) const HUGE_PAGE: usize = 512 * PAGE_SIZE;

/// Where huge pages are wanted, once somebody has said so.
static POLICY: Once<HugePages> = Once::new();

/// Says where huge pages are wanted; the first one who says so counts.
pub(crate) fn want_huge_pages(policy: HugePages) {
    POLICY.call_once(|| policy);
}

fn policy() -> HugePages {
    POLICY.get().copied().unwrap_or(HugePages::Advised)
}

/// Returns whether large anonymous regions are to be aligned for huge pages.
pub(super) fn are_usual() -> bool {
    policy() == HugePages::Always
}

/// Returns whether a region is to have huge pages.
fn are_wanted(region: &Region) -> bool {
    if region.flags.contains(RegionFlags::NOT_HUGE) {
        return false;
    }
    match policy() {
        HugePages::Always => true,
        HugePages::Advised => region.flags.contains(RegionFlags::HUGE),
        HugePages::Never => false,
    }
}

impl AddressSpace {
    /// Makes a huge page around a page of an anonymous region, if that is wanted and
    /// possible; returns whether.
    #[inline]
    pub(super) fn make_huge_page(
        &self,
        region: &Region,
        range: &Range<Vaddr>,
        page: Vaddr,
        access: Access,
    ) -> Result<bool, AccessError> {
        let start = page / HUGE_PAGE * HUGE_PAGE;
        // The region's end is a multiple of a page, and below the end of user space.
        let fits = start >= range.start && start + HUGE_PAGE <= range.end;
        if !fits || !are_wanted(region) {
            return Ok(false);
        }
        self.try_huge_page(region, &(start..start + HUGE_PAGE), access)
    }

    #[inline(never)]
    fn try_huge_page(
        &self,
        region: &Region,
        range: &Range<Vaddr>,
        access: Access,
    ) -> Result<bool, AccessError> {
        let is_empty = {
            let guard = disable_preempt();
            let cursor = self.space.cursor(&guard, range)?;
            cursor.find_next(HUGE_PAGE).is_none()
        };
        if !is_empty {
            return Ok(false);
        }
        // Zeroed with no lock of the page table held: it takes its time.
        let mut options = FrameAllocOptions::new();
        let options = options.for_user(true).align(HUGE_PAGE);
        let Ok(frames) = options.alloc_segment_with(HUGE_PAGE / PAGE_SIZE, |_| Anonymous) else {
            return Ok(false);
        };
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, range)?;
        if cursor.find_next(HUGE_PAGE).is_some() {
            return Ok(false);
        }
        cursor.jump(range.start).map_err(nucleus::Error::from)?;
        self.note_huge_pages();
        cursor.map_segment(frames.into(), region.property(true, access))?;
        self.count_made(HUGE_PAGE / PAGE_SIZE);
        Ok(true)
    }

    /// Counts the pages of memory that are mapped in a range, those of huge pages each.
    /// Huge ones that reach over an end count in part.
    pub(super) fn count_pages(&self, range: &UserRange) -> Result<usize, Errno> {
        let mut count = 0;
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, range.as_range())?;
        while let Some(page) = cursor.find_next(range.end() - cursor.virt_addr()) {
            let (slot, item) = cursor.query_ref().map_err(nucleus::Error::from)?;
            let end = match item {
                Some(MappedItemRef::MappedHuge { .. }) => slot.end.min(range.end()),
                _ => page + PAGE_SIZE,
            };
            count += (end - page) / PAGE_SIZE;
            if end == range.end() {
                break;
            }
            cursor.jump(end).map_err(nucleus::Error::from)?;
        }
        Ok(count)
    }
}
