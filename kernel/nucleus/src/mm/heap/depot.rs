//! Frames at hand, between the slabs and the frame allocator.
//!
//! The frame allocator has sections that an interrupt handler must not get into. So a
//! handler that makes the heap grow gets a frame from here, or none, and one that makes
//! it shrink leaves the frame here.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::slab::{Slab, SlabFrame};
use crate::arch::cpu;
use crate::mm::FrameAllocOptions;
use crate::sync::{Rank, SpinLock};

/// Frames that the depot has room for. Tests want to see none of its traffic.
const CAPACITY: usize = if cfg!(ktest) { 256 } else { 64 };
/// How many it takes from the frame allocator at a time, or gives back.
const BATCH: usize = CAPACITY / 4;

struct Depot {
    slabs: [Option<Slab>; CAPACITY],
    len: usize,
}

static DEPOT: SpinLock<Depot> = SpinLock::ranked(
    Depot {
        slabs: [None; CAPACITY],
        len: 0,
    },
    Rank::HeapFrames,
);

/// Frames that the heap has, here or as slabs.
static NR_FRAMES: AtomicUsize = AtomicUsize::new(0);

impl Depot {
    fn push(&mut self, slab: Slab) {
        self.slabs[self.len] = Some(slab);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Slab> {
        self.len = self.len.checked_sub(1)?;
        self.slabs[self.len].take()
    }

    /// Takes frames from the frame allocator, until there are so many here or there are
    /// no more.
    fn grow_to(&mut self, len: usize) {
        while self.len < len {
            let frame = FrameAllocOptions::new()
                .zeroed(false)
                .alloc_frame_with(SlabFrame::new());
            let Ok(Ok(slab)) = frame.map(Slab::from_frame) else {
                return;
            };
            self.push(slab);
            // Relaxed: a count.
            NR_FRAMES.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives frames to the frame allocator, until there are so many here.
    fn shrink_to(&mut self, len: usize) {
        while self.len > len
            && let Some(slab) = self.pop()
        {
            // SAFETY: What is in the depot is empty, and known here alone.
            drop(unsafe { slab.into_frame() });
            // Relaxed: a count.
            NR_FRAMES.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Returns whether the frame allocator can be called: whether this is no handler that
/// has interrupted it.
fn can_call_frame_allocator() -> bool {
    !cpu::is_brief()
}

/// Takes a frame for a slab.
pub(super) fn take() -> Option<Slab> {
    let mut depot = DEPOT.lock();
    if depot.len == 0 && can_call_frame_allocator() {
        depot.grow_to(BATCH);
    }
    depot.pop()
}

/// Takes a frame back.
///
/// # Safety
///
/// No block of the slab is out, and nobody else names it.
pub(super) unsafe fn give(slab: Slab) {
    let mut depot = DEPOT.lock();
    if depot.len >= CAPACITY - BATCH && can_call_frame_allocator() {
        depot.shrink_to(CAPACITY / 2);
    }
    if depot.len < CAPACITY {
        depot.push(slab);
    } else {
        // A handler that frees very much: at worst the frame is lost.
        // Relaxed: a count.
        NR_FRAMES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has half of the room filled with frames.
pub(super) fn fill() {
    let mut depot = DEPOT.lock();
    depot.grow_to(CAPACITY / 2);
    depot.shrink_to(CAPACITY / 2);
}

pub(super) fn nr_frames() -> usize {
    // Relaxed: a count.
    NR_FRAMES.load(Ordering::Relaxed)
}

#[cfg(ktest)]
pub(super) fn is_locked() -> bool {
    DEPOT.is_locked()
}
