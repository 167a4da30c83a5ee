//! Kernel virtual areas: ranges of the kernel's addresses, mapped on purpose.
//!
//! Whatever part of an area is not mapped is a guard: touching it faults. Areas
//! are disjoint. When one is dropped, all processors flush it before its frames
//! and its addresses are used again. The drop waits for nobody: frames are kept
//! by the flusher, and addresses go to [quarantine](super::addresses) where
//! another processor has yet to answer.

use core::ops::Range;

use super::addresses;
use super::config::{KernelPtConfig, MappedItem};
use super::kernel_page_table;
use crate::arch::mmu;
use crate::error::Result;
use crate::irq;
use crate::mm::frame::{AnyFrameMeta, Frame};
use crate::mm::paging::{PagingConsts, largest_pages, page_size};
use crate::mm::tlb::TlbFlusher;
use crate::mm::{PAGE_SIZE, Paddr, PageProperty, Vaddr, is_page_aligned};

/// An area of the kernel's addresses, of which some are mapped.
#[derive(Debug)]
pub struct KVirtArea {
    range: Range<Vaddr>,
}

impl KVirtArea {
    /// Makes an area of `size` bytes and maps frames in it, from `offset` on,
    /// which it owns. The rest of the area is guards.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory) for addresses or nodes; the frames are dropped.
    ///
    /// # Panics
    ///
    /// Panics when `size` or `offset` is not whole pages, or the frames do not
    /// fit.
    pub fn map_frames<F: Into<Frame<dyn AnyFrameMeta>>>(
        size: usize,
        offset: usize,
        frames: impl Iterator<Item = F>,
        prop: PageProperty,
    ) -> Result<Self> {
        let items = frames.map(|frame| Ok(MappedItem::Tracked(frame.into(), prop)));
        Self::map_items(size, offset, items)
    }

    /// As [`Self::map_frames`], with frames that are allocated on the way.
    pub(super) fn map_new_frames<M: AnyFrameMeta>(
        size: usize,
        offset: usize,
        frames: impl Iterator<Item = Result<Frame<M>>>,
        prop: PageProperty,
    ) -> Result<Self> {
        let items = frames.map(|frame| frame.map(|frame| MappedItem::Tracked(frame.into(), prop)));
        Self::map_items(size, offset, items)
    }

    /// Makes an area of `size` bytes and maps physical memory in it, from
    /// `offset` on, which it does not own, by the largest pages that fit.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory) for addresses or nodes.
    ///
    /// # Panics
    ///
    /// Panics when an argument is not whole pages, or the memory does not fit.
    ///
    /// # Safety
    ///
    /// The memory is there while the area lives, and using it in the way that
    /// `prop` says does not break the safety of whoever else uses it.
    pub unsafe fn map_untracked_frames(
        size: usize,
        offset: usize,
        frames: Range<Paddr>,
        prop: PageProperty,
    ) -> Result<Self> {
        let area = Self::reserve(size, offset)?;
        assert!(
            frames.len() <= size - offset,
            "{:#x} bytes do not fit into an area of {size:#x} at {offset:#x}",
            frames.len()
        );
        let start = area.start() + offset;
        let highest = mmu::highest_leaf_level();
        let pages = largest_pages::<PagingConsts>(start, frames.start, frames.len(), highest);
        for (va, paddr, level) in pages {
            area.map_item(va, MappedItem::Untracked(paddr, level, prop))?;
        }
        Ok(area)
    }

    fn map_items(
        size: usize,
        offset: usize,
        items: impl Iterator<Item = Result<MappedItem>>,
    ) -> Result<Self> {
        // Dropped with all that it maps when something is missing.
        let area = Self::reserve(size, offset)?;
        let mut va = area.start() + offset;
        for item in items {
            assert!(
                va < area.end(),
                "frames do not fit into an area of {size:#x} bytes"
            );
            area.map_item(va, item?)?;
            va += PAGE_SIZE;
        }
        Ok(area)
    }

    /// Takes addresses and maps nothing.
    fn reserve(size: usize, offset: usize) -> Result<Self> {
        assert!(
            is_page_aligned(size) && is_page_aligned(offset),
            "an area of {size:#x} bytes with an offset of {offset:#x} is not whole pages"
        );
        assert!(
            size > 0 && offset <= size,
            "an offset of {offset:#x} is not in an area of {size:#x} bytes"
        );
        let range = addresses::take(size)?;
        Ok(Self { range })
    }

    fn map_item(&self, va: Vaddr, item: MappedItem) -> Result<()> {
        let irq_off = irq::disable_local();
        let size = page_size::<PagingConsts>(
            <KernelPtConfig as crate::mm::page_table::PageTableConfig>::item_level(&item),
        );
        let mut cursor = kernel_page_table().cursor_mut(&irq_off, &(va..va + size))?;
        // SAFETY: 1. the addresses are this area's alone. 2. nothing was there.
        let replaced = unsafe { cursor.map(item) }?;
        debug_assert!(replaced.is_none(), "areas overlap at {va:#x}");
        Ok(())
    }

    /// Returns the addresses.
    pub fn range(&self) -> Range<Vaddr> {
        self.range.clone()
    }

    /// Returns the first address.
    pub fn start(&self) -> Vaddr {
        self.range.start
    }

    /// Returns the address after the last.
    pub fn end(&self) -> Vaddr {
        self.range.end
    }

    /// Returns the size in bytes.
    pub fn len(&self) -> usize {
        self.range.end - self.range.start
    }

    /// Returns whether the area has no addresses, which none has.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Returns what is mapped at an address of the area.
    ///
    /// # Panics
    ///
    /// Panics when the address is not in the area.
    pub fn query(&self, va: Vaddr) -> Option<MappedItem> {
        assert!(self.range.contains(&va), "{va:#x} is not in the area");
        let page = va - va % PAGE_SIZE;
        let irq_off = irq::disable_local();
        let cursor = kernel_page_table()
            .cursor(&irq_off, &(page..page + PAGE_SIZE))
            .expect("an area is a range of the kernel's table");
        cursor.query().expect("the cursor is at its start").1
    }

    /// Keeps the area for ever; returns its addresses.
    pub fn leak(self) -> Range<Vaddr> {
        core::mem::ManuallyDrop::new(self).range.clone()
    }
}

impl Drop for KVirtArea {
    fn drop(&mut self) {
        // Over before addresses are given back, which may have to wait.
        let irq_off = irq::disable_local();
        let flusher = TlbFlusher::for_kernel(&irq_off);
        unmap(&irq_off, &self.range, &flusher);
        flusher.dispatch_tlb_flush();
        let is_flushed = flusher.is_synced();
        drop(flusher);
        drop(irq_off);
        addresses::give_back(self.range.clone(), is_flushed);
    }
}

/// Takes all mappings of a range out.
fn unmap(irq_off: &irq::DisabledLocalIrqGuard, range: &Range<Vaddr>, flusher: &TlbFlusher<'_>) {
    // It fails only where the covering node is not there and cannot be made: then
    // nothing is mapped.
    let Ok(mut cursor) = kernel_page_table().cursor_mut(irq_off, range) else {
        return;
    };
    while cursor.virt_addr() < range.end {
        let rest = range.end - cursor.virt_addr();
        // SAFETY: 1. the addresses are the area's, which ends. 2. the flusher
        // keeps what is taken out.
        let taken = unsafe { cursor.take_next(rest) };
        let taken = taken.expect("the pages of an area do not reach over its ends");
        let Some(frag) = taken else {
            break;
        };
        frag.flush_with(flusher);
    }
}
