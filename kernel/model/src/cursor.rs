//! Opening a cursor, and what can be done with one.
//!
//! A cursor owns a range of a table, its *barrier*, and stands at an address of
//! it or at its end. Whatever it does, mappings that have no part in the barrier
//! stay as they are.
//!
//! [`find_next`], [`take_next`] and [`protect_next`] look at a *window*: the `len`
//! bytes from the cursor on. When there is nothing for them in it, the cursor ends
//! up at the end of the window, or beyond it as far as nothing is mapped, but not
//! beyond its barrier. Of a mapping that has only a part in the window, the latter
//! two take that part alone: they *split* it first.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::{Range, RangeInclusive};

use crate::{Address, Leaf, Level, Property, Table};

/// What a cursor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intent {
    /// To look: opening it makes no nodes.
    Read,
    /// To change mappings.
    Change,
}

/// A cursor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The addresses that it owns.
    pub barrier: Range<Address>,
    /// Where it stands.
    pub va: Address,
}

/// Bad input, answered by an error. Nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The range is empty, reversed, or not the table's.
    Range,
    /// An end of the range is not a multiple of a page.
    Unaligned,
    /// The address is not in the barrier.
    Address,
}

/// A broken rule of the caller, answered by a panic. Nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misuse {
    /// An address or a length is not whole pages.
    Unaligned,
    /// The window leaves the barrier.
    Window,
    /// Nothing can be mapped at the end of the barrier.
    AtEnd,
    /// No leaf may be of that level.
    Level,
    /// The address is no multiple of the item's size.
    ItemUnaligned,
    /// The item leaves the barrier.
    ItemTooLarge,
    /// A copy is to be elsewhere than what is copied.
    Elsewhere,
    /// Something is mapped where a copy is to be.
    Mapped,
}

/// What an operation takes out of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// A mapping, with the reference that it held.
    Mapped {
        /// Its first address.
        va: Address,
        /// The mapping.
        leaf: Leaf,
    },
    /// A node with all below it.
    Stray {
        /// Its first address.
        va: Address,
        /// Bytes of addresses that it covered.
        len: usize,
        /// Mappings in it, huge ones counting once.
        mappings: usize,
    },
}

/// What an operation says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// That it is done, or that there is nothing.
    Nothing,
    /// An address.
    At(Address),
    /// The slot at the cursor, and what is mapped in it.
    Slot(Range<Address>, Option<Leaf>),
    /// What was taken out.
    Taken(Fragment),
    /// The range that was changed.
    Changed(Range<Address>),
    /// How many mappings there were.
    Count(usize),
}

/// One way in which an operation may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The table afterwards.
    pub table: Table,
    /// Where the cursor may stand afterwards.
    pub at: RangeInclusive<Address>,
    /// What the operation says.
    pub answer: Answer,
}

/// All ways in which an operation may end.
pub type Ends = Vec<End>;

/// An end at one address.
fn end(table: Table, va: Address, answer: Answer) -> End {
    End {
        table,
        at: va..=va,
        answer,
    }
}

/// Returns the range of a window.
pub(crate) fn window(table: &Table, cursor: &Cursor, len: usize) -> Result<Range<Address>, Misuse> {
    if !table.geometry.is_whole_pages(len) {
        return Err(Misuse::Unaligned);
    }
    if len > cursor.barrier.end - cursor.va {
        return Err(Misuse::Window);
    }
    Ok(cursor.va..cursor.va + len)
}

/// Returns the end of an operation that found nothing in its window.
fn miss(table: &Table, cursor: &Cursor, window: &Range<Address>) -> End {
    let rest = window.end..cursor.barrier.end;
    let furthest = table
        .first_leaf(&rest)
        .map_or(cursor.barrier.end, |start| start.max(window.end));
    End {
        table: table.clone(),
        at: window.end..=furthest,
        answer: Answer::Nothing,
    }
}

/// Returns the level of the node that covers a range and is locked for it: the
/// lowest one that holds both ends. For changing exactly one huge page, it is the
/// node that has the huge page as its entry.
#[must_use]
pub fn target_level(table: &Table, range: &Range<Address>, intent: Intent) -> Level {
    let geometry = &table.geometry;
    let covers = |level: &Level| {
        let start = geometry.node_start(*level, range.start);
        range.end - start <= geometry.node_size(*level)
    };
    let covering = (1..=geometry.levels)
        .find(covers)
        .unwrap_or(geometry.levels);
    let is_huge_page = |level: &Level| geometry.slot(*level, range.start) == *range;
    let parent = (2..=geometry.highest_leaf).find(is_huge_page);
    match (intent, parent) {
        (Intent::Change, Some(parent)) => covering.max(parent),
        _ => covering,
    }
}

