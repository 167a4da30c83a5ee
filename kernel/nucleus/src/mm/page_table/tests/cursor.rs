//! Cursors over pages of the base size.

use super::{
    BASE, G1, M2, PAGE_SIZE, PageFlags, PageTableError, PageTableFrag, Vec, disable_preempt, frame,
    kernel_page_table, map, map_at, open, pages, prop, protect, ram, take, user_table,
};
use crate::prelude::ktest;

#[ktest]
fn claims_71_87_cursor_stands_where_it_was_put() {
    let (table, guard) = (user_table(), disable_preempt());
    let cursor = open(&table, &guard, BASE..BASE + G1);
    assert_eq!(cursor.virt_addr(), BASE);
    for offset in [PAGE_SIZE, G1 - PAGE_SIZE, 0, M2, M2 - PAGE_SIZE] {
        assert_eq!(cursor.jump(BASE + offset), Ok(()));
        assert_eq!(cursor.virt_addr(), BASE + offset);
    }
}

#[ktest]
fn claim_88_jump_out_of_the_range_changes_nothing() {
    // peer_007
    let (table, guard) = (user_table(), disable_preempt());
    let cursor = open(&table, &guard, BASE..BASE + M2);
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    for va in [BASE + M2, BASE - PAGE_SIZE, 0, usize::MAX & !0xfff] {
        assert_eq!(cursor.jump(va), Err(PageTableError::InvalidVaddr(va)));
        assert_eq!(cursor.virt_addr(), BASE + PAGE_SIZE);
    }
}

#[ktest]
#[should_panic(expected = "jump to unaligned")]
fn claim_89_unaligned_jump_panics() {
    let (table, guard) = (user_table(), disable_preempt());
    let _ = open(&table, &guard, BASE..BASE + M2).jump(BASE + 1);
}

#[ktest]
fn claim_90_peer_006_jump_back_from_the_end_works() {
    let (table, guard) = (user_table(), disable_preempt());
    // The last page of a node: its end is the end of the guard node's range.
    let last = BASE + M2 - PAGE_SIZE;
    let mut cursor = open(&table, &guard, last..BASE + M2);
    drop(map_at(&mut cursor, ram(&frame(), PageFlags::R)).expect("enough memory"));
    assert_eq!(cursor.virt_addr(), BASE + M2);
    assert_eq!(
        cursor.query().err(),
        Some(PageTableError::InvalidVaddr(BASE + M2))
    );
    assert_eq!(cursor.find_next(0), None);
    assert_eq!(cursor.jump(last), Ok(()));
    assert!(cursor.query().expect("in the range").1.is_some());
}

#[ktest]
fn peer_005_jump_near_the_end_of_the_address_space() {
    let guard = crate::irq::disable_local();
    let end = usize::MAX - PAGE_SIZE + 1;
    let cursor = kernel_page_table()
        .cursor(&guard, &(end - M2..end))
        .expect("a legal range");
    for va in [end - PAGE_SIZE, end - M2, end - M2 / 2] {
        assert_eq!(cursor.jump(va), Ok(()));
        let (range, _) = cursor.query().expect("in the range");
        assert!(range.contains(&va) && range.end <= end);
    }
    assert_eq!(cursor.jump(end), Err(PageTableError::InvalidVaddr(end)));
    cursor.jump(end - PAGE_SIZE).expect("in the range");
    let _ = cursor.find_next(PAGE_SIZE);
    assert!(cursor.virt_addr() <= end);
}

#[ktest]
fn claims_73_76_77_query_returns_the_mapping_and_one_reference() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    map(&table, BASE, ram(&frame, PageFlags::RX));
    let cursor = open(&table, &guard, BASE..BASE + 2 * PAGE_SIZE);
    assert_eq!(frame.reference_count(), 2);
    let first = cursor.query().expect("in the range");
    assert_eq!(frame.reference_count(), 3);
    assert_eq!(
        first,
        (BASE..BASE + PAGE_SIZE, Some(ram(&frame, PageFlags::RX)))
    );
    assert_eq!(cursor.virt_addr(), BASE);
    assert_eq!(cursor.query(), Ok(first));
}

#[ktest]
fn choice_l2_borrowing_query_counts_nothing() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    map(&table, BASE, ram(&frame, PageFlags::RX));
    let cursor = table
        .cursor(&guard, &(BASE..BASE + PAGE_SIZE))
        .expect("a legal range");
    let (range, item) = cursor.query_ref().expect("in the range");
    let Some(super::super::MappedItemRef::MappedRam {
        frame: seen,
        prop: how,
    }) = item
    else {
        panic!("a frame is mapped there");
    };
    assert_eq!(
        (range.start, seen.start_paddr()),
        (BASE, frame.start_paddr())
    );
    assert_eq!((seen.reference_count(), how), (2, prop(PageFlags::RX)));
}

