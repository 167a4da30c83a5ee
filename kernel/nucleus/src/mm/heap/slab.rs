//! Slabs: frames that are cut into blocks of one size.
//!
//! What is known of a slab is in its frame's metadata, for the holder of its class's
//! lock. Free blocks are in a list from its `first_free` on, but those that were never
//! used: they are at its end, from `nr_touched` on, so that a new slab costs nothing
//! but what is taken of it. Slabs that have free blocks are in the list of their class;
//! the others are found by the addresses of their blocks when one comes back.
//!
//! A slab whose blocks are all free goes back to the depot, but for one of each class,
//! so that a class that is used and left by turns does not cost a frame each time.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};

use super::cache::Magazine;
use super::check::{self, FreeBlock};
use super::class::{Class, GRANULE, NR_CLASSES};
use super::{depot, large};
use crate::arch::memory;
use crate::impl_frame_meta_for;
use crate::mm::frame::{Frame, meta};
use crate::mm::kspace::layout::LINEAR_MAP_BASE;
use crate::mm::{PAGE_SIZE, Paddr};
use crate::sync::{Rank, SpinLock};

/// What a frame's number, or a block's in it, is when there is none.
const NO_SLAB: u32 = u32::MAX;
const NO_BLOCK: u16 = u16::MAX;

/// The metadata of a slab's frame. Atomic for the compiler alone: a lock protects it.
#[derive(Debug)]
pub(super) struct SlabFrame {
    /// The first free block, in granules from the frame's start.
    first_free: AtomicU16,
    /// Blocks that are out.
    nr_used: AtomicU16,
    /// Blocks that were ever out.
    nr_touched: AtomicU16,
    class: AtomicU8,
    /// The neighbours in the list of the class.
    previous: AtomicU32,
    next: AtomicU32,
}

impl_frame_meta_for!(SlabFrame => "heap-slabs");

impl SlabFrame {
    pub(super) const fn new() -> Self {
        Self {
            first_free: AtomicU16::new(NO_BLOCK),
            nr_used: AtomicU16::new(0),
            nr_touched: AtomicU16::new(0),
            class: AtomicU8::new(0),
            previous: AtomicU32::new(NO_SLAB),
            next: AtomicU32::new(NO_SLAB),
        }
    }
}

/// A slab, by its frame's number: the heap has the only reference to the frame, whose
/// type is [`SlabFrame`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slab(u32);

// Relaxed, in all of it: the lock of the class orders the accesses.
impl Slab {
    /// Takes a frame for the heap.
    ///
    /// # Errors
    ///
    /// The frame, if it is beyond what a number can name: 16 TiB.
    pub(super) fn from_frame(frame: Frame<SlabFrame>) -> Result<Self, Frame<SlabFrame>> {
        match u32::try_from(frame.start_paddr() / PAGE_SIZE) {
            Ok(NO_SLAB) | Err(_) => Err(frame),
            Ok(number) => {
                frame.into_raw();
                Ok(Self(number))
            }
        }
    }

    /// Gives the frame up.
    ///
    /// # Safety
    ///
    /// No block of it is out, and nobody names the slab any more.
    pub(super) unsafe fn into_frame(self) -> Frame<SlabFrame> {
        // SAFETY: `from_frame` gave the reference up; the caller uses it once.
        unsafe { Frame::from_raw(self.paddr()) }
    }

    /// Returns the slab that a block is from.
    fn of(block: NonNull<FreeBlock>) -> Self {
        let paddr = block.addr().get().wrapping_sub(LINEAR_MAP_BASE);
        Self((paddr / PAGE_SIZE) as u32)
    }

    fn paddr(self) -> Paddr {
        self.0 as usize * PAGE_SIZE
    }

    fn meta(self) -> &'static SlabFrame {
        // SAFETY: The frame is in use, so that it has a slot.
        let slot = unsafe { meta::slot_of_unchecked(self.paddr()) };
        // SAFETY: The frame is of this type as long as it is a slab, and nobody has a
        // reference that can change the data but by its atomics.
        unsafe { &*slot.node_data() }
    }

    /// Returns the block at so many granules from the start.
    fn block(self, granule: u16) -> NonNull<FreeBlock> {
        let start = memory::paddr_to_vaddr(self.paddr());
        let block = start + usize::from(granule) * GRANULE;
        // SAFETY: No address of the linear map is zero.
        unsafe { NonNull::new_unchecked(block as *mut FreeBlock) }
    }

    /// Makes an empty slab one of a class.
    fn begin(self, class: Class) {
        let meta = self.meta();
        meta.first_free.store(NO_BLOCK, Ordering::Relaxed);
        meta.nr_touched.store(0, Ordering::Relaxed);
        meta.class.store(class.index() as u8, Ordering::Relaxed);
    }

    /// Takes a free block.
    fn take(self, class: Class) -> Option<NonNull<FreeBlock>> {
        let meta = self.meta();
        let first = meta.first_free.load(Ordering::Relaxed);
        let block = if first == NO_BLOCK {
            let touched = meta.nr_touched.load(Ordering::Relaxed);
            if usize::from(touched) == class.blocks_of_a_frame() {
                return None;
            }
            meta.nr_touched.store(touched + 1, Ordering::Relaxed);
            let block = self.block((usize::from(touched) * class.size() / GRANULE) as u16);
            // SAFETY: The block is a free one of the slab, under its lock.
            unsafe { check::fill(block, class) };
            block
        } else {
            let block = self.block(first);
            // SAFETY: The block is free and linked, under the lock of the slab.
            let next = unsafe { (*block.as_ptr()).next };
            let next = next.map_or(NO_BLOCK, granule_of);
            meta.first_free.store(next, Ordering::Relaxed);
            block
        };
        let nr_used = meta.nr_used.load(Ordering::Relaxed);
        meta.nr_used.store(nr_used + 1, Ordering::Relaxed);
        Some(block)
    }

    /// Takes a block back; returns how many were out before.
    ///
    /// # Safety
    ///
    /// The block is from this slab, and free.
    unsafe fn give(self, block: NonNull<FreeBlock>) -> usize {
        let meta = self.meta();
        let first = meta.first_free.load(Ordering::Relaxed);
        let next = (first != NO_BLOCK).then(|| self.block(first));
        // SAFETY: The block is the caller's, and a word at least.
        unsafe { (*block.as_ptr()).next = next };
        meta.first_free.store(granule_of(block), Ordering::Relaxed);
        let nr_used = meta.nr_used.load(Ordering::Relaxed);
        meta.nr_used.store(nr_used - 1, Ordering::Relaxed);
        usize::from(nr_used)
    }
}

