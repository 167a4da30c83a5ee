//! Frames side by side.

use super::{
    AnyFrameMeta, Error, FrameAllocOptions, GetFrameError, Mark, PAGE_SIZE, Segment, USegment, Vec,
    frame, frame_counts, memory, slot,
};
use crate::prelude::ktest;

#[ktest]
fn claim_50_failed_segment_gives_back_what_it_claimed() {
    // peer_021: a busy frame at each place.
    let segment = FrameAllocOptions::new()
        .alloc_segment(4)
        .expect("enough memory");
    let range = segment.paddr_range();
    assert_eq!(segment.start_paddr()..segment.end_paddr(), range);
    for busy in 0..4 {
        let mut frames: Vec<_> = segment.clone().collect();
        let keep = frames.remove(busy);
        drop(frames);
        let start = keep.start_paddr();
        assert_eq!(
            Segment::from_unused(range.clone(), |_| Mark(0)).err(),
            Some(GetFrameError::InUse)
        );
        assert!(start == range.start + busy * PAGE_SIZE && keep.reference_count() == 2);
    }
    assert_eq!(segment.reference_count(), 1);
}

#[ktest]
fn failed_segment_leaves_the_frames_before_unused() {
    let free = frame_counts().free;
    let mut frames = FrameAllocOptions::new()
        .alloc_segment(2)
        .expect("enough memory");
    let range = frames.paddr_range();
    drop(frames.next());
    assert_eq!(
        Segment::from_unused(range.clone(), |_| Mark(0)).err(),
        Some(GetFrameError::InUse)
    );
    assert_eq!(frame_counts().free, free - 1);
    drop(frames);
    let again = Segment::from_unused(range, |_| Mark(0)).expect("both are free");
    assert_eq!(frame_counts().free, free - again.size() / PAGE_SIZE);
}

#[ktest]
fn segment_errors_come_in_order() {
    let bound = memory::max_paddr();
    for (range, why) in [
        (1..PAGE_SIZE, GetFrameError::NotAligned),
        (0..bound + 1, GetFrameError::NotAligned),
        (0..bound + PAGE_SIZE, GetFrameError::OutOfBound),
        (
            bound + PAGE_SIZE..bound + PAGE_SIZE,
            GetFrameError::OutOfBound,
        ),
    ] {
        assert_eq!(Segment::from_unused(range, |_| Mark(0)).err(), Some(why));
    }
}

#[ktest]
#[should_panic(expected = "a segment of no frames")]
fn claim_51_segment_of_an_empty_range_panics() {
    drop(Segment::from_unused(PAGE_SIZE..PAGE_SIZE, |_| Mark(0)));
}

#[ktest]
fn claim_52_splitting_changes_no_count_and_slicing_adds_one_a_frame() {
    let segment = FrameAllocOptions::new()
        .alloc_segment(4)
        .expect("enough memory");
    let start = segment.start_paddr();
    let counts = || [0, 1, 2, 3].map(|n| slot(start + n * PAGE_SIZE).reference_count());
    let slice = segment.slice(&(PAGE_SIZE..3 * PAGE_SIZE));
    assert_eq!(counts(), [1, 2, 2, 1]);
    let (first, second) = segment.split(PAGE_SIZE);
    assert_eq!(counts(), [1, 2, 2, 1]);
    assert_eq!((first.size(), second.size()), (PAGE_SIZE, 3 * PAGE_SIZE));
    drop(second);
    assert_eq!(counts(), [1, 1, 1, 0]);
    drop(slice);
    assert_eq!(counts(), [1, 0, 0, 0]);
}

#[ktest]
fn claim_53_empty_slice_is_legal() {
    // peer_017
    let segment = FrameAllocOptions::new()
        .alloc_segment(2)
        .expect("enough memory");
    for at in [0, PAGE_SIZE, 2 * PAGE_SIZE] {
        let empty = segment.slice(&(at..at));
        assert_eq!((empty.size(), empty.reference_count()), (0, 0));
        let any: Segment<dyn AnyFrameMeta> = empty.into();
        assert!(
            Segment::<()>::try_from(any).is_err(),
            "it has no frame to look at"
        );
    }
    assert_eq!(segment.reference_count(), 1);
}

fn segment_of_two() -> Segment<()> {
    FrameAllocOptions::new()
        .alloc_segment(2)
        .expect("enough memory")
}

#[ktest]
#[should_panic(expected = "leaves one side empty")]
fn claim_53_split_at_the_start_panics() {
    drop(segment_of_two().split(0));
}

#[ktest]
#[should_panic(expected = "leaves one side empty")]
fn claim_53_split_at_the_end_panics() {
    drop(segment_of_two().split(2 * PAGE_SIZE));
}

#[ktest]
#[should_panic(expected = "not between frames")]
fn claim_53_unaligned_split_panics() {
    drop(segment_of_two().split(100));
}

#[ktest]
#[should_panic(expected = "is not part of a segment")]
fn claim_54_peer_008_slice_near_the_largest_number_panics() {
    drop(segment_of_two().slice(&(0..usize::MAX & !0xfff)));
}

#[ktest]
#[should_panic(expected = "is not part of a segment")]
fn reversed_slice_panics() {
    let reversed = core::ops::Range {
        start: PAGE_SIZE,
        end: 0,
    };
    drop(segment_of_two().slice(&reversed));
}

#[ktest]
#[should_panic(expected = "not whole frames")]
fn unaligned_slice_panics() {
    drop(segment_of_two().slice(&(0..100)));
}

#[ktest]
fn claim_55_iterating_moves_references_out_in_order() {
    let segment = FrameAllocOptions::new()
        .alloc_segment(3)
        .expect("enough memory");
    let start = segment.start_paddr();
    for (number, frame) in segment.enumerate() {
        assert_eq!(frame.start_paddr(), start + number * PAGE_SIZE);
        assert_eq!(frame.reference_count(), 1);
    }
    assert!(slot(start).is_unused());
}

#[ktest]
fn segments_convert_both_ways() {
    let frame = frame();
    let segment: Segment<()> = frame.clone().into();
    assert_eq!((segment.size(), frame.reference_count()), (PAGE_SIZE, 2));
    let any: Segment<dyn AnyFrameMeta> = segment.into();
    let any = Segment::<Mark>::try_from(any).expect_err("it is of another type");
    let back = Segment::<()>::try_from(any).expect("it is of this type");
    let untyped: USegment = back.into();
    assert_eq!(
        (untyped.start_paddr(), frame.reference_count()),
        (frame.start_paddr(), 2)
    );
}

#[ktest]
fn claim_64_segment_of_no_frames_is_refused() {
    let none = FrameAllocOptions::new().alloc_segment(0);
    assert_eq!(none.err(), Some(Error::InvalidArgs));
    let too_many = FrameAllocOptions::new().alloc_segment(usize::MAX / 2);
    assert_eq!(too_many.err(), Some(Error::NoMemory));
}

#[ktest]
fn segments_are_aligned_as_asked_and_take_no_more_than_that() {
    // peer_023, peer_025
    let before = frame_counts();
    for (frames, align) in [(1, 1 << 16), (3, PAGE_SIZE), (5, 1 << 15), (512, 2 << 20)] {
        let segment = FrameAllocOptions::new().align(align).alloc_segment(frames);
        let segment = segment.expect("enough memory");
        assert!(segment.start_paddr().is_multiple_of(align));
        assert_eq!(segment.size(), frames * PAGE_SIZE);
        assert_eq!(frame_counts().free, before.free - frames);
    }
    assert_eq!(frame_counts(), before);
}
