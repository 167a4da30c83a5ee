//! Huge pages: mapping them, splitting them, replacing them.

use super::{
    BASE, Frame, G1, M2, MappedItem, PAGE_SIZE, PageFlags, PageProperty, PageTable, PageTableFrag,
    USegment, UserPtConfig, Vec, disable_preempt, frame, huge, huge_frames, map, map_at, open,
    pages, prop, protect, ram, take, user_table,
};
use crate::prelude::ktest;

fn table_with_huge_page() -> (PageTable<UserPtConfig>, USegment) {
    let (table, frames) = (user_table(), huge_frames());
    map(&table, BASE, huge(&frames, PageFlags::RW));
    (table, frames)
}

#[ktest]
fn choice_l3_peer_014_huge_page_maps_through_a_cursor_of_its_size_and_larger() {
    for range in [
        BASE..BASE + M2,
        BASE..BASE + M2 + PAGE_SIZE,
        BASE - PAGE_SIZE..BASE + M2,
        BASE - G1..BASE + G1,
    ] {
        let (table, guard, frames) = (user_table(), disable_preempt(), huge_frames());
        let mut cursor = open(&table, &guard, range);
        cursor.jump(BASE).expect("in the range");
        drop(map_at(&mut cursor, huge(&frames, PageFlags::RW)).expect("enough memory"));
        assert_eq!(cursor.virt_addr(), BASE + M2);
        cursor.jump(BASE).expect("in the range");
        let item = Some(huge(&frames, PageFlags::RW));
        assert_eq!(cursor.query(), Ok((BASE..BASE + M2, item)));
    }
}

#[ktest]
fn claim_9_leaves_are_of_levels_up_to_three() {
    let (table, guard) = (user_table(), disable_preempt());
    let mut cursor = open(&table, &guard, BASE..BASE + G1);
    let device = |level| MappedItem::MappedIoMem {
        paddr: 1 << 45,
        level,
        prop: prop(PageFlags::R),
    };
    drop(map_at(&mut cursor, device(3)).expect("enough memory"));
    cursor.jump(BASE).expect("in the range");
    assert_eq!(cursor.query(), Ok((BASE..BASE + G1, Some(device(3)))));
}

#[ktest]
#[should_panic(expected = "no leaf may be of level 4")]
fn claim_9_leaf_of_the_root_panics() {
    let (table, guard) = (user_table(), disable_preempt());
    let mut cursor = open(&table, &guard, 0..1 << 40);
    let root_leaf = MappedItem::MappedIoMem {
        paddr: 0,
        level: 4,
        prop: prop(PageFlags::R),
    };
    let _ = map_at(&mut cursor, root_leaf);
}

#[ktest]
#[should_panic(expected = "leaves the cursor's range")]
fn claim_95_peer_004_item_that_overhangs_the_range_panics() {
    let (table, guard) = (user_table(), disable_preempt());
    let mut cursor = open(&table, &guard, BASE..BASE + M2 - PAGE_SIZE);
    let _ = map_at(&mut cursor, huge(&huge_frames(), PageFlags::R));
}

#[ktest]
#[should_panic(expected = "cannot be at")]
fn claim_96_misaligned_huge_page_panics() {
    let (table, guard) = (user_table(), disable_preempt());
    let mut cursor = open(&table, &guard, BASE..BASE + 2 * M2);
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    let _ = map_at(&mut cursor, huge(&huge_frames(), PageFlags::R));
}

#[ktest]
fn claim_78_query_inside_a_huge_page_returns_all_of_it() {
    let (table, frames) = table_with_huge_page();
    let guard = disable_preempt();
    let va = BASE + 77 * PAGE_SIZE;
    let cursor = table
        .cursor(&guard, &(va..va + PAGE_SIZE))
        .expect("a legal range");
    let item = Some(huge(&frames, PageFlags::RW));
    assert_eq!(cursor.query(), Ok((BASE..BASE + M2, item)));
    assert_eq!(
        (cursor.find_next(PAGE_SIZE), cursor.virt_addr()),
        (Some(va), va)
    );
}

