//! Who waits for whom, and what is flushed before what.

extern crate std;

use std::sync::{Barrier, OnceLock};

use core::sync::atomic::{AtomicBool, Ordering};

use super::host::{VA, machine, read, unmap};
use super::*;
use crate::arch::mmu;
use crate::arch::sim::Machine;
use crate::cpu::CpuId;
use crate::mm::frame::{AnyFrameMeta, DropHook, frame_counts};
use crate::mm::page_table::MappedItem;
use crate::mm::{Infallible, USegment, VmIo, VmReader};

const M2: usize = 2 << 20;

fn prop(flags: PageFlags) -> PageProperty {
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

/// Returns a frame that starts with this byte.
fn frame_of(byte: u8) -> UFrame {
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    frame.write_val(0, &byte).expect("it fits");
    frame.into()
}

#[test]
fn peer_076_flush_that_is_left_out_shows_at_once() {
    machine(1).on(0, || {
        let (old, new) = (frame_of(1), frame_of(2));
        let space = space_with_page(VA, &old);
        space.activate();
        let (guard, range) = (disable_preempt(), VA..VA + PAGE_SIZE);
        let mut cursor = space
            .page_table()
            .cursor_mut(&guard, &range)
            .expect("a legal range");
        let item = MappedItem::MappedRam {
            frame: new,
            prop: prop(PageFlags::RW),
        };
        // SAFETY: 1. a user's page. 2. what is returned is kept beyond the flush.
        let replaced = unsafe { cursor.map(item) }.expect("enough memory");
        drop(cursor);
        assert_eq!(read(&space), Ok(1), "what a TLB may remember, it does");
        mmu::flush_page(VA);
        assert_eq!(read(&space), Ok(2));
        drop(replaced);
    });
}

#[test]
fn peer_055_activating_the_active_space_flushes_nothing_and_nobody_relies_on_it() {
    let machine = machine(1);
    machine.on(0, || {
        let space = space_with_page(VA, &frame_of(1));
        space.activate();
        let before = machine.flush_counts(0);
        space.activate();
        assert_eq!(machine.flush_counts(0), before);
        // Whoever replaces a page has it flushed, active as the space may be.
        let (guard, range) = (disable_preempt(), VA..VA + PAGE_SIZE);
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        cursor
            .map(frame_of(2), prop(PageFlags::RW))
            .expect("enough memory");
        drop(cursor);
        space.activate();
        assert_eq!(read(&space), Ok(2));
        // Another space is loaded, with all that it takes.
        let other = space_with_page(VA, &frame_of(3));
        let before = machine.flush_counts(0).1;
        other.activate();
        assert_eq!(read(&other), Ok(3));
        assert!(space.reader(VA, 1).is_err());
        assert_eq!(machine.flush_counts(0).1, before + 1);
    });
}

#[test]
fn peer_060_tables_wait_for_a_processor_that_idles_in_their_space() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    // The processor ran a program, and has nothing to do now.
    machine.on(1, || space.activate());
    machine.on(0, || {
        let (guard, range) = (disable_preempt(), VA..VA + 2 * M2);
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        let free = frame_counts().free;
        assert_eq!(cursor.unmap(M2), Ok(1));
        assert!(space.cpus().contains(CpuId::new(1)), "its root is loaded");
        assert_eq!(frame_counts().free, free, "table and page are kept");
        cursor.flusher().sync_tlb_flush();
        assert_eq!(frame_counts().free, free + 2);
        drop(cursor);
        drop(guard);
        drop(space);
    });
}

#[test]
fn peer_062_second_unmapping_of_a_page_waits_for_the_flush_of_the_first() {
    let machine = machine(3);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(2, || space.activate());
    machine.on(0, || unmap(&space, false));
    assert_ne!(machine.stale_translations(2), [], "nobody has waited yet");
    machine.on(1, || {
        let (guard, range) = (disable_preempt(), VA..VA + PAGE_SIZE);
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        assert_eq!(cursor.unmap(PAGE_SIZE), Ok(0), "the other one was first");
        cursor.flusher().sync_tlb_flush();
    });
    assert_eq!(machine.stale_translations(2), []);
    machine.on(0, || drop(space));
}

/// A machine that the drop hook can ask.
static ASKED: OnceLock<Machine> = OnceLock::new();
static IS_UNLOCKED: AtomicBool = AtomicBool::new(false);

