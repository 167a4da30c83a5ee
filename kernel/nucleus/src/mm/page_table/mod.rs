//! Page tables: what is mapped where, and who may change it.
//!
//! A [`PageTable<C>`] maps addresses of a range to items, as its
//! [`PageTableConfig`] says. It is changed by cursors alone, each of which owns
//! a range.
//!
//! ```text
//!   cursor        virt_addr  query  find_next  jump
//!   cursor_mut    map  take_next  protect_next, and splitting huge leaves
//!   runs          the same for many pages of one node at once
//!   copy          what one table maps, into another one
//!     │
//!   place         a node of the table, and what addresses it covers
//!   range_lock    covering node, then all below: ancestors first, ascending
//!     │
//!   node          512 atomic entries + lock, stray flag, number of children
//!     │
//!   frame         counts, types, allocation
//! ```
//!
//! `frag` is what cursors take out; `invariants` checks a table from scratch; `config` says what a table is of, and `user` is
//! the configuration of users' tables (the kernel's is in `kspace`). `boot` makes
//! the kernel's tree before there is an allocator. `tiny` is a configuration for
//! tests.

use core::fmt;
use core::ops::Range;

pub(crate) mod boot;
pub mod config;
mod copy;
mod cursor;
mod cursor_mut;
mod frag;
pub mod invariants;
pub(crate) mod node;
mod place;
mod range_lock;
mod runs;
pub mod tiny;
mod user;

#[doc(hidden)]
pub use self::config::examples;
pub use self::config::{
    PageTableConfig, PageTableEntryTrait, PtFlags, PteScalar, config_laws, vaddr_range,
};
pub use self::copy::{CopyObserver, CopyablePtConfig};
pub use self::cursor::Cursor;
pub use self::cursor_mut::CursorMut;
pub use self::frag::PageTableFrag;
use self::node::{Child, Node, PageTableNode};
use self::range_lock::Intent;
pub use self::user::{MappedItem, MappedItemRef, UserPtConfig};
pub(crate) use self::user::{level_of_size, tagged, untagged};
use super::kspace::KernelPtConfig;
use super::paging::{PagingConstsTrait, page_size, pte_index};
use super::{Paddr, PageProperty, PagingLevel, Vaddr};
use crate::arch::watch;
use crate::cpu::{InAtomicMode, disable_preempt};
use crate::error::Error;
use crate::mm::frame::FrameAllocOptions;
use crate::sync::rcu;

/// Why an operation on a page table was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageTableError {
    /// The address is not in the cursor's range.
    InvalidVaddr(Vaddr),
    /// The range is empty, reversed, or not within the table.
    InvalidVaddrRange(Vaddr, Vaddr),
    /// An end of the range is not a multiple of a page.
    UnalignedVaddr,
    /// There is no memory for a node.
    NoMemory,
}

impl From<PageTableError> for Error {
    fn from(error: PageTableError) -> Self {
        match error {
            PageTableError::NoMemory => Self::NoMemory,
            _ => Self::AccessDenied,
        }
    }
}

impl fmt::Display for PageTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidVaddr(va) => write!(f, "{va:#x} is not in the cursor's range"),
            Self::InvalidVaddrRange(start, end) => {
                write!(f, "{start:#x}..{end:#x} is no range of the table")
            }
            Self::UnalignedVaddr => f.write_str("the range is not whole pages"),
            Self::NoMemory => f.write_str("no memory for a node"),
        }
    }
}

impl core::error::Error for PageTableError {}

/// What [`PageTable::visit`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visited {
    /// A node, and how many of its entries are not absent.
    Node(u16),
    /// A leaf: where it leads, and how.
    Leaf(Paddr, PageProperty),
}

/// A page table: the owner of a root node.
pub struct PageTable<C: PageTableConfig> {
    root: PageTableNode<C>,
}

impl<C: PageTableConfig> PageTable<C> {
    /// The laws of the configuration, checked for every table that is made.
    const LAWS: () = config_laws::<C>();

    /// Makes a table that maps nothing.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`].
    pub fn empty() -> Result<Self, PageTableError> {
        let () = Self::LAWS;
        let level = C::C::NR_LEVELS;
        let data = node::PageTablePageMeta::new(level, false);
        let root = FrameAllocOptions::new()
            .for_user(C::IS_USERS)
            .alloc_frame_with(data)
            .map_err(|_| PageTableError::NoMemory)?;
        root.slot().set_level(level);
        watch::node_made(root.start_paddr(), level);
        Ok(Self { root })
    }

