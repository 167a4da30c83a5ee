//! Memory of the host, as a simulated machine has it for its own.

extern crate std;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::ptr::NonNull;
use std::vec::Vec;

use crate::mm::PAGE_SIZE;

/// Whole pages of memory.
#[derive(Debug)]
pub(super) struct HostMemory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: It owns the memory.
unsafe impl Send for HostMemory {}
// SAFETY: It gives an address and a length, which do not change.
unsafe impl Sync for HostMemory {}

std::thread_local! {
    /// Memory of machines that are no more, for a checker that makes many: the
    /// host takes longer to provide pages than the machine to start.
    static KEPT: RefCell<Vec<HostMemory>> = const { RefCell::new(Vec::new()) };
}

/// Whether any is kept.
const KEEPS: bool = cfg!(feature = "shuttle");
/// Pieces to keep.
const MAX_KEPT: usize = 4;

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, PAGE_SIZE).expect("memory is not that large")
}

impl HostMemory {
    /// Provides memory: zeroed, or what a machine has left behind.
    pub(super) fn new(bytes: usize) -> Self {
        let kept = KEPT.with_borrow_mut(|kept| {
            let found = kept.iter().position(|memory| memory.bytes == bytes)?;
            Some(kept.swap_remove(found))
        });
        kept.unwrap_or_else(|| {
            // SAFETY: The layout has a size.
            let memory = unsafe { alloc_zeroed(layout(bytes)) };
            let start = NonNull::new(memory);
            Self {
                start: start.expect("the host has memory for the machine"),
                bytes,
            }
        })
    }

    /// As [`Self::new`], zeroed.
    pub(super) fn zeroed(bytes: usize) -> Self {
        let memory = Self::new(bytes);
        if KEEPS {
            // SAFETY: The memory is this one's, and so long.
            unsafe { memory.start.write_bytes(0, bytes) };
        }
        memory
    }

    /// Returns where the memory is.
    pub(super) fn address(&self) -> usize {
        self.start.expose_provenance().get()
    }

    /// Gives the memory up.
    ///
    /// # Safety
    ///
    /// Nobody uses it any more.
    pub(super) unsafe fn give_back(self) {
        let rejected = KEPT.with_borrow_mut(|kept| {
            if KEEPS && kept.len() < MAX_KEPT {
                kept.push(self);
                None
            } else {
                Some(self)
            }
        });
        if let Some(Self { start, bytes }) = rejected {
            // SAFETY: From `new`, with this size, and unused as the caller promises.
            unsafe { dealloc(start.as_ptr(), layout(bytes)) };
        }
    }
}
