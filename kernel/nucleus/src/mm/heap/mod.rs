//! The kernel's heap: it grows with what is asked of it, and shrinks again.
//!
//! Programs decide how many processes, threads, regions and files there are, and each
//! is some small objects. So the heap has no size of its own, takes as long for the
//! millionth object as for the first, and is not torn to pieces by what is freed in
//! between.
//!
//! ```text
//!  small: to 2048 bytes             magazine: blocks that the processor has at hand
//!     alloc, free ── processor's own ──┤ a batch at a time
//!                                   slabs of the class: frames of blocks of one size
//!                                      ┤ a frame at a time
//!                                   depot: frames at hand ── frame allocator
//!  large: anything else             arena, or else frames side by side
//! ```
//!
//! * `class`: the sizes of small blocks, and which of them a layout gets.
//! * `cache`: magazines. The common path: a few instructions with interrupts off, no
//!   lock, no atomic operation.
//! * `slab`: frames that are cut into blocks, behind a lock for each class. What it has
//!   to know of a frame is in the frame's metadata, so that blocks can be as large as
//!   the frame divides, and a frame goes back when all of its blocks have.
//! * `depot`: a few frames between slabs and the frame allocator, which must not be
//!   called everywhere: growing does not depend on where a block is asked for.
//! * `large`: what is larger than half a frame, or aligned to more. First of all an
//!   *arena* of a fixed size, managed by `linked_list_allocator`: first fit wastes
//!   nothing of odd sizes, which whole frames would, and its walk is bounded, since the
//!   arena has room for few blocks of such a size. What does not fit there gets frames
//!   side by side, as the linear map has them: no mapping to make, nothing to flush.
//!   Small blocks come from the arena when there are no frames.
//! * `check`: in debug builds, freed blocks are filled with a pattern, so that freeing
//!   one twice, or writing to it, is a panic with the address.
//!
//! **Running out.** The heap never panics because there is no memory: it returns null.
//! What the frame allocator keeps for the kernel it may have (`FrameAllocOptions`), so
//! programs run out of memory before the heap does. What must not fail by a panic in
//! `alloc` asks first, by `try_reserve` and its like.
//!
//! **Context**: any, interrupt handlers included. **Locks**: a class's, then the
//! depot's, then those of the frame allocator.

mod cache;
mod check;
mod class;
mod depot;
mod large;
mod slab;
#[cfg(ktest)]
mod tests;

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

pub(crate) use self::cache::Magazines;
use self::class::Class;
use crate::arch::cpu;
use crate::error::Result;

struct KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

/// Maps the arena and takes the first frames.
///
/// # Errors
///
/// [`Error::NoMemory`](crate::Error::NoMemory).
pub(crate) fn init() -> Result<()> {
    large::init()?;
    depot::fill();
    Ok(())
}

/// Returns how many bytes of the heap are in use, counted as the blocks that they take.
///
/// Exact when no processor allocates or frees meanwhile.
pub fn used_bytes() -> usize {
    // Each counts what it has allocated less what it has freed, which may be another's.
    let small = cpu::all_magazines().map(Magazines::used_bytes);
    small.fold(large::used_bytes(), usize::wrapping_add)
}

/// Returns how many frames the heap has for small objects, used or at hand.
pub fn nr_frames() -> usize {
    depot::nr_frames()
}

/// Has enough frames at hand for a test, so that what it sees of the frame allocator
/// is its own doing.
#[cfg(ktest)]
pub(crate) fn prepare_test() {
    depot::fill();
}

/// Returns whether one of the heap's locks is held, by whomever.
#[cfg(ktest)]
pub(crate) fn is_locked() -> bool {
    large::is_locked() || depot::is_locked() || slab::is_locked()
}

// SAFETY: Blocks of a slab are disjoint and of its class's size, which a layout fits
// into; those of the arena are what `linked_list_allocator` gives out, and frames are
// whole. Which of them a block is from follows from its layout and its address, when it
// is freed as when it was made. No method panics but for misuse, and a panic does not
// unwind.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = match Class::of(layout) {
            Some(class) => cache::alloc(class),
            None => large::alloc(layout),
        };
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else {
            return;
        };
        match Class::of(layout) {
            // SAFETY: The caller got the block from `alloc` with this layout.
            Some(class) => unsafe { cache::dealloc(block, class) },
            // SAFETY: As above.
            None => unsafe { large::dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: The caller promises a size that is legal with this alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let fits_already = match (Class::of(layout), Class::of(new_layout)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => large::is_of_same_size(block.addr(), layout, new_layout),
            _ => false,
        };
        if fits_already {
            return block;
        }
        // SAFETY: As the caller promises.
        let new_block = unsafe { self.alloc(new_layout) };
        if !new_block.is_null() {
            let kept = layout.size().min(new_size);
            // SAFETY: Both blocks are at least as large, and the new one is nobody's.
            unsafe { new_block.copy_from_nonoverlapping(block, kept) };
            // SAFETY: The caller gives the old one up.
            unsafe { self.dealloc(block, layout) };
        }
        new_block
    }
}
