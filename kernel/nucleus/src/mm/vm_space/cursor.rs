//! Cursors of a space: what the pages of a user are, and changing them.
//!
//! A [`CursorMut`] has the operations of a page table's cursor, made safe: what
//! they take out goes to the flusher, which keeps it until all processors that
//! use the space have flushed it.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut, Range};

use crate::arch::mmu;
use crate::error::{Error, Result};
use crate::mm::frame::{UFrame, USegment};
use crate::mm::io_mem::IoMem;
use crate::mm::page_table::{self, MappedItem, UserPtConfig};
use crate::mm::paging::{PagingConsts, largest_pages, page_size};
use crate::mm::prop::{PageFlags, PageProperty, PrivilegedPageFlags};
use crate::mm::tlb::TlbFlusher;
use crate::mm::{PAGE_SIZE, Vaddr, is_page_aligned};
use crate::sync::SpinLock;

/// A place in a range of a space that can be looked at.
pub type Cursor<'a> = page_table::Cursor<'a, UserPtConfig>;

/// A place in a range of a space that can be changed.
#[derive(Debug)]
pub struct CursorMut<'a> {
    // Dropped first, so that what was collected is dispatched before anybody else
    // sees the range (peer 62).
    pub(super) flusher: TlbFlusher<'a>,
    pub(super) pt_cursor: page_table::CursorMut<'a, UserPtConfig>,
    pub(super) iomems: &'a SpinLock<Vec<IoMem>>,
}

// Whoever had the inner cursor exclusively could exchange it for that of another
// space, and this one's flusher would flush the wrong processors.
static_assertions::assert_not_impl_any!(CursorMut<'static>: DerefMut, Send, Sync);

impl<'a> Deref for CursorMut<'a> {
    type Target = Cursor<'a>;

    fn deref(&self) -> &Cursor<'a> {
        &self.pt_cursor
    }
}

