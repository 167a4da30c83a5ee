//! The buddy system: free memory as blocks of powers of two.
//!
//! A block of order *k* is 2ᵏ frames, aligned to its size. Two blocks of an order
//! whose addresses differ in one bit are buddies, and are one block of the next
//! order when both are free. The blocks of an order form a list through the
//! slots of their first frames, whose marks say the order; all other slots of a
//! block look like frames that are in use. So every step is a few words.
//!
//! Whoever calls holds the lock around the [`Buddy`].

use core::ops::Range;

use super::meta::{self, Mark, MetaSlot};
use crate::mm::{PAGE_SIZE, Paddr, is_page_aligned};
use crate::planted::{Bug, is_planted};

/// Number of orders: blocks of 4 KiB to 1 GiB.
pub(super) const NR_ORDERS: usize = 19;

/// The free blocks of a machine.
#[derive(Debug)]
pub(super) struct Buddy {
    /// The first block of each order.
    first: [Option<&'static MetaSlot>; NR_ORDERS],
    /// Frames in all blocks.
    nr_free: usize,
}

/// The links of a free block, in the slot of its first frame.
#[derive(Clone, Copy)]
struct Links {
    next: Option<&'static MetaSlot>,
    prev: Option<&'static MetaSlot>,
}

const _: () = assert!(size_of::<Links>() <= meta::FRAME_METADATA_MAX_SIZE);

impl Buddy {
    pub(super) const fn new() -> Self {
        Self {
            first: [None; NR_ORDERS],
            nr_free: 0,
        }
    }

    /// Returns the number of frames in free blocks.
    pub(super) const fn nr_free(&self) -> usize {
        self.nr_free
    }

    /// Takes a block of an order, splitting a larger one if need be.
    pub(super) fn alloc(&mut self, order: usize) -> Option<&'static MetaSlot> {
        let found = (order..NR_ORDERS).find(|larger| self.first[*larger].is_some())?;
        let block = self.first[found]?;
        self.unlink(block, found);
        // Give the upper halves back until the rest is as large as asked.
        for half in (order..found).rev() {
            self.link(neighbour(block, half), half);
        }
        self.nr_free -= 1 << order;
        Some(block)
    }

    /// Takes one frame by its address; returns whether it was free.
    pub(super) fn take(&mut self, frame: Paddr) -> bool {
        let block_of = |order: usize| {
            let slot = meta::slot_of(frame & !((PAGE_SIZE << order) - 1)).ok()?;
            (slot.free_order() == Some(order as u8)).then_some((slot, order))
        };
        let Some((block, order)) = (0..NR_ORDERS).find_map(block_of) else {
            return false;
        };
        self.unlink(block, order);
        self.nr_free -= 1 << order;
        let start = block.frame_paddr();
        self.free_range(start..frame);
        self.free_range(frame + PAGE_SIZE..start + (PAGE_SIZE << order));
        true
    }

    /// Gives frames back, merging blocks as far as that goes.
    pub(super) fn free(&mut self, block: &'static MetaSlot, order: usize) {
        self.nr_free += 1 << order;
        let (mut block, mut order) = (block, order);
        while order + 1 < NR_ORDERS
            && !is_planted(Bug::UnmergedBuddies)
            && let Some(buddy) = self.free_buddy(block, order)
        {
            self.unlink(buddy, order);
            if buddy.frame_paddr() < block.frame_paddr() {
                block = buddy;
            }
            order += 1;
        }
        self.link(block, order);
    }

    /// Gives a range of frames back, as the largest blocks that tile it.
    pub(super) fn free_range(&mut self, range: Range<Paddr>) {
        debug_assert!(is_page_aligned(range.start) && is_page_aligned(range.end));
        let mut start = range.start;
        while start < range.end {
            let aligned = start.trailing_zeros().min(usize::BITS - 1) as usize;
            let fitting = (range.end - start).ilog2() as usize;
            let order = aligned.min(fitting) - PAGE_SIZE.trailing_zeros() as usize;
            let order = order.min(NR_ORDERS - 1);
            // SAFETY: The frames are the allocator's, so they have slots.
            self.free(unsafe { meta::slot_of_unchecked(start) }, order);
            start += PAGE_SIZE << order;
        }
    }

    /// Returns the buddy of a block if it is free, and whole.
    fn free_buddy(&self, block: &MetaSlot, order: usize) -> Option<&'static MetaSlot> {
        let slot = meta::slot_of(block.frame_paddr() ^ PAGE_SIZE << order).ok()?;
        (slot.free_order() == Some(order as u8)).then_some(slot)
    }

    fn link(&mut self, block: &'static MetaSlot, order: usize) {
        debug_assert!(block.is_unused() && block.mark() == Some(Mark::Managed));
        let next = self.first[order];
        if let Some(next) = next {
            set_links(next, |links| links.prev = Some(block));
        }
        // SAFETY: The block is the allocator's, and the lock is held.
        unsafe { block.data::<Links>().write(Links { next, prev: None }) };
        block.set_free_order(Some(order as u8));
        self.first[order] = Some(block);
    }

    fn unlink(&mut self, block: &'static MetaSlot, order: usize) {
        let Links { next, prev } = links(block);
        if let Some(next) = next {
            set_links(next, |links| links.prev = prev);
        }
        match prev {
            Some(prev) => set_links(prev, |links| links.next = next),
            None => self.first[order] = next,
        }
        block.set_free_order(None);
    }

    /// Recounts all blocks: each is aligned, unused, linked both ways and merged
    /// with its buddy.
    pub(super) fn recount(&self) -> usize {
        let mut frames = 0;
        for order in 0..NR_ORDERS {
            let mut prev = None;
            let mut next = self.first[order];
            while let Some(block) = next {
                assert!(block.frame_paddr().is_multiple_of(PAGE_SIZE << order));
                assert!(block.is_unused() && block.free_order() == Some(order as u8));
                let links = links(block);
                assert_eq!(
                    links.prev.map(core::ptr::from_ref),
                    prev.map(core::ptr::from_ref)
                );
                let is_last = order + 1 == NR_ORDERS;
                assert!(
                    is_last || self.free_buddy(block, order).is_none(),
                    "buddies not merged"
                );
                frames += 1 << order;
                prev = Some(block);
                next = links.next;
            }
        }
        frames
    }
}

/// Returns the slot of the frame in the middle of a block of order `half + 1`.
fn neighbour(block: &MetaSlot, half: usize) -> &'static MetaSlot {
    // SAFETY: The block is free memory, all of which has slots.
    unsafe { meta::slot_of_unchecked(block.frame_paddr() + (PAGE_SIZE << half)) }
}

fn links(block: &MetaSlot) -> Links {
    // SAFETY: The block is in a list, so its slot holds links, which nobody
    // changes while the lock is held.
    unsafe { *block.data::<Links>() }
}

fn set_links(block: &MetaSlot, change: impl FnOnce(&mut Links)) {
    // SAFETY: The block is in a list, so its slot holds links, and the lock is
    // held.
    change(unsafe { &mut *block.data::<Links>() });
}
