//! The page tables of users: the lower half of the address space.
//!
//! What is mapped is memory that a user may see: untyped frames, which the
//! mapping owns, or a device's memory, which nobody owns. The two are told apart
//! by [`PageFlags::AVAIL1`], which is set for a device's and never shown.

use core::ops::Range;
use core::sync::atomic::Ordering;

use super::PageTableError;
use super::config::{PageTableConfig, PtFlags};
use super::copy::CopyablePtConfig;
use crate::arch::memory;
use crate::arch::paging::PageTableEntry;
use crate::mm::frame::meta::slot_of_unchecked;
use crate::mm::frame::{
    AnyUFrameMeta, FrameRef, UFrame, USegment, have_one_reference, try_add_references,
};
use crate::mm::paging::{PagingConsts, page_size};
use crate::mm::tlb::Kept;
use crate::mm::{Paddr, PageFlags, PageProperty, PagingLevel};

/// The configuration of the page tables of users.
#[derive(Clone, Debug)]
pub struct UserPtConfig;

/// What is mapped for a user.
#[derive(Debug, PartialEq, Eq)]
pub enum MappedItem {
    /// A frame, with a reference to it.
    MappedRam {
        /// The frame.
        frame: UFrame,
        /// How it is mapped.
        prop: PageProperty,
    },
    /// The frames of a huge page, with a reference to each of them.
    MappedHuge {
        /// The frames: as many as a page of 2 MiB or 1 GiB has.
        frames: USegment,
        /// How they are mapped.
        prop: PageProperty,
    },
    /// A device's memory.
    MappedIoMem {
        /// Where it is.
        paddr: Paddr,
        /// The level of the page.
        level: PagingLevel,
        /// How it is mapped.
        prop: PageProperty,
    },
}

impl MappedItem {
    /// Returns how the item is mapped.
    pub fn prop(&self) -> PageProperty {
        match self {
            Self::MappedRam { prop, .. }
            | Self::MappedHuge { prop, .. }
            | Self::MappedIoMem { prop, .. } => *prop,
        }
    }
}

impl Clone for MappedItem {
    // Inlined, so that a query of a page need not look what the item is.
    #[inline(always)]
    fn clone(&self) -> Self {
        match self {
            Self::MappedRam { frame, prop } => Self::MappedRam {
                frame: frame.clone(),
                prop: *prop,
            },
            Self::MappedHuge { frames, prop } => Self::MappedHuge {
                frames: frames.clone(),
                prop: *prop,
            },
            Self::MappedIoMem { paddr, level, prop } => Self::MappedIoMem {
                paddr: *paddr,
                level: *level,
                prop: *prop,
            },
        }
    }
}

impl From<MappedItem> for Kept {
    #[inline(always)]
    fn from(item: MappedItem) -> Self {
        match item {
            MappedItem::MappedRam { frame, .. } => Self::Frame(frame.into()),
            MappedItem::MappedHuge { frames, .. } => Self::Frames(frames.into()),
            MappedItem::MappedIoMem { .. } => Self::Nothing,
        }
    }
}

/// What is mapped for a user, borrowed from the table.
#[derive(Debug)]
pub enum MappedItemRef<'a> {
    /// A frame.
    MappedRam {
        /// The frame.
        frame: FrameRef<'a, dyn AnyUFrameMeta>,
        /// How it is mapped.
        prop: PageProperty,
    },
    /// The frames of a huge page.
    MappedHuge {
        /// Their addresses.
        frames: Range<Paddr>,
        /// How they are mapped.
        prop: PageProperty,
    },
    /// A device's memory.
    MappedIoMem {
        /// Where it is.
        paddr: Paddr,
        /// The level of the page.
        level: PagingLevel,
        /// How it is mapped.
        prop: PageProperty,
    },
}

/// Returns the level of the page that a number of bytes is.
///
/// # Panics
///
/// Panics when no page is so large.
pub(crate) fn level_of_size(size: usize) -> PagingLevel {
    (1..=3)
        .find(|level| page_size::<PagingConsts>(*level) == size)
        .unwrap_or_else(|| panic!("no page has {size:#x} bytes"))
}

/// Returns a property as it is shown: without the tag.
pub(crate) fn untagged(prop: PageProperty) -> PageProperty {
    PageProperty {
        flags: prop.flags - PageFlags::AVAIL1,
        ..prop
    }
}

/// Returns a property with the tag.
pub(crate) fn tagged(prop: PageProperty) -> PageProperty {
    PageProperty {
        flags: prop.flags | PageFlags::AVAIL1,
        ..prop
    }
}

// SAFETY:
// 1. Handles and segments are taken apart by their `into_raw`, which leaves the
//    counts alone; a device's memory has no owner.
// 2. The tag tells devices from frames and the level frames from segments, so
//    each form leads back to the variant that it came from. A part of a segment
//    is one frame or a shorter segment, whose references it has.
// 3. A frame is aligned to a page; `level_of_size` and `map_segment` see to it
//    that segments are whole huge pages, aligned to their size.
unsafe impl PageTableConfig for UserPtConfig {
    type E = PageTableEntry;
    type C = PagingConsts;
    type Item = MappedItem;
    type ItemRef<'a> = MappedItemRef<'a>;

