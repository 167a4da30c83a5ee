//! The benchmarks: the operations that other systems publish figures of, and a few
//! more.
//!
//! What is measured never fails silently: an operation that is refused would be a
//! fast one.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::black_box;
use core::ops::Range;

use super::{Meter, Row, console, processes};
use crate::arch::{cpu, mmu};
use crate::cpu::disable_preempt;
use crate::irq;
use crate::mm::page_table::{MappedItem, MappedItemRef, PageTableError};
use crate::mm::tlb::TlbFlushOp;
use crate::mm::vm_space::{self, Cursor};
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, Segment, UFrame, Vaddr,
    VmSpace,
};

/// A multiple of 512 GiB, where the tables are the benchmark's own.
pub(super) const BASE: Vaddr = 1 << 39;
pub(super) const M2: usize = 2 << 20;
const G1: usize = 1 << 30;
pub(super) const TABLE: Range<Vaddr> = BASE..BASE + M2;
/// As many pages as a table has, in the halves of two of them: neither can be
/// taken out as a whole.
const ACROSS: Range<Vaddr> = BASE + M2 / 2..BASE + M2 / 2 + M2;
/// How often a single frame is allocated and freed.
const FRAMES: usize = 64;
/// What a benchmark expects of memory, and of its own ranges.
pub(super) const ENOUGH: &str = "a benchmark has enough memory";
pub(super) const LEGAL: &str = "the range is legal";
pub(super) const PAGE: Range<Vaddr> = BASE..BASE + PAGE_SIZE;

/// All benchmarks.
pub const ROWS: &[Row] = &[
    row("map/1/leaf-table-there", 1, |m| map_one(m, 0)),
    row("map/1/one-table-made", 1, |m| map_one(m, 1)),
    row("map/1/three-tables-made", 1, |m| map_one(m, 3)),
    row("map/512/one-cursor", 512, map_512),
    row("map/512/fresh-cursors", 512, map_512_fresh),
    row("unmap/1/inactive", 1, |m| unmap_one(m, false)),
    row("unmap/1/active", 1, |m| unmap_one(m, true)),
    row("unmap/512/one-cursor/freed", 512, |m| {
        unmap(m, &ACROSS, true)
    }),
    row("unmap/512/one-cursor/shared", 512, |m| {
        unmap(m, &ACROSS, false)
    }),
    row("unmap/512/whole-table/freed", 512, |m| {
        unmap(m, &TABLE, true)
    }),
    row("unmap/512/fresh-cursors/shared", 512, unmap_512_fresh),
    row("unmap/1g/8-full-tables", 4096, unmap_full_tables),
    row("unmap/1g/512-tables-of-a-page", 512, unmap_sparse_tables),
    row("unmap/1g/empty", 1, unmap_empty),
    row("query/1/fresh-cursor", 1, query_one),
    row("query/512/fresh-cursors", 512, query_512_fresh),
    row("find-next+query/512/one-cursor", 512, find_and_query),
    row(
        "find-next+query-ref/512/one-cursor",
        512,
        find_and_query_ref,
    ),
    row("find-next+jump/512/one-cursor", 512, find_and_jump),
    row("protect/1/not-flushed", 1, |m| protect_one(m, false)),
    row("protect/1/flushed", 1, |m| protect_one(m, true)),
    row("protect/512/one-cursor", 512, protect_512),
    row("protect-next/512/one-cursor", 512, protect_next_512),
    row("cursor/1-page", 1, |m| open(m, &PAGE, 1)),
    row("cursor/1g/empty", 1, |m| open(m, &(BASE..BASE + G1), 0)),
    row("cursor/1g/512-tables", 1, |m| {
        open(m, &(BASE..BASE + G1), 512)
    }),
    row("vm-space/new+drop", 1, space_new_drop),
    row("flush/1", 1, |m| flush(m, Some(1))),
    row("flush/8", 1, |m| flush(m, Some(8))),
    row("flush/32", 1, |m| flush(m, Some(32))),
    row("flush/512", 1, |m| flush(m, Some(512))),
    row("flush/all", 1, |m| flush(m, None)),
    row("switch/2-spaces/identifiers", 2, |m| switch(m, true)),
    row("switch/2-spaces/flushing", 2, |m| switch(m, false)),
    row("switch/lazy-and-back", 1, switch_lazily),
    row("fork/512/writable", 512, |m| processes::copy_512(m, true)),
    row("fork/512/shared-before", 512, |m| {
        processes::copy_512(m, false)
    }),
    row("fork/small-program", 1, processes::fork_small),
    row("fork/small-program/dropped", 1, processes::drop_small),
    row("fault/1/zeroed", 1, processes::fault_zeroed),
    row("cow/1/copied", 1, |m| processes::break_sharing(m, true)),
    row("cow/1/last-sharer", 1, |m| {
        processes::break_sharing(m, false)
    }),
    row("frame/copy", 1, processes::copy_frame),
    row("console/line", 1, console::write_line),
    row("console/burst", console::BURST, console::write_burst),
    row("console/redraw", 1, console::redraw),
    row("frame/alloc+free", FRAMES, |m| frame_alloc_free(m, false)),
    row("frame/alloc+free/zeroed", FRAMES, |m| {
        frame_alloc_free(m, true)
    }),
];