/// Opens a cursor: checks the range, its ends' order first and then their
/// alignment, and makes the nodes on the way to it for one that may change
/// mappings. A huge page in the way stays, and is what the cursor is about.
///
/// # Errors
///
/// [`Refusal::Range`], then [`Refusal::Unaligned`].
pub fn open(
    table: &Table,
    range: &Range<Address>,
    intent: Intent,
) -> Result<(Table, Cursor), Refusal> {
    let geometry = &table.geometry;
    if !geometry.manages(range) {
        return Err(Refusal::Range);
    }
    if !geometry.is_whole_pages(range.start) || !geometry.is_whole_pages(range.end) {
        return Err(Refusal::Unaligned);
    }
    let cursor = Cursor {
        barrier: range.clone(),
        va: range.start,
    };
    if intent == Intent::Read || table.leaf_at(range.start).is_some() {
        return Ok((table.clone(), cursor));
    }
    let level = target_level(table, range, intent);
    Ok((table.with_path(range.start, level), cursor))
}

/// Says what is mapped at the cursor: the whole range of the mapping, or the slot
/// of the lowest node that is absent. Both may reach over the barrier.
///
/// # Errors
///
/// [`Refusal::Address`] at the end of the barrier.
pub fn query(table: &Table, cursor: &Cursor) -> Result<Ends, Refusal> {
    if cursor.va >= cursor.barrier.end {
        return Err(Refusal::Address);
    }
    let answer = match table.leaf_at(cursor.va) {
        Some(start) => Answer::Slot(table.extent(start), Some(table.leaves[&start])),
        None => {
            let level = table.deepest(cursor.va);
            Answer::Slot(table.geometry.slot(level, cursor.va), None)
        }
    };
    Ok(vec![end(table.clone(), cursor.va, answer)])
}

/// Finds the first address of the window that is mapped, and stops there.
/// Nothing is split.
///
/// # Errors
///
/// [`Misuse::Unaligned`], [`Misuse::Window`].
pub fn find_next(table: &Table, cursor: &Cursor, len: usize) -> Result<Ends, Misuse> {
    let window = window(table, cursor, len)?;
    Ok(vec![match table.first_leaf(&window) {
        None => miss(table, cursor, &window),
        Some(start) => {
            let at = start.max(window.start);
            end(table.clone(), at, Answer::At(at))
        }
    }])
}

/// Moves to an address of the barrier, of which its end is not one.
///
/// # Errors
///
/// [`Misuse::Unaligned`] or, in the inner result, [`Refusal::Address`].
pub fn jump(table: &Table, cursor: &Cursor, to: Address) -> Result<Result<Ends, Refusal>, Misuse> {
    if !table.geometry.is_whole_pages(to) {
        return Err(Misuse::Unaligned);
    }
    if !cursor.barrier.contains(&to) {
        return Ok(Err(Refusal::Address));
    }
    Ok(Ok(vec![end(table.clone(), to, Answer::Nothing)]))
}

/// Maps a leaf at the cursor and moves past it, making the nodes on the way and
/// splitting larger leaves there. What was mapped in its place is taken out: a
/// leaf of the same size, or a node with all below it, even if that is nothing.
///
/// # Errors
///
/// [`Misuse::AtEnd`], [`Misuse::Level`], [`Misuse::ItemUnaligned`],
/// [`Misuse::ItemTooLarge`], in this order.
pub fn map(table: &Table, cursor: &Cursor, leaf: Leaf) -> Result<Ends, Misuse> {
    let geometry = &table.geometry;
    let rest = cursor.barrier.end - cursor.va;
    if rest == 0 {
        return Err(Misuse::AtEnd);
    }
    if leaf.level > geometry.highest_leaf {
        return Err(Misuse::Level);
    }
    let size = geometry.slot_size(leaf.level);
    if !cursor.va.is_multiple_of(size) {
        return Err(Misuse::ItemUnaligned);
    }
    if size > rest {
        return Err(Misuse::ItemTooLarge);
    }
    let slot = cursor.va..cursor.va + size;
    let ready = table.with_path(cursor.va, leaf.level);
    let replaced = fragment_at(&ready, leaf.level, cursor.va);
    let mut after = ready.without(&slot);
    after.leaves.insert(cursor.va, leaf);
    let answer = replaced.map_or(Answer::Nothing, Answer::Taken);
    Ok(vec![end(after, slot.end, answer)])
}

/// Returns what the entry of a node of a level holds that starts at an address.
fn fragment_at(table: &Table, level: Level, va: Address) -> Option<Fragment> {
    let below = level - 1;
    if below > 0 && table.has_node(below, va) {
        let len = table.geometry.node_size(below);
        return Some(Fragment::Stray {
            va,
            len,
            mappings: table.leaves_within(&(va..va + len)).len(),
        });
    }
    let leaf = *table.leaves.get(&va)?;
    Some(Fragment::Mapped { va, leaf })
}

