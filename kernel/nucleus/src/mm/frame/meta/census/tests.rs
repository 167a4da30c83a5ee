//! Is every frame counted once, as what it is?

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Census, KindCount, OTHERS, ROWS, census};
use crate::cpu::disable_preempt;
use crate::impl_frame_meta_for;
use crate::mm::frame::{
    AnyFrameMeta, Frame, FrameAllocOptions, FrameKind, UniqueFrame, frame_counts,
};
use crate::mm::{CachePolicy, PAGE_SIZE, PageFlags, PageProperty, PagingLevel, VmSpace};
use crate::prelude::*;

/// What these tests alone have.
#[derive(Debug)]
struct Own;
/// Another type of the same kind.
#[derive(Debug)]
struct AlsoOwn;
/// A type without a name of its own.
#[derive(Debug)]
struct Nameless;
impl_frame_meta_for!(Own => "census-test", AlsoOwn => "census-test", Nameless);

fn frame<M: AnyFrameMeta>(meta: M) -> Frame<M> {
    FrameAllocOptions::new()
        .alloc_frame_with(meta)
        .expect("enough memory")
}

fn grown(before: &Census) -> Vec<(&'static str, PagingLevel, usize)> {
    let parts = |kind: KindCount| (kind.name, kind.level, kind.frames);
    let mut grown: Vec<_> = census().growth_since(before).map(parts).collect();
    grown.sort_unstable();
    grown
}

/// Leaves a test out that compares two censuses of all: others use frames meanwhile.
fn need_all_memory() {
    #[cfg(ktest)]
    if crate::cpu::num_cpus() > 1 {
        crate::ktest::skip("other processors allocate frames meanwhile");
    }
}

#[ktest]
fn every_frame_is_counted_once() {
    need_all_memory();
    let segment = FrameAllocOptions::new().alloc_segment_with(37, |_| Own);
    let (census, counts) = (census(), frame_counts());
    assert_eq!(census.managed(), counts.managed);
    assert_eq!(census.free + census.at_hand, counts.free);
    assert_eq!(census.in_transit, 0);
    assert_eq!(census.used(), counts.managed - counts.free);
    drop(segment);
}

#[ktest]
fn frame_is_of_its_kind_however_it_is_owned() {
    let owned = || census().of_kind("census-test");
    assert_eq!(owned(), 0);
    let shared = frame(Own);
    let clone = shared.clone();
    assert_eq!(owned(), 1);
    let unique = UniqueFrame::try_from(frame(AlsoOwn)).expect("it has one reference");
    assert_eq!(owned(), 2);
    let segment = FrameAllocOptions::new().alloc_segment_with(5, |_| Own);
    assert_eq!(owned(), 7);
    drop((shared, unique, segment));
    assert_eq!(owned(), 1);
    drop(clone);
    assert_eq!(owned(), 0);
}

#[ktest]
fn two_types_of_a_kind_are_one_row_and_a_type_without_a_name_has_its_own() {
    let frames = (frame(Own), frame(AlsoOwn), frame(Nameless));
    let census = census();
    let rows = |wanted: &str| {
        let rows = census.kinds().filter(|kind| kind.name.ends_with(wanted));
        rows.map(|kind| kind.frames).collect::<Vec<_>>()
    };
    assert_eq!(rows("census-test"), [2]);
    assert_eq!(rows("::Nameless"), [1]);
    drop(frames);
}

#[ktest]
fn growth_names_what_has_become_more_alone() {
    need_all_memory();
    let gone = frame(Nameless);
    let before = census();
    assert_eq!(grown(&before), []);
    drop(gone);
    let kept = [frame(Own), frame(Own), frame(Own)];
    assert_eq!(grown(&before), [("census-test", 0, 3)]);
    drop(kept);
    assert_eq!(grown(&before), []);
}