const fn row(name: &'static str, operations: usize, run: fn(&mut dyn Meter)) -> Row {
    Row {
        name,
        operations,
        run,
    }
}

pub(super) fn prop(flags: PageFlags) -> PageProperty {
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

pub(super) fn space() -> Arc<VmSpace> {
    Arc::new(VmSpace::new().expect(ENOUGH))
}

pub(super) fn frames(count: usize) -> Segment<()> {
    let frames = FrameAllocOptions::new().zeroed(false).alloc_segment(count);
    frames.expect(ENOUGH)
}

/// Maps frames from an address on, `step` bytes apart.
pub(super) fn map_all(
    space: &VmSpace,
    start: Vaddr,
    step: usize,
    frames: impl Iterator<Item = UFrame>,
) {
    let guard = disable_preempt();
    for (number, frame) in frames.enumerate() {
        let va = start + number * step;
        let mut cursor = space
            .cursor_mut(&guard, &(va..va + PAGE_SIZE))
            .expect(LEGAL);
        let mapped = cursor.map(frame, prop(PageFlags::RW));
        mapped.expect(ENOUGH);
    }
}

pub(super) fn untyped(frames: Segment<()>) -> impl Iterator<Item = UFrame> {
    frames.map(UFrame::from)
}

/// Maps one page by a fresh cursor, with so many tables missing.
fn map_one(meter: &mut dyn Meter, missing_tables: usize) {
    let space = space();
    // A neighbour in the same table, in the same table of tables, or nowhere.
    let neighbour = match missing_tables {
        0 => Some(BASE + PAGE_SIZE),
        1 => Some(BASE + M2),
        _ => None,
    };
    if let Some(va) = neighbour {
        map_all(&space, va, PAGE_SIZE, untyped(frames(1)));
    }
    let mut frame = untyped(frames(1)).next();
    meter.measure(&mut || {
        let guard = disable_preempt();
        let mut cursor = space.cursor_mut(&guard, &PAGE).expect(LEGAL);
        let frame = frame.take().expect("it is measured once");
        cursor.map(frame, prop(PageFlags::RW)).expect(ENOUGH);
    });
}

fn map_512(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(1)));
    let mut frames: Vec<UFrame> = untyped(frames(512)).collect();
    meter.measure(&mut || {
        let guard = disable_preempt();
        let range = BASE + M2..BASE + 2 * M2;
        let mut cursor = space.cursor_mut(&guard, &range).expect(LEGAL);
        for frame in frames.drain(..) {
            cursor.map(frame, prop(PageFlags::RW)).expect(ENOUGH);
        }
    });
}

fn map_512_fresh(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(1)));
    let start = BASE + M2;
    map_all(&space, start, PAGE_SIZE, untyped(frames(1)));
    unmap_range(&space, &(start..start + PAGE_SIZE));
    let mut frames: Vec<UFrame> = untyped(frames(512)).collect();
    meter.measure(&mut || {
        for (number, frame) in frames.drain(..).enumerate() {
            let va = start + number * PAGE_SIZE;
            let guard = disable_preempt();
            let range = va..va + PAGE_SIZE;
            let mut cursor = space.cursor_mut(&guard, &range).expect(LEGAL);
            cursor.map(frame, prop(PageFlags::RW)).expect(ENOUGH);
        }
    });
}

