//! What a program says about its memory (`madvise(2)`, `mlock(2)`).

use alloc::sync::Arc;

use nucleus::mm::{PAGE_SIZE, PageFlags};

use super::region::{Access, Region, RegionFlags};
use super::{AccessError, AddressSpace, UserRange};
use crate::errno::Errno;

/// What a program advises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Says how the memory will be used, which changes nothing.
    Hint,
    /// As [`Self::Hint`], refused for memory that is locked.
    ColdHint,
    /// The contents are not needed any more. If even of memory that is locked.
    DontNeed { locked_too: bool },
    /// As [`Self::DontNeed`], for private anonymous memory alone. Linux forgets the
    /// contents some time later; here they are gone at once, which is as good.
    Free,
    /// The object is to forget the contents: whoever maps it finds zeros.
    Remove,
    /// Sets flags of the regions, and clears others.
    Mark {
        set: RegionFlags,
        clear: RegionFlags,
    },
    /// The pages are to be there, for such accesses.
    Populate(Access),
}

impl AddressSpace {
    /// Follows an advice for all regions of a range.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where the range has a hole; what is there has followed all the same.
    /// What a region refuses ends it at once.
    pub(crate) fn advise(&self, range: &UserRange, advice: Advice) -> Result<(), Errno> {
        match advice {
            Advice::Populate(access) => return self.populate_for(range, access),
            Advice::Remove => return self.remove_contents(range),
            _ => {}
        }
        let mut layout = self.change();
        let is_covered = layout.regions.covers(range);
        let refusal = layout
            .regions
            .parts(range)
            .find_map(|(part, region)| Some((part.start(), refuses(region, advice)?)));
        let end = refusal.map_or(range.end(), |(start, _)| start);
        if let Some(part) = UserRange::between(range.start(), end) {
            match advice {
                Advice::DontNeed { .. } | Advice::Free => self.take_pages_out(&part)?,
                Advice::Mark { set, clear } => {
                    layout.check_room(2)?;
                    let mark = |region: &mut Region| {
                        region.flags -= clear;
                        region.flags |= set;
                    };
                    layout.regions.change(&part, mark);
                }
                Advice::Hint | Advice::ColdHint | Advice::Remove | Advice::Populate(_) => {}
            }
        }
        match refusal {
            Some((_, error)) => Err(error),
            None if !is_covered => Err(Errno::NoMemory),
            None => Ok(()),
        }
    }

    /// Has the objects of a range forget what it shows of them.
    ///
    /// # Errors
    ///
    /// As [`Self::advise`].
    fn remove_contents(&self, range: &UserRange) -> Result<(), Errno> {
        let mut next = range.start();
        let mut is_covered = true;
        // Region by region: an object takes its pages out of all spaces, this one, too,
        // so that nothing may be locked here.
        while let Some(rest) = UserRange::between(next, range.end()) {
            let (part, object, bytes) = {
                let layout = self.look();
                let Some((part, region)) = layout.regions.parts(&rest).next() else {
                    return Err(Errno::NoMemory);
                };
                if let Some(error) = refuses(region, Advice::Remove) {
                    return Err(error);
                }
                let start = layout.regions.at(part.start());
                let offset = start.map_or(0, |(found, _)| part.start() - found.start);
                let (object, page) = region.object_page(offset).ok_or(Errno::Invalid)?;
                let bytes = page as u64 * PAGE_SIZE as u64;
                let bytes = bytes..bytes + part.len() as u64;
                (part, Arc::clone(object), bytes)
            };
            is_covered &= part.start() == next;
            object.punch_hole(bytes)?;
            next = part.end();
        }
        is_covered.then_some(()).ok_or(Errno::NoMemory)
    }

    /// Has a range stay in memory, or not; everything does. What is to stay is made.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where the range has a hole, or an object ends before it does.
    pub(crate) fn set_locked(&self, range: &UserRange, is_locked: bool) -> Result<(), Errno> {
        let none = RegionFlags::empty();
        let (set, clear) = match is_locked {
            true => (RegionFlags::LOCKED, none),
            false => (none, RegionFlags::LOCKED),
        };
        self.advise(range, Advice::Mark { set, clear })?;
        if is_locked && self.populate(range) == Err(AccessError::BeyondObject) {
            return Err(Errno::NoMemory);
        }
        // What cannot be accessed otherwise cannot be there, either.
        Ok(())
    }

    /// Has all regions stay in memory, or not; see [`Self::set_locked`].
    pub(crate) fn set_all_locked(&self, is_locked: bool) -> Result<(), Errno> {
        let regions: alloc::vec::Vec<_> = {
            let layout = self.look();
            super::ensure_reserve()?;
            layout.regions.iter().map(|(range, _)| range).collect()
        };
        for region in regions {
            if let Some(range) = UserRange::between(region.start, region.end) {
                match self.set_locked(&range, is_locked) {
                    // Another thread was faster to take it away.
                    Ok(()) | Err(Errno::NoMemory) => {}
                    other => return other,
                }
            }
        }
        Ok(())
    }

    /// Says whether regions that are made from now on stay in memory.
    pub(crate) fn lock_new_regions(&self, are_locked: bool) {
        self.change().locks_new = are_locked;
    }

    /// Checks that a range has no hole; for calls that have nothing else to do.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if it has one; `EBUSY` if a part is locked and must not be.
    pub(crate) fn check_mapped(
        &self,
        range: &UserRange,
        forbids_locked: bool,
    ) -> Result<(), Errno> {
        let layout = self.look();
        let is_locked = |region: &Region| region.flags.contains(RegionFlags::LOCKED);
        if forbids_locked
            && layout
                .regions
                .parts(range)
                .any(|(_, region)| is_locked(region))
        {
            return Err(Errno::Busy);
        }
        if !layout.regions.covers(range) {
            return Err(Errno::NoMemory);
        }
        Ok(())
    }
}

/// Returns why a region does not follow an advice, if it does not.
fn refuses(region: &Region, advice: Advice) -> Option<Errno> {
    let is_locked = region.flags.contains(RegionFlags::LOCKED);
    match advice {
        Advice::Hint | Advice::Populate(_) => None,
        Advice::ColdHint => is_locked.then_some(Errno::Invalid),
        Advice::DontNeed { locked_too } => (is_locked && !locked_too).then_some(Errno::Invalid),
        Advice::Free => (!region.is_anonymous()).then_some(Errno::Invalid),
        Advice::Remove if is_locked || region.is_anonymous() => Some(Errno::Invalid),
        Advice::Remove if !region.is_shared() => Some(Errno::Access),
        Advice::Remove if !region.protection.contains(PageFlags::W) => Some(Errno::Access),
        Advice::Remove => None,
        Advice::Mark { set, .. } => {
            let is_refused = set.contains(RegionFlags::FORGOTTEN_IN_FORK) && !region.is_anonymous();
            is_refused.then_some(Errno::Invalid)
        }
    }
}
