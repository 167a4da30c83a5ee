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
//! exactly one huge page: at the node that would hold it as a leaf.
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
use crate::arch::memory;
use crate::cpu::InAtomicMode;
use crate::mm::paging::{PagingConstsTrait, page_shift, page_size, pte_index};
use crate::mm::{Paddr, PagingLevel, Vaddr};
use crate::planted::{Bug, is_planted};
use crate::sync::rcu;

/// What a cursor wants to do in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Look.
    Read,
    /// Change mappings.
    Change,
}

/// Locks a range of the table with this root; returns the covering node and its
/// level.
///
/// Phase one is a read section. It may end with it: a locked node that is not
/// stray stays, and so do those below it.
///
/// # Errors
///
/// [`PageTableError::NoMemory`]: a node on the way could not be made. Those made
/// before stay, empty, and nothing is locked.
#[inline(always)]
pub(super) fn lock<C: PageTableConfig>(
    guard: &dyn InAtomicMode,
    root: Paddr,
    range: &Range<Vaddr>,
    intent: Intent,
) -> Result<(Node<C>, PagingLevel), PageTableError> {
    let target = covering_level::<C>(range, intent);
    let section = rcu::read(guard);
    // The usual case first: all tables are there, and nobody is in the way.
    let locked = match target {
        // Simpler where the level is known.
        1 => try_lock_present(root, range.start, 1),
        level => try_lock_present(root, range.start, level),
    };
    let (covering, level) = match locked {
        Some(covering) => (covering, target),
        None => lock_covering(root, range.start, target, intent)?,
    };
    drop(section);
    if level > 1 && !is_planted(Bug::SkippedLock) {
        lock_below(covering, level, range);
    }
    Ok((covering, level))
}

/// Unlocks what [`lock`] locked, and what was made since.
#[inline(always)]
pub(super) fn unlock<C: PageTableConfig>(
    covering: Node<C>,
    level: PagingLevel,
    range: &Range<Vaddr>,
) {
    if level > 1 {
        unlock_below(covering, level, range);
    }
    covering.unlock();
}

#[inline(never)]
fn unlock_below<C: PageTableConfig>(node: Node<C>, level: PagingLevel, range: &Range<Vaddr>) {
    for index in indices::<C>(level, range).rev() {
        if let Some((child, part)) = child_within(node, level, index, range) {
            unlock(child, level - 1, &part);
        }
    }
}

/// What was cut off with a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Leaves, huge ones counting once.
    pub(super) leaves: usize,
    /// Pages of memory: of nodes, and of leaves.
    pub(super) pages: usize,
}

/// Marks a node and all below it stray, and unlocks them; returns what it was. All of
/// them are locked by the caller.
pub(super) fn cut_off<C: PageTableConfig>(node: Node<C>, level: PagingLevel) -> Cut {
    if !is_planted(Bug::UnmarkedStray) {
        node.mark_stray();
    }
    let leaves = usize::from(node.nr_children());
    let mut cut = Cut {
        leaves,
        pages: 1 + leaves,
    };
    // Nodes of level 1 have nothing but leaves.
    if level > 1 && leaves > 0 {
        cut = Cut {
            leaves: 0,
            pages: 1,
        };
        for index in 0..C::C::NR_ENTRIES {
            match node.child(index) {
                Child::Absent => {}
                Child::Leaf(_) => {
                    cut.leaves += 1;
                    cut.pages += page_size::<C::C>(level) / C::C::BASE_PAGE_SIZE;
                }
                Child::Table(child) => {
                    let below = cut_off(child, level - 1);
                    cut.leaves += below.leaves;
                    cut.pages += below.pages;
                }
            }
        }
    }
    node.unlock();
    cut
}

/// Returns the level of the covering node of a range.
#[inline(always)]
fn covering_level<C: PageTableConfig>(range: &Range<Vaddr>, intent: Intent) -> PagingLevel {
    // A node covers both ends if all bits are equal above those it translates.
    let differs = range.start ^ (range.end - 1);
    let mut level = 1;
    while differs >> page_shift::<C::C>(level + 1) != 0 && level < C::C::NR_LEVELS {
        level += 1;
    }
    if intent == Intent::Change && range.end - range.start > C::C::BASE_PAGE_SIZE {
        // A node of a level holds the leaves of that level.
        level = level.max(huge_leaf_level::<C>(range));
    }
    level
}

