//! Does arithmetic on regions agree with an obvious model, page by page?

use alloc::sync::Arc;
use alloc::vec::Vec;

use nucleus::mm::PageFlags;
use nucleus::prelude::*;

use super::super::object::SharedMemory;
use super::super::region::Backing;
use super::{
    GUARD_GAP, LOWEST_ADDRESS, PAGE_SIZE, Region, RegionFlags, RegionMap, Totals, UserRange,
};

const BASE: usize = 0x10_0000;

fn region(protection: PageFlags) -> Region {
    Region {
        protection,
        // As after the region was writable, so that it stays equal to others.
        flags: RegionFlags::MAY_WRITE | RegionFlags::HAS_OWN_PAGES,
        backing: Backing::Anonymous,
    }
}

fn read() -> Region {
    region(PageFlags::R)
}

fn write() -> Region {
    region(PageFlags::RW)
}

fn pages(first: usize, count: usize) -> UserRange {
    UserRange::new(BASE + first * PAGE_SIZE, count * PAGE_SIZE).expect("a legal range")
}

fn list(map: &RegionMap) -> Vec<(usize, usize, PageFlags)> {
    let page = |address: usize| (address - BASE) / PAGE_SIZE;
    let regions = map.iter();
    regions
        .map(|(range, region)| (page(range.start), page(range.end), region.protection))
        .collect()
}

#[ktest]
fn removing_the_middle_splits_a_region() {
    let mut map = RegionMap::new();
    map.insert(&pages(0, 10), read());
    map.remove(&pages(3, 4));
    assert_eq!(list(&map), [(0, 3, PageFlags::R), (7, 10, PageFlags::R)]);
    assert!(map.is_free(&pages(3, 4)) && !map.is_free(&pages(2, 2)));
}

#[ktest]
fn removing_over_several_regions_takes_their_parts() {
    let mut map = RegionMap::new();
    map.insert(&pages(0, 2), read());
    map.insert(&pages(3, 2), write());
    map.insert(&pages(6, 2), read());
    map.remove(&pages(1, 6));
    assert_eq!(list(&map), [(0, 1, PageFlags::R), (7, 8, PageFlags::R)]);
}

#[ktest]
fn protection_changes_split_and_merge_again() {
    let mut map = RegionMap::new();
    map.insert(&pages(0, 9), read());
    map.change(&pages(3, 3), |region| region.protect(PageFlags::RW));
    let split = [
        (0, 3, PageFlags::R),
        (3, 6, PageFlags::RW),
        (6, 9, PageFlags::R),
    ];
    assert_eq!(list(&map), split);
    map.change(&pages(3, 3), |region| region.protect(PageFlags::R));
    assert_eq!(list(&map), [(0, 9, PageFlags::R)]);
}

#[ktest]
fn adjacent_equal_regions_become_one() {
    let mut map = RegionMap::new();
    map.insert(&pages(4, 2), write());
    map.insert(&pages(0, 2), write());
    map.insert(&pages(2, 2), write());
    assert_eq!(list(&map), [(0, 6, PageFlags::RW)]);
}

#[ktest]
fn parts_of_an_object_become_one_if_they_follow_each_other_in_it() {
    let object = SharedMemory::new(16 * PAGE_SIZE);
    let at = |page: usize| Region {
        backing: Backing::Object {
            object: Arc::<SharedMemory>::clone(&object),
            offset: page * PAGE_SIZE,
        },
        ..read()
    };
    let mut map = RegionMap::new();
    map.insert(&pages(0, 2), at(0));
    map.insert(&pages(2, 2), at(2));
    assert_eq!(map.count(), 1);
    map.insert(&pages(4, 2), at(5));
    assert_eq!(map.count(), 2);
    map.remove(&pages(1, 1));
    let (_, rest) = map.at(pages(3, 1).start()).expect("it is there");
    let (_, index) = rest.object_page(PAGE_SIZE).expect("it has an object");
    assert_eq!(index, 3, "what is left knows where in the object it is");
}

#[ktest]
fn coverage_ends_at_the_first_hole() {
    let mut map = RegionMap::new();
    map.insert(&pages(0, 2), read());
    map.insert(&pages(2, 2), write());
    map.insert(&pages(5, 1), read());
    assert!(map.covers(&pages(0, 4)) && map.covers(&pages(1, 2)));
    assert!(!map.covers(&pages(0, 6)) && !map.covers(&pages(4, 1)));
    assert_eq!(map.covered_len(&pages(1, 5)), 3 * PAGE_SIZE);
    assert_eq!(map.covered_len(&pages(4, 2)), 0);
}

#[ktest]
fn address_belongs_to_the_region_around_it_alone() {
    let mut map = RegionMap::new();
    map.insert(&pages(1, 1), write());
    let is_there = |address: usize| map.at(address).is_some();
    assert!(!is_there(BASE + PAGE_SIZE - 1));
    assert!(is_there(BASE + PAGE_SIZE));
    assert!(is_there(BASE + 2 * PAGE_SIZE - 1));
    assert!(!is_there(BASE + 2 * PAGE_SIZE));
}

