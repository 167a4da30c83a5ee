//! Huge pages as a policy uses them: taken as a whole, given back in parts.

use super::copy::{fork, prop_at, write};
use super::{BASE, M2, frame, map, open, prop, read, space, with_active};
use crate::cpu::disable_preempt;
use crate::mm::frame::frame_counts;
use crate::mm::frame::tests::Hog;
use crate::mm::page_table::{MappedItemRef, PageTableError};
use crate::mm::vm_space::VmSpace;
use crate::mm::{
    FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, Segment, UFrame, USegment, VmIo,
};
use crate::prelude::*;

/// Allocates a huge page's frames as a policy does; nothing if there are none side by
/// side.
fn alloc_huge() -> Result<Segment<()>> {
    let mut options = FrameAllocOptions::new();
    options.for_user(true).align(M2).alloc_segment(512)
}

fn map_huge(space: &VmSpace, va: Vaddr) -> USegment {
    let frames: USegment = alloc_huge().expect("enough memory").into();
    let guard = disable_preempt();
    let mut cursor = open(space, &guard, va..va + M2);
    let mapped = cursor.map_segment(frames.clone(), prop(PageFlags::RW));
    mapped.expect("enough memory");
    frames
}

/// Returns how large the page at an address is.
fn size_at(space: &VmSpace, va: Vaddr) -> usize {
    let guard = disable_preempt();
    let cursor = space.cursor(&guard, &(va..va + PAGE_SIZE));
    let (range, item) = cursor.expect("a legal range").query_ref().map_or_else(
        |error| panic!("{error}"),
        |(range, item)| (range, item.is_some()),
    );
    assert!(item, "something is mapped");
    range.len()
}

#[ktest]
fn huge_page_is_one_leaf_of_zeros_and_takes_no_node() {
    let space = space();
    map(&space, BASE - PAGE_SIZE, &frame(), PageFlags::R);
    let nodes = space.nr_nodes();
    let frames = map_huge(&space, BASE);
    assert_eq!(space.nr_nodes(), nodes);
    assert_eq!(size_at(&space, BASE + 5 * PAGE_SIZE), M2);
    for offset in [0, M2 / 2 - 8, M2 - 8] {
        assert_eq!(frames.read_val::<u64>(offset), Ok(0));
    }
}

#[ktest]
fn fragmented_memory_is_said_at_once_and_costs_nothing() {
    // A frame of each huge page is taken.
    let mut taken: Option<Paddr> = None;
    while let Ok(segment) = alloc_huge() {
        let mut frames: Segment<()> = segment;
        let first = frames.next().expect("it has 512");
        first.write_val(0, &taken.unwrap_or(0)).expect("it fits");
        taken = Some(first.into_raw());
    }
    let free = frame_counts().free;
    assert_eq!(alloc_huge().err(), Some(Error::NoMemory));
    assert_eq!(frame_counts().free, free);
    while let Some(paddr) = taken.filter(|paddr| *paddr != 0) {
        // SAFETY: From `into_raw` above, once.
        let frame = unsafe { crate::mm::Frame::<()>::from_raw(paddr) };
        taken = frame.read_val(0).ok();
    }
    assert!(alloc_huge().is_ok());
}

#[ktest]
fn part_of_a_huge_page_is_unmapped_and_the_rest_stays() {
    let (space, nodes) = (space(), 3);
    let frames = map_huge(&space, BASE);
    {
        let guard = disable_preempt();
        let mut cursor = open(&space, &guard, BASE - PAGE_SIZE..BASE + 3 * PAGE_SIZE);
        assert_eq!(cursor.unmap(4 * PAGE_SIZE), Ok(3));
    }
    assert_eq!(space.nr_nodes(), nodes + 1);
    let counts = |page: usize| {
        let one = frames.slice(&(page * PAGE_SIZE..(page + 1) * PAGE_SIZE));
        one.reference_count() - 1
    };
    assert_eq!([counts(0), counts(2), counts(3), counts(511)], [1, 1, 2, 2]);
    assert_eq!(size_at(&space, BASE + 3 * PAGE_SIZE), PAGE_SIZE);
}

#[ktest]
fn part_of_a_huge_page_is_protected_alone() {
    let space = space();
    map_huge(&space, BASE);
    {
        let guard = disable_preempt();
        let mut cursor = open(&space, &guard, BASE + M2 / 2..BASE + M2);
        let count = cursor.protect(M2 / 2, |old| PageProperty {
            flags: old.flags - PageFlags::W,
            ..old
        });
        assert_eq!(count, Ok(256));
    }
    let flags = |va| prop_at(&space, va).map(|prop| prop.flags);
    assert_eq!(flags(BASE + M2 / 2 - PAGE_SIZE), Some(PageFlags::RW));
    assert_eq!(flags(BASE + M2 / 2), Some(PageFlags::R));
}

