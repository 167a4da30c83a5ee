//! What the memory core tells the checker of its doings. No hardware.

extern crate std;

use std::sync::PoisonError;

use super::checker::Checker;
use super::machine::current;
use crate::mm::frame::meta::MetaSlot;
use crate::mm::{Paddr, PagingLevel};

/// Runs with the checker, which knows what processors have loaded.
#[cold]
fn with_checker(body: impl FnOnce(&mut Checker)) {
    if let Some(checker) = &current().machine().checker {
        body(&mut checker.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Returns whether the machine is checked.
#[inline]
pub(crate) fn is_on() -> bool {
    current().is_checked
}

/// A frame became a node.
pub(crate) fn node_made(node: Paddr, level: PagingLevel) {
    with_checker(|checker| checker.node_made(node, level));
}

/// An entry of a node was written.
#[inline]
pub(crate) fn entry_written(node: Paddr, index: usize, old: usize, new: usize, locked: bool) {
    debug_assert!(
        locked,
        "an entry of {node:#x} was written without the node's lock"
    );
    with_checker(|checker| {
        checker.entry_written(node, index, (old as u64, new as u64));
    });
}

/// A node is looked at by someone who may not hold its lock.
#[inline(always)]
pub(crate) fn node_read(node: Paddr) {
    if cfg!(feature = "shuttle") {
        with_checker(|checker| checker.node_read(node));
    }
}

/// A node was locked.
#[inline]
pub(crate) fn node_locked(node: &MetaSlot) {
    if !is_on() {
        return;
    }
    with_checker(|checker| checker.note_lock(node.frame_paddr(), true));
}

/// A node is about to be unlocked.
#[inline]
pub(crate) fn node_unlocked(node: &MetaSlot) {
    if !is_on() {
        return;
    }
    with_checker(|checker| checker.note_lock(node.frame_paddr(), false));
}

/// A frame was given back to the allocator.
#[inline]
pub(crate) fn frame_freed(frame: Paddr) {
    with_checker(|checker| checker.frame_freed(frame));
}

/// The processor does not use the lower half of its table from here on.
pub(crate) fn rested() {
    let here = current().id.as_usize();
    with_checker(|checker| checker.tlbs[here].rest());
}

/// It uses it again.
pub(crate) fn resumed() {
    let here = current().id.as_usize();
    with_checker(|checker| checker.tlbs[here].resume());
}