    /// Makes the table of a root that start-up made.
    ///
    /// # Safety
    ///
    /// The frame is a root node, and nobody owns it.
    unsafe fn from_root(root: Paddr) -> Self {
        let () = Self::LAWS;
        Self {
            // SAFETY: As the caller promises.
            root: unsafe { PageTableNode::from_raw(root) },
        }
    }

    /// Returns the physical address of the root node.
    pub fn root_paddr(&self) -> Paddr {
        self.root.start_paddr()
    }

    fn root_node(&self) -> Node<C> {
        // SAFETY: The table owns its root.
        unsafe { Node::at(self.root_paddr()) }
    }

    /// Opens a read-only cursor on a range, waiting until no other cursor has a
    /// part of it. Allocates nothing.
    ///
    /// A task that opens a cursor while it has another one that shares a node
    /// with it waits for itself, for ever.
    ///
    /// # Errors
    ///
    /// [`PageTableError::InvalidVaddrRange`], then
    /// [`PageTableError::UnalignedVaddr`].
    #[inline(always)]
    pub fn cursor<'rcu, G: InAtomicMode>(
        &'rcu self,
        guard: &'rcu G,
        range: &Range<Vaddr>,
    ) -> Result<Cursor<'rcu, C>, PageTableError> {
        Cursor::new(self, guard, range, Intent::Read)
    }

    /// Opens a cursor that may change what is mapped in a range; otherwise as
    /// [`Self::cursor`].
    ///
    /// # Errors
    ///
    /// As [`Self::cursor`], and [`PageTableError::NoMemory`] for a node on the
    /// way to the range.
    #[inline(always)]
    pub fn cursor_mut<'rcu, G: InAtomicMode>(
        &'rcu self,
        guard: &'rcu G,
        range: &Range<Vaddr>,
    ) -> Result<CursorMut<'rcu, C>, PageTableError> {
        Cursor::new(self, guard, range, Intent::Change).map(CursorMut::new)
    }

    /// Walks the table as the hardware does, without locks: returns what an
    /// address translates to at this moment, whatever its rights.
    pub fn page_walk<G: InAtomicMode>(
        &self,
        guard: &G,
        va: Vaddr,
    ) -> Option<(Paddr, PageProperty)> {
        let _section = rcu::read(guard);
        let mut node = self.root_node();
        let mut level = C::C::NR_LEVELS;
        loop {
            match node.child_unlocked(pte_index::<C::C>(va, level)) {
                Child::Absent => return None,
                Child::Table(child) => (node, level) = (child, level - 1),
                Child::Leaf(entry) => {
                    let offset = va & (page_size::<C::C>(level) - 1);
                    return Some((entry.paddr(level) + offset, entry.prop(level)));
                }
            }
        }
    }

    /// Shows every node below the root and every leaf, parents before children and
    /// by ascending address. For checkers and debugging, while nobody changes the
    /// table.
    pub fn visit(&self, visit: &mut dyn FnMut(Vaddr, PagingLevel, Visited)) {
        fn below<C: PageTableConfig>(
            (node, level, base): (Node<C>, PagingLevel, Vaddr),
            visit: &mut dyn FnMut(Vaddr, PagingLevel, Visited),
        ) {
            for index in node::own_indices::<C>(level) {
                let va = base + index * page_size::<C::C>(level);
                match node.child_unlocked(index) {
                    Child::Absent => {}
                    Child::Leaf(entry) => {
                        let (paddr, prop) = (entry.paddr(level), entry.prop(level));
                        visit(va, level, Visited::Leaf(paddr, prop));
                    }
                    Child::Table(child) => {
                        visit(va, level - 1, Visited::Node(child.nr_children()));
                        below((child, level - 1, va), visit);
                    }
                }
            }
        }
        let base = vaddr_range::<C>().start()
            - C::TOP_LEVEL_INDEX_RANGE.start * page_size::<C::C>(C::C::NR_LEVELS);
        let guard = disable_preempt();
        let _section = rcu::read(&guard);
        let root = (self.root_node(), C::C::NR_LEVELS, base);
        below(root, visit);
    }

    /// Returns the indices of the root's entries that are the table's own.
    pub(super) fn own_entries(&self) -> Range<usize> {
        C::TOP_LEVEL_INDEX_RANGE
    }

    /// Counts the nodes below an entry of the root as the hardware finds them, without
    /// locks.
    pub(super) fn nodes_below<G: InAtomicMode>(&self, guard: &G, index: usize) -> usize {
        fn count<C: PageTableConfig>(child: &Child<C>, level: PagingLevel) -> usize {
            let Child::Table(node) = child else {
                return 0;
            };
            if level == 1 {
                return 1;
            }
            let entries = 0..C::C::NR_ENTRIES;
            let below = entries.map(|index| count(&node.child_unlocked(index), level - 1));
            1 + below.sum::<usize>()
        }
        let _section = rcu::read(guard);
        count(&self.root_node().child_unlocked(index), C::C::NR_LEVELS - 1)
    }

    /// Recounts the table from scratch: levels, children, locks, strays. Returns
    /// the number of nodes. For tests and debugging.
    ///
    /// # Panics
    ///
    /// Panics when something is wrong; call it while no cursor is open.
    pub fn validate(&self) -> usize {
        fn visit<C: PageTableConfig>(node: Node<C>, level: u8) -> usize {
            assert_eq!(node.level(), level, "{node:?} has the level of its place");
            assert!(!node.is_locked(), "{node:?} is left locked");
            assert!(!node.is_stray(), "{node:?} is linked and stray");
            let (mut nodes, mut children) = (1, 0);
            for index in node::own_indices::<C>(level) {
                match node.child(index) {
                    Child::Absent => continue,
                    Child::Table(child) => nodes += visit(child, level - 1),
                    Child::Leaf(_) => assert!(level <= C::C::HIGHEST_TRANSLATION_LEVEL),
                }
                children += 1;
            }
            assert_eq!(node.nr_children(), children, "{node:?} counts its children");
            nodes
        }
        let guard = disable_preempt();
        let _section = rcu::read(&guard);
        visit(self.root_node(), C::C::NR_LEVELS)
    }
}