/// Returns where a block is in its frame, in granules.
fn granule_of(block: NonNull<FreeBlock>) -> u16 {
    (block.addr().get() % PAGE_SIZE / GRANULE) as u16
}

/// The slabs of a class that have free blocks.
struct Slabs {
    first: u32,
    /// How many of them have none but free ones.
    nr_empty: usize,
}

static SLABS: [SpinLock<Slabs>; NR_CLASSES] = [const {
    SpinLock::ranked(
        Slabs {
            first: NO_SLAB,
            nr_empty: 0,
        },
        Rank::Heap,
    )
}; NR_CLASSES];

impl Slabs {
    fn insert(&mut self, slab: Slab) {
        let meta = slab.meta();
        meta.previous.store(NO_SLAB, Ordering::Relaxed);
        meta.next.store(self.first, Ordering::Relaxed);
        if self.first != NO_SLAB {
            let next = Slab(self.first).meta();
            next.previous.store(slab.0, Ordering::Relaxed);
        }
        self.first = slab.0;
    }

    fn remove(&mut self, slab: Slab) {
        let meta = slab.meta();
        let previous = meta.previous.load(Ordering::Relaxed);
        let next = meta.next.load(Ordering::Relaxed);
        match previous {
            NO_SLAB => self.first = next,
            _ => Slab(previous).meta().next.store(next, Ordering::Relaxed),
        }
        if next != NO_SLAB {
            Slab(next)
                .meta()
                .previous
                .store(previous, Ordering::Relaxed);
        }
    }

    /// Returns a slab that has a free block, a new one if need be.
    fn any(&mut self, class: Class) -> Option<Slab> {
        if self.first == NO_SLAB {
            let slab = depot::take()?;
            slab.begin(class);
            self.insert(slab);
            self.nr_empty += 1;
        }
        Some(Slab(self.first))
    }
}

/// Takes blocks of a class into a magazine: so many, or as many as there are frames for.
pub(super) fn take(class: Class, wanted: usize, magazine: &Magazine) {
    let mut slabs = SLABS[class.index()].lock();
    let mut nr_taken = 0;
    while nr_taken < wanted {
        let Some(slab) = slabs.any(class) else {
            return;
        };
        if slab.meta().nr_used.load(Ordering::Relaxed) == 0 {
            slabs.nr_empty -= 1;
        }
        while nr_taken < wanted
            && let Some(block) = slab.take(class)
        {
            // SAFETY: The block is free, of this class, and was just taken.
            unsafe { magazine.push(block) };
            nr_taken += 1;
        }
        let nr_used = slab.meta().nr_used.load(Ordering::Relaxed);
        if usize::from(nr_used) == class.blocks_of_a_frame() {
            slabs.remove(slab);
        }
    }
}

/// Takes blocks of a class back.
///
/// # Safety
///
/// The blocks are from [`take`] for this class, or from the arena with its layout, are
/// free, and nobody else's.
pub(super) unsafe fn give(class: Class, blocks: impl Iterator<Item = NonNull<FreeBlock>>) {
    for block in blocks {
        if large::is_in_arena(block.addr().get()) {
            // SAFETY: As the caller promises.
            unsafe { large::dealloc_to_arena(block.cast(), class.layout()) };
        } else {
            // SAFETY: As the caller promises.
            unsafe { give_one(class, block) };
        }
    }
}

/// Takes a block back.
///
/// # Safety
///
/// The block is from [`take`] for this class, is free, and nobody else's.
unsafe fn give_one(class: Class, block: NonNull<FreeBlock>) {
    let mut slabs = SLABS[class.index()].lock();
    let slab = Slab::of(block);
    debug_assert_eq!(
        usize::from(slab.meta().class.load(Ordering::Relaxed)),
        class.index(),
        "the block at {block:?} is freed with another size than it was made with"
    );
    // SAFETY: As the caller promises.
    let nr_used_before = unsafe { slab.give(block) };
    if nr_used_before == class.blocks_of_a_frame() {
        slabs.insert(slab);
    }
    if nr_used_before > 1 {
        return;
    }
    if slabs.nr_empty == 0 {
        slabs.nr_empty = 1;
    } else {
        slabs.remove(slab);
        // SAFETY: None of its blocks is out, and no list names it any more.
        unsafe { depot::give(slab) };
    }
}

/// Returns whether the lock of a class is held, by whomever.
#[cfg(ktest)]
pub(super) fn is_locked() -> bool {
    SLABS.iter().any(SpinLock::is_locked)
}