#[ktest]
fn claim_74_query_of_nothing_returns_a_range_that_is_empty() {
    let (table, guard) = (user_table(), disable_preempt());
    map(&table, BASE, ram(&frame(), PageFlags::R));
    let cursor = open(&table, &guard, BASE..BASE + 2 * G1);
    for (va, expected) in [
        (BASE + PAGE_SIZE, BASE + PAGE_SIZE..BASE + 2 * PAGE_SIZE),
        (BASE + M2 + PAGE_SIZE, BASE + M2..BASE + 2 * M2),
        (BASE + G1 + M2, BASE + G1..BASE + 2 * G1),
    ] {
        cursor.jump(va).expect("in the range");
        assert_eq!(cursor.query(), Ok((expected, None)));
    }
}

#[ktest]
fn claim_75_query_at_the_end_is_an_error() {
    let (table, guard) = (user_table(), disable_preempt());
    let cursor = open(&table, &guard, BASE..BASE + PAGE_SIZE);
    assert_eq!(cursor.find_next(PAGE_SIZE), None);
    assert_eq!(
        cursor.query().err(),
        Some(PageTableError::InvalidVaddr(BASE + PAGE_SIZE))
    );
}

#[ktest]
fn claims_79_80_81_find_next_stops_at_the_first_mapping() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    let places = [3, 511, 512, 1024, 262_143];
    for page in places {
        map(&table, BASE + page * PAGE_SIZE, ram(&frame, PageFlags::R));
    }
    let before = pages(&table, BASE..BASE + 4 * M2);
    let cursor = open(&table, &guard, BASE..BASE + G1);
    for page in places {
        let va = BASE + page * PAGE_SIZE;
        let rest = cursor.barrier().end - cursor.virt_addr();
        assert_eq!(cursor.find_next(rest), Some(va));
        // Called again where it stands, it says the same.
        assert_eq!(cursor.find_next(PAGE_SIZE), Some(va));
        assert_eq!(cursor.virt_addr(), va);
        assert!(cursor.query().expect("in the range").1.is_some());
        if va + PAGE_SIZE < cursor.barrier().end {
            cursor.jump(va + PAGE_SIZE).expect("in the range");
        }
    }
    drop(cursor);
    assert_eq!(pages(&table, BASE..BASE + 4 * M2), before);
}

#[ktest]
fn claims_82_83_choice_l4_miss_moves_to_the_end_and_not_beyond() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    map(&table, BASE + M2, ram(&frame, PageFlags::R));
    let cursor = open(&table, &guard, BASE..BASE + M2 + PAGE_SIZE);
    assert_eq!(cursor.find_next(M2), None);
    assert_eq!(cursor.virt_addr(), BASE + M2);
    assert_eq!(cursor.find_next(PAGE_SIZE), Some(BASE + M2));
    drop(cursor);
    let cursor = open(&table, &guard, BASE + G1..BASE + G1 + PAGE_SIZE);
    assert_eq!(cursor.find_next(PAGE_SIZE), None);
    assert_eq!(
        cursor.virt_addr(),
        BASE + G1 + PAGE_SIZE,
        "the range's end, not the slot's"
    );
    // Again after it returned nothing, at the very end.
    assert_eq!(
        (cursor.find_next(0), cursor.virt_addr()),
        (None, BASE + G1 + PAGE_SIZE)
    );
}

#[ktest]
fn find_next_after_a_miss_in_the_middle_goes_on() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    map(&table, BASE + 9 * PAGE_SIZE, ram(&frame, PageFlags::R));
    let cursor = open(&table, &guard, BASE..BASE + M2);
    assert_eq!(cursor.find_next(4 * PAGE_SIZE), None);
    assert_eq!(cursor.virt_addr(), BASE + 4 * PAGE_SIZE);
    assert_eq!(cursor.find_next(2 * PAGE_SIZE), None);
    assert_eq!(cursor.find_next(8 * PAGE_SIZE), Some(BASE + 9 * PAGE_SIZE));
}

#[ktest]
#[should_panic(expected = "leave the cursor's range")]
fn claim_84_window_beyond_the_range_panics() {
    let (table, guard) = (user_table(), disable_preempt());
    open(&table, &guard, BASE..BASE + PAGE_SIZE).find_next(2 * PAGE_SIZE);
}

#[ktest]
#[should_panic(expected = "not whole pages")]
fn claim_84_unaligned_window_panics() {
    let (table, guard) = (user_table(), disable_preempt());
    let _ = take(&mut open(&table, &guard, BASE..BASE + PAGE_SIZE), 8);
}

