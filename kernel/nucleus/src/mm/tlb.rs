//! Flushing: making processors forget translations, and keeping frames until
//! they have.
//!
//! A [`TlbFlusher`] collects what is to be flushed, with the frames that must not
//! be freed before. *Dispatching* makes it happen: at once on this processor, and
//! by an interrupt on the others that may have the translations cached.
//! *Synchronising* waits until they have done it. Frames need nobody to wait:
//! they are kept by `rcu` until all processors that were asked have answered.
//!
//! A processor answers after it has flushed. Requests are numbered, and the
//! number up to which a processor is done says it all, so an answer to an early
//! request cannot be taken for one to a later (peer 66). A queue that is full
//! becomes a flush of everything.
//!
//! Whether a processor gets a request: its part is to *add itself to the set of a
//! table's users, then load the table*; the flusher's is to *change the table,
//! then read the set*. Either the flusher sees the processor, or the processor
//! sees the change ([`AtomicCpuSet`]).

use alloc::vec::Vec;
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::frame::{AnyFrameMeta, Frame, Segment};
use super::{PAGE_SIZE, Vaddr, is_page_aligned};
use crate::arch::{cpu, mmu};
use crate::cpu::{AtomicCpuSet, CpuSet, InAtomicMode};
use crate::irq;
use crate::sync::{SpinLock, rcu};

/// Pages, and operations, from which on everything is flushed instead.
pub const FLUSH_ALL_THRESHOLD: usize = 32;

/// What to flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlbFlushOp {
    /// Everything but what is global.
    All,
    /// The page at an address, whatever its size, global or not.
    Address(Vaddr),
    /// The pages of a range.
    Range(Range<Vaddr>),
}

impl TlbFlushOp {
    /// Returns the first page and how many there are.
    ///
    /// # Panics
    ///
    /// Panics when a range is empty, or not whole pages.
    fn pages(&self) -> (Vaddr, usize) {
        match self {
            Self::All => (0, usize::MAX),
            Self::Address(va) => (*va, 1),
            Self::Range(range) => {
                assert!(
                    is_page_aligned(range.start) && is_page_aligned(range.end),
                    "{range:#x?} is not whole pages"
                );
                assert!(range.start < range.end, "{range:#x?} has no pages");
                (range.start, (range.end - range.start) / PAGE_SIZE)
            }
        }
    }
}

/// Some operations; from the threshold on, everything.
#[derive(Clone, Copy, Debug)]
struct Ops {
    pages: [(Vaddr, usize); FLUSH_ALL_THRESHOLD],
    len: usize,
    total_pages: usize,
    /// Global translations are meant as well.
    global: bool,
}

