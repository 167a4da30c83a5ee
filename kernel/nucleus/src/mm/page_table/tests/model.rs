//! Random operations on a tiny table, beside an array that says what is mapped.
//!
//! The model is the dumbest there is: for each of the 64 pages, the frame, the
//! rights and the first page of the leaf, if any. After every operation the table
//! is compared with it page by page, and recounted.

extern crate std;

use std::collections::BTreeMap;
use std::ops::Range;
use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::tiny::{TinyItem, TinyPaging, TinyPtConfig};
use super::super::{CursorMut, PageTable, PageTableFrag};
use crate::arch::sim::Machine;
use crate::cpu::disable_preempt;
use crate::mm::frame::Segment;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, Paddr, PageFlags, PageProperty, page_size,
};

const PAGES: usize = 64;
const HUGE: usize = page_size::<TinyPaging>(2) / PAGE_SIZE;

#[derive(Clone, Debug)]
enum Op {
    Map {
        page: usize,
        huge: bool,
        flags: PageFlags,
    },
    Take {
        page: usize,
        pages: usize,
    },
    Protect {
        page: usize,
        pages: usize,
        flags: PageFlags,
    },
    Find {
        page: usize,
        pages: usize,
    },
    Jump {
        page: usize,
    },
    Query {
        page: usize,
    },
    Split {
        page: usize,
        pages: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    paddr: Paddr,
    flags: PageFlags,
    leaf: usize,
}

#[derive(Default)]
struct Model(BTreeMap<usize, Page>);

impl Model {
    fn leaf(&self, page: usize) -> Option<Range<usize>> {
        let leaf = self.0.get(&page)?.leaf;
        let pages = self.0.values().filter(|other| other.leaf == leaf).count();
        Some(leaf..leaf + pages)
    }

    /// Makes single pages of the leaf that a page is in, if it is not within a window.
    fn split_unless_within(&mut self, page: usize, window: &Range<usize>) {
        if let Some(leaf) = self.leaf(page)
            && !(window.start <= leaf.start && leaf.end <= window.end)
        {
            leaf.for_each(|page| self.0.get_mut(&page).expect("it is mapped").leaf = page);
        }
    }

