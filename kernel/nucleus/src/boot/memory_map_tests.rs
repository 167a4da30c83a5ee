//! Does the memory map stay sane whatever firmware says?

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::{MAX_REGIONS, MemoryMap, RawRegion, Region, RegionKind};
use crate::prelude::*;
use RegionKind::{Framebuffer, Kernel, KernelConstant, Reclaimable, Reserved, Usable};

const K4: u64 = 4096;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn map(raw: &[(u64, u64, RegionKind)]) -> Box<MemoryMap> {
    let regions = raw
        .iter()
        .map(|&(start, end, kind)| RawRegion { start, end, kind });
    Box::new(MemoryMap::from_regions(regions))
}

#[track_caller]
fn assert_regions(map: &MemoryMap, expected: &[(u64, u64, RegionKind)]) {
    let actual: Vec<_> = map
        .regions()
        .iter()
        .map(|r| (r.start, r.end, r.kind))
        .collect();
    assert_eq!(actual, expected);
}

#[ktest]
fn claim_188_unsorted_regions_come_out_sorted() {
    let map = map(&[
        (8 * K4, 9 * K4, Usable),
        (0, K4, Reserved),
        (4 * K4, 5 * K4, Usable),
    ]);
    let sorted = [
        (0, K4, Reserved),
        (4 * K4, 5 * K4, Usable),
        (8 * K4, 9 * K4, Usable),
    ];
    assert_regions(&map, &sorted);
}

#[ktest]
fn claim_189_more_restrictive_kind_wins_in_either_order() {
    // peer_030
    let (low, high) = ((0, 8 * K4, Usable), (2 * K4, 4 * K4, Reserved));
    let expected = [
        (0, 2 * K4, Usable),
        (2 * K4, 4 * K4, Reserved),
        (4 * K4, 8 * K4, Usable),
    ];
    assert_regions(&map(&[low, high]), &expected);
    assert_regions(&map(&[high, low]), &expected);
}

#[ktest]
fn region_over_many_fills_the_holes_between_them() {
    let map = map(&[
        (K4, 2 * K4, Reserved),
        (3 * K4, 4 * K4, Kernel),
        (0, 6 * K4, Usable),
    ]);
    let expected = [
        (0, K4, Usable),
        (K4, 2 * K4, Reserved),
        (2 * K4, 3 * K4, Usable),
        (3 * K4, 4 * K4, Kernel),
        (4 * K4, 6 * K4, Usable),
    ];
    assert_regions(&map, &expected);
}

#[ktest]
fn constants_of_the_image_part_the_ram_that_may_be_written() {
    let map = map(&[
        (0, 4 * K4, Usable),
        (4 * K4, 6 * K4, Kernel),
        (6 * K4, 7 * K4, KernelConstant),
        // A page that both claim is a constant's.
        (6 * K4, 9 * K4, Kernel),
        (9 * K4, 10 * K4, Reserved),
        (10 * K4, 12 * K4, Usable),
    ]);
    let runs: Vec<_> = map.ram_by_writability().collect();
    let expected = [
        (0..6 * K4, true),
        (6 * K4..7 * K4, false),
        (7 * K4..9 * K4, true),
        (10 * K4..12 * K4, true),
    ];
    assert_eq!(runs, expected);
    assert!(map.ram_regions().eq([0..9 * K4, 10 * K4..12 * K4]));
}

#[ktest]
fn empty_and_reversed_regions_are_dropped() {
    assert_regions(
        &map(&[(K4, K4, Usable), (4 * K4, 2 * K4, Reserved), (0, 0, Usable)]),
        &[],
    );
}

#[ktest]
fn claim_190_free_memory_shrinks_and_taken_memory_grows_to_pages() {
    let map = map(&[(1, 3 * K4 - 1, Usable), (4 * K4 + 1, 5 * K4 + 1, Reserved)]);
    assert_regions(&map, &[(K4, 2 * K4, Usable), (4 * K4, 6 * K4, Reserved)]);
}

