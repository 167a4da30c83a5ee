//! The regions of an address space: which addresses mean something, and what
//! may be done there. Arithmetic on ranges alone; no page is touched here.
//!
//! Regions are disjoint and page aligned. Changing a part of one splits it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use nucleus::mm::{PAGE_SIZE, PageFlags, Vaddr};

/// Addresses that a program may use: the first 64 KiB stay empty, so that null
/// pointers with small offsets fault (peer 95), and so does the last page.
pub(crate) const USER_RANGE: Range<Vaddr> = 0x1_0000..nucleus::mm::USER_END;

/// A page-aligned range of user addresses that is not empty.
///
/// The one way from numbers that a program chose to a range that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserRange(Range<Vaddr>);

impl UserRange {
    /// Accepts an aligned address and a length, which is rounded up to pages.
    pub(crate) fn new(start: Vaddr, len: usize) -> Option<Self> {
        let len = len.checked_next_multiple_of(PAGE_SIZE)?;
        let end = start.checked_add(len)?;
        let is_legal = start.is_multiple_of(PAGE_SIZE)
            && len > 0
            && USER_RANGE.start <= start
            && end <= USER_RANGE.end;
        is_legal.then_some(Self(start..end))
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

    pub(crate) fn as_range(&self) -> &Range<Vaddr> {
        &self.0
    }
}

/// What a region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegionKind {
    /// A segment of the program.
    Image,
    /// What `brk` moves the end of.
    Heap,
    /// What `mmap` made.
    Anonymous,
    /// The program's stack.
    Stack,
    /// Kept empty below the stack.
    Guard,
}

/// A region, without its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) protection: PageFlags,
    pub(crate) kind: RegionKind,
}

/// The regions of an address space.
#[derive(Debug, Default)]
pub(crate) struct RegionMap {
    /// By their first addresses: their ends, and what they are.
    regions: BTreeMap<Vaddr, (Vaddr, Region)>,
}

impl RegionMap {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Returns the region of an address.
    pub(crate) fn at(&self, vaddr: Vaddr) -> Option<Region> {
        let (_, (end, region)) = self.regions.range(..=vaddr).next_back()?;
        (vaddr < *end).then_some(*region)
    }

    /// Returns whether no region has a part in a range.
    pub(crate) fn is_free(&self, range: &UserRange) -> bool {
        let before = self.regions.range(..range.end()).next_back();
        before.is_none_or(|(_, (end, _))| *end <= range.start())
    }

    /// Returns whether every address of a range belongs to a region.
    pub(crate) fn covers(&self, range: &UserRange) -> bool {
        let mut covered = range.start();
        while covered < range.end() {
            match self.regions.range(..=covered).next_back() {
                Some((_, (end, _))) if *end > covered => covered = *end,
                _ => return false,
            }
        }
        true
    }

    /// Adds a region to addresses that are free.
    pub(crate) fn insert(&mut self, range: &UserRange, region: Region) {
        debug_assert!(self.is_free(range));
        self.regions.insert(range.start(), (range.end(), region));
        self.merge_around(range);
    }

    /// Takes a range out of whatever regions it meets.
    pub(crate) fn remove(&mut self, range: &UserRange) {
        self.split_at(range.start());
        self.split_at(range.end());
        for start in self.starts_within(range) {
            self.regions.remove(&start);
        }
    }

    /// Gives every region within a range another protection.
    pub(crate) fn protect(&mut self, range: &UserRange, protection: PageFlags) {
        self.split_at(range.start());
        self.split_at(range.end());
        for start in self.starts_within(range) {
            if let Some((_, region)) = self.regions.get_mut(&start) {
                region.protection = protection;
            }
        }
        self.merge_around(range);
    }

    /// Finds free addresses: at the hint if it is legal and free, otherwise the
    /// highest that lie below `ceiling`.
    pub(crate) fn find_free(&self, hint: Vaddr, len: usize, ceiling: Vaddr) -> Option<UserRange> {
        if let Some(wanted) = UserRange::new(hint / PAGE_SIZE * PAGE_SIZE, len)
            && self.is_free(&wanted)
        {
            return Some(wanted);
        }
        let len = len.checked_next_multiple_of(PAGE_SIZE)?;
        let mut top = ceiling;
        for (start, (end, _)) in self.regions.range(..ceiling).rev() {
            if *end <= top && top - *end >= len {
                break;
            }
            top = top.min(*start);
        }
        UserRange::new(top.checked_sub(len)?, len)
    }

