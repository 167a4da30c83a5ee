//! What processes do to memory, as the kernel has it done: forks, page faults, first
//! writes to shared pages. System calls and faults themselves are not in it.

use alloc::sync::Arc;
use core::hint::black_box;
use core::ops::Range;

use super::Meter;
use super::rows::{BASE, ENOUGH, LEGAL, M2, PAGE, TABLE, frames, map_all, prop, space, untyped};
use crate::cpu::disable_preempt;
use crate::mm::page_table::MappedItemRef;
use crate::mm::{FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, Vaddr, VmSpace};

fn read_only(old: PageProperty) -> PageProperty {
    PageProperty {
        flags: old.flags - PageFlags::W,
        ..old
    }
}

fn writable(old: PageProperty) -> PageProperty {
    PageProperty {
        flags: old.flags | PageFlags::W,
        ..old
    }
}

fn copy(from: &VmSpace, to: &VmSpace, range: &Range<Vaddr>) -> usize {
    let guard = disable_preempt();
    let mut source = from.cursor_mut(&guard, range).expect(LEGAL);
    let mut copy = to.cursor_mut(&guard, range).expect(LEGAL);
    let copied = copy.copy_from(&mut source, range.end - range.start, read_only);
    copied.expect(ENOUGH)
}

/// Copies a full table; one that is writable, or one that was copied before.
pub(super) fn copy_512(meter: &mut dyn Meter, is_first: bool) {
    let (parent, before, child) = (space(), space(), space());
    map_all(&parent, BASE, PAGE_SIZE, untyped(frames(512)));
    if !is_first {
        copy(&parent, &before, &TABLE);
    }
    meter.measure(&mut || {
        black_box(copy(&parent, &child, &TABLE));
    });
}

/// Where a small program has its memory, and how many pages of it: text, data and
/// heap, thread-local storage and mapped memory, stack.
const SMALL: [(Vaddr, usize); 4] = [
    (BASE, 60),
    (BASE + M2, 20),
    (BASE + (64 << 30), 6),
    (BASE + (128 << 30), 8),
];

fn small_program() -> Arc<VmSpace> {
    let space = space();
    for (start, pages) in SMALL {
        map_all(&space, start, PAGE_SIZE, untyped(frames(pages)));
    }
    space
}

/// Makes a space, and copies into it what a small program has.
pub(super) fn fork_small(meter: &mut dyn Meter) {
    let parent = small_program();
    parent.activate();
    let mut child = None;
    meter.measure(&mut || {
        let space = space();
        for (start, pages) in SMALL {
            copy(&parent, &space, &(start..start + pages * PAGE_SIZE));
        }
        child = Some(space);
    });
    VmSpace::deactivate_current();
}

/// Drops the space of a small program that shares all of it.
pub(super) fn drop_small(meter: &mut dyn Meter) {
    let parent = small_program();
    let child = space();
    for (start, pages) in SMALL {
        copy(&parent, &child, &(start..start + pages * PAGE_SIZE));
    }
    let mut child = Some(child);
    meter.measure(&mut || drop(child.take()));
}

fn zeroed() -> UFrame {
    FrameAllocOptions::new().alloc_frame().expect(ENOUGH).into()
}

/// Maps a zeroed frame where nothing is, by a fresh cursor.
pub(super) fn fault_zeroed(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE + PAGE_SIZE, PAGE_SIZE, untyped(frames(1)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        let mut cursor = space.cursor_mut(&guard, &PAGE).expect(LEGAL);
        let found = cursor.query_ref().expect(LEGAL).1;
        assert!(found.is_none(), "nothing is mapped yet");
        cursor.map(zeroed(), prop(PageFlags::RW)).expect(ENOUGH);
    });
}

/// Breaks copy-on-write: with a copy, or for the last sharer.
pub(super) fn break_sharing(meter: &mut dyn Meter, is_shared: bool) {
    let (parent, child) = (space(), space());
    map_all(&parent, BASE, PAGE_SIZE, untyped(frames(1)));
    copy(&parent, &child, &PAGE);
    let child = is_shared.then_some(child);
    parent.activate();
    meter.measure(&mut || {
        let guard = disable_preempt();
        let mut cursor = parent.cursor_mut(&guard, &PAGE).expect(LEGAL);
        if cursor.protect_unshared(writable).expect(LEGAL) {
            assert!(!is_shared);
            return;
        }
        let (_, Some(MappedItemRef::MappedRam { frame, .. })) = cursor.query_ref().expect(LEGAL)
        else {
            panic!("a page is mapped");
        };
        let copy = FrameAllocOptions::new().zeroed(false).alloc_frame();
        let copy = UFrame::from(copy.expect(ENOUGH));
        copy.copy_from(&frame);
        cursor.replace(copy, prop(PageFlags::RW)).expect(ENOUGH);
    });
    VmSpace::deactivate_current();
    drop(child);
}

/// Copies a frame's bytes.
pub(super) fn copy_frame(meter: &mut dyn Meter) {
    let (source, target) = (zeroed(), zeroed());
    meter.measure(&mut || target.copy_from(black_box(&source)));
}
