//! Making pages: what a fault does.
//!
//! Under the cursor of the page, a fault finds one of these, in this order:
//!
//! | the page | the access | what is done |
//! |---|---|---|
//! | allows the access | any | nothing: somebody was faster (peer 49) |
//! | is missing | any | it is made: of zeros, or the object's, or a copy of that |
//! | may be written in place | write | it gets its region's rights |
//! | nobody else has it | write | it becomes the region's own, and gets them |
//! | is shared | write | a copy takes its place, after all processors have flushed |
//! | allows less than its region | other | it gets its region's rights |
//!
//! The object is asked for its page before the cursor is opened, since it may sleep.

use nucleus::cpu::disable_preempt;
use nucleus::mm::page_table::{MappedItem, MappedItemRef};
use nucleus::mm::vm_space::CursorMut;
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, Vaddr};

use super::range::page_start;
use super::region::{Access, Region, WRITE_IN_PLACE};
use super::{AccessError, AddressSpace, UserRange};
use crate::errno::Errno;

/// What is to be done about a page, found out under its cursor.
enum Finding {
    /// It allows the access.
    Fine,
    Missing,
    /// It is to get these flags.
    Mend(PageFlags),
    /// It is to be replaced by a copy, which is this.
    Copied(UFrame),
}

impl AddressSpace {
    /// Makes the page of an address exist, if the access is allowed.
    pub(crate) fn handle_fault(&self, address: Vaddr, access: Access) -> Result<(), AccessError> {
        let layout = self.look();
        if let Some((range, region)) = layout.regions.at(address) {
            return self.make_page(region, range.start, page_start(address), access);
        }
        drop(layout);
        self.grow_down_to(address)?;
        let layout = self.look();
        let (range, region) = layout.regions.at(address).ok_or(AccessError::Unmapped)?;
        self.make_page(region, range.start, page_start(address), access)
    }

    /// Returns the page of an address, if it exists.
    pub(crate) fn page_at(&self, page: Vaddr) -> Result<Option<MappedItem>, Errno> {
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, &(page..page + PAGE_SIZE))?;
        let (_, item) = cursor.query().map_err(nucleus::Error::from)?;
        Ok(item)
    }

    /// Makes all pages of a range exist that can.
    pub(super) fn populate(&self, range: &UserRange) -> Result<(), AccessError> {
        for page in range.as_range().clone().step_by(PAGE_SIZE) {
            let layout = self.look();
            let (found, region) = layout.regions.at(page).ok_or(AccessError::Unmapped)?;
            let is_written = region.protection.contains(PageFlags::W) && !region.is_shared();
            let access = if is_written {
                Access::Write
            } else {
                Access::Read
            };
            self.make_page(region, found.start, page, access)?;
        }
        Ok(())
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

    /// Makes a page of a region that starts at `start`, or mends it.
    fn make_page(
        &self,
        region: &Region,
        start: Vaddr,
        page: Vaddr,
        access: Access,
    ) -> Result<(), AccessError> {
        if !region.allows(access) {
            return Err(AccessError::Forbidden);
        }
        let shared = objects_page(region, page - start)?;
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, &(page..page + PAGE_SIZE))?;
        match examine(&cursor, region, access)? {
            Finding::Fine => Ok(()),
            Finding::Missing => {
                let (frame, property) = new_page(region, access, shared)?;
                cursor.map(frame, property)?;
                self.count_made(1);
                Ok(())
            }
            Finding::Mend(flags) => {
                let mend = |old: PageProperty| PageProperty { flags, ..old };
                cursor.protect_next(PAGE_SIZE, mend)?;
                Ok(())
            }
            Finding::Copied(copy) => Ok(cursor.replace(copy, region.property(true, access))?),
        }
    }
}

impl From<nucleus::Error> for AccessError {
    /// The one thing that a page can lack.
    fn from(_: nucleus::Error) -> Self {
        Self::NoMemory
    }
}

/// Finds out what is to be done about the page at a cursor.
fn examine(
    cursor: &CursorMut<'_>,
    region: &Region,
    access: Access,
) -> Result<Finding, AccessError> {
    let (_, item) = cursor.query_ref().map_err(nucleus::Error::from)?;
    let (prop, frame) = match item {
        None => return Ok(Finding::Missing),
        Some(MappedItemRef::MappedRam { frame, prop }) => (prop, Some(frame)),
        Some(MappedItemRef::MappedHuge { prop, .. } | MappedItemRef::MappedIoMem { prop, .. }) => {
            (prop, None)
        }
    };
    if prop.flags.contains(access.needs()) {
        return Ok(Finding::Fine);
    }
    let others = prop.flags - PageFlags::RWX;
    if access != Access::Write || prop.flags.contains(WRITE_IN_PLACE) {
        let rights = region.rights(prop.flags.contains(WRITE_IN_PLACE));
        return Ok(Finding::Mend(others | rights));
    }
    match frame {
        Some(frame) if frame.reference_count() > 1 => {
            let copy = FrameAllocOptions::new().zeroed(false).alloc_frame()?;
            copy.copy_from(&frame);
            Ok(Finding::Copied(copy.into()))
        }
        // The mapping's reference is the only one, and nobody can get another while
        // the cursor holds the page.
        _ => Ok(Finding::Mend(others | WRITE_IN_PLACE | region.rights(true))),
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
fn new_page(
    region: &Region,
    access: Access,
    shared: Option<UFrame>,
) -> Result<(UFrame, PageProperty), AccessError> {
    match shared {
        None => {
            let frame = FrameAllocOptions::new().alloc_frame()?;
            Ok((frame.into(), region.property(true, access)))
        }
        Some(frame) if region.is_shared() => Ok((frame, region.property(true, access))),
        Some(original) if access == Access::Write => {
            let copy = FrameAllocOptions::new().zeroed(false).alloc_frame()?;
            copy.copy_from(&original);
            Ok((copy.into(), region.property(true, access)))
        }
        Some(frame) => Ok((frame, region.property(false, access))),
    }
}
