//! What a processor knows of its own TLB: identifiers of address spaces.
//!
//! A processor may cache translations of several tables at once, each under an
//! *identifier* (PCID, SDM vol. 3A, 4.10.1), and uses those under the identifier
//! that its root register names. Loading a table then need not flush.
//!
//! Identifiers are each processor's own. It has a few [slots](NR_SLOTS), whose
//! identifiers it gives to the tables that it loads, in turn; identifier 0 is that
//! of the kernel's own table. For each slot it notes which table's translations
//! may be under the identifier, and the *generation* of the table up to which they
//! are known to be flushed ([`users`](super::users)):
//!
//! * **Loading a table**, its generation having been read after joining its users:
//!   if a slot has the table and that generation, what is cached is good and stays.
//!   Otherwise the identifier is flushed as the table is loaded, and the generation
//!   noted, which was *read before the flush*. A note too old costs a flush, one
//!   too new would be a lie.
//! * **A request to flush** says by which change it was made. If all changes after
//!   the noted generation are among those of the request, its pages are flushed one
//!   by one; if one is missing (its request is still to come, or was never sent,
//!   since the processor was lazy), all under the identifier is flushed. Then the
//!   request's last generation is noted: whoever sees that one has seen the entries
//!   of all before. A request for a table that is not loaded needs nothing.
//! * **Leaving lazy mode** compares like loading does.
//! * **A change of the kernel's half** is flushed on every processor. `INVLPG` drops
//!   global translations and those of the identifier in use, but a mapping that is
//!   not global may be under each identifier. So the others are noted as stale, and
//!   are flushed when they are loaded next. Where everything is flushed, all
//!   identifiers are at once, with their paging-structure caches. `INVLPG` drops of
//!   these only the ones of the identifier in use (SDM vol. 3A, 4.10.4.1), which is
//!   enough while no node goes; taking a node out always flushes everything, since
//!   a node has more pages than the threshold.
//!
//! A table that is gone keeps its slot until another takes it. Numbers of tables
//! are never used again, so a new table never finds the translations of an old one,
//! wherever its root may lie.
//!
//! Without identifiers, one slot remembers the loaded table, and each load flushes.
//!
//! **Context**: the processor's own functions and its interrupt handler; with
//! interrupts off but for [`LocalTlb::flush_page`]. The words are atomic for the
//! handler's sake, and `Relaxed`, since no other processor looks.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::ops::Ops;
use super::work::TableChange;
use crate::arch::{mmu, watch};
use crate::mm::{Paddr, Vaddr};
use crate::planted::{Bug, is_planted};

/// Tables whose translations a processor can keep at the same time.
pub(crate) const NR_SLOTS: usize = 8;

/// A name under which a processor caches translations: a PCID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identifier(u16);

impl Identifier {
    /// That of the kernel's own table, and of all tables where there is no other.
    pub(crate) const KERNEL: Self = Self(0);

    fn of_slot(index: usize) -> Self {
        // A small number.
        Self(index as u16 + 1)
    }

    /// Returns the number as the hardware has it, below 4096.
    pub(crate) const fn number(self) -> u16 {
        self.0
    }
}

/// What becomes of what is cached under an identifier that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// It is flushed.
    Flush,
    /// It is good.
    Keep,
}

/// What a slot's identifier is used for.
struct Slot {
    /// The number of the table; zero if there is none.
    table: AtomicU64,
    /// The generation up to which all is flushed; zero if nothing is known.
    flushed: AtomicU64,
}

/// A processor's notes of its TLB.
pub(crate) struct LocalTlb {
    slots: [Slot; NR_SLOTS],
    /// The slot that the next new table takes.
    next: AtomicUsize,
    /// The slot of the table that is loaded; [`NO_SLOT`] for the kernel's.
    loaded: AtomicUsize,
    /// Whether the loaded table's lower half is not used.
    is_lazy: AtomicBool,
    /// Whether there may be stale translations under the kernel's identifier.
    is_kernel_stale: AtomicBool,
    /// Whether identifiers are used where there are some.
    is_tagging: AtomicBool,
}

const NO_SLOT: usize = NR_SLOTS;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Outcome {
    /// It is done.
    Done,
    /// The processor is lazy and must not keep the table, whose nodes go.
    MustLeave,
}

impl LocalTlb {
    pub(crate) const fn new() -> Self {
        Self {
            slots: [const {
                Slot {
                    table: AtomicU64::new(0),
                    flushed: AtomicU64::new(0),
                }
            }; NR_SLOTS],
            next: AtomicUsize::new(0),
            loaded: AtomicUsize::new(NO_SLOT),
            is_lazy: AtomicBool::new(false),
            is_kernel_stale: AtomicBool::new(false),
            is_tagging: AtomicBool::new(true),
        }
    }

    /// Returns whether a user's table is loaded, and used.
    pub(crate) fn is_running(&self) -> bool {
        self.is_loaded() && !self.is_lazy()
    }

