//! Several processors, whose TLBs remember all they may.

extern crate std;

use alloc::vec::Vec;

use super::*;
use crate::arch::sim::{Config, Machine};
use crate::mm::frame::frame_counts;
use crate::mm::tlb::FlushQueue;

pub(super) const VA: Vaddr = 0x40_0000;

pub(super) fn machine(cpus: usize) -> Machine {
    Machine::new(Config {
        cpus,
        ..Config::default()
    })
}

/// Returns the queue of a processor.
fn queue(cpu: usize) -> &'static FlushQueue {
    &crate::arch::cpu::of(crate::cpu::CpuId::new(cpu)).flushes
}

/// Makes a space that some processors have active.
fn space_of(machine: &Machine, cpus: core::ops::Range<usize>) -> Arc<VmSpace> {
    let space = machine.on(0, || Arc::new(VmSpace::new().expect("enough memory")));
    for cpu in cpus {
        machine.on(cpu, || space.activate());
    }
    space
}

pub(super) fn read(space: &VmSpace) -> Result<u8> {
    space.reader(VA, 1).expect("the space is active").read_val()
}

/// Unmaps the page; synchronises if `sync`.
pub(super) fn unmap(space: &VmSpace, sync: bool) {
    let guard = disable_preempt();
    let mut cursor = space
        .cursor_mut(&guard, &(VA..VA + PAGE_SIZE))
        .expect("a legal range");
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
    if sync {
        cursor.flusher().sync_tlb_flush();
    }
}

#[test]
fn claims_141_142_nothing_is_flushed_before_a_dispatch_nor_by_one_of_nothing() {
    let machine = machine(2);
    let space = space_of(&machine, 0..2);
    machine.on(0, || {
        let guard = disable_preempt();
        let flusher = TlbFlusher::new(space.users(), &guard);
        let before = machine.flush_counts(0);
        flusher.dispatch_tlb_flush();
        flusher.issue_tlb_flush(TlbFlushOp::Address(VA));
        flusher.issue_tlb_flush_with(TlbFlushOp::Address(VA + PAGE_SIZE), frame().into());
        assert_eq!(machine.flush_counts(0), before);
        assert_eq!(queue(1).requested(), 0);
        flusher.dispatch_tlb_flush();
        let after = (before.0 + 2, before.1);
        assert_eq!((machine.flush_counts(0), queue(1).requested()), (after, 1));
        flusher.dispatch_tlb_flush();
        assert_eq!((machine.flush_counts(0), queue(1).requested()), (after, 1));
    });
    machine.on(1, || ());
    machine.on(0, || {
        crate::sync::rcu::poll();
        drop(space);
    });
}

#[test]
fn claim_144_frame_is_kept_until_the_other_processor_has_flushed() {
    let machine = machine(2);
    let space = space_of(&machine, 1..2);
    let frame = machine.on(0, frame);
    machine.on(0, || {
        let guard = disable_preempt();
        let flusher = TlbFlusher::new(space.users(), &guard);
        flusher.issue_tlb_flush_with(TlbFlushOp::Address(VA), frame.clone().into());
        flusher.dispatch_tlb_flush();
        crate::sync::rcu::poll();
        assert_eq!((frame.reference_count(), queue(1).done()), (2, 0));
        machine.on(1, || assert_eq!(queue(1).done(), 1));
        crate::sync::rcu::poll();
        assert_eq!(frame.reference_count(), 1);
        drop((flusher, frame));
    });
    machine.on(0, || drop(space));
}

#[test]
fn claim_145_sync_waits_for_what_was_dispatched_to_the_tables_users_alone() {
    let machine = machine(2);
    let (space, other) = (space_of(&machine, 1..2), space_of(&machine, 0..1));
    machine.on(0, || {
        let guard = disable_preempt();
        let (busy, idle) = (
            TlbFlusher::new(space.users(), &guard),
            TlbFlusher::new(other.users(), &guard),
        );
        busy.issue_tlb_flush(TlbFlushOp::Address(VA));
        busy.dispatch_tlb_flush();
        busy.issue_tlb_flush(TlbFlushOp::Address(VA));
        idle.sync_tlb_flush();
        assert_eq!((queue(1).requested(), queue(1).done()), (1, 0));
        busy.sync_tlb_flush();
        assert_eq!((queue(1).requested(), queue(1).done()), (1, 1));
        // Synchronised is synchronised: nothing more to wait for.
        busy.dispatch_tlb_flush();
        busy.sync_tlb_flush();
        assert_eq!((queue(1).requested(), queue(1).done()), (2, 2));
    });
    machine.on(0, || drop((space, other)));
}

