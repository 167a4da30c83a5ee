//! Frames that wait for processors to flush what leads to them.
//!
//! Nobody looks at a page's frame by walking a table, so it may be freed when all
//! processors have answered that were asked. Nodes need more; they wait in
//! [`rcu`](crate::sync::rcu).
//!
//! A processor keeps what it takes out in two batches: the older one is free when a
//! *mark* is reached that was set when it began to wait; the younger one collects
//! meanwhile, and gets its mark when the older one is gone. The batches exchange
//! their room with the flusher's buffer, so that keeping what a buffer usually holds
//! takes no memory.
//!
//! **What is held back is bounded**: where more than [`MAX_HELD`] bytes wait, or
//! there is no memory for another frame in a batch, the processor waits for the
//! answers, which takes other processors no longer than their handlers.
//!
//! **Context**: the processor's own, in atomic mode. Interrupt handlers may use it,
//! since nobody is interrupted within [`HeldFrames::with`].

use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::buffer::USUAL_FRAMES;
use super::mark::FlushMark;
use crate::arch::{cpu, memory};
use crate::irq;
use crate::mm::PAGE_SIZE;
use crate::mm::frame::{AnyFrameMeta, Frame, Segment};

/// Most bytes of frames that a processor keeps from use without waiting.
pub(crate) const MAX_HELD: usize = 8 << 20;

