//! Do frames live and die as their metadata says?

mod hog;
mod list;
mod reserve;
mod segment;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use self::hog::Hog;
use super::meta::{self, REF_COUNT_MAX, SLOT_SIZE};
use super::{
    AnyFrameMeta, DropHook, Frame, FrameAllocOptions, GetFrameError, Segment, UFrame, UniqueFrame,
    UntypedMem, frame_counts, validate_free_frames,
};
use crate::arch::memory;
use crate::mm::{Infallible, PAGE_SIZE, USegment, VmIo, VmReader};
use crate::prelude::*;
use crate::{impl_frame_meta_for, impl_untyped_frame_meta_for};

#[derive(Debug, PartialEq, Eq)]
struct Mark(u64);
#[derive(Debug)]
struct Other;
impl_frame_meta_for!(Mark, Other);

fn frame() -> Frame<()> {
    FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory")
}

/// Returns the address of a frame that nobody uses.
fn unused() -> Paddr {
    let frame = frame();
    frame.start_paddr()
}

fn slot(paddr: Paddr) -> &'static meta::MetaSlot {
    meta::slot_of(paddr).expect("it is a frame")
}

/// Claims the frame at an address for a type.
fn claim(paddr: Paddr) -> Result<Frame<Mark>, GetFrameError> {
    Frame::from_unused(paddr, Mark(7))
}

/// Returns an address of RAM that is the kernel's for ever.
const RESERVED: Paddr = 0;

#[ktest]
fn claims_7_8_slot_is_32_bytes_at_its_frames_place() {
    assert_eq!(SLOT_SIZE, 32);
    let frames: [Frame<()>; 8] = [(); 8].map(|()| frame());
    for frame in &frames {
        let slot = slot(frame.start_paddr());
        let address = core::ptr::from_ref(slot).addr();
        assert!(address.is_multiple_of(32));
        assert_eq!(
            address,
            memory::slot_base() + frame.start_paddr() / PAGE_SIZE * 32
        );
        assert_eq!(slot.frame_paddr(), frame.start_paddr());
    }
}

#[ktest]
fn claim_30_unused_frame_is_claimed_with_one_reference() {
    let paddr = unused();
    let frame = claim(paddr).expect("nobody uses it");
    assert_eq!((frame.reference_count(), frame.meta()), (1, &Mark(7)));
    assert_eq!(
        (frame.start_paddr(), frame.size(), frame.map_level()),
        (paddr, PAGE_SIZE, 1)
    );
}

#[ktest]
fn claimed_frame_is_the_allocators_no_more_until_it_is_dropped() {
    let free = frame_counts().free;
    let all = FrameAllocOptions::new()
        .alloc_segment(16)
        .expect("enough memory");
    let range = all.paddr_range();
    drop(all);
    // In the middle of a free block, at its start, and at its end.
    for index in [5, 0, 15, 8] {
        let paddr = range.start + index * PAGE_SIZE;
        let claimed = claim(paddr).expect("nobody uses it");
        assert_eq!(frame_counts().free, free - 1);
        validate_free_frames();
        let frames: Vec<_> = (0..64).map(|_| frame()).collect();
        assert!(frames.iter().all(|frame| frame.start_paddr() != paddr));
        drop((claimed, frames));
    }
    assert_eq!(frame_counts().free, free);
    validate_free_frames();
}

#[ktest]
fn claim_31_shared_frame_is_not_claimed() {
    let frame = frame();
    let clone = frame.clone();
    assert_eq!(claim(frame.start_paddr()).err(), Some(GetFrameError::InUse));
    assert_eq!(clone.reference_count(), 2);
}

#[ktest]
fn claim_32_unique_and_busy_frames_are_not_claimed() {
    let unique = UniqueFrame::try_from(frame()).expect("it has one reference");
    assert_eq!(
        claim(unique.start_paddr()).err(),
        Some(GetFrameError::Unique)
    );
    let paddr = unused();
    slot(paddr).set_busy(true);
    assert_eq!(claim(paddr).err(), Some(GetFrameError::Busy));
    assert_eq!(Frame::from_in_use(paddr).err(), Some(GetFrameError::Busy));
    slot(paddr).set_busy(false);
}

