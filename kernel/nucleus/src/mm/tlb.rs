//! Flushing: making processors forget translations, and keeping frames until
//! they have.
//!
//! A [`TlbFlusher`] collects what is to be flushed, with the frames that must not
//! be freed before. *Dispatching* makes it happen: at once on this processor, and
//! by an interrupt on the others that may use the translations.
//! *Synchronising* waits until they have done it. Frames need nobody to wait:
//! they are kept until all processors that were asked have answered.
//!
//! * `users`: who has to be asked, and how one who is not asked learns of it.
//! * `identifiers`: what a processor knows of its own TLB, and lazy processors.
//! * `queue`, `work`, `ops`: requests, and what they are for. A processor answers
//!   after it has flushed; a queue that is full becomes a flush of everything.
//! * `buffer`: where flushes are collected.
//! * `held`: frames that wait for answers; `nodes`: nodes, which wait in
//!   `rcu` for those and a grace period. `mark`: how far all processors are.
//!
//! **Waiting for answers** is allowed whatever locks are held, but for the spin
//! lock of a queue: whoever waits for a lock or an answer serves its own queue
//! meanwhile (`cpu::relax`), with interrupts off too, so it answers whoever waits
//! for it (peers 63 and 64). Only [`TlbFlusher::sync_tlb_flush`] insists on
//! interrupts being on, since its caller has no need of waiting with them off.
//!
//! **Before other processors run the kernel** nobody is asked, since nobody uses a
//! table: their part is to flush everything when they load their first one (peer 68).

use alloc::vec::Vec;
use core::cell::Cell;
use core::marker::PhantomData;

pub(crate) use self::buffer::FlushBuffers;
use self::buffer::{Buffer, has_room, push_in_room};
#[cfg(ktest)]
pub(crate) use self::held::MAX_HELD;
pub use self::held::held_back;
pub(crate) use self::identifiers::{Cached, Identifier, LocalTlb};
pub(crate) use self::mark::FlushMark;
pub(crate) use self::nodes::KeptNodes;
use self::ops::Ops;
pub use self::ops::{FLUSH_ALL_THRESHOLD, TlbFlushOp};
pub(crate) use self::queue::FlushQueue;
use self::users::Change;
pub use self::users::TableUsers;
use self::work::{TableChange, Work};
use super::Vaddr;
use super::frame::{AnyFrameMeta, Frame, Segment};
use crate::arch::{cpu, memory};
use crate::cpu::{CpuId, CpuSet, InAtomicMode};
use crate::irq;
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::Ordering;
use crate::sync::rcu;
use crate::trace::{self, Event, Group};

mod buffer;
pub(crate) mod held;
mod identifiers;
mod mark;
mod nodes;
mod ops;
mod queue;
#[cfg(test)]
mod queue_tests;
mod users;
mod work;

/// Whose translations are flushed.
#[derive(Clone, Copy, Debug)]
enum Users<'a> {
    /// Those of a table that some processors use.
    Some(&'a TableUsers),
    /// The kernel's, which all processors use, and which may be global.
    All,
}

impl TableUsers {
    /// Makes the users of a new table, of which there are none yet.
    #[expect(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Self {
        // Relaxed: a number is only to differ from all others.
        let before = memory::memory().next_table.fetch_add(1, Ordering::Relaxed);
        Self::with_id(before + 1)
    }
}

/// What a mapping owns.
#[derive(Debug)]
pub(super) enum Kept {
    /// Nothing.
    Nothing,
    /// A reference to a frame.
    Frame(Frame<dyn AnyFrameMeta>),
    /// A reference to each frame of a huge page.
    Frames(Segment<dyn AnyFrameMeta>),
}

/// Collects what is to be flushed, and what to keep until then.
///
/// Dropping a flusher dispatches what it has collected. It stays in atomic mode
/// with the guard that it borrows, and so on its processor.
///
/// Its methods take it shared, so that a cursor can lend it without giving it
/// away: exchanged for that of another space, it would flush the wrong processors.
#[derive(Debug)]
pub struct TlbFlusher<'a> {
    users: Users<'a>,
    /// The processor's buffer, while this flusher has it.
    buffer: Cell<Option<&'static FlushBuffers>>,
    /// Other processors that were asked and not waited for.
    unsynced: Cell<CpuSet>,
    _stays_here: PhantomData<*mut ()>,
}

