//! Trees of nodes: walking, mapping, taking down.
//!
//! A `Tree` is a root node's address and nothing else; who owns the nodes and
//! who excludes whom is the business of its users, the kernel space and the
//! user address space. All accesses to entries are single words, since the
//! hardware reads them, and sets accessed and dirty bits, at any moment.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{NR_ENTRIES, NR_LEVELS, Paddr, PageProperty, PagingLevel, Vaddr, page_size, pte_index};
use crate::arch::paging::{PageTableEntry, PteState};
use crate::arch::x86_64::memory::paddr_to_vaddr;
use crate::error::Result;

/// Where new nodes come from.
pub(crate) trait NodeSource {
    /// Returns the address of a zeroed frame that is the tree's from now on.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory) when there is none.
    fn new_node(&mut self) -> Result<Paddr>;
}

/// A node, by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(Paddr);

impl Node {
    /// Names the node in the frame at `paddr`.
    ///
    /// # Safety
    ///
    /// The frame is a node in RAM, and remains one while the value is used.
    pub(crate) unsafe fn from_paddr(paddr: Paddr) -> Self {
        Self(paddr)
    }

    fn slot(&self, index: usize) -> &AtomicU64 {
        let entries = paddr_to_vaddr(self.0) as *const [AtomicU64; NR_ENTRIES];
        // SAFETY: The frame is a node, as whoever named it promised, and nodes
        // are accessed as atomic words alone.
        let entries = unsafe { &*entries };
        &entries[index]
    }

    /// Reads an entry.
    pub(crate) fn read(&self, index: usize) -> PageTableEntry {
        // Acquire pairs with the Release in `write`: a child node that is seen
        // here is seen initialised.
        PageTableEntry::from_bits(self.slot(index).load(Ordering::Acquire))
    }

    /// Writes an entry.
    pub(crate) fn write(&self, index: usize, entry: PageTableEntry) {
        // Release: a child's contents become visible before the child.
        self.slot(index).store(entry.bits(), Ordering::Release);
    }

    /// Replaces an entry and returns what it was, accessed and dirty bits as
    /// the hardware left them.
    pub(crate) fn swap(&self, index: usize, entry: PageTableEntry) -> PageTableEntry {
        // AcqRel: as for reads and writes.
        PageTableEntry::from_bits(self.slot(index).swap(entry.bits(), Ordering::AcqRel))
    }
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// The node whose entry is absent or a leaf.
    pub(crate) node: Node,
    /// The node's level.
    pub(crate) level: PagingLevel,
    /// The entry's state, never a table.
    pub(crate) state: PteState,
}

/// A tree of nodes, by its root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    root: Node,
}

impl Tree {
    /// Names the tree of a root node.
    ///
    /// # Safety
    ///
    /// `root` is a root node, and all nodes below it stay while the value is
    /// used by anybody else than the one who takes them down.
    pub(crate) unsafe fn from_root(root: Paddr) -> Self {
        // SAFETY: As the caller promises.
        let root = unsafe { Node::from_paddr(root) };
        Self { root }
    }

    /// Returns the physical address of the root node.
    pub(crate) fn root_paddr(&self) -> Paddr {
        self.root.0
    }

    /// Returns the root node.
    pub(crate) fn root(&self) -> Node {
        self.root
    }

    /// Follows the tables for an address down to an absent entry or a leaf.
    pub(crate) fn walk(&self, vaddr: Vaddr) -> Walk {
        let mut node = self.root;
        let mut level = NR_LEVELS;
        loop {
            let state = node.read(pte_index(vaddr, level)).state(level);
            match state {
                PteState::Table(child) => {
                    node = Node(child);
                    level -= 1;
                }
                PteState::Absent | PteState::Leaf(..) => return Walk { node, level, state },
            }
        }
    }

    /// Returns the physical address that a virtual one is mapped to.
    pub(crate) fn translate(&self, vaddr: Vaddr) -> Option<Paddr> {
        let walk = self.walk(vaddr);
        match walk.state {
            PteState::Leaf(paddr, _) => Some(paddr + vaddr % page_size(walk.level)),
            PteState::Absent | PteState::Table(_) => None,
        }
    }

    /// Returns the node of `level` that covers an address; missing ones on the
    /// way are made, with rights for ring 3 if `user`.
    ///
    /// # Errors
    ///
    /// What `source` says. The nodes made before stay, empty.
    ///
    /// # Panics
    ///
    /// Panics when a leaf of a higher level is in the way.
    pub(crate) fn node_for(
        &self,
        vaddr: Vaddr,
        level: PagingLevel,
        user: bool,
        source: &mut dyn NodeSource,
    ) -> Result<Node> {
        let mut node = self.root;
        for upper in (level + 1..=NR_LEVELS).rev() {
            let index = pte_index(vaddr, upper);
            node = match node.read(index).state(upper) {
                PteState::Table(child) => Node(child),
                PteState::Absent => {
                    let child = source.new_node()?;
                    node.write(index, PageTableEntry::new_table(child, user));
                    Node(child)
                }
                PteState::Leaf(..) => {
                    panic!("{vaddr:#x} lies in a page of level {upper}")
                }
            };
        }
        Ok(node)
    }

    /// Maps a range of physical memory with the largest pages that fit, up to
    /// `highest` as the level of a leaf. All of it must be unmapped so far.
    ///
    /// # Errors
    ///
    /// What `source` says; what was mapped before stays.
    ///
    /// # Panics
    ///
    /// Panics when an address is unaligned or mapped already.
    pub(crate) fn map_range(
        &self,
        vaddr: Vaddr,
        paddr: Paddr,
        len: usize,
        (prop, highest): (PageProperty, PagingLevel),
        source: &mut dyn NodeSource,
    ) -> Result<()> {
        let mut done = 0;
        while done < len {
            let (va, pa, rest) = (vaddr + done, paddr + done, len - done);
            let level = largest_level(va, pa, rest, highest);
            let node = self.node_for(va, level, false, source)?;
            let index = pte_index(va, level);
            let old = node.swap(index, PageTableEntry::new_leaf(pa, level, prop));
            assert_eq!(old, PageTableEntry::default(), "{va:#x} is mapped already");
            done += page_size(level);
        }
        Ok(())
    }
}

/// Returns the largest level, up to `highest`, whose pages can start a mapping
/// of `len` bytes from `vaddr` to `paddr`.
pub(crate) fn largest_level(
    vaddr: Vaddr,
    paddr: Paddr,
    len: usize,
    highest: PagingLevel,
) -> PagingLevel {
    (2..=highest)
        .rev()
        .find(|level| {
            let size = page_size(*level);
            vaddr.is_multiple_of(size) && paddr.is_multiple_of(size) && len >= size
        })
        .unwrap_or(1)
}

#[cfg(ktest)]
mod tests {
    use super::largest_level;
    use crate::prelude::*;

    #[ktest]
    fn largest_pages_need_both_alignments_and_room() {
        const M2: usize = 2 << 20;
        const G1: usize = 1 << 30;
        assert_eq!(largest_level(G1, 0, G1, 3), 3);
        assert_eq!(largest_level(G1, 0, G1, 2), 2);
        assert_eq!(largest_level(G1, 0, G1 - 4096, 3), 2);
        assert_eq!(largest_level(G1, M2, G1, 3), 2);
        assert_eq!(largest_level(M2, 4096, G1, 3), 1);
        assert_eq!(largest_level(4096, 4096, M2, 3), 1);
        assert_eq!(largest_level(M2, M2, M2 - 4096, 3), 1);
    }
}
