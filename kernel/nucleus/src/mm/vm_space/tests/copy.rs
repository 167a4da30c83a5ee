//! What a fork does: two spaces that share frames.

use alloc::sync::Arc;
use core::ops::Range;

use super::{BASE, M2, frame, map, open, prop, read, space, with_active};
use crate::cpu::disable_preempt;
use crate::mm::frame::meta::{self, REF_COUNT_MAX};
use crate::mm::io_mem::{IoMem, range_without_device};
use crate::mm::page_table::{MappedItem, MappedItemRef};
use crate::mm::vm_space::VmSpace;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, USegment,
};
use crate::prelude::*;

fn without_writing(old: PageProperty) -> PageProperty {
    PageProperty {
        flags: old.flags - PageFlags::W,
        ..old
    }
}

/// Copies a range as a fork does, and waits for the flush.
pub(super) fn fork(from: &VmSpace, to: &VmSpace, range: Range<Vaddr>) -> Result<usize> {
    let guard = disable_preempt();
    let mut source = open(from, &guard, range.clone());
    let mut copy = open(to, &guard, range.clone());
    let count = copy.copy_from(&mut source, range.len(), without_writing);
    let at = if count.is_ok() {
        range.end
    } else {
        range.start
    };
    assert_eq!((source.virt_addr(), copy.virt_addr()), (at, at));
    source.flusher().dispatch_tlb_flush();
    drop(copy);
    source.flusher().sync_tlb_flush();
    count
}

/// Returns how a page is mapped, if it is.
pub(super) fn prop_at(space: &VmSpace, va: Vaddr) -> Option<PageProperty> {
    let guard = disable_preempt();
    let range = va..va + PAGE_SIZE;
    let cursor = space.cursor(&guard, &range).expect("a legal range");
    let found = cursor.query_ref().expect("in the range").1?;
    Some(match found {
        MappedItemRef::MappedRam { prop, .. }
        | MappedItemRef::MappedHuge { prop, .. }
        | MappedItemRef::MappedIoMem { prop, .. } => prop,
    })
}

pub(super) fn huge_frames() -> USegment {
    let mut options = FrameAllocOptions::new();
    let frames = options.zeroed(false).align(M2).alloc_segment(512);
    frames.expect("enough memory").into()
}

pub(super) fn write(space: &VmSpace, va: Vaddr, byte: u8) -> Result<()> {
    space.writer(va, 1).expect("a legal range").write_val(&byte)
}

#[ktest]
fn choice_l22_copied_pages_are_shared_and_both_sides_have_the_property_that_was_said() {
    let (parent, child) = (space(), space());
    let frames: [UFrame; 4] = core::array::from_fn(|_| frame());
    // On both sides of a table's border, with a hole, and not all writable.
    let border = BASE + M2;
    let pages = [
        border - 2 * PAGE_SIZE,
        border - PAGE_SIZE,
        border,
        border + 5 * PAGE_SIZE,
    ];
    for (number, (va, frame)) in pages.iter().zip(&frames).enumerate() {
        let flags = if number == 2 {
            PageFlags::RX
        } else {
            PageFlags::RW
        };
        map(&parent, *va, frame, flags);
    }
    assert_eq!(fork(&parent, &child, BASE..BASE + 2 * M2), Ok(4));
    for (number, (va, frame)) in pages.iter().zip(&frames).enumerate() {
        assert_eq!(frame.reference_count(), 3);
        let flags = if number == 2 {
            PageFlags::RX
        } else {
            PageFlags::R
        };
        for space in [&parent, &child] {
            assert_eq!(prop_at(space, *va), Some(prop(flags)));
        }
    }
    assert_eq!(prop_at(&child, border + PAGE_SIZE), None);
    drop(parent);
    assert!(frames.iter().all(|frame| frame.reference_count() == 2));
    drop(child);
    assert!(frames.iter().all(|frame| frame.reference_count() == 1));
}

