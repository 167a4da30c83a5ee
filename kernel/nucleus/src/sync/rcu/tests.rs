//! Do read sections nest, and is what waits for them freed?

extern crate std;

use super::{keep, read};
use crate::arch::cpu;
use crate::arch::sim::{Config, Machine};
use crate::cpu::disable_preempt;
use crate::mm::kspace::kernel_page_table;
use crate::mm::tlb::KeptNodes;
use crate::mm::{FrameAllocOptions, PAGE_SIZE};

fn machine() -> Machine {
    Machine::new(Config {
        cpus: 2,
        ..Config::default()
    })
}

/// Keeps a frame on this processor until the sections of the other are over.
fn keep_a_frame() {
    let frame = FrameAllocOptions::new().alloc_frame();
    let mut nodes = KeptNodes::new();
    nodes.push(frame.expect("enough memory").into(), 1);
    keep(&mut nodes);
}

#[test]
fn section_within_another_one_ends_with_the_outer_one() {
    let machine = machine();
    let is_kept = || {
        machine.on(0, || {
            super::poll();
            cpu::local().rcu.bytes_waiting() > 0
        })
    };
    machine.on(1, || {
        let guard = disable_preempt();
        let state = &cpu::local().rcu;
        assert!(!state.is_reading());
        let outer = read(&guard);
        machine.on(0, keep_a_frame);
        assert!(state.is_reading() && is_kept());
        let inner = read(&guard);
        assert!(state.is_reading() && is_kept());
        drop(inner);
        assert!(state.is_reading() && is_kept());
        drop(outer);
        assert!(!state.is_reading() && !is_kept());
    });
}

#[test]
fn cursor_that_ends_frees_what_need_not_wait_any_longer() {
    let machine = machine();
    machine.on(1, || {
        let guard = disable_preempt();
        let section = read(&guard);
        machine.on(0, keep_a_frame);
        drop(section);
    });
    machine.on(0, || {
        let waiting = || cpu::local().rcu.bytes_waiting();
        assert_eq!(waiting(), PAGE_SIZE);
        let guard = disable_preempt();
        let first =
            *crate::mm::page_table::vaddr_range::<crate::mm::kspace::KernelPtConfig>().start();
        let cursor = kernel_page_table().cursor(&guard, &(first..first + crate::mm::PAGE_SIZE));
        assert_eq!(waiting(), PAGE_SIZE);
        drop(cursor.expect("a legal range"));
        assert_eq!(waiting(), 0);
    });
}