#[ktest]
fn claims_99_100_small_page_in_a_huge_one_leaves_the_other_511() {
    // peer_032: all translations before and after.
    let (table, frames) = table_with_huge_page();
    let before = pages(&table, BASE..BASE + M2);
    assert_eq!(before.len(), 512);
    let guard = disable_preempt();
    let small = frame();
    let va = BASE + 100 * PAGE_SIZE;
    let mut cursor = open(&table, &guard, BASE..BASE + M2);
    cursor.jump(va).expect("in the range");
    let replaced = map_at(&mut cursor, ram(&small, PageFlags::R)).expect("enough memory");
    drop(cursor);
    let mut expected = before;
    expected[100] = (va, small.start_paddr(), prop(PageFlags::R));
    assert_eq!(pages(&table, BASE..BASE + M2), expected);
    let Some(PageTableFrag::Mapped {
        item: MappedItem::MappedRam { frame, .. },
        ..
    }) = replaced
    else {
        panic!("a part of the huge page was there");
    };
    assert_eq!(frame.start_paddr(), frames.start_paddr() + 100 * PAGE_SIZE);
    table.validate();
}

#[ktest]
fn claim_23_splitting_gives_512_children_and_changes_no_count() {
    let (table, frames) = table_with_huge_page();
    let guard = disable_preempt();
    let counts = || {
        let frame = |index: usize| Frame::from_in_use(frames.start_paddr() + index * PAGE_SIZE);
        [0, 1, 255, 511].map(|index| frame(index).expect("it is in use").reference_count() - 1)
    };
    let before = counts();
    let mut cursor = open(&table, &guard, BASE..BASE + M2);
    assert_eq!(
        protect(&mut cursor, PAGE_SIZE, PageFlags::RW),
        Ok(Some(BASE..BASE + PAGE_SIZE)),
        "protecting one page splits"
    );
    assert_eq!(counts(), before);
    for index in [1, 100, 511] {
        let va = BASE + index * PAGE_SIZE;
        cursor.jump(va).expect("in the range");
        let (range, item) = cursor.query().expect("in the range");
        assert_eq!(range, va..va + PAGE_SIZE);
        assert_eq!(item.expect("it is mapped").prop(), prop(PageFlags::RW));
    }
}

#[ktest]
fn claim_107_window_with_edges_in_huge_pages_keeps_the_outside() {
    let (table, frames) = table_with_huge_page();
    let before = pages(&table, BASE..BASE + M2);
    let guard = disable_preempt();
    let mut cursor = open(&table, &guard, BASE..BASE + M2);
    cursor.jump(BASE + 10 * PAGE_SIZE).expect("in the range");
    let mut taken = Vec::new();
    let end = BASE + 20 * PAGE_SIZE;
    while let Some(frag) = take(
        &mut cursor,
        end - (BASE + 10 * PAGE_SIZE + taken.len() * PAGE_SIZE),
    )
    .expect("enough memory")
    {
        taken.push(frag);
    }
    drop(cursor);
    assert_eq!(taken.len(), 10);
    let outside: Vec<_> = before[..10].iter().chain(&before[20..]).copied().collect();
    assert_eq!(pages(&table, BASE..BASE + M2), outside);
    drop((taken, frames));
    table.validate();
}

#[ktest]
fn claim_117_protecting_a_part_of_a_huge_page_changes_that_part() {
    let (table, _frames) = table_with_huge_page();
    let guard = disable_preempt();
    let mut cursor = open(&table, &guard, BASE..BASE + M2);
    cursor.jump(BASE + 5 * PAGE_SIZE).expect("in the range");
    for page in 5..7 {
        let va = BASE + page * PAGE_SIZE;
        let changed = protect(&mut cursor, BASE + 7 * PAGE_SIZE - va, PageFlags::R);
        assert_eq!(changed, Ok(Some(va..va + PAGE_SIZE)));
    }
    drop(cursor);
    for (va, _, how) in pages(&table, BASE..BASE + M2) {
        let is_changed = (5..7).contains(&((va - BASE) / PAGE_SIZE));
        let flags = if is_changed {
            PageFlags::R
        } else {
            PageFlags::RW
        };
        assert_eq!(how.flags, flags, "at {va:#x}");
    }
}

