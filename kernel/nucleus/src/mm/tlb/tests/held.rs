//! How much waits for other processors, at the worst moment.

extern crate std;

use std::sync::Mutex;

use super::host::{VA, machine, read, unmap};
use super::*;
use crate::cpu::{CpuId, CpuSet};
use crate::irq;
use crate::mm::page_table::PageTableFrag;
use crate::mm::tlb::held::MAX_HELD;
use crate::mm::tlb::{KeptNodes, held_back, wait_patiently};
use crate::sync::rcu;

const M2: usize = 2 << 20;

/// Maps pages from an address on, and unmaps them.
fn map_and_unmap(space: &VmSpace, start: Vaddr, pages: usize) {
    let guard = disable_preempt();
    let range = start..start + pages * PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
    for _ in 0..pages {
        cursor.map(frame(), prop).expect("enough memory");
    }
    cursor.jump(start).expect("in the range");
    assert_eq!(cursor.unmap(pages * PAGE_SIZE), Ok(pages));
}

#[test]
fn storm_of_unmaps_holds_back_no_more_than_its_bound_of_frames() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA + M2, &frame()));
    machine.on(1, || space.activate());
    machine.on(0, || {
        // More than the machine has, all in all; the other processor answers only
        // when it is waited for.
        for _ in 0..20 {
            map_and_unmap(&space, VA, 300);
        }
        let (now, most) = held_back();
        assert!(now > 0, "somebody has still to answer");
        assert!((MAX_HELD..=MAX_HELD + 300 * PAGE_SIZE).contains(&most));
    });
    machine.on(0, || drop(space));
}

#[test]
fn storm_of_unmaps_holds_back_no_more_than_its_bound_of_nodes() {
    let machine = machine(2);
    let space = machine.on(0, || Arc::new(VmSpace::new().expect("enough memory")));
    machine.on(1, || space.activate());
    machine.on(0, || {
        for _ in 0..30 {
            let guard = disable_preempt();
            let range = VA..VA + 2 * M2;
            let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
            let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
            for _ in 0..300 {
                cursor.map(frame(), prop).expect("enough memory");
            }
            cursor.jump(VA).expect("in the range");
            assert_eq!(cursor.unmap(M2), Ok(300));
        }
        let most = held_back().1;
        assert!((MAX_HELD..=MAX_HELD + 301 * PAGE_SIZE).contains(&most));
    });
    machine.on(0, || drop(space));
}

#[test]
fn cursor_within_another_waits_for_no_grace_period() {
    let machine = machine(2);
    let space = machine.on(0, || Arc::new(VmSpace::new().expect("enough memory")));
    machine.on(1, || {
        let guard = disable_preempt();
        let section = rcu::read(&guard);
        machine.on(0, || {
            let mut nodes = KeptNodes::new();
            nodes.push(frame_of_a_node(), MAX_HELD / PAGE_SIZE + 1);
            rcu::keep(&mut nodes);
            let page = VA..VA + PAGE_SIZE;
            let far = 1 << 39..(1 << 39) + PAGE_SIZE;
            // With interrupts off, and within a cursor: it would wait for ever.
            let irq_off = irq::disable_local();
            let outer = space.cursor_mut(&irq_off, &page).expect("a legal range");
            let guard = disable_preempt();
            let inner = space.cursor_mut(&guard, &far).expect("a legal range");
            drop((inner, outer));
        });
        drop(section);
    });
    machine.on(0, || drop(space));
}

fn frame_of_a_node() -> crate::mm::Frame<dyn crate::mm::frame::AnyFrameMeta> {
    let frame = FrameAllocOptions::new().alloc_frame();
    frame.expect("enough memory").into()
}

#[test]
fn kept_nodes_are_freed_each_once_and_in_any_number() {
    machine(1).on(0, || {
        for count in 0..4 {
            let free = crate::mm::frame::frame_counts().free;
            let (mut all, mut others) = (KeptNodes::new(), KeptNodes::new());
            for _ in 0..count {
                all.push(frame_of_a_node(), 1);
                others.push(frame_of_a_node(), 2);
            }
            all.append(&mut others);
            assert!(others.is_empty());
            assert_eq!(all.bytes(), 3 * count * PAGE_SIZE);
            all.free();
            assert_eq!(crate::mm::frame::frame_counts().free, free);
        }
    });
}

#[test]
#[should_panic(expected = "is no node")]
fn frame_that_others_use_is_not_kept_as_a_node() {
    machine(1).on(0, || {
        let frame = frame_of_a_node();
        KeptNodes::new().push(frame.clone(), 1);
    });
}

#[test]
fn memory_that_a_cut_off_table_is_counts_nodes_and_pages() {
    machine(1).on(0, || {
        let space = space_with_page(VA, &frame());
        let guard = disable_preempt();
        let mut cursor = space
            .page_table()
            .cursor_mut(&guard, &(0..1 << 30))
            .expect("a legal range");
        // SAFETY: 1. a user's pages. 2. no processor has the table loaded.
        let taken = unsafe { cursor.take_next(1 << 30) }.expect("nothing to split");
        let Some(PageTableFrag::StrayPageTable {
            num_pages,
            num_frames,
            ..
        }) = taken
        else {
            panic!("a table is there");
        };
        assert_eq!((num_frames, num_pages), (1, 3), "two nodes and a page");
    });
}

#[test]
fn peer_067_processor_that_does_not_answer_is_reported_once_and_waited_for() {
    let machine = machine(3);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    (1..3).for_each(|cpu| machine.on(cpu, || space.activate()));
    let reports = Mutex::new(std::vec::Vec::new());
    let (is_deaf, is_reported) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            machine.on(2, || {
                let irq_off = irq::disable_local();
                is_deaf.wait();
                is_reported.wait();
                drop(irq_off);
            });
        });
        machine.on(0, || {
            is_deaf.wait();
            unmap(&space, false);
            let mut asked = CpuSet::from(CpuId::new(1));
            asked.add(CpuId::new(2));
            wait_patiently(asked, 100, |silent| {
                reports.lock().expect("nobody panics").push(silent);
                is_reported.wait();
            });
        });
    });
    let silent = CpuSet::from(CpuId::new(2));
    assert_eq!(*reports.lock().expect("nobody panics"), [silent]);
    machine.on(2, || assert_eq!(read(&space), Err(Error::PageFault)));
    machine.on(0, || drop(space));
}

#[test]
fn peer_063_processor_that_waits_for_a_spin_lock_flushes_meanwhile() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    let lock = crate::sync::SpinLock::new(());
    let is_ready = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            machine.on(1, || {
                space.activate();
                is_ready.wait();
                is_ready.wait();
                // Off, by the lock: its holder waits for this processor.
                drop(lock.lock());
                assert_eq!(read(&space), Err(Error::PageFault));
            });
        });
        machine.on(0, || {
            is_ready.wait();
            let held = lock.lock();
            unmap(&space, false);
            is_ready.wait();
            crate::mm::tlb::wait_for_requests();
            drop(held);
        });
    });
    machine.on(0, || drop(space));
}