    fn first(&self, window: Range<usize>) -> Option<usize> {
        self.0.range(window).next().map(|(page, _)| *page)
    }
}

fn prop(flags: PageFlags) -> PageProperty {
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

fn flags() -> impl Strategy<Value = PageFlags> {
    prop_oneof![
        Just(PageFlags::R),
        Just(PageFlags::RW),
        Just(PageFlags::RX),
        Just(PageFlags::empty())
    ]
}

fn window(range: &Range<usize>) -> impl Strategy<Value = (usize, usize)> + use<> {
    let range = range.clone();
    range
        .clone()
        .prop_flat_map(move |page| (Just(page), 0..=range.end - page))
}

fn op(range: &Range<usize>) -> impl Strategy<Value = Op> + use<> {
    let window = || window(range);
    prop_oneof![
        4 => (range.clone(), any::<bool>(), flags())
            .prop_map(|(page, huge, flags)| Op::Map { page, huge, flags }),
        2 => window().prop_map(|(page, pages)| Op::Take { page, pages }),
        2 => (window(), flags())
            .prop_map(|((page, pages), flags)| Op::Protect { page, pages, flags }),
        1 => window().prop_map(|(page, pages)| Op::Find { page, pages }),
        1 => (0..=PAGES).prop_map(|page| Op::Jump { page }),
        1 => range.clone().prop_map(|page| Op::Query { page }),
        1 => window().prop_map(|(page, pages)| Op::Split { page, pages }),
    ]
}

fn scenario() -> impl Strategy<Value = Vec<(Range<usize>, Vec<Op>)>> {
    let cursor = (0..PAGES)
        .prop_flat_map(|start| (Just(start), start + 1..=PAGES))
        .prop_flat_map(|(start, end)| {
            let range = start..end;
            (Just(range.clone()), vec(op(&range), 1..12))
        });
    vec(cursor, 1..6)
}

/// Applies an operation to a cursor and to the model, and compares the results.
fn apply(
    cursor: &mut CursorMut<'_, TinyPtConfig>,
    model: &mut Model,
    barrier: &Range<usize>,
    op: &Op,
) {
    let go = |cursor: &mut CursorMut<'_, TinyPtConfig>, page: usize| {
        if page < barrier.end {
            cursor.jump(page * PAGE_SIZE).expect("in the range");
        }
        page < barrier.end
    };
    match *op {
        Op::Jump { page } => {
            let is_inside = barrier.contains(&page);
            assert_eq!(cursor.jump(page * PAGE_SIZE).is_ok(), is_inside);
        }
        Op::Query { page } => {
            go(cursor, page);
            let (range, item) = cursor.query().expect("in the range");
            let pages = range.start / PAGE_SIZE..range.end / PAGE_SIZE;
            assert!(pages.contains(&page));
            match item {
                Some(item) => {
                    assert_eq!(Some(&pages), model.leaf(page).as_ref());
                    assert_eq!(item.prop.flags, model.0[&page].flags);
                    assert_eq!(item.frames.start_paddr(), model.0[&pages.start].paddr);
                }
                None => assert!(model.first(pages).is_none()),
            }
        }
        Op::Find { page, pages } => {
            go(cursor, page);
            let expected = model.first(page..page + pages);
            let found = cursor.find_next(pages * PAGE_SIZE);
            assert_eq!(found.map(|va| va / PAGE_SIZE), expected);
            let at = cursor.virt_addr() / PAGE_SIZE;
            assert!(found.is_none() || Some(at) == expected);
            assert!(found.is_some() || (page + pages <= at && at <= barrier.end));
        }
        Op::Split { page, pages } => {
            go(cursor, page);
            cursor
                .split_edges(pages * PAGE_SIZE)
                .expect("enough memory");
            assert_eq!(cursor.virt_addr() / PAGE_SIZE, page);
            if pages > 0 {
                for edge in [page, page + pages - 1] {
                    let outside = page..page + pages;
                    model.split_unless_within(edge, &outside);
                }
            }
        }
        Op::Map { page, huge, flags } => map(cursor, model, barrier, (page, huge, flags)),
        Op::Take { page, pages } => {
            go(cursor, page);
            take_all(cursor, model, page..page + pages);
        }
        Op::Protect { page, pages, flags } => {
            go(cursor, page);
            let window = page..page + pages;
            let expected = model.first(window.clone());
            if let Some(first) = expected {
                model.split_unless_within(first, &window);
            }
            // SAFETY: No processor uses the table.
            let changed = unsafe { cursor.protect_next(pages * PAGE_SIZE, |_| prop(flags)) };
            let changed = changed.expect("enough memory");
            let changed = changed.map(|range| range.start / PAGE_SIZE..range.end / PAGE_SIZE);
            assert_eq!(changed, expected.and_then(|page| model.leaf(page)));
            for page in changed.into_iter().flatten() {
                model.0.get_mut(&page).expect("it is mapped").flags = flags;
            }
        }
    }
}

fn map(
    cursor: &mut CursorMut<'_, TinyPtConfig>,
    model: &mut Model,
    barrier: &Range<usize>,
    (page, huge, flags): (usize, bool, PageFlags),
) {
    let page = if huge { page / HUGE * HUGE } else { page };
    let pages = if huge { HUGE } else { 1 };
    let range = page..page + pages;
    if range.start < barrier.start || range.end > barrier.end {
        return;
    }
    cursor.jump(page * PAGE_SIZE).expect("in the range");
    let frames: Segment<()> = FrameAllocOptions::new()
        .zeroed(false)
        .align(pages * PAGE_SIZE)
        .alloc_segment(pages)
        .expect("enough memory");
    let paddr = frames.start_paddr();
    let item = TinyItem {
        frames,
        prop: prop(flags),
    };
    model.split_unless_within(page, &range);
    let was_mapped = model.first(range.clone()).is_some();
    // SAFETY: 1., 2. no processor uses the table.
    let replaced = unsafe { cursor.map(item) }.expect("enough memory");
    // An empty table can be replaced as well.
    assert!(replaced.is_some() || !was_mapped);
    assert_eq!(cursor.virt_addr() / PAGE_SIZE, range.end);
    for (number, place) in range.enumerate() {
        let paddr = paddr + number * PAGE_SIZE;
        model.0.insert(
            place,
            Page {
                paddr,
                flags,
                leaf: page,
            },
        );
    }
}

fn take_all(cursor: &mut CursorMut<'_, TinyPtConfig>, model: &mut Model, window: Range<usize>) {
    let end = window.end * PAGE_SIZE;
    let mut removed = 0;
    while cursor.virt_addr() < end {
        let rest = end - cursor.virt_addr();
        // SAFETY: 1., 2. no processor uses the table.
        let taken = unsafe { cursor.take_next(rest) }.expect("enough memory");
        removed += match taken {
            Some(PageTableFrag::Mapped { .. }) => 1,
            Some(PageTableFrag::StrayPageTable { num_frames, .. }) => num_frames,
            None => break,
        };
    }
    for edge in [window.start, window.end.wrapping_sub(1)] {
        if !window.is_empty() {
            model.split_unless_within(edge, &window);
        }
    }
    let leaves: std::collections::BTreeSet<_> = model
        .0
        .range(window.clone())
        .map(|(_, page)| page.leaf)
        .collect();
    assert_eq!(
        removed,
        leaves.len(),
        "mappings are counted after splitting"
    );
    model.0.retain(|page, _| !window.contains(page));
}

/// Compares all of the table with the model.
fn compare(table: &PageTable<TinyPtConfig>, model: &Model) {
    let guard = disable_preempt();
    for page in 0..PAGES {
        let walked = table.page_walk(&guard, page * PAGE_SIZE);
        let expected = model
            .0
            .get(&page)
            .map(|page| (page.paddr, prop(page.flags)));
        assert_eq!(walked, expected, "page {page}");
    }
}

proptest! {

    #[test]
    fn claims_101_to_106_121_any_operations_leave_what_the_model_says(scenario in scenario()) {
        let machine = Machine::default();
        machine.on(0, || {
            let table = PageTable::<TinyPtConfig>::empty().expect("enough memory");
            let mut model = Model::default();
            for (barrier, ops) in &scenario {
                let guard = disable_preempt();
                let range = barrier.start * PAGE_SIZE..barrier.end * PAGE_SIZE;
                let mut cursor = table.cursor_mut(&guard, &range).expect("enough memory");
                for op in ops {
                    apply(&mut cursor, &mut model, barrier, op);
                    compare(&table, &model);
                }
                drop(cursor);
                table.validate();
            }
        });
    }

    #[test]
    fn peer_002_raw_ranges_never_panic(start in any::<usize>(), end in any::<usize>()) {
        let machine = Machine::default();
        machine.on(0, || {
            let table = super::user_table();
            let guard = disable_preempt();
            for (start, end) in [(start, end), (start & !0xfff, end & !0xfff), (start >> 17, end >> 17)] {
                let range = Range { start, end };
                let opened = table.cursor(&guard, &range).map(|cursor| cursor.virt_addr());
                if let Ok(va) = opened {
                    assert!(va == start && start < end && end <= 1 << 47);
                }
            }
        });
    }
}
