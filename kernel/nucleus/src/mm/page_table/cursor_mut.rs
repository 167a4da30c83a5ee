//! Changing what a page table maps.
//!
//! A [`CursorMut`] is a [`Cursor`] that may change its range. What it takes out of
//! the table it returns as a [`PageTableFrag`], whose owner has to have it flushed
//! before it is dropped. Memory that runs out is an error, after which every
//! address translates as before.
//!
//! Huge leaves are split where an operation is about a part of them. A huge leaf
//! holds a reference to each frame of its range, so that its parts have theirs
//! already: splitting moves references and changes no count.

use core::ops::{Deref, DerefMut, Range};

use super::config::{PageTableConfig, PageTableEntryTrait};
use super::cursor::Cursor;
use super::frag::PageTableFrag;
use super::node::{Child, Node};
use super::{PageTableError, range_lock};
use crate::mm::paging::{PagingConstsTrait, page_size, pte_index};
use crate::mm::{PageFlags, PageProperty, PagingLevel, Vaddr};

/// A place in a range of a page table that can be changed.
#[derive(Debug)]
pub struct CursorMut<'rcu, C: PageTableConfig>(Cursor<'rcu, C>);

impl<'rcu, C: PageTableConfig> Deref for CursorMut<'rcu, C> {
    type Target = Cursor<'rcu, C>;

    fn deref(&self) -> &Cursor<'rcu, C> {
        &self.0
    }
}

