//! Cursors: a place in a range of a page table that nobody else can touch.
//!
//! A [`Cursor`] owns its range by the [range lock](super::range_lock) from its
//! opening to its end. [`CursorMut`](super::CursorMut) adds what changes mappings
//! and is a [`Cursor`] otherwise. Each operation is a match over the three things
//! that an entry can be: absent, a child table, a leaf.
//!
//! The cursor stands at an address and, for speed, remembers one node, the
//! one that it came to last. An operation goes back to the covering node unless
//! the remembered one covers the current address ([`Cursor::settle`]), and then
//! descends as far as it needs. So moving costs nothing, no address is ever added
//! up that could overflow, and a cursor is a few words without a stack of nodes.
//! Going down again from the covering node costs three loads at most, once for
//! each node.

use core::cell::Cell;
use core::fmt;
use core::hint::cold_path;
use core::marker::PhantomData;
use core::ops::Range;

use super::config::{PageTableConfig, PageTableEntryTrait};
use super::node::{Child, Node, item_of};
use super::place::Place;
use super::range_lock::{self, Intent};
use super::{PageTable, PageTableError};
use crate::cpu::InAtomicMode;
use crate::mm::paging::PagingConstsTrait;
use crate::mm::{PagingLevel, Vaddr};
use crate::planted::{Bug, is_planted};
use crate::sync::rcu;

/// A place in a range of a page table that can be looked at.
///
/// Read-only cursors exclude others like changing ones do.
pub struct Cursor<'rcu, C: PageTableConfig> {
    /// The remembered node: the covering one, or one below.
    here: Cell<Place<C>>,
    /// The covering node.
    top: Place<C>,
    /// Where the cursor stands: in the barrier, or at its end.
    va: Cell<Vaddr>,
    pub(super) barrier: Range<Vaddr>,
    /// The task stays in atomic mode, since it holds locks; and on its processor.
    _guard: PhantomData<(&'rcu (), *mut ())>,
}

