//! New regions: where they go, and what they are.

use nucleus::mm::{PAGE_SIZE, PageFlags, Vaddr};

use super::range::{LOWEST_ADDRESS, UserRange, page_start};
use super::region::{Backing, Region, RegionFlags};
use super::{AddressSpace, Layout};
use crate::errno::Errno;

/// Where a new region is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// At the address if that is free, or else wherever there is room.
    Anywhere,
    /// At the address; what is there goes away.
    Fixed,
    /// At the address, which must be free.
    FixedNoReplace,
}

/// What somebody wants to map.
#[derive(Clone, Debug)]
pub(crate) struct MapRequest {
    pub(crate) address: Vaddr,
    /// In bytes; rounded up to pages.
    pub(crate) len: usize,
    pub(crate) placement: Placement,
    /// What the program wants to do there.
    pub(crate) protection: PageFlags,
    pub(crate) backing: Backing,
    pub(crate) flags: RegionFlags,
    /// Whether the pages are to be there at once, as far as that is possible.
    pub(crate) populate: bool,
}

impl MapRequest {
    /// Asks for private anonymous memory anywhere.
    pub(crate) fn anonymous(len: usize, protection: PageFlags) -> Self {
        Self {
            address: 0,
            len,
            placement: Placement::Anywhere,
            protection,
            backing: Backing::Anonymous,
            flags: RegionFlags::MAY_WRITE,
            populate: false,
        }
    }

    /// Asks for an address, which must be free.
    pub(crate) fn at(self, address: Vaddr) -> Self {
        Self {
            address,
            placement: Placement::FixedNoReplace,
            ..self
        }
    }

    fn region(&self) -> Region {
        Region {
            protection: self.protection,
            flags: self.flags,
            backing: self.backing.clone(),
        }
    }

    /// Checks the length and the address in Linux's order; returns the length in
    /// whole pages.
    fn check(&self) -> Result<usize, Errno> {
        let len = match self.len.checked_next_multiple_of(PAGE_SIZE) {
            Some(0) => return Err(Errno::Invalid),
            Some(len) => len,
            None => return Err(Errno::NoMemory),
        };
        if let Backing::Object { offset, .. } = self.backing
            && isize::try_from(offset.checked_add(len).ok_or(Errno::Overflow)?).is_err()
        {
            return Err(Errno::Overflow);
        }
        Ok(len)
    }
}

impl AddressSpace {
    /// Makes a region; returns its first address.
    ///
    /// # Errors
    ///
    /// `EINVAL` for no length, and for a fixed address that is not aligned; `ENOMEM`
    /// for what does not fit into user space, is beyond a limit, or finds no memory;
    /// `EPERM` for the first addresses, `EEXIST`, `EOVERFLOW`.
    pub(crate) fn map(&self, request: &MapRequest) -> Result<Vaddr, Errno> {
        let len = request.check()?;
        let mut layout = self.change();
        let range = layout.place(request, len)?;
        let region = request.region();
        if layout.regions.is_free(&range) {
            layout.add_region(&range, region)?;
        } else {
            self.replace(&mut layout, &range, region)?;
        }
        drop(layout);
        if request.populate {
            // As in Linux, a page that cannot be had is no error of the call.
            let _ = self.populate(&range);
        }
        Ok(range.start())
    }

    /// Makes a region where others are, or parts of them.
    fn replace(&self, layout: &mut Layout, range: &UserRange, region: Region) -> Result<(), Errno> {
        // Up to two more: a region around the range becomes two, and the new one.
        layout.check_room(2)?;
        let mut totals = layout.regions.totals();
        for (part, old) in layout.regions.parts(range) {
            totals.subtract(old, part.len());
        }
        layout.limits.check(totals, &region, range.len())?;
        super::limits::check_commitment(&region, range.len())?;
        self.take_pages_out(range)?;
        layout.regions.remove(range);
        layout.regions.insert(range, region);
        layout.note_peak();
        Ok(())
    }
}

impl Layout {
    /// Finds the addresses for a request of so many bytes.
    fn place(&mut self, request: &MapRequest, len: usize) -> Result<UserRange, Errno> {
        let is_fixed = request.placement != Placement::Anywhere;
        // The page of the hint; never below the first that can be mapped.
        let address = if is_fixed || request.address == 0 {
            request.address
        } else {
            page_start(request.address).max(LOWEST_ADDRESS)
        };
        if is_fixed {
            let range = fixed_range(address, len)?;
            let must_be_free = request.placement == Placement::FixedNoReplace;
            if must_be_free && !self.regions.is_free(&range) {
                return Err(Errno::Exists);
            }
            return Ok(range);
        }
        if address != 0
            && let Some(wanted) = UserRange::new(address, len)
            && self.regions.is_free(&wanted)
        {
            return Ok(wanted);
        }
        self.regions.find_free(len).ok_or(Errno::NoMemory)
    }
}

/// Checks an address that was asked for, in Linux's order.
fn fixed_range(address: Vaddr, len: usize) -> Result<UserRange, Errno> {
    let fits = UserRange::new(page_start(address), len).ok_or(Errno::NoMemory)?;
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::Invalid);
    }
    if address < LOWEST_ADDRESS {
        return Err(Errno::NotPermitted);
    }
    Ok(fits)
}