#[ktest]
fn free_memory_of_less_than_a_page_is_nothing() {
    assert_regions(&map(&[(K4 + 1, 2 * K4 + 100, Usable)]), &[]);
}

#[ktest]
fn claim_188_equal_neighbours_are_merged() {
    let map = map(&[
        (0, K4, Usable),
        (2 * K4, 3 * K4, Usable),
        (K4, 2 * K4, Usable),
    ]);
    assert_regions(&map, &[(0, 3 * K4, Usable)]);
}

#[ktest]
fn region_up_to_the_last_address_is_clipped() {
    assert_regions(
        &map(&[(TIB, u64::MAX, Reserved)]),
        &[(TIB, 1 << 52, Reserved)],
    );
    assert_regions(&map(&[(u64::MAX - 5, u64::MAX, Usable)]), &[]);
}

#[ktest]
fn ram_above_a_hole_of_terabytes_is_found() {
    // peer_031
    let map = map(&[
        (0, GIB, Usable),
        (TIB - GIB, TIB, Usable),
        (TIB, 2 * TIB, Reserved),
    ]);
    assert_eq!(map.end_of_ram(), TIB);
    assert!(map.ram_regions().eq([0..GIB, TIB - GIB..TIB]));
    assert_eq!(map.kind_at(GIB), None);
    assert_eq!(map.kind_at(TIB - 1), Some(Usable));
}

#[ktest]
fn ram_runs_join_kinds_of_ram_and_stop_at_others() {
    let map = map(&[
        (0, K4, Usable),
        (K4, 2 * K4, Reclaimable),
        (2 * K4, 3 * K4, Kernel),
        (3 * K4, 4 * K4, Framebuffer),
        (4 * K4, 5 * K4, Usable),
    ]);
    assert!(map.ram_regions().eq([0..3 * K4, 4 * K4..5 * K4]));
}

#[ktest]
fn first_and_last_byte_of_each_region_are_its_own() {
    // peer_016: the bytes outside belong to the neighbours.
    let map = map(&[
        (0, K4, Usable),
        (K4, 2 * K4, Reserved),
        (3 * K4, 4 * K4, Usable),
    ]);
    for (address, kind) in [
        (0, Some(Usable)),
        (K4 - 1, Some(Usable)),
        (K4, Some(Reserved)),
        (2 * K4 - 1, Some(Reserved)),
        (2 * K4, None),
        (3 * K4 - 1, None),
        (3 * K4, Some(Usable)),
        (4 * K4 - 1, Some(Usable)),
        (4 * K4, None),
    ] {
        assert_eq!(map.kind_at(address), kind, "at {address:#x}");
    }
}

#[ktest]
fn three_hundred_entries_are_no_problem() {
    let raw = (0..300_u64).rev().map(|i| RawRegion {
        start: i * 2 * K4,
        end: (i * 2 + 1) * K4,
        kind: if i % 2 == 0 { Usable } else { Reserved },
    });
    let map = Box::new(MemoryMap::from_regions(raw));
    assert_eq!((map.regions().len(), map.lost_bytes()), (300, 0));
}

#[ktest]
fn three_hundred_entries_leave_room_for_what_start_up_takes() {
    // Pages of four kinds in turn, and then image, initramfs and screen as start-up
    // carves them, and the pages that the early allocator took.
    const KINDS: [RegionKind; 4] = [Usable, Reserved, Usable, Reclaimable];
    let raw = (0..300_u64).map(|i| RawRegion {
        start: i * K4,
        end: (i + 1) * K4,
        kind: KINDS[i as usize % 4],
    });
    let rest = RawRegion {
        start: GIB,
        end: 2 * GIB,
        kind: Usable,
    };
    let mut map = Box::new(MemoryMap::from_regions(raw.chain([rest])));
    for page in 0..600 {
        map.carve(GIB + page * K4..GIB + (page + 1) * K4, Kernel);
    }
    map.carve(GIB + GIB / 2..GIB + GIB / 2 + 800 * K4, Framebuffer);
    assert_eq!((map.regions().len(), map.lost_bytes()), (304, 0));
    assert_eq!(map.bytes_of(Kernel), 600 * K4);
}