    const TOP_LEVEL_INDEX_RANGE: Range<usize> = 0..256;
    const IS_USERS: bool = true;
    const NODES: &'static str = "user-tables";
    const PT_FLAGS: PtFlags = PtFlags::USER;

    #[inline]
    fn count_nodes(change: isize) {
        // Relaxed: a count.
        let count = &memory::memory().nr_user_nodes;
        count.fetch_add(change as usize, Ordering::Relaxed);
    }

    #[inline]
    fn item_into_raw(item: MappedItem) -> (Paddr, PagingLevel, PageProperty) {
        let (paddr, level, prop) = match item {
            MappedItem::MappedRam { frame, prop } => (frame.into_raw(), 1, prop),
            MappedItem::MappedHuge { frames, prop } => {
                let level = level_of_size(frames.size());
                (frames.into_raw().start, level, prop)
            }
            MappedItem::MappedIoMem { paddr, level, prop } => {
                debug_assert_eq!(prop, untagged(prop));
                return (paddr, level, tagged(prop));
            }
        };
        debug_assert_eq!(prop, untagged(prop), "the tag is not the caller's");
        (paddr, level, prop)
    }

    #[inline]
    fn item_level(item: &MappedItem) -> PagingLevel {
        match item {
            MappedItem::MappedRam { .. } => 1,
            MappedItem::MappedHuge { frames, .. } => level_of_size(frames.size()),
            MappedItem::MappedIoMem { level, .. } => *level,
        }
    }

    #[inline]
    unsafe fn item_from_raw(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> MappedItem {
        if prop.flags.contains(PageFlags::AVAIL1) {
            let prop = untagged(prop);
            return MappedItem::MappedIoMem { paddr, level, prop };
        }
        if level == 1 {
            // SAFETY: Without the tag, an entry of level 1 is a frame's, and its
            // reference passes on as the caller promises.
            let frame = unsafe { UFrame::from_raw(paddr) };
            return MappedItem::MappedRam { frame, prop };
        }
        let range = paddr..paddr + page_size::<PagingConsts>(level);
        // SAFETY: As above, for each frame of the huge page.
        let frames = unsafe { USegment::from_raw(range) };
        MappedItem::MappedHuge { frames, prop }
    }

    unsafe fn item_ref_from_raw<'a>(
        paddr: Paddr,
        level: PagingLevel,
        prop: PageProperty,
    ) -> MappedItemRef<'a> {
        if prop.flags.contains(PageFlags::AVAIL1) {
            let prop = untagged(prop);
            return MappedItemRef::MappedIoMem { paddr, level, prop };
        }
        if level == 1 {
            // SAFETY: Mapped frames are in RAM.
            let slot = unsafe { slot_of_unchecked(paddr) };
            // SAFETY: 1. the entry's reference outlives the lifetime, as the
            // caller promises; 2. frames that are mapped here are untyped.
            let frame = unsafe { FrameRef::from_slot(slot) };
            return MappedItemRef::MappedRam { frame, prop };
        }
        let frames = paddr..paddr + page_size::<PagingConsts>(level);
        MappedItemRef::MappedHuge { frames, prop }
    }

    fn tracked(item: &MappedItem) -> bool {
        !matches!(item, MappedItem::MappedIoMem { .. })
    }
}

// SAFETY: Without the tag, a leaf owns a reference to each of its frames, with it none.
// 1. One is added to each. 2. Each is asked.
unsafe impl CopyablePtConfig for UserPtConfig {
    #[inline(always)]
    unsafe fn share(
        paddr: Paddr,
        level: PagingLevel,
        prop: PageProperty,
    ) -> Result<(), PageTableError> {
        let is_shared = if prop.flags.contains(PageFlags::AVAIL1) {
            true
        } else if level == 1 {
            // SAFETY: Mapped frames are in RAM.
            unsafe { slot_of_unchecked(paddr) }.try_add_reference()
        } else {
            // SAFETY: The item's owner has a reference to each of them.
            unsafe { try_add_references(paddr..paddr + page_size::<PagingConsts>(level)) }
        };
        is_shared.then_some(()).ok_or(PageTableError::NoMemory)
    }

    #[inline(always)]
    unsafe fn is_unshared(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> bool {
        if prop.flags.contains(PageFlags::AVAIL1) {
            false
        } else if level == 1 {
            // SAFETY: Mapped frames are in RAM.
            unsafe { slot_of_unchecked(paddr) }.has_one_reference()
        } else {
            // SAFETY: The item's owner has a reference to each of them.
            unsafe { have_one_reference(paddr..paddr + page_size::<PagingConsts>(level)) }
        }
    }
}
