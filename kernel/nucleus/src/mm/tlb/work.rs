//! What one processor is to flush: for the kernel's half, and for a user's table.

use super::identifiers::Outcome;
use super::ops::Ops;
use crate::arch::{cpu, mmu};
use crate::irq::DisabledLocalIrqGuard;
use crate::mm::vm_space;

/// What a processor is to flush; several requests may be in one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Of the kernel's half, and so under every identifier.
    kernel: Ops,
    table: Option<TableFlush>,
    /// Several tables are meant, of which one may be loaded.
    has_more_tables: bool,
}

/// What to flush of a user's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableFlush {
    /// The number of the table.
    pub(super) table: u64,
    /// The generations that the first and the last of the changes have made.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The number of changes, which may be fewer than lie between the two.
    pub(super) changes: u64,
    /// Nodes are taken out, and not only pages.
    pub(super) takes_nodes: bool,
    pub(super) ops: Ops,
}

impl TableFlush {
    /// Returns whether these are all changes after a generation, up to the last.
    pub(super) fn follows(&self, flushed: u64) -> bool {
        let has_gaps = self.last - self.first >= self.changes;
        !has_gaps && self.first <= flushed + 1
    }

    /// Adds changes of the same table.
    fn append(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.changes += other.changes;
        self.takes_nodes |= other.takes_nodes;
        self.ops.append(&other.ops);
    }
}

impl Work {
    pub(super) const fn new() -> Self {
        Self {
            kernel: Ops::new(),
            table: None,
            has_more_tables: false,
        }
    }

    /// Returns the flush of pages of the kernel's half.
    pub(super) fn of_kernel(ops: &Ops) -> Self {
        Self {
            kernel: *ops,
            ..Self::new()
        }
    }

    /// Returns a flush of a user's table.
    pub(super) fn of_table(flush: TableFlush) -> Self {
        Self {
            table: Some(flush),
            ..Self::new()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kernel.is_empty() && self.table.is_none()
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.kernel.append(&other.kernel);
        match (&mut self.table, &other.table) {
            (_, None) => {}
            (None, table) => self.table = *table,
            (Some(ours), Some(theirs)) if ours.table == theirs.table => ours.append(theirs),
            (Some(_), Some(_)) => self.has_more_tables = true,
        }
        self.has_more_tables |= other.has_more_tables;
    }

    pub(super) fn clear(&mut self) {
        self.kernel.clear();
        self.table = None;
        self.has_more_tables = false;
    }

    /// Flushes on this processor.
    pub(super) fn perform(&self, _irq_off: &DisabledLocalIrqGuard) {
        let tlb = &cpu::local().tlb;
        if self.kernel.is_all() {
            mmu::flush_all_including_global();
        } else if !self.kernel.is_empty() {
            self.kernel.perform();
            tlb.kernel_pages_flushed();
        }
        if self.has_more_tables {
            // Which is loaded does not matter, nor up to where it is flushed: the
            // note stays older than it need be.
            if tlb.is_lazy() {
                vm_space::leave_lazy_space();
            } else if tlb.is_loaded() {
                mmu::flush_all_excluding_global();
            }
        } else if let Some(flush) = &self.table
            && tlb.apply(flush) == Outcome::MustLeave
        {
            vm_space::leave_lazy_space();
        }
    }
}
