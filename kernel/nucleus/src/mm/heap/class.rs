//! Sizes of small blocks.

use core::alloc::Layout;

use crate::mm::PAGE_SIZE;

/// What every block is aligned to, and its smallest size.
pub(super) const GRANULE: usize = 16;
/// Number of classes.
pub(super) const NR_CLASSES: usize = 18;
/// Sizes of blocks: powers of two, since those are asked for most, and some between them,
/// so that at most a third of a block is wasted by the next smaller layout. Those that
/// do not divide a frame leave less than a block of it unused.
pub(super) const SIZES: [usize; NR_CLASSES] = [
    16, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1360, 2048,
];
/// The largest of them.
const MAX_SIZE: usize = SIZES[NR_CLASSES - 1];

/// For each number of granules, the smallest class that has room for them.
const BY_GRANULES: [u8; MAX_SIZE / GRANULE + 1] = {
    let mut table = [0; MAX_SIZE / GRANULE + 1];
    let mut granules = 0;
    let mut class = 0;
    while granules < table.len() {
        if granules * GRANULE > SIZES[class] {
            class += 1;
        }
        table[granules] = class as u8;
        granules += 1;
    }
    table
};

const _: () = {
    let mut class = 0;
    while class < NR_CLASSES {
        assert!(SIZES[class].is_multiple_of(GRANULE));
        assert!(class == 0 || SIZES[class - 1] < SIZES[class]);
        class += 1;
    }
    assert!(
        MAX_SIZE * 2 <= PAGE_SIZE,
        "a slab holds two blocks at least"
    );
};

/// A class of small blocks, all of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// All of them, in the order of their sizes.
    #[cfg(ktest)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..NR_CLASSES as u8).map(Self)
    }

    /// Returns the class that a layout gets its blocks from, if it is a small one.
    ///
    /// Blocks lie side by side from the start of a page on, so they are aligned to
    /// whatever divides both their size and a page.
    #[inline]
    pub(super) fn of(layout: Layout) -> Option<Self> {
        if layout.size() > MAX_SIZE || layout.align() > MAX_SIZE {
            return None;
        }
        let class = BY_GRANULES[layout.size().div_ceil(GRANULE)];
        if layout.align() <= GRANULE {
            return Some(Self(class));
        }
        let is_aligned = |class: &u8| SIZES[usize::from(*class)].is_multiple_of(layout.align());
        (class..NR_CLASSES as u8).find(is_aligned).map(Self)
    }

    /// Returns its number, below [`NR_CLASSES`].
    #[inline]
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the bytes of a block.
    #[inline]
    pub(super) const fn size(self) -> usize {
        SIZES[self.index()]
    }

    /// Returns how many blocks a frame has.
    pub(super) const fn blocks_of_a_frame(self) -> usize {
        PAGE_SIZE / self.size()
    }

    /// Returns the layout of a block.
    pub(super) const fn layout(self) -> Layout {
        let size = self.size();
        // The largest power of two that divides the size, as `of` promises.
        match Layout::from_size_align(size, 1 << size.trailing_zeros()) {
            Ok(layout) => layout,
            Err(_) => unreachable!(),
        }
    }
}