impl PageTable<KernelPtConfig> {
    /// Makes a table for a kernel: all nodes below the root are there, and stay.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`].
    pub fn new_kernel() -> Result<Self, PageTableError> {
        let table = Self::empty()?;
        let root = table.root_node();
        root.lock();
        for index in KernelPtConfig::TOP_LEVEL_INDEX_RANGE {
            let Ok(child) = Node::<KernelPtConfig>::alloc_locked(root.level() - 1) else {
                root.unlock();
                return Err(PageTableError::NoMemory);
            };
            let entry = PageTableEntryTrait::new_pt(child.paddr(), KernelPtConfig::PT_FLAGS);
            root.fill(index, entry);
            child.unlock();
        }
        root.unlock();
        Ok(table)
    }

    /// Makes a table for a user, whose upper half is the kernel's.
    ///
    /// The kernel's entries are copied and never change, since the nodes that
    /// they lead to live for ever. They are not counted.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`].
    pub fn create_user_page_table(&self) -> Result<PageTable<UserPtConfig>, PageTableError> {
        let table = PageTable::<UserPtConfig>::empty()?;
        let (kernel, user) = (self.root_node(), table.root_node());
        user.lock();
        for index in KernelPtConfig::TOP_LEVEL_INDEX_RANGE {
            let entry = kernel.read_unlocked(index);
            debug_assert!(entry.is_present() && !entry.is_last());
            user.copy_in(index, entry);
        }
        user.unlock();
        Ok(table)
    }
}

impl<C: PageTableConfig> fmt::Debug for PageTable<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageTable({:#x})", self.root_paddr())
    }
}

/// Checks a range: order first, then alignment.
#[inline(always)]
fn check_range<C: PageTableConfig>(range: &Range<Vaddr>) -> Result<(), PageTableError> {
    let managed = const { vaddr_range::<C>() };
    let is_legal = range.start < range.end
        && *managed.start() <= range.start
        && range.end - 1 <= *managed.end();
    if !is_legal {
        return Err(PageTableError::InvalidVaddrRange(range.start, range.end));
    }
    if (range.start | range.end) & (C::C::BASE_PAGE_SIZE - 1) != 0 {
        return Err(PageTableError::UnalignedVaddr);
    }
    Ok(())
}

#[cfg(any(test, ktest))]
mod tests;
