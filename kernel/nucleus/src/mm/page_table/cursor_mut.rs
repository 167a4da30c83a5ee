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

use core::ops::{Deref, Range};

use super::config::{PageTableConfig, PageTableEntryTrait};
use super::cursor::Cursor;
use super::frag::PageTableFrag;
use super::node::{Child, Node, item_of};
use super::{PageTableError, range_lock};
use crate::mm::paging::{PagingConstsTrait, page_shift, page_size};
use crate::mm::{PageFlags, PageProperty, PagingLevel, Vaddr};
use crate::planted::{Bug, is_planted};

/// A place in a range of a page table that can be changed.
#[derive(Debug)]
pub struct CursorMut<'rcu, C: PageTableConfig>(pub(super) Cursor<'rcu, C>);

static_assertions::assert_not_impl_any!(CursorMut<'static, super::UserPtConfig>: Send, Sync);

impl<'rcu, C: PageTableConfig> Deref for CursorMut<'rcu, C> {
    type Target = Cursor<'rcu, C>;

    fn deref(&self) -> &Cursor<'rcu, C> {
        &self.0
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
    #[inline(always)]
    pub unsafe fn map(
        &mut self,
        item: C::Item,
    ) -> Result<Option<PageTableFrag<C>>, PageTableError> {
        let level = C::item_level(&item);
        let size = 1_usize.wrapping_shl(page_shift::<C::C>(level) as u32);
        let cursor = &self.0;
        // The usual case first: an absent entry of the node at hand. The cursor
        // is never beyond its range, so the rest of that does not wrap.
        let is_at_hand = level == cursor.level() && cursor.is_settled();
        let fits = level <= C::C::HIGHEST_TRANSLATION_LEVEL
            && (level == 1 || cursor.virt_addr() & (size - 1) == 0)
            && size <= cursor.barrier.end.wrapping_sub(cursor.virt_addr());
        if is_at_hand && fits {
            let (index, node) = (cursor.index(), cursor.node());
            if !node.read(index).is_present() {
                let (paddr, _, prop) = C::item_into_raw(item);
                node.fill(index, C::E::new_page(paddr, level, prop));
                // It fits, so nothing wraps.
                cursor.move_to(cursor.virt_addr().wrapping_add(size));
                return Ok(None);
            }
        }
        self.map_anywhere(item)
    }

    /// Maps an item wherever the cursor stands; see [`Self::map`].
    #[inline(never)]
    fn map_anywhere(&mut self, item: C::Item) -> Result<Option<PageTableFrag<C>>, PageTableError> {
        let level = C::item_level(&item);
        let size = self.check_item(level);
        if let Err(error) = self.descend_to(level) {
            if is_planted(Bug::LeakedByFailure) {
                core::mem::forget(item);
            }
            return Err(error);
        }
        let (paddr, level, prop) = C::item_into_raw(item);
        let frag = self.put(C::E::new_page(paddr, level, prop));
        self.0.move_to(self.0.virt_addr() + size);
        Ok(frag)
    }

    /// Writes the entry at the cursor in the node at hand; returns what was there.
    #[inline(always)]
    pub(super) fn put(&mut self, entry: C::E) -> Option<PageTableFrag<C>> {
        let (index, node) = (self.0.index(), self.0.node());
        if node.read(index).is_present() {
            return Some(self.take(index, Some(entry)));
        }
        node.fill(index, entry);
        None
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
        let start = self.0.virt_addr();
        while self.0.virt_addr() < end {
            let size = self.check_item(level);
            let prepared = self.descend_to(level);
            if prepared.is_err() {
                self.0.move_to(start);
                return prepared;
            }
            self.0.move_to(self.0.virt_addr() + size);
        }
        self.0.move_to(start);
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
    #[inline(always)]
    pub fn split_edges(&mut self, len: usize) -> Result<(), PageTableError> {
        let end = self.0.window_end(len);
        // Below a node of level 1 nothing is huge.
        if self.0.guard_level() == 1 {
            return Ok(());
        }
        self.split_both_edges(len, end)
    }

    #[inline(never)]
    fn split_both_edges(&mut self, len: usize, end: Vaddr) -> Result<(), PageTableError> {
        let start = self.0.virt_addr();
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
        if result.is_ok() || !is_planted(Bug::MovedByFailure) {
            self.0.move_to(start);
        }
        result
    }

    /// Splits until no leaf reaches over an address.
    fn split_at(&mut self, va: Vaddr) -> Result<(), PageTableError> {
        self.0.move_to(va);
        loop {
            match self.0.current() {
                (_, Child::Table(child)) => self.0.descend(child),
                (index, Child::Leaf(entry)) if self.0.slot_start() != va => {
                    self.split(index, entry)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Splits until no leaf reaches over the end of the cursor's range.
    fn split_last(&mut self, end: Vaddr) -> Result<(), PageTableError> {
        self.0.move_to(end - C::C::BASE_PAGE_SIZE);
        loop {
            let (index, child) = self.0.current();
            let last = self.0.virt_addr() | (self.0.slot_size() - 1);
            match child {
                Child::Table(child) => self.0.descend(child),
                Child::Leaf(entry) if last > end - 1 => self.split(index, entry)?,
                Child::Absent | Child::Leaf(_) => return Ok(()),
            }
        }
    }

    /// Takes the first mapping of the next `len` bytes out, or a whole table that
    /// lies in them, and moves past it. A huge mapping that reaches over an end
    /// of them is split. Returns nothing when nothing is mapped there; the cursor is
    /// then at their end, or beyond as [`Cursor::find_next`] says.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`] when a huge mapping cannot be split; the cursor
    /// is then where it was, and every address translates as before.
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
    #[inline(always)]
    pub unsafe fn take_next(
        &mut self,
        len: usize,
    ) -> Result<Option<PageTableFrag<C>>, PageTableError> {
        let end = self.0.window_end(len);
        while self.0.virt_addr() < end {
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
                Child::Leaf(entry) => self.split_or_return(index, entry, end - len)?,
            }
        }
        Ok(None)
    }

    /// Changes the property of the first mapping of the next `len` bytes and
    /// moves past it; returns its range. A huge mapping that reaches over an end
    /// of them is split. Returns nothing when nothing is mapped there; the cursor is
    /// then at their end, or beyond as [`Cursor::find_next`] says. Flushes nothing.
    ///
    /// `op` is called once at most, and must leave [`PageFlags::AVAIL1`] alone.
    /// Accessed and dirty bits that the hardware sets meanwhile are kept.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`] when a huge mapping cannot be split; the cursor
    /// is then where it was, and every address translates as before.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    ///
    /// # Safety
    ///
    /// The change does not break the memory safety of whoever uses the addresses.
    #[inline(always)]
    pub unsafe fn protect_next(
        &mut self,
        len: usize,
        op: impl FnOnce(PageProperty) -> PageProperty,
    ) -> Result<Option<Range<Vaddr>>, PageTableError> {
        let end = self.0.window_end(len);
        while self.0.virt_addr() < end {
            let (index, child) = self.0.current();
            match child {
                Child::Table(child) if child.nr_children() > 0 => self.0.descend(child),
                Child::Absent | Child::Table(_) => self.0.advance(),
                Child::Leaf(entry) if self.0.slot_fits(end) => {
                    let range = self.0.virt_addr()..self.0.virt_addr() + self.0.slot_size();
                    let node = self.0.node();
                    match self.0.level() {
                        // Simpler where the level is known.
                        1 => change_property(node, index, 1, entry, op),
                        level => change_property(node, index, level, entry, op),
                    }
                    self.0.move_to(range.end);
                    return Ok(Some(range));
                }
                Child::Leaf(entry) => self.split_or_return(index, entry, end - len)?,
            }
        }
        Ok(None)
    }

    /// Checks that an item of a level can be mapped here; returns its size.
    fn check_item(&self, level: PagingLevel) -> usize {
        let cursor = &self.0;
        assert!(
            cursor.virt_addr() < cursor.barrier.end,
            "nothing can be mapped at the end of the cursor's range"
        );
        assert!(
            level <= C::C::HIGHEST_TRANSLATION_LEVEL,
            "no leaf may be of level {level}"
        );
        let size = 1 << page_shift::<C::C>(level);
        assert!(
            cursor.virt_addr() & (size - 1) == 0,
            "a page of {size:#x} bytes cannot be at {:#x}",
            cursor.virt_addr()
        );
        assert!(
            size <= cursor.barrier.end - cursor.virt_addr(),
            "a page of {size:#x} bytes at {:#x} leaves the cursor's range",
            cursor.virt_addr()
        );
        size
    }

    /// Moves to the node of `level` that covers the cursor, making it if need be.
    pub(super) fn descend_to(&mut self, level: PagingLevel) -> Result<(), PageTableError> {
        if self.0.level() < level || !self.0.is_settled() {
            self.0.go_back();
        }
        debug_assert!(
            level <= self.0.guard_level(),
            "a huge page's parent is locked"
        );
        while self.0.level() > level {
            let (index, child) = self.0.current();
            match child {
                Child::Table(child) => self.0.descend(child),
                Child::Leaf(entry) => self.split(index, entry)?,
                Child::Absent => {
                    let child = Node::alloc_locked(self.0.level() - 1)
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
        C::TOP_LEVEL_CAN_UNMAP || self.0.level() < C::C::NR_LEVELS
    }

    #[inline(always)]
    fn take_and_advance(&mut self, index: usize) -> PageTableFrag<C> {
        let frag = self.take(index, None);
        self.0.advance();
        frag
    }

    /// Takes the current entry out, which is not absent, putting another one in
    /// its place if there is one.
    #[inline(always)]
    fn take(&mut self, index: usize, new: Option<C::E>) -> PageTableFrag<C> {
        let (level, va) = (self.0.level(), self.0.slot_start());
        let node = self.0.node();
        let old = match new {
            Some(entry) => node.replace(index, entry),
            None => node.clear(index),
        };
        // SAFETY: It was the node's, and what it leads to is locked by this cursor.
        match unsafe { Node::<C>::sort(old) } {
            Child::Table(child) => self.cut_off(child, va),
            Child::Leaf(entry) => {
                // SAFETY: 1. it was a leaf of the node. 2. it was just taken out.
                let item = unsafe { item_of::<C>(entry, level) };
                PageTableFrag::Mapped { va, item }
            }
            Child::Absent => unreachable!("an absent entry was taken out"),
        }
    }

    /// Makes a fragment of a child whose entry was just taken out.
    #[inline(never)]
    fn cut_off(&mut self, child: Node<C>, va: Vaddr) -> PageTableFrag<C> {
        let cut = range_lock::cut_off(child, self.0.level() - 1);
        PageTableFrag::StrayPageTable {
            pt: child.into_owned().into(),
            va,
            len: self.0.slot_size(),
            num_frames: cut.leaves,
            num_pages: cut.pages,
        }
    }

    /// As [`Self::split`], but goes back to `start` if that fails.
    #[cold]
    fn split_or_return(
        &mut self,
        index: usize,
        leaf: C::E,
        start: Vaddr,
    ) -> Result<(), PageTableError> {
        let result = self.split(index, leaf);
        if result.is_err() {
            self.0.move_to(start);
        }
        result
    }

    /// Splits the current leaf into a table of leaves of the next level, each
    /// with its part of the address and the same property, and descends into it.
    #[cold]
    pub(super) fn split(&mut self, index: usize, leaf: C::E) -> Result<(), PageTableError> {
        let level = self.0.level();
        let child = Node::alloc_locked_on_reserve(level - 1);
        let child = child.map_err(|_| PageTableError::NoMemory)?;
        let (paddr, size) = (leaf.paddr(level), page_size::<C::C>(level - 1));
        let fill = |prop| {
            for part in 0..C::C::NR_ENTRIES {
                let paddr = paddr + (part ^ usize::from(is_planted(Bug::SplitOutOfOrder))) * size;
                child.fill(part, C::E::new_page(paddr, level - 1, prop));
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
}

/// Changes the property of a leaf, keeping what the hardware sets meanwhile.
#[inline(always)]
pub(super) fn change_property<C: PageTableConfig>(
    node: Node<C>,
    index: usize,
    level: PagingLevel,
    leaf: C::E,
    op: impl FnOnce(PageProperty) -> PageProperty,
) {
    let old_prop = leaf.prop(level);
    let prop = op(old_prop);
    debug_assert_eq!(
        prop.flags & PageFlags::AVAIL1,
        old_prop.flags & PageFlags::AVAIL1,
        "the tag of a mapping is not its owner's"
    );
    let new = C::E::new_page(leaf.paddr(level), level, prop);
    if let Err(now) = node.update(index, leaf, new) {
        keep_marks(node, index, level, (now, old_prop, prop));
    }
}

/// Changes a leaf that the hardware has marked since it was read.
#[cold]
pub(super) fn keep_marks<C: PageTableConfig>(
    node: Node<C>,
    index: usize,
    level: PagingLevel,
    (now, old_prop, prop): (C::E, PageProperty, PageProperty),
) {
    let mut now = now;
    loop {
        let marks = now.prop(level).flags - old_prop.flags;
        let prop = PageProperty {
            flags: prop.flags | marks,
            ..prop
        };
        let new = C::E::new_page(now.paddr(level), level, prop);
        match node.update(index, now, new) {
            Ok(()) => return,
            Err(again) => now = again,
        }
    }
}