#[ktest]
#[should_panic(expected = "leave the cursor's range")]
fn claim_85_peer_003_window_that_wraps_panics() {
    let (table, guard) = (user_table(), disable_preempt());
    let cursor = open(&table, &guard, BASE..BASE + 2 * PAGE_SIZE);
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    cursor.find_next(0_usize.wrapping_sub(BASE + PAGE_SIZE));
}

#[ktest]
fn claim_86_empty_window_finds_nothing_and_moves_nothing() {
    let (table, guard) = (user_table(), disable_preempt());
    map(&table, BASE, ram(&frame(), PageFlags::R));
    let mut cursor = open(&table, &guard, BASE..BASE + PAGE_SIZE);
    assert_eq!(cursor.find_next(0), None);
    assert!(take(&mut cursor, 0).expect("nothing to split").is_none());
    assert_eq!(protect(&mut cursor, 0, PageFlags::R), Ok(None));
    assert_eq!(cursor.virt_addr(), BASE);
}

#[ktest]
fn claims_91_92_93_map_adds_one_mapping_and_moves_on() {
    let (table, guard, other, frame) = (user_table(), disable_preempt(), frame(), frame());
    map(&table, BASE, ram(&other, PageFlags::R));
    let mut cursor = open(&table, &guard, BASE..BASE + M2);
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    let item = ram(&frame, PageFlags::RW);
    assert_eq!(frame.reference_count(), 2);
    assert!(map_at(&mut cursor, item).expect("enough memory").is_none());
    assert_eq!(
        (cursor.virt_addr(), frame.reference_count()),
        (BASE + 2 * PAGE_SIZE, 2)
    );
    drop(cursor);
    let expected = [
        (BASE, other.start_paddr(), prop(PageFlags::R)),
        (BASE + PAGE_SIZE, frame.start_paddr(), prop(PageFlags::RW)),
    ];
    assert_eq!(pages(&table, BASE..BASE + M2), expected);
}

#[ktest]
#[should_panic(expected = "at the end of the cursor's range")]
fn claim_94_map_at_the_end_panics() {
    let (table, guard) = (user_table(), disable_preempt());
    let mut cursor = open(&table, &guard, BASE..BASE + PAGE_SIZE);
    cursor.find_next(PAGE_SIZE);
    let _ = map_at(&mut cursor, ram(&frame(), PageFlags::R));
}

#[ktest]
fn claims_97_98_choice_l1_mapping_over_a_page_returns_the_old_one() {
    // peer_048
    let (table, guard, old, new) = (user_table(), disable_preempt(), frame(), frame());
    map(&table, BASE, ram(&old, PageFlags::RW));
    let mut cursor = open(&table, &guard, BASE..BASE + PAGE_SIZE);
    let replaced = map_at(&mut cursor, ram(&new, PageFlags::R)).expect("enough memory");
    let Some(PageTableFrag::Mapped { va, item }) = replaced else {
        panic!("a page was there");
    };
    assert_eq!((va, &item), (BASE, &ram(&old, PageFlags::RW)));
    assert_eq!((old.reference_count(), new.reference_count()), (2, 2));
    drop(item);
    assert_eq!(old.reference_count(), 1);
}

#[ktest]
fn claims_65_66_frame_is_mapped_at_many_addresses_and_in_many_tables() {
    let (one, two, frame) = (user_table(), user_table(), frame());
    for (count, (table, page)) in [(&one, 0), (&one, 1), (&one, 600), (&two, 0)]
        .iter()
        .enumerate()
    {
        map(table, BASE + page * PAGE_SIZE, ram(&frame, PageFlags::R));
        assert_eq!(frame.reference_count() as usize, count + 2);
    }
    drop(one);
    assert_eq!(frame.reference_count(), 2);
}

