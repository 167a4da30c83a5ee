//! The walk over the raw entries of a table.

use core::ops::{ControlFlow, Range};

use crate::arch::raw_entry::{RawEntry, Rights, Target};
use crate::arch::{memory, watch};
use crate::mm::frame::meta::{Mark, slot_of};
use crate::mm::paging::{PagingConsts, page_size};
use crate::mm::{NR_ENTRIES, NR_LEVELS, Paddr, PagingLevel, Vaddr};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// An entry that is not zero, as a walk meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Met {
    /// The first address that it translates.
    pub(super) vaddr: Vaddr,
    /// The level of its node.
    pub(super) level: PagingLevel,
    /// The entry.
    pub(super) entry: RawEntry,
    /// What it leads to.
    pub(super) target: Target,
    /// What is allowed by it and all those above it.
    pub(super) rights: Rights,
    /// It is that of its left neighbour: where it leads was visited just now.
    pub(super) is_repeated: bool,
}

/// How a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With what is below, if there is anything, and then to the right.
    Down,
    /// To the right.
    Right,
}

/// What is called for each entry: goes on, or breaks the walk off.
pub(super) type Visitor<'a> = &'a mut dyn FnMut(&Met) -> ControlFlow<(), Next>;

/// Visits the entries of a table that are not zero, parents first and by ascending
/// address: of these entries of the root, what translates `from` and what is above.
///
/// Uses four frames of the stack. The caller is in a read section, keeps the root, and
/// passes the address of a node in RAM.
pub(super) fn walk(root: Paddr, roots: &Range<usize>, from: Vaddr, visit: Visitor<'_>) {
    let first = Place {
        node: root,
        level: NR_LEVELS,
        vaddr: 0,
        rights: Rights::ALL,
    };
    // Of no use to whoever walks: it was the visitor that broke off.
    let _ = below(&first, roots, from, visit);
}

/// A node, and how the walk came to it.
struct Place {
    node: Paddr,
    level: PagingLevel,
    vaddr: Vaddr,
    rights: Rights,
}

fn below(
    place: &Place,
    indices: &Range<usize>,
    from: Vaddr,
    visit: Visitor<'_>,
) -> ControlFlow<()> {
    let size = page_size::<PagingConsts>(place.level);
    let mut before = RawEntry(0);
    for index in indices.clone() {
        let vaddr = canonical(place.vaddr + index * size);
        // By its last address: there may be none behind it.
        if vaddr + (size - 1) < from {
            continue;
        }
        let entry = read(place.node, index);
        let target = entry.target(place.level);
        if target == Target::Nothing {
            before = entry;
            continue;
        }
        let met = Met {
            vaddr,
            level: place.level,
            entry,
            target,
            rights: place.rights.and(entry.rights()),
            is_repeated: entry == before,
        };
        before = entry;
        let next = visit(&met)?;
        if let (Target::Node(node), Next::Down) = (target, next)
            && is_memory(node)
            && place.level > 1
        {
            let child = Place {
                node,
                level: place.level - 1,
                vaddr,
                rights: met.rights,
            };
            below(&child, &(0..NR_ENTRIES), from, visit)?;
        }
    }
    ControlFlow::Continue(())
}

/// Returns an address of 48 bits with its sign in the upper ones.
const fn canonical(vaddr: Vaddr) -> Vaddr {
    ((vaddr << 16) as isize >> 16) as Vaddr
}

/// Returns whether there is RAM at an address, so that it can be read.
pub(super) fn is_memory(paddr: Paddr) -> bool {
    slot_of(paddr).is_ok_and(|slot| slot.mark() != Some(Mark::NotRam))
}

/// Reads an entry of a node.
fn read(node: Paddr, index: usize) -> RawEntry {
    let entries = memory::paddr_to_vaddr(node) as *const [AtomicUsize; NR_ENTRIES];
    // SAFETY: There is RAM at the address (`is_memory`, or the caller's root), which the
    // linear map holds for ever. Whatever it is used for, these are words that are read
    // as atomics, and nothing is concluded from them but what is shown.
    let entries = unsafe { &*entries };
    // Acquire: pairs with the Release of the write, so that a child is seen filled.
    let entry = RawEntry(entries[index].load(Ordering::Acquire) as u64);
    watch::node_read(node);
    entry
}
