//! What processors may still believe.
//!
//! A processor may keep any translation that it could have found since it loaded
//! a table, until it flushes it or loads another table. So the set of what it may
//! believe grows with every change of a table that it uses, and shrinks with
//! flushes. That a processor keeps translations of tables that it does not use, under
//! identifiers, makes no difference here: when it loads a table, it believes nothing
//! of it but what the table says. Nor does a lazy one, which believes nothing until
//! it uses its table again. A frame may be freed when no processor may believe in a translation
//! that leads to it.

use alloc::collections::BTreeSet;
use core::ops::Range;

use crate::{Address, Leaf, Table};

/// What a processor may believe of the table it uses, beyond what the table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlb {
    /// Mappings that are no more, with their extents.
    pub stale: BTreeSet<(Address, Address, Leaf)>,
}

impl Tlb {
    /// Follows a change of the table that the processor uses.
    #[must_use]
    pub fn after_change(&self, before: &Table, after: &Table) -> Self {
        let mut tlb = self.clone();
        for (start, leaf) in &before.leaves {
            let extent = before.extent(*start);
            let is_as_before = |va: Address| before.translate(va) == after.translate(va);
            let pages = extent.clone().step_by(before.geometry.page);
            if !pages.into_iter().all(is_as_before) {
                tlb.stale.insert((extent.start, extent.end, *leaf));
            }
        }
        tlb
    }

    /// Flushes all pages that have a part in a range.
    #[must_use]
    pub fn after_flush(&self, range: &Range<Address>) -> Self {
        let mut tlb = self.clone();
        tlb.stale
            .retain(|(start, end, _)| *end <= range.start || range.end <= *start);
        tlb
    }

    /// Flushes everything, as loading another table does.
    #[must_use]
    pub fn after_flush_of_all(&self) -> Self {
        Self::default()
    }

    /// Returns whether the processor may still reach a frame by what is no more.
    #[must_use]
    pub fn reaches(&self, frame: Address) -> bool {
        self.stale
            .iter()
            .any(|(start, end, leaf)| (leaf.paddr..leaf.paddr + (end - start)).contains(&frame))
    }
}
