//! Cursors: a place in a range of a page table that nobody else can touch.
//!
//! A [`Cursor`] owns its range by the [range lock](super::range_lock) from its
//! opening to its end. [`CursorMut`](super::CursorMut) adds what changes mappings
//! and is a [`Cursor`] otherwise. Each operation is a match over the three things
//! that an entry can be: absent, a child table, a leaf.
//!
//! The cursor stands at an address and, for speed, remembers the nodes on the
//! way to it. `level` is that of the lowest of them that is known; the known ones
//! cover the address `known`, which is where the last operation was. An operation
//! first climbs until the lowest known node covers the current address
//! ([`Cursor::settle`]) and then descends as far as it needs. So moving costs
//! nothing, and no address is ever added up that could overflow.

use core::fmt;
use core::ops::Range;

use super::config::{PageTableConfig, PageTableEntryTrait};
use super::node::{Child, Entries, Node};
use super::range_lock::{self, Intent};
use super::{PageTable, PageTableError};
use crate::cpu::InAtomicMode;
use crate::mm::paging::{MAX_LEVELS, PagingConstsTrait, page_shift};
use crate::mm::{PagingLevel, Vaddr};
use crate::sync::rcu;

/// A place in a range of a page table that can be looked at.
///
/// Read-only cursors exclude others like changing ones do.
pub struct Cursor<'rcu, C: PageTableConfig> {
    /// The nodes on the way to `known`, by their levels less one; valid from
    /// `level` to `guard_level`. Shifts are by less than a word's bits, so the
    /// wrapping ones do not.
    path: [Entries; MAX_LEVELS],
    pub(super) known: Vaddr,
    pub(super) level: PagingLevel,
    pub(super) guard_level: PagingLevel,
    /// The lowest bit of the index into the node of `level`.
    pub(super) shift: u32,
    /// The lowest known node, which is also the path's.
    here: Node<C>,
    /// The covering node, which is also the path's.
    covering: Node<C>,
    /// Where the cursor stands: in the barrier, or at its end.
    pub(super) va: Vaddr,
    pub(super) barrier: Range<Vaddr>,
    /// Keeps the nodes of phase one, and of all who wait.
    _section: rcu::ReadSection<'rcu>,
}

/// What one entry at the cursor says.
type Found<C> = (usize, Child<C>);

/// Bits of an address that a level translates.
const fn bits<C: PageTableConfig>() -> u32 {
    C::C::NR_ENTRIES.trailing_zeros()
}

impl<'rcu, C: PageTableConfig> Cursor<'rcu, C> {
    #[inline(always)]
    pub(super) fn new(
        table: &'rcu PageTable<C>,
        guard: &'rcu dyn InAtomicMode,
        range: &Range<Vaddr>,
        intent: Intent,
    ) -> Result<Self, PageTableError> {
        super::check_range::<C>(range)?;
        let section = rcu::read(guard);
        let (covering, level) = range_lock::lock(table.root_paddr(), range, intent)?;
        Ok(Self {
            path: [covering.entries(); MAX_LEVELS],
            known: range.start,
            level,
            guard_level: level,
            shift: page_shift::<C::C>(level) as u32,
            here: covering,
            covering,
            va: range.start,
            barrier: range.clone(),
            _section: section,
        })
    }

    /// Returns the current address.
    #[inline]
    pub fn virt_addr(&self) -> Vaddr {
        self.va
    }

    /// Returns the range that the cursor owns.
    #[inline]
    pub fn barrier(&self) -> Range<Vaddr> {
        self.barrier.clone()
    }

    /// Returns the level of the covering node.
    pub fn guard_level(&self) -> PagingLevel {
        self.guard_level
    }