#[ktest]
fn nodes_are_counted_by_level() {
    need_all_memory();
    let before = census();
    let space = Arc::new(VmSpace::new().expect("enough memory"));
    let root = grown(&before);
    let frame = frame(());
    let tables_of = |grown: &[(&'static str, PagingLevel, usize)]| {
        let tables = grown.iter().filter(|(name, ..)| *name == "user-tables");
        tables
            .map(|(_, level, count)| (*level, *count))
            .collect::<Vec<_>>()
    };
    assert_eq!(tables_of(&root), [(4, 1)]);
    let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
    for start in [0x40_0000, 0x80_0000] {
        let guard = disable_preempt();
        let range = start..start + PAGE_SIZE;
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        cursor
            .map(frame.clone().into(), prop)
            .expect("enough memory");
    }
    assert_eq!(tables_of(&grown(&before)), [(1, 2), (2, 1), (3, 1), (4, 1)]);
    let shown = alloc::format!("{}", census().kinds().find(|kind| kind.level == 4).unwrap());
    assert!(shown.ends_with("-tables-4"), "{shown}");
}

/// As many types as one likes.
#[derive(Debug)]
struct Numbered<const N: usize>;

// SAFETY: 1. it is not untyped; 2. there is no hook.
unsafe impl<const N: usize> AnyFrameMeta for Numbered<N> {
    fn kind() -> FrameKind {
        const NAMES: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
        // Each of a level of its own, so that no two are the same kind.
        FrameKind::nodes(NAMES[N % 8])
    }
}

/// Makes a frame of each of eight types, as nodes of a level.
fn eight(level: PagingLevel) -> [Frame<dyn AnyFrameMeta>; 8] {
    fn one<const N: usize>(level: PagingLevel) -> Frame<dyn AnyFrameMeta> {
        let frame = frame(Numbered::<N>);
        frame.slot().set_level(level);
        frame.into()
    }
    [
        one::<0>(level),
        one::<1>(level),
        one::<2>(level),
        one::<3>(level),
        one::<4>(level),
        one::<5>(level),
        one::<6>(level),
        one::<7>(level),
    ]
}

#[ktest]
fn kinds_without_a_row_are_others_and_counted() {
    need_all_memory();
    let before = census();
    assert_eq!(before.of_kind(OTHERS), 0);
    let frames: Vec<_> = (1..=6).map(eight).collect();
    let full = census();
    assert_eq!(full.managed(), before.managed());
    assert_eq!(full.kinds().count(), ROWS);
    // The last row is that of the others.
    let numbered = full.kinds().filter(|kind| kind.name.starts_with('n'));
    let counted: usize = numbered.map(|kind| kind.frames).sum();
    // More, if frames of kinds that are there anyway come behind all of these.
    assert!(counted + full.of_kind(OTHERS) >= 8 * 6);
    assert!(full.of_kind(OTHERS) > 0 && counted > 0);
    drop(frames);
    assert_eq!(census().of_kind(OTHERS), 0);
}

#[cfg(test)]
mod host {
    //! What needs a machine of its own, or several processors.

    extern crate std;

    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::census;
    use super::{Own, frame};
    use crate::arch::memory;
    use crate::arch::sim::{Config, Machine};
    use crate::mm::frame::allocator::deputy::Deputy;
    use crate::mm::frame::{FrameAllocOptions, frame_counts};

    #[test]
    fn sum_is_what_is_managed_while_others_allocate_and_free() {
        const OTHERS: usize = 2;
        const CENSUSES: usize = 300;
        let machine = Machine::new(Config {
            cpus: 1 + OTHERS,
            ram: 8 << 20,
            ..Config::default()
        });
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for cpu in 1..=OTHERS {
                let (machine, is_over) = (&machine, &is_over);
                let work = || {
                    let mut options = FrameAllocOptions::new();
                    options.zeroed(false);
                    // Bounded, for a test that fails.
                    for _ in 0..100_000 {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        drop(options.alloc_segment_with(65, |_| Own));
                        drop([frame(Own), frame(Own), frame(Own)]);
                    }
                };
                scope.spawn(move || machine.on(cpu, work));
            }
            machine.on(0, || {
                let managed = frame_counts().managed;
                for _ in 0..CENSUSES {
                    assert_eq!(census().managed(), managed);
                }
                is_over.store(true, Ordering::Relaxed);
            });
        });
        machine.on(0, || assert_eq!(census().of_kind("census-test"), 0));
    }

    #[test]
    fn frames_of_somebody_elses_pool_are_free_and_counted() {
        Machine::default().on(0, || {
            let before = census();
            memory::memory().pool.call_once(|| &Deputy);
            let kept = frame(Own);
            let census = census();
            assert_eq!(census.managed(), before.managed());
            assert_eq!(census.free + census.at_hand, frame_counts().free);
            drop(kept);
        });
    }
}
