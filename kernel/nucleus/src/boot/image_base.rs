//! Where the image may go: the arithmetic of its random base.
//!
//! Any page of [`IMAGE_RANGE`] from which the whole image fits is as likely as any
//! other. The image is mapped by pages of 4 KiB in any case, since its segments
//! have rights of their own, so nothing is gained by a coarser base.

use crate::mm::Vaddr;
use crate::mm::kspace::layout::IMAGE_RANGE;

/// The bases that an image of some size can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    nr: usize,
    align: usize,
}

impl Places {
    /// Counts the bases for an image of `size` bytes that has to be aligned to
    /// `align`, a power of two of at least a page; `None` if it does not fit.
    pub(crate) fn of_image(size: usize, align: usize) -> Option<Self> {
        let is_aligned = align.is_power_of_two() && IMAGE_RANGE.start.is_multiple_of(align);
        let room = IMAGE_RANGE.len().checked_sub(size)?;
        (is_aligned && size > 0).then(|| Self {
            nr: room / align + 1,
            align,
        })
    }

    /// Returns the base for a random word.
    ///
    /// The bases share all words evenly: none has more than one in 2^31 more of
    /// them than another, as there are fewer than 2^33 pages in the range.
    pub(crate) fn choose(self, word: u64) -> Vaddr {
        // The upper half of a product of 64-bit factors is below either factor.
        let index = ((u128::from(word) * self.nr as u128) >> u64::BITS) as usize;
        IMAGE_RANGE.start + index * self.align
    }

    /// Returns how many bits of the random word decide, rounded down.
    pub(crate) fn bits(self) -> u32 {
        self.nr.ilog2()
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::Places;
    use crate::mm::PAGE_SIZE;
    use crate::mm::kspace::layout::{
        IMAGE_BASE, IMAGE_RANGE, KVIRT_RANGE, LINEAR_MAP_BASE, LINEAR_MAP_SIZE, META_BASE,
        META_SIZE,
    };
    use crate::prelude::*;

    /// Words at the borders, and some from between.
    fn words() -> impl Iterator<Item = u64> {
        let spread = (0..10_000u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX]
            .into_iter()
            .chain(spread)
    }

    #[ktest]
    fn image_base_overlaps_no_range_in_use() {
        let in_use = [
            LINEAR_MAP_BASE..LINEAR_MAP_BASE + LINEAR_MAP_SIZE,
            KVIRT_RANGE,
            META_BASE..META_BASE + META_SIZE,
            IMAGE_BASE..usize::MAX,
        ];
        for size in [PAGE_SIZE, 1 << 20, 0x2b_9000, 1 << 30, IMAGE_RANGE.len()] {
            let places = Places::of_image(size, PAGE_SIZE).expect("it fits");
            for word in words() {
                let base = places.choose(word);
                assert!(base.is_multiple_of(PAGE_SIZE));
                assert!(IMAGE_RANGE.start <= base && base + size <= IMAGE_RANGE.end);
                let is_apart = in_use
                    .iter()
                    .all(|r| base + size <= r.start || r.end <= base);
                assert!(is_apart, "{base:#x} with {size:#x} bytes");
            }
        }
    }

    #[ktest]
    fn image_base_reaches_both_ends_of_its_range() {
        let size = 5 * PAGE_SIZE;
        let places = Places::of_image(size, PAGE_SIZE).expect("it fits");
        assert_eq!(places.choose(0), IMAGE_RANGE.start);
        assert_eq!(places.choose(u64::MAX) + size, IMAGE_RANGE.end);
    }

    #[ktest]
    fn image_base_has_31_bits_of_entropy() {
        // What the README and the layout say, for images of up to 2 GiB.
        for size in [1 << 20, 0x2b_9000, 1 << 31] {
            let places = Places::of_image(size, PAGE_SIZE).expect("it fits");
            assert_eq!(places.bits(), 31);
        }
        let all = Places::of_image(PAGE_SIZE, PAGE_SIZE).expect("it fits");
        assert_eq!(all.bits(), 32);
    }

    #[ktest]
    fn image_base_halves_follow_the_words_halves() {
        let places = Places::of_image(1 << 22, PAGE_SIZE).expect("it fits");
        let middle = IMAGE_RANGE.start + IMAGE_RANGE.len() / 2;
        let is_low = |word| places.choose(word) < middle;
        assert!(is_low(u64::MAX / 2 - (1 << 44)) && !is_low(u64::MAX / 2 + (1 << 44)));
        let low = words().filter(|word| is_low(*word)).count();
        assert!((4500..5500).contains(&low), "{low} of 10005");
    }

    #[ktest]
    fn image_that_does_not_fit_or_asks_for_the_impossible_has_no_place() {
        let whole = IMAGE_RANGE.len();
        assert_eq!(Places::of_image(whole + PAGE_SIZE, PAGE_SIZE), None);
        assert_eq!(Places::of_image(usize::MAX, PAGE_SIZE), None);
        assert_eq!(Places::of_image(0, PAGE_SIZE), None);
        for align in [0, 3 * PAGE_SIZE, 1 << 50] {
            assert_eq!(Places::of_image(PAGE_SIZE, align), None, "{align:#x}");
        }
        let only = Places::of_image(whole, PAGE_SIZE).expect("it fits");
        assert_eq!((only.bits(), only.choose(u64::MAX)), (0, IMAGE_RANGE.start));
        let coarse = Places::of_image(PAGE_SIZE, 1 << 21).expect("it fits");
        assert_eq!(coarse.choose(12345 << 40) % (1 << 21), 0);
    }
}
