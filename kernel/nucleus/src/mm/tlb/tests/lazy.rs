//! Identifiers of address spaces, and processors that are lazy.

extern crate std;

use alloc::vec::Vec;

use super::host::{VA, machine, read, unmap};
use super::*;
use crate::arch::sim::{Config, Machine};
use crate::arch::{cpu, tasks};
use crate::cpu::CpuId;
use crate::irq;
use crate::mm::frame::frame_counts;
use crate::mm::tlb::identifiers::NR_SLOTS;
use crate::mm::vm_space::on_switch;

const M2: usize = 2 << 20;

fn rest(machine: &Machine, cpu: usize) {
    switch(machine, cpu, None);
}

fn switch(machine: &Machine, cpu: usize, next: Option<&Arc<VmSpace>>) {
    let previous = machine.on(cpu, || {
        let irq_off = irq::disable_local();
        let previous = on_switch(next);
        drop(irq_off);
        previous
    });
    machine.on(cpu, || drop(previous));
}

fn flushes(machine: &Machine, cpu: usize) -> usize {
    machine.flush_counts(cpu).1
}

#[test]
fn switching_between_spaces_that_are_current_flushes_nothing() {
    let machine = machine(1);
    let spaces: Vec<_> = machine.on(0, || {
        (0..NR_SLOTS)
            .map(|_| space_with_page(VA, &frame()))
            .collect()
    });
    let visit_all = || {
        for space in &spaces {
            switch(&machine, 0, Some(space));
            machine.on(0, || assert_eq!(read(space), Ok(0)));
        }
        machine.on(0, VmSpace::deactivate_current);
        flushes(&machine, 0)
    };
    let first = visit_all();
    assert_eq!(visit_all(), first, "each has an identifier of its own");
    machine.on(0, || unmap(&spaces[3], false));
    assert_eq!(
        flushes(&machine, 0),
        first,
        "nobody flushes what is not loaded"
    );
    switch(&machine, 0, Some(&spaces[3]));
    assert_eq!(
        flushes(&machine, 0),
        first + 1,
        "but it has changed meanwhile"
    );
    machine.on(0, || {
        assert_eq!(read(&spaces[3]), Err(Error::PageFault));
        drop(spaces);
    });
}

#[test]
fn peer_073_identifier_that_another_space_had_is_flushed() {
    let machine = machine(1);
    machine.on(0, || {
        // More spaces than slots, each dead when the next one comes, so that roots
        // and frames are used again.
        for round in 0..3 * NR_SLOTS {
            let space = space_with_page(VA, &frame());
            space.activate();
            assert_eq!(read(&space), Ok(0), "round {round}");
            unmap(&space, true);
            assert_eq!(read(&space), Err(Error::PageFault));
            VmSpace::deactivate_current();
        }
    });
}

#[test]
fn peer_073_processor_without_identifiers_flushes_with_every_table() {
    let machine = Machine::new(Config {
        identifiers: false,
        ..Config::default()
    });
    let spaces = machine.on(0, || [(), ()].map(|()| space_with_page(VA, &frame())));
    let before = flushes(&machine, 0);
    for round in 0..4 {
        machine.on(0, || {
            spaces[round % 2].activate();
            assert_eq!(read(&spaces[round % 2]), Ok(0));
        });
    }
    assert_eq!(flushes(&machine, 0), before + 4);
    machine.on(0, || drop(spaces));
}

#[test]
fn peer_073_remote_space_that_is_not_loaded_is_flushed_when_it_is_again() {
    let machine = machine(2);
    let (space, other) = machine.on(0, || {
        (space_with_page(VA, &frame()), space_with_page(VA, &frame()))
    });
    machine.on(1, || {
        space.activate();
        assert_eq!(read(&space), Ok(0));
        other.activate();
    });
    machine.on(0, || unmap(&space, true));
    assert_eq!(machine.flush_interrupts(1), 0, "it does not use the space");
    assert_eq!(machine.hidden_translations(1), 1);
    machine.on(1, || {
        assert_eq!(read(&other), Ok(0));
        space.activate();
        assert_eq!(read(&space), Err(Error::PageFault));
    });
    machine.on(0, || drop((space, other)));
}

