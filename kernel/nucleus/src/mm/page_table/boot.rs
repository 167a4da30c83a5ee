//! The kernel's tree while there is no metadata yet: made, walked, adopted.
//!
//! At start-up the tables come before the array of slots that nodes have their
//! locks and counts in. So they are made as plain tables, by the only processor,
//! and become a [`PageTable`] when the slots are there ([`Tree::adopt`]). The
//! loader's tables are walked in the same way.

use super::PageTable;
use super::config::{PageTableEntryTrait, PtFlags, PteScalar};
use super::node::adopt;
use crate::arch::memory::paddr_to_vaddr;
use crate::arch::paging::PageTableEntry;
use crate::error::Result;
use crate::mm::kspace::KernelPtConfig;
use crate::mm::kspace::layout::{KERNEL_ROOT_INDEX, META_BASE};
use crate::mm::paging::{PagingConsts, largest_pages, page_size, pte_index};
use crate::mm::{NR_ENTRIES, NR_LEVELS, Paddr, PageProperty, PagingLevel, Vaddr};
use crate::sync::atomic::{AtomicUsize, Ordering};

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

    fn slot(&self, index: usize) -> &AtomicUsize {
        let entries = paddr_to_vaddr(self.0) as *const [AtomicUsize; NR_ENTRIES];
        // SAFETY: The frame is a node, as whoever named it promised, and nodes
        // are accessed as atomic words alone.
        let entries = unsafe { &*entries };
        &entries[index]
    }

    /// Reads an entry.
    pub(crate) fn read(&self, index: usize) -> PageTableEntry {
        // Acquire pairs with the Release in `write`: a child node that is seen
        // here is seen initialised.
        PageTableEntry::load(self.slot(index), Ordering::Acquire)
    }

    /// Writes an entry.
    pub(crate) fn write(&self, index: usize, entry: PageTableEntry) {
        // Release: a child's contents become visible before the child.
        entry.store(self.slot(index), Ordering::Release);
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
    pub(crate) state: PteScalar,
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
            let state = node
                .read(pte_index::<PagingConsts>(vaddr, level))
                .of_loader(level)
                .to_repr(level);
            match state {
                PteScalar::PageTable(child, _) => {
                    node = Node(child);
                    level -= 1;
                }
                PteScalar::Absent | PteScalar::Mapped(..) => return Walk { node, level, state },
            }
        }
    }

    /// Returns the physical address that a virtual one is mapped to.
    pub(crate) fn translate(&self, vaddr: Vaddr) -> Option<Paddr> {
        let walk = self.walk(vaddr);
        match walk.state {
            PteScalar::Mapped(paddr, _) => {
                Some(paddr + vaddr % page_size::<PagingConsts>(walk.level))
            }
            PteScalar::Absent | PteScalar::PageTable(..) => None,
        }
    }

    /// Returns the node of `level` that covers an address; missing ones on the
    /// way are made.
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
        source: &mut dyn NodeSource,
    ) -> Result<Node> {
        let mut node = self.root;
        for upper in (level + 1..=NR_LEVELS).rev() {
            let index = pte_index::<PagingConsts>(vaddr, upper);
            node = match node.read(index).of_loader(upper).to_repr(upper) {
                PteScalar::PageTable(child, _) => Node(child),
                PteScalar::Absent => {
                    let child = source.new_node()?;
                    node.write(index, PageTableEntry::new_pt(child, PtFlags::empty()));
                    Node(child)
                }
                PteScalar::Mapped(..) => {
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
        for (va, pa, level) in largest_pages::<PagingConsts>(vaddr, paddr, len, highest) {
            let node = self.node_for(va, level, source)?;
            let index = pte_index::<PagingConsts>(va, level);
            assert!(!node.read(index).is_present(), "{va:#x} is mapped already");
            node.write(index, PageTableEntry::new_page(pa, level, prop));
        }
        Ok(())
    }

    /// Gives every node of the tree its metadata, once the array of slots is
    /// there, so that the tree can go on as the kernel's page table.
    ///
    /// What covers the metadata itself is left out: its nodes are shared where
    /// there are holes, and nothing ever changes there.
    ///
    /// # Safety
    ///
    /// 1. The tree is the kernel's: its nodes are frames that start-up reserved,
    ///    each linked once but below the metadata's entry.
    /// 2. Nobody uses it meanwhile but the hardware.
    pub(crate) unsafe fn adopt(&self) -> PageTable<KernelPtConfig> {
        fn adopt_below(node: Node, level: PagingLevel) {
            let first = if level == NR_LEVELS {
                KERNEL_ROOT_INDEX
            } else {
                0
            };
            for index in first..NR_ENTRIES {
                let is_metadata = level == NR_LEVELS && index == META_ROOT_INDEX;
                if let PteScalar::PageTable(child, _) =
                    node.read(index).of_loader(level).to_repr(level)
                {
                    if !is_metadata {
                        adopt_below(Node(child), level - 1);
                    } else {
                        // SAFETY: As the caller promises.
                        unsafe { adopt::<KernelPtConfig>(child, level - 1) };
                    }
                }
            }
            // SAFETY: As the caller promises.
            unsafe { adopt::<KernelPtConfig>(node.0, level) };
        }
        adopt_below(self.root, NR_LEVELS);
        // SAFETY: `adopt` made the root a node, whose owner this is.
        unsafe { PageTable::from_root(self.root.0) }
    }
}

/// The root's entry for the metadata.
const META_ROOT_INDEX: usize = pte_index::<PagingConsts>(META_BASE, NR_LEVELS);

#[cfg(test)]
mod tests;
