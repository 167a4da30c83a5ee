//! Does the allocator know where every frame is?

use alloc::vec::Vec;

use super::{FrameAllocator, drain_local_cache};
use crate::arch::memory;
use crate::mm::frame::tests::Hog;
use crate::mm::frame::{Frame, FrameAllocOptions, frame_counts, validate_free_frames};
use crate::mm::{PAGE_SIZE, Segment};
use crate::prelude::*;

fn frame() -> Frame<()> {
    FrameAllocOptions::new()
        .zeroed(false)
        .alloc_frame()
        .expect("enough memory")
}

/// Leaves a test out that counts what the pool and this processor's cache hold, or has
/// it all side by side: others use theirs meanwhile.
fn need_all_memory() {
    #[cfg(ktest)]
    if crate::cpu::num_cpus() > 1 {
        crate::ktest::skip("other processors allocate frames meanwhile");
    }
}

/// Checks that the buddy system has all the free frames there are.
#[track_caller]
fn assert_all_free(free: usize) {
    drain_local_cache();
    assert_eq!((frame_counts().free, validate_free_frames()), (free, free));
}

#[ktest]
fn every_frame_is_accounted_for_at_any_moment() {
    need_all_memory();
    let before = frame_counts();
    let mut frames = Vec::new();
    for count in 1..=300 {
        frames.push(frame());
        assert_eq!(frame_counts().free, before.free - count);
    }
    while let Some(frame) = frames.pop() {
        drop(frame);
        assert_eq!(frame_counts().free, before.free - frames.len());
    }
    assert_eq!(frame_counts(), before);
    assert_all_free(before.free);
}

#[ktest]
fn cache_that_is_empty_takes_half_of_what_it_holds_from_the_pool() {
    drain_local_cache();
    let pool = &memory::memory().buddy;
    let before = pool.nr_free();
    let frame = frame();
    assert_eq!(before - pool.nr_free(), super::CACHE_SIZE / 2);
    drop(frame);
    assert_eq!(before - pool.nr_free(), super::CACHE_SIZE / 2);
}

#[ktest]
fn frames_in_use_are_distinct() {
    let mut frames: Vec<_> = (0..500).map(|_| frame().into_raw()).collect();
    frames.sort_unstable();
    assert!(frames.windows(2).all(|pair| pair[0] < pair[1]));
    for paddr in frames {
        // SAFETY: From `into_raw` above, once.
        drop(unsafe { Frame::<()>::from_raw(paddr) });
    }
}

#[ktest]
fn freed_memory_is_poisoned_where_assertions_are_on() {
    let frame = frame();
    let word = memory::paddr_to_vaddr(frame.start_paddr()) as *const u64;
    drop(frame);
    // SAFETY: It is memory, which nobody has taken since.
    let seen = unsafe { word.read_volatile() };
    if cfg!(debug_assertions) {
        assert_eq!(seen, 0xdada_dada_dada_dada);
    }
}

#[ktest]
fn blocks_split_and_merge_to_where_they_started() {
    need_all_memory();
    let free = frame_counts().free;
    assert_all_free(free);
    let pool = &memory::memory().buddy;
    let mut blocks = Vec::new();
    for order in [0, 3, 1, 0, 5, 2, 0, 7] {
        let size = PAGE_SIZE << order;
        let start = pool.alloc(size, size).expect("enough memory");
        assert!(start.is_multiple_of(size));
        blocks.push((start, size));
        validate_free_frames();
    }
    // Freed in another order than allocated, one in halves.
    blocks.swap(0, 4);
    for (start, size) in blocks {
        if size > PAGE_SIZE {
            pool.dealloc(start + size / 2, size / 2);
            validate_free_frames();
            pool.dealloc(start, size / 2);
        } else {
            pool.dealloc(start, size);
        }
    }
    assert_all_free(free);
}

#[ktest]
fn freed_frames_become_large_blocks_again() {
    need_all_memory();
    // peer_024
    let free = frame_counts().free;
    let large = |frames| FrameAllocOptions::new().zeroed(false).alloc_segment(frames);
    let segment: Segment<()> = large(1024).expect("enough memory");
    let frames: Vec<_> = segment.collect();
    let (even, odd): (Vec<_>, Vec<_>) = frames
        .into_iter()
        .partition(|frame| (frame.start_paddr() / PAGE_SIZE).is_multiple_of(2));
    drop(odd);
    drop(even);
    assert_all_free(free);
    assert!(large(1024).is_ok());
}

#[ktest]
fn memory_in_the_cache_is_found_for_a_large_block() {
    need_all_memory();
    // All of memory is in single frames; when one run of it is in the cache, it
    // still makes a block.
    let segment = FrameAllocOptions::new().zeroed(false).alloc_segment(64);
    let others = Hog::until_refused(false);
    drop(segment.expect("enough memory"));
    assert!(
        FrameAllocOptions::new()
            .zeroed(false)
            .alloc_segment(64)
            .is_ok()
    );
    drop(others);
}

#[ktest]
fn exhausted_memory_is_an_error_and_comes_back() {
    let before = frame_counts();
    let hog = Hog::all_but(0);
    assert_eq!((hog.len(), frame_counts().free), (before.free, 0));
    let refused = FrameAllocOptions::new().alloc_segment(1);
    assert_eq!(refused.err(), Some(Error::NoMemory));
    drop(hog);
    assert_eq!(frame_counts(), before);
}