/// Returns the level at which a range would be one huge leaf; zero if at none.
#[inline(never)]
fn huge_leaf_level<C: PageTableConfig>(range: &Range<Vaddr>) -> PagingLevel {
    let len = range.end - range.start;
    (2..=C::C::HIGHEST_TRANSLATION_LEVEL)
        .find(|level| {
            let size = 1 << page_shift::<C::C>(*level);
            len == size && range.start & (size - 1) == 0
        })
        .unwrap_or(0)
}

/// Phase one where all tables are there and the covering node is free. Within a
/// read section.
#[inline(always)]
fn try_lock_present<C: PageTableConfig>(
    root: Paddr,
    va: Vaddr,
    target: PagingLevel,
) -> Option<Node<C>> {
    let linear = memory::paddr_to_vaddr(0);
    let mut node = root;
    let mut shift = const { page_shift::<C::C>(C::C::NR_LEVELS) as u32 };
    for _ in target..C::C::NR_LEVELS {
        let index = va.wrapping_shr(shift) & (C::C::NR_ENTRIES - 1);
        // SAFETY: 1. it is the root, or an entry led to it within the read section.
        // 2. so it is, and the mask keeps the index below their number.
        let entry = unsafe { Node::<C>::read_at(linear, node, index) };
        if !entry.is_table() {
            return None;
        }
        node = entry.child();
        shift = shift.wrapping_sub(C::C::NR_ENTRIES.trailing_zeros());
    }
    // SAFETY: As above.
    let node = unsafe { Node::<C>::at(node) };
    if !node.try_lock() {
        return None;
    }
    if node.is_stray() {
        node.unlock();
        return None;
    }
    Some(node)
}

/// Phase one.
#[inline(never)]
fn lock_covering<C: PageTableConfig>(
    root: Paddr,
    va: Vaddr,
    target: PagingLevel,
    intent: Intent,
) -> Result<(Node<C>, PagingLevel), PageTableError> {
    loop {
        if let Some(found) = try_lock_covering(root, va, target, intent)? {
            return Ok(found);
        }
    }
}

/// Returns nothing when a node turned out to be stray.
fn try_lock_covering<C: PageTableConfig>(
    root: Paddr,
    va: Vaddr,
    target: PagingLevel,
    intent: Intent,
) -> Result<Option<(Node<C>, PagingLevel)>, PageTableError> {
    // SAFETY: It is the root of a table that is kept.
    let mut node = unsafe { Node::<C>::at(root) };
    let mut level = C::C::NR_LEVELS;
    loop {
        let index = pte_index::<C::C>(va, level);
        let is_covering = level == target;
        if !is_covering && let Child::Table(child) = node.child_unlocked(index) {
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
            return Ok(Some((node, level)));
        }
        match node.child(index) {
            Child::Table(_) => node.unlock(),
            Child::Absent if intent == Intent::Change => make_child(node, level, index)?,
            Child::Absent | Child::Leaf(_) => return Ok(Some((node, level))),
        }
    }
}

/// Makes a child of a locked node, and unlocks both.
#[cold]
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
#[inline(never)]
fn lock_below<C: PageTableConfig>(node: Node<C>, level: PagingLevel, range: &Range<Vaddr>) {
    for index in indices::<C>(level, range) {
        if let Some((child, part)) = child_within(node, level, index, range) {
            child.lock();
            if level > 2 {
                lock_below(child, level - 1, &part);
            }
        }
    }
}

/// Returns the entries of a node of a level that a range reaches, all of which
/// lie in one node.
fn indices<C: PageTableConfig>(level: PagingLevel, range: &Range<Vaddr>) -> Range<usize> {
    pte_index::<C::C>(range.start, level)..pte_index::<C::C>(range.end - 1, level) + 1
}

/// Returns the child at an entry and the part of the range that lies in it.
#[inline]
fn child_within<C: PageTableConfig>(
    node: Node<C>,
    level: PagingLevel,
    index: usize,
    range: &Range<Vaddr>,
) -> Option<(Node<C>, Range<Vaddr>)> {
    let Child::Table(child) = node.child(index) else {
        return None;
    };
    let shift = page_shift::<C::C>(level);
    // The addresses above the node's own are those of the range. The last byte
    // of the part, since its end may be the end of all addresses.
    let above = range.start >> shift & !(C::C::NR_ENTRIES - 1);
    let base = (above | index) << shift;
    let last = (base | ((1 << shift) - 1)).min(range.end - 1);
    Some((child, base.max(range.start)..last + 1))
}