    /// Returns whether a user's table is loaded.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Relaxed) != NO_SLOT
    }

    /// Returns whether a user's table is loaded that is not used.
    #[inline]
    pub(crate) fn is_lazy(&self) -> bool {
        self.is_lazy.load(Relaxed)
    }

    fn has_identifiers(&self) -> bool {
        self.is_tagging.load(Relaxed) && mmu::has_identifiers()
    }

    /// Loads a table, of a generation that was read after joining its users.
    ///
    /// # Safety
    ///
    /// 1. `root` is the root of the table, and outlives its time in the register.
    /// 2. It maps the kernel's code, data and current stack where they are.
    /// 3. The processor had joined the table's users when the generation was read.
    pub(crate) unsafe fn load(&self, table: u64, root: Paddr, generation: u64) {
        let (index, cached, identifier) = if self.has_identifiers() {
            let (index, cached) = self.choose(table, generation);
            (index, cached, Identifier::of_slot(index))
        } else {
            (0, Cached::Flush, Identifier::KERNEL)
        };
        // SAFETY: 1. and 2. as the caller promises. 3. what is cached under the
        // identifier is of this table, whose number no other has, and as it is now: a
        // change since would have counted the generation up, or be asked for.
        unsafe { mmu::switch(root, identifier, cached) };
        let slot = &self.slots[index];
        slot.table.store(table, Relaxed);
        slot.flushed.store(generation, Relaxed);
        self.loaded.store(index, Relaxed);
        self.is_lazy.store(false, Relaxed);
    }

    /// Chooses a slot for a table that is to be loaded.
    fn choose(&self, table: u64, generation: u64) -> (usize, Cached) {
        let has_table = |slot: &Slot| slot.table.load(Relaxed) == table;
        if let Some(index) = self.slots.iter().position(has_table) {
            let is_good = self.slots[index].flushed.load(Relaxed) == generation;
            let cached = if is_good || is_planted(Bug::UncheckedLoad) {
                Cached::Keep
            } else {
                Cached::Flush
            };
            return (index, cached);
        }
        let index = self.next.load(Relaxed);
        self.next.store((index + 1) % NR_SLOTS, Relaxed);
        let cached = if is_planted(Bug::InheritedIdentifier) {
            Cached::Keep
        } else {
            Cached::Flush
        };
        (index, cached)
    }

    /// Loads the kernel's own table.
    ///
    /// # Safety
    ///
    /// `root` is the root of the kernel's own table, which lives for ever.
    pub(crate) unsafe fn load_kernel(&self, root: Paddr) {
        let is_good = self.has_identifiers() && !self.is_kernel_stale.load(Relaxed);
        let cached = if is_good { Cached::Keep } else { Cached::Flush };
        // SAFETY: 1. and 2. as the caller promises. 3. changes of the kernel's half are
        // flushed under the identifier in use, and noted for this one otherwise.
        unsafe { mmu::switch(root, Identifier::KERNEL, cached) };
        self.is_kernel_stale.store(false, Relaxed);
        self.loaded.store(NO_SLOT, Relaxed);
        self.is_lazy.store(false, Relaxed);
    }

    /// Says that the loaded table's lower half is not used from here on.
    pub(crate) fn rest(&self) {
        self.is_lazy.store(true, Relaxed);
        watch::rested();
    }

    /// Says that it is used again; the generation was read after saying so to the
    /// table's users.
    pub(crate) fn resume(&self, generation: u64) {
        let flushed = &self.slots[self.loaded.load(Relaxed)].flushed;
        if flushed.load(Relaxed) != generation && !is_planted(Bug::UncheckedReturn) {
            mmu::flush_all_excluding_global();
            flushed.store(generation, Relaxed);
        }
        self.is_lazy.store(false, Relaxed);
        watch::resumed();
    }

    /// Flushes a page of the table that is loaded and used, which the caller has
    /// changed and so made `generation`. Interrupts may be on: a handler
    /// changes nothing but the note, which may so become older than it need be.
    #[inline(always)]
    pub(super) fn flush_page(&self, va: Vaddr, generation: u64) {
        // The table is loaded, so there is a slot.
        if let Some(slot) = self.slots.get(self.loaded.load(Relaxed)) {
            if slot.flushed.load(Relaxed) == generation.wrapping_sub(1) {
                mmu::flush_page(va);
            } else {
                mmu::flush_all_excluding_global();
            }
            slot.flushed.store(generation, Relaxed);
        }
    }

    /// Does what a change of a user's table asks for.
    pub(super) fn apply(&self, change: &TableChange, ops: &Ops) -> Outcome {
        let Some(slot) = self.slots.get(self.loaded.load(Relaxed)) else {
            return Outcome::Done;
        };
        let flushed = slot.flushed.load(Relaxed);
        if slot.table.load(Relaxed) != change.table || flushed >= change.last {
            return Outcome::Done;
        }
        if change.takes_nodes && self.is_lazy() {
            return Outcome::MustLeave;
        }
        if change.follows(flushed) {
            ops.perform();
        } else {
            mmu::flush_all_excluding_global();
        }
        slot.flushed.store(change.last, Relaxed);
        Outcome::Done
    }

    /// Notes that pages of the kernel's half were flushed, under the identifier in
    /// use alone.
    pub(super) fn kernel_pages_flushed(&self) {
        if !self.has_identifiers() {
            return;
        }
        let loaded = self.loaded.load(Relaxed);
        for (index, slot) in self.slots.iter().enumerate() {
            if index != loaded {
                slot.flushed.store(0, Relaxed);
            }
        }
        self.is_kernel_stale.store(loaded != NO_SLOT, Relaxed);
    }

    /// Says whether identifiers are to be used where there are some, while the
    /// kernel's own table is loaded.
    ///
    /// # Panics
    ///
    /// Panics when a user's table is loaded.
    pub(crate) fn set_tagging(&self, is_on: bool) {
        assert!(!self.is_loaded(), "a table is loaded under its identifier");
        for slot in &self.slots {
            slot.table.store(0, Relaxed);
        }
        // Everything that is loaded without identifiers has the kernel's.
        self.is_kernel_stale.store(true, Relaxed);
        self.is_tagging.store(is_on, Relaxed);
    }
}

impl fmt::Debug for LocalTlb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTlb")
            .field("loaded", &self.loaded)
            .field("is_lazy", &self.is_lazy)
            .finish_non_exhaustive()
    }
}
