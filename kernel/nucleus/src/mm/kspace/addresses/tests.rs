//! Are free addresses joined, and lost ones counted?

extern crate std;

use std::vec::Vec;

use super::{KVIRT_RANGE, KvirtAllocator, MAX_FREE};
use crate::mm::PAGE_SIZE;

/// Checks that free ranges are not empty, sorted, not adjacent and not fresh.
#[track_caller]
fn assert_well_formed(addresses: &KvirtAllocator) {
    let free = &addresses.free[..addresses.nr_free];
    assert!(free.iter().all(|range| range.start < range.end));
    assert!(free.windows(2).all(|pair| pair[0].end < pair[1].start));
    assert!(free.last().is_none_or(|last| last.end < addresses.fresh));
}

#[test]
fn addresses_that_are_given_back_in_any_order_are_joined() {
    const COUNT: usize = 13;
    // Each step leads through all numbers, since the count is a prime.
    for step in 1..COUNT {
        let mut addresses = KvirtAllocator::new();
        let taken: Vec<_> = (1..=COUNT)
            .map(|pages| addresses.alloc(pages * PAGE_SIZE).expect("all are free"))
            .collect();
        let all = taken[COUNT - 1].end - KVIRT_RANGE.start;
        for turn in 0..COUNT {
            addresses.free(taken[turn * step % COUNT].clone());
            assert_well_formed(&addresses);
            let held = (turn + 1..COUNT).map(|turn| taken[turn * step % COUNT].len());
            let free = addresses.free.iter().map(ExactSizeIterator::len);
            let fresh = addresses.fresh - KVIRT_RANGE.start;
            assert_eq!(held.sum::<usize>() + free.sum::<usize>(), fresh);
        }
        assert_eq!((addresses.fresh, addresses.nr_free), (KVIRT_RANGE.start, 0));
        assert_eq!(
            addresses.alloc(all),
            Some(taken[0].start..taken[COUNT - 1].end)
        );
    }
}

#[test]
fn addresses_that_find_no_place_are_lost_and_counted() {
    let mut addresses = KvirtAllocator::new();
    let taken: Vec<_> = (0..2 * (MAX_FREE + 3))
        .map(|_| addresses.alloc(PAGE_SIZE).expect("all are free"))
        .collect();
    for (nr_freed, range) in taken.into_iter().step_by(2).enumerate() {
        addresses.free(range);
        assert_well_formed(&addresses);
        let lost = (nr_freed + 1).saturating_sub(MAX_FREE) * PAGE_SIZE;
        assert_eq!(addresses.lost_and_waiting(), (lost, 0));
    }
    assert_eq!(addresses.nr_free, MAX_FREE);
}
