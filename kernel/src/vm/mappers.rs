//! Who maps an object, and taking its pages out of all of them.
//!
//! Files get shorter, and holes are punched into them, while programs have them mapped.
//! So an object whose pages can go knows the address spaces that map it.
//!
//! **Protocol of an object that gets shorter**, of whose kind one is at work at a time:
//!
//! 1. It says the new length: whoever asks for a page behind it is refused from now on.
//! 2. [`Mappers::take_out`] visits each space with its layout held exclusively, takes
//!    the pages out and has them flushed. A fault that had seen the old length has held
//!    the layout since then, so its page is there by then, and goes as well.
//! 3. Only now the object drops its pages, and zeroes what is left of the last one. No
//!    fault can make one of them again.
//!
//! **A hole** has no length that refuses faults. So its pages are zeroed where they are,
//! then taken out, and then those are dropped that the object alone still has: one that
//! a program has touched meanwhile stays, and everybody sees the same page at any time.
//!
//! **Nobody is missed.** A space joins before its region can be found. One that joins
//! after step 1 sees the new length; the lock here orders that. A fork's copy joins
//! before it gets pages, with the parent's layout held; its number is higher than the
//! parent's, and spaces are visited in the order of their numbers, so it comes later.
//!
//! **Lock order**: the lock here is innermost. It is taken with layouts held, and never
//! held while one is taken.

use alloc::collections::BTreeMap;
use alloc::sync::Weak;
use core::ops::Range;

use nucleus::cpu::disable_preempt;
use nucleus::mm::page_table::MappedItemRef;
use nucleus::mm::{PAGE_SIZE, Vaddr};
use nucleus::sync::Mutex;

use super::object::MemoryObject;
use super::region::Region;
use super::{AddressSpace, UserRange};
use crate::errno::Errno;

/// The address spaces that may map an object.
#[derive(Debug)]
pub(crate) struct Mappers {
    /// By their numbers. One that has unmapped the object stays until somebody looks.
    spaces: Mutex<BTreeMap<u64, Weak<AddressSpace>>>,
}

/// Which pages of private regions are taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All of them, the regions' own copies, too: they mean nothing behind the end.
    All,
    /// Those that are the object's.
    Objects,
}

impl Mappers {
    pub(crate) const fn new() -> Self {
        Self {
            spaces: Mutex::new(BTreeMap::new()),
        }
    }

    /// Notes that a space is about to map the object.
    pub(super) fn add(&self, space: &AddressSpace) {
        let mut spaces = self.spaces.lock();
        spaces
            .entry(space.number)
            .or_insert_with(|| Weak::clone(&space.this));
    }

    /// Forgets a space that does not map the object, and of which nobody else can make
    /// it do so meanwhile.
    pub(super) fn remove(&self, space: &AddressSpace) {
        self.spaces.lock().remove(&space.number);
    }

    /// Takes pages of the object, by their numbers, out of all spaces, and waits until
    /// all processors have flushed them. The object must not be made shorter, and no
    /// hole punched into it, by anybody else meanwhile.
    ///
    /// Nothing may be locked that comes after the layouts.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; some spaces may have lost the pages then, which a fault brings back.
    pub(crate) fn take_out(&self, pages: &Range<usize>, taken: Taken) -> Result<(), Errno> {
        let mut next = 0;
        while let Some((number, space)) = self.first_from(next) {
            next = number + 1;
            if let Some(space) = space.upgrade() {
                space.take_object_pages_out(self, pages, taken)?;
            }
        }
        Ok(())
    }

    fn first_from(&self, number: u64) -> Option<(u64, Weak<AddressSpace>)> {
        let spaces = self.spaces.lock();
        let (number, space) = spaces.range(number..).next()?;
        Some((*number, Weak::clone(space)))
    }

    /// Returns how many spaces are noted.
    #[cfg(ktest)]
    pub(super) fn count(&self) -> usize {
        self.spaces.lock().len()
    }
}

/// Returns who maps the object of a region, if its pages can go.
pub(super) fn mappers_of(region: &Region) -> Option<&Mappers> {
    let (object, _) = region.object_page(0)?;
    object.mappers()
}

