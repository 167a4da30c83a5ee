//! Kernel virtual areas: ranges of the kernel's addresses, mapped on purpose.
//!
//! Whatever part of an area is not mapped is a guard: touching it faults. Areas
//! are disjoint. When one is dropped, all processors flush it before its frames
//! and its addresses can be used again: if another processor has not answered
//! yet, the addresses wait in quarantine, and whoever needs them waits for it.

use core::ops::Range;

use super::config::{KernelPtConfig, MappedItem};
use super::kernel_page_table;
use super::layout::KVIRT_RANGE;
use crate::arch::{memory, mmu};
use crate::error::{Error, Result};
use crate::irq;
use crate::mm::frame::{AnyFrameMeta, Frame};
use crate::mm::page_table::PageTableFrag;
use crate::mm::paging::{PagingConsts, largest_pages, page_size};
use crate::mm::tlb::{TlbFlushOp, TlbFlusher};
use crate::mm::{PAGE_SIZE, Paddr, PageProperty, Vaddr, is_page_aligned};

/// Ranges that the allocator remembers.
const MAX_RANGES: usize = 256;

/// Which addresses of [`KVIRT_RANGE`] are free: those above `fresh`, and the
/// ranges in the table. The first range that is large enough is used, from its
/// end.
#[derive(Debug)]
pub(crate) struct KvirtAllocator {
    /// From here on nothing was ever used.
    fresh: Vaddr,
    /// Free ranges, sorted and not adjacent.
    free: [Range<Vaddr>; MAX_RANGES],
    nr_free: usize,
    /// Bytes of addresses that were given up, for want of a place to note them.
    lost: usize,
}

impl KvirtAllocator {
    pub(crate) const fn new() -> Self {
        Self {
            fresh: KVIRT_RANGE.start,
            free: [const { 0..0 }; MAX_RANGES],
            nr_free: 0,
            lost: 0,
        }
    }

    /// Takes addresses: `size` bytes, whole pages.
    pub(super) fn alloc(&mut self, size: usize) -> Option<Range<Vaddr>> {
        if let Some(index) = self.free[..self.nr_free]
            .iter()
            .position(|free| free.len() >= size)
        {
            let free = &mut self.free[index];
            let taken = free.end - size..free.end;
            free.end = taken.start;
            if free.start == free.end {
                self.remove(index);
            }
            return Some(taken);
        }
        let end = self
            .fresh
            .checked_add(size)
            .filter(|end| *end <= KVIRT_RANGE.end)?;
        let taken = self.fresh..end;
        self.fresh = end;
        Some(taken)
    }

    /// Gives addresses back that no processor has cached any more.
    pub(super) fn free(&mut self, range: Range<Vaddr>) {
        let mut range = range;
        let mut index = self.free[..self.nr_free].partition_point(|free| free.end < range.start);
        // Join with the ranges that it touches, of which there are two at most.
        while index < self.nr_free && self.free[index].start <= range.end {
            range = range.start.min(self.free[index].start)..range.end.max(self.free[index].end);
            self.remove(index);
        }
        if range.end == self.fresh {
            self.fresh = range.start;
            return;
        }
        if self.nr_free == MAX_RANGES {
            self.lost += range.len();
            return;
        }
        self.free[index..=self.nr_free].rotate_right(1);
        self.free[index] = range;
        self.nr_free += 1;
        index += 1;
        debug_assert!(index <= self.nr_free);
    }

    fn remove(&mut self, index: usize) {
        self.free[index..self.nr_free].rotate_left(1);
        self.nr_free -= 1;
        self.free[self.nr_free] = 0..0;
    }

    /// Returns the bytes of free addresses, fresh ones apart, and of lost ones.
    #[cfg(any(test, ktest))]
    pub(super) fn freed_and_lost(&self) -> (usize, usize) {
        let freed = self.free[..self.nr_free]
            .iter()
            .map(ExactSizeIterator::len)
            .sum();
        (freed, self.lost)
    }
}

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
    /// [`Error::NoMemory`] for addresses or nodes; the frames are dropped.
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
    /// [`Error::NoMemory`] for addresses or nodes.
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
        let range = memory::memory()
            .kvirt
            .lock()
            .alloc(size)
            .ok_or(Error::NoMemory)?;
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
        let irq_off = irq::disable_local();
        let mut flusher = TlbFlusher::for_kernel(&irq_off);
        unmap(&irq_off, &self.range, &mut flusher);
        flusher.dispatch_tlb_flush();
        let is_flushed = flusher.is_synced();
        drop(flusher);
        drop(irq_off);
        if is_flushed {
            memory::memory().kvirt.lock().free(self.range.clone());
        } else {
            free_when_flushed(self.range.clone());
        }
    }
}

/// Takes all mappings of a range out.
fn unmap(irq_off: &irq::DisabledLocalIrqGuard, range: &Range<Vaddr>, flusher: &mut TlbFlusher<'_>) {
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
        match taken.expect("the pages of an area do not reach over its ends") {
            Some(PageTableFrag::Mapped { va, item }) => {
                let op = TlbFlushOp::Address(va);
                match item {
                    MappedItem::Tracked(frame, _) => flusher.issue_tlb_flush_with(op, frame),
                    MappedItem::TrackedHuge(frames, _) => {
                        flusher.issue_tlb_flush_with_segment(op, frames);
                    }
                    MappedItem::Untracked(..) => flusher.issue_tlb_flush(op),
                }
            }
            Some(PageTableFrag::StrayPageTable { pt, va, len, .. }) => {
                flusher.issue_tlb_flush_with(TlbFlushOp::Range(va..va + len), pt);
            }
            None => break,
        }
    }
}

/// Gives addresses back that other processors have yet to flush: if it can wait,
/// when they have; otherwise never, since there are plenty.
fn free_when_flushed(range: Range<Vaddr>) {
    if !irq::is_enabled() {
        memory::memory().kvirt.lock().lost += range.len();
        return;
    }
    crate::mm::tlb::wait_for_all();
    memory::memory().kvirt.lock().free(range);
}