#[ktest]
fn huge_page_that_is_shared_is_copied_page_by_page() {
    let (parent, child) = (space(), space());
    let frames = map_huge(&parent, BASE);
    frames.write_val(4 * PAGE_SIZE, &9_u8).expect("it fits");
    assert_eq!(fork(&parent, &child, BASE..BASE + M2), Ok(1));
    drop(frames);
    let va = BASE + 4 * PAGE_SIZE;
    let give = |old: PageProperty| PageProperty {
        flags: old.flags | PageFlags::W,
        ..old
    };
    {
        let guard = disable_preempt();
        let mut cursor = open(&child, &guard, va..va + PAGE_SIZE);
        assert_eq!(cursor.protect_unshared(give), Ok(false));
        let copy: UFrame = frame();
        let (_, item) = cursor.query_ref().expect("in the range");
        let Some(MappedItemRef::MappedHuge { frames, .. }) = item else {
            panic!("it is huge still");
        };
        let paddr = frames.start + 4 * PAGE_SIZE;
        let original = crate::mm::Frame::from_in_use(paddr).expect("it is mapped");
        copy.copy_from(&UFrame::try_from(original).expect("it is a user's"));
        assert_eq!(cursor.replace(copy, prop(PageFlags::RW)), Ok(()));
    }
    assert_eq!(size_at(&child, BASE), PAGE_SIZE);
    assert_eq!(size_at(&parent, BASE), M2);
    with_active(&child, || {
        assert_eq!(write(&child, va, 1), Ok(()));
        assert_eq!(write(&child, BASE, 1), Err(Error::PageFault));
    });
    with_active(&parent, || assert_eq!(read(&parent, va), Ok(9)));
    // The other 511 are shared still; when the child is gone, all are the parent's.
    drop(child);
    let guard = disable_preempt();
    let mut cursor = open(&parent, &guard, BASE..BASE + M2);
    assert_eq!(cursor.protect_unshared(give), Ok(true));
    drop(cursor);
    drop(guard);
    assert_eq!(size_at(&parent, BASE), M2);
}

#[ktest]
fn choice_l29_marks_are_taken_once() {
    let (space, guard) = (space(), disable_preempt());
    let marks = PageFlags::ACCESSED | PageFlags::DIRTY;
    let mut cursor = open(&space, &guard, BASE..BASE + M2);
    for flags in [
        PageFlags::R | PageFlags::ACCESSED,
        PageFlags::RW | marks,
        PageFlags::R,
    ] {
        cursor.map(frame(), prop(flags)).expect("enough memory");
    }
    for round in 0..2 {
        cursor.jump(BASE).expect("in the range");
        for (page, wanted) in [PageFlags::ACCESSED, marks, PageFlags::empty()]
            .iter()
            .enumerate()
        {
            let taken = cursor.take_marks(BASE + M2 - cursor.virt_addr());
            let va = BASE + page * PAGE_SIZE;
            let wanted = if round == 0 {
                *wanted
            } else {
                PageFlags::empty()
            };
            assert_eq!(taken, Ok(Some((va..va + PAGE_SIZE, wanted))));
        }
        let rest = BASE + M2 - cursor.virt_addr();
        assert_eq!(cursor.take_marks(rest), Ok(None));
    }
    drop(cursor);
    assert_eq!(prop_at(&space, BASE + PAGE_SIZE), Some(prop(PageFlags::RW)));
}

#[cfg(ktest)]
#[ktest]
fn processor_marks_what_it_uses_again_after_marks_were_taken() {
    let space = space();
    map(&space, BASE, &frame(), PageFlags::RW);
    let take = || {
        let guard = disable_preempt();
        let mut cursor = open(&space, &guard, BASE..BASE + PAGE_SIZE);
        let taken = cursor.take_marks(PAGE_SIZE).expect("nothing is split");
        taken.expect("it is mapped").1
    };
    with_active(&space, || {
        for _ in 0..2 {
            assert_eq!(read(&space, BASE), Ok(0));
            assert_eq!(take(), PageFlags::ACCESSED);
            assert_eq!(write(&space, BASE, 0), Ok(()));
            assert_eq!(take(), PageFlags::ACCESSED | PageFlags::DIRTY);
            assert_eq!(take(), PageFlags::empty());
        }
    });
}

#[ktest]
fn nodes_of_a_space_are_counted_with_its_root() {
    let space = space();
    assert_eq!(space.nr_nodes(), 1);
    map(&space, BASE, &frame(), PageFlags::R);
    assert_eq!(space.nr_nodes(), 4);
    map(&space, BASE + M2, &frame(), PageFlags::R);
    map(&space, 1 << 46, &frame(), PageFlags::R);
    assert_eq!(space.nr_nodes(), 8);
}

#[ktest]
fn choice_l6_unmap_that_cannot_split_changes_nothing() {
    let (space, guard) = (space(), disable_preempt());
    let frames = FrameAllocOptions::new()
        .zeroed(false)
        .align(M2)
        .alloc_segment(512);
    let frames: USegment = frames.expect("enough memory").into();
    let mut cursor = open(&space, &guard, BASE..BASE + M2);
    cursor
        .map_segment(frames.clone(), prop(PageFlags::RW))
        .expect("enough memory");
    let all = Hog::all_but(0);
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    assert_eq!(cursor.unmap(PAGE_SIZE), Err(Error::NoMemory));
    assert_eq!(cursor.virt_addr(), BASE + PAGE_SIZE);
    assert_eq!(VmSpace::new().err(), Some(Error::NoMemory));
    drop(all);
    assert_eq!(cursor.query().expect("in the range").0, BASE..BASE + M2);
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
    let error = cursor.jump(BASE + M2).err();
    assert_eq!(error, Some(PageTableError::InvalidVaddr(BASE + M2)));
}
