//! The kernel's heap: `linked_list_allocator` over a fixed area.
//!
//! For small objects of the kernel. Running out of it is a panic by way of
//! `alloc`, so nothing whose size a user chooses may live here.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use linked_list_allocator::Heap;

use super::kspace;
use crate::error::Result;
use crate::sync::{Rank, SpinLock};

/// Bytes of the heap.
pub(crate) const HEAP_SIZE: usize = 8 << 20;

struct LockedHeap(SpinLock<Heap>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(SpinLock::ranked(Heap::empty(), Rank::Heap));

/// Maps the heap's memory and opens it.
///
/// # Errors
///
/// [`Error::NoMemory`](crate::Error::NoMemory).
pub(crate) fn init() -> Result<()> {
    let start = kspace::map_memory(HEAP_SIZE)?;
    // SAFETY: The area was just mapped, is nobody else's and stays for ever.
    unsafe { HEAP.0.lock().init(start as *mut u8, HEAP_SIZE) };
    Ok(())
}

/// Returns how many bytes of the heap are in use.
#[cfg(ktest)]
pub(crate) fn used_bytes() -> usize {
    HEAP.0.lock().used()
}

/// Returns whether the heap's lock is held, by whomever.
#[cfg(ktest)]
pub(crate) fn is_locked() -> bool {
    HEAP.0.is_locked()
}

// SAFETY: `linked_list_allocator` gives out disjoint blocks with the layout that
// was asked for, and the lock excludes other users and interrupt handlers. No
// method panics but for a broken heap, and a panic does not unwind.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.0.lock().allocate_first_fit(layout) {
            Ok(block) => block.as_ptr(),
            Err(()) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: The caller got the block from `alloc` with this layout.
            unsafe { self.0.lock().deallocate(block, layout) };
        }
    }
}

#[cfg(ktest)]
mod tests {
    //! Against a model: each live block is filled with a byte of its own, so that
    //! blocks that overlap show.

    use alloc::alloc::{alloc, dealloc};
    use alloc::vec::Vec;
    use core::alloc::Layout;

    use super::{HEAP_SIZE, used_bytes};
    use crate::prelude::*;

    /// Sizes around those of words, of the allocator's own notes, and of pages.
    const SIZES: [usize; 12] = [1, 2, 7, 8, 9, 15, 16, 17, 24, 33, 4096, 70_001];
    const MAX_LIVE: usize = 48;

    struct Block {
        start: *mut u8,
        layout: Layout,
        mark: u8,
    }

    impl Block {
        fn new(layout: Layout, mark: u8) -> Option<Self> {
            // SAFETY: The layout has a size.
            let start = unsafe { alloc(layout) };
            if start.is_null() {
                return None;
            }
            // SAFETY: The block was just made, and has this size.
            unsafe { start.write_bytes(mark, layout.size()) };
            Some(Self {
                start,
                layout,
                mark,
            })
        }

        fn end(self) {
            // SAFETY: The block is this one's, and was written by `new`.
            let bytes = unsafe { core::slice::from_raw_parts(self.start, self.layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == self.mark), "overlap");
            // SAFETY: From `alloc` with this layout, and used no more.
            unsafe { dealloc(self.start, self.layout) };
        }
    }

    /// Returns the size of the largest block that there is room for.
    fn largest() -> usize {
        let (mut fits, mut fails) = (1, HEAP_SIZE + 1);
        while fails - fits > 1 {
            let size = fits.midpoint(fails);
            let layout = Layout::from_size_align(size, 1).expect("a legal layout");
            // SAFETY: The layout has a size.
            let start = unsafe { alloc(layout) };
            if start.is_null() {
                fails = size;
            } else {
                // SAFETY: From `alloc` with this layout.
                unsafe { dealloc(start, layout) };
                fits = size;
            }
        }
        fits
    }

    #[ktest]
    fn peer_034_blocks_are_disjoint_and_aligned_and_all_comes_back() {
        let mut live: Vec<Block> = Vec::with_capacity(MAX_LIVE);
        let before = (used_bytes(), largest());
        let mut state = 1_usize;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..6000 {
            if live.len() == MAX_LIVE || (!live.is_empty() && random(3) == 0) {
                live.swap_remove(random(live.len())).end();
                continue;
            }
            let size = SIZES[random(SIZES.len())] + random(3);
            let layout = Layout::from_size_align(size, 1 << random(13)).expect("a legal layout");
            let block = Block::new(layout, round as u8).expect("there is room");
            assert!(block.start.addr().is_multiple_of(layout.align()));
            live.push(block);
        }
        while let Some(block) = live.pop() {
            block.end();
        }
        assert_eq!((used_bytes(), largest()), before, "nothing is lost");
    }
}
