//! What one processor is to flush: for the kernel's half, and for a user's table.

use super::identifiers::Outcome;
use super::ops::Ops;
use crate::arch::{cpu, mmu};
use crate::irq::DisabledLocalIrqGuard;
use crate::mm::vm_space;
use crate::trace::{self, Event, Group};

/// What a processor is to flush; several requests may be in one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Of the kernel's half, and so under every identifier.
    kernel: Ops,
    table: Option<TableChange>,
    /// What to flush of that table.
    table_ops: Ops,
    /// Several tables are meant, of which one may be loaded.
    has_more_tables: bool,
}

/// Changes of a user's table, of which something is to be flushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableChange {
    /// The number of the table.
    pub(super) table: u64,
    /// The generations that the first and the last of the changes have made.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The number of changes, which may be fewer than lie between the two.
    pub(super) changes: u64,
    /// Nodes are taken out, and not only pages.
    pub(super) takes_nodes: bool,
}

impl TableChange {
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
    }
}

impl Work {
    pub(super) const fn new() -> Self {
        Self {
            kernel: Ops::new(),
            table: None,
            table_ops: Ops::new(),
            has_more_tables: false,
        }
    }

    /// Returns the flush of pages of a user's table, or of the kernel's half.
    pub(super) fn new_for(change: Option<TableChange>, ops: &Ops) -> Self {
        let mut work = Self::new();
        match change {
            Some(_) => (work.table, work.table_ops) = (change, *ops),
            None => work.kernel = *ops,
        }
        work
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kernel.is_empty() && self.table.is_none()
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.kernel.append(&other.kernel);
        match (&mut self.table, &other.table) {
            (_, None) => {}
            (None, table) => (self.table, self.table_ops) = (*table, other.table_ops),
            (Some(ours), Some(theirs)) if ours.table == theirs.table => {
                ours.append(theirs);
                self.table_ops.append(&other.table_ops);
            }
            (Some(_), Some(_)) => self.has_more_tables = true,
        }
        self.has_more_tables |= other.has_more_tables;
    }

    pub(super) fn clear(&mut self) {
        self.kernel.clear();
        self.table = None;
        self.has_more_tables = false;
    }

    /// Flushes on this processor, which others have asked.
    pub(super) fn perform(&self, irq_off: &DisabledLocalIrqGuard) {
        trace::record(Group::TLB, || Event::Served {
            table: self.table.as_ref().map_or(0, |change| change.table),
        });
        if !self.kernel.is_empty() {
            perform(None, &self.kernel, irq_off);
        }
        if self.has_more_tables {
            let tlb = &cpu::local().tlb;
            // Which is loaded does not matter, nor up to where it is flushed: the
            // note stays older than it need be.
            if tlb.is_lazy() {
                vm_space::leave_lazy_space();
            } else if tlb.is_loaded() {
                mmu::flush_all_excluding_global();
            }
        } else if self.table.is_some() {
            perform(self.table.as_ref(), &self.table_ops, irq_off);
        }
    }
}

/// Flushes pages of a user's table on this processor, or of the kernel's half.
pub(super) fn perform(change: Option<&TableChange>, ops: &Ops, _irq_off: &DisabledLocalIrqGuard) {
    let tlb = &cpu::local().tlb;
    match change {
        Some(change) => {
            if tlb.apply(change, ops) == Outcome::MustLeave {
                vm_space::leave_lazy_space();
            }
        }
        None if ops.is_all() => mmu::flush_all_including_global(),
        None => {
            ops.perform();
            tlb.kernel_pages_flushed();
        }
    }
}