#[ktest]
fn neighbours_of_an_address_are_found() {
    let mut map = RegionMap::new();
    map.insert(&pages(2, 2), read());
    map.insert(&pages(6, 2), write());
    let above = |page| map.first_above(pages(page, 1).start()).map(|found| found.0);
    assert_eq!(above(0), Some(pages(2, 2).as_range().clone()));
    assert_eq!(above(3), Some(pages(2, 2).as_range().clone()));
    assert_eq!(above(4), Some(pages(6, 2).as_range().clone()));
    assert_eq!(above(8), None);
    let below = map.last_below(pages(5, 1).start()).map(|found| found.0);
    assert_eq!(below, Some(pages(2, 2).as_range().clone()));
}

#[ktest]
fn highest_hole_that_is_large_enough_is_found() {
    let mut map = RegionMap::new();
    map.set_ceiling(pages(20, 1).start());
    map.insert(&pages(18, 2), read());
    map.insert(&pages(15, 2), read());
    map.insert(&pages(8, 2), read());
    assert_eq!(map.find_free(PAGE_SIZE), Some(pages(17, 1)));
    assert_eq!(map.find_free(2 * PAGE_SIZE), Some(pages(13, 2)));
    assert_eq!(
        map.find_free(PAGE_SIZE),
        Some(pages(17, 1)),
        "it is still free"
    );
    assert_eq!(map.find_free(usize::MAX), None);
    assert_eq!(map.find_free(BASE), None);
}

#[ktest]
fn peer_096_free_addresses_keep_away_from_a_region_that_grows() {
    let mut map = RegionMap::new();
    let gap = GUARD_GAP / PAGE_SIZE;
    map.set_ceiling(pages(gap + 20, 1).start());
    let mut stack = write();
    stack.flags |= RegionFlags::GROWS_DOWN;
    map.insert(&pages(gap + 10, 10), stack);
    assert_eq!(map.find_free(PAGE_SIZE), Some(pages(9, 1)));
    map.insert(&pages(9, 1), read());
    map.remove(&pages(9, 1));
    assert_eq!(map.find_free(PAGE_SIZE), Some(pages(9, 1)));
}

/// Pages that the random tests are about.
const PAGES: usize = 24;

/// A generator of numbers, the same each time.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut state = 1_usize;
    move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    }
}

/// Says what the totals are, from the pages.
fn totals_of(model: &[Option<PageFlags>; PAGES]) -> Totals {
    let count = |is: fn(PageFlags) -> bool| {
        let pages = model.iter().flatten().filter(|flags| is(**flags));
        pages.count() * PAGE_SIZE
    };
    Totals {
        all: count(|_| true),
        data: count(|flags| flags.contains(PageFlags::W)),
        ..Totals::default()
    }
}

#[ktest]
fn peer_047_changes_over_many_regions_agree_with_a_page_by_page_model() {
    let (mut map, mut model) = (RegionMap::new(), [None; PAGES]);
    let mut random = numbers();
    for _ in 0..2000 {
        let first = random(PAGES);
        let count = 1 + random(PAGES - first);
        let (range, pages) = (pages(first, count), first..first + count);
        // Few kinds, so that equal neighbours are frequent.
        let protection = [PageFlags::R, PageFlags::RW][random(2)];
        match random(3) {
            0 => {
                map.remove(&range);
                model[pages].fill(None);
            }
            1 if map.is_free(&range) => {
                map.insert(&range, region(protection));
                model[pages].fill(Some(protection));
            }
            _ => {
                map.change(&range, |region| region.protect(protection));
                model[pages]
                    .iter_mut()
                    .flatten()
                    .for_each(|old| *old = protection);
            }
        }
        let found: [_; PAGES] = core::array::from_fn(|page| {
            let found = map.at(BASE + page * PAGE_SIZE);
            found.map(|(_, region)| region.protection)
        });
        assert_eq!(found, model);
        let starts = |page: &usize| {
            let before = page.checked_sub(1).and_then(|before| model[before]);
            model[*page].is_some_and(|region| before != Some(region))
        };
        let regions = (0..PAGES).filter(starts).count();
        assert_eq!(map.count(), regions, "equal neighbours are one");
        assert_eq!(map.totals(), totals_of(&model));
    }
}

#[ktest]
fn remembered_place_of_the_search_never_hides_a_hole() {
    let (mut map, mut random) = (RegionMap::new(), numbers());
    let ceiling = pages(PAGES, 1).start();
    map.set_ceiling(ceiling);
    for _ in 0..3000 {
        let first = random(PAGES);
        let count = 1 + random(PAGES - first).min(5);
        let range = pages(first, count);
        match random(4) {
            0 | 1 => map.remove(&range),
            2 if map.is_free(&range) => map.insert(&range, read()),
            _ => {}
        }
        let wanted = 1 + random(6);
        let highest = (0..=PAGES - wanted)
            .rev()
            .map(|page| pages(page, wanted))
            .find(|range| map.is_free(range));
        let below = pages(0, 1).start() - LOWEST_ADDRESS;
        let found = map.find_free(wanted * PAGE_SIZE);
        match highest {
            Some(highest) => assert_eq!(found, Some(highest)),
            None => {
                let found = found.expect("there is room below");
                assert!(found.end() <= BASE + PAGES * PAGE_SIZE && below > 0);
                assert!(map.is_free(&found));
            }
        }
        if let Some(range) = map.find_free(wanted * PAGE_SIZE)
            && random(2) == 0
            && range.start() >= BASE
        {
            map.insert(&range, write());
        }
    }
}
