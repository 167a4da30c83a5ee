//! Making pages: what a fault does.
//!
//! Under the cursor of the page, a fault finds one of these, in this order:
//!
//! | the page | the access | what is done |
//! |---|---|---|
//! | is missing | any | it is made: of zeros, or the object's, or a copy of that |
//! | allows the access | any | nothing: somebody was faster (peer 49) |
//! | may be written in place | write | it gets its region's rights |
//! | nobody else has it | write | it becomes the region's own, and gets them |
//! | is shared | write | a copy takes its place, after all processors have flushed |
//! | allows less than its region | other | it gets its region's rights |
//!
//! The object is asked for its page before the cursor is opened, since it may sleep.
//!
//! **Faults around**: with an object's page, those of its neighbours that the object
//! has at hand are mapped as well, up to 16. Each costs about a tenth of a fault, and
//! text and tables are rarely used by one page alone.
//!
//! **No page of zeros for reads**: an anonymous page that is read first gets its own
//! frame. A shared page of zeros would save the zeroing where nothing is ever written,
//! but most pages are written soon: they would fault twice, and the second fault, with
//! its flush, costs more than the first one alone.

use core::ops::Range;

use nucleus::cpu::disable_preempt;
use nucleus::impl_untyped_frame_meta_for;
use nucleus::mm::page_table::{MappedItem, MappedItemRef};
use nucleus::mm::vm_space::CursorMut;
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, Vaddr};

use super::range::page_start;
use super::region::{Access, Region, WRITE_IN_PLACE};
use super::{AccessError, AddressSpace};
use crate::errno::Errno;

/// Frames of memory that is a process's own, or was until a fork.
#[derive(Debug)]
pub(crate) struct Anonymous;
impl_untyped_frame_meta_for!(Anonymous => "anonymous");

/// Bytes around a page of an object in which others are mapped with it: whole ones,
/// so that one node of the page table holds all of them.
const AROUND: usize = 16 * PAGE_SIZE;

impl AddressSpace {
    /// Makes the page of an address exist, if the access is allowed.
    pub(crate) fn handle_fault(&self, address: Vaddr, access: Access) -> Result<(), AccessError> {
        let layout = self.look();
        if let Some((range, region)) = layout.regions.at(address) {
            return self.make_page(region, &range, page_start(address), access);
        }
        drop(layout);
        self.grow_down_to(address)?;
        let layout = self.look();
        let (range, region) = layout.regions.at(address).ok_or(AccessError::Unmapped)?;
        self.make_page(region, &range, page_start(address), access)
    }

    /// Returns the page of an address, if it exists.
    pub(crate) fn page_at(&self, page: Vaddr) -> Result<Option<MappedItem>, Errno> {
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, &(page..page + PAGE_SIZE))?;
        let (_, item) = cursor.query().map_err(nucleus::Error::from)?;
        Ok(item)
    }

    /// Puts a frame that has contents where its region has no page yet.
    pub(crate) fn put_page(&self, page: Vaddr, frame: UFrame) -> Result<(), Errno> {
        let layout = self.look();
        let (_, region) = layout.regions.at(page).ok_or(Errno::Fault)?;
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, &(page..page + PAGE_SIZE))?;
        cursor.map(frame, region.property(true, Access::Read))?;
        self.count_made(1);
        Ok(())
    }

    /// Makes a page of a region exist, or mends it.
    pub(super) fn make_page(
        &self,
        region: &Region,
        range: &Range<Vaddr>,
        page: Vaddr,
        access: Access,
    ) -> Result<(), AccessError> {
        if !region.allows(access) {
            return Err(AccessError::Forbidden);
        }
        if region.is_anonymous() {
            if self.make_huge_page(region, range, page, access)? {
                return Ok(());
            }
            return self.settle(region, page, access, None);
        }
        let original = objects_page(region, page - range.start)?;
        if access == Access::Write && !region.is_shared() {
            return self.settle(region, page, access, original);
        }
        self.settle(region, page, access, original)?;
        self.map_around(region, range, page)
    }

    /// Makes a page, of an object's page if there is one, or mends it.
    #[inline]
    fn settle(
        &self,
        region: &Region,
        page: Vaddr,
        access: Access,
        original: Option<UFrame>,
    ) -> Result<(), AccessError> {
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, &(page..page + PAGE_SIZE))?;
        let (_, item) = cursor.query_ref().map_err(nucleus::Error::from)?;
        if let Some(item) = item {
            let flags = property_of(&item).flags;
            return mend(&mut cursor, region, access, flags);
        }
        let (frame, property) = new_page(region, access, original)?;
        cursor.map(frame, property)?;
        self.count_made(1);
        Ok(())
    }

    /// Maps pages around one that was just made, which the region's object has at hand.
    fn map_around(
        &self,
        region: &Region,
        range: &Range<Vaddr>,
        page: Vaddr,
    ) -> Result<(), AccessError> {
        let start = (page / AROUND * AROUND).max(range.start);
        let end = (page / AROUND * AROUND + AROUND).min(range.end);
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, &(start..end))?;
        let mut made = 0;
        for other in (start..end).step_by(PAGE_SIZE) {
            cursor.jump(other).map_err(nucleus::Error::from)?;
            let (_, item) = cursor.query_ref().map_err(nucleus::Error::from)?;
            if item.is_none()
                && let Some((object, index)) = region.object_page(other - range.start)
                && let Some(frame) = object.page_at_hand(index)
            {
                let mut property = region.property(region.is_shared(), Access::Read);
                // Nobody has used it yet.
                property.flags -= PageFlags::ACCESSED;
                cursor.map(frame, property)?;
                made += 1;
            }
        }
        self.count_made(made);
        Ok(())
    }
}