#[test]
fn lazy_processor_is_not_interrupted_for_pages_and_flushes_on_the_way_out() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(1, || space.activate());
    rest(&machine, 1);
    let before = flushes(&machine, 1);
    machine.on(0, || {
        let free = frame_counts().free;
        unmap(&space, false);
        assert_eq!(frame_counts().free, free + 1, "nobody has to answer");
    });
    assert_eq!(
        (machine.flush_interrupts(1), flushes(&machine, 1)),
        (0, before)
    );
    machine.on(1, || {
        assert!(
            space.reader(VA, 1).is_err(),
            "it must not access user memory"
        );
    });
    switch(&machine, 1, Some(&space));
    assert_eq!(flushes(&machine, 1), before + 1);
    machine.on(1, || assert_eq!(read(&space), Err(Error::PageFault)));
    machine.on(0, || drop(space));
}

#[test]
fn lazy_processor_that_missed_nothing_goes_on_without_a_flush() {
    let machine = machine(1);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(0, || space.activate());
    let before = flushes(&machine, 0);
    for _ in 0..3 {
        rest(&machine, 0);
        rest(&machine, 0);
        machine.on(0, || space.activate());
    }
    assert_eq!(flushes(&machine, 0), before);
    machine.on(0, || {
        assert_eq!(read(&space), Ok(0));
        drop(space);
    });
}

#[test]
fn peer_060_lazy_processor_leaves_a_space_whose_nodes_go() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(1, || space.activate());
    rest(&machine, 1);
    let take_table = |freed_at_once: usize| {
        let (guard, range) = (disable_preempt(), VA..VA + 2 * M2);
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        let free = frame_counts().free;
        cursor.unmap(M2).expect("nothing to split");
        assert_eq!(frame_counts().free, free + freed_at_once);
        cursor.flusher().sync_tlb_flush();
        assert_eq!(frame_counts().free, free + 2);
    };
    // Table and page are kept until it has left.
    machine.on(0, || take_table(0));
    assert_eq!(machine.flush_interrupts(1), 1);
    assert!(!space.cpus().contains(CpuId::new(1)), "it has left");
    machine.on(1, || assert!(space.reader(VA, 1).is_err()));
    // From then on it is left alone, whatever goes.
    machine.on(0, || {
        let guard = disable_preempt();
        let mut cursor = space
            .cursor_mut(&guard, &(VA..VA + PAGE_SIZE))
            .expect("a legal range");
        let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
        cursor.map(frame(), prop).expect("enough memory");
    });
    machine.on(0, || take_table(2));
    assert_eq!(machine.flush_interrupts(1), 1);
    switch(&machine, 1, Some(&space));
    assert!(space.cpus().contains(CpuId::new(1)));
    machine.on(1, || assert_eq!(read(&space), Err(Error::PageFault)));
    machine.on(0, || drop(space));
}

#[test]
fn peer_070_lazy_processor_keeps_the_space_until_it_loads_another() {
    let machine = machine(1);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(0, || space.activate());
    rest(&machine, 0);
    let weak = Arc::downgrade(&space);
    machine.on(0, || {
        // The task that used it is over.
        let _stays = disable_preempt();
        tasks::set_space(None);
        drop(space);
    });
    assert!(weak.upgrade().is_some(), "its root is loaded");
    let next = machine.on(0, || space_with_page(VA, &frame()));
    switch(&machine, 0, Some(&next));
    assert!(weak.upgrade().is_none());
    machine.on(0, || drop(next));
}

#[test]
fn peer_071_request_for_a_space_that_was_left_is_no_answer_for_the_next() {
    let machine = machine(2);
    let (first, second) = machine.on(0, || {
        (space_with_page(VA, &frame()), space_with_page(VA, &frame()))
    });
    machine.on(1, || {
        let irq_off = irq::disable_local();
        first.activate();
        machine.on(0, || unmap(&first, false));
        second.activate();
        assert_eq!(read(&second), Ok(0));
        machine.on(0, || unmap(&second, false));
        // Both are in the queue, of which one is loaded.
        drop(irq_off);
        assert_eq!(read(&second), Err(Error::PageFault));
        first.activate();
        assert_eq!(read(&first), Err(Error::PageFault));
        assert_eq!(machine.flush_interrupts(1), 1, "one for both");
    });
    machine.on(0, || drop((first, second)));
}

