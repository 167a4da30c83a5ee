//! Reference counts of frames, and the allocator.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nucleus::arch::sim::Machine;
use nucleus::arch::sim::interleave::in_parallel;
use nucleus::mm::frame::{AnyFrameMeta, GetFrameError, UniqueFrame, frame_counts};
use nucleus::mm::{Frame, FrameAllocOptions, PAGE_SIZE, Segment};
use shuttle::rand::{Rng, thread_rng};

use crate::machine;

type AnyFrame = Frame<dyn AnyFrameMeta>;

/// Allocates a frame on the first processor of a machine; returns its address, too.
fn frame(machine: &Machine) -> (Frame<()>, usize) {
    machine.on(0, || {
        let frame = FrameAllocOptions::new().zeroed(false).alloc_frame();
        let frame = frame.expect("there is memory");
        let paddr = frame.start_paddr();
        (frame, paddr)
    })
}

/// Looks a frame up that some have references of and nobody else uses.
fn look_up(paddr: usize) -> Option<AnyFrame> {
    match AnyFrame::from_in_use(paddr) {
        Ok(frame) => {
            assert_ne!(frame.reference_count(), 0, "the reference counts");
            Some(frame)
        }
        Err(GetFrameError::Unused | GetFrameError::Busy) => None,
        Err(error) => panic!("the frame is {error:?}"),
    }
}

/// Two holders share a frame with others; one looks it up again by its address.
/// That it is freed, and once, is what the machine looks at in the end.
pub(crate) fn counts() {
    let machine = machine(2);
    let (first, paddr) = frame(&machine);
    let second = first.clone();
    in_parallel(
        &machine,
        vec![
            Box::new(move || drop((first.clone(), first))),
            Box::new(move || {
                let third = second.clone();
                drop(second);
                drop(third);
                drop(look_up(paddr));
            }),
        ],
    );
}

/// As [`counts`], for three holders that do anything.
pub(crate) fn counts_of_three() {
    let machine = machine(3);
    let (handle, paddr) = frame(&machine);
    let act = |handle: Frame<()>| {
        let mut handles = vec![AnyFrame::from(handle)];
        for _ in 0..4 {
            match thread_rng().gen_range(0..3) {
                0 => handles.extend(look_up(paddr)),
                1 => handles.extend(handles.last().cloned()),
                _ => drop(handles.pop()),
            }
        }
    };
    let (one, other) = (handle.clone(), handle.clone());
    in_parallel(
        &machine,
        vec![
            Box::new(move || act(handle)),
            Box::new(move || act(one)),
            Box::new(move || act(other)),
        ],
    );
}

/// One makes a frame unique, if it can, and then another one's; another looks it up.
pub(crate) fn unique() {
    let machine = machine(2);
    let (frame, paddr) = frame(&machine);
    let is_unique = AtomicBool::new(false);
    let own = || {
        let frame = match UniqueFrame::try_from(frame) {
            Ok(unique) => {
                is_unique.store(true, Ordering::SeqCst);
                let error = AnyFrame::from_in_use(paddr).map(drop);
                assert_eq!(error, Err(GetFrameError::Unique));
                let unique = unique.repurpose(());
                is_unique.store(false, Ordering::SeqCst);
                Frame::from(unique)
            }
            Err(frame) => frame,
        };
        drop(frame);
    };
    let look = || {
        let found = AnyFrame::from_in_use(paddr);
        if let Ok(frame) = found {
            assert!(
                !is_unique.load(Ordering::SeqCst),
                "a unique frame was found"
            );
            // A place to switch.
            drop(frame.clone());
            assert!(
                !is_unique.load(Ordering::SeqCst),
                "a frame found became unique"
            );
        }
    };
    in_parallel(&machine, vec![Box::new(own), Box::new(look)]);
}

/// Frames in somebody's hands.
#[derive(Default)]
struct Given(Mutex<BTreeSet<usize>>);

impl Given {
    fn take(&self, segment: &Segment<()>) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for paddr in segment.paddr_range().step_by(PAGE_SIZE) {
            assert!(given.insert(paddr), "frame {paddr:#x} was given out twice");
        }
    }

    fn give_back(&self, segment: Segment<()>) {
        {
            let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for paddr in segment.paddr_range().step_by(PAGE_SIZE) {
                assert!(given.remove(&paddr));
            }
        }
        drop(segment);
    }
}

/// Allocates and frees at random.
fn churn(given: &Given, may_fail: bool) {
    let mut held = Vec::new();
    for _ in 0..5 {
        if thread_rng().gen_range(0..3) == 0 {
            held.pop()
                .into_iter()
                .for_each(|segment| given.give_back(segment));
            continue;
        }
        let mut options = FrameAllocOptions::new();
        options.zeroed(false);
        let segment = match thread_rng().gen_range(0..4) {
            0 => options.alloc_frame().map(Segment::from),
            frames => options.alloc_segment(frames),
        };
        match segment {
            Ok(segment) => {
                given.take(&segment);
                held.push(segment);
            }
            Err(error) => assert!(may_fail, "there is memory, but {error}"),
        }
    }
    held.into_iter()
        .for_each(|segment| given.give_back(segment));
}

fn churn_in_parallel(machine: &Machine, may_fail: bool) {
    let free = machine.on(0, || frame_counts().free);
    let given = Given::default();
    let body = || churn(&given, may_fail);
    in_parallel(machine, (0..3).map(|_| Box::new(body) as _).collect());
    assert_eq!(machine.on(0, || frame_counts().free), free);
}

pub(crate) fn allocator() {
    churn_in_parallel(&machine(3), false);
}

/// As [`allocator`], with nine frames, some of which are side by side.
pub(crate) fn exhausted() {
    let machine = machine(3);
    let hog = machine.on(0, || {
        let mut options = FrameAllocOptions::new();
        options.zeroed(false);
        let mut hog: Vec<_> = std::iter::from_fn(|| options.alloc_frame().ok()).collect();
        hog.truncate(hog.len() - 9);
        // What is not to be had empties the processor's cache.
        assert!(options.alloc_segment(1 << 9).is_err());
        hog
    });
    churn_in_parallel(&machine, true);
    machine.on(0, || drop(hog));
}
