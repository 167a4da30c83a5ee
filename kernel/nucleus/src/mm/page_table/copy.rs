//! Copying what one table maps into another one, which is what a fork is; and finding
//! out whether anybody shares what is mapped.
//!
//! Afterwards both tables lead to the same frames, each with references of its
//! own, and by the same rights. Leaves of the lowest level are copied node by node
//! in one loop over the entries of both; huge ones stay huge. What is changed in
//! the source is changed before its frame can be reached through the copy.
//!
//! **Locks**: the caller has a cursor of each table. Two that copy between the same
//! tables in opposite directions would wait for each other, so tables are in an
//! order: that of their making, which `VmSpace` knows. The cursor of the older one
//! is opened first.

use core::ops::Range;

use super::PageTableError;
use super::config::{PageTableConfig, PageTableEntryTrait};
use super::cursor_mut::{CursorMut, change_property, keep_marks};
use super::frag::PageTableFrag;
use super::node::{Child, Node};
use crate::arch::watch;
use crate::mm::paging::{PagingConstsTrait, page_size};
use crate::mm::{Paddr, PageProperty, PagingLevel, Vaddr};
use crate::planted::{Bug, is_planted};

/// The configuration of a page table whose mappings can be shared with another one.
///
/// # Safety
///
/// 1. [`Self::share`] adds the references that [`PageTableConfig::item_from_raw`] takes
///    over, or changes nothing.
/// 2. [`Self::is_unshared`] says yes only if nobody else has a reference to what the
///    item tracks; what those did who had one has then happened before.
pub unsafe trait CopyablePtConfig: PageTableConfig {
    /// Adds a reference to what a leaf owns, for another leaf like it.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`] when a frame has the most references that it may
    /// have.
    ///
    /// # Safety
    ///
    /// The arguments are the raw form of an item that somebody owns meanwhile, but for
    /// a property of the same trackedness.
    unsafe fn share(
        paddr: Paddr,
        level: PagingLevel,
        prop: PageProperty,
    ) -> Result<(), PageTableError>;

    /// Returns whether the references that a leaf owns are the only ones; not if it owns
    /// none.
    ///
    /// # Safety
    ///
    /// As for [`Self::share`].
    unsafe fn is_unshared(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> bool;
}

/// Who is told of what a copy does.
pub trait CopyObserver<C: PageTableConfig> {
    /// Among these addresses of the source are some that are mapped with other rights
    /// than before.
    fn changed(&mut self, range: Range<Vaddr>);
    /// A node without mappings was in the place of a huge page.
    fn replaced(&mut self, frag: PageTableFrag<C>);
}

impl<C: CopyablePtConfig> CursorMut<'_, C> {
    /// Maps what is mapped in the next `len` bytes of another table at the same
    /// addresses here, and gives both mappings the property that `op` says; moves
    /// both cursors to the end of the bytes. Returns how many mappings there were,
    /// huge ones counting once. Huge ones that reach over an end are split.
    ///
    /// `op` is a function of the property alone: for many mappings with the same
    /// property it may be called once. It must leave
    /// [`PageFlags::AVAIL1`](crate::mm::PageFlags::AVAIL1) alone. Accessed and dirty
    /// bits that the hardware sets meanwhile are kept in the source.
    ///
    /// # Errors
    ///
    /// [`PageTableError::NoMemory`]: for a node, or since a frame has too many
    /// references. The first so many mappings are then copied, the cursors are where
    /// they were, and every address of the source leads where it led.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of either range;
    /// when the cursors stand at different addresses; when something is mapped here
    /// already.
    ///
    /// # Safety
    ///
    /// 1. Neither the mappings nor the changes break the memory safety of whoever uses
    ///    the addresses of either table.
    /// 2. What `observer` is given is kept until its addresses are flushed on every
    ///    processor that may translate by this table.
    #[inline(always)]
    pub unsafe fn copy_from(
        &mut self,
        source: &mut CursorMut<'_, C>,
        len: usize,
        op: impl Fn(PageProperty) -> PageProperty,
        observer: &mut impl CopyObserver<C>,
    ) -> Result<usize, PageTableError> {
        let start = source.0.virt_addr();
        assert_eq!(
            self.0.virt_addr(),
            start,
            "a copy is mapped at the address of the original"
        );
        let end = self.0.window_end(len);
        let found = self.0.find_next(len);
        self.0.move_to(start);
        assert!(
            found.is_none(),
            "{found:x?} is mapped where a copy is to be"
        );
        let copied = source
            .split_edges(len)
            .and_then(|()| self.copy_all(source, end, op, observer));
        let at = if copied.is_ok() { end } else { start };
        self.0.move_to(at);
        source.0.move_to(at);
        copied
    }

