//! The range lock: two-phase locking over the nodes of a page table.
//!
//! A cursor owns the range of addresses that it was opened on. Two cursors
//! whose ranges overlap run one after the other; cursors whose nodes are
//! disjoint run in parallel. Within its range, a cursor sees everything that
//! those before it did, and nothing that later ones do.
//!
//! **Phase one** descends from the root, without locks, to the *covering node*:
//! the lowest one whose own addresses hold all of the range. It is locked and
//! then checked: a node that was cut off meanwhile is *stray*, and the descent
//! starts over. Where the way down is missing, a cursor that may change
//! mappings makes nodes, locking one parent at a time; a read-only one stops and
//! locks the deepest node there is, so that it allocates nothing.
//!
//! A cursor that may change mappings stops one node higher when its range is
//! exactly one huge page, because a huge leaf stands in the parent.
//!
//! **Phase two** locks the nodes below the covering one that the range reaches:
//! depth first, parents before children, by ascending address. No stray check is
//! needed there, since cutting a node off takes its parent's lock.
//!
//! Nodes made while a cursor is open are born locked, and those that it cuts off
//! are unlocked as strays. **Release** visits the same nodes in the reverse order.
//!
//! Deadlock is excluded by the order: ancestors before descendants, then by
//! address. Phase one holds one lock at a time while it waits for none. A holder
//! never acquires upwards, and never sleeps: it is in atomic mode.

use core::ops::Range;

use super::PageTableError;
use super::config::{PageTableConfig, PageTableEntryTrait};
use super::node::{Child, Node};
use crate::mm::paging::{PagingConstsTrait, page_size, pte_index};
use crate::mm::{Paddr, PagingLevel, Vaddr};

/// What a cursor wants to do in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Look.
    Read,
    /// Change mappings.
    Change,
}

/// Locks a range of the table with this root; returns the covering node.
///
/// # Errors
///
/// [`PageTableError::NoMemory`]: a node on the way could not be made. Those made
/// before stay, empty, and nothing is locked.
pub(super) fn lock<C: PageTableConfig>(
    root: Paddr,
    range: &Range<Vaddr>,
    intent: Intent,
) -> Result<Node<C>, PageTableError> {
    let covering = loop {
        if let Some(node) = try_lock_covering(root, range, intent)? {
            break node;
        }
    };
    lock_below(covering, covering.level(), range);
    Ok(covering)
}

/// Unlocks what [`lock`] locked, and what was made since.
pub(super) fn unlock<C: PageTableConfig>(
    covering: Node<C>,
    level: PagingLevel,
    range: &Range<Vaddr>,
) {
    for index in indices::<C>(level, range).rev() {
        if let Some((child, part)) = child_within(covering, level, index, range) {
            unlock(child, level - 1, &part);
        }
    }
    covering.unlock();
}

/// Marks a node and all below it stray, and unlocks them; returns the number of
/// leaves among their entries. All of them are locked by the caller.
pub(super) fn cut_off<C: PageTableConfig>(node: Node<C>, level: PagingLevel) -> usize {
    node.mark_stray();
    let mut leaves = usize::from(node.nr_children());
    // Nodes of level 1 have nothing but leaves.
    if level > 1 && leaves > 0 {
        leaves = (0..C::C::NR_ENTRIES)
            .map(|index| match node.sort(node.read(index), level) {
                Child::Absent => 0,
                Child::Leaf(_) => 1,
                Child::Table(child) => cut_off(child, level - 1),
            })
            .sum();
    }
    node.unlock();
    leaves
}

/// Phase one. Returns nothing when a node turned out to be stray.
fn try_lock_covering<C: PageTableConfig>(
    root: Paddr,
    range: &Range<Vaddr>,
    intent: Intent,
) -> Result<Option<Node<C>>, PageTableError> {
    let mut node = Node::<C>::at(root);
    let mut level = C::C::NR_LEVELS;
    loop {
        let index = pte_index::<C::C>(range.start, level);
        let is_covering = level == 1
            || index != pte_index::<C::C>(range.end - 1, level)
            || (intent == Intent::Change && is_huge_page::<C>(range, level));
        let next = if is_covering {
            Child::Absent
        } else {
            node.sort(node.read_unlocked(index), level)
        };
        if let Child::Table(child) = next {
            (node, level) = (child, level - 1);
            continue;
        }
        // The covering node, or as far as the tables go: lock and look again.
        node.lock();
        if node.is_stray() {
            node.unlock();
            return Ok(None);
        }
        if is_covering {
            return Ok(Some(node));
        }
        match node.sort(node.read(index), level) {
            Child::Table(_) => node.unlock(),
            Child::Absent if intent == Intent::Change => make_child(node, level, index)?,
            Child::Absent | Child::Leaf(_) => return Ok(Some(node)),
        }
    }
}

/// Makes a child of a locked node, and unlocks both.
fn make_child<C: PageTableConfig>(
    node: Node<C>,
    level: PagingLevel,
    index: usize,
) -> Result<(), PageTableError> {
    let child = Node::<C>::alloc_locked(level - 1);
    if let Ok(child) = &child {
        node.fill(index, C::E::new_pt(child.paddr(), C::PT_FLAGS));
        child.unlock();
    }
    node.unlock();
    child.map(drop).map_err(|_| PageTableError::NoMemory)
}

/// Phase two.
fn lock_below<C: PageTableConfig>(node: Node<C>, level: PagingLevel, range: &Range<Vaddr>) {
    for index in indices::<C>(level, range) {
        if let Some((child, part)) = child_within(node, level, index, range) {
            child.lock();
            lock_below(child, level - 1, &part);
        }
    }
}

/// Returns whether a range is exactly one page that could be a leaf at a level.
fn is_huge_page<C: PageTableConfig>(range: &Range<Vaddr>, level: PagingLevel) -> bool {
    let size = page_size::<C::C>(level);
    level <= C::C::HIGHEST_TRANSLATION_LEVEL
        && range.end - range.start == size
        && range.start.is_multiple_of(size)
}

/// Returns the entries of a node of a level that a range reaches, all of which
/// lie in one node. Nodes of level 1 have no children to visit.
fn indices<C: PageTableConfig>(level: PagingLevel, range: &Range<Vaddr>) -> Range<usize> {
    if level == 1 {
        return 0..0;
    }
    pte_index::<C::C>(range.start, level)..pte_index::<C::C>(range.end - 1, level) + 1
}

/// Returns the child at an entry and the part of the range that lies in it.
fn child_within<C: PageTableConfig>(
    node: Node<C>,
    level: PagingLevel,
    index: usize,
    range: &Range<Vaddr>,
) -> Option<(Node<C>, Range<Vaddr>)> {
    let Child::Table(child) = node.sort(node.read(index), level) else {
        return None;
    };
    let size = page_size::<C::C>(level);
    // The last byte of the part, since its end may be the end of all addresses.
    let first_index = pte_index::<C::C>(range.start, level);
    let base = range.start - range.start % size + (index - first_index) * size;
    let last = (base + (size - 1)).min(range.end - 1);
    Some((child, base.max(range.start)..last + 1))
}
