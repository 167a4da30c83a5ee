//! Nodes that were taken out of a table, and wait to be freed.
//!
//! They are linked through their own metadata, so keeping one takes no memory and
//! cannot fail. Their pages are left alone: a processor may still walk them.

use core::fmt;
use core::mem;

use crate::mm::frame::{AnyFrameMeta, Frame};
use crate::mm::{PAGE_SIZE, Paddr};

/// Some nodes, each with all that is below it.
///
/// Dropping the list loses them: no destructor frees so much, in whatever context, and
/// none could panic while something else does. Checkers count the frames.
#[must_use = "nodes that are not freed are lost"]
pub(crate) struct KeptNodes {
    /// The first one; zero if there is none.
    first: Paddr,
    last: Paddr,
    /// Pages of memory that are free when the nodes are.
    pages: usize,
}

impl KeptNodes {
    pub(crate) const fn new() -> Self {
        Self {
            first: 0,
            last: 0,
            pages: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == 0
    }

    /// Returns the bytes of memory that wait for the nodes to be freed.
    pub(crate) fn bytes(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    /// Adds a node, and so many pages of memory that it and what is below it are.
    ///
    /// # Panics
    ///
    /// Panics when there are other references to the frame, or its metadata has no
    /// room for a link: it is no node then.
    pub(crate) fn push(&mut self, node: Frame<dyn AnyFrameMeta>, pages: usize) {
        assert!(
            node.reference_count() == 1 && size_of_val(node.dyn_meta()) <= mem::size_of::<u64>(),
            "{node:?} is no node that was taken out"
        );
        let node = node.into_raw();
        self.append(&mut Self {
            first: node,
            last: node,
            pages,
        });
    }

    /// Moves all nodes of another list to the end of this one.
    pub(crate) fn append(&mut self, others: &mut Self) {
        let others = mem::replace(others, Self::new());
        if others.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = others;
            return;
        }
        link(self.last).set(others.first);
        self.last = others.last;
        self.pages += others.pages;
    }

    /// Drops all nodes, and with each what is below it.
    pub(crate) fn free(self) {
        let mut next = self.first;
        let last = self.last;
        while next != 0 {
            let node = next;
            next = if node == last { 0 } else { link(node).get() };
            // SAFETY: `push` took the handle apart.
            drop(unsafe { Frame::<dyn AnyFrameMeta>::from_raw(node) });
        }
    }
}

/// Where a kept node has its link.
fn link(node: Paddr) -> &'static core::cell::Cell<Paddr> {
    let slot = crate::mm::frame::meta::slot_of(node).expect("nodes are in RAM");
    // SAFETY: The frame is kept, so this list owns the only reference to it and `push`
    // has checked that its data leaves the word alone.
    unsafe { &*slot.spare_word() }
}

impl fmt::Debug for KeptNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptNodes({} pages)", self.pages)
    }
}