impl<'a> CursorMut<'a> {
    /// Returns the flusher of the space's processors.
    pub fn flusher(&self) -> &TlbFlusher<'a> {
        &self.flusher
    }

    /// Maps a frame at the cursor and moves past it. What was mapped there is
    /// replaced, flushed, and kept until that is done.
    ///
    /// Privileges in `prop` do not count: the mapping is the user's.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; the mappings are then as they were.
    ///
    /// # Panics
    ///
    /// Panics at the end of the range.
    #[inline(always)]
    pub fn map(&mut self, frame: UFrame, prop: PageProperty) -> Result<()> {
        let prop = users(prop);
        if self.map_item(MappedItem::MappedRam { frame, prop })? {
            self.flusher.dispatch_tlb_flush();
        }
        Ok(())
    }

    /// Maps frames side by side, by the largest pages that their addresses and
    /// the cursor's allow and the processor has, and moves past them; otherwise
    /// as [`Self::map`].
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; the mappings are then as they were.
    ///
    /// # Panics
    ///
    /// Panics when the frames reach over the end of the range.
    pub fn map_segment(&mut self, frames: USegment, prop: PageProperty) -> Result<()> {
        let (start, prop) = (self.virt_addr(), users(prop));
        let (paddr, size) = (frames.start_paddr(), frames.size());
        assert!(
            size <= self.barrier().end - start,
            "{size:#x} bytes of frames at {start:#x} leave the cursor's range"
        );
        let highest = mmu::highest_leaf_level();
        let tiles = || largest_pages::<PagingConsts>(start, paddr, size, highest);
        for (va, _, level) in tiles() {
            self.pt_cursor.jump(va)?;
            let prepared = self
                .pt_cursor
                .prepare(page_size::<PagingConsts>(level), level);
            if prepared.is_err() {
                self.pt_cursor.jump(start)?;
                return Ok(prepared?);
            }
        }
        if size > 0 {
            self.pt_cursor.jump(start)?;
        }
        let mut rest = Some(frames);
        let mut is_replaced = false;
        for (_, _, level) in tiles() {
            let bytes = page_size::<PagingConsts>(level);
            let (part, others) = match rest.take() {
                Some(rest) if rest.size() > bytes => {
                    let (part, others) = rest.split(bytes);
                    (part, Some(others))
                }
                Some(rest) => (rest, None),
                None => break,
            };
            rest = others;
            let item = match level {
                1 => part
                    .into_iter()
                    .next()
                    .map(|frame| MappedItem::MappedRam { frame, prop }),
                _ => Some(MappedItem::MappedHuge { frames: part, prop }),
            };
            if let Some(item) = item {
                is_replaced |= self.map_item(item)?;
            }
        }
        if is_replaced {
            self.flusher.dispatch_tlb_flush();
        }
        Ok(())
    }

    /// Maps a device's memory, page by page: `len` bytes of it from `offset` on,
    /// as far as it goes. The space keeps the device's memory.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; the mappings are then as they were.
    ///
    /// # Panics
    ///
    /// Panics when `len` or `offset` is not whole pages, or the memory reaches
    /// over the end of the range.
    pub fn map_iomem(
        &mut self,
        io: &IoMem,
        prop: PageProperty,
        len: usize,
        offset: usize,
    ) -> Result<()> {
        assert!(is_page_aligned(len), "length {len:#x} is not whole pages");
        assert!(
            is_page_aligned(offset),
            "offset {offset:#x} is not whole pages"
        );
        let Some(rest) = io.size().checked_sub(offset).filter(|rest| *rest > 0) else {
            return Ok(());
        };
        let len = len.min(rest);
        self.pt_cursor.prepare(len, 1)?;
        {
            let mut iomems = self.iomems.lock();
            if !iomems.contains(io) {
                iomems.try_reserve(1).map_err(|_| Error::NoMemory)?;
                iomems.push(io.clone());
            }
        }
        let prop = PageProperty {
            cache: io.cache_policy(),
            ..users(prop)
        };
        let start = io.paddr_range().start + offset;
        let mut is_replaced = false;
        for paddr in (start..start + len).step_by(PAGE_SIZE) {
            is_replaced |= self.map_item(MappedItem::MappedIoMem {
                paddr,
                level: 1,
                prop,
            })?;
        }
        if is_replaced {
            self.flusher.dispatch_tlb_flush();
        }
        Ok(())
    }

    /// Maps an item; returns whether something was there that is to be flushed.
    #[inline(always)]
    fn map_item(&mut self, item: MappedItem) -> Result<bool> {
        // SAFETY: 1. users may see untyped frames and device memory, in their
        // half. 2. the flusher keeps what was there.
        let replaced = unsafe { self.pt_cursor.map(item) }?;
        Ok(match replaced {
            None => false,
            Some(frag) => {
                frag.flush_with(&self.flusher);
                true
            }
        })
    }

    /// Takes all mappings of the next `len` bytes out and moves to their end, or
    /// beyond to the end of an absent slot, and not beyond the cursor's range;
    /// returns how many there were, huge ones counting once. Huge ones that reach
    /// over an end are split. Flushes once, on all processors that use the space,
    /// and keeps the frames until that is done; does not wait for it.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] when a huge mapping cannot be split; the mappings are
    /// then as they were.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    #[inline(always)]
    pub fn unmap(&mut self, len: usize) -> Result<usize> {
        self.pt_cursor.split_edges(len)?;
        if len == PAGE_SIZE && self.pt_cursor.is_among_pages() {
            return Ok(self.unmap_page());
        }
        self.unmap_to(self.virt_addr() + len)
    }

    /// Unmaps the page at the cursor: as [`Self::unmap_to`], but that there is
    /// nothing to collect.
    #[inline(always)]
    fn unmap_page(&mut self) -> usize {
        // SAFETY: 1. what a user loses is the user's business. 2. the flusher keeps
        // it. 3. and 4. `unmap` has just looked, and a page is left of the range.
        let taken = unsafe { self.pt_cursor.take_page() };
        let count = usize::from(taken.is_some());
        match taken {
            None => {}
            Some((va, MappedItem::MappedRam { frame, .. })) => {
                self.flusher.flush_page_at_once(va, frame.into());
            }
            Some((va, item)) => self.flusher.issue_flush_of(va, item.into()),
        }
        self.flusher.dispatch_tlb_flush();
        count
    }

    /// Unmaps everything up to an address.
    #[inline(never)]
    fn unmap_to(&mut self, end: Vaddr) -> Result<usize> {
        let mut count = 0;
        while self.virt_addr() < end {
            count += self.unmap_run(end);
            let rest = end - self.virt_addr();
            // SAFETY: 1. what a user loses is the user's business. 2. the flusher
            // keeps it.
            let Some(frag) = (unsafe { self.pt_cursor.take_next(rest) })? else {
                break;
            };
            count += frag.flush_with(&self.flusher);
        }
        self.flusher.dispatch_tlb_flush();
        Ok(count)
    }

    /// Unmaps the pages of one node.
    #[inline]
    fn unmap_run(&mut self, end: Vaddr) -> usize {
        let flusher = &self.flusher;
        let taken = |va, item: MappedItem| flusher.issue_flush_of(va, item.into());
        // SAFETY: 1. what a user loses is the user's business. 2. the flusher keeps
        // it. 3. `unmap` has checked the length, and stops at the end.
        unsafe { self.pt_cursor.take_run(end, taken) }
    }

    /// Changes the property of all mappings of the next `len` bytes and moves as
    /// [`Self::unmap`]; returns how many there were. Otherwise as
    /// [`Self::protect_next`], but that `op` may be called once for many mappings
    /// with the same property.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] when a huge mapping cannot be split; the mappings are
    /// then as they were.
    ///
    /// # Panics
    ///
    /// As [`Self::protect_next`].
    #[inline]
    pub fn protect(
        &mut self,
        len: usize,
        op: impl Fn(PageProperty) -> PageProperty,
    ) -> Result<usize> {
        let keep = |old: PageProperty| keep_tag(old, &op);
        // SAFETY: What a user may do with its memory is the user's business.
        Ok(unsafe { self.pt_cursor.protect_all(len, keep) }?)
    }

    /// Changes the property of the first mapping of the next `len` bytes and
    /// moves past it; returns its range. A huge one that reaches over an end is
    /// split. Returns nothing when nothing is mapped there; the cursor has then
    /// moved as [`Self::unmap`] does.
    ///
    /// Flushes nothing: issue and dispatch that once for all that is changed.
    /// Privileges stay as they are.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] when a huge mapping cannot be split; the mappings are
    /// then as they were.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    #[inline]
    pub fn protect_next(
        &mut self,
        len: usize,
        op: impl FnOnce(PageProperty) -> PageProperty,
    ) -> Result<Option<Range<Vaddr>>> {
        let keep = |old: PageProperty| keep_tag(old, op);
        // SAFETY: What a user may do with its memory is the user's business.
        Ok(unsafe { self.pt_cursor.protect_next(len, keep) }?)
    }
}

/// Changes a property but for the tag and the privileges.
#[inline(always)]
pub(super) fn keep_tag(
    old: PageProperty,
    op: impl FnOnce(PageProperty) -> PageProperty,
) -> PageProperty {
    let tag = old.flags & PageFlags::AVAIL1;
    let new = op(page_table::untagged(old));
    PageProperty {
        flags: (new.flags - PageFlags::AVAIL1) | tag,
        cache: new.cache,
        priv_flags: old.priv_flags,
    }
}

/// Returns a property as a user's mapping has it.
fn users(prop: PageProperty) -> PageProperty {
    PageProperty {
        flags: prop.flags - PageFlags::AVAIL1,
        cache: prop.cache,
        priv_flags: PrivilegedPageFlags::USER,
    }
}
