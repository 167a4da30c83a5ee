//! What the hardware has used: accessed and dirty marks.
//!
//! The hardware marks a mapping as it uses it, and a mapping's property shows the marks
//! ([`PageFlags::ACCESSED`], [`PageFlags::DIRTY`]). Taking them leaves the mapping
//! unmarked, so that later ones tell of what happened since. No mark is lost in between:
//! it is seen by who takes them, or stays. A mapping that a processor has cached is not
//! marked again before it is flushed, which is why taking marks flushes.

use core::ops::Range;

use super::VmSpace;
use super::cursor::CursorMut;
use crate::cpu::disable_preempt;
use crate::error::Result;
use crate::mm::Vaddr;
use crate::mm::prop::{PageFlags, PageProperty};
use crate::mm::tlb::TlbFlushOp;

/// What the hardware marks.
const MARKS: PageFlags = PageFlags::ACCESSED.union(PageFlags::DIRTY);

impl CursorMut<'_> {
    /// Takes the marks of the first mapping of the next `len` bytes, and moves past it;
    /// returns its range and what it was marked with. Otherwise as
    /// [`Self::protect_next`], but that the flush is issued, if there were any marks.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory) when a huge mapping cannot be split;
    /// the mappings are then as they were.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    pub fn take_marks(&mut self, len: usize) -> Result<Option<(Range<Vaddr>, PageFlags)>> {
        let mut marks = PageFlags::empty();
        let found = self.protect_next(len, |old| {
            marks = old.flags & MARKS;
            PageProperty {
                flags: old.flags - MARKS,
                ..old
            }
        })?;
        Ok(found.map(|range| {
            if !marks.is_empty() {
                self.flusher
                    .issue_tlb_flush(TlbFlushOp::Address(range.start));
            }
            (range, marks)
        }))
    }
}

impl VmSpace {
    /// Returns how many nodes the page table has, its root included. Exact when nobody
    /// changes the space meanwhile. The entries of the lowest nodes are not looked at.
    pub fn nr_nodes(&self) -> usize {
        // With pauses, in which the task may lose its processor.
        let below = |index: usize| {
            let guard = disable_preempt();
            self.pt.nodes_below(&guard, index)
        };
        1 + self.pt.own_entries().map(below).sum::<usize>()
    }
}
