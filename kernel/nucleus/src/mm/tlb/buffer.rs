//! Where a processor collects what it will flush.

use alloc::vec::Vec;
use core::cell::{Cell, UnsafeCell};
use core::fmt;

use super::nodes::KeptNodes;
use super::ops::Ops;
use super::users::Change;
#[cfg(ktest)]
use crate::arch::mmu;
use crate::mm::Vaddr;
use crate::mm::frame::{AnyFrameMeta, Frame, Segment};

/// A processor's place to collect flushes in. There is one: the flusher that
/// collects first has it, and another one meanwhile flushes at once.
pub(crate) struct FlushBuffers {
    pub(super) is_taken: Cell<bool>,
    pub(super) buffer: UnsafeCell<Buffer>,
}

#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) ops: Ops,
    pub(super) nodes: KeptNodes,
    pub(super) frames: Vec<Frame<dyn AnyFrameMeta>>,
    pub(super) segments: Vec<Segment<dyn AnyFrameMeta>>,
}

/// Frames that a buffer has room for from the start, and keeps it.
pub(super) const USUAL_FRAMES: usize = 1024;

impl FlushBuffers {
    pub(crate) const fn new() -> Self {
        Self {
            is_taken: Cell::new(false),
            buffer: UnsafeCell::new(Buffer::new()),
        }
    }

    /// Makes room; without it, each frame is flushed by itself.
    pub(crate) fn init(&self) {
        if !self.is_taken.get() {
            // SAFETY: This processor's, and not taken.
            let buffer = unsafe { &mut *self.buffer.get() };
            buffer.restore_usual_room();
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
            core::mem::replace(&mut buffer.nodes, KeptNodes::new()).free();
        }
    }
}

impl Buffer {
    pub(super) const fn new() -> Self {
        Self {
            ops: Ops::new(),
            nodes: KeptNodes::new(),
            frames: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Returns what changes are in it.
    pub(super) fn change(&self) -> Change {
        if self.nodes.is_empty() {
            Change::Pages
        } else {
            Change::Nodes
        }
    }

    /// Returns the page that is all there is in it, if it is one page and keeps nothing.
    pub(super) fn only_page(&self) -> Option<Vaddr> {
        let keeps_nothing =
            self.frames.is_empty() && self.segments.is_empty() && self.nodes.is_empty();
        keeps_nothing.then(|| self.ops.only_page())?
    }

    /// Returns whether there is room for the usual number of frames, and no more.
    pub(super) fn has_usual_room(&self) -> bool {
        self.frames.capacity() == USUAL_FRAMES && self.segments.capacity() == 0
    }

    /// Gives room back that an unusual number of frames took, and makes that for the
    /// usual number if it can. A vector that is not empty stays as it is.
    #[cold]
    pub(super) fn restore_usual_room(&mut self) {
        if self.frames.capacity() != USUAL_FRAMES && self.frames.is_empty() {
            self.frames = Vec::new();
            // Without memory, the next frame tries again.
            let _ = self.frames.try_reserve_exact(USUAL_FRAMES);
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

/// Returns whether a vector has room for one more, making it if it can.
#[inline]
pub(super) fn has_room<T>(vector: &mut Vec<T>) -> bool {
    vector.len() < vector.capacity() || make_room(vector)
}

/// Adds an element to a vector that has room for it.
#[inline(always)]
pub(super) fn push_in_room<T>(vector: &mut Vec<T>, element: T) {
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
