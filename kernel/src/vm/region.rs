//! What a program may do at its addresses, and where the pages come from.

use alloc::sync::Arc;

use bitflags::bitflags;
use nucleus::mm::{CachePolicy, PAGE_SIZE, PageFlags, PageProperty};

use super::object::MemoryObject;

/// Marks a page that may be written in place: no other mapping, and no object,
/// needs its contents as they are.
///
/// It is the logical permission beside the hardware's: a page is writable for the
/// hardware if it has the mark *and* its region allows writing. Making a region
/// writable needs no look at any frame's count then, and fork, which takes the mark
/// from both copies, is not undone by it (peer 78). Without the mark, the next write
/// faults and finds out.
pub(super) const WRITE_IN_PLACE: PageFlags = PageFlags::AVAIL2;

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Execute,
}

impl Access {
    /// Returns what a page must allow for the access.
    pub(super) const fn needs(self) -> PageFlags {
        match self {
            Self::Read => PageFlags::R,
            Self::Write => PageFlags::W,
            Self::Execute => PageFlags::X,
        }
    }
}

bitflags! {
    /// What is special about a region.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct RegionFlags: u16 {
        /// Writes are seen by everybody who maps the object.
        const SHARED = 1 << 0;
        /// The region may be made writable.
        const MAY_WRITE = 1 << 1;
        /// The region grows downwards when the address below is touched.
        const GROWS_DOWN = 1 << 2;
        /// No memory need be there for it (`MAP_NORESERVE`).
        const NO_RESERVE = 1 << 3;
        /// The program asked for it to stay in memory (`mlock(2)`).
        const LOCKED = 1 << 4;
        /// Pages may be the region's own instead of its object's: it is private, and
        /// was writable at some time. Fork need not look at others.
        const HAS_OWN_PAGES = 1 << 5;
        /// A fork does not have the region.
        const NOT_FORKED = 1 << 6;
        /// A fork has the region without what is in it.
        const FORGOTTEN_IN_FORK = 1 << 7;
        /// Huge pages are wanted (`MADV_HUGEPAGE`).
        const HUGE = 1 << 8;
        /// Huge pages are not wanted (`MADV_NOHUGEPAGE`).
        const NOT_HUGE = 1 << 9;
        /// The program asked for it to be left out of dumps.
        const NOT_DUMPED = 1 << 10;
    }
}

/// Where the pages of a region come from.
#[derive(Clone, Debug)]
pub(crate) enum Backing {
    /// From nowhere: they start as zeros.
    Anonymous,
    /// From an object.
    Object {
        object: Arc<dyn MemoryObject>,
        /// The offset in it, whole pages, of the region's first byte.
        offset: usize,
    },
}

impl Backing {
    /// Returns the backing of what starts `len` bytes further on.
    fn skip(&self, len: usize) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::Object { object, offset } => Self::Object {
                object: Arc::clone(object),
                // Checked when it was mapped: its end is a number, too.
                offset: offset + len,
            },
        }
    }

    /// Returns whether a backing is this one, `len` bytes further on.
    fn is_followed_by(&self, len: usize, next: &Self) -> bool {
        match (self, next) {
            (Self::Anonymous, Self::Anonymous) => true,
            (
                Self::Object { object, offset },
                Self::Object {
                    object: next_object,
                    offset: next_offset,
                },
            ) => Arc::ptr_eq(object, next_object) && offset + len == *next_offset,
            _ => false,
        }
    }
}

/// A region, without its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// What the program asked for, which is not what the hardware can do: see
    /// [`Self::property`].
    pub(crate) protection: PageFlags,
    pub(crate) flags: RegionFlags,
    pub(crate) backing: Backing,
}

impl Region {
    /// Returns the second part of the region, from `len` bytes on.
    pub(super) fn skip(&self, len: usize) -> Self {
        Self {
            protection: self.protection,
            flags: self.flags,
            backing: self.backing.skip(len),
        }
    }

    /// Returns whether this region, of `len` bytes, and the one behind it are one.
    pub(super) fn is_followed_by(&self, len: usize, next: &Self) -> bool {
        self.protection == next.protection
            && self.flags == next.flags
            && self.backing.is_followed_by(len, &next.backing)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.flags.contains(RegionFlags::SHARED)
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self.backing, Backing::Anonymous)
    }

    /// Returns whether its pages are paid for by the program alone: what
    /// `RLIMIT_DATA` is about.
    pub(super) fn is_data(&self) -> bool {
        self.is_data_as(self.protection)
    }

    /// Returns whether they would be, with another protection.
    pub(super) fn is_data_as(&self, protection: PageFlags) -> bool {
        let others = RegionFlags::SHARED | RegionFlags::GROWS_DOWN;
        protection.contains(PageFlags::W) && !self.flags.intersects(others)
    }

    /// Returns whether the region may be given a protection.
    pub(super) fn may_be(&self, protection: PageFlags) -> bool {
        self.flags.contains(RegionFlags::MAY_WRITE) || !protection.contains(PageFlags::W)
    }

    /// Changes the protection.
    pub(super) fn protect(&mut self, protection: PageFlags) {
        self.protection = protection;
        self.note_own_pages();
    }

    /// Notes that a region that can be written may get pages of its own.
    pub(super) fn note_own_pages(&mut self) {
        if self.protection.contains(PageFlags::W) && !self.is_shared() {
            self.flags |= RegionFlags::HAS_OWN_PAGES;
        }
    }

    /// Returns whether an access is allowed. The hardware cannot forbid reading
    /// what may be written or executed.
    pub(super) fn allows(&self, access: Access) -> bool {
        match access {
            Access::Read => !self.protection.is_empty(),
            _ => self.protection.contains(access.needs()),
        }
    }

    /// Returns the rights of a page of the region.
    pub(super) fn rights(&self, is_in_place: bool) -> PageFlags {
        hardware_rights(self.protection, is_in_place)
    }

    /// Returns the property of a page that is about to be used for the first time.
    pub(super) fn property(&self, is_in_place: bool, access: Access) -> PageProperty {
        let mut flags = self.rights(is_in_place) | PageFlags::ACCESSED;
        flags.set(WRITE_IN_PLACE, is_in_place);
        flags.set(PageFlags::DIRTY, access == Access::Write);
        PageProperty::new_user(flags, CachePolicy::Writeback)
    }

    /// Returns the object, and the index of its page that is `offset` bytes into
    /// the region.
    pub(super) fn object_page(&self, offset: usize) -> Option<(&Arc<dyn MemoryObject>, usize)> {
        match &self.backing {
            Backing::Anonymous => None,
            Backing::Object {
                object,
                offset: first,
            } => Some((object, (first + offset) / PAGE_SIZE)),
        }
    }
}

/// Returns what the hardware is to allow for a page.
pub(super) fn hardware_rights(protection: PageFlags, is_in_place: bool) -> PageFlags {
    let mut rights = protection & PageFlags::RWX;
    rights.set(PageFlags::R, !protection.is_empty());
    if !is_in_place {
        rights -= PageFlags::W;
    }
    rights
}
