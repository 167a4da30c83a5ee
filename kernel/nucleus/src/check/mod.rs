//! The real code, as checkers drive it.
//!
//! Checkers are safe code outside of this crate; what they check is not safe to
//! call on tables that processors use. [`Subject`] is a page table of a tiny
//! geometry, which no processor can load, so that everything may be done to it.
//! It runs on the simulated machine. And [`switch_to_kernel_task`] stands for the
//! scheduler, which is the bare machine's. Built with the feature `planted` alone.

use alloc::vec::Vec;
use core::ops::Range;

use crate::cpu::DisabledPreemptGuard;
use crate::irq;
use crate::mm::page_table::tiny::{TinyItem, TinyPtConfig};
use crate::mm::page_table::{
    CopyObserver, Cursor, CursorMut, PageTable, PageTableError, PageTableFrag,
};
use crate::mm::tlb::KeptNodes;
use crate::mm::vm_space;
use crate::mm::{Paddr, PageProperty, PagingLevel, Vaddr};
use crate::sync::rcu;

/// Does what the scheduler does when the next task has no user space: the processor
/// is lazy from here on, until a space is activated or left.
pub fn switch_to_kernel_task() {
    let previous = {
        let _irq_off = irq::disable_local();
        vm_space::on_switch(None)
    };
    drop(previous);
}

/// A page table of three levels, with so many entries a node.
#[derive(Debug)]
pub struct Subject<const ENTRIES: usize>(PageTable<TinyPtConfig<ENTRIES>>);

/// What was taken out of a table, and has been dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A mapping: its address, its size, where it led and how.
    Mapped(Vaddr, usize, Paddr, PageProperty),
    /// A node: its first address, the bytes it covered, and the mappings in it.
    Stray(Vaddr, usize, usize),
}

impl<const ENTRIES: usize> Subject<ENTRIES> {
    /// Makes a table that maps nothing.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`].
    pub fn new() -> Result<Self, PageTableError> {
        PageTable::empty().map(Self)
    }

    /// Returns the table.
    #[must_use]
    pub fn table(&self) -> &PageTable<TinyPtConfig<ENTRIES>> {
        &self.0
    }

    /// Opens a cursor that may change mappings.
    ///
    /// # Errors
    ///
    /// As [`PageTable::cursor_mut`].
    pub fn cursor_mut<'a>(
        &'a self,
        guard: &'a DisabledPreemptGuard,
        range: &Range<Vaddr>,
    ) -> Result<Driver<'a, ENTRIES>, PageTableError> {
        self.0.cursor_mut(guard, range).map(Driver)
    }

    /// Opens a cursor that only looks.
    ///
    /// # Errors
    ///
    /// As [`PageTable::cursor`].
    pub fn cursor<'a>(
        &'a self,
        guard: &'a DisabledPreemptGuard,
        range: &Range<Vaddr>,
    ) -> Result<Cursor<'a, TinyPtConfig<ENTRIES>>, PageTableError> {
        self.0.cursor(guard, range)
    }
}

/// A cursor that may change mappings. It is a [`Cursor`] otherwise.
#[derive(Debug)]
pub struct Driver<'a, const ENTRIES: usize>(CursorMut<'a, TinyPtConfig<ENTRIES>>);

impl<'a, const ENTRIES: usize> Driver<'a, ENTRIES> {
    /// Returns the read-only part.
    pub fn cursor(&self) -> &Cursor<'a, TinyPtConfig<ENTRIES>> {
        &self.0
    }

    /// Has the cursor remember the node of a level that covers its address, which
    /// is to make no difference to anything that can be seen.
    ///
    /// # Panics
    ///
    /// Panics at the end of the cursor's range.
    pub fn remember(&self, level: PagingLevel) {
        assert!(self.0.virt_addr() < self.0.barrier().end);
        self.0.remember(level);
    }

    /// [`CursorMut::map`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn map(&mut self, item: TinyItem) -> Result<Option<Taken>, PageTableError> {
        // SAFETY: 1., 2. no processor can load a table of this geometry.
        let replaced = unsafe { self.0.map(item) }?;
        Ok(replaced.map(taken))
    }

    /// [`CursorMut::take_next`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn take_next(&mut self, len: usize) -> Result<Option<Taken>, PageTableError> {
        // SAFETY: 1., 2. no processor can load a table of this geometry.
        let frag = unsafe { self.0.take_next(len) }?;
        Ok(frag.map(taken))
    }

    /// [`CursorMut::protect_next`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn protect_next(
        &mut self,
        len: usize,
        op: impl FnOnce(PageProperty) -> PageProperty,
    ) -> Result<Option<Range<Vaddr>>, PageTableError> {
        // SAFETY: No processor can load a table of this geometry.
        unsafe { self.0.protect_next(len, op) }
    }

    /// [`CursorMut::protect_all`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn protect_all(
        &mut self,
        len: usize,
        op: impl Fn(PageProperty) -> PageProperty,
    ) -> Result<usize, PageTableError> {
        // SAFETY: No processor can load a table of this geometry.
        unsafe { self.0.protect_all(len, op) }
    }

    /// [`CursorMut::split_edges`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn split_edges(&mut self, len: usize) -> Result<(), PageTableError> {
        self.0.split_edges(len)
    }

    /// [`CursorMut::copy_from`]. The log says what it did, also if it failed.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn copy_from(
        &mut self,
        source: &mut Driver<'_, ENTRIES>,
        len: usize,
        op: impl Fn(PageProperty) -> PageProperty,
        log: &mut CopyLog,
    ) -> Result<usize, PageTableError> {
        // SAFETY: 1., 2. no processor can load a table of this geometry.
        unsafe { self.0.copy_from(&mut source.0, len, op, log) }
    }

    /// [`CursorMut::prepare`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn prepare(&mut self, len: usize, level: PagingLevel) -> Result<(), PageTableError> {
        self.0.prepare(len, level)
    }
}

/// What a copy told of its doings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyLog {
    /// Ranges whose mappings were changed.
    pub changed: Vec<Range<Vaddr>>,
    /// What made room for huge pages.
    pub replaced: Vec<Taken>,
}

impl<const ENTRIES: usize> CopyObserver<TinyPtConfig<ENTRIES>> for CopyLog {
    fn changed(&mut self, range: Range<Vaddr>) {
        self.changed.push(range);
    }

    fn replaced(&mut self, frag: PageTableFrag<TinyPtConfig<ENTRIES>>) {
        self.replaced.push(taken(frag));
    }
}

/// Says what a fragment was, and drops it.
fn taken<const ENTRIES: usize>(frag: PageTableFrag<TinyPtConfig<ENTRIES>>) -> Taken {
    match frag {
        PageTableFrag::Mapped { va, item } => {
            Taken::Mapped(va, item.frames.size(), item.frames.start_paddr(), item.prop)
        }
        PageTableFrag::StrayPageTable {
            va,
            len,
            num_frames,
            num_pages,
            pt,
        } => {
            // Other processors may be on their way to the node.
            let mut nodes = KeptNodes::new();
            nodes.push(pt, num_pages);
            rcu::keep(&mut nodes);
            Taken::Stray(va, len, num_frames)
        }
    }
}
