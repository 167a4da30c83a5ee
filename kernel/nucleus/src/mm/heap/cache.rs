//! Magazines: blocks that a processor has at hand.
//!
//! Each processor has a magazine for each class, a list of free blocks that only it
//! uses, with interrupts off, so that a handler may use it too. An empty magazine gets a
//! batch from the slabs, and a full one gives a batch back, so that whoever allocates and
//! frees in turn around either end does not go to the slabs each time. A block may be
//! freed on another processor than where it was made.

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::check::{self, FreeBlock};
use super::class::{Class, NR_CLASSES};
use super::{large, slab};
use crate::arch::{cpu, irq};

/// Bytes that a magazine holds at most, if that is not too few or too many blocks.
const BYTES: usize = 8192;
/// Least and most blocks that a magazine holds.
const BLOCKS: (usize, usize) = (8, 64);

impl Class {
    /// Returns how many blocks a magazine holds at most.
    #[inline]
    const fn capacity(self) -> usize {
        const CAPACITIES: [u8; NR_CLASSES] = {
            let mut capacities = [0; NR_CLASSES];
            let mut class = 0;
            while class < NR_CLASSES {
                let blocks = BYTES / super::class::SIZES[class];
                let blocks = if blocks < BLOCKS.0 { BLOCKS.0 } else { blocks };
                capacities[class] = (if blocks > BLOCKS.1 { BLOCKS.1 } else { blocks }) as u8;
                class += 1;
            }
            capacities
        };
        CAPACITIES[self.index()] as usize
    }

    /// Returns how many blocks go from a slab to a magazine, or back, at a time.
    const fn batch(self) -> usize {
        self.capacity() / 2
    }
}

/// A processor's free blocks. For the processor alone, with interrupts off, but for the
/// count.
pub(crate) struct Magazines {
    of_classes: [Magazine; NR_CLASSES],
    /// Bytes that were allocated here, less those that were freed here.
    used_bytes: AtomicUsize,
}

impl Magazines {
    pub(crate) const fn new() -> Self {
        Self {
            of_classes: [const { Magazine::new() }; NR_CLASSES],
            used_bytes: AtomicUsize::new(0),
        }
    }

    pub(super) fn used_bytes(&self) -> usize {
        // Relaxed: a count.
        self.used_bytes.load(Ordering::Relaxed)
    }

    #[inline]
    fn count(&self, change: usize) {
        // Relaxed, and no single operation: only this processor changes it.
        let used = self.used_bytes.load(Ordering::Relaxed);
        self.used_bytes
            .store(used.wrapping_add(change), Ordering::Relaxed);
    }
}

/// Blocks of a class.
pub(super) struct Magazine {
    first: Cell<Option<NonNull<FreeBlock>>>,
    len: Cell<usize>,
}

impl Magazine {
    const fn new() -> Self {
        Self {
            first: Cell::new(None),
            len: Cell::new(0),
        }
    }

    /// Puts a block on top.
    ///
    /// # Safety
    ///
    /// The block is free, of the magazine's class, and nobody else's.
    #[inline]
    pub(super) unsafe fn push(&self, block: NonNull<FreeBlock>) {
        // SAFETY: The block is the caller's, and a word at least.
        unsafe { (*block.as_ptr()).next = self.first.get() };
        self.first.set(Some(block));
        self.len.set(self.len.get().wrapping_add(1));
    }

    /// Takes the block on top.
    #[inline]
    fn pop(&self) -> Option<NonNull<FreeBlock>> {
        let block = self.first.get()?;
        // SAFETY: What is in the magazine is free, and linked by `push`.
        self.first.set(unsafe { (*block.as_ptr()).next });
        self.len.set(self.len.get().wrapping_sub(1));
        Some(block)
    }

    /// Gets a batch from the slabs, or a block from the arena when there are no frames.
    #[cold]
    fn refill(&self, class: Class) -> Option<NonNull<FreeBlock>> {
        slab::take(class, class.batch(), self);
        self.pop().or_else(|| {
            let block = large::alloc_from_arena(class.layout())?.cast();
            // SAFETY: The block was just made, for this class.
            unsafe { check::fill(block, class) };
            Some(block)
        })
    }

    /// Gives a batch back.
    #[cold]
    fn drain(&self, class: Class) {
        let blocks = (0..class.batch()).map_while(|_| self.pop());
        // SAFETY: What is in a magazine of a class is free, and its.
        unsafe { slab::give(class, blocks) };
    }
}

/// Allocates a block.
#[inline]
pub(super) fn alloc(class: Class) -> Option<NonNull<u8>> {
    irq::without(|| {
        let here = cpu::magazines();
        let magazine = &here.of_classes[class.index()];
        let block = magazine.pop().or_else(|| magazine.refill(class))?;
        // SAFETY: The block was free, and was just taken.
        unsafe { check::note_used(block, class) };
        here.count(class.size());
        Some(block.cast())
    })
}

/// Frees a block.
///
/// # Safety
///
/// The block is from [`alloc()`] for this class, and the caller gives it up.
#[inline]
pub(super) unsafe fn dealloc(block: NonNull<u8>, class: Class) {
    irq::without(|| {
        let here = cpu::magazines();
        let magazine = &here.of_classes[class.index()];
        // SAFETY: As the caller promises.
        unsafe { check::note_free(block.cast(), class) };
        // SAFETY: As the caller promises.
        unsafe { magazine.push(block.cast()) };
        here.count(class.size().wrapping_neg());
        if magazine.len.get() > class.capacity() {
            magazine.drain(class);
        }
    });
}
