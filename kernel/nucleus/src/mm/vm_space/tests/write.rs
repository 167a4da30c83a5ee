//! Breaking copy-on-write.

use super::copy::{fork, huge_frames, prop_at, write};
use super::{BASE, M2, frame, map, open, prop, read, space, with_active};
use crate::cpu::disable_preempt;
use crate::mm::frame::tests::Hog;
use crate::mm::io_mem::{IoMem, range_without_device};
use crate::mm::page_table::MappedItemRef;
use crate::mm::vm_space::VmSpace;
use crate::mm::{
    CachePolicy, PAGE_SIZE, PageFlags, PageProperty, UFrame, UntypedMem, VmIo, VmReader,
};
use crate::prelude::*;

const PAGE: core::ops::Range<Vaddr> = BASE..BASE + PAGE_SIZE;

fn with_writing(old: PageProperty) -> PageProperty {
    PageProperty {
        flags: old.flags | PageFlags::W,
        ..old
    }
}

/// What the first write to a page did.
#[derive(Debug, PartialEq, Eq)]
enum Break {
    Reused,
    Copied,
}

/// Breaks copy-on-write as a fault handler does.
fn break_sharing(space: &VmSpace) -> Break {
    let guard = disable_preempt();
    let mut cursor = open(space, &guard, PAGE);
    if cursor.protect_unshared(with_writing) == Ok(true) {
        return Break::Reused;
    }
    let copy: UFrame = frame();
    let (_, Some(MappedItemRef::MappedRam { frame, .. })) = cursor.query_ref().expect("in range")
    else {
        panic!("a page is mapped");
    };
    copy.copy_from(&frame);
    let replaced = cursor.replace(copy, prop(PageFlags::RW));
    assert_eq!((replaced, cursor.virt_addr()), (Ok(()), PAGE.end));
    Break::Copied
}

#[ktest]
fn choice_l25_peer_098_first_sharer_copies_and_the_last_one_does_not() {
    let (parent, child, shared) = (space(), space(), frame());
    shared.write_val(0, &7_u8).expect("it fits");
    map(&parent, BASE, &shared, PageFlags::RW);
    assert_eq!(fork(&parent, &child, PAGE), Ok(1));
    let paddr = shared.start_paddr();
    drop(shared);
    with_active(&child, || {
        assert_eq!(write(&child, BASE, 8), Err(Error::PageFault));
        assert_eq!(break_sharing(&child), Break::Copied);
        assert_eq!(write(&child, BASE, 8), Ok(()));
        assert_eq!(read(&child, BASE), Ok(8));
    });
    with_active(&parent, || {
        assert_eq!(write(&parent, BASE, 9), Err(Error::PageFault));
        assert_eq!(break_sharing(&parent), Break::Reused);
        assert_eq!(write(&parent, BASE, 9), Ok(()));
        // Another one who faulted at the same time finds it done.
        assert_eq!(break_sharing(&parent), Break::Reused);
    });
    let guard = disable_preempt();
    let walk = parent.page_table().page_walk(&guard, BASE);
    assert_eq!(walk.map(|(paddr, _)| paddr), Some(paddr));
    drop(guard);
    with_active(&child, || assert_eq!(read(&child, BASE), Ok(8)));
}

#[ktest]
fn sharer_that_exits_leaves_the_frame_to_the_other() {
    let (parent, child) = (space(), space());
    map(&parent, BASE, &frame(), PageFlags::RW);
    assert_eq!(fork(&parent, &child, PAGE), Ok(1));
    drop(child);
    assert_eq!(break_sharing(&parent), Break::Reused);
}

#[ktest]
fn page_with_a_handle_is_not_the_mappings_own() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::R);
    let guard = disable_preempt();
    let mut cursor = open(&space, &guard, PAGE);
    assert_eq!(cursor.protect_unshared(with_writing), Ok(false));
    drop(frame);
    assert_eq!(cursor.protect_unshared(with_writing), Ok(true));
    assert_eq!(cursor.virt_addr(), BASE, "it stays");
    let (_, item) = cursor.query_ref().expect("in the range");
    let Some(MappedItemRef::MappedRam { frame, prop: now }) = item else {
        panic!("a page is mapped");
    };
    assert_eq!((frame.reference_count(), now), (1, prop(PageFlags::RW)));
}

#[ktest]
fn nothing_and_a_device_are_nobodys_own() {
    let (space, guard) = (space(), disable_preempt());
    let io = IoMem::acquire(range_without_device(PAGE_SIZE), CachePolicy::Uncacheable);
    let io = io.expect("it is no RAM");
    let mut cursor = open(&space, &guard, BASE..BASE + 2 * PAGE_SIZE);
    assert_eq!(cursor.protect_unshared(with_writing), Ok(false));
    let mapped = cursor.map_iomem(&io, prop(PageFlags::R), PAGE_SIZE, 0);
    mapped.expect("enough memory");
    cursor.jump(BASE).expect("in the range");
    assert_eq!(cursor.protect_unshared(with_writing), Ok(false));
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    cursor
        .map(frame(), prop(PageFlags::R))
        .expect("enough memory");
    let at_end = cursor.protect_unshared(with_writing);
    assert_eq!(at_end, Err(Error::AccessDenied));
}

