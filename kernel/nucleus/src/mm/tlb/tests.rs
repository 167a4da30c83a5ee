//! Does a flusher flush what it was told, when it was told?

#[cfg(test)]
mod held;
#[cfg(test)]
mod host;
#[cfg(test)]
mod lazy;
#[cfg(test)]
mod order;

use alloc::sync::Arc;

use super::{TableUsers, TlbFlushOp, TlbFlusher};
use crate::cpu::disable_preempt;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, VmSpace,
};
use crate::prelude::*;

fn frame() -> UFrame {
    FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory")
        .into()
}

fn nobody() -> TableUsers {
    TableUsers::new()
}

#[ktest]
fn claims_141_144_frame_is_kept_from_issue_to_dispatch() {
    let (users, guard, frame) = (nobody(), disable_preempt(), frame());
    let flusher = TlbFlusher::new(&users, &guard);
    flusher.issue_tlb_flush_with(TlbFlushOp::Address(0x1000), frame.clone().into());
    assert_eq!(frame.reference_count(), 2);
    flusher.dispatch_tlb_flush();
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn claims_142_145_dispatch_and_sync_of_nothing_do_nothing() {
    let (users, guard, frame) = (nobody(), disable_preempt(), frame());
    let flusher = TlbFlusher::new(&users, &guard);
    flusher.dispatch_tlb_flush();
    flusher.sync_tlb_flush();
    flusher.issue_tlb_flush_with(TlbFlushOp::All, frame.clone().into());
    // What is collected stays collected.
    flusher.sync_tlb_flush();
    assert_eq!(frame.reference_count(), 2);
    flusher.dispatch_tlb_flush();
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
#[should_panic(expected = "with interrupts off")]
fn claim_146_sync_with_interrupts_off_panics() {
    let (users, irq_off) = (nobody(), crate::irq::disable_local());
    TlbFlusher::new(&users, &irq_off).sync_tlb_flush();
}

#[ktest]
fn choice_l11_dropping_a_flusher_dispatches() {
    let (users, guard, frame) = (nobody(), disable_preempt(), frame());
    {
        let flusher = TlbFlusher::new(&users, &guard);
        flusher.issue_tlb_flush_with(TlbFlushOp::All, frame.clone().into());
        assert_eq!(frame.reference_count(), 2);
    }
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn claim_147_peer_074_threshold_loses_no_frame() {
    let (users, guard, frame) = (nobody(), disable_preempt(), frame());
    for count in [31, 32, 33, 200] {
        let flusher = TlbFlusher::new(&users, &guard);
        for page in 0..count {
            let op = TlbFlushOp::Address(page * PAGE_SIZE);
            flusher.issue_tlb_flush_with(op, frame.clone().into());
        }
        assert_eq!(frame.reference_count() as usize, 1 + count);
        flusher.dispatch_tlb_flush();
        assert_eq!(frame.reference_count(), 1);
    }
}

#[ktest]
#[should_panic(expected = "has no pages")]
fn empty_range_panics() {
    let (users, guard) = (nobody(), disable_preempt());
    TlbFlusher::new(&users, &guard).issue_tlb_flush(TlbFlushOp::Range(0x1000..0x1000));
}

#[ktest]
#[should_panic(expected = "not whole pages")]
fn unaligned_range_panics() {
    let (users, guard) = (nobody(), disable_preempt());
    TlbFlusher::new(&users, &guard).issue_tlb_flush(TlbFlushOp::Range(0x1000..0x1001));
}

#[ktest]
fn second_flusher_of_a_processor_flushes_at_once() {
    let (users, guard, one, two) = (nobody(), disable_preempt(), frame(), frame());
    let first = TlbFlusher::new(&users, &guard);
    first.issue_tlb_flush_with(TlbFlushOp::All, one.clone().into());
    let second = TlbFlusher::new(&users, &guard);
    second.issue_tlb_flush_with(TlbFlushOp::All, two.clone().into());
    assert_eq!((one.reference_count(), two.reference_count()), (2, 1));
    drop(first);
    assert_eq!(one.reference_count(), 1);
}

fn space_with_page(va: Vaddr, frame: &UFrame) -> Arc<VmSpace> {
    let space = Arc::new(VmSpace::new().expect("enough memory"));
    let guard = disable_preempt();
    let mut cursor = space
        .cursor_mut(&guard, &(va..va + PAGE_SIZE))
        .expect("a legal range");
    let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
    cursor.map(frame.clone(), prop).expect("enough memory");
    drop(cursor);
    drop(guard);
    space
}

#[ktest]
fn flushed_page_is_walked_anew() {
    let (frame, va) = (frame(), 0x40_0000);
    let space = space_with_page(va, &frame);
    space.activate();
    let read = || space.reader(va, 1).expect("a legal range").read_val::<u8>();
    assert_eq!(read(), Ok(0));
    let guard = disable_preempt();
    let mut cursor = space
        .cursor_mut(&guard, &(va..va + PAGE_SIZE))
        .expect("a legal range");
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
    drop(cursor);
    assert_eq!(read(), Err(Error::PageFault));
    drop(guard);
    VmSpace::deactivate_current();
}
