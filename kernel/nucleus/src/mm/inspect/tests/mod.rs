//! Does whoever inspects tables find what is wrong, and say what is there?
//!
//! On the simulated machine, whose tables may be damaged on purpose.

extern crate std;

mod listing;
mod rights;

use std::string::String;
use std::sync::Arc;

use super::walk::is_memory;
use crate::arch::memory::paddr_to_vaddr;
use crate::arch::raw_entry::{RawEntry, Target};
use crate::arch::sim::{Config, Machine};
use crate::cpu::disable_preempt;
use crate::mm::kspace::kernel_page_table;
use crate::mm::paging::{PagingConsts, pte_index};
use crate::mm::{
    CachePolicy, FrameAllocOptions, NR_LEVELS, PAGE_SIZE, Paddr, PageFlags, PageProperty,
    PagingLevel, UFrame, VmSpace,
};
use crate::prelude::*;
use crate::sync::atomic::{AtomicU64, Ordering};

const NO_EXECUTE: u64 = 1 << 63;
const USER: u64 = 1 << 2;
const WRITABLE: u64 = 1 << 1;

/// Where nothing is, in the middle of the simulated machine's memory.
const HOLE: Paddr = 0x20_0000;

/// Runs on a machine whose checker does not follow entries: it would stop a test that
/// writes them.
fn on_machine(body: impl FnOnce()) {
    let config = Config {
        checked: false,
        ..Config::default()
    };
    Machine::new(config).on(0, body);
}

fn kernel_root() -> Paddr {
    kernel_page_table().root_paddr()
}

fn frame() -> UFrame {
    let frame = FrameAllocOptions::new().alloc_frame();
    frame.expect("enough memory").into()
}

fn prop(flags: PageFlags) -> PageProperty {
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

fn space() -> Arc<VmSpace> {
    Arc::new(VmSpace::new().expect("enough memory"))
}

/// Maps fresh frames from an address on.
fn map(space: &VmSpace, vaddr: Vaddr, count: usize, flags: PageFlags) {
    let guard = disable_preempt();
    let range = vaddr..vaddr + count * PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    for _ in 0..count {
        cursor.map(frame(), prop(flags)).expect("enough memory");
    }
}

/// Returns the entry for an address in the node of a level, to be damaged.
fn entry(root: Paddr, vaddr: Vaddr, level: PagingLevel) -> &'static AtomicU64 {
    let mut node = root;
    for upper in (level + 1..=NR_LEVELS).rev() {
        let above = RawEntry(slot(node, vaddr, upper).load(Ordering::Relaxed));
        match above.target(upper) {
            Target::Node(child) => node = child,
            other => panic!("{other:?} at level {upper}"),
        }
    }
    slot(node, vaddr, level)
}

fn slot(node: Paddr, vaddr: Vaddr, level: PagingLevel) -> &'static AtomicU64 {
    assert!(is_memory(node));
    let index = pte_index::<PagingConsts>(vaddr, level);
    let address = paddr_to_vaddr(node) + index * size_of::<u64>();
    // SAFETY: The word is in a node of the test's own machine, whose memory outlives the
    // test, and all access nodes by atomics.
    unsafe { &*(address as *const AtomicU64) }
}

/// Runs with an entry changed, which is as it was afterwards.
fn with_entry<R>(slot: &AtomicU64, bits: u64, body: impl FnOnce() -> R) -> R {
    let before = slot.swap(bits, Ordering::Relaxed);
    let result = body();
    slot.store(before, Ordering::Relaxed);
    result
}

/// Returns the bits of an entry.
fn bits(slot: &AtomicU64) -> u64 {
    slot.load(Ordering::Relaxed)
}

/// Returns what a space's page table shows.
fn text_of(space: &VmSpace) -> String {
    let mut text = String::new();
    space.write_page_table(&mut text).expect("strings take all");
    text
}