#[ktest]
fn huge_page_is_its_mappings_own_if_all_its_frames_are() {
    let (space, guard) = (space(), disable_preempt());
    let frames = huge_frames();
    let last = frames.slice(&(M2 - PAGE_SIZE..M2));
    let mut cursor = open(&space, &guard, BASE..BASE + M2);
    let mapped = cursor.map_segment(frames, prop(PageFlags::R));
    mapped.expect("enough memory");
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    assert_eq!(cursor.protect_unshared(with_writing), Ok(false));
    drop(last);
    assert_eq!(cursor.protect_unshared(with_writing), Ok(true));
    let (range, _) = cursor.query_ref().expect("in the range");
    assert_eq!(range, BASE..BASE + M2, "it stays huge");
    drop(cursor);
    drop(guard);
    assert_eq!(prop_at(&space, BASE), Some(prop(PageFlags::RW)));
}

#[ktest]
fn page_within_a_huge_one_is_replaced_alone() {
    let (space, frames, new) = (space(), huge_frames(), frame());
    new.write_val(0, &5_u8).expect("it fits");
    {
        let guard = disable_preempt();
        let mut cursor = open(&space, &guard, BASE..BASE + M2);
        let mapped = cursor.map_segment(frames.clone(), prop(PageFlags::R));
        mapped.expect("enough memory");
        cursor.jump(BASE + 3 * PAGE_SIZE).expect("in the range");
        let replaced = cursor.replace(new.clone(), prop(PageFlags::RW));
        assert_eq!(replaced, Ok(()));
        assert_eq!(cursor.virt_addr(), BASE + 4 * PAGE_SIZE);
    }
    assert_eq!(new.reference_count(), 2);
    let slice = frames.slice(&(3 * PAGE_SIZE..4 * PAGE_SIZE));
    assert_eq!((frames.reference_count(), slice.reference_count()), (2, 2));
    with_active(&space, || {
        assert_eq!(read(&space, BASE + 3 * PAGE_SIZE), Ok(5));
        let written = write(&space, BASE + 2 * PAGE_SIZE, 5);
        assert_eq!(written, Err(Error::PageFault));
    });
}

#[ktest]
fn replacing_nothing_maps() {
    let (space, new, guard) = (space(), frame(), disable_preempt());
    let mut cursor = open(&space, &guard, BASE - PAGE_SIZE..BASE + M2);
    cursor.jump(BASE).expect("in the range");
    assert_eq!(cursor.replace(new.clone(), prop(PageFlags::R)), Ok(()));
    assert_eq!(new.reference_count(), 2);
}

#[ktest]
fn replacing_without_memory_changes_nothing() {
    let (space, frames, guard) = (space(), huge_frames(), disable_preempt());
    let mut cursor = open(&space, &guard, BASE..BASE + M2);
    let mapped = cursor.map_segment(frames.clone(), prop(PageFlags::R));
    mapped.expect("enough memory");
    cursor.jump(BASE).expect("in the range");
    let mut all = Hog::all_but(0);
    let new = all.give_back_one().expect("it has some").into();
    let refused = cursor.replace(new, prop(PageFlags::RW));
    // The frame came back, and was not enough for long: it is what was refused.
    drop(all);
    assert_eq!(refused, Err(Error::NoMemory));
    assert_eq!(cursor.virt_addr(), BASE);
    assert_eq!(cursor.query_ref().expect("in the range").0, BASE..BASE + M2);
}

#[ktest]
fn frame_is_copied_as_a_whole() {
    let (source, target) = (frame(), frame());
    let bytes: alloc::vec::Vec<u8> = (0..PAGE_SIZE).map(|at| (at * 3 / 2) as u8).collect();
    VmReader::from(&bytes[..]).read(&mut source.writer());
    target.copy_from(&source);
    let mut seen = alloc::vec![0; PAGE_SIZE];
    target.read_bytes(0, &mut seen).expect("it fits");
    assert!(seen == bytes);
}

#[cfg(test)]
mod host {
    use alloc::sync::Arc;

    use super::super::{frame, map, open, prop, space};
    use super::{BASE, PAGE};
    use crate::arch::sim::{Config, Machine};
    use crate::cpu::disable_preempt;
    use crate::mm::PageFlags;
    use crate::mm::vm_space::VmSpace;

    #[test]
    fn choice_l26_peer_077_all_processors_have_flushed_what_is_replaced() {
        let machine = Machine::new(Config {
            cpus: 2,
            ..Config::default()
        });
        let space = machine.on(0, space);
        machine.on(1, || space.activate());
        machine.on(0, || {
            let old = frame();
            map(&space, BASE, &old, PageFlags::R);
            let guard = disable_preempt();
            let mut cursor = open(&space, &guard, PAGE);
            assert_eq!(cursor.replace(frame(), prop(PageFlags::RW)), Ok(()));
            assert_eq!(machine.stale_translations(1).len(), 0);
            drop(cursor);
            assert_eq!(old.reference_count(), 1, "nothing is kept for later");
        });
        machine.on(1, VmSpace::deactivate_current);
        let last = Arc::into_inner(space);
        machine.on(0, || drop(last));
    }
}
