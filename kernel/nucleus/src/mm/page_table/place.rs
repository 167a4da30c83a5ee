//! A place in a page table: one node of it, and the addresses that it covers.

use core::fmt;

use super::config::PageTableConfig;
use super::node::{Child, Node};
use crate::mm::paging::{PagingConstsTrait, page_shift};
use crate::mm::{PagingLevel, Vaddr};

/// A node that a cursor may look at, with what it takes to find entries in it.
pub(super) struct Place<C: PageTableConfig> {
    node: Node<C>,
    level: PagingLevel,
    /// The lowest bit of the index into the node. Shifts are by less than a
    /// word's bits, so the wrapping ones do not wrap.
    shift: u32,
    /// The first address that the node covers.
    base: Vaddr,
    /// How many bytes the node covers.
    span: usize,
}

impl<C: PageTableConfig> Clone for Place<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: PageTableConfig> Copy for Place<C> {}

impl<C: PageTableConfig> fmt::Debug for Place<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} of level {} at {:#x}",
            self.node, self.level, self.base
        )
    }
}

impl<C: PageTableConfig> Place<C> {
    /// Returns the place of a node of a level that covers an address.
    #[inline(always)]
    pub(super) fn new(node: Node<C>, level: PagingLevel, va: Vaddr) -> Self {
        let shift = page_shift::<C::C>(level) as u32;
        let span = C::C::NR_ENTRIES.wrapping_shl(shift);
        Self {
            node,
            level,
            shift,
            base: va & span.wrapping_neg(),
            span,
        }
    }

    /// Returns the place of a child that covers an address, too.
    #[inline(always)]
    pub(super) fn below(self, child: Node<C>, va: Vaddr) -> Self {
        Self {
            node: child,
            level: self.level.wrapping_sub(1),
            shift: self.shift.wrapping_sub(C::C::NR_ENTRIES.trailing_zeros()),
            base: self.slot_start(va),
            span: self.slot_size(),
        }
    }

    /// Returns the place of the lowest node that covers an address. All of them
    /// are locked by the caller.
    #[inline(never)]
    pub(super) fn deepest(self, va: Vaddr) -> Self {
        let mut place = self;
        while let Child::Table(child) = place.node.child(place.index(va)) {
            place = place.below(child, va);
        }
        place
    }

    #[inline(always)]
    pub(super) fn node(self) -> Node<C> {
        self.node
    }

    #[inline(always)]
    pub(super) fn level(self) -> PagingLevel {
        self.level
    }

    /// Returns whether the node covers an address.
    #[inline(always)]
    pub(super) fn covers(self, va: Vaddr) -> bool {
        va.wrapping_sub(self.base) < self.span
    }

    /// Returns the index of the entry for an address that the node covers.
    #[inline(always)]
    pub(super) fn index(self, va: Vaddr) -> usize {
        debug_assert!(self.covers(va));
        va.wrapping_sub(self.base).wrapping_shr(self.shift)
    }

    /// Returns how many bytes an entry of the node covers.
    #[inline(always)]
    pub(super) fn slot_size(self) -> usize {
        1_usize.wrapping_shl(self.shift)
    }

    /// Returns the first address of the entry for an address.
    #[inline(always)]
    pub(super) fn slot_start(self, va: Vaddr) -> Vaddr {
        va & self.slot_size().wrapping_neg()
    }
}
