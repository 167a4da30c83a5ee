//! New regions: where they go, and what they are.

use core::ops::Range;

use nucleus::mm::{PAGE_SIZE, PageFlags, Vaddr};

use super::huge::{self, HUGE_PAGE};
use super::mappers::mappers_of;
use super::range::{LOWEST_ADDRESS, UserRange, page_start};
use super::region::{Backing, Region, RegionFlags};
use super::{AddressSpace, Layout};
use crate::errno::Errno;

/// Where a new region is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// At the address if that is free, or else wherever there is room.
    Anywhere,
    /// The same, but that any address is to fit into 31 bits (`MAP_32BIT`).
    Low,
    /// At the address; what is there goes away.
    Fixed,
    /// At the address, which must be free.
    FixedNoReplace,
}

/// The addresses that somebody wants to map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) address: Vaddr,
    /// In bytes; rounded up to pages.
    pub(crate) len: usize,
    pub(crate) placement: Placement,
}

/// What somebody wants to map.
#[derive(Clone, Debug)]
pub(crate) struct MapRequest {
    pub(crate) place: Place,
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
            place: Place {
                address: 0,
                len,
                placement: Placement::Anywhere,
            },
            protection,
            backing: Backing::Anonymous,
            flags: RegionFlags::MAY_WRITE,
            populate: false,
        }
    }

    /// Asks for an address, which must be free.
    pub(crate) fn at(self, address: Vaddr) -> Self {
        self.placed(address, Placement::FixedNoReplace)
    }

    /// Asks for an address in a way.
    pub(crate) fn placed(self, address: Vaddr, placement: Placement) -> Self {
        let place = Place {
            address,
            placement,
            ..self.place
        };
        Self { place, ..self }
    }

    fn region(&self) -> Region {
        Region {
            protection: self.protection,
            flags: self.flags,
            backing: self.backing.clone(),
        }
    }

    /// Checks that each page has a number in its object.
    fn check_offset(&self, len: usize) -> Result<(), Errno> {
        if let Backing::Object { offset, .. } = self.backing
            && isize::try_from(offset.checked_add(len).ok_or(Errno::Overflow)?).is_err()
        {
            return Err(Errno::Overflow);
        }
        Ok(())
    }
}

impl Place {
    /// Returns the length in whole pages.
    fn whole_len(&self) -> Result<usize, Errno> {
        match self.len.checked_next_multiple_of(PAGE_SIZE) {
            Some(0) => Err(Errno::Invalid),
            Some(len) => Ok(len),
            None => Err(Errno::NoMemory),
        }
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
        let len = request.place.whole_len()?;
        request.check_offset(len)?;
        let mut layout = self.change();
        let range = layout.find_place(&request.place, len)?;
        let mut region = request.region();
        let mut populate = request.populate;
        if layout.locks_new {
            region.flags |= RegionFlags::LOCKED;
            populate = true;
        }
        if let Some(mappers) = mappers_of(&region) {
            mappers.add(self);
        }
        if layout.regions.is_free(&range) {
            layout.add_region(&range, region)?;
        } else {
            self.replace(&mut layout, &range, region)?;
        }
        drop(layout);
        if populate {
            // As in Linux, a page that cannot be had is no error of the call.
            let _ = self.populate(&range);
        }
        Ok(range.start())
    }

    /// Checks that there is a place, without making anything.
    ///
    /// # Errors
    ///
    /// As [`Self::map`], but those of what is mapped.
    pub(crate) fn check_place(&self, place: &Place) -> Result<(), Errno> {
        let len = place.whole_len()?;
        self.change().find_place(place, len).map(drop)
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
    /// Finds the addresses for so many bytes.
    fn find_place(&mut self, place: &Place, len: usize) -> Result<UserRange, Errno> {
        match place.placement {
            Placement::Fixed => fixed_range(place.address, len),
            Placement::FixedNoReplace => fixed_range(place.address, len).and_then(|range| {
                let is_free = self.regions.is_free(&range);
                is_free.then_some(range).ok_or(Errno::Exists)
            }),
            Placement::Low => {
                let range = self.regions.find_free_within(len, LOW_ADDRESSES);
                range.ok_or(Errno::NoMemory)
            }
            Placement::Anywhere => {
                if place.address != 0
                    // The page of the hint; never below the first that can be mapped.
                    && let address = page_start(place.address).max(LOWEST_ADDRESS)
                    && let Some(wanted) = UserRange::new(address, len)
                    && self.regions.is_free(&wanted)
                {
                    return Ok(wanted);
                }
                self.find_free(len)
            }
        }
    }
}

impl Layout {
    /// Finds free addresses anywhere, such that huge pages fit in if they are usual.
    pub(super) fn find_free(&mut self, len: usize) -> Result<UserRange, Errno> {
        if huge::are_usual()
            && len >= HUGE_PAGE
            && let Some(room) = len.checked_add(HUGE_PAGE - PAGE_SIZE)
            && let Some(found) = self.regions.find_free(room)
        {
            let start = found.start().next_multiple_of(HUGE_PAGE);
            return UserRange::new(start, len).ok_or(Errno::NoMemory);
        }
        self.regions.find_free(len).ok_or(Errno::NoMemory)
    }
}

/// Where Linux looks for addresses that fit into 31 bits.
const LOW_ADDRESSES: Range<Vaddr> = 0x4000_0000..0x8000_0000;

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
