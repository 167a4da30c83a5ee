//! Flushing: making processors forget translations, and keeping frames until
//! they have.
//!
//! A [`TlbFlusher`] collects what is to be flushed, with the frames that must not
//! be freed before. *Dispatching* makes it happen: at once on this processor, and
//! by an interrupt on the others that may use the translations.
//! *Synchronising* waits until they have done it. Frames need nobody to wait:
//! they are kept by `rcu` until all processors that were asked have answered.
//!
//! * `users`: who has to be asked, and how one who is not asked learns of it.
//! * `identifiers`: what a processor knows of its own TLB, and lazy processors.
//! * `queue`, `work`, `ops`: requests, and what they are for. A processor answers
//!   after it has flushed; a queue that is full becomes a flush of everything.
//! * `buffer`: where flushes are collected.
//! * `mark`: how far all processors are.
//!
//! **Waiting for answers** is allowed whatever locks are held, but for the spin
//! lock of a queue: whoever waits for a lock or an answer serves its own queue
//! meanwhile ([`cpu::relax`]), with interrupts off too, so it answers whoever waits
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
pub(crate) use self::identifiers::{Cached, Identifier, LocalTlb};
pub(crate) use self::mark::FlushMark;
use self::ops::Ops;
pub use self::ops::{FLUSH_ALL_THRESHOLD, TlbFlushOp};
pub(crate) use self::queue::FlushQueue;
use self::users::Change;
pub use self::users::TableUsers;
use self::work::{TableFlush, Work};
use super::Vaddr;
use super::frame::{AnyFrameMeta, Frame, Segment};
use crate::arch::{cpu, memory};
use crate::cpu::{CpuSet, InAtomicMode};
use crate::irq;
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::Ordering;
use crate::sync::rcu;

