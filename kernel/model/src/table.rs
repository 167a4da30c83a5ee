//! What is mapped, and by which nodes.
//!
//! [`Table`] is the whole state of a page table: the leaves, by their first
//! addresses, and the nodes below the root, by level and first address. The
//! leaves alone say what every address translates to; the nodes say what memory
//! the table takes, and where a whole table can be taken out at once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;

use crate::{Address, Geometry, Level, Property};

/// A mapping of one page, of the base size or huge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf {
    /// The level of the node whose entry it is.
    pub level: Level,
    /// Where it leads.
    pub paddr: Address,
    /// How it is mapped.
    pub prop: Property,
}

/// A node below the root.
pub type Node = (Level, Address);

/// A page table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Its shape.
    pub geometry: Geometry,
    /// The leaves, by their first addresses. They do not overlap.
    pub leaves: BTreeMap<Address, Leaf>,
    /// The nodes below the root. The parent of each is one as well, or the root.
    pub nodes: BTreeSet<Node>,
}

impl Table {
    /// Returns the table that maps nothing.
    #[must_use]
    pub fn empty(geometry: Geometry) -> Self {
        Self {
            geometry,
            leaves: BTreeMap::new(),
            nodes: BTreeSet::new(),
        }
    }

    /// Returns the addresses of a leaf that is mapped at an address.
    #[must_use]
    pub fn extent(&self, start: Address) -> Range<Address> {
        start..start + self.geometry.slot_size(self.leaves[&start].level)
    }

    /// Returns the first address of the leaf that covers an address.
    #[must_use]
    pub fn leaf_at(&self, va: Address) -> Option<Address> {
        let (start, _) = self.leaves.range(..=va).next_back()?;
        self.extent(*start).contains(&va).then_some(*start)
    }

    /// Returns the first address of the first leaf that has a part in a range.
    #[must_use]
    pub fn first_leaf(&self, range: &Range<Address>) -> Option<Address> {
        if range.is_empty() {
            return None;
        }
        self.leaf_at(range.start).or_else(|| {
            self.leaves
                .range(range.clone())
                .next()
                .map(|(start, _)| *start)
        })
    }

    /// Returns what an address translates to, and how.
    #[must_use]
    pub fn translate(&self, va: Address) -> Option<(Address, Property)> {
        let start = self.leaf_at(va)?;
        let leaf = self.leaves[&start];
        Some((leaf.paddr + (va - start), leaf.prop))
    }

    /// Returns whether there is a node of a level that covers an address.
    #[must_use]
    pub fn has_node(&self, level: Level, va: Address) -> bool {
        level == self.geometry.levels
            || self
                .nodes
                .contains(&(level, self.geometry.node_start(level, va)))
    }

    /// Returns the level of the lowest node that covers an address.
    #[must_use]
    pub fn deepest(&self, va: Address) -> Level {
        (1..=self.geometry.levels)
            .find(|level| self.has_node(*level, va))
            .unwrap_or(self.geometry.levels)
    }

    /// Returns the number of entries of a node that are not absent.
    #[must_use]
    pub fn children(&self, (level, start): Node) -> usize {
        let range = start..start + self.geometry.node_size(level);
        let leaves = self.leaves.range(range.clone());
        let nodes = self.nodes.iter();
        leaves.filter(|(_, leaf)| leaf.level == level).count()
            + nodes
                .filter(|(below, start)| below + 1 == level && range.contains(start))
                .count()
    }

    /// Returns the leaves that lie in a range.
    #[must_use]
    pub fn leaves_within(&self, range: &Range<Address>) -> Vec<(Address, Leaf)> {
        let leaves = self.leaves.range(range.clone());
        leaves.map(|(start, leaf)| (*start, *leaf)).collect()
    }

    /// Returns the table without what lies in a range, nodes included, of which no
    /// leaf lies in part only.
    #[must_use]
    pub fn without(&self, range: &Range<Address>) -> Self {
        let mut table = self.clone();
        let size = |level| self.geometry.node_size(level);
        table.leaves.retain(|start, _| !range.contains(start));
        table
            .nodes
            .retain(|(level, start)| start < &range.start || start + size(*level) > range.end);
        table
    }

    /// Returns the table with the leaf that covers an address split once: into
    /// leaves of the level below, which are as many as a node has entries, with
    /// the same property and each its part of where the leaf leads. Every address
    /// translates as before.
    #[must_use]
    pub fn split(&self, va: Address) -> Self {
        let mut table = self.clone();
        let Some(start) = self.leaf_at(va) else {
            return table;
        };
        let leaf = self.leaves[&start];
        let level = leaf.level - 1;
        let size = self.geometry.slot_size(level);
        for part in 0..self.geometry.entries {
            let paddr = leaf.paddr + part * size;
            let part = start + part * size;
            table.leaves.insert(
                part,
                Leaf {
                    level,
                    paddr,
                    ..leaf
                },
            );
        }
        table.nodes.insert((level, start));
        table
    }

    /// Returns the table with the leaf that covers an address split until it lies
    /// in a range.
    #[must_use]
    pub fn split_to_fit(&self, va: Address, range: &Range<Address>) -> Self {
        let mut table = self.clone();
        while let Some(start) = table.leaf_at(va) {
            let extent = table.extent(start);
            if range.start <= extent.start && extent.end <= range.end {
                break;
            }
            table = table.split(va);
        }
        table
    }

    /// Returns the table with all nodes on the way to an address down to a level,
    /// splitting leaves that are in the way.
    #[must_use]
    pub fn with_path(&self, va: Address, level: Level) -> Self {
        let mut table = self.clone();
        for level in (level..self.geometry.levels).rev() {
            let is_leaf_in_the_way = |start: Address| table.leaves[&start].level > level;
            if table.leaf_at(va).is_some_and(is_leaf_in_the_way) {
                table = table.split(va);
            } else {
                let start = self.geometry.node_start(level, va);
                table.nodes.insert((level, start));
            }
        }
        table
    }

    /// Checks what is true of every table.
    ///
    /// # Panics
    ///
    /// Panics, saying what is wrong.
    pub fn check(&self) {
        let mut end_before = 0;
        for (start, leaf) in &self.leaves {
            let extent = self.extent(*start);
            let size = extent.end - extent.start;
            assert!(end_before <= *start, "leaves overlap at {start:#x}");
            assert!(start.is_multiple_of(size) && leaf.paddr.is_multiple_of(size));
            assert!((1..=self.geometry.highest_leaf).contains(&leaf.level));
            assert!(
                self.geometry.manages(&extent),
                "{extent:#x?} is not the table's"
            );
            assert!(
                self.has_node(leaf.level, *start),
                "{start:#x} is in no node"
            );
            assert!(leaf.level == 1 || !self.has_node(leaf.level - 1, *start));
            end_before = extent.end;
        }
        for (level, start) in &self.nodes {
            assert!(start.is_multiple_of(self.geometry.node_size(*level)));
            assert!(self.has_node(level + 1, *start), "a node without a parent");
        }
    }
}
