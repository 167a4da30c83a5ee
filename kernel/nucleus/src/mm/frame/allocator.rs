//! The frame allocator: caches of single frames for each processor, before a
//! pool for all of them.
//!
//! A part of the pool is a *reserve* that users do not get ([`mod@reserve`]).
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

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::GetFrameError;
use super::buddy::{Buddy, NR_ORDERS};
pub(crate) use super::cache::FrameCache;
use super::cache::{BATCH, CACHE_SIZE, Stack, ZEROED_SIZE};
use super::meta::{self, Mark, MetaSlot};
use super::reserve;
use crate::arch::{cpu, memory, watch};
use crate::cpu::brief;
use crate::mm::{PAGE_SIZE, Paddr, is_page_aligned};
use crate::planted::{Bug, is_planted};
use crate::sync::{Rank, SpinLock, SpinLockGuard};

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
pub(crate) struct BuddyAllocator {
    buddy: SpinLock<Buddy>,
    /// Frames that are for the kernel alone.
    reserve: AtomicUsize,
    /// Whether no more than those are left in the pool; written under the lock.
    is_low: AtomicBool,
}

/// The buddy system, locked. Whoever gives it back says whether the pool is low.
struct Locked<'a>(SpinLockGuard<'a, Buddy>, &'a BuddyAllocator);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let is_low = self.0.nr_free() <= self.1.reserve();
        // Relaxed: who is wrong about it for a moment asks the pool itself in the end.
        self.1.is_low.store(is_low, Ordering::Relaxed);
    }
}

impl BuddyAllocator {
    pub(crate) const fn new() -> Self {
        Self {
            buddy: SpinLock::ranked(Buddy::new(), Rank::Frames),
            reserve: AtomicUsize::new(0),
            is_low: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> Locked<'_> {
        Locked(self.buddy.lock(), self)
    }

    /// Returns how many frames are for the kernel alone.
    pub(super) fn reserve(&self) -> usize {
        // Relaxed: a number.
        self.reserve.load(Ordering::Relaxed)
    }

    /// Sets how many frames are for the kernel alone.
    pub(super) fn set_reserve(&self, frames: usize) {
        let _buddy = self.lock();
        // Relaxed: a number.
        self.reserve.store(frames, Ordering::Relaxed);
    }

    /// Returns whether nothing but the reserve is left in the pool.
    #[inline(always)]
    pub(super) fn is_low(&self) -> bool {
        // Relaxed: as where it is written.
        self.is_low.load(Ordering::Relaxed)
    }

    /// Takes a frame if more than the reserve is left.
    pub(super) fn alloc_above_reserve(&self) -> Option<&'static MetaSlot> {
        let mut buddy = self.lock();
        (buddy.0.nr_free() > self.reserve()).then(|| buddy.0.alloc(0))?
    }

    /// Returns whether the lock is held, by whomever.
    #[cfg(ktest)]
    pub(crate) fn is_locked(&self) -> bool {
        self.buddy.is_locked()
    }

    /// Runs with the lock held, for a test that dies with it.
    #[cfg(ktest)]
    pub(crate) fn with_lock_held(&self, body: fn()) {
        let _buddy = self.buddy.lock();
        body();
    }

    /// Recounts the free frames from scratch.
    pub(crate) fn recount(&self) -> usize {
        self.buddy.lock().recount()
    }

    /// Takes one frame by its address; returns whether it was free.
    fn take(&self, frame: Paddr) -> bool {
        self.lock().0.take(frame)
    }

    /// Moves a batch of single frames into a cache, and of the reserve no more than the
    /// one that the kernel needs.
    fn fill(&self, stack: &Stack<CACHE_SIZE>, for_user: bool) {
        let mut buddy = self.lock();
        let spare = buddy.0.nr_free().saturating_sub(self.reserve());
        let count = spare.min(BATCH).max(usize::from(!for_user));
        for _ in 0..count {
            let Some(slot) = buddy.0.alloc(0) else {
                break;
            };
            if let Err(slot) = stack.push(slot) {
                buddy.0.free(slot, 0);
                break;
            }
        }
    }

    /// Takes a batch of single frames out of a cache. Frames that were freed side
    /// by side go back as the blocks that they make.
    fn drain<const N: usize>(&self, stack: &Stack<N>, count: usize) {
        let mut buddy = self.lock();
        let mut run = 0..0;
        for slot in (0..count).map_while(|_| stack.pop()) {
            let start = slot.frame_paddr();
            let end = start + PAGE_SIZE;
            if start == run.end {
                run.end = end;
            } else if end == run.start {
                run.start = start;
            } else {
                buddy.0.free_range(core::mem::replace(&mut run, start..end));
            }
        }
        buddy.0.free_range(run);
    }

