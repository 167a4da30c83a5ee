//! The frame allocator: caches of single frames for each processor, before a
//! pool for all of them.
//!
//! ```text
//!   allocate, free        batch        pool: a FrameAllocator
//!  ─────────────── cache ─────── lock ─ the buddy system
//! ```
//!
//! A processor takes single frames from its own cache, and gives them back to
//! it, without locks or atomic operations beyond the frame's own count. Caches
//! are filled and emptied by batches. They keep a second, small stack of frames
//! that are *known to be zero*: a node of paging is empty when it dies, so the
//! next one need not be zeroed.
//!
//! Every frame of the machine that was ever given to the allocator is at any
//! moment in one of three places: the pool, a cache, or somebody's hands.
//! [`frame_counts`] counts them.
//!
//! **Context**: must not be called in an interrupt handler, which might have
//! interrupted it. **Locks**: the pool's is the last in the lock order but for
//! the console's.

use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::buddy::{Buddy, NR_ORDERS};
use super::meta::{self, Mark, MetaSlot};
use crate::arch::{cpu, memory, watch};
use crate::mm::{PAGE_SIZE, Paddr, is_page_aligned};
use crate::sync::SpinLock;

/// A pool of frames; the policy that the caches stand before.
///
/// It is trusted with nothing but its own time: a frame that it gives out while
/// the frame is in use is recognised by its metadata, and the machine stops.
pub trait FrameAllocator: Sync {
    /// Takes frames side by side: `size` bytes, from a multiple of `align` on.
    /// Both are multiples of a page, and `align` is a power of two.
    fn alloc(&self, size: usize, align: usize) -> Option<Paddr>;
    /// Takes frames back: all or a part of what was allocated.
    fn dealloc(&self, start: Paddr, size: usize);
    /// Returns the number of frames in the pool.
    fn nr_free(&self) -> usize;
}

/// The pool that is used unless another one is set: the buddy system.
#[derive(Debug)]
pub(crate) struct BuddyAllocator(SpinLock<Buddy>);

impl BuddyAllocator {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(Buddy::new()))
    }

    /// Returns whether the lock is held, by whomever.
    #[cfg(ktest)]
    pub(crate) fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// Runs with the lock held, for a test that dies with it.
    #[cfg(ktest)]
    pub(crate) fn with_lock_held(&self, body: fn()) {
        let _buddy = self.0.lock();
        body();
    }

    /// Recounts the free frames from scratch.
    pub(crate) fn recount(&self) -> usize {
        self.0.lock().recount()
    }

    /// Moves a batch of single frames into a cache.
    fn fill(&self, stack: &mut Stack<CACHE_SIZE>) {
        let mut buddy = self.0.lock();
        for _ in 0..BATCH {
            match buddy.alloc(0) {
                Some(slot) => stack.push(slot),
                None => break,
            }
        }
    }

    /// Takes a batch of single frames out of a cache.
    fn drain(&self, stack: &mut Stack<CACHE_SIZE>, count: usize) {
        let mut buddy = self.0.lock();
        for _ in 0..count {
            match stack.pop() {
                Some(slot) => buddy.free(slot, 0),
                None => break,
            }
        }
    }
}

impl FrameAllocator for BuddyAllocator {
    fn alloc(&self, size: usize, align: usize) -> Option<Paddr> {
        let frames = (size.max(align) / PAGE_SIZE).checked_next_power_of_two()?;
        let order = frames.trailing_zeros() as usize;
        if order >= NR_ORDERS {
            return None;
        }
        let mut buddy = self.0.lock();
        let start = buddy.alloc(order)?.frame_paddr();
        // What the order has too much goes back at once (peer 25).
        buddy.free_range(start + size..start + (PAGE_SIZE << order));
        Some(start)
    }

    fn dealloc(&self, start: Paddr, size: usize) {
        self.0.lock().free_range(start..start + size);
    }

    fn nr_free(&self) -> usize {
        self.0.lock().nr_free()
    }
}