impl Ops {
    const fn new() -> Self {
        Self {
            pages: [(0, 0); FLUSH_ALL_THRESHOLD],
            len: 0,
            total_pages: 0,
            global: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.total_pages == 0
    }

    fn is_all(&self) -> bool {
        self.total_pages >= FLUSH_ALL_THRESHOLD
    }

    #[inline]
    fn push(&mut self, (start, pages): (Vaddr, usize)) {
        if self.is_all() {
            return;
        }
        // Each operation has a page at least, so the array has room.
        self.pages[self.len] = (start, pages);
        self.len += 1;
        self.total_pages = self.total_pages.saturating_add(pages);
    }

    fn append(&mut self, other: &Self) {
        self.global |= other.global;
        if other.is_all() {
            self.total_pages = usize::MAX;
        }
        for op in &other.pages[..other.len] {
            self.push(*op);
        }
    }

    fn clear(&mut self) {
        (self.len, self.total_pages, self.global) = (0, 0, false);
    }

    /// Flushes on this processor.
    fn perform(&self) {
        if self.is_all() {
            if self.global {
                mmu::flush_all_including_global();
            } else {
                mmu::flush_all_excluding_global();
            }
            return;
        }
        for (start, pages) in &self.pages[..self.len] {
            for page in 0..*pages {
                mmu::flush_page(start + page * PAGE_SIZE);
            }
        }
    }
}

/// What others ask a processor to flush.
#[derive(Debug)]
pub(crate) struct FlushQueue {
    ops: SpinLock<Ops>,
    /// The number of the last request; changed under the lock.
    requested: AtomicU64,
    /// The number up to which all is flushed.
    done: AtomicU64,
}

impl FlushQueue {
    pub(crate) const fn new() -> Self {
        Self {
            ops: SpinLock::new(Ops::new()),
            requested: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Returns the number of the last request.
    pub(crate) fn requested(&self) -> u64 {
        // Acquire: a caller that made a request sees it counted.
        self.requested.load(Ordering::Acquire)
    }

    /// Returns the number of the last request that is done.
    pub(crate) fn done(&self) -> u64 {
        // Acquire: pairs with the Release in `serve`: it was flushed before.
        self.done.load(Ordering::Acquire)
    }

    fn request(&self, ops: &Ops) {
        let mut queue = self.ops.lock();
        queue.append(ops);
        // Release: counted after it is queued. Under the lock, so not a race.
        self.requested.fetch_add(1, Ordering::Release);
    }

    /// As [`Self::serve`], if there is anything to do.
    pub(crate) fn serve_if_due(&self) {
        if self.done() != self.requested() {
            self.serve();
        }
    }

    /// Does what was asked for; on the processor whose queue it is, from the
    /// interrupt's handler or while it waits for others.
    fn serve(&self) {
        let (ops, number) = {
            let mut queue = self.ops.lock();
            let ops = *queue;
            queue.clear();
            // Relaxed: changed under the lock, which is held.
            (ops, self.requested.load(Ordering::Relaxed))
        };
        ops.perform();
        // Release: the answer comes after the flush.
        self.done.store(number, Ordering::Release);
    }
}

/// A processor's place to collect flushes in. There is one: the flusher that
/// collects first has it, and another one meanwhile flushes at once.
pub(crate) struct FlushBuffers {
    is_taken: Cell<bool>,
    buffer: UnsafeCell<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    ops: Ops,
    frames: Vec<Frame<dyn AnyFrameMeta>>,
    segments: Vec<Segment<dyn AnyFrameMeta>>,
}

/// Frames that a buffer has room for from the start; room for more is given back.
const BUFFERED_FRAMES: usize = 1024;

impl FlushBuffers {
    pub(crate) const fn new() -> Self {
        Self {
            is_taken: Cell::new(false),
            buffer: UnsafeCell::new(Buffer {
                ops: Ops::new(),
                frames: Vec::new(),
                segments: Vec::new(),
            }),
        }
    }

    /// Makes room; without it, each frame is flushed by itself.
    pub(crate) fn init(&self) {
        if !self.is_taken.get() {
            // SAFETY: This processor's, and not taken.
            let buffer = unsafe { &mut *self.buffer.get() };
            buffer.trim();
        }
    }

    /// Gives a buffer back that an abandoned task took.
    #[cfg(ktest)]
    pub(crate) fn abandon(&self) {
        if self.is_taken.replace(false) {
            // SAFETY: This processor's, and the task that used it never runs on.
            let buffer = unsafe { &mut *self.buffer.get() };
            buffer.ops.clear();
            mmu::flush_all_including_global();
            buffer.frames.clear();
            buffer.segments.clear();
        }
    }
}

impl Buffer {
    /// Returns whether there is room for the usual number of frames, not more.
    fn is_trim(&self) -> bool {
        self.frames.capacity() == BUFFERED_FRAMES && self.segments.capacity() == 0
    }

    /// Has room for the usual number of frames, and not for more.
    #[cold]
    fn trim(&mut self) {
        if self.frames.capacity() != BUFFERED_FRAMES && self.frames.is_empty() {
            self.frames = Vec::new();
            // Without memory, the next frame tries again.
            let _ = self.frames.try_reserve_exact(BUFFERED_FRAMES);
        }
        if self.segments.capacity() != 0 && self.segments.is_empty() {
            self.segments = Vec::new();
        }
    }
}

impl fmt::Debug for FlushBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlushBuffers")
            .field("is_taken", &self.is_taken)
            .finish_non_exhaustive()
    }
}

/// Whose translations are flushed.
#[derive(Clone, Copy, Debug)]
enum Users<'a> {
    /// Those of a table that some processors use.
    Some(&'a AtomicCpuSet),
    /// The kernel's, which all processors use, and which may be global.
    All,
}

/// Collects what is to be flushed, and what to keep until then.
///
/// Dropping a flusher dispatches what it has collected. It stays in atomic mode
/// with the guard that it borrows, and so on its processor.
#[derive(Debug)]
pub struct TlbFlusher<'a> {
    users: Users<'a>,
    /// The processor's buffer, while this flusher has it.
    buffer: Option<&'static FlushBuffers>,
    /// Other processors that were asked and not waited for.
    unsynced: CpuSet,
    _stays_here: PhantomData<*mut ()>,
}

impl<'a> TlbFlusher<'a> {
    /// Makes a flusher for a table that these processors use.
    pub fn new(users: &'a AtomicCpuSet, _guard: &'a dyn InAtomicMode) -> Self {
        Self::with_users(Users::Some(users))
    }

