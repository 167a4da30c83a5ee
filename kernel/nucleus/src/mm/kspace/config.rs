//! What the kernel's page table maps.
//!
//! A mapping owns its frames or, like those of all RAM and of devices, does not.
//! The two are told apart by [`PageFlags::AVAIL1`], which is set where frames are
//! owned and never shown.

use core::ops::Range;
use core::sync::atomic::Ordering;

use crate::arch::memory;
use crate::arch::paging::PageTableEntry;
use crate::mm::frame::meta::slot_of_unchecked;
use crate::mm::frame::{AnyFrameMeta, Frame, FrameRef, Segment};
use crate::mm::page_table::{PageTableConfig, PtFlags, level_of_size, tagged, untagged};
use crate::mm::paging::{PagingConsts, page_size};
use crate::mm::tlb::Kept;
use crate::mm::{Paddr, PageFlags, PageProperty, PagingLevel};

/// The configuration of the kernel's page table.
#[derive(Clone, Debug)]
pub struct KernelPtConfig;

/// What is mapped for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappedItem {
    /// A frame, with a reference to it.
    Tracked(Frame<dyn AnyFrameMeta>, PageProperty),
    /// The frames of a huge page, with a reference to each.
    TrackedHuge(Segment<dyn AnyFrameMeta>, PageProperty),
    /// Physical memory that the mapping does not own, of a page of a level.
    Untracked(Paddr, PagingLevel, PageProperty),
}

impl From<MappedItem> for Kept {
    fn from(item: MappedItem) -> Self {
        match item {
            MappedItem::Tracked(frame, _) => Self::Frame(frame),
            MappedItem::TrackedHuge(frames, _) => Self::Frames(frames),
            MappedItem::Untracked(..) => Self::Nothing,
        }
    }
}

/// What is mapped for the kernel, borrowed from the table.
#[derive(Debug)]
pub enum MappedItemRef<'a> {
    /// A frame.
    Tracked(FrameRef<'a, dyn AnyFrameMeta>, PageProperty),
    /// The addresses of the frames of a huge page.
    TrackedHuge(Range<Paddr>, PageProperty),
    /// Physical memory that the mapping does not own.
    Untracked(Paddr, PagingLevel, PageProperty),
}

// SAFETY:
// 1. Handles and segments are taken apart by their `into_raw`, which leaves the
//    counts alone; untracked memory has no owner.
// 2. The tag tells tracked from untracked and the level frames from segments, so
//    each form leads back to the variant that it came from. A part of a segment
//    is one frame or a shorter segment, whose references it has.
// 3. A frame is aligned to a page; those who map huge pages and untracked memory
//    align them.
unsafe impl PageTableConfig for KernelPtConfig {
    type E = PageTableEntry;
    type C = PagingConsts;
    type Item = MappedItem;
    type ItemRef<'a> = MappedItemRef<'a>;

    const TOP_LEVEL_INDEX_RANGE: Range<usize> = 256..512;
    const TOP_LEVEL_CAN_UNMAP: bool = false;
    const LEADING_BITS: usize = 0xffff;
    const NODES: &'static str = "kernel-tables";
    const PT_FLAGS: PtFlags = PtFlags::empty();

    fn count_nodes(change: isize) {
        // Relaxed: a count.
        memory::memory()
            .nr_kernel_nodes
            .fetch_add(change as usize, Ordering::Relaxed);
    }

    fn item_into_raw(item: MappedItem) -> (Paddr, PagingLevel, PageProperty) {
        match item {
            MappedItem::Tracked(frame, prop) => {
                debug_assert_eq!(prop, untagged(prop), "the tag is not the caller's");
                (frame.into_raw(), 1, tagged(prop))
            }
            MappedItem::TrackedHuge(frames, prop) => {
                debug_assert_eq!(prop, untagged(prop), "the tag is not the caller's");
                let level = level_of_size(frames.size());
                (frames.into_raw().start, level, tagged(prop))
            }
            MappedItem::Untracked(paddr, level, prop) => {
                debug_assert_eq!(prop, untagged(prop), "the tag is not the caller's");
                (paddr, level, prop)
            }
        }
    }

    fn item_level(item: &MappedItem) -> PagingLevel {
        match item {
            MappedItem::Tracked(..) => 1,
            MappedItem::TrackedHuge(frames, _) => level_of_size(frames.size()),
            MappedItem::Untracked(_, level, _) => *level,
        }
    }

    unsafe fn item_from_raw(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> MappedItem {
        let is_tracked = prop.flags.contains(PageFlags::AVAIL1);
        let prop = untagged(prop);
        if !is_tracked {
            return MappedItem::Untracked(paddr, level, prop);
        }
        if level == 1 {
            // SAFETY: With the tag, an entry of level 1 has a reference to the
            // frame, which passes on as the caller promises.
            return MappedItem::Tracked(unsafe { Frame::from_raw(paddr) }, prop);
        }
        let range = paddr..paddr + page_size::<PagingConsts>(level);
        // SAFETY: As above, for each frame of the huge page.
        MappedItem::TrackedHuge(unsafe { Segment::from_raw(range) }, prop)
    }

    unsafe fn item_ref_from_raw<'a>(
        paddr: Paddr,
        level: PagingLevel,
        prop: PageProperty,
    ) -> MappedItemRef<'a> {
        let is_tracked = prop.flags.contains(PageFlags::AVAIL1);
        let prop = untagged(prop);
        if !is_tracked {
            return MappedItemRef::Untracked(paddr, level, prop);
        }
        if level == 1 {
            // SAFETY: Tracked frames are in RAM.
            let slot = unsafe { slot_of_unchecked(paddr) };
            // SAFETY: 1. the entry's reference outlives the lifetime, as the
            // caller promises; 2. every type has this in common.
            return MappedItemRef::Tracked(unsafe { FrameRef::from_slot(slot) }, prop);
        }
        let range = paddr..paddr + page_size::<PagingConsts>(level);
        MappedItemRef::TrackedHuge(range, prop)
    }

    fn tracked(item: &MappedItem) -> bool {
        !matches!(item, MappedItem::Untracked(..))
    }
}