#[ktest]
fn claim_187_the_allocator_has_what_is_not_reserved() {
    let mut managed = 0;
    for paddr in (0..memory::max_paddr()).step_by(PAGE_SIZE) {
        let slot = crate::mm::frame::meta::slot_of(paddr).expect("it is below the bound");
        let is_managed = !matches!(
            slot.mark(),
            Some(crate::mm::frame::meta::Mark::NotRam | crate::mm::frame::meta::Mark::Reserved)
        );
        managed += usize::from(is_managed);
    }
    let counts = frame_counts();
    assert!(managed >= counts.managed && counts.free <= counts.managed);
}

#[cfg(test)]
mod host {
    //! What needs a machine of its own, or several processors.

    extern crate std;

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::FrameAllocator;
    use super::super::deputy::Deputy;
    use crate::arch::memory;
    use crate::arch::sim::{Config, Machine};
    use crate::mm::frame::{Frame, FrameAllocOptions, GetFrameError, frame_counts};
    use crate::mm::{PAGE_SIZE, Paddr};

    /// Gives out the same frame again and again.
    struct Liar(AtomicUsize);

    impl FrameAllocator for Liar {
        fn alloc(&self, _size: usize, _align: usize) -> Option<Paddr> {
            Some(self.0.load(Ordering::Relaxed))
        }

        fn dealloc(&self, _start: Paddr, _size: usize) {}

        fn nr_free(&self) -> usize {
            1
        }
    }

    #[test]
    #[should_panic(expected = "but the frame is in use")]
    fn claim_62_allocator_that_gives_out_a_used_frame_is_caught() {
        static LIAR: Liar = Liar(AtomicUsize::new(0));
        Machine::default().on(0, || {
            let frame = FrameAllocOptions::new()
                .alloc_frame()
                .expect("enough memory");
            LIAR.0.store(frame.start_paddr(), Ordering::Relaxed);
            memory::memory().pool.call_once(|| &LIAR);
            super::drain_local_cache();
            drop(FrameAllocOptions::new().alloc_frame());
        });
    }

    #[test]
    fn pool_of_somebody_else_is_not_asked_for_a_frame_by_its_address() {
        Machine::default().on(0, || {
            memory::memory().pool.call_once(|| &Deputy);
            let paddr = Deputy.alloc(PAGE_SIZE, PAGE_SIZE).expect("enough memory");
            // The pool has given the frame out, and is the one to know to whom.
            let frame = Frame::from_unused(paddr, ()).expect("nobody uses it");
            assert_eq!(frame.start_paddr(), paddr);
        });
    }

    #[test]
    fn claim_39_of_many_claims_of_a_frame_one_succeeds() {
        let machine = Machine::new(Config {
            cpus: 4,
            ..Config::default()
        });
        for _ in 0..200 {
            let paddr = machine.on(0, || {
                let frame = FrameAllocOptions::new()
                    .alloc_frame()
                    .expect("enough memory");
                let paddr = frame.start_paddr();
                drop(frame);
                super::super::drain_local_cache();
                paddr
            });
            let claims: usize = std::thread::scope(|scope| {
                let machine = &machine;
                let claim = move |cpu| {
                    machine.on(cpu, || match Frame::from_unused(paddr, ()) {
                        Ok(frame) => {
                            core::mem::forget(frame);
                            1
                        }
                        Err(GetFrameError::InUse | GetFrameError::Busy) => 0,
                        Err(why) => panic!("refused for another reason: {why}"),
                    })
                };
                let threads: std::vec::Vec<_> =
                    (0..4).map(|cpu| scope.spawn(move || claim(cpu))).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("no panic"))
                    .sum()
            });
            assert_eq!(claims, 1);
            // SAFETY: The one claim's reference was forgotten.
            machine.on(0, || drop(unsafe { Frame::<()>::from_raw(paddr) }));
        }
    }

    #[test]
    fn claim_40_look_up_never_yields_a_dying_frame() {
        let machine = Machine::new(Config {
            cpus: 3,
            ..Config::default()
        });
        let current = AtomicUsize::new(0);
        let is_over = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for cpu in 1..3 {
                let (machine, current, is_over) = (&machine, &current, &is_over);
                scope.spawn(move || {
                    machine.on(cpu, || {
                        while is_over.load(Ordering::Relaxed) == 0 {
                            let paddr = current.load(Ordering::Relaxed);
                            if let Ok(frame) = Frame::from_in_use(paddr) {
                                assert!(frame.reference_count() >= 1);
                                assert!(frame.dyn_meta().is_untyped());
                            }
                        }
                    });
                });
            }
            machine.on(0, || {
                for _ in 0..20_000 {
                    let frame = FrameAllocOptions::new().zeroed(false).alloc_frame();
                    let frame = frame.expect("enough memory");
                    current.store(frame.start_paddr(), Ordering::Relaxed);
                    drop(frame);
                }
                is_over.store(1, Ordering::Relaxed);
            });
        });
    }

    #[test]
    fn processors_allocate_and_free_each_others_frames() {
        let machine = Machine::new(Config {
            cpus: 4,
            ram: 8 << 20,
            ..Config::default()
        });
        let before = machine.on(0, frame_counts);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for cpu in 1..4 {
                let (machine, sender) = (&machine, sender.clone());
                scope.spawn(move || {
                    machine.on(cpu, || {
                        for _ in 0..500 {
                            if let Ok(frame) = FrameAllocOptions::new().alloc_frame() {
                                sender.send(frame).expect("somebody listens");
                            }
                        }
                    });
                });
            }
            drop(sender);
            machine.on(0, || receiver.iter().for_each(drop));
        });
        assert_eq!(machine.on(0, frame_counts), before);
        assert!(before.managed * PAGE_SIZE < 8 << 20);
    }
}
