//! What was taken out of a page table.

use super::config::PageTableConfig;
use crate::mm::Vaddr;
use crate::mm::frame::{AnyFrameMeta, Frame};
use crate::mm::tlb::{Kept, TlbFlushOp, TlbFlusher};

/// A part of a page table that was taken out of it.
///
/// It owns what its entry owned. Processors may still translate by it, and read
/// its nodes, until they flushed its addresses: drop it only after that.
#[derive(Debug)]
#[must_use = "processors may still use what was taken out"]
pub enum PageTableFrag<C: PageTableConfig> {
    /// A mapping.
    Mapped {
        /// Its first address.
        va: Vaddr,
        /// What was mapped.
        item: C::Item,
    },
    /// A node with all below it.
    StrayPageTable {
        /// The node.
        pt: Frame<dyn AnyFrameMeta>,
        /// Its first address.
        va: Vaddr,
        /// Bytes of addresses that it covered.
        len: usize,
        /// Mappings in it, huge ones counting once.
        num_frames: usize,
        /// Pages of memory that it is: nodes, and what is mapped.
        num_pages: usize,
    },
}

impl<C: PageTableConfig> PageTableFrag<C> {
    /// Has it flushed, and kept until then; returns how many mappings it was.
    #[inline(always)]
    pub(in crate::mm) fn flush_with(self, flusher: &TlbFlusher<'_>) -> usize
    where
        C::Item: Into<Kept>,
    {
        match self {
            Self::Mapped { va, item } => {
                flusher.issue_flush_of(va, item.into());
                1
            }
            Self::StrayPageTable {
                pt,
                va,
                len,
                num_frames,
                num_pages,
            } => {
                flusher.issue_flush_of_node(TlbFlushOp::Range(va..va + len), pt, num_pages);
                num_frames
            }
        }
    }
}