#[ktest]
fn whole_huge_page_is_protected_and_taken_as_one() {
    let (table, frames) = table_with_huge_page();
    let guard = disable_preempt();
    let mut cursor = open(&table, &guard, BASE..BASE + 2 * M2);
    assert_eq!(
        protect(&mut cursor, M2, PageFlags::R),
        Ok(Some(BASE..BASE + M2))
    );
    cursor.jump(BASE).expect("in the range");
    let taken = take(&mut cursor, M2).expect("nothing to split");
    let Some(PageTableFrag::Mapped { va, item }) = taken else {
        panic!("one page is there");
    };
    assert_eq!((va, item), (BASE, huge(&frames, PageFlags::R)));
    assert_eq!(frames.reference_count(), 1);
}

#[ktest]
fn choice_l1_huge_page_over_a_table_returns_the_table() {
    // peer_048: even an empty table is taken out.
    for mapped in [true, false] {
        let (table, guard, small, frames) =
            (user_table(), disable_preempt(), frame(), huge_frames());
        map(&table, BASE + PAGE_SIZE, ram(&small, PageFlags::R));
        let mut cursor = open(&table, &guard, BASE..BASE + M2);
        if !mapped {
            cursor.jump(BASE + PAGE_SIZE).expect("in the range");
            drop(take(&mut cursor, PAGE_SIZE).expect("nothing to split"));
            cursor.jump(BASE).expect("in the range");
        }
        let replaced = map_at(&mut cursor, huge(&frames, PageFlags::R)).expect("enough memory");
        let Some(PageTableFrag::StrayPageTable {
            pt,
            va,
            len,
            num_frames,
            ..
        }) = replaced
        else {
            panic!("a table was there");
        };
        assert_eq!((va, len, num_frames), (BASE, M2, usize::from(mapped)));
        drop((cursor, pt));
        assert_eq!(pages(&table, BASE..BASE + M2).len(), 512);
        assert_eq!(small.reference_count(), 1);
        table.validate();
    }
}

#[ktest]
fn choice_l5_leaves_in_a_table_that_is_taken_are_counted() {
    let (table, guard, small, frames) = (user_table(), disable_preempt(), frame(), huge_frames());
    map(&table, BASE, huge(&frames, PageFlags::R));
    map(&table, BASE + M2, ram(&small, PageFlags::R));
    map(&table, BASE + M2 + PAGE_SIZE, ram(&small, PageFlags::R));
    map(&table, BASE + 9 * M2, huge(&frames, PageFlags::R));
    let mut cursor = open(&table, &guard, BASE..BASE + 2 * G1);
    let taken = take(&mut cursor, G1).expect("nothing to split");
    let Some(PageTableFrag::StrayPageTable { pt, num_frames, .. }) = taken else {
        panic!("a table is there");
    };
    assert_eq!(num_frames, 4);
    drop(pt);
    assert_eq!((frames.reference_count(), small.reference_count()), (1, 1));
}

#[ktest]
fn gibibyte_splits_in_two_steps_and_keeps_its_translations() {
    // peer_032: both levels. A device's memory, so that no machine is too small.
    let (table, guard) = (user_table(), disable_preempt());
    let device = MappedItem::MappedIoMem {
        paddr: 1 << 45,
        level: 3,
        prop: prop(PageFlags::RW),
    };
    map(&table, BASE, device);
    let hole = BASE + G1 / 2 + 7 * PAGE_SIZE;
    let mut cursor = open(&table, &guard, BASE..BASE + G1);
    cursor.jump(hole).expect("in the range");
    let taken = take(&mut cursor, PAGE_SIZE).expect("enough memory");
    assert!(matches!(taken, Some(PageTableFrag::Mapped { va, .. }) if va == hole));
    drop(cursor);
    for va in (BASE..BASE + G1).step_by(M2 / 2) {
        let translated = table.page_walk(&guard, va).map(|(paddr, _)| paddr);
        assert_eq!(translated, Some((1 << 45) + (va - BASE)), "at {va:#x}");
    }
    assert_eq!(table.page_walk(&guard, hole), None);
    // Two levels of the walk to the hole, and the nodes above.
    assert_eq!(table.validate(), 4);
}