#[ktest]
fn claims_33_34_address_errors_come_in_order() {
    let bound = memory::max_paddr();
    for (paddr, why) in [
        (1, GetFrameError::NotAligned),
        (bound + 1, GetFrameError::NotAligned),
        (usize::MAX, GetFrameError::NotAligned),
        (bound, GetFrameError::OutOfBound),
        (usize::MAX & !0xfff, GetFrameError::OutOfBound),
    ] {
        assert_eq!(claim(paddr).err(), Some(why), "at {paddr:#x}");
        assert_eq!(Frame::from_in_use(paddr).err(), Some(why), "at {paddr:#x}");
    }
}

#[ktest]
fn choice_l17_reserved_memory_and_holes_are_refused_each_in_its_way() {
    assert_eq!(claim(RESERVED).err(), Some(GetFrameError::Reserved));
    assert_eq!(
        Frame::from_in_use(RESERVED).err(),
        Some(GetFrameError::Reserved)
    );
    let hole = (0..memory::max_paddr())
        .step_by(PAGE_SIZE)
        .find(|paddr| slot(*paddr).mark() == Some(meta::Mark::NotRam));
    let hole = hole.expect("every machine has a hole");
    assert_eq!(claim(hole).err(), Some(GetFrameError::NotRam));
    assert_eq!(Frame::from_in_use(hole).err(), Some(GetFrameError::NotRam));
}

#[ktest]
fn claim_35_look_up_refuses_unused_and_unique_frames() {
    let look_up = |paddr| Frame::from_in_use(paddr).err();
    assert_eq!(look_up(unused()), Some(GetFrameError::Unused));
    let unique = UniqueFrame::try_from(frame()).expect("it has one reference");
    assert_eq!(look_up(unique.start_paddr()), Some(GetFrameError::Unique));
}

#[ktest]
fn look_up_finds_a_shared_frame_and_adds_a_reference() {
    let frame = frame();
    let found = Frame::from_in_use(frame.start_paddr()).expect("it is shared");
    assert_eq!(
        (frame.reference_count(), found.start_paddr()),
        (2, frame.start_paddr())
    );
}

#[ktest]
fn claim_36_clone_adds_a_reference_and_drop_takes_one() {
    // peer_019
    let frame = frame();
    let clones: Vec<_> = (2..10)
        .map(|count| {
            let clone = frame.clone();
            assert_eq!(frame.reference_count(), count);
            clone
        })
        .collect();
    drop(clones);
    assert_eq!(frame.reference_count(), 1);
}

static HOOKS_RUN: AtomicUsize = AtomicUsize::new(0);
static VALUES_DROPPED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct Counting;

// SAFETY: 1. it is not untyped; 2. nothing is said of zeros.
unsafe impl AnyFrameMeta for Counting {
    fn on_drop(&mut self, reader: &mut VmReader<'_, Infallible>) {
        assert_eq!(reader.remain(), PAGE_SIZE);
        assert_eq!(
            VALUES_DROPPED.load(Ordering::Relaxed),
            0,
            "the hook comes first"
        );
        HOOKS_RUN.fetch_add(1, Ordering::Relaxed);
    }

