//! The benchmarks: the operations that `anchors.md` has figures of other systems
//! for, and a few more.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::black_box;
use core::ops::Range;

use super::{Meter, Row};
use crate::cpu::disable_preempt;
use crate::mm::page_table::{MappedItem, MappedItemRef, PageTableError};
use crate::mm::tlb::TlbFlushOp;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, Segment, UFrame, Vaddr,
    VmSpace,
};

/// A multiple of 512 GiB, where the tables are the benchmark's own.
const BASE: Vaddr = 1 << 39;
const M2: usize = 2 << 20;
const G1: usize = 1 << 30;
const TABLE: Range<Vaddr> = BASE..BASE + M2;
/// As many pages as a table has, in the halves of two of them: neither can be
/// taken out as a whole.
const ACROSS: Range<Vaddr> = BASE + M2 / 2..BASE + M2 / 2 + M2;
/// How often a single frame is allocated and freed.
const FRAMES: usize = 64;
const PAGE: Range<Vaddr> = BASE..BASE + PAGE_SIZE;

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

fn prop(flags: PageFlags) -> PageProperty {
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

fn space() -> Arc<VmSpace> {
    Arc::new(VmSpace::new().expect("a benchmark has enough memory"))
}

fn frames(count: usize) -> Segment<()> {
    let frames = FrameAllocOptions::new().zeroed(false).alloc_segment(count);
    frames.expect("a benchmark has enough memory")
}

/// Maps frames from an address on, `step` bytes apart.
fn map_all(space: &VmSpace, start: Vaddr, step: usize, frames: impl Iterator<Item = UFrame>) {
    let guard = disable_preempt();
    for (number, frame) in frames.enumerate() {
        let va = start + number * step;
        let mut cursor = space
            .cursor_mut(&guard, &(va..va + PAGE_SIZE))
            .expect("the range is legal");
        let mapped = cursor.map(frame, prop(PageFlags::RW));
        mapped.expect("a benchmark has enough memory");
    }
}

fn untyped(frames: Segment<()>) -> impl Iterator<Item = UFrame> {
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
        if let (Ok(mut cursor), Some(frame)) = (space.cursor_mut(&guard, &PAGE), frame.take()) {
            let _ = cursor.map(frame, prop(PageFlags::RW));
        }
    });
}

fn map_512(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(1)));
    let mut frames: Vec<UFrame> = untyped(frames(512)).collect();
    meter.measure(&mut || {
        let guard = disable_preempt();
        if let Ok(mut cursor) = space.cursor_mut(&guard, &(BASE + M2..BASE + 2 * M2)) {
            for frame in frames.drain(..) {
                let _ = cursor.map(frame, prop(PageFlags::RW));
            }
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
            if let Ok(mut cursor) = space.cursor_mut(&guard, &(va..va + PAGE_SIZE)) {
                let _ = cursor.map(frame, prop(PageFlags::RW));
            }
        }
    });
}

fn unmap_range(space: &VmSpace, range: &Range<Vaddr>) -> usize {
    let guard = disable_preempt();
    match space.cursor_mut(&guard, range) {
        Ok(mut cursor) => cursor.unmap(range.end - range.start).unwrap_or(0),
        Err(_) => 0,
    }
}

fn unmap_one(meter: &mut dyn Meter, is_active: bool) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(2)));
    if is_active {
        space.activate();
    }
    meter.measure(&mut || {
        let guard = disable_preempt();
        if let Ok(mut cursor) = space.cursor_mut(&guard, &PAGE) {
            black_box(cursor.unmap(PAGE_SIZE).unwrap_or(0));
            if is_active {
                cursor.flusher().sync_tlb_flush();
            }
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
    if let Ok(cursor) = space.cursor(&guard, &(va..va + PAGE_SIZE)) {
        look_at(cursor.query());
    }
}

/// Uses what a query found, as its caller would.
#[inline(always)]
fn look_at(found: Result<(Range<Vaddr>, Option<MappedItem>), PageTableError>) {
    if let Ok((range, Some(MappedItem::MappedRam { frame, prop }))) = found {
        black_box((range.start, frame.start_paddr(), prop.flags.bits()));
    }
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

fn find_and_query(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        let Ok(cursor) = space.cursor(&guard, &TABLE) else {
            return;
        };
        while let Some(va) = cursor.find_next(TABLE.end - cursor.virt_addr()) {
            look_at(cursor.query());
            if cursor.jump(va + PAGE_SIZE).is_err() {
                break;
            }
        }
    });
}

fn find_and_query_ref(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        let Ok(cursor) = space.cursor(&guard, &TABLE) else {
            return;
        };
        while let Some(va) = cursor.find_next(TABLE.end - cursor.virt_addr()) {
            if let Ok((range, Some(MappedItemRef::MappedRam { frame, prop }))) = cursor.query_ref()
            {
                black_box((range.start, frame.start_paddr(), prop.flags.bits()));
            }
            if cursor.jump(va + PAGE_SIZE).is_err() {
                break;
            }
        }
    });
}

fn find_and_jump(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        let Ok(cursor) = space.cursor(&guard, &TABLE) else {
            return;
        };
        while let Some(va) = cursor.find_next(TABLE.end - cursor.virt_addr()) {
            if cursor.jump(va + PAGE_SIZE).is_err() {
                break;
            }
        }
    });
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
        if let Ok(mut cursor) = space.cursor_mut(&guard, &PAGE) {
            let _ = black_box(cursor.protect_next(PAGE_SIZE, read_only));
            if is_flushed {
                cursor.flusher().issue_tlb_flush(TlbFlushOp::Address(BASE));
                cursor.flusher().dispatch_tlb_flush();
                cursor.flusher().sync_tlb_flush();
            }
        }
    });
    VmSpace::deactivate_current();
}

fn protect_512(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        if let Ok(mut cursor) = space.cursor_mut(&guard, &TABLE) {
            let _ = black_box(cursor.protect(M2, read_only));
        }
    });
}

fn protect_next_512(meter: &mut dyn Meter) {
    let space = space();
    map_all(&space, BASE, PAGE_SIZE, untyped(frames(512)));
    meter.measure(&mut || {
        let guard = disable_preempt();
        let Ok(mut cursor) = space.cursor_mut(&guard, &TABLE) else {
            return;
        };
        while cursor.virt_addr() < TABLE.end {
            let rest = TABLE.end - cursor.virt_addr();
            if !matches!(cursor.protect_next(rest, read_only), Ok(Some(_))) {
                break;
            }
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
        if let Ok(cursor) = space.cursor_mut(&guard, range) {
            black_box(cursor.virt_addr());
        }
    });
}

fn space_new_drop(meter: &mut dyn Meter) {
    meter.measure(&mut || drop(black_box(VmSpace::new())));
}

fn frame_alloc_free(meter: &mut dyn Meter, is_zeroed: bool) {
    let mut options = FrameAllocOptions::new();
    options.zeroed(is_zeroed);
    meter.measure(&mut || {
        for _ in 0..FRAMES {
            if let Ok(frame) = options.alloc_frame() {
                drop(black_box(frame));
            }
        }
    });
}
