//! Making a region longer or shorter, or moving it (`mremap(2)`).
//!
//! Pages move with their frames: nothing is copied. For a moment they are mapped in both
//! places, with the layout held exclusively; the old place is then taken out and
//! flushed by all processors before anybody can map there (peer 61).

use alloc::vec::Vec;

use nucleus::cpu::disable_preempt;
use nucleus::mm::page_table::MappedItem;
use nucleus::mm::{PAGE_SIZE, USER_END, Vaddr};

use super::range::LOWEST_ADDRESS;
use super::region::Region;
use super::{AddressSpace, Layout, UserRange};
use crate::errno::Errno;

/// What somebody wants of a region. Lengths are whole pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemapRequest {
    /// Where the part of the region starts that it is about: a multiple of a page.
    pub(crate) address: Vaddr,
    pub(crate) old_len: usize,
    /// Not zero.
    pub(crate) new_len: usize,
    pub(crate) may_move: bool,
    /// Where the part is to be; what is there goes away.
    pub(crate) target: Option<Vaddr>,
    /// The old addresses stay mapped, without pages.
    pub(crate) keeps_old: bool,
}

/// Bytes whose pages are moved at once: one node's, so that no huge page is cut.
const PART: usize = 512 * PAGE_SIZE;

impl AddressSpace {
    /// Changes the length of a part of a region, or moves it; returns where it is.
    ///
    /// # Errors
    ///
    /// In Linux's order: `EFAULT` when there is no region, or the part is not in one;
    /// `EINVAL` for a target that is illegal or meets the old place; `ENOMEM`.
    pub(crate) fn remap(&self, request: &RemapRequest) -> Result<Vaddr, Errno> {
        let mut layout = self.change();
        layout.regions.at(request.address).ok_or(Errno::Fault)?;
        if request.target.is_some() || request.keeps_old {
            return self.remap_to(&mut layout, *request);
        }
        if request.old_len >= request.new_len {
            self.cut_tail(&mut layout, request)?;
            return Ok(request.address);
        }
        let (range, region) = layout.part_to_resize(request)?;
        let old_end = request.address + request.old_len;
        if old_end == range.end
            && let Some(growth) = old_end
                .checked_add(request.new_len - request.old_len)
                .and_then(|end| UserRange::between(old_end, end))
            && layout.regions.is_free(&growth)
        {
            let offset = old_end - range.start;
            layout.add_region(&growth, region.skip(offset))?;
            return Ok(request.address);
        }
        if !request.may_move {
            return Err(Errno::NoMemory);
        }
        let target = layout.find_free(request.new_len)?;
        self.move_region(
            &mut layout,
            request,
            &target,
            &region.skip(request.address - range.start),
        )
    }

    /// Moves a part of a region to a place that is given, or leaves its old place
    /// empty.
    fn remap_to(&self, layout: &mut Layout, request: RemapRequest) -> Result<Vaddr, Errno> {
        let mut request = request;
        if let Some(target) = request.target {
            check_target(&request, target)?;
        }
        layout.check_room(4)?;
        if let Some(target) = request.target
            && let Some(range) = UserRange::new(target, request.new_len)
        {
            self.take_pages_out(&range)?;
            layout.regions.remove(&range);
        }
        if request.old_len > request.new_len {
            self.cut_tail(layout, &request)?;
            request.old_len = request.new_len;
        }
        let (range, region) = layout.part_to_resize(&request)?;
        let region = region.skip(request.address - range.start);
        let target = match request.target {
            Some(target) => UserRange::new(target, request.new_len).ok_or(Errno::Invalid)?,
            None => layout.find_free(request.new_len)?,
        };
        self.move_region(layout, &request, &target, &region)
    }

    /// Takes away what a part has more than it is to have.
    fn cut_tail(&self, layout: &mut Layout, request: &RemapRequest) -> Result<(), Errno> {
        let end = request.address.checked_add(request.old_len);
        let end = end.filter(|end| *end <= USER_END).ok_or(Errno::Invalid)?;
        if let Some(tail) = UserRange::between(request.address + request.new_len, end) {
            layout.check_room(1)?;
            self.take_pages_out(&tail)?;
            layout.regions.remove(&tail);
        }
        Ok(())
    }

