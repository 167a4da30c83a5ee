//! A pool of somebody else, for tests.

use super::FrameAllocator;
use crate::arch::memory;
use crate::mm::Paddr;

/// The buddy system by another name.
#[derive(Debug)]
pub(in crate::mm::frame) struct Deputy;

impl FrameAllocator for Deputy {
    fn alloc(&self, size: usize, align: usize) -> Option<Paddr> {
        memory::memory().buddy.alloc(size, align)
    }

    fn dealloc(&self, start: Paddr, size: usize) {
        memory::memory().buddy.dealloc(start, size);
    }

    fn nr_free(&self) -> usize {
        memory::memory().buddy.nr_free()
    }
}