/// Notes whether a node was unlocked before the frame went.
#[derive(Debug)]
struct Witness;

// SAFETY: 1. it is not untyped; 2. nothing is said of zeros.
unsafe impl AnyFrameMeta for Witness {
    fn on_drop(&mut self, _reader: &mut VmReader<'_, Infallible>) {
        let locks = ASKED.get().expect("the test made it").take_locks();
        IS_UNLOCKED.store(locks.iter().any(|(_, is_lock)| !is_lock), Ordering::Relaxed);
    }

    fn drop_hook() -> DropHook {
        DropHook::Runs
    }
}

#[test]
fn peer_062_cursor_that_ends_dispatches_before_it_unlocks() {
    let machine = ASKED.get_or_init(|| machine(1));
    machine.on(0, || {
        let space = space_with_page(VA, &frame());
        let witness = FrameAllocOptions::new()
            .alloc_frame_with(Witness)
            .expect("enough memory");
        let (guard, range) = (disable_preempt(), VA..VA + PAGE_SIZE);
        let cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        cursor
            .flusher()
            .issue_tlb_flush_with(TlbFlushOp::Address(VA), witness.into());
        machine.take_locks();
        drop(cursor);
        assert!(!IS_UNLOCKED.load(Ordering::Relaxed));
        assert!(machine.take_locks().iter().any(|(_, is_lock)| !is_lock));
    });
}

#[test]
fn peer_063_processor_that_waits_for_a_lock_with_interrupts_off_flushes_meanwhile() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    let (is_deaf, is_locked) = (Barrier::new(2), Barrier::new(2));
    let range = VA..VA + PAGE_SIZE;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            machine.on(1, || {
                space.activate();
                let irq_off = crate::irq::disable_local();
                is_deaf.wait();
                is_locked.wait();
                // The other processor has the nodes, and waits for this one.
                let cursor = space.cursor_mut(&irq_off, &range).expect("a legal range");
                assert_eq!(cursor.query().expect("in the range").1, None);
            });
        });
        machine.on(0, || {
            is_deaf.wait();
            let guard = disable_preempt();
            let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
            is_locked.wait();
            assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
            cursor.flusher().sync_tlb_flush();
            assert_eq!(machine.stale_translations(1), []);
        });
    });
    machine.on(0, || drop(space));
}

#[test]
fn peer_075_sizes_of_a_page_that_is_split_agree_until_both_are_flushed() {
    let machine = machine(2);
    let space = machine.on(0, || Arc::new(VmSpace::new().expect("enough memory")));
    (0..2).for_each(|cpu| machine.on(cpu, || space.activate()));
    let fifth = VA + 5 * PAGE_SIZE;
    machine.on(0, || {
        let mut options = FrameAllocOptions::new();
        let frames = options.zeroed(false).align(M2).alloc_segment(512);
        let frames: USegment = frames.expect("enough memory").into();
        let huge = (VA, frames.start_paddr());
        let (guard, range) = (disable_preempt(), VA..VA + M2);
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        cursor
            .map_segment(frames, prop(PageFlags::RW))
            .expect("enough memory");
        cursor.jump(fifth).expect("in the range");
        let read_only = |old| PageProperty {
            flags: PageFlags::R,
            ..old
        };
        let changed = cursor.protect_next(PAGE_SIZE, read_only);
        assert_eq!(changed, Ok(Some(fifth..fifth + PAGE_SIZE)));
        for cpu in 0..2 {
            let believed = machine.stale_translations(cpu);
            assert!(believed.contains(&huge), "the size has changed");
            for (va, paddr) in believed {
                let walked = space.page_table().page_walk(&guard, va);
                assert_eq!(walked.map(|(paddr, _)| paddr), Some(paddr));
            }
        }
        let flusher = cursor.flusher();
        flusher.issue_tlb_flush(TlbFlushOp::Address(fifth));
        flusher.dispatch_tlb_flush();
        flusher.sync_tlb_flush();
    });
    for cpu in 0..2 {
        assert_eq!(machine.stale_translations(cpu), []);
        machine.on(cpu, || {
            let write = |va| space.writer(va, 1).expect("active").write_val(&1_u8);
            assert_eq!(write(fifth), Err(Error::PageFault));
            assert_eq!(write(fifth + PAGE_SIZE), Ok(()));
        });
    }
    machine.on(0, || drop(space));
}
