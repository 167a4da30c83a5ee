//! What of a program's memory is there (`mincore(2)`).

use nucleus::cpu::disable_preempt;
use nucleus::mm::PAGE_SIZE;

use super::region::Region;
use super::{AddressSpace, UserRange};
use crate::errno::Errno;

impl AddressSpace {
    /// Says for each page of a range whether a first access would find it in memory:
    /// mapped, or in its object.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where the range has a hole.
    ///
    /// # Panics
    ///
    /// Panics when there are fewer bytes than pages.
    pub(crate) fn residency(&self, range: &UserRange, bytes: &mut [u8]) -> Result<(), Errno> {
        let layout = self.look();
        if !layout.regions.covers(range) {
            return Err(Errno::NoMemory);
        }
        bytes[..range.pages()].fill(0);
        for (part, region) in layout.regions.parts(range) {
            let whole = layout.regions.at(part.start());
            let start = whole.map_or(part.start(), |(range, _)| range.start);
            let first = (part.start() - range.start()) / PAGE_SIZE;
            let bytes = &mut bytes[first..first + part.pages()];
            if !region.is_anonymous() {
                note_cached(region, part.start() - start, bytes);
            }
            self.note_mapped(&part, bytes)?;
        }
        Ok(())
    }

    /// Notes the pages that are mapped.
    fn note_mapped(&self, range: &UserRange, bytes: &mut [u8]) -> Result<(), Errno> {
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, range.as_range())?;
        while let Some(page) = cursor.find_next(range.end() - cursor.virt_addr()) {
            let (slot, _) = cursor.query_ref().map_err(nucleus::Error::from)?;
            let end = slot.end.min(range.end());
            let index = |address: usize| (address - range.start()) / PAGE_SIZE;
            bytes[index(page)..index(end)].fill(1);
            if end == range.end() {
                break;
            }
            cursor.jump(end).map_err(nucleus::Error::from)?;
        }
        Ok(())
    }
}

/// Notes the pages that a region's object has, from an offset in the region on.
fn note_cached(region: &Region, offset: usize, bytes: &mut [u8]) {
    for (page, byte) in bytes.iter_mut().enumerate() {
        let found = region.object_page(offset + page * PAGE_SIZE);
        let is_there = found.is_some_and(|(object, index)| object.page_at_hand(index).is_some());
        *byte = u8::from(is_there);
    }
}