    /// Returns the range of the slot at the cursor, and what is mapped in it,
    /// with a reference of the caller's own.
    ///
    /// The slot is that of the mapping, or the largest absent one; it may reach
    /// beyond the cursor's range. Its end is cut off at the last page of the
    /// address space, which no range can reach.
    ///
    /// # Errors
    ///
    /// [`PageTableError::InvalidVaddr`] at the end of the cursor's range.
    ///
    /// # Panics
    ///
    /// Panics when the mapped frame has the most references it may have.
    #[inline(always)]
    pub fn query(&mut self) -> Result<(Range<Vaddr>, Option<C::Item>), PageTableError> {
        let (range, leaf) = self.look()?;
        let Some(entry) = leaf else {
            return Ok((range, None));
        };
        let item = match self.level {
            // Simpler where the level is known.
            1 => clone_item::<C>(entry, 1),
            level => clone_huge_item::<C>(entry, level),
        };
        Ok((range, Some(item)))
    }

    /// As [`Self::query`], without a reference of the caller's own.
    ///
    /// # Errors
    ///
    /// [`PageTableError::InvalidVaddr`] at the end of the cursor's range.
    #[inline]
    pub fn query_ref(&mut self) -> Result<(Range<Vaddr>, Option<C::ItemRef<'_>>), PageTableError> {
        let (range, leaf) = self.look()?;
        let level = self.level;
        // SAFETY: 1. the entry is the raw form of an item. 2. it is the owner for
        // as long as the cursor is borrowed, since it has the lock.
        let item = leaf.map(|entry| unsafe {
            C::item_ref_from_raw(entry.paddr(level), level, entry.prop(level))
        });
        Ok((range, item))
    }

    /// Descends to what is mapped at the cursor.
    #[inline(always)]
    fn look(&mut self) -> Result<(Range<Vaddr>, Option<C::E>), PageTableError> {
        if self.va >= self.barrier.end {
            return Err(PageTableError::InvalidVaddr(self.va));
        }
        loop {
            match self.current().1 {
                Child::Absent => return Ok((self.slot_range(), None)),
                Child::Leaf(entry) => return Ok((self.slot_range(), Some(entry))),
                Child::Table(child) => self.descend(child),
            }
        }
    }

    /// Moves to the first address of the next `len` bytes that is mapped, and
    /// returns it. When there is none, the cursor moves to their end, or beyond
    /// it as far as nothing is mapped, and not beyond its own range.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    #[inline(always)]
    pub fn find_next(&mut self, len: usize) -> Option<Vaddr> {
        let end = self.window_end(len);
        while self.va < end {
            match self.current().1 {
                Child::Leaf(_) => return Some(self.va),
                Child::Table(child) if child.nr_children() > 0 => self.descend(child),
                Child::Absent | Child::Table(_) => self.advance(),
            }
        }
        None
    }

    /// Moves to an address of the range.
    ///
    /// # Errors
    ///
    /// [`PageTableError::InvalidVaddr`] when the address is not in the range, of
    /// which the end is not a part; nothing changes then.
    ///
    /// # Panics
    ///
    /// Panics when the address is not a multiple of a page.
    #[inline(always)]
    pub fn jump(&mut self, va: Vaddr) -> Result<(), PageTableError> {
        assert!(
            va & (C::C::BASE_PAGE_SIZE - 1) == 0,
            "jump to unaligned {va:#x}"
        );
        if !self.barrier.contains(&va) {
            return Err(PageTableError::InvalidVaddr(va));
        }
        self.va = va;
        Ok(())
    }

    /// Checks a length against the rest of the range, by subtraction, and
    /// returns where it ends.
    #[inline(always)]
    pub(super) fn window_end(&self, len: usize) -> Vaddr {
        assert!(
            len & (C::C::BASE_PAGE_SIZE - 1) == 0,
            "length {len:#x} is not whole pages"
        );
        assert!(
            len <= self.barrier.end - self.va,
            "{len:#x} bytes from {:#x} leave the cursor's range",
            self.va
        );
        self.va + len
    }

