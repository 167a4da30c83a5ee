//! Address spaces of users: flushes, activation, interrupts.
//!
//! The TLBs of the simulated machine keep all that they may, and the machine fails
//! by itself when a frame is freed that a processor can still reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nucleus::arch::sim::Machine;
use nucleus::arch::sim::interleave::in_parallel;
use nucleus::check::switch_to_kernel_task;
use nucleus::cpu::disable_preempt;
use nucleus::irq;
use nucleus::mm::{CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, VmSpace};
use shuttle::rand::{Rng, thread_rng};

use crate::machine;

const BASE: usize = 0x40_0000;

/// Makes a space with so many pages mapped.
fn space(pages: usize) -> Arc<VmSpace> {
    let space = Arc::new(VmSpace::new().expect("there is memory"));
    {
        let guard = disable_preempt();
        let range = BASE..BASE + pages * PAGE_SIZE;
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        for _ in 0..pages {
            let frame = FrameAllocOptions::new()
                .alloc_frame()
                .expect("there is memory");
            let prop = PageProperty::new_user(PageFlags::R, CachePolicy::Writeback);
            cursor.map(frame.into(), prop).expect("there is memory");
        }
    }
    space
}

/// Returns whether a page can be read by this processor, which has the space active.
fn is_readable(space: &VmSpace, page: usize) -> bool {
    let reader = space.reader(BASE + page * PAGE_SIZE, 1);
    let mut reader = reader.expect("the space is active");
    reader.read_val::<u8>().is_ok()
}

/// Unmaps pages, one by one, and waits for all processors if `sync`.
fn unmap(space: &VmSpace, first: usize, pages: usize, sync: bool) {
    let guard = disable_preempt();
    let start = BASE + first * PAGE_SIZE;
    let range = start..start + pages * PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    assert_eq!(cursor.unmap(pages * PAGE_SIZE), Ok(pages));
    if sync {
        cursor.flusher().sync_tlb_flush();
    }
}

/// The first pages of a space, which are gone for all processors.
#[derive(Default)]
struct Gone(AtomicUsize);