static_assertions::assert_not_impl_any!(TlbFlusher<'static>: Send, Sync);

impl<'a> TlbFlusher<'a> {
    /// Makes a flusher for a table that these processors use.
    pub fn new(users: &'a TableUsers, _guard: &'a dyn InAtomicMode) -> Self {
        Self::with_users(Users::Some(users))
    }

    /// Makes a flusher for the kernel's table.
    pub(crate) fn for_kernel(_guard: &'a dyn InAtomicMode) -> Self {
        Self::with_users(Users::All)
    }

    fn with_users(users: Users<'a>) -> Self {
        Self {
            users,
            buffer: Cell::new(None),
            unsynced: Cell::new(CpuSet::new_empty()),
            _stays_here: PhantomData,
        }
    }

    /// Returns the number of the table, by which tables are in the order of their
    /// making; zero for the kernel's.
    pub(super) fn table_id(&self) -> u64 {
        match self.users {
            Users::Some(users) => users.id(),
            Users::All => 0,
        }
    }

    /// Collects an operation. Nothing is flushed before the next dispatch.
    ///
    /// # Panics
    ///
    /// Panics when a range is empty, or not whole pages.
    pub fn issue_tlb_flush(&self, op: TlbFlushOp) {
        let pages = op.pages();
        if !self.with_buffer(|buffer| buffer.ops.push(pages)) {
            self.flush_at_once(pages, |_| true);
        }
    }

    /// Collects an operation, and keeps a frame until it is done on every
    /// processor that may have the translation.
    ///
    /// # Panics
    ///
    /// As [`Self::issue_tlb_flush`].
    #[inline(always)]
    pub fn issue_tlb_flush_with(&self, op: TlbFlushOp, keep: Frame<dyn AnyFrameMeta>) {
        let pages = op.pages();
        let mut keep = Some(keep);
        self.with_buffer(|buffer| {
            if has_room(&mut buffer.frames)
                && let Some(frame) = keep.take()
            {
                buffer.ops.push(pages);
                push_in_room(&mut buffer.frames, frame);
            }
        });
        if let Some(frame) = keep {
            self.flush_with_at_once(pages, frame, |buffer| &mut buffer.frames);
        }
    }

    /// Collects the flush of a node's range, and keeps the node with all that is
    /// below it: so many pages of memory.
    pub(super) fn issue_flush_of_node(
        &self,
        op: TlbFlushOp,
        node: Frame<dyn AnyFrameMeta>,
        num_pages: usize,
    ) {
        let pages = op.pages();
        let mut keep = Some(node);
        self.with_buffer(|buffer| {
            if let Some(node) = keep.take() {
                buffer.ops.push(pages);
                buffer.nodes.push(node, num_pages);
            }
        });
        if let Some(node) = keep {
            self.flush_at_once(pages, |buffer| {
                buffer.nodes.push(node, num_pages);
                true
            });
        }
    }

    /// Collects an operation, and keeps frames side by side; otherwise as
    /// [`Self::issue_tlb_flush_with`].
    ///
    /// # Panics
    ///
    /// As [`Self::issue_tlb_flush`].
    pub fn issue_tlb_flush_with_segment(&self, op: TlbFlushOp, keep: Segment<dyn AnyFrameMeta>) {
        let pages = op.pages();
        let mut keep = Some(keep);
        self.with_buffer(|buffer| {
            if has_room(&mut buffer.segments)
                && let Some(segment) = keep.take()
            {
                buffer.ops.push(pages);
                push_in_room(&mut buffer.segments, segment);
            }
        });
        if let Some(segment) = keep {
            self.flush_with_at_once(pages, segment, |buffer| &mut buffer.segments);
        }
    }

    /// Collects the flush of one mapping, and keeps what it kept.
    #[inline(always)]
    pub(super) fn issue_flush_of(&self, va: Vaddr, keep: Kept) {
        let op = TlbFlushOp::Address(va);
        match keep {
            Kept::Frame(frame) => self.issue_tlb_flush_with(op, frame),
            Kept::Frames(frames) => self.issue_tlb_flush_with_segment(op, frames),
            Kept::Nothing => self.issue_tlb_flush(op),
        }
    }

    /// Makes happen what was collected: at once here, soon on the others.
    ///
    /// May be called with interrupts off, and holding locks of nodes.
    #[inline]
    pub fn dispatch_tlb_flush(&self) {
        if let Some(owner) = self.buffer.take() {
            self.dispatch(owner);
        }
    }

    /// Flushes what a buffer holds, and gives the buffer back.
    #[inline(never)]
    fn dispatch(&self, owner: &'static FlushBuffers) {
        // SAFETY: This flusher has the buffer of this processor. Freeing may run
        // drop hooks; a flusher that one makes finds the buffer taken.
        let buffer = unsafe { &mut *owner.buffer.get() };
        let is_done = buffer
            .only_page()
            .is_some_and(|va| self.flush_page_alone(va));
        if !is_done {
            self.flush(buffer);
        }
        buffer.ops.clear();
        if !buffer.has_usual_room() {
            buffer.restore_usual_room();
        }
        owner.is_taken.set(false);
    }

    /// Waits until all processors have flushed what was dispatched so far. Not a
    /// dispatch: what is collected stays collected.
    ///
    /// What other flushers dispatched to the users of the table is waited for as
    /// well: whoever finds a page unmapped by somebody else may then rely on that
    /// (peer 62). Returns at once when nobody has anything left to flush.
    ///
    /// # Panics
    ///
    /// Panics when interrupts are off: two processors that wait for each other
    /// would never end.
    pub fn sync_tlb_flush(&self) {
        assert!(
            irq::is_enabled(),
            "waiting for other processors with interrupts off"
        );
        let mut asked = self.unsynced.replace(CpuSet::new_empty());
        asked.union(match self.users {
            Users::Some(users) => users.users(Change::Nodes),
            Users::All => CpuSet::new_full(),
        });
        asked.remove(cpu::current_id());
        wait_for(asked);
        rcu::poll();
    }

    /// Returns whether no other processor was asked since the last synchronising.
    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced.get().is_empty()
    }

    /// Does something with the processor's buffer, taking it if it is there to be
    /// taken. Returns whether it was.
    #[inline(always)]
    fn with_buffer(&self, collect: impl FnOnce(&mut Buffer)) -> bool {
        if self.buffer.get().is_none() {
            self.claim_buffer();
        }
        let Some(owner) = self.buffer.get() else {
            return false;
        };
        // SAFETY: The buffer is this processor's, and `is_taken` says that this
        // flusher is the only one to use it; collecting into it calls nothing that
        // could get at this flusher.
        collect(unsafe { &mut *owner.buffer.get() });
        true
    }

    #[cold]
    fn claim_buffer(&self) {
        let buffers = &cpu::local().flush_buffers;
        if !buffers.is_taken.replace(true) {
            self.buffer.set(Some(buffers));
        }
    }

    /// Flushes one page, and keeps its frame until that is done. With nothing
    /// collected and no other processor concerned, that is at once.
    #[inline(always)]
    pub(super) fn flush_page_at_once(&self, va: Vaddr, keep: Frame<dyn AnyFrameMeta>) {
        if self.buffer.get().is_none() && self.flush_page_alone(va) {
            return drop(keep);
        }
        self.issue_tlb_flush_with(TlbFlushOp::Address(va), keep);
        self.dispatch_tlb_flush();
    }

    /// Flushes one page if no other processor is concerned; returns whether.
    #[inline(always)]
    fn flush_page_alone(&self, va: Vaddr) -> bool {
        let here = cpu::current_id();
        let is_alone = |set: CpuSet| {
            let mut others = set;
            others.remove(here);
            others.is_empty()
        };
        let Users::Some(users) = self.users else {
            return false;
        };
        if !is_alone(users.users(Change::Pages)) {
            return false;
        }
        let (generation, set) = users.changed(Change::Pages);
        if !is_alone(set) {
            // Somebody has joined since. The change is counted twice, of which one
            // is without a request: whoever gets the other flushes everything.
            return false;
        }
        if set.contains(here) && !is_planted(Bug::SkippedFlush) {
            cpu::local().tlb.flush_page(va, generation);
        }
        trace::record_detail(Group::TLB, || Event::Flush {
            table: users.id(),
            first: va,
            pages: 1,
            nr_asked: 0,
        });
        true
    }

    /// Flushes without collecting, for want of a place to. `fill` moves what is to be
    /// kept, and returns whether there was room for it; where there was none, this
    /// waits for all processors, after which it need not be kept.
    #[cold]
    fn flush_at_once(&self, pages: (Vaddr, usize), fill: impl FnOnce(&mut Buffer) -> bool) {
        let mut buffer = Buffer::new();
        buffer.ops.push(pages);
        let is_kept = fill(&mut buffer);
        self.flush(&mut buffer);
        if !is_kept {
            wait_for(self.unsynced.get());
        }
    }

    /// As [`Self::flush_at_once`], for one thing to keep. By value, so that it is in a
    /// register where there is a place for it.
    #[cold]
    #[inline(never)]
    fn flush_with_at_once<T>(
        &self,
        pages: (Vaddr, usize),
        keep: T,
        place: impl FnOnce(&mut Buffer) -> &mut Vec<T>,
    ) {
        let mut keep = Some(keep);
        self.flush_at_once(pages, |buffer| {
            move_into(&mut keep, place(buffer));
            keep.is_none()
        });
    }

    /// Flushes here and asks the others, and has frames kept until they answer.
    fn flush(&self, buffer: &mut Buffer) {
        if buffer.ops.is_empty() {
            return;
        }
        let (change, mut targets) = self.change_and_targets(buffer.change());
        // The flusher is in atomic mode, so this stays the processor.
        let here = cpu::current_id();
        let is_local = targets.contains(here);
        targets.remove(here);
        trace::record(Group::TLB, || Event::Flush {
            table: self.table_id(),
            first: buffer.ops.first(),
            pages: buffer.ops.nr_pages(),
            nr_asked: targets.count() as u8,
        });
        if !targets.is_empty() && !self.leaves_out(Bug::SkippedRequest) {
            ask(targets, change, &buffer.ops);
        }
        if is_local && !self.leaves_out(Bug::SkippedFlush) {
            // A handler must not have the processor leave the table in between.
            work::perform(change.as_ref(), &buffer.ops, &irq::disable_local());
        }
        let mut unsynced = self.unsynced.get();
        unsynced.union(targets);
        self.unsynced.set(unsynced);
        if targets.is_empty() || is_planted(Bug::EarlyFree) {
            held::free_now(&mut buffer.frames, &mut buffer.segments);
        } else {
            held::keep(&mut buffer.frames, &mut buffer.segments);
        }
        if !buffer.nodes.is_empty() {
            rcu::keep(&mut buffer.nodes);
        }
    }

    /// Returns whether a bug is planted that leaves a step out. Not for the kernel's
    /// half, without whose flushes the kernel itself falls.
    fn leaves_out(&self, bug: Bug) -> bool {
        matches!(self.users, Users::Some(_)) && is_planted(bug)
    }

    /// Returns the change of a user's table, and the processors that have to flush;
    /// called after the table was changed.
    fn change_and_targets(&self, change: Change) -> (Option<TableChange>, CpuSet) {
        let Users::Some(users) = self.users else {
            return (None, CpuSet::new_full());
        };
        let (generation, targets) = users.changed(change);
        let change = TableChange {
            table: users.id(),
            first: generation,
            last: generation,
            changes: 1,
            takes_nodes: change == Change::Nodes,
        };
        (Some(change), targets)
    }
}