fn unmap_range(space: &VmSpace, range: &Range<Vaddr>) -> usize {
    let guard = disable_preempt();
    let mut cursor = space.cursor_mut(&guard, range).expect(LEGAL);
    cursor.unmap(range.end - range.start).expect(ENOUGH)
}

fn unmap_one(meter: &mut dyn Meter, is_active: bool) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(2)));
    if is_active {
        space.activate();
    }
    meter.measure(&mut || {
        let guard = disable_preempt();
        let mut cursor = space.cursor_mut(&guard, &PAGE).expect(LEGAL);
        black_box(cursor.unmap(PAGE_SIZE).expect(ENOUGH));
        if is_active {
            cursor.flusher().sync_tlb_flush();
        }
    });
    VmSpace::deactivate_current();
}

/// Unmaps as many pages as a table has; with their frames freed, or kept by
/// somebody else.
fn unmap(meter: &mut dyn Meter, range: &Range<Vaddr>, is_freed: bool) {
    let space = space();
    let frames = frames(512);
    let others = (!is_freed).then(|| frames.clone());
    map_all(&space, range.start, PAGE_SIZE, untyped(frames));
    meter.measure(&mut || {
        black_box(unmap_range(&space, range));
    });
    drop(others);
}

fn unmap_512_fresh(meter: &mut dyn Meter) {
    let space = space();
    let frames = frames(512);
    let others = frames.clone();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames));
    meter.measure(&mut || {
        for va in TABLE.step_by(PAGE_SIZE) {
            black_box(unmap_range(&space, &(va..va + PAGE_SIZE)));
        }
    });
    drop(others);
}

fn unmap_full_tables(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(4096)));
    meter.measure(&mut || {
        black_box(unmap_range(&space, &(BASE..BASE + G1)));
    });
}

fn unmap_sparse_tables(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, M2, untyped(frames(512)));
    meter.measure(&mut || {
        black_box(unmap_range(&space, &(BASE..BASE + G1)));
    });
}

fn unmap_empty(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE + G1, PAGE_SIZE, untyped(frames(1)));
    meter.measure(&mut || {
        black_box(unmap_range(&space, &(BASE..BASE + G1)));
    });
}

fn query(space: &VmSpace, va: Vaddr) {
    let guard = disable_preempt();
    let range = va..va + PAGE_SIZE;
    look_at(space.cursor(&guard, &range).expect(LEGAL).query());
}

/// Uses what a query found, as its caller would.
#[inline(always)]
fn look_at(found: Result<(Range<Vaddr>, Option<MappedItem>), PageTableError>) {
    let Ok((range, Some(MappedItem::MappedRam { frame, prop }))) = found else {
        panic!("a frame is mapped");
    };
    black_box((range.start, frame.start_paddr(), prop.flags.bits()));
}

fn query_one(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(1)));
    meter.measure(&mut || query(&space, BASE));
}

fn query_512_fresh(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || TABLE.step_by(PAGE_SIZE).for_each(|va| query(&space, va)));
}

/// Finds all pages of a full table and does something with each.
#[inline(always)]
fn find_all(meter: &mut dyn Meter, look: impl Fn(&Cursor<'_>)) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        let cursor = space.cursor(&guard, &TABLE).expect(LEGAL);
        while let Some(va) = cursor.find_next(TABLE.end - cursor.virt_addr()) {
            look(&cursor);
            if cursor.jump(va + PAGE_SIZE).is_err() {
                break;
            }
        }
    });
}

fn find_and_query(meter: &mut dyn Meter) {
    find_all(meter, |cursor| look_at(cursor.query()));
}

fn find_and_query_ref(meter: &mut dyn Meter) {
    find_all(meter, |cursor| {
        let Ok((range, Some(MappedItemRef::MappedRam { frame, prop }))) = cursor.query_ref() else {
            panic!("a frame is mapped");
        };
        black_box((range.start, frame.start_paddr(), prop.flags.bits()));
    });
}