impl AddressSpace {
    /// Takes pages of one object out, as [`Mappers::take_out`] says.
    fn take_object_pages_out(
        &self,
        mappers: &Mappers,
        pages: &Range<usize>,
        taken: Taken,
    ) -> Result<(), Errno> {
        {
            let layout = self.look();
            let is_its = |region| mappers_of(region).is_some_and(|it| core::ptr::eq(it, mappers));
            if !layout.regions.iter().any(|(_, region)| is_its(region)) {
                // With the layout held, so that nobody maps it meanwhile.
                mappers.remove(self);
                return Ok(());
            }
        }
        let layout = self.change();
        for (range, region) in layout.regions.iter() {
            let Some((object, first)) = region.object_page(0) else {
                continue;
            };
            if !object
                .mappers()
                .is_some_and(|it| core::ptr::eq(it, mappers))
            {
                continue;
            }
            let Some(part) = part_with_pages(&range, first, pages) else {
                continue;
            };
            if taken == Taken::All || region.is_shared() {
                self.take_out_if_there(&part)?;
            } else {
                let first = first + (part.start() - range.start) / PAGE_SIZE;
                self.take_shared_frames_out(&part, &**object, first)?;
            }
        }
        Ok(())
    }

    /// Takes the pages of a range out, if there are any. If there are none, no table
    /// need be made to find that out.
    fn take_out_if_there(&self, range: &UserRange) -> Result<(), Errno> {
        let is_empty = {
            let guard = disable_preempt();
            let cursor = self.space.cursor(&guard, range.as_range())?;
            cursor.find_next(range.len()).is_none()
        };
        match is_empty {
            true => Ok(()),
            false => self.take_pages_out(range),
        }
    }

    /// Takes those pages of a private region out that are the object's, whose page
    /// `first` is the range's first one. One that the object does not have at hand
    /// stays: it reads as zeros as it is.
    fn take_shared_frames_out(
        &self,
        range: &UserRange,
        object: &dyn MemoryObject,
        first: usize,
    ) -> Result<(), Errno> {
        let mut next = range.start();
        while let Some(page) = self.next_page(next, range.end())? {
            next = page + PAGE_SIZE;
            let index = first + (page - range.start()) / PAGE_SIZE;
            if self.maps_page_of(page, object, index)?
                && let Some(page) = UserRange::new(page, PAGE_SIZE)
            {
                self.take_pages_out(&page)?;
            }
        }
        Ok(())
    }

    /// Returns the first page from an address on that exists.
    fn next_page(&self, start: Vaddr, end: Vaddr) -> Result<Option<Vaddr>, Errno> {
        let Some(rest) = UserRange::between(start, end) else {
            return Ok(None);
        };
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, rest.as_range())?;
        Ok(cursor.find_next(rest.len()))
    }

    /// Returns whether a page is the object's page of a number.
    fn maps_page_of(
        &self,
        page: Vaddr,
        object: &dyn MemoryObject,
        index: usize,
    ) -> Result<bool, Errno> {
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, &(page..page + PAGE_SIZE))?;
        let (_, item) = cursor.query_ref().map_err(nucleus::Error::from)?;
        let Some(MappedItemRef::MappedRam { frame, .. }) = item else {
            return Ok(false);
        };
        let original = object.page_at_hand(index);
        Ok(original.is_some_and(|original| original.start_paddr() == frame.start_paddr()))
    }

    /// Joins those who map the objects of all regions.
    pub(super) fn join_mappers(&self, regions: &super::RegionMap) {
        for (_, region) in regions.iter() {
            if let Some(mappers) = mappers_of(region) {
                mappers.add(self);
            }
        }
    }
}

impl Drop for AddressSpace {
    /// Leaves those who map objects; the objects may live on.
    fn drop(&mut self) {
        let layout = self.layout.read();
        for (_, region) in layout.regions.iter() {
            if let Some(mappers) = mappers_of(region) {
                mappers.remove(self);
            }
        }
    }
}

/// Returns the addresses at which a region has pages of its object, if any. The region's
/// first page is the object's page `first`.
fn part_with_pages(region: &Range<Vaddr>, first: usize, pages: &Range<usize>) -> Option<UserRange> {
    let end = first + (region.end - region.start) / PAGE_SIZE;
    let (from, to) = (pages.start.max(first), pages.end.min(end));
    if from >= to {
        return None;
    }
    let address = |page: usize| region.start + (page - first) * PAGE_SIZE;
    UserRange::between(address(from), address(to))
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{PAGE_SIZE, UserRange, part_with_pages};

    const BASE: usize = 0x10_0000;

    #[ktest]
    fn part_of_a_region_is_where_its_object_has_the_pages() {
        let region = BASE..BASE + 4 * PAGE_SIZE;
        let part = |pages| part_with_pages(&region, 10, &pages);
        let range = |page, count| UserRange::new(BASE + page * PAGE_SIZE, count * PAGE_SIZE);
        assert_eq!(part(0..usize::MAX), range(0, 4));
        assert_eq!(part(12..usize::MAX), range(2, 2));
        assert_eq!(part(0..11), range(0, 1));
        assert_eq!(part(11..13), range(1, 2));
        assert_eq!(part(0..10), None);
        assert_eq!(part(14..20), None);
    }
}
