//! The frame allocator: single frames in constant time.
//!
//! Memory that was never used is kept as ranges, so that start-up need not
//! touch every frame; frames that were given back form a list through their
//! metadata slots and are handed out again first. Every frame is in exactly one
//! of three places: a range, the list, or somebody's hands.

use core::ops::Range;

use super::meta::{self, FrameUsage};
use crate::error::{Error, Result};
use crate::mm::{PAGE_SIZE, Paddr, is_page_aligned};
use crate::sync::SpinLock;

/// Ranges of memory that the allocator can be given.
const MAX_RANGES: usize = 1024;

static ALLOCATOR: SpinLock<FreeFrames> = SpinLock::new(FreeFrames {
    fresh: [const { 0..0 }; MAX_RANGES],
    nr_fresh: 0,
    given_back: None,
    nr_free: 0,
    nr_managed: 0,
});

struct FreeFrames {
    /// Memory that was never handed out; the first `nr_fresh` are not empty.
    fresh: [Range<Paddr>; MAX_RANGES],
    nr_fresh: usize,
    /// First frame of the list of those given back.
    given_back: Option<Paddr>,
    nr_free: usize,
    nr_managed: usize,
}

/// Frames in the allocator's care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCounts {
    /// Frames that can be allocated now.
    pub free: usize,
    /// Frames that were ever handed to the allocator.
    pub managed: usize,
}

/// Returns how many frames are free and how many are managed.
pub fn frame_counts() -> FrameCounts {
    let allocator = ALLOCATOR.lock();
    FrameCounts {
        free: allocator.nr_free,
        managed: allocator.nr_managed,
    }
}

/// Returns whether the allocator's lock is held, by whomever.
#[cfg(ktest)]
pub(crate) fn is_locked() -> bool {
    ALLOCATOR.is_locked()
}

/// Runs with the allocator's lock held, for a test that dies with it.
#[cfg(ktest)]
pub(crate) fn with_lock_held(body: fn()) {
    let _allocator = ALLOCATOR.lock();
    body();
}

/// Gives a range of RAM to the allocator; its slots say `Free` from now on.
/// Returns the number of frames, which is zero when the table of ranges is full.
///
/// # Safety
///
/// The range is RAM with metadata, and nobody uses it any more.
pub(crate) unsafe fn add_memory(range: Range<Paddr>) -> usize {
    assert!(is_page_aligned(range.start) && is_page_aligned(range.end));
    let nr_frames = range.len() / PAGE_SIZE;
    if nr_frames == 0 {
        return 0;
    }
    let mut allocator = ALLOCATOR.lock();
    if allocator.nr_fresh == MAX_RANGES {
        return 0;
    }
    for paddr in range.clone().step_by(PAGE_SIZE) {
        let slot = meta::slot(paddr).expect("RAM has metadata");
        slot.set_usage(FrameUsage::Free);
    }
    let index = allocator.nr_fresh;
    allocator.fresh[index] = range;
    allocator.nr_fresh += 1;
    allocator.nr_free += nr_frames;
    allocator.nr_managed += nr_frames;
    nr_frames
}

/// Takes a free frame for a use; its contents are whatever they were.
///
/// # Errors
///
/// [`Error::NoMemory`] when no frame is free.
pub(super) fn allocate(usage: FrameUsage) -> Result<Paddr> {
    let mut allocator = ALLOCATOR.lock();
    let paddr = allocator.pop().ok_or(Error::NoMemory)?;
    let slot = meta::slot(paddr).expect("free frames have metadata");
    assert_eq!(
        slot.usage(),
        FrameUsage::Free,
        "frame {paddr:#x} was allocated twice"
    );
    slot.set_usage(usage);
    Ok(paddr)
}

/// Takes a frame back.
///
/// # Safety
///
/// The frame was allocated, and nobody uses or maps it any more.
pub(super) unsafe fn free(paddr: Paddr) {
    let slot = meta::slot(paddr).expect("allocated frames have metadata");
    let mut allocator = ALLOCATOR.lock();
    assert!(
        !matches!(
            slot.usage(),
            FrameUsage::Free | FrameUsage::Absent | FrameUsage::Boot
        ),
        "frame {paddr:#x} is not an allocated one"
    );
    slot.set_usage(FrameUsage::Free);
    slot.set_next_free(allocator.given_back);
    allocator.given_back = Some(paddr);
    allocator.nr_free += 1;
}

impl FreeFrames {
    fn pop(&mut self) -> Option<Paddr> {
        let paddr = match self.given_back {
            Some(paddr) => {
                let slot = meta::slot(paddr).expect("free frames have metadata");
                self.given_back = slot.next_free();
                paddr
            }
            None => self.pop_fresh()?,
        };
        self.nr_free -= 1;
        Some(paddr)
    }

    fn pop_fresh(&mut self) -> Option<Paddr> {
        let last = self.fresh[..self.nr_fresh].last_mut()?;
        let paddr = last.start;
        last.start += PAGE_SIZE;
        if last.start == last.end {
            self.nr_fresh -= 1;
        }
        Some(paddr)
    }
}