#[test]
fn claim_147_from_the_threshold_on_everything_is_flushed() {
    let machine = machine(2);
    let space = space_of(&machine, 0..2);
    let flushes = |cpu, before: (usize, usize)| {
        let (pages, all) = machine.flush_counts(cpu);
        (pages - before.0, all - before.1)
    };
    let page = |number: usize| TlbFlushOp::Address(VA + number * PAGE_SIZE);
    let range = |pages: usize| TlbFlushOp::Range(VA..VA + pages * PAGE_SIZE);
    let singles = |count: usize| (0..count).map(page).collect::<Vec<_>>();
    for (ops, expected) in [
        (singles(31), (31, 0)),
        (singles(32), (0, 1)),
        (singles(33), (0, 1)),
        (Vec::from([range(31)]), (31, 0)),
        (Vec::from([range(32)]), (0, 1)),
        (Vec::from([range(16), page(0), range(14)]), (31, 0)),
        (Vec::from([range(16), page(0), range(15)]), (0, 1)),
        (Vec::from([TlbFlushOp::All]), (0, 1)),
        (Vec::from([page(0), TlbFlushOp::All, page(1)]), (0, 1)),
    ] {
        let before = [machine.flush_counts(0), machine.flush_counts(1)];
        machine.on(0, || {
            let guard = disable_preempt();
            let flusher = TlbFlusher::new(space.users(), &guard);
            ops.iter()
                .for_each(|op| flusher.issue_tlb_flush(op.clone()));
            flusher.dispatch_tlb_flush();
        });
        machine.on(1, || ());
        assert_eq!(flushes(0, before[0]), expected, "{ops:x?}");
        assert_eq!(flushes(1, before[1]), expected, "{ops:x?}");
    }
    machine.on(0, || drop(space));
}

#[test]
fn claims_143_148_choice_l12_after_sync_no_processor_has_the_translation() {
    // peer_056
    let machine = machine(3);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    for cpu in 0..3 {
        machine.on(cpu, || {
            space.activate();
            assert_eq!(read(&space), Ok(0));
        });
    }
    machine.on(0, || unmap(&space, true));
    for cpu in 0..3 {
        machine.on(cpu, || assert_eq!(read(&space), Err(Error::PageFault)));
    }
    machine.on(0, || drop(space));
}

#[test]
fn without_sync_another_processor_may_use_the_page_and_so_it_is_kept() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(1, || {
        let irq_off = crate::irq::disable_local();
        space.activate();
        let free = machine.on(0, || {
            space.activate();
            unmap(&space, false);
            frame_counts().free
        });
        // The processor has not heard of it: its old translation still works.
        assert_eq!(read(&space), Ok(0));
        drop(irq_off);
        // Now it has.
        assert_eq!(read(&space), Err(Error::PageFault));
        machine.on(0, || {
            crate::sync::rcu::poll();
            assert_eq!(frame_counts().free, free + 1);
        });
    });
    machine.on(0, || drop(space));
}

#[test]
#[should_panic(expected = "can reach it by a cached translation")]
fn the_checker_sees_a_frame_that_is_freed_too_early() {
    // What the flusher prevents, done by hand: the checker must object.
    machine(1).on(0, || {
        let space = space_with_page(VA, &frame());
        space.activate();
        let guard = disable_preempt();
        let range = VA..VA + PAGE_SIZE;
        let mut cursor = space
            .page_table()
            .cursor_mut(&guard, &range)
            .expect("a legal range");
        // SAFETY: Not sound: 2. what is returned is dropped without a flush.
        drop(unsafe { cursor.take_next(PAGE_SIZE) });
    });
}