#[ktest]
fn peer_038_change_after_a_split_is_one_of_the_part() {
    let (table, _frames) = table_with_huge_page();
    let before = pages(&table, BASE..BASE + M2);
    let guard = disable_preempt();
    let part = BASE + 5 * PAGE_SIZE;
    let mut cursor = open(&table, &guard, BASE..BASE + 2 * M2);
    let mut change = |va: usize, flags| {
        let mut seen = None;
        cursor.jump(va).expect("in the range");
        let op = |old| {
            seen = Some(old);
            prop(flags)
        };
        // SAFETY: No processor uses the table.
        let changed = unsafe { cursor.protect_next(PAGE_SIZE, op) };
        assert_eq!(changed, Ok(Some(va..va + PAGE_SIZE)));
        seen.expect("it was asked").flags
    };
    // The first one splits; the next ones see what it left.
    assert_eq!(change(part, PageFlags::R), PageFlags::RW);
    assert_eq!(change(part, PageFlags::RX), PageFlags::R);
    assert_eq!(change(part + PAGE_SIZE, PageFlags::R), PageFlags::RW);
    // The same in a table that the cursor makes where there was none.
    let small = frame();
    cursor.jump(BASE + M2).expect("in the range");
    drop(map_at(&mut cursor, ram(&small, PageFlags::R)).expect("enough memory"));
    cursor.jump(BASE + M2).expect("in the range");
    let changed = protect(&mut cursor, PAGE_SIZE, PageFlags::RW);
    assert_eq!(changed, Ok(Some(BASE + M2..BASE + M2 + PAGE_SIZE)));
    drop(cursor);
    let mut expected = before;
    expected[5].2 = prop(PageFlags::RX);
    expected[6].2 = prop(PageFlags::R);
    expected.push((BASE + M2, small.start_paddr(), prop(PageFlags::RW)));
    assert_eq!(pages(&table, BASE..BASE + 2 * M2), expected);
}

#[ktest]
fn protecting_all_changes_each_page_of_the_window_and_none_around_it() {
    let (table, guard, frames) = (user_table(), disable_preempt(), huge_frames());
    let small: Vec<_> = (0..5).map(|_| frame()).collect();
    let flags = [
        PageFlags::R,
        PageFlags::RW,
        PageFlags::RW,
        PageFlags::RX,
        PageFlags::RW,
    ];
    for (page, (frame, flags)) in small.iter().zip(flags).enumerate() {
        map(&table, BASE + 2 * page * PAGE_SIZE, ram(frame, flags));
    }
    map(&table, BASE + M2, huge(&frames, PageFlags::RW));
    let before = pages(&table, BASE..BASE + 3 * M2);
    let window = BASE + 2 * PAGE_SIZE..BASE + M2 + 3 * PAGE_SIZE;
    for range in [window.clone(), BASE..BASE + M2] {
        let mut cursor = open(&table, &guard, BASE..BASE + 3 * M2);
        cursor.jump(range.start).expect("in the range");
        let change = |old: PageProperty| PageProperty {
            flags: (old.flags - PageFlags::W) | PageFlags::DIRTY,
            ..old
        };
        // SAFETY: No processor uses the table.
        let count = unsafe { cursor.protect_all(range.len(), change) };
        let inside = before.iter().filter(|page| range.contains(&page.0));
        assert_eq!(count, Ok(inside.count()));
        assert_eq!(cursor.virt_addr(), range.end);
        drop(cursor);
        let mut expected = before.clone();
        let changed = window.start.min(range.start)..window.end;
        for page in &mut expected {
            if changed.contains(&page.0) {
                page.2 = change(page.2);
            }
        }
        assert!(pages(&table, BASE..BASE + 3 * M2) == expected);
    }
    table.validate();
}
