//! Taking regions away, and changing what may be done in them.

use nucleus::cpu::disable_preempt;
use nucleus::mm::tlb::TlbFlushOp;
use nucleus::mm::{PageFlags, PageProperty, Vaddr};

use super::region::{RegionFlags, WRITE_IN_PLACE, hardware_rights};
use super::{AddressSpace, Layout, UserRange};
use crate::errno::Errno;

impl Layout {
    /// Returns the first part of a range that may not be given a protection, and why.
    fn refusal(&self, range: &UserRange, protection: PageFlags) -> Option<(Vaddr, Errno)> {
        let mut data = self.regions.totals().data;
        self.regions.parts(range).find_map(|(part, region)| {
            if !region.may_be(protection) {
                return Some((part.start(), Errno::Access));
            }
            if region.is_data_as(protection) && !region.is_data() {
                data += part.len();
            }
            let is_too_much = data > self.limits.data;
            is_too_much.then_some((part.start(), Errno::NoMemory))
        })
    }
}

impl AddressSpace {
    /// Takes memory away, and the promise of it. What is not there is no error.
    pub(crate) fn unmap(&self, range: &UserRange) -> Result<(), Errno> {
        let mut layout = self.change();
        if layout.regions.is_free(range) {
            return Ok(());
        }
        layout.check_room(1)?;
        self.take_pages_out(range)?;
        layout.regions.remove(range);
        Ok(())
    }

    /// Changes what may be done in a range.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where the range has a hole, `EACCES` at a region that may not be
    /// written; what precedes it has changed then, as in Linux.
    pub(crate) fn protect(&self, range: &UserRange, protection: PageFlags) -> Result<(), Errno> {
        let mut layout = self.change();
        layout.check_room(2)?;
        let covered = layout.regions.covered_len(range);
        let refusal = layout.refusal(range, protection);
        let refused = refusal.map_or(range.end(), |(start, _)| start);
        let end = refused.min(range.start() + covered);
        if let Some(part) = UserRange::between(range.start(), end) {
            let needs_pages = layout
                .regions
                .parts(&part)
                .any(|(_, region)| region.protection != protection);
            if needs_pages {
                // The pages first, which may fail: the regions say what is true.
                self.protect_pages(&part, protection)?;
                layout
                    .regions
                    .change(&part, |region| region.protect(protection));
            }
        }
        match refusal {
            Some((start, error)) if start == end => Err(error),
            _ if end < range.end() => Err(Errno::NoMemory),
            _ => Ok(()),
        }
    }

    /// Returns a range together with what precedes it of a region that grows downwards.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where nothing is mapped, `EINVAL` for a region that does not grow.
    pub(crate) fn with_start_of_growing(&self, range: &UserRange) -> Result<UserRange, Errno> {
        let layout = self.look();
        let found = layout.regions.first_above(range.start());
        let (start, region) = found
            .map(|(found, region)| (found.start, region))
            .filter(|(start, _)| *start < range.end())
            .ok_or(Errno::NoMemory)?;
        if !region.flags.contains(RegionFlags::GROWS_DOWN) {
            return Err(Errno::Invalid);
        }
        UserRange::between(start, range.end()).ok_or(Errno::NoMemory)
    }

    /// Takes the pages of a range out, with the layout held.
    pub(super) fn take_pages_out(&self, range: &UserRange) -> Result<(), Errno> {
        let pages = match self.may_have_huge_pages() {
            true => Some(self.count_pages(range)?),
            false => None,
        };
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, range.as_range())?;
        let taken = cursor.unmap(range.len())?;
        cursor.flusher().sync_tlb_flush();
        self.count_taken(pages.unwrap_or(taken));
        Ok(())
    }

    /// Gives the pages of a range that exist the rights that their regions now have,
    /// with the layout held.
    ///
    /// Where rights only grow, nobody flushes: a processor that has the old ones
    /// faults, and finds that the page allows the access.
    fn protect_pages(&self, range: &UserRange, protection: PageFlags) -> Result<(), Errno> {
        let is_reduced = core::cell::Cell::new(false);
        let change = |old: PageProperty| {
            let rights = hardware_rights(protection, old.flags.contains(WRITE_IN_PLACE));
            let before = old.flags & PageFlags::RWX;
            is_reduced.set(is_reduced.get() | !rights.contains(before));
            PageProperty {
                flags: (old.flags - PageFlags::RWX) | rights,
                ..old
            }
        };
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, range.as_range())?;
        cursor.protect(range.len(), change)?;
        if is_reduced.get() {
            let op = TlbFlushOp::Range(range.as_range().clone());
            cursor.flusher().issue_tlb_flush(op);
            cursor.flusher().dispatch_tlb_flush();
            cursor.flusher().sync_tlb_flush();
        }
        Ok(())
    }
}