static_assertions::assert_not_impl_any!(Cursor<'static, super::UserPtConfig>: Send, Sync);

/// What one entry at the cursor says.
type Found<C> = (usize, Child<C>);

impl<'rcu, C: PageTableConfig> Cursor<'rcu, C> {
    #[inline(always)]
    pub(super) fn new(
        table: &'rcu PageTable<C>,
        guard: &'rcu dyn InAtomicMode,
        range: &Range<Vaddr>,
        intent: Intent,
    ) -> Result<Self, PageTableError> {
        super::check_range::<C>(range)?;
        rcu::begin_cursor();
        let locked = range_lock::lock(guard, table.root_paddr(), range, intent);
        let (covering, level) = locked.inspect_err(|_| rcu::end_cursor())?;
        let top = Place::new(covering, level, range.start);
        Ok(Self {
            here: Cell::new(top),
            top,
            va: Cell::new(range.start),
            barrier: range.clone(),
            _guard: PhantomData,
        })
    }

    /// Returns the current address.
    #[inline]
    pub fn virt_addr(&self) -> Vaddr {
        self.va.get()
    }

    /// Moves to an address of the range, or to its end.
    #[inline(always)]
    pub(super) fn move_to(&self, va: Vaddr) {
        self.va.set(va);
    }

    /// Returns the range that the cursor owns.
    #[inline]
    pub fn barrier(&self) -> Range<Vaddr> {
        self.barrier.clone()
    }

    /// Returns the level of the covering node.
    pub fn guard_level(&self) -> PagingLevel {
        self.top.level()
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
    pub fn query(&self) -> Result<(Range<Vaddr>, Option<C::Item>), PageTableError> {
        let (range, leaf) = self.look()?;
        let Some(entry) = leaf else {
            return Ok((range, None));
        };
        let item = match self.level() {
            // Simpler where the level is known.
            1 => clone_item::<C>(entry, 1),
            level => clone_item::<C>(entry, level),
        };
        Ok((range, Some(item)))
    }

    /// As [`Self::query`], without a reference of the caller's own.
    ///
    /// # Errors
    ///
    /// [`PageTableError::InvalidVaddr`] at the end of the cursor's range.
    #[inline(always)]
    pub fn query_ref(&self) -> Result<(Range<Vaddr>, Option<C::ItemRef<'_>>), PageTableError> {
        let (range, leaf) = self.look()?;
        // SAFETY: 1. the entry is the raw form of an item. 2. it is the owner for
        // as long as the cursor is borrowed, since it has the lock.
        let borrow = |entry: C::E, level| unsafe {
            C::item_ref_from_raw(entry.paddr(level), level, entry.prop(level))
        };
        let item = leaf.map(|entry| match self.level() {
            // Simpler where the level is known.
            1 => borrow(entry, 1),
            level => borrow(entry, level),
        });
        Ok((range, item))
    }

    /// Descends to what is mapped at the cursor.
    #[inline(always)]
    pub(super) fn look(&self) -> Result<(Range<Vaddr>, Option<C::E>), PageTableError> {
        if self.va.get() >= self.barrier.end {
            return Err(PageTableError::InvalidVaddr(self.va.get()));
        }
        self.settle();
        let found = match self.entry() {
            Child::Table(child) => {
                let va = self.va.get();
                self.here.set(self.here.get().below(child, va).deepest(va));
                self.entry()
            }
            found => found,
        };
        let leaf = match found {
            Child::Leaf(entry) => Some(entry),
            Child::Absent | Child::Table(_) => None,
        };
        Ok((self.slot_range(), leaf))
    }

    /// Moves to the first address of the next `len` bytes that is mapped, and
    /// returns it. When there is none, the cursor moves to their end, or beyond it
    /// to the end of an absent slot, and not beyond its own range.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    #[inline(always)]
    pub fn find_next(&self, len: usize) -> Option<Vaddr> {
        let end = self.window_end(len);
        while self.va.get() < end {
            match self.current().1 {
                Child::Leaf(_) => return Some(self.va.get()),
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
    pub fn jump(&self, va: Vaddr) -> Result<(), PageTableError> {
        assert!(
            va & (C::C::BASE_PAGE_SIZE - 1) == 0,
            "jump to unaligned {va:#x}"
        );
        if !self.barrier.contains(&va) {
            return Err(PageTableError::InvalidVaddr(va));
        }
        self.move_to(va);
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
            len <= self.barrier.end - self.va.get(),
            "{len:#x} bytes from {:#x} leave the cursor's range",
            self.va.get()
        );
        self.va.get() + len
    }

    /// Returns whether the remembered node covers the current address.
    #[inline(always)]
    pub(super) fn is_settled(&self) -> bool {
        self.here.get().covers(self.va.get())
    }

    /// Goes back to the covering node unless the remembered one covers the
    /// current address.
    #[inline(always)]
    pub(super) fn settle(&self) {
        if !self.is_settled() {
            cold_path();
            self.go_back();
        }
    }

    /// Forgets the remembered node for the covering one.
    #[inline(always)]
    pub(super) fn go_back(&self) {
        self.here.set(self.top);
    }

    /// Returns the remembered node.
    #[inline(always)]
    pub(super) fn node(&self) -> Node<C> {
        self.here.get().node()
    }

    /// Returns the level of the remembered node.
    #[inline(always)]
    pub(super) fn level(&self) -> PagingLevel {
        self.here.get().level()
    }

    /// Returns the index of the current address in the remembered node, which
    /// covers it.
    #[inline(always)]
    pub(super) fn index(&self) -> usize {
        self.here.get().index(self.va.get())
    }

    /// Returns the entry for the current address in the remembered node, which
    /// covers it.
    #[inline(always)]
    fn entry(&self) -> Child<C> {
        self.node().child(self.index())
    }

    /// Settles, and returns the entry there.
    #[inline(always)]
    pub(super) fn current(&self) -> Found<C> {
        self.settle();
        (self.index(), self.entry())
    }

    /// Remembers the child of the remembered node that covers the current
    /// address.
    #[inline(always)]
    pub(super) fn descend(&self, child: Node<C>) {
        self.here.set(self.here.get().below(child, self.va.get()));
    }

    /// Remembers the node of a level that covers the current address, or as far
    /// down as there are nodes: for checkers, to which it makes no difference.
    #[cfg(feature = "planted")]
    pub(crate) fn remember(&self, level: PagingLevel) {
        self.go_back();
        while self.level() > level.max(1)
            && let Child::Table(child) = self.entry()
        {
            self.descend(child);
        }
    }

    /// Returns the size of the current slot.
    #[inline(always)]
    pub(super) fn slot_size(&self) -> usize {
        self.here.get().slot_size()
    }

    /// Moves to the end of the current slot, or of the cursor's range.
    #[inline(always)]
    pub(super) fn advance(&self) {
        let last = self.va.get() | (self.slot_size() - 1);
        self.move_to(if last >= self.barrier.end - 1 {
            self.barrier.end
        } else {
            last + 1
        });
    }

    /// Returns the first address of the current slot.
    #[inline]
    pub(super) fn slot_start(&self) -> Vaddr {
        self.here.get().slot_start(self.va.get())
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
        let window = if is_planted(Bug::WindowTooLong) {
            end - self.va.get() + C::C::BASE_PAGE_SIZE
        } else {
            end - self.va.get()
        };
        self.va.get() & (size - 1) == 0 && size <= window
    }
}

impl<C: PageTableConfig> Drop for Cursor<'_, C> {
    #[inline(always)]
    fn drop(&mut self) {
        let range = self.barrier.clone();
        range_lock::unlock(self.top.node(), self.top.level(), &range);
        rcu::end_cursor();
    }
}

impl<C: PageTableConfig> fmt::Debug for Cursor<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Cursor at {:#x} in {:#x}..{:#x}",
            self.va.get(),
            self.barrier.start,
            self.barrier.end
        )
    }
}

/// Returns what a leaf of a locked node maps, with a reference of its own.
#[inline(always)]
fn clone_item<C: PageTableConfig>(entry: C::E, level: PagingLevel) -> C::Item {
    // SAFETY: 1. it is a leaf of a node. 2. it stays the owner: the item is cloned
    // and not dropped.
    let borrowed = core::mem::ManuallyDrop::new(unsafe { item_of::<C>(entry, level) });
    if is_planted(Bug::UncountedReference) {
        return core::mem::ManuallyDrop::into_inner(borrowed);
    }
    C::Item::clone(&borrowed)
}