/// Bytes that wait on all processors, of frames and nodes.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl HeldBytes {
    pub(crate) const fn new() -> Self {
        Self {
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// Counts bytes that begin to wait.
    pub(crate) fn add(&self, bytes: usize) {
        // Relaxed: counts.
        let before = self.now.fetch_add(bytes, Relaxed);
        self.most.fetch_max(before + bytes, Relaxed);
    }

    /// Counts bytes that have waited.
    pub(crate) fn remove(&self, bytes: usize) {
        // Relaxed: a count.
        self.now.fetch_sub(bytes, Relaxed);
    }
}

/// Returns how many bytes of memory wait for other processors, to be freed: now, and
/// at the worst moment so far.
pub fn held_back() -> (usize, usize) {
    let held = &memory::memory().held;
    // Relaxed: counts.
    (held.now.load(Relaxed), held.most.load(Relaxed))
}

/// Frames that wait together.
struct Batch {
    frames: Vec<Frame<dyn AnyFrameMeta>>,
    segments: Vec<Segment<dyn AnyFrameMeta>>,
    bytes: usize,
}

impl Batch {
    const fn new() -> Self {
        Self {
            frames: Vec::new(),
            segments: Vec::new(),
            bytes: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Takes frames over; returns whether there was room for all. What there was none
    /// for stays.
    fn take_over(
        &mut self,
        frames: &mut Vec<Frame<dyn AnyFrameMeta>>,
        segments: &mut Vec<Segment<dyn AnyFrameMeta>>,
    ) -> bool {
        let bytes = bytes_of(frames, segments);
        if !(move_all(frames, &mut self.frames) && move_all(segments, &mut self.segments)) {
            let taken = bytes - bytes_of(frames, segments);
            self.bytes += taken;
            return false;
        }
        self.bytes += bytes;
        true
    }

    /// Makes the usual room, if there is memory for it.
    fn make_room(&mut self) {
        // Without it, the batch takes what room there is when it is used.
        let _ = self.frames.try_reserve_exact(USUAL_FRAMES);
    }

    /// Frees all, and keeps the usual room.
    fn free(&mut self) {
        while let Some(frame) = self.frames.pop() {
            frame.release();
        }
        self.frames.shrink_to(USUAL_FRAMES);
        self.segments = Vec::new();
        self.bytes = 0;
    }
}

fn bytes_of(frames: &[Frame<dyn AnyFrameMeta>], segments: &[Segment<dyn AnyFrameMeta>]) -> usize {
    frames.len() * PAGE_SIZE + segments.iter().map(Segment::size).sum::<usize>()
}

/// Moves elements; returns whether there was room.
fn move_all<T>(from: &mut Vec<T>, to: &mut Vec<T>) -> bool {
    if to.is_empty() {
        core::mem::swap(from, to);
        return true;
    }
    let has_room = to.try_reserve(from.len()).is_ok();
    if has_room {
        to.append(from);
    }
    has_room
}

/// What a processor holds back.
pub(crate) struct HeldFrames {
    held: UnsafeCell<Held>,
    /// The bytes of both batches, to ask cheaply.
    bytes: AtomicUsize,
}

struct Held {
    /// What is free when the mark is reached.
    older: Batch,
    mark: FlushMark,
    younger: Batch,
}

impl HeldFrames {
    pub(crate) const fn new() -> Self {
        Self {
            held: UnsafeCell::new(Held {
                older: Batch::new(),
                mark: FlushMark::new(),
                younger: Batch::new(),
            }),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Makes the usual room for what will wait.
    pub(crate) fn init(&self) {
        self.with(|held| {
            held.older.make_room();
            held.younger.make_room();
        });
    }

    /// Returns how many bytes wait.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        // Relaxed: the processor's own count.
        self.bytes.load(Relaxed)
    }

    fn with<R>(&self, body: impl FnOnce(&mut Held) -> R) -> R {
        let _irq_off = irq::disable_local();
        // SAFETY: Only this processor uses it, interrupts are off, and `body`, which is
        // this module's, frees nothing and does not call back.
        let held = unsafe { &mut *self.held.get() };
        let result = body(held);
        let bytes = held.older.bytes + held.younger.bytes;
        // Relaxed: read by this processor.
        self.bytes.store(bytes, Relaxed);
        result
    }

    /// Takes a batch out whose mark is reached.
    fn next_free(&self) -> Option<Batch> {
        self.with(|held| {
            if held.older.is_empty() {
                if held.younger.is_empty() {
                    return None;
                }
                core::mem::swap(&mut held.older, &mut held.younger);
                held.mark.set_to_requested();
            }
            let is_free = held.mark.is_reached();
            is_free.then(|| core::mem::replace(&mut held.older, Batch::new()))
        })
    }

    /// Gives the room of a batch back.
    fn give_room(&self, batch: Batch) {
        let unused = self.with(|held| {
            if held.older.frames.capacity() == 0 {
                core::mem::replace(&mut held.older, batch)
            } else {
                batch
            }
        });
        drop(unused);
    }
}

/// Frees frames, and ranges of them, when all processors have done what they were
/// asked so far.
///
/// Waits for that where too much is held back already.
pub(super) fn keep(
    frames: &mut Vec<Frame<dyn AnyFrameMeta>>,
    segments: &mut Vec<Segment<dyn AnyFrameMeta>>,
) {
    poll();
    let state = &cpu::local().held;
    let bytes = bytes_of(frames, segments);
    let is_kept = state.with(|held| {
        if held.older.is_empty() {
            held.mark.set_to_requested();
            held.older.take_over(frames, segments)
        } else {
            held.younger.take_over(frames, segments)
        }
    });
    let kept = bytes - bytes_of(frames, segments);
    memory::memory().held.add(kept);
    if !is_kept || state.bytes() > MAX_HELD {
        super::wait_for_requests();
        poll();
        free_now(frames, segments);
    } else {
        poll();
    }
}

/// Frees frames that nobody has to flush any more.
pub(super) fn free_now(
    frames: &mut Vec<Frame<dyn AnyFrameMeta>>,
    segments: &mut Vec<Segment<dyn AnyFrameMeta>>,
) {
    while let Some(frame) = frames.pop() {
        frame.release();
    }
    if !segments.is_empty() {
        segments.clear();
    }
}

/// Frees what has waited long enough.
pub(crate) fn poll() {
    let state = &cpu::local().held;
    if state.bytes() == 0 {
        return;
    }
    while let Some(batch) = state.next_free() {
        let bytes = batch.bytes;
        // If a drop hook panics, the rest is lost: unwinding is no time to run more.
        let mut batch = ManuallyDrop::new(batch);
        // Drop hooks may come back here, and find what is left.
        batch.free();
        // Not before it is free: whoever waits for nothing to wait counts free frames.
        memory::memory().held.remove(bytes);
        state.give_room(ManuallyDrop::into_inner(batch));
    }
}

impl fmt::Debug for HeldFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldFrames({} bytes)", self.bytes())
    }
}
