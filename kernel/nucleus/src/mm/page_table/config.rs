//! What a page table is of: its entries, its geometry, and what it maps.
//!
//! A [`PageTableConfig`] abstracts from both the use of a page table (the range
//! that it manages, whether mappings own their frames) and from the machine (the
//! form of an entry). Its constants obey laws, which [`config_laws`] checks at
//! compile time for every configuration that a table is made of:
//!
//! ```compile_fail
//! use nucleus::mm::page_table::config_laws;
//! # use nucleus::mm::page_table::examples::Reversed;
//! // Its range of root entries is reversed.
//! const _: () = config_laws::<Reversed>();
//! ```
//!
//! ```compile_fail
//! use nucleus::mm::page_table::config_laws;
//! # use nucleus::mm::page_table::examples::TooWide;
//! // It claims more root entries than a node has.
//! const _: () = config_laws::<TooWide>();
//! ```
//!
//! ```
//! use nucleus::mm::page_table::{UserPtConfig, config_laws};
//! const _: () = config_laws::<UserPtConfig>();
//! ```

use core::fmt::Debug;
use core::ops::{Range, RangeInclusive};

use bitflags::bitflags;

use crate::mm::paging::{PagingConstsTrait, page_shift, paging_laws};
use crate::mm::{Paddr, PageProperty, PagingLevel, Vaddr};
use crate::sync::atomic::{AtomicUsize, Ordering};

bitflags! {
    /// What an entry that leads to a child node says besides the child.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PtFlags: u8 {
        /// Leaves below may be open to ring 3.
        const USER = 1 << 0;
    }
}

/// What one entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PteScalar {
    /// Nothing.
    Absent,
    /// The node of the next level down.
    PageTable(Paddr, PtFlags),
    /// A mapping of the size of this level's pages.
    Mapped(Paddr, PageProperty),
}

/// An entry of a node: one machine word, whose form is the machine's.
///
/// *Present* means not absent in the eyes of the software: a leaf without any
/// right is present here, and not to the hardware.
pub trait PageTableEntryTrait: Copy + Debug + Send + Sync + 'static {
    /// Encodes an entry of a node of `level`.
    ///
    /// # Panics
    ///
    /// As [`Self::new_page`].
    fn from_repr(repr: &PteScalar, level: PagingLevel) -> Self;
    /// Decodes an entry of a node of `level`.
    fn to_repr(&self, level: PagingLevel) -> PteScalar;
    /// Returns whether the entry is not absent.
    fn is_present(&self) -> bool;
    /// Returns whether the entry leads to a node.
    fn is_table(&self) -> bool;
    /// Returns whether the entry is a leaf: so not for an absent one.
    fn is_last(&self) -> bool;
    /// Returns the address that the entry, which is a leaf of a node of `level`,
    /// maps.
    fn paddr(&self, level: PagingLevel) -> Paddr;
    /// Returns the address of the node that the entry leads to.
    fn child(&self) -> Paddr;
    /// Returns the property of the entry, which is a leaf.
    fn prop(&self, level: PagingLevel) -> PageProperty;
    /// Reads an entry in memory.
    fn load(slot: &AtomicUsize, ordering: Ordering) -> Self;
    /// Writes an entry in memory.
    fn store(self, slot: &AtomicUsize, ordering: Ordering);
    /// Replaces an entry in memory, and returns what it was at that moment.
    fn swap(self, slot: &AtomicUsize) -> Self;
    /// Replaces an entry in memory if it still is `self`.
    ///
    /// # Errors
    ///
    /// What it is instead.
    fn compare_exchange(self, slot: &AtomicUsize, new: Self) -> Result<(), Self>;
    /// Returns whether two leaves of a node of level 1 have the same property.
    fn differs_in_address_alone(self, other: Self) -> bool;
    /// Returns the word.
    fn as_usize(self) -> usize;
    /// Returns the entry of a word.
    fn from_usize(bits: usize) -> Self;

    /// Returns the absent entry.
    fn new_absent() -> Self {
        Self::from_usize(0)
    }

    /// Returns a leaf of a node of `level`; `paddr` is aligned to its size.
    ///
    /// # Panics
    ///
    /// May panic when an address cannot be expressed, such as an unaligned one.
    fn new_page(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> Self;

    /// Returns an entry that leads to a child node.
    fn new_pt(child: Paddr, flags: PtFlags) -> Self {
        // A node's form is the same at every level that can have children.
        Self::from_repr(&PteScalar::PageTable(child, flags), 2)
    }

    /// Sets the property of a leaf; does nothing to other entries.
    fn set_prop(&mut self, level: PagingLevel, prop: PageProperty) {
        if self.is_present() && self.is_last() {
            *self = Self::new_page(self.paddr(level), level, prop);
        }
    }
}