    /// As [`FrameAllocator::alloc`]; for a user, only if the reserve stays.
    fn alloc_for(&self, size: usize, align: usize, for_user: bool) -> Option<Paddr> {
        let frames = (size.max(align) / PAGE_SIZE).checked_next_power_of_two()?;
        let order = frames.trailing_zeros() as usize;
        if order >= NR_ORDERS {
            return None;
        }
        let mut buddy = self.lock();
        let spare = buddy.0.nr_free().saturating_sub(self.reserve());
        if for_user && size / PAGE_SIZE > spare {
            return None;
        }
        let start = buddy.0.alloc(order)?.frame_paddr();
        // What the order has too much goes back at once (peer 25).
        if !is_planted(Bug::LostRemainder) {
            buddy
                .0
                .free_range(start + size..start + (PAGE_SIZE << order));
        }
        Some(start)
    }
}

impl FrameAllocator for BuddyAllocator {
    fn alloc(&self, size: usize, align: usize) -> Option<Paddr> {
        self.alloc_for(size, align, false)
    }

    fn dealloc(&self, start: Paddr, size: usize) {
        self.lock().0.free_range(start..start + size);
    }

    fn nr_free(&self) -> usize {
        self.buddy.lock().nr_free()
    }
}

/// Does something with the stacks of this processor.
#[inline(always)]
pub(super) fn with_cache<R>(body: impl FnOnce(&FrameCache) -> R) -> R {
    brief(|| body(&cpu::local().frames))
}

/// Takes a free frame; what it holds is not known. A user asks while the pool is not low.
#[inline(always)]
pub(super) fn alloc_frame(for_user: bool) -> Option<&'static MetaSlot> {
    match with_cache(|cache| cache.ordinary.pop()) {
        Some(slot) => Some(slot),
        None => alloc_from_pool(for_user),
    }
}

/// Takes a free frame that is zero, if one is at hand. A user asks while the pool is not
/// low.
#[inline(always)]
pub(super) fn alloc_zeroed_frame() -> Option<&'static MetaSlot> {
    with_cache(|cache| cache.zeroed.pop())
}

/// Takes a frame where the cache has no ordinary ones.
#[cold]
#[inline(never)]
fn alloc_from_pool(for_user: bool) -> Option<&'static MetaSlot> {
    fill_and_alloc(for_user).or_else(|| reserve::alloc_scarce(for_user))
}

/// Takes a frame where the cache has no ordinary ones, but may be filled.
///
/// # Panics
///
/// Panics when a pool of somebody else's gave out a frame that is not free: it may be no
/// RAM at all, whose slot must not be written.
pub(super) fn fill_and_alloc(for_user: bool) -> Option<&'static MetaSlot> {
    let slot = with_cache(|cache| fill(cache, for_user))?;
    if let Err(why) = slot.check_unused() {
        refuse(slot, why);
    }
    Some(slot)
}

/// Fills a cache that has no ordinary frames, and takes one.
fn fill(cache: &FrameCache, for_user: bool) -> Option<&'static MetaSlot> {
    let memory = memory::memory();
    match memory.pool.get() {
        None => memory.buddy.fill(&cache.ordinary, for_user),
        Some(pool) if for_user && pool.nr_free() <= memory.buddy.reserve() => {}
        Some(pool) => {
            let frame = pool.alloc(PAGE_SIZE, PAGE_SIZE);
            if let Some(Ok(slot)) = frame.map(meta::slot_of) {
                cache.ordinary.push(slot).expect("the stack is empty");
            }
        }
    }
    cache.ordinary.pop().or_else(|| cache.zeroed.pop())
}

/// Stops the machine for a pool that lies. By values, so that they stay in registers.
#[cold]
#[inline(never)]
pub(super) fn refuse(slot: &'static MetaSlot, why: GetFrameError) -> ! {
    panic!("the allocator gave {slot:?} out, but {why}");
}

/// What freed memory is filled with where assertions are on, so that whoever still
/// uses it sees that something is wrong: no address that is canonical, no present
/// entry of a table.
const POISON: u8 = 0xda;