#[test]
#[should_panic(expected = "paging-structure caches")]
fn peer_059_the_checker_sees_a_node_that_is_freed_too_early() {
    machine(1).on(0, || {
        let (frame, guard) = (frame(), disable_preempt());
        let space = space_with_page(VA, &frame);
        space.activate();
        let range = VA..VA + (4 << 20);
        let mut cursor = space
            .page_table()
            .cursor_mut(&guard, &range)
            .expect("a legal range");
        // SAFETY: Not sound: 2. what is returned is dropped without a flush.
        let taken = unsafe { cursor.take_next(4 << 20) };
        std::mem::forget(frame);
        drop(taken);
    });
}

#[test]
fn claim_149_activation_during_an_unmap_sees_the_new_table() {
    // peer_069: after the entry is gone and before the flush is dispatched,
    // another processor comes along.
    let machine = machine(2);
    let frame = machine.on(0, frame);
    let space = machine.on(0, || space_with_page(VA, &frame));
    machine.on(0, || {
        let guard = disable_preempt();
        let range = VA..VA + PAGE_SIZE;
        let mut cursor = space
            .page_table()
            .cursor_mut(&guard, &range)
            .expect("a legal range");
        // SAFETY: 1. a user's page; 2. kept by the flusher below.
        let taken = unsafe { cursor.take_next(PAGE_SIZE) }.expect("nothing to split");
        machine.on(1, || {
            space.activate();
            assert_eq!(read(&space), Err(Error::PageFault));
        });
        drop(taken);
    });
    machine.on(0, || drop((space, frame)));
}

#[test]
fn peer_066_early_answer_is_not_taken_for_a_later_request() {
    let machine = machine(2);
    let space = space_of(&machine, 1..2);
    machine.on(0, || {
        let one = queue(1);
        let guard = disable_preempt();
        let flusher = TlbFlusher::new(space.users(), &guard);
        flusher.issue_tlb_flush(TlbFlushOp::Address(VA));
        flusher.dispatch_tlb_flush();
        assert_eq!((one.requested(), one.done()), (1, 0));
        machine.on(1, || ());
        assert_eq!(one.done(), 1);
        flusher.issue_tlb_flush(TlbFlushOp::Address(VA));
        flusher.dispatch_tlb_flush();
        assert_eq!((one.requested(), one.done()), (2, 1));
        flusher.sync_tlb_flush();
        assert_eq!(one.done(), 2);
    });
    machine.on(0, || drop(space));
}

#[test]
fn processors_that_do_not_use_the_table_are_not_interrupted() {
    let machine = machine(3);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(1, || space.activate());
    machine.on(0, || unmap(&space, false));
    machine.on(0, || {
        assert_eq!([0, 1, 2].map(|cpu| queue(cpu).requested()), [0, 1, 0]);
        drop(space);
    });
}

#[test]
fn peer_064_processors_that_flush_each_other_do_not_hang() {
    let machine = machine(2);
    let space = machine.on(0, || Arc::new(VmSpace::new().expect("enough memory")));
    std::thread::scope(|scope| {
        for cpu in 0..2_usize {
            let (machine, space) = (&machine, &space);
            scope.spawn(move || {
                machine.on(cpu, || {
                    space.activate();
                    let va = VA + cpu * (4 << 20);
                    for _ in 0..300 {
                        let guard = disable_preempt();
                        let range = va..va + PAGE_SIZE;
                        let mut cursor = space.cursor_mut(&guard, &range).expect("a range");
                        let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
                        cursor.map(frame(), prop).expect("enough memory");
                        cursor.jump(va).expect("in the range");
                        assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
                        cursor.flusher().sync_tlb_flush();
                    }
                });
            });
        }
    });
    machine.on(0, || drop(space));
}