    /// Changes the property of the mapping at the cursor if it has the only reference to
    /// what is mapped, or to each frame of a huge page; returns whether. The cursor stays
    /// where it is, and the mapping as large. Flushes nothing.
    ///
    /// A yes stays true while the cursor has the node: only who has a reference, or the
    /// address of a frame, can make another one. A no may be out of date at once.
    ///
    /// `op` and marks as for [`Self::protect_next`].
    ///
    /// # Errors
    ///
    /// [`PageTableError::InvalidVaddr`] at the end of the cursor's range.
    ///
    /// # Safety
    ///
    /// As for [`Self::protect_next`].
    #[inline(always)]
    pub unsafe fn protect_unshared(
        &mut self,
        op: impl FnOnce(PageProperty) -> PageProperty,
    ) -> Result<bool, PageTableError> {
        let (_, found) = self.0.look()?;
        let Some(leaf) = found else {
            return Ok(false);
        };
        let (node, index, level) = (self.0.node(), self.0.index(), self.0.level());
        // SAFETY: The leaf is this table's, whose node is locked.
        let is_unshared = unsafe { C::is_unshared(leaf.paddr(level), level, leaf.prop(level)) };
        if is_unshared {
            match level {
                // Simpler where the level is known.
                1 => change_property(node, index, 1, leaf, op),
                level => change_property(node, index, level, leaf, op),
            }
        }
        Ok(is_unshared)
    }

    /// Copies everything up to an address.
    #[inline(always)]
    fn copy_all(
        &mut self,
        source: &mut CursorMut<'_, C>,
        end: Vaddr,
        op: impl Fn(PageProperty) -> PageProperty,
        observer: &mut impl CopyObserver<C>,
    ) -> Result<usize, PageTableError> {
        let mut count = 0;
        while source.0.virt_addr() < end
            && let Some(va) = source.0.find_next(end - source.0.virt_addr())
        {
            let level = source.0.level();
            self.0.move_to(va);
            self.descend_to(level)?;
            count += match level {
                1 => self.copy_run(source, end, &op, observer)?,
                _ => self.copy_huge(source, &op, observer)?,
            };
        }
        Ok(count)
    }

    /// Copies the pages of the source's node at hand up to an address into this
    /// cursor's, both of which are of level 1, and moves the source past them. Returns
    /// how many there were.
    #[inline(always)]
    fn copy_run(
        &mut self,
        source: &CursorMut<'_, C>,
        end: Vaddr,
        op: &impl Fn(PageProperty) -> PageProperty,
        observer: &mut impl CopyObserver<C>,
    ) -> Result<usize, PageTableError> {
        let (va, page) = (source.0.virt_addr(), C::C::BASE_PAGE_SIZE);
        let first = source.0.index();
        let last = first + (C::C::NR_ENTRIES - first).min((end - va) / page);
        let nodes = (source.0.node(), self.0.node());
        // SAFETY: Both nodes are locked by their cursors, and of level 1.
        let (run, result) = unsafe { copy_entries(nodes, first..last, op) };
        self.0.node().gain_children(run.count);
        if run.flipped != 0 {
            observer.changed(va..va + (run.end - first) * page);
        }
        source.0.move_to(va + (last - first) * page);
        result.map(|()| usize::from(run.count))
    }