    /// Returns whether the lowest known node covers the current address.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        (self.known ^ self.va)
            .wrapping_shr(self.shift)
            .wrapping_shr(bits::<C>())
            == 0
    }

    /// Climbs until the lowest known node covers the current address.
    #[inline(always)]
    pub(super) fn settle(&mut self) {
        while self.level < self.guard_level && !self.is_settled() {
            self.climb();
        }
        self.known = self.va;
    }

    /// Returns the lowest known node.
    #[inline]
    pub(super) fn node(&self) -> Node<C> {
        self.here
    }

    /// Returns the index of the current address in the lowest known node.
    #[inline]
    pub(super) fn index(&self) -> usize {
        self.va.wrapping_shr(self.shift) & (C::C::NR_ENTRIES - 1)
    }

    /// Settles, and returns the entry there.
    #[inline(always)]
    pub(super) fn current(&mut self) -> Found<C> {
        self.settle();
        let index = self.index();
        (index, Node::<C>::sort(self.node().read(index)))
    }

    /// Forgets the lowest known node.
    #[inline]
    pub(super) fn climb(&mut self) {
        self.level += 1;
        self.shift += bits::<C>();
        self.here = Node::of(self.path[usize::from(self.level) - 1]);
    }

    /// Makes a child of the lowest known node that.
    #[inline]
    pub(super) fn descend(&mut self, child: Node<C>) {
        self.level -= 1;
        self.shift -= bits::<C>();
        self.path[usize::from(self.level) - 1] = child.entries();
        self.here = child;
    }

    /// Returns the size of the current slot.
    #[inline]
    pub(super) fn slot_size(&self) -> usize {
        1_usize.wrapping_shl(self.shift)
    }

    /// Moves to the end of the current slot, or of the cursor's range.
    #[inline(always)]
    pub(super) fn advance(&mut self) {
        let last = self.va | (self.slot_size() - 1);
        self.va = if last >= self.barrier.end - 1 {
            self.barrier.end
        } else {
            last + 1
        };
    }

    /// Returns the first address of the current slot.
    #[inline]
    pub(super) fn slot_start(&self) -> Vaddr {
        self.va & !(self.slot_size() - 1)
    }

    /// Returns the range of the current slot.
    #[inline]
    pub(super) fn slot_range(&self) -> Range<Vaddr> {
        let start = self.slot_start();
        let end = start.checked_add(self.slot_size());
        start..end.unwrap_or(usize::MAX & !(C::C::BASE_PAGE_SIZE - 1))
    }

    /// Returns whether the current slot starts at the cursor and ends by `end`.
    #[inline]
    pub(super) fn slot_fits(&self, end: Vaddr) -> bool {
        let size = self.slot_size();
        self.va & (size - 1) == 0 && size <= end - self.va
    }
}

impl<C: PageTableConfig> Drop for Cursor<'_, C> {
    #[inline]
    fn drop(&mut self) {
        range_lock::unlock(self.covering, self.guard_level, &self.barrier);
    }
}

impl<C: PageTableConfig> fmt::Debug for Cursor<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Cursor at {:#x} in {:#x}..{:#x}",
            self.va, self.barrier.start, self.barrier.end
        )
    }
}

/// Returns what a leaf of a locked node maps, with a reference of its own.
#[inline(always)]
fn clone_item<C: PageTableConfig>(entry: C::E, level: PagingLevel) -> C::Item {
    let (paddr, prop) = (entry.paddr(level), entry.prop(level));
    // SAFETY: 1. the entry is the raw form of an item. 2. it stays the owner: the
    // value made of it is cloned and not dropped.
    let borrowed = core::mem::ManuallyDrop::new(unsafe { C::item_from_raw(paddr, level, prop) });
    C::Item::clone(&borrowed)
}

#[inline(never)]
fn clone_huge_item<C: PageTableConfig>(entry: C::E, level: PagingLevel) -> C::Item {
    clone_item::<C>(entry, level)
}
