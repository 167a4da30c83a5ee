//! Operations on many pages of one node at once.
//!
//! Most of what is mapped is pages of the base size, side by side. Where the
//! remembered node of a cursor is one of the lowest level, all that is done to
//! them is a loop over its entries, without looking for each anew.

use super::PageTableError;
use super::config::{PageTableConfig, PageTableEntryTrait};
use super::cursor_mut::{CursorMut, keep_marks};
use super::node::item_of;
use crate::arch::watch;
use crate::mm::paging::PagingConstsTrait;
use crate::mm::{PageProperty, Vaddr};

impl<C: PageTableConfig> CursorMut<'_, C> {
    /// Returns whether the remembered node, which covers the cursor, is one of the
    /// lowest level: so that what is at the cursor is a page of the base size, or
    /// nothing.
    #[inline(always)]
    pub(in crate::mm) fn is_among_pages(&self) -> bool {
        self.0.level() == 1 && self.0.is_settled()
    }

    /// Takes the page of the base size out that is mapped at the cursor, if one
    /// is, and moves past it; for a cursor that is among pages and not at its
    /// end.
    ///
    /// # Safety
    ///
    /// 1. and 2. as for [`Self::take_next`].
    /// 3. The cursor [is among pages](Self::is_among_pages): elsewhere the entry would
    ///    be taken for a page's, whatever it is.
    /// 4. It is not at the end of its range, beyond which entries are not its own.
    #[inline(always)]
    pub(in crate::mm) unsafe fn take_page(&mut self) -> Option<(Vaddr, C::Item)> {
        let cursor = &self.0;
        debug_assert!(self.is_among_pages());
        debug_assert!(cursor.virt_addr() < cursor.barrier.end);
        let (va, node, index) = (cursor.virt_addr(), cursor.node(), cursor.index());
        // Not at the end, so this does not wrap.
        cursor.move_to(va.wrapping_add(C::C::BASE_PAGE_SIZE));
        if !node.read(index).is_present() {
            return None;
        }
        let entry = node.clear(index);
        // SAFETY: 1. a present entry of level 1 is a leaf. 2. it was just taken out.
        Some((va, unsafe { item_of::<C>(entry, 1) }))
    }

    /// Takes all pages of the base size out that are mapped from the cursor on in
    /// the node at hand, up to `end`, and calls `taken` with each; moves past what
    /// was seen. Returns how many there were: none if the cursor's node is another
    /// one. What [`Self::take_next`] does one by one, for many.
    ///
    /// # Safety
    ///
    /// 1. and 2. as for [`Self::take_next`], of each item.
    /// 3. `end` is within the cursor's range, and not before the cursor.
    #[inline(always)]
    pub(in crate::mm) unsafe fn take_run(
        &mut self,
        end: Vaddr,
        mut taken: impl FnMut(Vaddr, C::Item),
    ) -> usize {
        if !self.is_among_pages() {
            return 0;
        }
        let cursor = &self.0;
        let (node, page) = (cursor.node(), C::C::BASE_PAGE_SIZE);
        // No more than a node has entries, so counting does not wrap.
        let mut count = 0_u16;
        let first = cursor.index();
        let pages = (C::C::NR_ENTRIES - first).min((end - cursor.virt_addr()) / page);
        let mut va = cursor.virt_addr();
        let is_watched = watch::is_on();
        for index in first..first + pages {
            let seen = node.read(index);
            if seen.is_present() {
                let entry = node.empty(index, is_watched);
                // SAFETY: 1. a present entry of level 1 is a leaf. 2. it was just
                // taken out.
                taken(va, unsafe { item_of::<C>(entry, 1) });
                count = count.wrapping_add(1);
            }
            va = va.wrapping_add(page);
        }
        node.lose_children(count);
        cursor.move_to(va);
        usize::from(count)
    }

    /// Changes the property of all mappings of the next `len` bytes and moves to
    /// their end, or beyond as [`Cursor::find_next`](super::Cursor::find_next) says;
    /// returns how many there were. Huge ones that reach over an end are split. What
    /// [`Self::protect_next`] does one by one, for many.
    ///
    /// `op` is a function of the property alone: for many mappings with the same
    /// property it may be called once. It must leave
    /// [`PageFlags::AVAIL1`](crate::mm::PageFlags::AVAIL1) alone, by which a
    /// configuration tells whether a mapping owns its frames.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`] when a huge mapping cannot be split; every
    /// address translates as before, with the same rights.
    ///
    /// # Panics
    ///
    /// As [`Self::protect_next`].
    ///
    /// # Safety
    ///
    /// As for [`Self::protect_next`], of each mapping.
    #[inline(always)]
    pub unsafe fn protect_all(
        &mut self,
        len: usize,
        op: impl Fn(PageProperty) -> PageProperty,
    ) -> Result<usize, PageTableError> {
        self.split_edges(len)?;
        let end = self.0.virt_addr() + len;
        let mut count = 0;
        while self.0.virt_addr() < end {
            if self.is_among_pages() {
                count += self.protect_run(end, &op);
                continue;
            }
            // SAFETY: As the caller promises.
            match unsafe { self.protect_next(end - self.0.virt_addr(), &op) }? {
                Some(_) => count += 1,
                None => break,
            }
        }
        Ok(count)
    }

    /// Changes the property of the pages of the node at hand, which is of level 1,
    /// up to `end`; moves past them. Returns how many there were.
    #[inline(always)]
    fn protect_run(&mut self, end: Vaddr, op: &impl Fn(PageProperty) -> PageProperty) -> usize {
        let cursor = &self.0;
        let (node, first) = (cursor.node(), cursor.index());
        let left = (end - cursor.virt_addr()) / C::C::BASE_PAGE_SIZE;
        let pages = (C::C::NR_ENTRIES - first).min(left);
        // Entries that differ in their addresses alone change by the same bits.
        let mut like = C::E::new_absent();
        let mut flip = 0;
        let mut count = 0_usize;
        for index in first..first + pages {
            let old = node.read(index);
            if !old.is_present() {
                continue;
            }
            if !old.differs_in_address_alone(like) {
                let (paddr, prop) = (old.paddr(1), old.prop(1));
                flip = C::E::new_page(paddr, 1, op(prop)).as_usize() ^ old.as_usize();
                like = old;
            }
            let new = C::E::from_usize(old.as_usize() ^ flip);
            if let Err(now) = node.update(index, old, new) {
                keep_marks(node, index, 1, (now, old.prop(1), new.prop(1)));
            }
            count = count.wrapping_add(1);
        }
        cursor.move_to(cursor.virt_addr() + pages * C::C::BASE_PAGE_SIZE);
        count
    }
}