    /// Copies the huge page at the source, of the level of the nodes at hand, and moves
    /// the source past it.
    #[inline(never)]
    fn copy_huge(
        &mut self,
        source: &CursorMut<'_, C>,
        op: &impl Fn(PageProperty) -> PageProperty,
        observer: &mut impl CopyObserver<C>,
    ) -> Result<usize, PageTableError> {
        let (level, va) = (source.0.level(), source.0.virt_addr());
        let (index, Child::Leaf(old)) = source.0.current() else {
            unreachable!("the source stands at a leaf");
        };
        let (paddr, prop) = (old.paddr(level), old.prop(level));
        // SAFETY: The leaf is the source's, which is locked.
        unsafe { C::share(paddr, level, prop) }?;
        let new = C::E::new_page(paddr, level, op(prop));
        let range = va..va + page_size::<C::C>(level);
        source.0.move_to(range.end);
        if new.as_usize() != old.as_usize() && !is_planted(Bug::WritableSource) {
            change_property(source.0.node(), index, level, old, |_| new.prop(level));
            observer.changed(range);
        }
        if let Some(frag) = self.put(new) {
            observer.replaced(frag);
        }
        Ok(1)
    }
}

/// What became of the entries of a node.
struct Run {
    /// How many were copied.
    count: u16,
    /// The index after the last of them.
    end: usize,
    /// Bits that were changed in the last one that was changed.
    flipped: usize,
}

/// How an entry changes, and all that differ from it in their addresses alone.
struct Change<E> {
    like: E,
    prop: PageProperty,
    flip: usize,
}

impl<E: PageTableEntryTrait> Change<E> {
    /// Out of the loop over the entries, whose registers it would take.
    #[inline(never)]
    fn of(entry: E, op: &impl Fn(PageProperty) -> PageProperty) -> Self {
        let prop = entry.prop(1);
        let new = E::new_page(entry.paddr(1), 1, op(prop));
        Self {
            like: entry,
            prop,
            flip: new.as_usize() ^ entry.as_usize(),
        }
    }
}

/// Copies the entries of one node to another one, but for its count of them. What was
/// copied before an error is there.
///
/// # Safety
///
/// Both nodes are of level 1 and locked by the caller. The entries of the second one are
/// absent.
#[inline(never)]
unsafe fn copy_entries<C: CopyablePtConfig>(
    (from, to): (Node<C>, Node<C>),
    indices: Range<usize>,
    op: &impl Fn(PageProperty) -> PageProperty,
) -> (Run, Result<(), PageTableError>) {
    let is_watched = watch::is_on();
    let mut run = Run {
        // No more than a node has entries, so counting does not wrap.
        count: 0,
        end: indices.start,
        flipped: 0,
    };
    let mut change = Change {
        like: C::E::new_absent(),
        prop: PageProperty::new_absent(),
        flip: 0,
    };
    for index in indices {
        let old = from.read(index);
        if !old.is_present() {
            continue;
        }
        if !old.differs_in_address_alone(change.like) {
            change = Change::of(old, op);
        }
        if !is_planted(Bug::UncountedCopy) {
            // SAFETY: The leaf is the source's, which is locked.
            let shared = unsafe { C::share(old.paddr(1), 1, change.prop) };
            if shared.is_err() {
                return (run, shared);
            }
        }
        let new = C::E::from_usize(old.as_usize() ^ change.flip);
        if change.flip != 0 && !is_planted(Bug::WritableSource) {
            run.flipped = change.flip;
            if let Err(now) = from.update(index, old, new) {
                keep_marks_of(from, index, (old, now), new);
            }
        }
        to.fill_uncounted(index, new, is_watched);
        run.count = run.count.wrapping_add(1);
        run.end = index.wrapping_add(1);
    }
    (run, Ok(()))
}

/// Changes a leaf of level 1 that the hardware has marked since it was read.
#[cold]
#[inline(never)]
fn keep_marks_of<C: PageTableConfig>(
    node: Node<C>,
    index: usize,
    (old, now): (C::E, C::E),
    new: C::E,
) {
    keep_marks(node, index, 1, (now, old.prop(1), new.prop(1)));
}