    /// Makes an address the border of two regions, if it is inside of one.
    fn split_at(&mut self, vaddr: Vaddr) {
        let Some((_, (end, region))) = self.regions.range_mut(..vaddr).next_back() else {
            return;
        };
        if *end > vaddr {
            let second = (core::mem::replace(end, vaddr), *region);
            self.regions.insert(vaddr, second);
        }
    }

    fn starts_within(&self, range: &UserRange) -> Vec<Vaddr> {
        self.regions
            .range(range.as_range().clone())
            .map(|(start, _)| *start)
            .collect()
    }

    /// Joins equal neighbours at and between the borders of a range.
    fn merge_around(&mut self, range: &UserRange) {
        let first = self
            .regions
            .range(..range.start())
            .next_back()
            .map(|(start, _)| *start);
        let mut current = first.unwrap_or(range.start());
        while current < range.end() {
            let Some(&(end, region)) = self.regions.get(&current) else {
                match self.regions.range(current..).next() {
                    Some((start, _)) => current = *start,
                    None => return,
                }
                continue;
            };
            match self.regions.get(&end).copied() {
                Some((next_end, next)) if next == region => {
                    self.regions.remove(&end);
                    self.regions.insert(current, (next_end, region));
                }
                Some(_) => current = end,
                None => match self.regions.range(end..).next() {
                    Some((start, _)) => current = *start,
                    None => return,
                },
            }
        }
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::mm::PageFlags;
    use nucleus::prelude::*;

    use super::{PAGE_SIZE, Region, RegionKind, RegionMap, USER_RANGE, UserRange};

    const BASE: usize = 0x10_0000;
    const READ: Region = Region {
        protection: PageFlags::R,
        kind: RegionKind::Anonymous,
    };
    const WRITE: Region = Region {
        protection: PageFlags::RW,
        kind: RegionKind::Anonymous,
    };

    fn pages(first: usize, count: usize) -> UserRange {
        UserRange::new(BASE + first * PAGE_SIZE, count * PAGE_SIZE).expect("a legal range")
    }

    fn list(map: &RegionMap) -> alloc::vec::Vec<(usize, usize, PageFlags)> {
        let page = |vaddr: usize| (vaddr - BASE) / PAGE_SIZE;
        let regions = map.regions.iter();
        regions
            .map(|(start, (end, region))| (page(*start), page(*end), region.protection))
            .collect()
    }

    #[ktest]
    fn illegal_ranges_cannot_be_made() {
        // peer_001, peer_010, peer_013, peer_094, peer_095
        for (start, len) in [
            (BASE, 0),
            (BASE + 1, PAGE_SIZE),
            (0, PAGE_SIZE),
            (USER_RANGE.start - PAGE_SIZE, PAGE_SIZE),
            (USER_RANGE.end, PAGE_SIZE),
            (USER_RANGE.end - PAGE_SIZE, PAGE_SIZE + 1),
            (BASE, usize::MAX),
            (BASE, 1 << 63),
            (usize::MAX - PAGE_SIZE + 1, PAGE_SIZE),
        ] {
            assert_eq!(UserRange::new(start, len), None, "{start:#x} {len:#x}");
        }
        assert!(UserRange::new(USER_RANGE.end - PAGE_SIZE, 1).is_some());
    }

    #[ktest]
    fn removing_the_middle_splits_a_region() {
        let mut map = RegionMap::new();
        map.insert(&pages(0, 10), READ);
        map.remove(&pages(3, 4));
        assert_eq!(list(&map), [(0, 3, PageFlags::R), (7, 10, PageFlags::R)]);
        assert!(map.is_free(&pages(3, 4)) && !map.is_free(&pages(2, 2)));
    }

    #[ktest]
    fn removing_over_several_regions_takes_their_parts() {
        let mut map = RegionMap::new();
        map.insert(&pages(0, 2), READ);
        map.insert(&pages(3, 2), WRITE);
        map.insert(&pages(6, 2), READ);
        map.remove(&pages(1, 6));
        assert_eq!(list(&map), [(0, 1, PageFlags::R), (7, 8, PageFlags::R)]);
    }

    #[ktest]
    fn protection_changes_split_and_merge_again() {
        let mut map = RegionMap::new();
        map.insert(&pages(0, 9), READ);
        map.protect(&pages(3, 3), PageFlags::RW);
        let split = [
            (0, 3, PageFlags::R),
            (3, 6, PageFlags::RW),
            (6, 9, PageFlags::R),
        ];
        assert_eq!(list(&map), split);
        map.protect(&pages(3, 3), PageFlags::R);
        assert_eq!(list(&map), [(0, 9, PageFlags::R)]);
    }

    #[ktest]
    fn adjacent_equal_regions_become_one() {
        let mut map = RegionMap::new();
        map.insert(&pages(4, 2), WRITE);
        map.insert(&pages(0, 2), WRITE);
        map.insert(&pages(2, 2), WRITE);
        assert_eq!(list(&map), [(0, 6, PageFlags::RW)]);
    }

    #[ktest]
    fn coverage_notices_holes() {
        let mut map = RegionMap::new();
        map.insert(&pages(0, 2), READ);
        map.insert(&pages(2, 2), WRITE);
        map.insert(&pages(5, 1), READ);
        assert!(map.covers(&pages(0, 4)) && map.covers(&pages(1, 2)));
        assert!(!map.covers(&pages(0, 6)) && !map.covers(&pages(4, 1)));
    }

    #[ktest]
    fn address_belongs_to_the_region_around_it_alone() {
        let mut map = RegionMap::new();
        map.insert(&pages(1, 1), WRITE);
        assert_eq!(map.at(BASE + PAGE_SIZE - 1), None);
        assert_eq!(map.at(BASE + PAGE_SIZE), Some(WRITE));
        assert_eq!(map.at(BASE + 2 * PAGE_SIZE - 1), Some(WRITE));
        assert_eq!(map.at(BASE + 2 * PAGE_SIZE), None);
    }

    #[ktest]
    fn hint_inside_a_region_is_not_taken() {
        // peer_012: at the start, in the middle, on the last page of a region.
        let mut map = RegionMap::new();
        map.insert(&pages(4, 3), READ);
        let ceiling = pages(20, 1).start();
        for page in [3, 4, 5, 6] {
            let hint = pages(page, 1).start();
            let found = map
                .find_free(hint, 2 * PAGE_SIZE, ceiling)
                .expect("there is room");
            assert!(map.is_free(&found));
            assert_eq!(found, pages(18, 2));
        }
        let end = pages(7, 2);
        assert_eq!(map.find_free(end.start(), end.len(), ceiling), Some(end));
    }

    #[ktest]
    fn highest_hole_that_is_large_enough_is_found() {
        let mut map = RegionMap::new();
        map.insert(&pages(18, 2), READ);
        map.insert(&pages(15, 2), READ);
        map.insert(&pages(8, 2), READ);
        let ceiling = pages(20, 1).start();
        assert_eq!(map.find_free(0, PAGE_SIZE, ceiling), Some(pages(17, 1)));
        assert_eq!(map.find_free(0, 2 * PAGE_SIZE, ceiling), Some(pages(13, 2)));
        assert_eq!(map.find_free(0, usize::MAX, ceiling), None);
        assert_eq!(map.find_free(0, USER_RANGE.end, ceiling), None);
    }
    #[ktest]
    fn peer_047_changes_over_many_regions_agree_with_a_page_by_page_model() {
        const PAGES: usize = 24;
        let (mut map, mut model) = (RegionMap::new(), [None; PAGES]);
        let mut state = 1_usize;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..2000 {
            let first = random(PAGES);
            let count = 1 + random(PAGES - first);
            let (range, pages) = (pages(first, count), first..first + count);
            // Few kinds, so that equal neighbours are frequent.
            let region = [READ, WRITE][random(2)];
            match random(3) {
                0 => {
                    map.remove(&range);
                    model[pages].fill(None);
                }
                1 if map.is_free(&range) => {
                    map.insert(&range, region);
                    model[pages].fill(Some(region));
                }
                _ => {
                    map.protect(&range, region.protection);
                    let there = model[pages].iter_mut().flatten();
                    there.for_each(|old| old.protection = region.protection);
                }
            }
            let found: [_; PAGES] = core::array::from_fn(|page| map.at(BASE + page * PAGE_SIZE));
            assert_eq!(found, model);
            let starts = |page: &usize| {
                let before = page.checked_sub(1).and_then(|before| model[before]);
                model[*page].is_some_and(|region| before != Some(region))
            };
            let regions = (0..PAGES).filter(starts).count();
            assert_eq!(map.regions.len(), regions, "equal neighbours are one");
        }
    }
}
