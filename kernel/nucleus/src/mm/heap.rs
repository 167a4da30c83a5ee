//! The kernel's heap: `linked_list_allocator` over a fixed area.
//!
//! For small objects of the kernel. Running out of it is a panic by way of
//! `alloc`, so nothing whose size a user chooses may live here.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use linked_list_allocator::Heap;

use super::kspace;
use crate::error::Result;
use crate::sync::SpinLock;

/// Bytes of the heap.
pub(crate) const HEAP_SIZE: usize = 8 << 20;

struct LockedHeap(SpinLock<Heap>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(SpinLock::new(Heap::empty()));

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