#[ktest]
fn claim_108_peer_039_take_next_returns_mappings_in_order() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    // One page short of a table, so that it cannot be taken as a whole.
    let places = [1, 2, 300, 511];
    for page in places {
        map(&table, BASE + page * PAGE_SIZE, ram(&frame, PageFlags::R));
    }
    let mut cursor = open(&table, &guard, BASE + PAGE_SIZE..BASE + M2);
    for page in places {
        let expected = BASE + page * PAGE_SIZE;
        let rest = cursor.barrier().end - cursor.virt_addr();
        let taken = take(&mut cursor, rest).expect("nothing to split");
        let Some(PageTableFrag::Mapped { va, .. }) = taken else {
            panic!("a page is mapped there");
        };
        assert_eq!((va, cursor.virt_addr()), (expected, expected + PAGE_SIZE));
    }
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn worked_example_of_a_table_taken_out() {
    // One page at page 513; the gibibyte is taken: a table of 2 MiB, one frame.
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    map(&table, BASE + 513 * PAGE_SIZE, ram(&frame, PageFlags::R));
    let mut cursor = open(&table, &guard, BASE..BASE + 2 * G1);
    cursor.jump(BASE).expect("in the range");
    // A window that the level-2 table does not fit into.
    let taken = take(&mut cursor, G1 - M2).expect("nothing to split");
    let Some(PageTableFrag::StrayPageTable {
        va,
        len,
        num_frames,
        pt,
        ..
    }) = taken
    else {
        panic!("a table is there");
    };
    assert_eq!((va, len, num_frames), (BASE + M2, M2, 1));
    assert_eq!(
        (cursor.virt_addr(), frame.reference_count()),
        (BASE + 2 * M2, 2)
    );
    drop(pt);
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn claim_110_table_taken_out_takes_all_its_mappings_at_once() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    for page in [0, 7, 511, 512, 1023, 5000] {
        map(&table, BASE + page * PAGE_SIZE, ram(&frame, PageFlags::R));
    }
    let mut cursor = open(&table, &guard, BASE..BASE + 2 * G1);
    let taken = take(&mut cursor, G1).expect("nothing to split");
    let Some(PageTableFrag::StrayPageTable {
        va,
        len,
        num_frames,
        pt,
        ..
    }) = taken
    else {
        panic!("a table is there");
    };
    assert_eq!((va, len, num_frames), (BASE, G1, 6));
    drop(cursor);
    assert_eq!(pages(&table, BASE..BASE + 6 * M2), []);
    assert_eq!(frame.reference_count(), 7);
    drop(pt);
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn claims_113_to_116_protect_changes_the_first_mapping_alone() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    for page in [1, 2] {
        map(&table, BASE + page * PAGE_SIZE, ram(&frame, PageFlags::RW));
    }
    let mut cursor = open(&table, &guard, BASE..BASE + M2);
    let mut calls = 0;
    // SAFETY: No processor uses the table.
    let changed = unsafe {
        cursor.protect_next(M2, |old| {
            calls += 1;
            assert_eq!(old, prop(PageFlags::RW));
            prop(PageFlags::R)
        })
    };
    assert_eq!(changed, Ok(Some(BASE + PAGE_SIZE..BASE + 2 * PAGE_SIZE)));
    assert_eq!((calls, cursor.virt_addr()), (1, BASE + 2 * PAGE_SIZE));
    let rest = cursor.barrier().end - cursor.virt_addr();
    assert_eq!(
        protect(&mut cursor, rest, PageFlags::RX),
        Ok(Some(BASE + 2 * PAGE_SIZE..BASE + 3 * PAGE_SIZE))
    );
    let rest = cursor.barrier().end - cursor.virt_addr();
    assert_eq!(protect(&mut cursor, rest, PageFlags::RX), Ok(None));
    drop(cursor);
    let flags: Vec<_> = pages(&table, BASE..BASE + M2)
        .iter()
        .map(|page| page.2.flags)
        .collect();
    assert_eq!(flags, [PageFlags::R, PageFlags::RX]);
    assert_eq!(frame.reference_count(), 3);
}

#[ktest]
fn claims_119_122_dropping_a_cursor_frees_its_range_and_changes_nothing() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    map(&table, BASE, ram(&frame, PageFlags::R));
    map(&table, BASE + M2, ram(&frame, PageFlags::R));
    let before = pages(&table, BASE..BASE + 2 * M2);
    drop(open(&table, &guard, BASE..BASE + G1));
    table.validate();
    assert_eq!(pages(&table, BASE..BASE + 2 * M2), before);
    let mut cursor = open(&table, &guard, BASE + M2..BASE + M2 + PAGE_SIZE);
    drop(take(&mut cursor, PAGE_SIZE).expect("nothing to split"));
    drop(cursor);
    assert_eq!(pages(&table, BASE..BASE + 2 * M2), before[..1]);
}

#[ktest]
fn claim_125_dropping_a_table_gives_every_frame_back() {
    // peer_026, peer_027
    let before = crate::mm::frame::frame_counts();
    let frame = frame();
    let table = user_table();
    for page in [0, 1, 511, 512, 262_144, 134_217_728] {
        map(&table, BASE + page * PAGE_SIZE, ram(&frame, PageFlags::R));
    }
    map(&table, 0, ram(&frame, PageFlags::R));
    map(&table, (1 << 47) - PAGE_SIZE, ram(&frame, PageFlags::R));
    assert_eq!(frame.reference_count(), 9);
    drop(table);
    assert_eq!(frame.reference_count(), 1);
    drop(frame);
    assert_eq!(crate::mm::frame::frame_counts(), before);
}
