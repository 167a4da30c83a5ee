//! Ranges of user addresses: the one way from numbers that a program chose to a
//! range that the kernel uses.

use core::ops::Range;

use nucleus::mm::{PAGE_SIZE, USER_END, Vaddr};

/// Below this nothing is ever mapped, so that null pointers with small offsets
/// fault (peer 95).
pub(crate) const LOWEST_ADDRESS: Vaddr = 0x1_0000;

/// A page-aligned range of addresses below the end of user space, not empty.
///
/// Having one proves that no arithmetic on its bounds overflows and that a cursor
/// can be opened on it. It says nothing about what is mapped there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserRange(Range<Vaddr>);

impl UserRange {
    /// Accepts an aligned address and a length, which is rounded up to pages.
    pub(crate) fn new(start: Vaddr, len: usize) -> Option<Self> {
        let len = len.checked_next_multiple_of(PAGE_SIZE)?;
        let end = start.checked_add(len)?;
        let is_legal = start.is_multiple_of(PAGE_SIZE) && len > 0 && end <= USER_END;
        is_legal.then_some(Self(start..end))
    }

    /// Accepts two aligned addresses in order.
    pub(crate) fn between(start: Vaddr, end: Vaddr) -> Option<Self> {
        Self::new(start, end.checked_sub(start)?).filter(|range| range.end() == end)
    }

    pub(crate) fn start(&self) -> Vaddr {
        self.0.start
    }

    pub(crate) fn end(&self) -> Vaddr {
        self.0.end
    }

    pub(crate) fn len(&self) -> usize {
        self.0.end - self.0.start
    }

    /// Returns the number of pages.
    pub(crate) fn pages(&self) -> usize {
        self.len() / PAGE_SIZE
    }

    pub(crate) fn as_range(&self) -> &Range<Vaddr> {
        &self.0
    }

    /// Returns the part that lies in another range as well.
    pub(crate) fn intersection(&self, other: &Range<Vaddr>) -> Option<Self> {
        Self::between(self.0.start.max(other.start), self.0.end.min(other.end))
    }
}

/// Returns the first address of the page that an address is in.
pub(super) const fn page_start(address: Vaddr) -> Vaddr {
    address / PAGE_SIZE * PAGE_SIZE
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{PAGE_SIZE, USER_END, UserRange};

    const BASE: usize = 0x10_0000;

    #[ktest]
    fn illegal_ranges_cannot_be_made() {
        // peer_001, peer_010, peer_013, peer_094
        for (start, len) in [
            (BASE, 0),
            (BASE + 1, PAGE_SIZE),
            (USER_END, PAGE_SIZE),
            (USER_END - PAGE_SIZE, PAGE_SIZE + 1),
            (BASE, usize::MAX),
            (BASE, 1 << 63),
            (usize::MAX - PAGE_SIZE + 1, PAGE_SIZE),
        ] {
            assert_eq!(UserRange::new(start, len), None, "{start:#x} {len:#x}");
        }
        assert!(UserRange::new(USER_END - PAGE_SIZE, 1).is_some());
    }

    #[ktest]
    fn bounds_in_the_wrong_order_or_unaligned_are_no_range() {
        assert_eq!(UserRange::between(BASE, BASE), None);
        assert_eq!(UserRange::between(BASE + PAGE_SIZE, BASE), None);
        assert_eq!(UserRange::between(BASE, BASE + 1), None);
        let one = UserRange::new(BASE, 1);
        assert_eq!(UserRange::between(BASE, BASE + PAGE_SIZE), one);
    }

    #[ktest]
    fn intersection_is_what_both_have() {
        let range = UserRange::new(BASE, 4 * PAGE_SIZE).expect("a legal range");
        let middle = BASE + PAGE_SIZE..BASE + 2 * PAGE_SIZE;
        assert_eq!(
            range.intersection(&middle),
            UserRange::new(middle.start, PAGE_SIZE)
        );
        assert_eq!(range.intersection(&(0..BASE)), None);
        assert_eq!(range.intersection(&(range.end()..usize::MAX)), None);
        assert_eq!(range.intersection(&(0..usize::MAX)), Some(range));
    }
}
