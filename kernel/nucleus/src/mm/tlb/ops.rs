//! What to flush.

use core::ops::Range;

use crate::arch::mmu;
use crate::mm::{PAGE_SIZE, Vaddr, is_page_aligned};

/// Pages from which on everything is flushed instead.
///
/// The number of the contract. Whether it is a good one is for `cargo xtask bench`
/// to say: its rows `flush/1`, `flush/8`, `flush/32`, `flush/512` and `flush/all`
/// are what a flush costs by itself, on the machine; what it costs to walk the
/// tables again afterwards depends on the program.
pub const FLUSH_ALL_THRESHOLD: usize = 32;

/// What to flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlbFlushOp {
    /// Everything but what is global.
    All,
    /// The page at an address, whatever its size, global or not.
    Address(Vaddr),
    /// The pages of a range.
    Range(Range<Vaddr>),
}

impl TlbFlushOp {
    /// Returns the first page and how many there are.
    ///
    /// # Panics
    ///
    /// Panics when a range is empty, or not whole pages.
    pub(super) fn pages(&self) -> (Vaddr, usize) {
        match self {
            Self::All => (0, usize::MAX),
            Self::Address(va) => (*va, 1),
            Self::Range(range) => {
                assert!(
                    is_page_aligned(range.start) && is_page_aligned(range.end),
                    "{range:#x?} is not whole pages"
                );
                assert!(range.start < range.end, "{range:#x?} has no pages");
                (range.start, (range.end - range.start) / PAGE_SIZE)
            }
        }
    }
}

/// Some operations; from the threshold on, everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ops {
    pages: [(Vaddr, usize); FLUSH_ALL_THRESHOLD],
    len: usize,
    total_pages: usize,
}

impl Ops {
    pub(super) const fn new() -> Self {
        Self {
            pages: [(0, 0); FLUSH_ALL_THRESHOLD],
            len: 0,
            total_pages: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total_pages == 0
    }

    /// Returns the page that it is about, if it is one.
    pub(super) fn only_page(&self) -> Option<Vaddr> {
        (self.total_pages == 1).then(|| self.pages[0].0)
    }

    /// Returns the first page that was collected; zero if everything is to be flushed.
    pub(super) fn first(&self) -> Vaddr {
        match self.is_all() {
            true => 0,
            false => self.pages[0].0,
        }
    }

    /// Returns the number of pages; zero if everything is to be flushed.
    pub(super) fn nr_pages(&self) -> u16 {
        match self.is_all() {
            true => 0,
            false => self.total_pages as u16,
        }
    }

    /// Returns whether everything is to be flushed.
    pub(super) fn is_all(&self) -> bool {
        self.total_pages >= FLUSH_ALL_THRESHOLD
    }

    #[inline(always)]
    pub(super) fn push(&mut self, pages: (Vaddr, usize)) {
        if !self.is_all() {
            self.push_some(pages);
        }
    }

    /// Out of line: of many pages, only the first come here.
    #[inline(never)]
    fn push_some(&mut self, (start, pages): (Vaddr, usize)) {
        self.total_pages = self.total_pages.saturating_add(pages);
        // Pages after the last ones are one range with them. Pages that are huge are
        // told by an address each, and do not follow each other.
        if let Some((last, count)) = self.pages[..self.len].last_mut()
            && start.checked_sub(*last) == count.checked_mul(PAGE_SIZE)
        {
            *count = count.saturating_add(pages);
            return;
        }
        // Each operation has a page at least, so the array has room.
        self.pages[self.len] = (start, pages);
        self.len += 1;
    }

    pub(super) fn append(&mut self, other: &Self) {
        if other.is_all() {
            self.total_pages = usize::MAX;
        }
        for op in &other.pages[..other.len] {
            self.push(*op);
        }
    }

    pub(super) fn clear(&mut self) {
        (self.len, self.total_pages) = (0, 0);
    }

    /// Flushes on this processor: single pages, global or not, or everything under
    /// the identifier in use but what is global.
    pub(super) fn perform(&self) {
        if self.is_all() {
            return mmu::flush_all_excluding_global();
        }
        for (start, pages) in &self.pages[..self.len] {
            for page in 0..*pages {
                mmu::flush_page(start + page * PAGE_SIZE);
            }
        }
    }
}
