//! Do sets of processors hold what was added and not removed?

use super::set::{AtomicCpuSet, CpuSet};
use crate::cpu::{CpuId, MAX_CPUS, num_cpus};
use crate::prelude::*;

#[ktest]
fn set_holds_what_was_added_and_not_removed() {
    let mut set = CpuSet::new_empty();
    assert!(set.is_empty());
    for index in [0, 1, 63] {
        set.add(CpuId::new(index));
    }
    set.remove(CpuId::new(1));
    assert_eq!(set.count(), 2);
    assert!(set.iter().map(CpuId::as_usize).eq([0, 63]));
    assert!(set.contains(CpuId::new(63)) && !set.contains(CpuId::new(1)));
}

#[ktest]
fn full_set_is_the_machine() {
    assert_eq!(CpuSet::new_full().count(), num_cpus());
    assert!(CpuSet::new_full().contains(CpuId::bsp()));
}

#[ktest]
fn intersection_is_what_both_sets_hold() {
    let mut set = CpuSet::from(CpuId::new(3));
    assert!(set.iter().eq([CpuId::new(3)]));
    set.add(CpuId::new(63));
    let other = CpuSet::from(CpuId::new(63));
    assert_eq!(set.intersection(other), other);
    assert!(set.intersection(CpuId::new(0).into()).is_empty());
}

#[ktest]
fn atomic_set_reads_back() {
    let set = AtomicCpuSet::new(CpuSet::new_empty());
    set.add(CpuId::new(5));
    set.add(CpuId::new(6));
    set.remove(CpuId::new(5));
    assert!(set.load().iter().eq([CpuId::new(6)]));
}

#[ktest]
#[should_panic(expected = "so many processors")]
fn processor_beyond_the_last_cannot_be_named() {
    CpuId::new(MAX_CPUS);
}
