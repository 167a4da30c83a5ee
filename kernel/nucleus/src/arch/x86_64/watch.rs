//! What the memory core tells a checker of its doings: nothing here.
//!
//! No hardware. The simulated machine's module of this name checks the doings;
//! the bare machine has a page walker and a TLB that act on them.

use crate::mm::frame::meta::MetaSlot;
use crate::mm::{Paddr, PagingLevel};

/// Returns whether a checker listens.
#[inline]
pub(crate) fn is_on() -> bool {
    cfg!(debug_assertions)
}

/// A frame became a node.
#[inline]
pub(crate) fn node_made(_node: Paddr, _level: PagingLevel) {}

/// An entry of a node was written.
#[inline]
pub(crate) fn entry_written(_node: Paddr, _index: usize, _old: usize, _new: usize, locked: bool) {
    debug_assert!(locked, "an entry was written without its node's lock");
}

/// A node is looked at by someone who may not hold its lock.
#[inline(always)]
pub(crate) fn node_read(_node: Paddr) {}

/// A node was locked.
#[inline]
pub(crate) fn node_locked(_node: &MetaSlot) {}

/// A node is about to be unlocked.
#[inline]
pub(crate) fn node_unlocked(_node: &MetaSlot) {}

/// A frame was given back to the allocator.
#[inline]
pub(crate) fn frame_freed(_frame: Paddr) {}

/// The processor does not use the lower half of its table from here on.
#[inline]
pub(crate) fn rested() {}

/// It uses it again.
#[inline]
pub(crate) fn resumed() {}