/// The configuration of a page table.
///
/// # Safety
///
/// 1. `item_into_raw` takes the item's ownership into the raw form, where it
///    stays: nothing is dropped, no count changes.
/// 2. `item_from_raw` gives back the very item that `item_into_raw` took, if
///    called with the same raw form; with a part of it, or another property, it
///    gives the item of that part, or with that property. What the raw form was
///    split into, or joined from, owns each physical address exactly once.
/// 3. The raw form is aligned to its level's page size, and a tracked item's
///    frames lie below the bound of physical memory.
pub unsafe trait PageTableConfig: Clone + Debug + Send + Sync + 'static {
    /// The entry.
    type E: PageTableEntryTrait;
    /// The geometry.
    type C: PagingConstsTrait;
    /// What is mapped. Cloning it adds a reference to what it tracks.
    type Item: Clone;
    /// The same, borrowed from a table for as long as a cursor stands still.
    type ItemRef<'a>;

    /// The entries of the root that belong to the table.
    const TOP_LEVEL_INDEX_RANGE: Range<usize>;
    /// Whether entries of the root may be removed. They may not where other
    /// tables share the nodes that they lead to.
    const TOP_LEVEL_CAN_UNMAP: bool = true;
    /// Bits 48 to 63 of every address of the table.
    const LEADING_BITS: usize = 0;
    /// Whether nodes are a user's memory, who does not get what is kept for the kernel.
    const IS_USERS: bool = false;
    /// What nodes are called where frames are counted.
    const NODES: &'static str = "other-tables";
    /// What entries that lead to child nodes say.
    const PT_FLAGS: PtFlags;

    /// Counts the table's nodes, besides roots, up or down; for those who account
    /// for frames.
    fn count_nodes(_change: isize) {}

    /// Takes an item apart: its address, level and property.
    fn item_into_raw(item: Self::Item) -> (Paddr, PagingLevel, PageProperty);

    /// Returns the level of an item.
    fn item_level(item: &Self::Item) -> PagingLevel;

    /// Puts an item together.
    ///
    /// # Safety
    ///
    /// 1. The arguments are the raw form of an item, or a part of it, or that
    ///    with another property of the same trackedness.
    /// 2. The ownership of what they name passes to the result.
    unsafe fn item_from_raw(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> Self::Item;

    /// Looks at an item without taking it.
    ///
    /// # Safety
    ///
    /// 1. As for [`Self::item_from_raw`].
    /// 2. The ownership stays where it is, and outlives `'a`.
    unsafe fn item_ref_from_raw<'a>(
        paddr: Paddr,
        level: PagingLevel,
        prop: PageProperty,
    ) -> Self::ItemRef<'a>;

    /// Returns whether cloning the item adds a reference.
    fn tracked(item: &Self::Item) -> bool;
}

/// Checks a configuration; for use in constants.
///
/// # Panics
///
/// Panics, at compile time, when a law is broken.
pub const fn config_laws<C: PageTableConfig>() {
    paging_laws::<C::C>();
    let (width, shift) = (C::C::ADDRESS_WIDTH, page_shift::<C::C>(C::C::NR_LEVELS));
    let range = C::TOP_LEVEL_INDEX_RANGE;
    assert!(range.start < range.end, "the table manages something");
    assert!(
        range.end <= C::C::NR_ENTRIES && range.end <= 1 << (width - shift),
        "the root has all the entries that the table manages"
    );
    assert!(C::LEADING_BITS < 1 << 16, "leading bits are sixteen");
    let is_negative = const_sign(range.start, shift, width);
    assert!(
        !C::C::VA_SIGN_EXT || is_negative == const_sign(range.end - 1, shift, width),
        "both ends of the range have the same sign"
    );
    if C::C::VA_SIGN_EXT && is_negative {
        assert!(width >= 48, "the leading bits hold all of the sign");
        assert!(
            C::LEADING_BITS << 48 == usize::MAX << width,
            "the leading bits repeat the sign"
        );
    } else {
        assert!(C::LEADING_BITS == 0, "only a sign has leading bits");
    }
    assert!(
        size_of::<C::E>() == C::C::PTE_SIZE,
        "an entry is as large as the geometry says"
    );
    assert!(
        size_of::<C::E>().is_multiple_of(align_of::<C::E>()),
        "entries stand side by side"
    );
}

const fn const_sign(index: usize, shift: usize, width: usize) -> bool {
    index << shift >> (width - 1) & 1 == 1
}

/// Returns the addresses that a table manages, both ends included: the last one
/// may be the last there is.
pub const fn vaddr_range<C: PageTableConfig>() -> RangeInclusive<Vaddr> {
    let shift = page_shift::<C::C>(C::C::NR_LEVELS);
    let base = C::LEADING_BITS << 48;
    let range = C::TOP_LEVEL_INDEX_RANGE;
    base + (range.start << shift)..=base + ((range.end - 1) << shift) + ((1 << shift) - 1)
}

/// Configurations that break a law, for the examples of this module.
#[doc(hidden)]
pub mod examples;