/// Takes a frame back whose slot says unused.
#[inline]
pub(super) fn free_frame(slot: &'static MetaSlot, is_zeroed: bool) {
    if watch::is_on() {
        tell_freed(slot);
    }
    if cfg!(debug_assertions) && !is_zeroed {
        poison(slot);
    }
    with_cache(|cache| {
        if is_zeroed && cache.zeroed.push(slot).is_ok() {
            return;
        }
        if let Err(slot) = cache.ordinary.push(slot) {
            drain_and_free(cache, slot);
        }
    });
}

/// Fills a free frame with a pattern. One that is known to be zero stays so.
fn poison(slot: &MetaSlot) {
    let page = memory::paddr_to_vaddr(slot.frame_paddr()) as *mut u8;
    // SAFETY: The frame is the allocator's, and in the linear map.
    unsafe { page.write_bytes(POISON, PAGE_SIZE) };
}

/// Tells the checker.
#[cold]
fn tell_freed(slot: &MetaSlot) {
    watch::frame_freed(slot.frame_paddr());
}

/// Takes a frame back into a cache that is full.
#[cold]
fn drain_and_free(cache: &FrameCache, slot: &'static MetaSlot) {
    drain(&cache.ordinary, BATCH);
    cache.ordinary.push(slot).expect("the stack has room again");
}

fn drain<const N: usize>(stack: &Stack<N>, count: usize) {
    let memory = memory::memory();
    match memory.pool.get() {
        None => memory.buddy.drain(stack, count),
        Some(pool) => (0..count)
            .map_while(|_| stack.pop())
            .for_each(|slot| pool.dealloc(slot.frame_paddr(), PAGE_SIZE)),
    }
}

/// Takes frames side by side; frees this processor's cache if need be, since
/// what it holds may be what is missing in between. Where that does not help, it is said
/// at once: nothing is moved, and no other processor asked.
pub(super) fn alloc_contiguous(size: usize, align: usize, for_user: bool) -> Option<Paddr> {
    let memory = memory::memory();
    let alloc = || match memory.pool.get() {
        None => memory.buddy.alloc_for(size, align, for_user),
        Some(pool) => {
            let spare = pool.nr_free().saturating_sub(memory.buddy.reserve());
            let is_refused = for_user && size / PAGE_SIZE > spare;
            (!is_refused).then(|| pool.alloc(size, align))?
        }
    };
    alloc().or_else(|| {
        drain_local_cache();
        alloc()
    })
}

/// Takes an unused frame by its address. A pool of somebody else's is not asked:
/// it is his business what he does with its frames.
///
/// # Errors
///
/// What the frame is instead of unused; [`GetFrameError::Busy`], too, if it is in
/// the cache of another processor or on its way there.
pub(super) fn take_at(frame: Paddr) -> Result<(), GetFrameError> {
    meta::slot_of(frame)?.check_unused()?;
    let memory = memory::memory();
    if memory.pool.get().is_some() || memory.buddy.take(frame) {
        return Ok(());
    }
    drain_local_cache();
    match memory.buddy.take(frame) {
        true => Ok(()),
        false => Err(GetFrameError::Busy),
    }
}

/// Gives all frames in this processor's cache to the pool.
pub(crate) fn drain_local_cache() {
    with_cache(|cache| {
        drain(&cache.zeroed, ZEROED_SIZE);
        drain(&cache.ordinary, CACHE_SIZE);
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
    let cached: usize = cpu::all().map(|cpu| cpu.frames.nr_free()).sum();
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

/// What [`try_counts`] finds, in frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glimpse {
    /// Ever given to the allocator.
    pub(crate) managed: usize,
    /// Free in the pool; nothing if its lock is taken, or it is another one.
    pub(crate) in_pool: Option<usize>,
    /// Free in the caches of all processors.
    pub(crate) cached: usize,
}

/// Counts frames without waiting for any lock: for the debug menu.
pub(crate) fn try_counts() -> Glimpse {
    let memory = memory::memory();
    let is_usual = memory.pool.get().is_none();
    let pool = memory.buddy.buddy.try_lock().filter(|_| is_usual);
    Glimpse {
        // Relaxed: a count.
        managed: memory.nr_managed.load(Ordering::Relaxed),
        in_pool: pool.map(|pool| pool.nr_free()),
        cached: cpu::all().map(|cpu| cpu.frames.nr_free()).sum(),
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

#[cfg(test)]
pub(in crate::mm::frame) mod deputy;
#[cfg(any(test, ktest))]
mod tests;