/// Asks other processors to flush.
#[inline(never)]
fn ask(targets: CpuSet, change: Option<TableChange>, ops: &Ops) {
    let work = Work::new_for(change, ops);
    for cpu in targets.iter() {
        if cpu::of(cpu).flushes.request(&work) {
            cpu::interrupt_to_flush(cpu);
        }
    }
}

impl Drop for TlbFlusher<'_> {
    #[inline]
    fn drop(&mut self) {
        self.dispatch_tlb_flush();
    }
}

/// Returns how many interrupts were sent to a processor so far, for it to flush.
///
/// # Panics
///
/// Panics when the machine has no such processor.
pub fn flush_interrupts(cpu: CpuId) -> u64 {
    cpu::of(cpu).flushes.interrupts()
}

/// Moves something into a vector, if that has room or can make it.
fn move_into<T>(from: &mut Option<T>, to: &mut Vec<T>) {
    if has_room(to)
        && let Some(element) = from.take()
    {
        push_in_room(to, element);
    }
}

/// Waits until all processors have flushed what they were asked to so far: with
/// interrupts off, too, and whatever locks are held.
pub(crate) fn wait_for_requests() {
    wait_for(CpuSet::new_full());
}

/// Looks after which a processor that has not answered is reported: minutes, if each
/// takes some dozens of cycles.
const PATIENCE: u64 = 1 << 32;

/// Waits until processors have flushed what they were asked to so far.
fn wait_for(cpus: CpuSet) {
    wait_patiently(cpus, PATIENCE, |silent| {
        log::error!("no answer to a request to flush from processors {silent:?}");
    });
}

/// As [`wait_for`]. After so many looks at processors that have not answered,
/// `report`s them once, and waits on: freeing what they may use is no way out. So a
/// lost interrupt is a line in the log, and not a silent end (peer 67).
fn wait_patiently(cpus: CpuSet, patience: u64, report: impl FnOnce(CpuSet)) {
    let (mut report, mut looks) = (Some(report), 0);
    let mut silent = cpus;
    for cpu in cpus.iter() {
        let flushes = &cpu::of(cpu).flushes;
        // Read once: what others ask for meanwhile is not waited for.
        let wanted = flushes.requested();
        while flushes.done() < wanted {
            // Serves this processor's own queue as well.
            cpu::relax();
            looks += 1;
            if looks >= patience
                && let Some(report) = report.take()
            {
                report(silent);
            }
        }
        silent.remove(cpu);
    }
}

#[cfg(any(test, ktest))]
mod tests;