    /// Makes a flusher for the kernel's table.
    pub(crate) fn for_kernel(_guard: &'a dyn InAtomicMode) -> Self {
        Self::with_users(Users::All)
    }

    fn with_users(users: Users<'a>) -> Self {
        Self {
            users,
            buffer: None,
            unsynced: CpuSet::new_empty(),
            _stays_here: PhantomData,
        }
    }

    /// Collects an operation. Nothing is flushed before the next dispatch.
    ///
    /// # Panics
    ///
    /// Panics when a range is empty, or not whole pages.
    pub fn issue_tlb_flush(&mut self, op: TlbFlushOp) {
        let pages = op.pages();
        match self.take_buffer() {
            Some(buffer) => buffer.ops.push(pages),
            None => self.flush_at_once(pages, None, None),
        }
    }

    /// Collects an operation, and keeps a frame until it is done on every
    /// processor that may have the translation.
    ///
    /// # Panics
    ///
    /// As [`Self::issue_tlb_flush`].
    #[inline(always)]
    pub fn issue_tlb_flush_with(&mut self, op: TlbFlushOp, keep: Frame<dyn AnyFrameMeta>) {
        let pages = op.pages();
        if let Some(buffer) = self.take_buffer()
            && has_room(&mut buffer.frames)
        {
            buffer.ops.push(pages);
            push_in_room(&mut buffer.frames, keep);
        } else {
            self.flush_at_once(pages, Some(keep), None);
        }
    }

    /// Collects an operation, and keeps frames side by side; otherwise as
    /// [`Self::issue_tlb_flush_with`].
    ///
    /// # Panics
    ///
    /// As [`Self::issue_tlb_flush`].
    pub fn issue_tlb_flush_with_segment(
        &mut self,
        op: TlbFlushOp,
        keep: Segment<dyn AnyFrameMeta>,
    ) {
        let pages = op.pages();
        if let Some(buffer) = self.take_buffer()
            && has_room(&mut buffer.segments)
        {
            buffer.ops.push(pages);
            buffer.segments.push(keep);
        } else {
            self.flush_at_once(pages, None, Some(keep));
        }
    }

    /// Makes happen what was collected: at once here, soon on the others.
    ///
    /// May be called with interrupts off, and holding locks of nodes.
    #[inline]
    pub fn dispatch_tlb_flush(&mut self) {
        if let Some(owner) = self.buffer.take() {
            self.dispatch(owner);
        }
    }

    /// Flushes what a buffer holds, and gives the buffer back.
    #[inline(never)]
    fn dispatch(&mut self, owner: &'static FlushBuffers) {
        // SAFETY: This flusher has the buffer of this processor. Freeing may run
        // drop hooks; a flusher that one makes finds the buffer taken.
        let buffer = unsafe { &mut *owner.buffer.get() };
        self.flush(&mut buffer.ops, &mut buffer.frames, &mut buffer.segments);
        buffer.ops.clear();
        if !buffer.is_trim() {
            buffer.trim();
        }
        owner.is_taken.set(false);
    }

    /// Waits until all processors have flushed what was dispatched so far. Not a
    /// dispatch: what is collected stays collected.
    ///
    /// Returns at once when nothing was dispatched to others.
    ///
    /// # Panics
    ///
    /// Panics when interrupts are off: two processors that wait for each other
    /// would never end.
    pub fn sync_tlb_flush(&mut self) {
        assert!(
            irq::is_enabled(),
            "waiting for other processors with interrupts off"
        );
        for cpu in self.unsynced.iter() {
            let flushes = &cpu::of(cpu).flushes;
            let wanted = flushes.requested();
            while flushes.done() < wanted {
                // Serves this processor's own queue as well.
                cpu::relax();
            }
        }
        self.unsynced = CpuSet::new_empty();
        rcu::poll();
    }

    /// Returns whether no other processor was asked since the last synchronising.
    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Returns the processor's buffer, taking it if it is there to be taken.
    #[inline]
    fn take_buffer(&mut self) -> Option<&mut Buffer> {
        if self.buffer.is_none() {
            self.claim_buffer();
        }
        // SAFETY: The buffer is this processor's, and `is_taken` says that this
        // flusher is the only one to use it.
        self.buffer.map(|owner| unsafe { &mut *owner.buffer.get() })
    }

    #[cold]
    fn claim_buffer(&mut self) {
        let buffers = &cpu::local().flush_buffers;
        if !buffers.is_taken.replace(true) {
            self.buffer = Some(buffers);
        }
    }