mod buffer;
mod identifiers;
mod mark;
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

    /// Collects an operation. Nothing is flushed before the next dispatch.
    ///
    /// # Panics
    ///
    /// Panics when a range is empty, or not whole pages.
    pub fn issue_tlb_flush(&self, op: TlbFlushOp) {
        let pages = op.pages();
        if !self.with_buffer(|buffer| buffer.ops.push(pages)) {
            self.flush_at_once(pages, Change::Pages, None, None);
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
        if keep.is_some() {
            self.flush_at_once(pages, Change::Pages, keep, None);
        }
    }

    /// Collects the flush of a node's range, and keeps the node with all that is
    /// below it.
    pub(super) fn issue_flush_of_node(&self, op: TlbFlushOp, node: Frame<dyn AnyFrameMeta>) {
        let pages = op.pages();
        let mut keep = Some(node);
        self.with_buffer(|buffer| {
            if has_room(&mut buffer.frames)
                && let Some(node) = keep.take()
            {
                buffer.ops.push(pages);
                buffer.change = Change::Nodes;
                push_in_room(&mut buffer.frames, node);
            }
        });
        if keep.is_some() {
            self.flush_at_once(pages, Change::Nodes, keep, None);
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
        if keep.is_some() {
            self.flush_at_once(pages, Change::Pages, None, keep);
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
        let Buffer {
            ops,
            change,
            frames,
            segments,
        } = buffer;
        self.flush(ops, *change, frames, segments);
        buffer.ops.clear();
        buffer.change = Change::Pages;
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
        let here = cpu::current_id();
        let is_alone = |set: CpuSet| {
            let mut others = set;
            others.remove(here);
            others.is_empty()
        };
        if let Users::Some(users) = self.users
            && self.buffer.get().is_none()
            && is_alone(users.users(Change::Pages))
        {
            let (generation, set) = users.changed(Change::Pages);
            if is_alone(set) {
                if set.contains(here) && !is_planted(Bug::SkippedFlush) {
                    cpu::local().tlb.flush_page(va, generation);
                }
                return drop(keep);
            }
            // Somebody has joined since. The change is counted twice, of which one
            // is without a request: whoever gets the other flushes everything.
        }
        self.issue_tlb_flush_with(TlbFlushOp::Address(va), keep);
        self.dispatch_tlb_flush();
    }

    /// Flushes without collecting, for want of a place to.
    #[cold]
    fn flush_at_once(
        &self,
        pages: (Vaddr, usize),
        change: Change,
        frame: Option<Frame<dyn AnyFrameMeta>>,
        segment: Option<Segment<dyn AnyFrameMeta>>,
    ) {
        let mut ops = Ops::new();
        ops.push(pages);
        let (mut frames, mut segments) = (Vec::new(), Vec::new());
        // A single element, or none: keeping it may fail only where there is
        // nobody to wait for.
        if let Some(frame) = frame {
            match frames.try_reserve_exact(1) {
                Ok(()) => frames.push(frame),
                Err(_) => return self.flush_and_wait(&ops, change, frame),
            }
        }
        if let Some(segment) = segment {
            match segments.try_reserve_exact(1) {
                Ok(()) => segments.push(segment),
                Err(_) => return self.flush_and_wait(&ops, change, segment),
            }
        }
        self.flush(&ops, change, &mut frames, &mut segments);
    }

    /// Flushes, and keeps something by waiting: for want of any memory at all.
    #[cold]
    fn flush_and_wait<T>(&self, ops: &Ops, change: Change, keep: T) {
        self.flush(ops, change, &mut Vec::new(), &mut Vec::new());
        wait_for(self.unsynced.get());
        drop(keep);
    }

    /// Flushes here and asks the others, and has frames kept until they answer.
    fn flush(
        &self,
        ops: &Ops,
        change: Change,
        frames: &mut Vec<Frame<dyn AnyFrameMeta>>,
        segments: &mut Vec<Segment<dyn AnyFrameMeta>>,
    ) {
        if ops.is_empty() {
            return;
        }
        let (work, mut targets) = self.work_and_targets(ops, change);
        // The flusher is in atomic mode, so this stays the processor.
        let here = cpu::current_id();
        let is_local = targets.contains(here);
        targets.remove(here);
        if !targets.is_empty() && !is_planted(Bug::SkippedRequest) {
            ask(targets, &work);
        }
        if is_local && !is_planted(Bug::SkippedFlush) {
            // A handler must not have the processor leave the table in between.
            work.perform(&irq::disable_local());
        }
        let mut unsynced = self.unsynced.get();
        unsynced.union(targets);
        self.unsynced.set(unsynced);
        rcu::keep(frames, segments, targets);
    }

    /// Returns what each of the table's users has to do, and who they are; called
    /// after the table was changed.
    fn work_and_targets(&self, ops: &Ops, change: Change) -> (Work, CpuSet) {
        match self.users {
            Users::All => (Work::of_kernel(ops), CpuSet::new_full()),
            Users::Some(users) => {
                let (generation, targets) = users.changed(change);
                let flush = TableFlush {
                    table: users.id(),
                    first: generation,
                    last: generation,
                    changes: 1,
                    takes_nodes: change == Change::Nodes,
                    ops: *ops,
                };
                (Work::of_table(flush), targets)
            }
        }
    }
}

/// Asks other processors to flush.
#[inline(never)]
fn ask(targets: CpuSet, work: &Work) {
    for cpu in targets.iter() {
        if cpu::of(cpu).flushes.request(work) {
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

/// Waits until every processor, this one included, has flushed what it was asked
/// to so far.
///
/// With interrupts on, and no locks held.
pub(crate) fn wait_for_all() {
    let guard = crate::cpu::disable_preempt();
    let flusher = TlbFlusher::for_kernel(&guard);
    flusher.unsynced.set(CpuSet::new_full());
    flusher.sync_tlb_flush();
}

/// Waits until processors have flushed what they were asked to so far.
fn wait_for(cpus: CpuSet) {
    for cpu in cpus.iter() {
        let flushes = &cpu::of(cpu).flushes;
        // Read once: what others ask for meanwhile is not waited for.
        let wanted = flushes.requested();
        while flushes.done() < wanted {
            // Serves this processor's own queue as well.
            cpu::relax();
        }
    }
}

#[cfg(any(test, ktest))]
mod tests;