/// Takes out the first mapping of the window, or a node that lies in the window
/// with nothing mapped before it, and moves past it. Such a node may have nothing
/// mapped in it either.
///
/// # Errors
///
/// [`Misuse::Unaligned`], [`Misuse::Window`].
pub fn take_next(table: &Table, cursor: &Cursor, len: usize) -> Result<Ends, Misuse> {
    let window = window(table, cursor, len)?;
    let first = table
        .first_leaf(&window)
        .map(|start| start.max(window.start));
    let mut ends = Vec::new();
    for (level, start) in &table.nodes {
        let range = *start..start + table.geometry.node_size(*level);
        let is_within = window.start <= range.start && range.end <= window.end;
        if is_within
            && first.is_none_or(|first| *start <= first)
            && let Some(fragment) = fragment_at(table, level + 1, *start)
        {
            let after = table.without(&range);
            ends.push(end(after, range.end, Answer::Taken(fragment)));
        }
    }
    match first {
        None => ends.push(miss(table, cursor, &window)),
        Some(va) => {
            let split = table.split_to_fit(va, &window);
            let leaf = split.leaves[&va];
            let range = split.extent(va);
            let mut after = split;
            after.leaves.remove(&va);
            let taken = Answer::Taken(Fragment::Mapped { va, leaf });
            ends.push(end(after, range.end, taken));
        }
    }
    Ok(ends)
}

/// Changes the property of the first mapping of the window and moves past it;
/// says which range that was. Nothing is flushed.
///
/// # Errors
///
/// [`Misuse::Unaligned`], [`Misuse::Window`].
pub fn protect_next(
    table: &Table,
    cursor: &Cursor,
    len: usize,
    op: impl Fn(Property) -> Property,
) -> Result<Ends, Misuse> {
    let window = window(table, cursor, len)?;
    let Some(start) = table.first_leaf(&window) else {
        return Ok(vec![miss(table, cursor, &window)]);
    };
    let va = start.max(window.start);
    let mut after = table.split_to_fit(va, &window);
    let range = after.extent(va);
    if let Some(leaf) = after.leaves.get_mut(&va) {
        leaf.prop = op(leaf.prop);
    }
    Ok(vec![end(after, range.end, Answer::Changed(range))])
}

/// Returns the table with the leaves split that reach over an end of a range.
#[must_use]
pub fn split_at_ends(table: &Table, range: &Range<Address>) -> Table {
    if range.is_empty() {
        return table.clone();
    }
    table
        .split_to_fit(range.start, range)
        .split_to_fit(range.end - 1, range)
}

/// Splits the leaves that reach over an end of the window.
///
/// # Errors
///
/// [`Misuse::Unaligned`], [`Misuse::Window`].
pub fn split_edges(table: &Table, cursor: &Cursor, len: usize) -> Result<Ends, Misuse> {
    let window = window(table, cursor, len)?;
    let after = split_at_ends(table, &window);
    Ok(vec![end(after, cursor.va, Answer::Nothing)])
}

/// Changes the property of all mappings of the window and moves to its end; says
/// how many there were.
///
/// # Errors
///
/// [`Misuse::Unaligned`], [`Misuse::Window`].
pub fn protect(
    table: &Table,
    cursor: &Cursor,
    len: usize,
    op: impl Fn(Property) -> Property,
) -> Result<Ends, Misuse> {
    let window = window(table, cursor, len)?;
    let mut after = split_at_ends(table, &window);
    let mut count = 0;
    for (_, leaf) in after.leaves.range_mut(window.clone()) {
        leaf.prop = op(leaf.prop);
        count += 1;
    }
    let at = *miss(&after, cursor, &window).at.end();
    Ok(vec![End {
        table: after,
        at: window.end..=at,
        answer: Answer::Count(count),
    }])
}

/// Takes all mappings of the window out and moves to its end; says how many there
/// were, after splitting. Of the nodes in the window, each may stay or go with its
/// mappings; `nodes` are those that stayed.
///
/// # Errors
///
/// [`Misuse::Unaligned`], [`Misuse::Window`].
pub fn unmap(
    table: &Table,
    cursor: &Cursor,
    len: usize,
    stayed: impl Fn(crate::table::Node) -> bool,
) -> Result<Ends, Misuse> {
    let window = window(table, cursor, len)?;
    let mut after = split_at_ends(table, &window);
    let count = after.leaves_within(&window).len();
    after.leaves.retain(|start, _| !window.contains(start));
    let geometry = after.geometry;
    after.nodes.retain(|(level, start)| {
        let end = start + geometry.node_size(*level);
        let is_within = window.start <= *start && end <= window.end;
        !is_within || stayed((*level, *start))
    });
    let at = *miss(&after, cursor, &window).at.end();
    Ok(vec![End {
        table: after,
        at: window.end..=at,
        answer: Answer::Count(count),
    }])
}
