//! Levels, entries, sizes.
//!
//! A table of `levels` levels is a tree of nodes with `entries` entries each. The
//! entries of a node of level 1 are pages of the base size; one of a higher level
//! is as large as a whole node of the level below.

use core::ops::Range;

use crate::Address;

/// A level: 1 for the nodes whose entries are pages of the base size, and
/// [`Geometry::levels`] for the root.
pub type Level = u8;

/// The shape of a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Geometry {
    /// Bytes of a page of the base size.
    pub page: usize,
    /// Levels of nodes.
    pub levels: Level,
    /// Entries of a node.
    pub entries: usize,
    /// The highest level whose entries may be leaves.
    pub highest_leaf: Level,
    /// The addresses that the table is about: `first..=last`, since the end may
    /// be no address.
    pub managed: (Address, Address),
}

impl Geometry {
    /// Returns the bytes of addresses that an entry of a node of a level covers.
    #[must_use]
    pub fn slot_size(&self, level: Level) -> usize {
        self.page * self.entries.pow(u32::from(level) - 1)
    }

    /// Returns the bytes of addresses that a node of a level covers.
    #[must_use]
    pub fn node_size(&self, level: Level) -> usize {
        self.slot_size(level) * self.entries
    }

    /// Returns the first address of the entry of a level that covers an address.
    #[must_use]
    pub fn slot_start(&self, level: Level, va: Address) -> Address {
        va - va % self.slot_size(level)
    }

    /// Returns the addresses of the entry of a level that covers an address.
    #[must_use]
    pub fn slot(&self, level: Level, va: Address) -> Range<Address> {
        let start = self.slot_start(level, va);
        start..start + self.slot_size(level)
    }

    /// Returns the first address of the node of a level that covers an address.
    #[must_use]
    pub fn node_start(&self, level: Level, va: Address) -> Address {
        va - va % self.node_size(level)
    }

    /// Returns whether a range is not empty and within the table.
    #[must_use]
    pub fn manages(&self, range: &Range<Address>) -> bool {
        let (first, last) = self.managed;
        range.start < range.end && first <= range.start && range.end - 1 <= last
    }

    /// Returns whether a number of bytes, or an address, is whole pages.
    #[must_use]
    pub fn is_whole_pages(&self, value: usize) -> bool {
        value.is_multiple_of(self.page)
    }
}
