//! Copying what one table maps into another one, which is what a fork is.
//!
//! Both tables lead to the same memory afterwards. Each mapping has references of its
//! own, and both get the property that the caller says, so that neither side can write
//! to what they share. Huge pages stay huge; of one that reaches over an end of the
//! window, its part in the window is copied, and it is split for that.

use core::ops::Range;

use crate::cursor::{Cursor, Misuse, map, split_at_ends, window};
use crate::{Address, Property, Table};

/// What comes of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The table that was copied from.
    pub source: Table,
    /// The one that was copied to.
    pub copy: Table,
    /// Where both cursors stand.
    pub at: Address,
    /// How many mappings were copied.
    pub count: usize,
}

/// Copies the first mappings of the window, `most` at most: all of them, unless memory
/// runs out. Both cursors are then where they were.
///
/// # Errors
///
/// [`Misuse::Unaligned`], [`Misuse::Window`], [`Misuse::Elsewhere`], [`Misuse::Mapped`].
pub fn copy(
    (source, from): (&Table, &Cursor),
    (copy, to): (&Table, &Cursor),
    (len, most): (usize, usize),
    op: impl Fn(Property) -> Property,
) -> Result<Forked, Misuse> {
    let range = window(source, from, len)?;
    window(copy, to, len)?;
    if from.va != to.va {
        return Err(Misuse::Elsewhere);
    }
    if copy.first_leaf(&range).is_some() {
        return Err(Misuse::Mapped);
    }
    let mut forked = Forked {
        source: split_at_ends(source, &range),
        copy: copy.clone(),
        at: range.end,
        count: 0,
    };
    for (va, leaf) in forked.source.leaves_within(&range) {
        if forked.count == most {
            forked.at = range.start;
            break;
        }
        let mut leaf = leaf;
        leaf.prop = op(leaf.prop);
        let place = Cursor { va, ..to.clone() };
        forked.copy = map(&forked.copy, &place, leaf)?[0].table.clone();
        forked.source.leaves.insert(va, leaf);
        forked.count += 1;
    }
    Ok(forked)
}

/// Returns whether every page is in one of some ranges whose property differs between
/// two tables that map the same in a range.
#[must_use]
pub fn covers_changes(
    (before, after): (&Table, &Table),
    range: &Range<Address>,
    told: &[Range<Address>],
) -> bool {
    let mut pages = range.clone().step_by(before.geometry.page);
    pages.all(|va| {
        before.translate(va) == after.translate(va) || told.iter().any(|range| range.contains(&va))
    })
}