/// Frames that a cache holds at most.
const CACHE_SIZE: usize = 128;
/// Frames that move between a cache and the pool at a time.
const BATCH: usize = CACHE_SIZE / 2;
/// Frames known to be zero that a cache holds at most.
const ZEROED_SIZE: usize = 32;

/// A processor's own free frames.
#[derive(Debug)]
pub(crate) struct FrameCache {
    stacks: UnsafeCell<Stacks>,
    /// How many frames they hold, for those who count.
    nr_free: AtomicUsize,
    /// Whether an operation is under way, to notice one that is interrupted.
    in_use: Cell<bool>,
}

#[derive(Debug)]
struct Stacks {
    ordinary: Stack<CACHE_SIZE>,
    zeroed: Stack<ZEROED_SIZE>,
}

/// Some free frames.
#[derive(Debug)]
struct Stack<const N: usize> {
    slots: [MaybeUninit<&'static MetaSlot>; N],
    len: usize,
}

impl<const N: usize> Stack<N> {
    const fn new() -> Self {
        Self {
            slots: [const { MaybeUninit::uninit() }; N],
            len: 0,
        }
    }

    fn push(&mut self, slot: &'static MetaSlot) {
        self.slots[self.len].write(slot);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<&'static MetaSlot> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: The elements below the old length were written by `push`.
        Some(unsafe { self.slots[self.len].assume_init() })
    }
}

impl FrameCache {
    pub(crate) const fn new() -> Self {
        Self {
            stacks: UnsafeCell::new(Stacks {
                ordinary: Stack::new(),
                zeroed: Stack::new(),
            }),
            nr_free: AtomicUsize::new(0),
            in_use: Cell::new(false),
        }
    }

    /// Does something with the stacks of this processor.
    fn with<R>(&self, body: impl FnOnce(&mut Stacks) -> R) -> R {
        debug_assert!(
            !self.in_use.replace(true),
            "frames allocated by an interrupt handler"
        );
        // SAFETY: Only this processor uses its cache, the kernel is not
        // preempted, interrupt handlers stay away, and `body`, which is this
        // module's, does not call back.
        let stacks = unsafe { &mut *self.stacks.get() };
        let result = body(stacks);
        // Relaxed: a count for others to read, not to rely on.
        self.nr_free
            .store(stacks.ordinary.len + stacks.zeroed.len, Ordering::Relaxed);
        self.in_use.set(false);
        result
    }
}

/// A frame fresh from the allocator.
pub(super) struct FreeFrame {
    pub(super) slot: &'static MetaSlot,
    pub(super) is_zeroed: bool,
}

/// Takes a free frame, by preference one that is zero already or one that is
/// not, as the caller can use it.
pub(super) fn alloc_frame(prefer_zeroed: bool) -> Option<FreeFrame> {
    cpu::local().frames.with(|stacks| {
        if prefer_zeroed && let Some(slot) = stacks.zeroed.pop() {
            return Some(FreeFrame {
                slot,
                is_zeroed: true,
            });
        }
        if stacks.ordinary.len == 0 {
            fill(&mut stacks.ordinary);
        }
        if let Some(slot) = stacks.ordinary.pop() {
            return Some(FreeFrame {
                slot,
                is_zeroed: false,
            });
        }
        let slot = stacks.zeroed.pop()?;
        Some(FreeFrame {
            slot,
            is_zeroed: true,
        })
    })
}

#[cold]
fn fill(stack: &mut Stack<CACHE_SIZE>) {
    let memory = memory::memory();
    match memory.pool.get() {
        None => memory.buddy.fill(stack),
        Some(pool) => {
            let frame = pool.alloc(PAGE_SIZE, PAGE_SIZE);
            if let Some(Ok(slot)) = frame.map(meta::slot_of) {
                stack.push(slot);
            }
        }
    }
}

/// Takes a frame back whose slot says unused.
pub(super) fn free_frame(slot: &'static MetaSlot, is_zeroed: bool) {
    watch::frame_freed(slot.frame_paddr());
    cpu::local().frames.with(|stacks| {
        if is_zeroed && stacks.zeroed.len < ZEROED_SIZE {
            stacks.zeroed.push(slot);
            return;
        }
        if stacks.ordinary.len == CACHE_SIZE {
            drain(&mut stacks.ordinary, BATCH);
        }
        stacks.ordinary.push(slot);
    });
}

#[cold]
fn drain(stack: &mut Stack<CACHE_SIZE>, count: usize) {
    let memory = memory::memory();
    match memory.pool.get() {
        None => memory.buddy.drain(stack, count),
        Some(pool) => (0..count)
            .map_while(|_| stack.pop())
            .for_each(|slot| pool.dealloc(slot.frame_paddr(), PAGE_SIZE)),
    }
}

/// Takes frames side by side; frees this processor's cache if need be, since
/// what it holds may be what is missing in between.
pub(super) fn alloc_contiguous(size: usize, align: usize) -> Option<Paddr> {
    let memory = memory::memory();
    let pool: &dyn FrameAllocator = match memory.pool.get() {
        Some(pool) => *pool,
        None => &memory.buddy,
    };
    pool.alloc(size, align).or_else(|| {
        drain_local_cache();
        pool.alloc(size, align)
    })
}

/// Gives all frames in this processor's cache to the pool.
pub(crate) fn drain_local_cache() {
    cpu::local().frames.with(|stacks| {
        while let Some(slot) = stacks.zeroed.pop() {
            if stacks.ordinary.len == CACHE_SIZE {
                drain(&mut stacks.ordinary, CACHE_SIZE);
            }
            stacks.ordinary.push(slot);
        }
        drain(&mut stacks.ordinary, CACHE_SIZE);
    });
}

/// Frames in the allocator's care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCounts {
    /// Frames that can be allocated: in the pool or in a cache.
    pub free: usize,
    /// Frames that were ever given to the allocator.
    pub managed: usize,
}

