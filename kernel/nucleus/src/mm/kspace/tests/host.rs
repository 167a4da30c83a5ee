//! Areas on several processors, and what only a simulated machine can show.

extern crate std;

use std::cell::RefCell;

use super::*;
use crate::arch::sim::{Config, Machine};
use crate::irq;
use crate::mm::Paddr;
use crate::mm::frame::FrameAllocator;
use crate::mm::frame::allocator::drain_local_cache;
use crate::mm::kspace::addresses::MAX_WAITING;

fn machine(cpus: usize) -> Machine {
    Machine::new(Config {
        cpus,
        ..Config::default()
    })
}

fn page_area() -> KVirtArea {
    area_of(&[frame()], PAGE_SIZE, 0)
}

fn lost_and_waiting() -> (usize, usize) {
    memory::memory().kvirt.lock().lost_and_waiting()
}

#[test]
fn choice_l14_area_dropped_with_interrupts_off_waits_for_the_other_processor() {
    let machine = machine(2);
    let range = machine.on(0, || {
        let (area, other) = (page_area(), page_area());
        let range = area.range();
        machine.on(1, || {
            assert_eq!(uaccess::read_kernel_word(range.start), Some(0));
        });
        let irq_off = irq::disable_local();
        drop(area);
        drop(irq_off);
        assert_eq!(lost_and_waiting(), (0, PAGE_SIZE));
        let next = page_area();
        assert_ne!(next.range(), range, "another processor may have it cached");
        drop((other, next));
        range
    });
    // It flushes as soon as it takes interrupts.
    machine.on(1, || {
        assert_eq!(uaccess::read_kernel_word(range.start), None);
    });
    machine.on(0, || {
        let areas = [page_area(), page_area(), page_area()];
        assert!(areas.iter().any(|area| area.range() == range));
        assert_eq!(lost_and_waiting(), (0, 0));
    });
}

#[test]
fn quarantine_ends_for_each_range_by_its_own_requests() {
    let machine = machine(2);
    let waiting = || lost_and_waiting().1 / PAGE_SIZE;
    machine.on(0, || {
        let areas: Vec<_> = (0..4).map(|_| page_area()).collect();
        let mut areas = areas.into_iter();
        // The mark is set when somebody looks, here the second and third drop.
        drop(areas.next());
        drop(areas.next());
        machine.on(1, || ());
        drop(areas.next());
        assert_eq!(waiting(), 1, "the first two are flushed, the third is not");
        drop(areas.next());
        assert_eq!(waiting(), 2);
        machine.on(1, || ());
        let area = area_of(&[], 4 * PAGE_SIZE, 0);
        assert_eq!((waiting(), area.start()), (0, KVIRT_RANGE.start));
    });
}

#[test]
fn full_quarantine_is_waited_for() {
    let machine = machine(2);
    machine.on(0, || {
        let areas: Vec<_> = (0..MAX_WAITING + 3).map(|_| page_area()).collect();
        drop(areas);
        let (lost, waiting) = lost_and_waiting();
        assert_eq!(lost, 0);
        assert!(waiting < MAX_WAITING * PAGE_SIZE);
    });
}

#[test]
fn full_quarantine_is_waited_for_with_interrupts_off_and_nothing_is_lost() {
    let machine = machine(2);
    machine.on(0, || {
        let areas: Vec<_> = (0..MAX_WAITING + 3).map(|_| page_area()).collect();
        let irq_off = irq::disable_local();
        drop(areas);
        drop(irq_off);
        let (lost, waiting) = lost_and_waiting();
        assert_eq!(lost, 0);
        assert!(waiting < MAX_WAITING * PAGE_SIZE);
    });
    // The machine counts its frames when it ends.
}

#[test]
fn addresses_that_are_nowhere_else_are_waited_for() {
    let machine = machine(2);
    machine.on(0, || {
        let all = KVIRT_RANGE.end - KVIRT_RANGE.start;
        let (first, rest) = (page_area(), area_of(&[], all - PAGE_SIZE, 0));
        let range = first.range();
        drop(first);
        assert_eq!(lost_and_waiting(), (0, PAGE_SIZE));
        assert_eq!(page_area().range(), range);
        drop(rest);
    });
}

std::thread_local! {
    /// Whether interrupts were on, for each time a frame was allocated.
    static SEEN: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
}

/// The buddy system, watched.
struct Watched;

impl FrameAllocator for Watched {
    fn alloc(&self, size: usize, align: usize) -> Option<Paddr> {
        SEEN.with_borrow_mut(|seen| seen.push(irq::is_enabled()));
        memory::memory().buddy.alloc(size, align)
    }

    fn dealloc(&self, start: Paddr, size: usize) {
        memory::memory().buddy.dealloc(start, size);
    }

    fn nr_free(&self) -> usize {
        memory::memory().buddy.nr_free()
    }
}

#[test]
fn choice_l19_cursors_of_the_kernels_table_hold_interrupts_off() {
    // A cursor that has to make nodes is caught in the act.
    machine(1).on(0, || {
        let frame = frame();
        memory::memory().pool.call_once(|| &Watched);
        drain_local_cache();
        SEEN.take();
        let area = area_of(&[frame], PAGE_SIZE, 0);
        assert_eq!(SEEN.take(), [false, false], "two nodes are made");
        assert!(irq::is_enabled());
        drop(area);
        assert!(irq::is_enabled());
    });
}

#[test]
fn stack_is_as_large_as_asked_between_two_guards() {
    machine(1).on(0, || {
        for size in [4 * PAGE_SIZE, KernelStack::DEFAULT_SIZE] {
            let stack = KernelStack::new(size).expect("enough memory");
            let (bottom, top) = (stack.bottom(), stack.top());
            assert_eq!(top - bottom, size);
            for va in [bottom, top - 8] {
                assert!(uaccess::read_kernel_word(va).is_some(), "{va:#x}");
            }
            for va in [bottom - 8, top] {
                assert!(uaccess::read_kernel_word(va).is_none(), "{va:#x}");
            }
        }
    });
}