    /// Flushes one page, and keeps its frame until that is done. With nothing
    /// collected and no other processor concerned, that is at once: nobody looks
    /// at a user's frame by walking the table, so no grace period need pass.
    #[inline(always)]
    pub(super) fn flush_page_at_once(&mut self, va: Vaddr, keep: Frame<dyn AnyFrameMeta>) {
        let (is_local, others) = self.targets();
        if self.buffer.is_some() || !others.is_empty() {
            self.issue_tlb_flush_with(TlbFlushOp::Address(va), keep);
            self.dispatch_tlb_flush();
            return;
        }
        if is_local {
            mmu::flush_page(va);
        }
        drop(keep);
    }

    /// Returns whether this processor may translate by the table, and which
    /// others may; called after the table was changed.
    #[inline(always)]
    fn targets(&self) -> (bool, CpuSet) {
        // The flusher is in atomic mode, so this stays the processor.
        let here = cpu::current_id();
        let mut targets = match self.users {
            Users::Some(users) => users.load(),
            Users::All => CpuSet::new_full(),
        };
        let is_local = targets.contains(here);
        targets.remove(here);
        (is_local, targets)
    }

    /// Flushes without collecting, for want of a place to.
    #[cold]
    fn flush_at_once(
        &mut self,
        pages: (Vaddr, usize),
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
                Err(_) => return self.flush_and_wait(&mut ops, frame),
            }
        }
        if let Some(segment) = segment {
            match segments.try_reserve_exact(1) {
                Ok(()) => segments.push(segment),
                Err(_) => return self.flush_and_wait(&mut ops, segment),
            }
        }
        self.flush(&mut ops, &mut frames, &mut segments);
    }

    /// Flushes, and keeps something by waiting: for want of any memory at all.
    #[cold]
    fn flush_and_wait<T>(&mut self, ops: &mut Ops, keep: T) {
        self.flush(ops, &mut Vec::new(), &mut Vec::new());
        for cpu in self.unsynced.iter() {
            let flushes = &cpu::of(cpu).flushes;
            while flushes.done() < flushes.requested() {
                cpu::relax();
            }
        }
        drop(keep);
    }

    /// Flushes here and asks the others, and has frames kept until they answer.
    fn flush(
        &mut self,
        ops: &mut Ops,
        frames: &mut Vec<Frame<dyn AnyFrameMeta>>,
        segments: &mut Vec<Segment<dyn AnyFrameMeta>>,
    ) {
        if ops.is_empty() {
            return;
        }
        ops.global |= matches!(self.users, Users::All);
        let (is_local, targets) = self.targets();
        if !targets.is_empty() {
            ask(targets, ops);
        }
        if is_local {
            ops.perform();
        }
        self.unsynced.union(targets);
        rcu::keep(frames, segments, targets);
    }
}

/// Asks other processors to flush.
#[inline(never)]
fn ask(targets: CpuSet, ops: &Ops) {
    for cpu in targets.iter() {
        cpu::of(cpu).flushes.request(ops);
        cpu::interrupt_to_flush(cpu);
    }
}

impl Drop for TlbFlusher<'_> {
    #[inline]
    fn drop(&mut self) {
        self.dispatch_tlb_flush();
    }
}

/// Waits until every other processor has flushed what it was asked to so far.
///
/// With interrupts on, and no locks held.
pub(crate) fn wait_for_all() {
    let guard = crate::cpu::disable_preempt();
    let mut flusher = TlbFlusher::for_kernel(&guard);
    flusher.unsynced = CpuSet::new_full();
    flusher.unsynced.remove(cpu::current_id());
    flusher.sync_tlb_flush();
}

/// Returns whether a vector has room for one more, making it if it can.
#[inline]
fn has_room<T>(vector: &mut Vec<T>) -> bool {
    vector.len() < vector.capacity() || make_room(vector)
}

/// Adds an element to a vector that has room for it.
#[inline(always)]
fn push_in_room<T>(vector: &mut Vec<T>, element: T) {
    let len = vector.len();
    debug_assert!(len < vector.capacity());
    // SAFETY: There is room for one more, which is the vector's own memory.
    unsafe { vector.as_mut_ptr().wrapping_add(len).write(element) };
    // SAFETY: The element was just written.
    unsafe { vector.set_len(len.wrapping_add(1)) };
}

#[cold]
fn make_room<T>(vector: &mut Vec<T>) -> bool {
    vector.try_reserve(1).is_ok()
}

#[cfg(any(test, ktest))]
mod tests;