#[ktest]
fn peer_077_what_was_copied_cannot_be_written_by_what_is_cached() {
    let (parent, child, frame) = (space(), space(), frame());
    map(&parent, BASE, &frame, PageFlags::RW);
    with_active(&parent, || {
        assert_eq!(write(&parent, BASE, 1), Ok(()));
        assert_eq!(fork(&parent, &child, BASE..BASE + PAGE_SIZE), Ok(1));
        assert_eq!(write(&parent, BASE, 2), Err(Error::PageFault));
        assert_eq!(read(&parent, BASE), Ok(1));
    });
    with_active(&child, || {
        assert_eq!(read(&child, BASE), Ok(1));
        assert_eq!(write(&child, BASE, 3), Err(Error::PageFault));
    });
}

#[ktest]
fn peer_078_a_copy_can_be_copied_again() {
    let (parent, child, grandchild) = (space(), space(), space());
    let frame = frame();
    map(&parent, BASE, &frame, PageFlags::RW | PageFlags::AVAIL2);
    assert_eq!(fork(&parent, &child, BASE..BASE + M2), Ok(1));
    assert_eq!(fork(&child, &grandchild, BASE..BASE + M2), Ok(1));
    let mark = Some(prop(PageFlags::R | PageFlags::AVAIL2));
    for space in [&parent, &child, &grandchild] {
        assert_eq!(prop_at(space, BASE), mark, "what the owner noted stays");
    }
    assert_eq!(frame.reference_count(), 4);
}

#[ktest]
fn choice_l23_huge_page_is_copied_as_such_and_in_part_page_by_page() {
    let (parent, whole, part) = (space(), space(), space());
    let frames = huge_frames();
    {
        let guard = disable_preempt();
        let mut cursor = open(&parent, &guard, BASE..BASE + M2);
        let mapped = cursor.map_segment(frames.clone(), prop(PageFlags::RW));
        mapped.expect("enough memory");
    }
    assert_eq!(fork(&parent, &whole, BASE - M2..BASE + 2 * M2), Ok(1));
    {
        let guard = disable_preempt();
        let cursor = open(&whole, &guard, BASE..BASE + M2);
        let (range, item) = cursor.query().expect("in the range");
        assert_eq!(range, BASE..BASE + M2);
        let Some(MappedItem::MappedHuge { frames: copied, .. }) = item else {
            panic!("it is huge");
        };
        assert_eq!(copied, frames);
    }
    let count = |page: usize| {
        let one = frames.slice(&(page * PAGE_SIZE..(page + 1) * PAGE_SIZE));
        one.reference_count() - 1
    };
    assert_eq!([count(0), count(511)], [3, 3]);
    let start = BASE + M2 - 3 * PAGE_SIZE;
    assert_eq!(fork(&parent, &part, start..start + M2), Ok(3));
    assert_eq!([count(508), count(509), count(511)], [3, 4, 4]);
    assert_eq!(prop_at(&parent, BASE), Some(prop(PageFlags::R)));
    drop((parent, whole, part));
    assert_eq!([count(0), count(511)], [1, 1]);
}

#[ktest]
fn empty_table_in_the_place_of_a_huge_copy_makes_room() {
    let (parent, child, frames) = (space(), space(), huge_frames());
    {
        let guard = disable_preempt();
        let mut cursor = open(&parent, &guard, BASE..BASE + M2);
        let mapped = cursor.map_segment(frames.clone(), prop(PageFlags::R));
        mapped.expect("enough memory");
    }
    map(&child, BASE, &frame(), PageFlags::R);
    {
        let guard = disable_preempt();
        let mut cursor = open(&child, &guard, BASE..BASE + PAGE_SIZE);
        assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
    }
    assert_eq!(fork(&parent, &child, BASE..BASE + M2), Ok(1));
    assert_eq!(frames.reference_count(), 3);
}

#[ktest]
fn devices_memory_is_copied_as_such_and_kept() {
    let (parent, child) = (space(), space());
    let range = range_without_device(2 * PAGE_SIZE);
    let start = range.start;
    let io = IoMem::acquire(range, CachePolicy::Uncacheable);
    let io = io.expect("it is no RAM");
    {
        let guard = disable_preempt();
        let mut cursor = open(&parent, &guard, BASE..BASE + M2);
        let mapped = cursor.map_iomem(&io, prop(PageFlags::RW), 2 * PAGE_SIZE, 0);
        mapped.expect("enough memory");
    }
    // peer_007: its last page ends the range.
    assert_eq!(fork(&parent, &child, BASE..BASE + 2 * PAGE_SIZE), Ok(2));
    drop(parent);
    let uncached = PageProperty::new_user(PageFlags::R, CachePolicy::Uncacheable);
    assert_eq!(prop_at(&child, BASE + PAGE_SIZE), Some(uncached));
    let found = child.find_iomem_by_paddr(start + PAGE_SIZE);
    assert_eq!(found, Some((io, PAGE_SIZE)));
}