/// Returns how many frames are free and how many there are.
///
/// Exact when no other processor allocates or frees meanwhile.
pub fn frame_counts() -> FrameCounts {
    let memory = memory::memory();
    let cached: usize = cpu::all()
        // Relaxed: a count.
        .map(|cpu| cpu.frames.nr_free.load(Ordering::Relaxed))
        .sum();
    FrameCounts {
        free: memory
            .pool
            .get()
            .map_or(memory.buddy.nr_free(), |pool| pool.nr_free())
            + cached,
        // Relaxed: a count.
        managed: memory.nr_managed.load(Ordering::Relaxed),
    }
}

/// Recounts the frames of the buddy system from scratch, checking its lists;
/// returns how many are free. For tests and debugging.
///
/// # Panics
///
/// Panics when something is wrong.
pub fn validate_free_frames() -> usize {
    memory::memory().buddy.recount()
}

/// Gives a range of RAM to the allocator. Returns the number of frames.
///
/// # Safety
///
/// The range is RAM whose slots say reserved, and nobody uses it any more.
///
/// # Panics
///
/// Panics when a frame of the range is not reserved.
pub(crate) unsafe fn add_memory(range: Range<Paddr>) -> usize {
    assert!(is_page_aligned(range.start) && is_page_aligned(range.end));
    let memory = memory::memory();
    for paddr in range.clone().step_by(PAGE_SIZE) {
        let slot = meta::slot_of(paddr).expect("RAM has metadata");
        assert_eq!(
            slot.mark(),
            Some(Mark::Reserved),
            "{slot:?} is given to the allocator twice"
        );
        slot.make_claimable();
    }
    let nr_frames = range.len() / PAGE_SIZE;
    memory.buddy.dealloc(range.start, range.len());
    // Relaxed: a count.
    memory.nr_managed.fetch_add(nr_frames, Ordering::Relaxed);
    nr_frames
}

#[cfg(any(test, ktest))]
mod tests;