    /// Moves a part of a region to free addresses.
    fn move_region(
        &self,
        layout: &mut Layout,
        request: &RemapRequest,
        target: &UserRange,
        region: &Region,
    ) -> Result<Vaddr, Errno> {
        // Only what is new counts against the limits.
        let is_doubled = request.keeps_old || request.old_len == 0;
        let growth = if is_doubled {
            request.new_len
        } else {
            request.new_len.saturating_sub(request.old_len)
        };
        layout
            .limits
            .check(layout.regions.totals(), region, growth)?;
        layout.check_room(3)?;
        let old = UserRange::new(request.address, request.old_len);
        if let Some(old) = &old {
            self.move_pages(old, target)?;
            if !request.keeps_old {
                layout.regions.remove(old);
            }
        }
        layout.regions.insert(target, region.clone());
        layout.note_peak();
        Ok(target.start())
    }

    /// Moves the pages of a range to another one, at least as long, where none are.
    fn move_pages(&self, from: &UserRange, to: &UserRange) -> Result<(), Errno> {
        let mut start = from.start();
        while start < from.end() {
            let part_end = (start / PART + 1) * PART;
            let Some(part) = UserRange::between(start, part_end.min(from.end())) else {
                break;
            };
            let result = self
                .collect_pages(&part)
                .and_then(|pages| self.map_pages(pages, from.start(), to.start()));
            if let Err(error) = result {
                self.take_pages_out(to)?;
                return Err(error);
            }
            start = part.end();
        }
        self.take_pages_out(from)
    }

    /// Returns what is mapped in a range, with references to it.
    fn collect_pages(&self, range: &UserRange) -> Result<Vec<(Vaddr, MappedItem)>, Errno> {
        let mut pages = Vec::new();
        pages
            .try_reserve_exact(range.pages())
            .map_err(|_| Errno::NoMemory)?;
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, range.as_range())?;
        while let Some(page) = cursor.find_next(range.end() - cursor.virt_addr()) {
            let (slot, item) = cursor.query().map_err(nucleus::Error::from)?;
            pages.extend(item.map(|item| (page, item)));
            if slot.end >= range.end() {
                break;
            }
            cursor.jump(slot.end).map_err(nucleus::Error::from)?;
        }
        Ok(pages)
    }

    /// Maps pages as far behind `to` as they were behind `from`.
    fn map_pages(
        &self,
        pages: Vec<(Vaddr, MappedItem)>,
        from: Vaddr,
        to: Vaddr,
    ) -> Result<(), Errno> {
        let (Some((first, _)), Some((last, _))) = (pages.first(), pages.last()) else {
            return Ok(());
        };
        let new_place = |page: Vaddr| page - from + to;
        let end = new_place(*last) + pages.last().map_or(0, |(_, item)| size_of_item(item));
        let range = new_place(*first)..end;
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, &range)?;
        for (page, item) in pages {
            cursor.jump(new_place(page)).map_err(nucleus::Error::from)?;
            let pages = size_of_item(&item) / PAGE_SIZE;
            match item {
                MappedItem::MappedRam { frame, prop } => cursor.map(frame, prop)?,
                MappedItem::MappedHuge { frames, prop } => cursor.map_segment(frames, prop)?,
                MappedItem::MappedIoMem { .. } => continue,
            }
            // Not before: what could not be mapped is not taken out again.
            self.count_made(pages);
        }
        Ok(())
    }
}

/// Returns the bytes of what an entry maps.
fn size_of_item(item: &MappedItem) -> usize {
    match item {
        MappedItem::MappedHuge { frames, .. } => frames.size(),
        _ => PAGE_SIZE,
    }
}

/// Checks a target against user space and against the old place.
fn check_target(request: &RemapRequest, target: Vaddr) -> Result<(), Errno> {
    let new = UserRange::new(target, request.new_len).ok_or(Errno::Invalid)?;
    let old_end = request.address.checked_add(request.old_len);
    let old_end = old_end.ok_or(Errno::Invalid)?;
    if old_end > new.start() && new.end() > request.address {
        return Err(Errno::Invalid);
    }
    if target < LOWEST_ADDRESS {
        return Err(Errno::NotPermitted);
    }
    Ok(())
}

impl Layout {
    /// Finds the region of a part that is to be resized, and checks that it may be.
    fn part_to_resize(
        &self,
        request: &RemapRequest,
    ) -> Result<(core::ops::Range<Vaddr>, Region), Errno> {
        let (range, region) = self.regions.at(request.address).ok_or(Errno::Fault)?;
        if request.old_len == 0 && !region.is_shared() {
            return Err(Errno::Invalid);
        }
        if request.old_len > range.end - request.address {
            return Err(Errno::Fault);
        }
        let offset = region.object_page(request.address - range.start);
        let is_representable = offset.is_none_or(|(_, page)| {
            let end = (page * PAGE_SIZE).checked_add(request.new_len);
            end.is_some_and(|end| isize::try_from(end).is_ok())
        });
        if !is_representable {
            return Err(Errno::Invalid);
        }
        Ok((range, region.clone()))
    }
}
