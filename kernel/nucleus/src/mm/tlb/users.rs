//! Who translates by a table, and since when it has not changed.
//!
//! Three words that belong together. A processor that has the table loaded is in
//! `loaded`; if programs run by it there, it is in `running` as well, and else the
//! processor is *lazy*: it has the root in its register and uses none of its
//! lower half. The *generation* counts changes that somebody has to flush.
//!
//! It is one half of a handshake. A processor that begins to use the table *joins
//! the users, and then reads the generation*; who changes the table *changes its
//! entries, then counts the generation up, and then reads the users*. Reading and
//! counting are both read-modify-write operations of the one generation, so one of
//! them comes first:
//!
//! * counting first: the processor reads the new generation, and with it sees the
//!   new entries. If it knows what it has cached to be older, it flushes that.
//! * reading first: who counts sees the processor among the users, and asks it to
//!   flush.
//!
//! A processor that is in neither set may have the table's translations cached
//! under the table's identifier ([`identifiers`](super::identifiers)). Nobody asks it: it reads the
//! generation before it uses them again. The same goes for a lazy processor and
//! pages. But a lazy processor may *walk* the table by itself, speculatively, so
//! who takes nodes out of it asks all who have it loaded (peers 59 and 60).

use crate::cpu::{AtomicCpuSet, CpuId, CpuSet};
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The processors that translate by a table, and the generation of its entries.
#[derive(Debug)]
pub struct TableUsers {
    /// The table's number, which no other table ever has.
    id: u64,
    /// Processors that have the table in their root register.
    loaded: AtomicCpuSet,
    /// Those of them that are not lazy.
    running: AtomicCpuSet,
    generation: AtomicU64,
}

/// What a change of a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Pages alone.
    Pages,
    /// Nodes that are taken out, too.
    Nodes,
}

impl TableUsers {
    /// Makes the users of a table that nobody uses yet.
    pub(super) const fn with_id(id: u64) -> Self {
        Self {
            id,
            loaded: AtomicCpuSet::new(CpuSet::new_empty()),
            running: AtomicCpuSet::new(CpuSet::new_empty()),
            // Not zero: a processor that knows nothing notes zero.
            generation: AtomicU64::new(1),
        }
    }

    /// Returns the table's number, which is not zero.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Has a processor join, before it loads the table; returns the generation up to
    /// which its translations have to be flushed.
    pub(crate) fn join(&self, cpu: CpuId) -> u64 {
        if is_planted(Bug::EarlyGeneration) {
            let generation = self.generation();
            self.loaded.add(cpu);
            self.running.add(cpu);
            return generation;
        }
        self.loaded.add(cpu);
        self.running.add(cpu);
        self.generation()
    }

    /// As [`Self::join`], for a processor that has the table loaded and was lazy.
    pub(crate) fn resume(&self, cpu: CpuId) -> u64 {
        self.running.add(cpu);
        self.generation()
    }

    /// Has a processor be lazy, which keeps the table loaded.
    pub(crate) fn rest(&self, cpu: CpuId) {
        self.running.remove(cpu);
    }

    /// Has a processor leave, after it has loaded another table.
    pub(crate) fn leave(&self, cpu: CpuId) {
        self.running.remove(cpu);
        self.loaded.remove(cpu);
    }

    /// Returns the generation, for a processor that joined before.
    pub(crate) fn generation(&self) -> u64 {
        // AcqRel, and a write although it changes nothing: the handshake.
        self.generation.fetch_or(0, Ordering::AcqRel)
    }

    /// Counts a change of the table, after its entries were written. Returns the
    /// generation that it makes, and who has to be asked to flush.
    #[inline(always)]
    pub(super) fn changed(&self, change: Change) -> (u64, CpuSet) {
        if is_planted(Bug::LateGeneration) {
            let users = self.users(change);
            return (self.count_change(), users);
        }
        let generation = self.count_change();
        (generation, self.users(change))
    }

    #[inline(always)]
    fn count_change(&self) -> u64 {
        let before = if is_planted(Bug::UnorderedUsers) {
            let before = self.generation.load(Ordering::Acquire);
            self.generation.store(before + 1, Ordering::Release);
            before
        } else {
            // AcqRel: the handshake; and whoever reads this generation has seen the
            // changes of all before, since each counts upon the last.
            self.generation.fetch_add(1, Ordering::AcqRel)
        };
        // It would take centuries to count so far.
        before + 1
    }

    /// Returns who uses the table now. Says who is to be asked of a change only
    /// after that was counted.
    #[inline(always)]
    pub(super) fn users(&self, change: Change) -> CpuSet {
        match change {
            Change::Pages => self.running.snapshot(),
            Change::Nodes if is_planted(Bug::UntoldOfNodes) => self.running.snapshot(),
            Change::Nodes => self.loaded.snapshot(),
        }
    }

    /// Returns the processors that have the table loaded.
    #[cfg(any(test, ktest))]
    pub(crate) fn loaded(&self) -> CpuSet {
        self.loaded.snapshot()
    }
}