impl From<nucleus::Error> for AccessError {
    /// The one thing that a page can lack.
    fn from(_: nucleus::Error) -> Self {
        Self::NoMemory
    }
}

/// Returns how something is mapped.
fn property_of(item: &MappedItemRef<'_>) -> PageProperty {
    match item {
        MappedItemRef::MappedRam { prop, .. }
        | MappedItemRef::MappedHuge { prop, .. }
        | MappedItemRef::MappedIoMem { prop, .. } => *prop,
    }
}

/// Has the page at a cursor, which has these flags, allow an access that its region
/// allows.
fn mend(
    cursor: &mut CursorMut<'_>,
    region: &Region,
    access: Access,
    flags: PageFlags,
) -> Result<(), AccessError> {
    if flags.contains(access.needs()) {
        return Ok(());
    }
    let give = |is_in_place: bool| {
        move |old: PageProperty| PageProperty {
            flags: (old.flags - PageFlags::RWX) | region.property(is_in_place, access).flags,
            ..old
        }
    };
    let is_in_place = flags.contains(WRITE_IN_PLACE);
    if access != Access::Write || is_in_place {
        cursor.protect_next(PAGE_SIZE, give(is_in_place))?;
        return Ok(());
    }
    // The mapping's reference may be the only one, and nobody can get another while the
    // cursor holds the page.
    if cursor.protect_unshared(give(true))? {
        return Ok(());
    }
    let copy = copy_of_page(cursor)?;
    Ok(cursor.replace(copy, region.property(true, access))?)
}

/// Returns a copy of the page at a cursor. A huge page there is split.
fn copy_of_page(cursor: &mut CursorMut<'_>) -> Result<UFrame, AccessError> {
    let page = cursor.virt_addr();
    let copy = allocate(false)?;
    loop {
        match cursor.query_ref().map_err(nucleus::Error::from)? {
            (_, Some(MappedItemRef::MappedRam { frame, .. })) => {
                copy.copy_from(&frame);
                return Ok(copy);
            }
            // A part of it is changed to what it is.
            (_, Some(MappedItemRef::MappedHuge { .. })) => {
                cursor.protect_next(PAGE_SIZE, |old| old)?;
                cursor.jump(page).map_err(nucleus::Error::from)?;
            }
            (_, None | Some(MappedItemRef::MappedIoMem { .. })) => {
                return Err(AccessError::Forbidden);
            }
        }
    }
}

/// Asks the region's object, if it has one, for its page at an offset.
pub(super) fn objects_page(region: &Region, offset: usize) -> Result<Option<UFrame>, AccessError> {
    let Some((object, index)) = region.object_page(offset) else {
        return Ok(None);
    };
    if index >= object.len().div_ceil(PAGE_SIZE) {
        return Err(AccessError::BeyondObject);
    }
    match object.page(index) {
        Ok(frame) => Ok(Some(frame)),
        Err(Errno::NoMemory) => Err(AccessError::NoMemory),
        Err(_) => Err(AccessError::BeyondObject),
    }
}

/// Makes what a page is to be that does not exist: of nothing, or of its object's
/// page.
#[inline]
fn new_page(
    region: &Region,
    access: Access,
    original: Option<UFrame>,
) -> Result<(UFrame, PageProperty), AccessError> {
    match original {
        None => Ok((allocate(true)?, region.property(true, access))),
        Some(frame) if region.is_shared() => Ok((frame, region.property(true, access))),
        Some(original) if access == Access::Write => {
            let copy = allocate(false)?;
            copy.copy_from(&original);
            Ok((copy, region.property(true, access)))
        }
        Some(frame) => Ok((frame, region.property(false, access))),
    }
}

/// Allocates a frame for a program; if it is not zeroed, all of it is to be written
/// before it is mapped (peer 101).
#[inline]
fn allocate(zeroed: bool) -> Result<UFrame, AccessError> {
    let mut options = FrameAllocOptions::new();
    let options = options.zeroed(zeroed).for_user(true);
    let frame = options.alloc_frame_with(Anonymous)?;
    Ok(frame.into())
}