impl<C: PageTableConfig> DerefMut for CursorMut<'_, C> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<'rcu, C: PageTableConfig> CursorMut<'rcu, C> {
    pub(super) fn new(cursor: Cursor<'rcu, C>) -> Self {
        Self(cursor)
    }

    /// Maps an item at the cursor and moves past it. What was mapped there, a
    /// leaf or a whole table, is taken out and returned.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`]: every address translates as before, and the
    /// item is dropped.
    ///
    /// # Panics
    ///
    /// Panics at the end of the range; when the item's level is none that a leaf
    /// may have; when the cursor's address is not a multiple of the item's size;
    /// when less than that is left of the range.
    ///
    /// # Safety
    ///
    /// 1. The mapping does not break the memory safety of whoever uses the
    ///    addresses.
    /// 2. What is returned is kept until its addresses are flushed on every
    ///    processor that may translate by the table.
    #[inline]
    pub unsafe fn map(
        &mut self,
        item: C::Item,
    ) -> Result<Option<PageTableFrag<C>>, PageTableError> {
        let level = C::item_level(&item);
        let size = self.check_item(level);
        self.descend_to(level)?;
        let (paddr, level, prop) = C::item_into_raw(item);
        let entry = C::E::new_page(paddr, level, prop);
        let cursor = &mut self.0;
        let index = pte_index::<C::C>(cursor.va, level);
        let node = cursor.node();
        let frag = if node.read(index).is_present() {
            Some(self.take(index, Some(entry)))
        } else {
            node.fill(index, entry);
            None
        };
        self.0.va += size;
        Ok(frag)
    }

    /// Makes all nodes that mapping an item of `level` at each multiple of its
    /// size in the next `len` bytes needs, splitting what is in the way at the
    /// borders, so that mapping them cannot fail.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`]: every address translates as before.
    ///
    /// # Panics
    ///
    /// As [`Self::map`] for each item.
    pub fn prepare(&mut self, len: usize, level: PagingLevel) -> Result<(), PageTableError> {
        let end = self.0.window_end(len);
        let start = self.0.va;
        while self.0.va < end {
            let size = self.check_item(level);
            let prepared = self.descend_to(level);
            if prepared.is_err() {
                self.0.va = start;
                return prepared;
            }
            self.0.va += size;
        }
        self.0.va = start;
        Ok(())
    }

    /// Splits huge leaves that reach over either end of the next `len` bytes.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`]: every address translates as before.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    pub fn split_edges(&mut self, len: usize) -> Result<(), PageTableError> {
        let end = self.0.window_end(len);
        let start = self.0.va;
        let result = if len == 0 {
            Ok(())
        } else {
            self.split_at(start).and_then(|()| {
                if end == self.0.barrier.end {
                    return self.split_last(end);
                }
                self.split_at(end)
            })
        };
        self.0.va = start;
        result
    }

    /// Splits until no leaf reaches over an address.
    fn split_at(&mut self, va: Vaddr) -> Result<(), PageTableError> {
        self.0.va = va;
        loop {
            match self.0.current() {
                (_, Child::Table(child)) => self.0.descend(child),
                (index, Child::Leaf(entry)) if !self.0.slot_range().start.eq(&va) => {
                    self.split(index, entry)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Splits until no leaf reaches over the end of the cursor's range.
    fn split_last(&mut self, end: Vaddr) -> Result<(), PageTableError> {
        self.0.va = end - C::C::BASE_PAGE_SIZE;
        loop {
            let reaches_over = self.0.va | (page_size::<C::C>(self.0.level) - 1);
            let (index, child) = self.0.current();
            let last = self.0.va | (page_size::<C::C>(self.0.level) - 1);
            debug_assert!(reaches_over <= last);
            match child {
                Child::Table(child) => self.0.descend(child),
                Child::Leaf(entry) if last > end - 1 => self.split(index, entry)?,
                Child::Absent | Child::Leaf(_) => return Ok(()),
            }
        }
    }

    /// Takes the first mapping of the next `len` bytes out, or a whole table that
    /// lies in them, and moves past it. A huge mapping that reaches over an end
    /// of them is split. Returns nothing, with the cursor at their end, when
    /// nothing is mapped there.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`] when a huge mapping cannot be split; every
    /// address translates as before.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    ///
    /// # Safety
    ///
    /// 1. Unmapping does not break the memory safety of whoever uses the
    ///    addresses.
    /// 2. What is returned is kept until its addresses are flushed on every
    ///    processor that may translate by the table.
    #[inline]
    pub unsafe fn take_next(
        &mut self,
        len: usize,
    ) -> Result<Option<PageTableFrag<C>>, PageTableError> {
        let end = self.0.window_end(len);
        while self.0.va < end {
            let (index, child) = self.0.current();
            match child {
                Child::Absent => self.0.advance(),
                Child::Table(_) if self.0.slot_fits(end) && self.may_remove_tables() => {
                    return Ok(Some(self.take_and_advance(index)));
                }
                Child::Table(child) if child.nr_children() > 0 => self.0.descend(child),
                Child::Table(_) => self.0.advance(),
                Child::Leaf(_) if self.0.slot_fits(end) => {
                    return Ok(Some(self.take_and_advance(index)));
                }
                Child::Leaf(entry) => self.split(index, entry)?,
            }
        }
        Ok(None)
    }

    /// Changes the property of the first mapping of the next `len` bytes and
    /// moves past it; returns its range. A huge mapping that reaches over an end
    /// of them is split. Returns nothing, with the cursor at their end, when
    /// nothing is mapped there. Flushes nothing.
    ///
    /// `op` is called once at most, and must leave [`PageFlags::AVAIL1`] alone.
    /// Accessed and dirty bits that the hardware sets meanwhile are kept.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`] when a huge mapping cannot be split; every
    /// address translates as before.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    ///
    /// # Safety
    ///
    /// The change does not break the memory safety of whoever uses the addresses.
    #[inline]
    pub unsafe fn protect_next(
        &mut self,
        len: usize,
        op: impl FnOnce(PageProperty) -> PageProperty,
    ) -> Result<Option<Range<Vaddr>>, PageTableError> {
        let end = self.0.window_end(len);
        while self.0.va < end {
            let (index, child) = self.0.current();
            match child {
                Child::Table(child) if child.nr_children() > 0 => self.0.descend(child),
                Child::Absent | Child::Table(_) => self.0.advance(),
                Child::Leaf(entry) if self.0.slot_fits(end) => {
                    let range = self.0.va..self.0.va + page_size::<C::C>(self.0.level);
                    self.change_property(index, entry, op);
                    self.0.va = range.end;
                    return Ok(Some(range));
                }
                Child::Leaf(entry) => self.split(index, entry)?,
            }
        }
        Ok(None)
    }

    /// Checks that an item of a level can be mapped here; returns its size.
    #[inline]
    fn check_item(&self, level: PagingLevel) -> usize {
        let cursor = &self.0;
        assert!(
            cursor.va < cursor.barrier.end,
            "nothing can be mapped at the end of the cursor's range"
        );
        assert!(
            level <= C::C::HIGHEST_TRANSLATION_LEVEL,
            "no leaf may be of level {level}"
        );
        let size = page_size::<C::C>(level);
        assert!(
            cursor.va & (size - 1) == 0,
            "a page of {size:#x} bytes cannot be at {:#x}",
            cursor.va
        );
        assert!(
            size <= cursor.barrier.end - cursor.va,
            "a page of {size:#x} bytes at {:#x} leaves the cursor's range",
            cursor.va
        );
        size
    }

    /// Moves to the node of `level` that covers the cursor, making it if need be.
    #[inline]
    fn descend_to(&mut self, level: PagingLevel) -> Result<(), PageTableError> {
        self.0.settle();
        while self.0.level < level {
            self.0.level += 1;
        }
        debug_assert!(
            level <= self.0.guard_level,
            "a huge page's parent is locked"
        );
        while self.0.level > level {
            let (index, child) = self.0.current();
            match child {
                Child::Table(child) => self.0.descend(child),
                Child::Leaf(entry) => self.split(index, entry)?,
                Child::Absent => {
                    let child = Node::alloc_locked(self.0.level - 1)
                        .map_err(|_| PageTableError::NoMemory)?;
                    let entry = C::E::new_pt(child.paddr(), C::PT_FLAGS);
                    self.0.node().fill(index, entry);
                    self.0.descend(child);
                }
            }
        }
        Ok(())
    }

    /// Whether entries of the current node that lead to tables can be taken out.
    fn may_remove_tables(&self) -> bool {
        C::TOP_LEVEL_CAN_UNMAP || self.0.level < C::C::NR_LEVELS
    }

    #[inline]
    fn take_and_advance(&mut self, index: usize) -> PageTableFrag<C> {
        let frag = self.take(index, None);
        self.0.advance();
        frag
    }

    /// Takes the current entry out, which is not absent, putting another one in
    /// its place if there is one.
    #[inline]
    fn take(&mut self, index: usize, new: Option<C::E>) -> PageTableFrag<C> {
        let (level, va) = (self.0.level, self.0.slot_range().start);
        let node = self.0.node();
        let old = match new {
            Some(entry) => node.replace(index, entry),
            None => node.clear(index),
        };
        match node.sort(old, level) {
            Child::Table(child) => {
                let num_frames = range_lock::cut_off(child, level - 1);
                PageTableFrag::StrayPageTable {
                    pt: child.into_owned().into(),
                    va,
                    len: page_size::<C::C>(level),
                    num_frames,
                }
            }
            Child::Leaf(entry) => {
                let (paddr, prop) = (entry.paddr(level), entry.prop(level));
                // SAFETY: 1. the entry was the raw form of an item, or a part of
                // one. 2. it was the owner, and is no more.
                let item = unsafe { C::item_from_raw(paddr, level, prop) };
                PageTableFrag::Mapped { va, item }
            }
            Child::Absent => unreachable!("an absent entry was taken out"),
        }
    }

    /// Splits the current leaf into a table of leaves of the next level, each
    /// with its part of the address and the same property, and descends into it.
    #[cold]
    fn split(&mut self, index: usize, leaf: C::E) -> Result<(), PageTableError> {
        let level = self.0.level;
        let child = Node::alloc_locked(level - 1).map_err(|_| PageTableError::NoMemory)?;
        let (paddr, size) = (leaf.paddr(level), page_size::<C::C>(level - 1));
        let fill = |prop| {
            for part in 0..C::C::NR_ENTRIES {
                child.fill(part, C::E::new_page(paddr + part * size, level - 1, prop));
            }
        };
        fill(leaf.prop(level));
        let table = C::E::new_pt(child.paddr(), C::PT_FLAGS);
        let old = self.0.node().replace(index, table);
        if old.as_usize() != leaf.as_usize() {
            // The hardware used the page since it was read: so may be each part.
            let prop = old.prop(level);
            for part in 0..C::C::NR_ENTRIES {
                child.replace(part, C::E::new_page(paddr + part * size, level - 1, prop));
            }
        }
        self.0.descend(child);
        Ok(())
    }

    /// Changes the property of a leaf, keeping what the hardware sets meanwhile.
    #[inline]
    fn change_property(
        &mut self,
        index: usize,
        leaf: C::E,
        op: impl FnOnce(PageProperty) -> PageProperty,
    ) {
        let level = self.0.level;
        let node = self.0.node();
        let old_prop = leaf.prop(level);
        let mut prop = op(old_prop);
        debug_assert_eq!(
            prop.flags & PageFlags::AVAIL1,
            old_prop.flags & PageFlags::AVAIL1,
            "the tag of a mapping is not its owner's"
        );
        let mut old = leaf;
        loop {
            let mut new = old;
            new.set_prop(level, prop);
            match node.update(index, old, new) {
                Ok(()) => return,
                Err(now) => {
                    prop.flags |= now.prop(level).flags - old_prop.flags;
                    old = now;
                }
            }
        }
    }
}
