//! Tiny geometries: three levels of four entries, 64 pages in all, or of two
//! entries, 8 pages.
//!
//! Tests and checkers can enumerate what a table of them does, through the very
//! code that serves the machine's geometry. Leaves are of one page, or of as many
//! as a node has entries, and own their frames.

use core::marker::PhantomData;
use core::ops::Range;

use super::PageTableError;
use super::config::{PageTableConfig, PtFlags};
use super::copy::CopyablePtConfig;
use crate::arch::paging::PageTableEntry;
use crate::mm::frame::{Segment, have_one_reference, try_add_references};
use crate::mm::paging::{PagingConstsTrait, page_size};
use crate::mm::{Paddr, PageProperty, PagingLevel};

/// Three levels of so many entries.
#[derive(Clone, Copy, Debug)]
pub struct TinyPaging<const ENTRIES: usize = 4>;

impl<const ENTRIES: usize> PagingConstsTrait for TinyPaging<ENTRIES> {
    const BASE_PAGE_SIZE: usize = 4096;
    const NR_LEVELS: PagingLevel = 3;
    const HIGHEST_TRANSLATION_LEVEL: PagingLevel = 2;
    const PTE_SIZE: usize = 8;
    const ADDRESS_WIDTH: usize = 12 + 3 * ENTRIES.trailing_zeros() as usize;
    const VA_SIGN_EXT: bool = false;
    const NR_ENTRIES: usize = ENTRIES;
}

/// The configuration of a tiny page table.
#[derive(Clone, Debug)]
pub struct TinyPtConfig<const ENTRIES: usize = 4>;

/// The frames of a page, with a reference to each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TinyItem {
    /// One frame, or as many as a node has entries.
    pub frames: Segment<()>,
    /// How they are mapped.
    pub prop: PageProperty,
}

/// The same, borrowed from a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TinyItemRef<'a> {
    /// Where the frames are.
    pub frames: Range<Paddr>,
    /// How they are mapped.
    pub prop: PageProperty,
    _table: PhantomData<&'a ()>,
}

// SAFETY:
// 1. A segment is taken apart by its `into_raw`, which leaves the counts alone.
// 2. The level says how many frames there are; a part of them is a shorter
//    segment, whose references it has.
// 3. Whoever makes a huge item aligns it, or encoding it panics.
unsafe impl<const ENTRIES: usize> PageTableConfig for TinyPtConfig<ENTRIES> {
    type E = PageTableEntry;
    type C = TinyPaging<ENTRIES>;
    type Item = TinyItem;
    type ItemRef<'a> = TinyItemRef<'a>;

    const TOP_LEVEL_INDEX_RANGE: Range<usize> = 0..ENTRIES;
    const PT_FLAGS: PtFlags = PtFlags::USER;

    fn item_into_raw(item: TinyItem) -> (Paddr, PagingLevel, PageProperty) {
        let level = Self::item_level(&item);
        (item.frames.into_raw().start, level, item.prop)
    }

    fn item_level(item: &TinyItem) -> PagingLevel {
        if item.frames.size() == page_size::<TinyPaging<ENTRIES>>(1) {
            1
        } else {
            2
        }
    }

    unsafe fn item_from_raw(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> TinyItem {
        let range = paddr..paddr + page_size::<TinyPaging<ENTRIES>>(level);
        // SAFETY: The references of the entry pass on, as the caller promises.
        let frames = unsafe { Segment::from_raw(range) };
        TinyItem { frames, prop }
    }

    unsafe fn item_ref_from_raw<'a>(
        paddr: Paddr,
        level: PagingLevel,
        prop: PageProperty,
    ) -> TinyItemRef<'a> {
        TinyItemRef {
            frames: paddr..paddr + page_size::<TinyPaging<ENTRIES>>(level),
            prop,
            _table: PhantomData,
        }
    }

    fn tracked(_item: &TinyItem) -> bool {
        true
    }
}

// SAFETY: A leaf owns a reference to each of its frames. 1. One is added to each.
// 2. Each is asked.
unsafe impl<const ENTRIES: usize> CopyablePtConfig for TinyPtConfig<ENTRIES> {
    unsafe fn share(
        paddr: Paddr,
        level: PagingLevel,
        _prop: PageProperty,
    ) -> Result<(), PageTableError> {
        let frames = paddr..paddr + page_size::<TinyPaging<ENTRIES>>(level);
        // SAFETY: The item's owner has a reference to each of them.
        let is_shared = unsafe { try_add_references(frames) };
        is_shared.then_some(()).ok_or(PageTableError::NoMemory)
    }

    unsafe fn is_unshared(paddr: Paddr, level: PagingLevel, _prop: PageProperty) -> bool {
        let frames = paddr..paddr + page_size::<TinyPaging<ENTRIES>>(level);
        // SAFETY: The item's owner has a reference to each of them.
        unsafe { have_one_reference(frames) }
    }
}