#[test]
fn unmapping_interrupts_each_other_user_once() {
    for users in [1, 2, 4, 8] {
        let machine = machine(8);
        let space = machine.on(0, || Arc::new(VmSpace::new().expect("enough memory")));
        machine.on(0, || {
            let guard = disable_preempt();
            let range = VA..VA + 100 * PAGE_SIZE;
            let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
            let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
            for _ in 0..100 {
                cursor.map(frame(), prop).expect("enough memory");
            }
        });
        (0..users).for_each(|cpu| machine.on(cpu, || space.activate()));
        machine.on(0, || {
            let guard = disable_preempt();
            let range = VA..VA + 100 * PAGE_SIZE;
            let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
            assert_eq!(cursor.unmap(100 * PAGE_SIZE), Ok(100));
            cursor.flusher().sync_tlb_flush();
        });
        let sent: Vec<_> = (0..8).map(|cpu| machine.flush_interrupts(cpu)).collect();
        let expected: Vec<_> = (0..8_usize)
            .map(|cpu| u64::from((1..users).contains(&cpu)))
            .collect();
        assert_eq!(sent, expected);
        machine.on(0, || drop(space));
    }
}

#[test]
fn processor_is_interrupted_once_for_requests_that_it_has_not_taken() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(1, || space.activate());
    let ask = || {
        let guard = disable_preempt();
        let flusher = TlbFlusher::new(space.users(), &guard);
        flusher.issue_tlb_flush(TlbFlushOp::Address(VA));
        flusher.dispatch_tlb_flush();
    };
    let queue = || {
        machine.on(0, || {
            let queue = &cpu::of(CpuId::new(1)).flushes;
            (queue.requested(), queue.done(), queue.interrupts())
        })
    };
    let before = machine.flush_counts(1);
    (0..3).for_each(|_| machine.on(0, ask));
    assert_eq!(queue(), (3, 0, 1));
    machine.on(1, || ());
    assert_eq!(queue(), (3, 3, 1));
    // Each change follows upon the last: page by page.
    assert_eq!(machine.flush_counts(1), (before.0 + 3, before.1));
    machine.on(0, ask);
    assert_eq!(queue(), (4, 3, 2));
    machine.on(1, || ());
    machine.on(0, || drop(space));
}

#[test]
fn request_after_one_that_was_missed_flushes_everything() {
    let machine = machine(2);
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(1, || space.activate());
    // A change is counted, and its request is still to be made.
    machine.on(0, || {
        space.users().changed(crate::mm::tlb::Change::Pages);
        unmap(&space, false);
    });
    let before = machine.flush_counts(1);
    machine.on(1, || assert_eq!(read(&space), Err(Error::PageFault)));
    assert_eq!(machine.flush_counts(1), (before.0, before.1 + 1));
    machine.on(0, || drop(space));
}

#[test]
fn peer_057_peer_072_stack_of_the_kernels_is_flushed_under_every_identifier() {
    use crate::mm::kspace::KernelStack;
    let machine = machine(2);
    let (first, second) = machine.on(0, || {
        (space_with_page(VA, &frame()), space_with_page(VA, &frame()))
    });
    let stack = machine.on(0, || {
        KernelStack::new(4 * PAGE_SIZE).expect("enough memory")
    });
    let bottom = stack.bottom();
    let word = || crate::arch::uaccess::read_kernel_word(bottom);
    machine.on(1, || {
        first.activate();
        assert_eq!(word(), Some(0));
        second.activate();
        assert_eq!(word(), Some(0));
        VmSpace::deactivate_current();
        assert_eq!(word(), Some(0));
        first.activate();
    });
    machine.on(0, || drop(stack));
    machine.on(1, || {
        assert_eq!(word(), None);
        second.activate();
        assert_eq!(word(), None, "stale under another identifier");
        VmSpace::deactivate_current();
        assert_eq!(word(), None, "stale under the kernel's identifier");
        first.activate();
        assert_eq!(word(), None);
    });
    machine.on(0, || drop((first, second)));
}

#[test]
fn peer_068_processor_that_comes_late_is_not_asked_before_it_uses_a_table() {
    let machine = machine(2);
    // The other processor has loaded the kernel's table and nothing else.
    let space = machine.on(0, || space_with_page(VA, &frame()));
    machine.on(0, || {
        space.activate();
        unmap(&space, true);
    });
    assert_eq!(machine.flush_interrupts(1), 0);
    let before = flushes(&machine, 1);
    machine.on(1, || {
        space.activate();
        assert_eq!(read(&space), Err(Error::PageFault));
    });
    assert_eq!(
        flushes(&machine, 1),
        before + 1,
        "it flushes when it comes in"
    );
    machine.on(0, || drop(space));
}