#[ktest]
fn peer_018_frame_with_too_many_references_is_an_error_of_the_copy() {
    let (parent, child) = (space(), space());
    let (first, full) = (frame(), frame());
    map(&parent, BASE, &first, PageFlags::RW);
    map(&parent, BASE + PAGE_SIZE, &full, PageFlags::RW);
    let slot = meta::slot_of(full.start_paddr()).expect("it is RAM");
    slot.set_reference_count(REF_COUNT_MAX);
    let refused = fork(&parent, &child, BASE..BASE + M2);
    assert_eq!(full.reference_count(), REF_COUNT_MAX);
    slot.set_reference_count(2);
    assert_eq!(refused, Err(Error::NoMemory));
    // What was copied before is there, and counted.
    assert_eq!(first.reference_count(), 3);
    assert_eq!(prop_at(&child, BASE), Some(prop(PageFlags::R)));
    assert_eq!(prop_at(&child, BASE + PAGE_SIZE), None);
    assert_eq!(
        prop_at(&parent, BASE + PAGE_SIZE),
        Some(prop(PageFlags::RW))
    );
    drop((parent, child));
    assert_eq!((first.reference_count(), full.reference_count()), (1, 1));
}

#[ktest]
fn peer_018_huge_page_with_one_frame_too_many_loses_no_count() {
    let (parent, child, frames) = (space(), space(), huge_frames());
    {
        let guard = disable_preempt();
        let mut cursor = open(&parent, &guard, BASE..BASE + M2);
        let mapped = cursor.map_segment(frames.clone(), prop(PageFlags::R));
        mapped.expect("enough memory");
    }
    let paddr = frames.start_paddr() + 200 * PAGE_SIZE;
    let slot = meta::slot_of(paddr).expect("it is RAM");
    slot.set_reference_count(REF_COUNT_MAX);
    assert_eq!(fork(&parent, &child, BASE..BASE + M2), Err(Error::NoMemory));
    assert_eq!(slot.reference_count(), REF_COUNT_MAX);
    slot.set_reference_count(2);
    assert_eq!(frames.reference_count(), 2);
}

#[ktest]
#[should_panic(expected = "not older")]
fn copy_from_a_younger_space_is_a_bug_of_the_caller() {
    let (first, second, guard) = (space(), space(), disable_preempt());
    let mut copy = open(&first, &guard, BASE..BASE + M2);
    let mut source = open(&second, &guard, BASE..BASE + M2);
    let _ = copy.copy_from(&mut source, M2, |prop| prop);
}

#[ktest]
#[should_panic(expected = "is mapped where a copy is to be")]
fn copy_over_a_mapping_is_a_bug_of_the_caller() {
    let (parent, child) = (space(), space());
    map(&child, BASE + PAGE_SIZE, &frame(), PageFlags::R);
    let _ = fork(&parent, &child, BASE..BASE + M2);
}

#[ktest]
#[should_panic(expected = "a cursor of an older space is opened after")]
fn choice_l24_peer_097_cursor_of_an_older_space_comes_first() {
    let (older, newer, guard) = (space(), space(), disable_preempt());
    let _first = open(&newer, &guard, BASE..BASE + M2);
    let _second = open(&older, &guard, BASE..BASE + M2);
}

#[ktest]
fn cursors_of_two_spaces_can_be_opened_again_and_again() {
    let (older, newer): (Arc<VmSpace>, Arc<VmSpace>) = (space(), space());
    let guard = disable_preempt();
    for _ in 0..2 {
        let first = open(&older, &guard, BASE..BASE + M2);
        for _ in 0..2 {
            drop(open(&newer, &guard, BASE..BASE + M2));
        }
        drop(first);
    }
}
