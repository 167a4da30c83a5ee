//! What the memory core tells a checker of its doings: nothing here.
//!
//! No hardware. The simulated machine's module of this name checks the doings;
//! the bare machine has a page walker and a TLB that act on them.

use crate::mm::{Paddr, PagingLevel};

/// A frame became a node.
#[inline]
pub(crate) fn node_made(_node: Paddr, _level: PagingLevel) {}

/// An entry of a node was written.
#[inline]
pub(crate) fn entry_written(_node: Paddr, _index: usize, _old: usize, _new: usize, locked: bool) {
    debug_assert!(locked, "an entry was written without its node's lock");
}

/// A frame was given back to the allocator.
#[inline]
pub(crate) fn frame_freed(_frame: Paddr) {}