#[test]
fn claims_118_152_flush_of_an_address_leaves_other_translations() {
    machine(1).on(0, || {
        let (first, second) = (frame(), frame());
        let space = space_with_page(VA, &first);
        let guard = disable_preempt();
        let range = VA..VA + 2 * PAGE_SIZE;
        let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        cursor.jump(VA + PAGE_SIZE).expect("in the range");
        cursor.map(second.clone(), prop).expect("enough memory");
        drop(cursor);
        space.activate();
        // Both are made read-only, and only the first is flushed: a write to
        // the second still goes through its old translation.
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        for _ in 0..2 {
            let rest = range.end - cursor.virt_addr();
            let read_only = |old: PageProperty| PageProperty {
                flags: PageFlags::R,
                ..old
            };
            assert!(
                cursor
                    .protect_next(rest, read_only)
                    .expect("nothing to split")
                    .is_some()
            );
        }
        cursor.flusher().issue_tlb_flush(TlbFlushOp::Address(VA));
        cursor.flusher().dispatch_tlb_flush();
        drop(cursor);
        let write = |va| space.writer(va, 1).expect("active").write_val(&1_u8);
        assert_eq!(write(VA), Err(Error::PageFault));
        assert_eq!(write(VA + PAGE_SIZE), Ok(()), "protecting flushed nothing");
    });
}

#[test]
fn claim_150_unmap_dispatches_once_however_much_it_removes() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(1, || space.activate());
    machine.on(0, || {
        let (guard, frame) = (disable_preempt(), frame());
        // Single pages at both edges and tables in between.
        let range = VA + PAGE_SIZE..VA + (8 << 20) - PAGE_SIZE;
        let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        for _ in 0..2000 {
            cursor.map(frame.clone(), prop).expect("enough memory");
        }
        let one = queue(1);
        assert_eq!(
            one.requested(),
            0,
            "mapping what was not mapped flushes nothing"
        );
        cursor.jump(range.start).expect("in the range");
        assert_eq!(cursor.unmap(range.end - range.start), Ok(2000));
        assert_eq!(one.requested(), 1);
        cursor.jump(range.start).expect("in the range");
        assert_eq!(cursor.unmap(PAGE_SIZE), Ok(0));
        assert_eq!(one.requested(), 1, "and nothing that was not removed");
        drop(cursor);
        drop(guard);
        machine.on(1, VmSpace::deactivate_current);
        drop((space, frame));
    });
}

#[test]
fn claim_151_after_all_flushes_no_processor_believes_what_is_not_so() {
    let machine = machine(3);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    for cpu in 0..3 {
        machine.on(cpu, || space.activate());
    }
    let mut state = 1_usize;
    for _ in 0..300 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695);
        let number = state >> 33;
        machine.on(number % 3, || {
            let guard = disable_preempt();
            let va = VA + number % 64 * PAGE_SIZE;
            let range = va..va + (1 + number % 7) * PAGE_SIZE;
            let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
            if number % 5 < 3 {
                let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
                cursor.map(frame(), prop).expect("enough memory");
            } else {
                cursor
                    .unmap(range.end - range.start)
                    .expect("nothing to split");
            }
            cursor.flusher().sync_tlb_flush();
        });
        for cpu in 0..3 {
            assert_eq!(machine.stale_translations(cpu), []);
        }
    }
    machine.on(0, || drop(space));
}

#[test]
fn room_for_an_unusual_number_of_frames_is_given_back() {
    machine(1).on(0, || {
        let (users, guard, frame) = (nobody(), disable_preempt(), frame());
        let room = || {
            let buffers = &crate::arch::cpu::local().flush_buffers;
            // SAFETY: Nobody has the buffer while there is no flusher.
            let buffer = unsafe { &*buffers.buffer.get() };
            (buffer.frames.capacity(), buffer.segments.capacity())
        };
        let usual = room();
        assert!(usual.0 > 0 && usual.1 == 0);
        for count in [1, usual.0, 3 * usual.0] {
            let flusher = TlbFlusher::new(&users, &guard);
            for _ in 0..count {
                flusher.issue_tlb_flush_with(TlbFlushOp::Address(VA), frame.clone().into());
            }
            drop(flusher);
            assert_eq!(room(), usual);
        }
    });
}