    fn drop_hook() -> DropHook {
        DropHook::Runs
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        VALUES_DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

#[ktest]
fn claim_37_last_reference_runs_the_hook_once_and_frees_once() {
    let before = frame_counts();
    let frame = FrameAllocOptions::new()
        .alloc_frame_with(Counting)
        .expect("enough memory");
    let paddr = frame.start_paddr();
    assert_eq!(frame_counts().free, before.free - 1);
    drop(frame.clone());
    assert_eq!(HOOKS_RUN.load(Ordering::Relaxed), 0);
    drop(frame);
    let run = (
        HOOKS_RUN.load(Ordering::Relaxed),
        VALUES_DROPPED.load(Ordering::Relaxed),
    );
    assert_eq!(run, (1, 1));
    assert_eq!(frame_counts(), before);
    assert!(slot(paddr).is_unused());
}

#[ktest]
#[should_panic(expected = "too many references")]
fn claim_38_clone_at_the_limit_stops_the_machine() {
    // peer_018
    let frame = core::mem::ManuallyDrop::new(frame());
    slot(frame.start_paddr()).set_reference_count(REF_COUNT_MAX);
    core::mem::forget(Frame::clone(&frame));
}

#[ktest]
#[should_panic(expected = "too many references")]
fn choice_l8_look_up_at_the_limit_stops_the_machine() {
    let frame = core::mem::ManuallyDrop::new(frame());
    slot(frame.start_paddr()).set_reference_count(REF_COUNT_MAX);
    core::mem::forget(Frame::from_in_use(frame.start_paddr()));
}

#[ktest]
fn choice_l8_last_legal_reference_is_no_error() {
    let frame = frame();
    slot(frame.start_paddr()).set_reference_count(REF_COUNT_MAX - 1);
    drop(frame.clone());
    assert_eq!(frame.reference_count(), REF_COUNT_MAX - 1);
    slot(frame.start_paddr()).set_reference_count(1);
}

#[ktest]
fn claim_41_forgetting_and_restoring_changes_no_count() {
    let frame = frame();
    let other = frame.clone();
    let paddr = frame.into_raw();
    assert_eq!(other.reference_count(), 2);
    // SAFETY: The address is from `into_raw`, and used once.
    let frame = unsafe { Frame::<()>::from_raw(paddr) };
    assert_eq!((other.reference_count(), frame == other), (2, true));
}

#[ktest]
fn claim_42_borrowing_changes_no_count() {
    let frame = frame();
    {
        let borrowed = frame.borrow();
        assert_eq!(
            (borrowed.start_paddr(), borrowed.reference_count()),
            (frame.start_paddr(), 1)
        );
        let _again = borrowed.borrow();
        assert_eq!(frame.reference_count(), 1);
    }
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn claim_43_frame_becomes_unique_only_with_one_reference() {
    let frame = frame();
    let clone = frame.clone();
    let frame = UniqueFrame::try_from(frame).expect_err("there are two");
    assert_eq!(frame.reference_count(), 2);
    drop(clone);
    let unique = UniqueFrame::try_from(frame).expect("there is one");
    assert_eq!(slot(unique.start_paddr()).reference_count(), 0);
    assert_eq!(unique.size(), PAGE_SIZE);
}

#[ktest]
fn claim_44_unique_frame_is_shared_with_one_reference() {
    let unique = UniqueFrame::try_from(frame()).expect("there is one");
    let frame = Frame::from(unique);
    assert_eq!(frame.reference_count(), 1);
    assert!(Frame::from_in_use(frame.start_paddr()).is_ok());
}

#[ktest]
fn unique_frames_data_can_be_changed_and_replaced() {
    let mut unique = UniqueFrame::from_unused(unused(), Mark(1)).expect("nobody uses it");
    unique.meta_mut().0 = 2;
    assert_eq!(unique.meta(), &Mark(2));
    let unique = unique.repurpose(Other);
    let frame: Frame<dyn AnyFrameMeta> = Frame::from(unique).into();
    assert!(Frame::<Mark>::try_from(frame.clone()).is_err());
    assert!(Frame::<Other>::try_from(frame).is_ok());
}

#[ktest]
fn claim_46_operations_leave_other_slots_alone() {
    let frames: Vec<_> = (0..3).map(|_| frame()).collect();
    let others = || [frames[0].reference_count(), frames[2].reference_count()];
    let before = others();
    let clone = frames[1].clone();
    assert_eq!(others(), before);
    drop(clone);
    assert_eq!(others(), before);
}

#[ktest]
fn claim_56_wrong_type_returns_the_handle_unharmed() {
    let frame = FrameAllocOptions::new()
        .alloc_frame_with(Mark(3))
        .expect("enough memory");
    let any: Frame<dyn AnyFrameMeta> = frame.into();
    let any = Frame::<Other>::try_from(any).expect_err("it is of another type");
    let any = UFrame::try_from(any).expect_err("it is not untyped");
    assert_eq!(any.reference_count(), 1);
    let frame = Frame::<Mark>::try_from(any).expect("it is of this type");
    assert_eq!(frame.meta(), &Mark(3));
}

#[ktest]
fn untyped_frame_is_known_as_such() {
    let frame: UFrame = frame().into();
    let any: Frame<dyn AnyFrameMeta> = frame.into();
    assert!(any.dyn_meta().is_untyped());
    assert!(UFrame::try_from(any).is_ok());
}

#[ktest]
fn claim_63_frames_are_zeroed_unless_told_otherwise() {
    // peer_035, peer_101
    let dirty = frame();
    dirty.write_bytes(0, &[0xa5; PAGE_SIZE]).expect("it fits");
    let paddr = dirty.start_paddr();
    drop(dirty);
    let old = FrameAllocOptions::new()
        .zeroed(false)
        .alloc_frame()
        .expect("enough memory");
    assert_eq!(
        old.start_paddr(),
        paddr,
        "the last frame freed is the next one"
    );
    drop(old);
    let fresh = frame();
    let mut bytes = [1; PAGE_SIZE];
    fresh.read_bytes(0, &mut bytes).expect("it fits");
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[ktest]
fn readers_and_writers_of_a_frame_see_the_same_bytes() {
    let frame = frame();
    VmReader::from(&[1_u8, 2, 3][..]).read(&mut frame.writer());
    assert_eq!(frame.reader().read_val::<[u8; 4]>(), Ok([1, 2, 3, 0]));
}

#[ktest]
fn claim_45_unique_frame_cannot_be_mapped_and_free_one_neither() {
    // A mapping takes a shared reference, which neither has: the only way from
    // an address to one refuses both.
    let unique = UniqueFrame::try_from(frame()).expect("it has one reference");
    assert!(Frame::from_in_use(unique.start_paddr()).is_err());
    assert!(Frame::from_in_use(unused()).is_err());
}

#[derive(Debug, PartialEq, Eq)]
struct Full([u64; 2]);
#[derive(Debug, PartialEq, Eq)]
struct FullUntyped([u64; 2]);
impl_frame_meta_for!(Full);
impl_untyped_frame_meta_for!(FullUntyped);

#[ktest]
fn peer_022_largest_data_fits_by_either_macro_and_leaves_the_slots_rest_alone() {
    // Larger data does not compile: see the examples of `AnyFrameMeta`.
    assert_eq!(size_of::<Full>(), meta::FRAME_METADATA_MAX_SIZE);
    let options = FrameAllocOptions::new();
    let typed = options.alloc_frame_with(Full([u64::MAX; 2]));
    let untyped = options.alloc_frame_with(FullUntyped([u64::MAX; 2]));
    let (typed, untyped) = (
        typed.expect("enough memory"),
        untyped.expect("enough memory"),
    );
    assert_eq!(typed.meta(), &Full([u64::MAX; 2]));
    assert_eq!(untyped.meta(), &FullUntyped([u64::MAX; 2]));
    assert_eq!((typed.reference_count(), untyped.reference_count()), (1, 1));
    for paddr in [typed.start_paddr(), untyped.start_paddr()] {
        assert_eq!(slot(paddr).mark(), Some(meta::Mark::Managed));
    }
    let any: Frame<dyn AnyFrameMeta> = untyped.into();
    assert!(any.dyn_meta().is_untyped(), "its type is still known");
}

#[cfg(test)]
mod host {
    //! What needs unwinding.

    extern crate std;

    use std::panic::{AssertUnwindSafe, catch_unwind};

    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::{FrameAllocOptions, GetFrameError, Mark, UniqueFrame, claim, impl_frame_meta_for};
    use crate::arch::sim::Machine;

    static DROPS: AtomicUsize = AtomicUsize::new(0);

    #[derive(Debug)]
    struct Explosive;
    impl_frame_meta_for!(Explosive);

    impl Drop for Explosive {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
            panic!("on purpose");
        }
    }

    #[test]
    fn peer_020_data_whose_destructor_panics_is_dropped_once_and_its_frame_lost() {
        let machine = Machine::default();
        machine.on(0, || {
            let frame = FrameAllocOptions::new().alloc_frame_with(Explosive);
            let unique = UniqueFrame::try_from(frame.expect("enough memory"));
            let unique = unique.expect("it has one reference");
            let paddr = unique.start_paddr();
            let result = catch_unwind(AssertUnwindSafe(|| unique.repurpose(Mark(1))));
            assert!(result.is_err());
            assert_eq!(DROPS.load(Ordering::Relaxed), 1);
            // Nobody gets a frame whose data is gone.
            assert_eq!(claim(paddr).err(), Some(GetFrameError::Unique));
        });
        // It would miss the frame.
        core::mem::forget(machine);
    }
}