impl Gone {
    /// Says that so many pages are gone.
    fn set(&self, pages: usize) {
        self.0.store(pages, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Reads a page, and fails if it was gone before.
    fn check(&self, space: &VmSpace, page: usize) {
        let gone = self.get();
        if is_readable(space, page) {
            assert!(page >= gone, "page {page} can be read although it is gone");
        }
    }
}

/// Uses a space, comes and goes.
fn visit(space: &Arc<VmSpace>, gone: &Gone, page: usize) {
    space.activate();
    gone.check(space, page);
    gone.check(space, page);
    VmSpace::deactivate_current();
}

/// Has the space active, takes its first page away, and waits.
fn evict(space: &Arc<VmSpace>, gone: &Gone) {
    space.activate();
    unmap(space, 0, 1, true);
    gone.set(1);
    gone.check(space, 0);
    VmSpace::deactivate_current();
}

/// Ends a scenario: the space goes away.
fn end(machine: &Machine, space: Arc<VmSpace>) {
    machine.on(0, || drop(space));
}

pub(crate) fn shootdown() {
    let machine = machine(2);
    let (space, gone) = (machine.on(0, || space(1)), Gone::default());
    in_parallel(
        &machine,
        vec![
            Box::new(|| evict(&space, &gone)),
            Box::new(|| visit(&space, &gone, 0)),
        ],
    );
    end(&machine, space);
}

pub(crate) fn shootdown_of_two() {
    let machine = machine(3);
    let (space, gone) = (machine.on(0, || space(1)), Gone::default());
    let visits = || {
        visit(&space, &gone, 0);
        visit(&space, &gone, 0);
    };
    in_parallel(
        &machine,
        vec![
            Box::new(|| evict(&space, &gone)),
            Box::new(visits),
            Box::new(visits),
        ],
    );
    end(&machine, space);
}

/// Both take a page away and wait for the other.
pub(crate) fn diagonal() {
    let machine = machine(2);
    let space = machine.on(0, || space(2));
    let act = |page: usize| {
        space.activate();
        unmap(&space, page, 1, true);
        assert!(!is_readable(&space, page));
        VmSpace::deactivate_current();
    };
    let bodies = (0..2).map(|page| Box::new(move || act(page)) as _);
    in_parallel(&machine, bodies.collect());
    end(&machine, space);
}

/// One takes away about as many pages as a queue holds, in two parts, while the
/// other, who uses them, hears of it late.
pub(crate) fn overflow() {
    const PAGES: usize = 66;
    let machine = machine(2);
    let (space, gone) = (machine.on(0, || space(PAGES)), Gone::default());
    let evict = || {
        let first = thread_rng().gen_range(1..=33);
        let second = [1, 31, 32, 33][thread_rng().gen_range(0..4)];
        unmap(&space, 0, first, false);
        unmap(&space, first, second, true);
        gone.set(first + second);
    };
    let visit = || {
        space.activate();
        for _ in 0..3 {
            let irq_off = irq::disable_local();
            gone.check(&space, thread_rng().gen_range(0..PAGES));
            drop(irq_off);
            gone.check(&space, thread_rng().gen_range(0..PAGES));
        }
        VmSpace::deactivate_current();
    };
    in_parallel(&machine, vec![Box::new(evict), Box::new(visit)]);
    end(&machine, space);
}

/// One takes a page away and does not wait; the other has interrupts off meanwhile,
/// and knows of it as soon as they are on again.
pub(crate) fn interrupts_off() {
    let machine = machine(2);
    let (space, asked) = (machine.on(0, || space(1)), Gone::default());
    let evict = || {
        unmap(&space, 0, 1, false);
        asked.set(1);
    };
    let visit = || {
        let irq_off = irq::disable_local();
        space.activate();
        is_readable(&space, 0);
        let was_asked = asked.get() == 1;
        drop(irq_off);
        assert!(
            !was_asked || !is_readable(&space, 0),
            "the interrupt is lost"
        );
        VmSpace::deactivate_current();
    };
    in_parallel(&machine, vec![Box::new(evict), Box::new(visit)]);
    end(&machine, space);
}

/// Both drop a space that one of them has active.
pub(crate) fn dropped_while_active() {
    let machine = machine(2);
    let space = machine.on(0, || space(1));
    let other = Arc::clone(&space);
    in_parallel(
        &machine,
        vec![
            Box::new(move || drop(space)),
            Box::new(move || {
                other.activate();
                let weak = Arc::downgrade(&other);
                drop(other);
                let space = weak.upgrade().expect("it is active");
                assert!(is_readable(&space, 0));
                drop(space);
                VmSpace::deactivate_current();
            }),
        ],
    );
}

/// One leaves its space for a kernel task and comes back, while the other takes a
/// page away, for which nobody asks it to flush.
pub(crate) fn lazy_exit() {
    lazy(|space, gone| {
        unmap(space, 0, 1, true);
        gone.set(1);
    });
}

/// The same, with the page's table.
pub(crate) fn lazy_exit_without_nodes() {
    lazy(|space, gone| {
        let guard = disable_preempt();
        let range = BASE..BASE + (4 << 20);
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        assert_eq!(cursor.unmap(2 << 20), Ok(1));
        cursor.flusher().sync_tlb_flush();
        gone.set(1);
    });
}

fn lazy(evict: impl Fn(&VmSpace, &Gone) + Send + Sync) {
    let machine = machine(2);
    let (space, gone) = (machine.on(0, || space(1)), Gone::default());
    let visit = || {
        space.activate();
        gone.check(&space, 0);
        switch_to_kernel_task();
        space.activate();
        gone.check(&space, 0);
        switch_to_kernel_task();
        VmSpace::deactivate_current();
    };
    in_parallel(
        &machine,
        vec![Box::new(|| evict(&space, &gone)), Box::new(visit)],
    );
    end(&machine, space);
}

/// One goes back and forth between two spaces, while the other takes a page of one
/// of them away.
pub(crate) fn back_and_forth() {
    let machine = machine(2);
    let (space, other) = machine.on(0, || (space(1), self::space(1)));
    let gone = Gone::default();
    let evict = || {
        unmap(&space, 0, 1, true);
        gone.set(1);
    };
    let visit = || {
        space.activate();
        gone.check(&space, 0);
        other.activate();
        assert!(is_readable(&other, 0));
        space.activate();
        gone.check(&space, 0);
        VmSpace::deactivate_current();
    };
    in_parallel(&machine, vec![Box::new(evict), Box::new(visit)]);
    machine.on(0, || drop((space, other)));
}

/// Two go back and forth between two spaces, in opposite order, while a third takes
/// a page of each away.
pub(crate) fn crosswise() {
    let machine = machine(3);
    let spaces = machine.on(0, || [space(1), space(1)]);
    let gone = [Gone::default(), Gone::default()];
    let visit = |first: usize| {
        for number in [first, 1 - first, first] {
            spaces[number].activate();
            gone[number].check(&spaces[number], 0);
            if thread_rng().gen_range(0..2) == 0 {
                switch_to_kernel_task();
            }
        }
        VmSpace::deactivate_current();
    };
    let evict = || {
        for number in 0..2 {
            unmap(&spaces[number], 0, 1, true);
            gone[number].set(1);
        }
    };
    in_parallel(
        &machine,
        vec![
            Box::new(evict),
            Box::new(|| visit(0)),
            Box::new(|| visit(1)),
        ],
    );
    machine.on(0, || drop(spaces));
}

/// One has interrupts off and waits for nodes that the other has, who waits for it.
pub(crate) fn deaf_waiter() {
    let machine = machine(2);
    let (space, gone) = (machine.on(0, || space(1)), Gone::default());
    let evict = || {
        unmap(&space, 0, 1, true);
        gone.set(1);
    };
    let visit = || {
        space.activate();
        {
            let irq_off = irq::disable_local();
            let range = BASE..BASE + PAGE_SIZE;
            let cursor = space.cursor(&irq_off, &range).expect("a legal range");
            let is_mapped = cursor.query().expect("in the range").1.is_some();
            assert!(!is_mapped || gone.get() == 0, "its cursor was first");
        }
        gone.check(&space, 0);
        VmSpace::deactivate_current();
    };
    in_parallel(&machine, vec![Box::new(evict), Box::new(visit)]);
    end(&machine, space);
}

/// More spaces than a processor has identifiers, one after the other.
pub(crate) fn many_spaces() {
    let machine = machine(1);
    machine.on(0, || {
        for _ in 0..12 {
            let space = space(1);
            space.activate();
            assert!(is_readable(&space, 0));
            VmSpace::deactivate_current();
        }
    });
}