#[ktest]
fn full_map_gives_up_memory_but_no_reservation() {
    let usable = (0..400_u64).map(|i| (i * 4, Usable));
    let reserved = (0..400_u64).map(|i| (i * 4 + 2, Reserved));
    let raw = usable.chain(reserved).map(|(page, kind)| RawRegion {
        start: page * K4,
        end: (page + 1) * K4,
        kind,
    });
    let map = Box::new(MemoryMap::from_regions(raw));
    assert_eq!(map.regions().len(), MAX_REGIONS);
    assert_eq!(map.bytes_of(Reserved), 400 * K4);
    assert_eq!(map.bytes_of(Usable) + map.lost_bytes(), 400 * K4);
}

#[ktest]
fn full_map_may_give_up_the_very_region_that_is_to_be_covered() {
    // Found by `kernel/fuzz`. All free regions but the last are of two pages, so
    // that filling the hole before the last costs the last one.
    let free = MAX_REGIONS as u64;
    let mut raw: Vec<_> = (0..free)
        .map(|i| (i * 3 * K4, (i * 3 + 2) * K4, Usable))
        .collect();
    let last = raw.last_mut().expect("there are many");
    last.1 -= K4;
    let covering = (last.0 - K4, last.1, Reserved);
    raw.push(covering);
    let map = map(&raw);
    assert!(is_sorted_disjoint_and_merged(map.regions()), "{map:?}");
    assert_eq!(map.bytes_of(Reserved), 2 * K4);
    assert_eq!(map.bytes_of(Usable), (free - 1) * 2 * K4);
}

#[ktest]
fn memory_that_the_loader_uses_is_never_given_up() {
    // Found by `kernel/fuzz`: it was, and became usable by what came after.
    let count = MAX_REGIONS as u64;
    let tooth = |i: u64, kind| (i * 2 * K4, (i * 2 + 1) * K4, kind);
    let mut raw = vec![tooth(0, Reclaimable)];
    raw.extend((1..count).map(|i| (i * 3 * K4, (i * 3 + 2) * K4, Usable)));
    raw.push(tooth(2 * count, Reserved));
    raw.push(tooth(0, Usable));
    let map = map(&raw);
    assert_eq!(map.kind_at(0), Some(Reclaimable));
}

#[ktest]
fn region_over_many_needs_no_more_room_than_it_saves() {
    // Found by `kernel/fuzz`: each hole was filled by a region of its own at first.
    let free = MAX_REGIONS as u64;
    let mut raw: Vec<_> = (0..free)
        .map(|i| (i * 2 * K4, (i * 2 + 1) * K4, Usable))
        .collect();
    raw.push((0, 2 * free * K4, Reserved));
    let map = map(&raw);
    assert_regions(&map, &[(0, 2 * free * K4, Reserved)]);
}

/// Compares with the kind of each page, found by asking every raw region.
#[ktest]
fn claims_188_189_190_map_agrees_with_a_page_by_page_model() {
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    const KINDS: [RegionKind; 4] = [Usable, Reclaimable, Kernel, Reserved];
    for _ in 0..200 {
        let raw: Vec<_> = (0..12)
            .map(|_| RawRegion {
                start: random(64) * K4,
                end: random(64) * K4,
                kind: KINDS[random(4) as usize],
            })
            .collect();
        let map = Box::new(MemoryMap::from_regions(raw.iter().copied()));
        for page in 0..64 {
            let covering = raw
                .iter()
                .filter(|r| (r.start..r.end).contains(&(page * K4)));
            let expected = covering.map(|r| r.kind).max();
            assert_eq!(map.kind_at(page * K4), expected, "page {page} of {raw:?}");
        }
        assert!(is_sorted_disjoint_and_merged(map.regions()), "{map:?}");
    }
}

fn is_sorted_disjoint_and_merged(regions: &[Region]) -> bool {
    regions.windows(2).all(|pair| {
        let (a, b) = (pair[0], pair[1]);
        a.end < b.start || (a.end == b.start && a.kind != b.kind)
    })
}