fn find_and_jump(meter: &mut dyn Meter) {
    find_all(meter, |_| ());
}

fn read_only(old: PageProperty) -> PageProperty {
    PageProperty {
        flags: PageFlags::R,
        ..old
    }
}

fn protect_one(meter: &mut dyn Meter, is_flushed: bool) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(1)));
    space.activate();
    meter.measure(&mut || {
        let guard = disable_preempt();
        let mut cursor = space.cursor_mut(&guard, &PAGE).expect(LEGAL);
        let changed = cursor.protect_next(PAGE_SIZE, read_only).expect(ENOUGH);
        black_box(changed.expect("a page is mapped"));
        if is_flushed {
            cursor.flusher().issue_tlb_flush(TlbFlushOp::Address(BASE));
            cursor.flusher().dispatch_tlb_flush();
            cursor.flusher().sync_tlb_flush();
        }
    });
    VmSpace::deactivate_current();
}

fn protect_512(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        let mut cursor = space.cursor_mut(&guard, &TABLE).expect(LEGAL);
        black_box(cursor.protect(M2, read_only).expect(ENOUGH));
    });
}

fn protect_next_512(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        let mut cursor = space.cursor_mut(&guard, &TABLE).expect(LEGAL);
        while cursor.virt_addr() < TABLE.end {
            let rest = TABLE.end - cursor.virt_addr();
            let changed = cursor.protect_next(rest, read_only).expect(ENOUGH);
            changed.expect("a page is mapped");
        }
    });
}

/// Opens and drops a cursor over a range with so many tables in it.
fn open(meter: &mut dyn Meter, range: &Range<Vaddr>, tables: usize) {
    let space = space();
    if tables > 0 {
        map_all(&space, BASE, M2, untyped(frames(tables)));
    } else {
        map_all(&space, BASE + G1, PAGE_SIZE, untyped(frames(1)));
    }
    meter.measure(&mut || {
        let guard = disable_preempt();
        let cursor = space.cursor_mut(&guard, range).expect(LEGAL);
        black_box(cursor.virt_addr());
    });
}

fn space_new_drop(meter: &mut dyn Meter) {
    meter.measure(&mut || drop(black_box(VmSpace::new().expect(ENOUGH))));
}

fn frame_alloc_free(meter: &mut dyn Meter, is_zeroed: bool) {
    let mut options = FrameAllocOptions::new();
    options.zeroed(is_zeroed);
    meter.measure(&mut || {
        for _ in 0..FRAMES {
            drop(black_box(options.alloc_frame().expect(ENOUGH)));
        }
    });
}

/// Flushes so many pages one by one, whatever the threshold is, or everything.
fn flush(meter: &mut dyn Meter, pages: Option<usize>) {
    let space = space();
    space.activate();
    meter.measure(&mut || match pages {
        Some(pages) => (0..pages).for_each(|page| mmu::flush_page(BASE + page * PAGE_SIZE)),
        None => mmu::flush_all_excluding_global(),
    });
    VmSpace::deactivate_current();
}

/// Switches to another space and back, of which neither has changed; with
/// identifiers, where the machine has some, or without.
fn switch(meter: &mut dyn Meter, has_identifiers: bool) {
    let (first, second) = (space(), space());
    VmSpace::deactivate_current();
    cpu::local().tlb.set_tagging(has_identifiers);
    second.activate();
    first.activate();
    meter.measure(&mut || {
        second.activate();
        first.activate();
    });
    VmSpace::deactivate_current();
    cpu::local().tlb.set_tagging(true);
}

/// Switches to a task without a space and back.
fn switch_lazily(meter: &mut dyn Meter) {
    let space = space();
    space.activate();
    meter.measure(&mut || {
        let irq_off = irq::disable_local();
        // Nothing is left, so nothing is to be dropped.
        black_box(vm_space::on_switch(None));
        black_box(vm_space::on_switch(Some(&space)));
        drop(irq_off);
    });
    VmSpace::deactivate_current();
}
