//! Nodes, their locks, and memory that runs out.

use super::{
    BASE, Frame, G1, KernelPtConfig, M2, PAGE_SIZE, PageFlags, PageTableConfig, PageTableEntry,
    PageTableEntryTrait, PageTableError, PageTableFrag, PagingConsts, UserPtConfig, Vec,
    disable_preempt, frame, huge, huge_frames, kernel_page_table, kspace, map, map_at, node_at,
    open, pages, prop, protect, ram, take, user_table,
};
use crate::arch::memory;
use crate::mm::frame::frame_counts;
use crate::mm::frame::tests::Hog;
use crate::mm::page_table::Visited;
use crate::prelude::ktest;

#[ktest]
fn claims_126_127_nodes_count_their_children_and_know_their_levels() {
    // `validate` recounts all of it; here is that it has something to count.
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    assert_eq!(table.validate(), 1);
    for (page, nodes) in [(0, 4), (1, 4), (512, 5), (262_144, 7)] {
        map(&table, BASE + page * PAGE_SIZE, ram(&frame, PageFlags::R));
        assert_eq!(table.validate(), nodes);
    }
    let mut cursor = open(&table, &guard, BASE..BASE + M2);
    drop(take(&mut cursor, M2).expect("nothing to split"));
    drop(cursor);
    assert_eq!(table.validate(), 6);
}

#[ktest]
fn claims_135_140_cursor_of_a_page_locks_one_node_and_makes_three() {
    let (table, guard) = (user_table(), disable_preempt());
    let before = frame_counts().free;
    let cursor = open(&table, &guard, BASE + PAGE_SIZE..BASE + 3 * PAGE_SIZE);
    assert_eq!((cursor.guard_level(), frame_counts().free), (1, before - 3));
    // A cursor next door needs none of the nodes that this one holds.
    let other = open(&table, &guard, BASE + M2..BASE + M2 + PAGE_SIZE);
    assert_eq!(other.guard_level(), 1);
    drop((cursor, other));
    assert_eq!(table.validate(), 5);
}

#[ktest]
fn choice_l15_read_only_cursor_allocates_nothing() {
    let (table, guard) = (user_table(), disable_preempt());
    let before = frame_counts();
    let cursor = table
        .cursor(&guard, &(BASE..BASE + PAGE_SIZE))
        .expect("a legal range");
    assert_eq!(cursor.guard_level(), 4);
    assert_eq!(cursor.find_next(PAGE_SIZE), None);
    drop(cursor);
    assert_eq!((frame_counts(), table.validate()), (before, 1));
}

#[ktest]
fn choice_l18_guard_level_is_that_of_the_covering_node() {
    let (table, guard) = (user_table(), disable_preempt());
    for (range, level) in [
        (BASE..BASE + PAGE_SIZE, 1),
        (BASE + PAGE_SIZE..BASE + M2, 1),
        (BASE..BASE + 2 * M2, 2),
        ((1 << 39) - PAGE_SIZE..(1 << 39) + PAGE_SIZE, 4),
        (BASE + G1 - PAGE_SIZE..BASE + G1 + PAGE_SIZE, 3),
        (0..1 << 47, 4),
        // A huge leaf would stand in the parent.
        (BASE..BASE + M2, 2),
        (BASE..BASE + G1, 3),
    ] {
        let cursor = open(&table, &guard, range.clone());
        assert_eq!(cursor.guard_level(), level, "{range:x?}");
    }
}

#[ktest]
fn claim_72_opening_changes_no_mapping_and_no_count() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    map(&table, BASE, ram(&frame, PageFlags::R));
    for range in [BASE..BASE + PAGE_SIZE, BASE..BASE + G1, 0..1 << 47] {
        drop(open(&table, &guard, range.clone()));
        drop(table.cursor(&guard, &range).expect("a legal range"));
    }
    assert_eq!(
        (
            pages(&table, BASE..BASE + M2).len(),
            frame.reference_count()
        ),
        (1, 2)
    );
}

#[ktest]
fn claims_109_129_nodes_that_are_cut_off_are_stray_and_unlocked() {
    // peer_037: at each depth, another cursor over the range goes on.
    for (len, window) in [(M2, M2 * 2), (G1, G1 * 2)] {
        let (table, guard, frame) = (user_table(), disable_preempt(), frame());
        map(&table, BASE, ram(&frame, PageFlags::R));
        let mut cursor = open(&table, &guard, BASE..BASE + window);
        let taken = take(&mut cursor, len).expect("nothing to split");
        let Some(PageTableFrag::StrayPageTable { pt, .. }) = taken else {
            panic!("a table is there");
        };
        let node = node_at::<UserPtConfig>(pt.start_paddr());
        assert!(node.is_stray() && !node.is_locked());
        drop((cursor, pt));
        let again = open(&table, &guard, BASE..BASE + PAGE_SIZE);
        assert_eq!(again.find_next(PAGE_SIZE), None);
        drop(again);
        table.validate();
    }
}

#[ktest]
fn claim_138_empty_node_dies_without_a_look_at_its_entries() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    drop(open(&table, &guard, BASE..BASE + PAGE_SIZE));
    let before = frame_counts().free;
    let mut cursor = open(&table, &guard, BASE..BASE + 2 * M2);
    let taken = take(&mut cursor, M2).expect("nothing to split");
    drop(cursor);
    let Some(PageTableFrag::StrayPageTable { pt, num_frames, .. }) = taken else {
        panic!("a table is there");
    };
    assert_eq!(num_frames, 0);
    // An entry that the node does not know of: a look at it would drop the frame.
    let leaf = PageTableEntry::new_page(frame.start_paddr(), 1, prop(PageFlags::R));
    let entry = memory::paddr_to_vaddr(pt.start_paddr()) as *mut usize;
    // SAFETY: It is the first entry of a node that is this test's alone.
    unsafe { entry.write_volatile(leaf.as_usize()) };
    drop(pt);
    // SAFETY: The frame is free, and nobody has taken it since. Nodes are given back
    // as zeros.
    unsafe { entry.write_volatile(0) };
    assert_eq!(frame_counts().free, before + 1);
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn claim_139_182_peer_028_teardown_leaves_the_kernels_half_alone() {
    let kernel = kernel_page_table();
    let guard = disable_preempt();
    let entries = || {
        let root = node_at::<KernelPtConfig>(kernel.root_paddr());
        KernelPtConfig::TOP_LEVEL_INDEX_RANGE
            .map(|index| root.read(index).as_usize())
            .collect::<Vec<_>>()
    };
    let before = entries();
    for _ in 0..20 {
        let table = user_table();
        map(&table, BASE, ram(&frame(), PageFlags::R));
        let root = node_at::<UserPtConfig>(table.root_paddr());
        for (index, entry) in KernelPtConfig::TOP_LEVEL_INDEX_RANGE.zip(&before) {
            assert_eq!(root.read(index).as_usize() & !0x60, entry & !0x60);
        }
        assert_eq!(root.nr_children(), 1, "what is copied is not counted");
    }
    drop(guard);
    let masked = |entries: Vec<usize>| {
        entries
            .iter()
            .map(|entry| entry & !0x60)
            .collect::<Vec<_>>()
    };
    assert_eq!(masked(entries()), masked(before));
}

#[ktest]
fn claim_48_linked_node_is_referenced_once() {
    let (table, frame) = (user_table(), frame());
    map(&table, BASE, ram(&frame, PageFlags::R));
    let mut paddr = table.root_paddr();
    for level in (2..=4).rev() {
        let node = node_at::<UserPtConfig>(paddr);
        let index = super::super::super::paging::pte_index::<PagingConsts>(BASE, level);
        paddr = node.read(index).child();
        let child = Frame::from_in_use(paddr).expect("it is a node");
        assert_eq!(child.reference_count() - 1, 1);
    }
}

#[ktest]
fn choice_l6_peer_026_memory_that_runs_out_is_an_error_at_every_node() {
    let (frame, small) = (frame(), frame());
    let frames = huge_frames();
    let table = user_table();
    map(&table, BASE + G1, huge(&frames, PageFlags::R));
    let guard = disable_preempt();
    let before = pages(&table, BASE + G1..BASE + G1 + M2);
    for left in 0..3 {
        // Each time where no node is yet: those that could be made stay.
        let far = 0x1234_5678_9000 + (left << 39);
        let _shortage = Hog::all_but(left);
        let opened = table.cursor_mut(&guard, &(far..far + PAGE_SIZE));
        assert_eq!(
            opened.err(),
            Some(PageTableError::NoMemory),
            "with {left} frames"
        );
        assert!(
            table.cursor(&guard, &(far..far + PAGE_SIZE)).is_ok(),
            "reading needs none"
        );
    }
    {
        let _shortage = Hog::all_but(0);
        assert!(kernel_page_table().create_user_page_table().is_err());
        // Mapping below an existing node, splitting for a map, a take, a change.
        let mut cursor = open(&table, &guard, BASE..BASE + 2 * G1);
        let no_memory = Some(PageTableError::NoMemory);
        assert_eq!(
            map_at(&mut cursor, ram(&frame, PageFlags::R)).err(),
            no_memory
        );
        assert_eq!(frame.reference_count(), 1, "the item was dropped");
        let inside = BASE + G1 + PAGE_SIZE;
        cursor.jump(inside).expect("in the range");
        assert_eq!(
            map_at(&mut cursor, ram(&small, PageFlags::R)).err(),
            no_memory
        );
        assert_eq!(take(&mut cursor, PAGE_SIZE).err(), no_memory);
        assert_eq!(
            protect(&mut cursor, PAGE_SIZE, PageFlags::R).err(),
            no_memory
        );
        assert_eq!(cursor.split_edges(PAGE_SIZE).err(), no_memory);
        assert_eq!(cursor.virt_addr(), inside);
    }
    assert_eq!(pages(&table, BASE + G1..BASE + G1 + M2), before);
    table.validate();
    drop(table);
    assert_eq!(frames.reference_count(), 1);
}

#[ktest]
fn claim_111_kernel_table_never_yields_a_table_of_the_root() {
    let irq_off = crate::irq::disable_local();
    let range = kspace::layout::KVIRT_RANGE;
    // The last 512 GiB of the areas: nothing is there, and the node stays.
    let top = range.end - (1 << 39)..range.end;
    let mut cursor = kernel_page_table()
        .cursor_mut(&irq_off, &top)
        .expect("a legal range");
    // SAFETY: Nothing is mapped in the range, as the result shows.
    let taken = unsafe { cursor.take_next(1 << 39) };
    assert!(matches!(taken, Ok(None)));
}

#[ktest]
fn visit_shows_nodes_before_what_is_below_them_and_says_their_levels() {
    let (table, frame) = (user_table(), frame());
    let vas = [BASE, BASE + PAGE_SIZE, BASE + M2];
    for va in vas {
        map(&table, va, ram(&frame, PageFlags::R));
    }
    let mut seen = Vec::new();
    table.visit(&mut |va, level, visited| seen.push((va, level, visited)));
    let leaf = |va| {
        let leaf = Visited::Leaf(frame.start_paddr(), prop(PageFlags::R));
        (va, 1, leaf)
    };
    let expected = [
        (0, 3, Visited::Node(1)),
        (BASE, 2, Visited::Node(2)),
        (BASE, 1, Visited::Node(2)),
        leaf(vas[0]),
        leaf(vas[1]),
        (BASE + M2, 1, Visited::Node(1)),
        leaf(vas[2]),
    ];
    assert_eq!(seen, expected);
}

#[ktest]
fn root_that_dies_leaves_nothing_of_the_kernels_half() {
    // The frame is taken for all zeros, by whoever gets it next.
    let table = user_table();
    let words = memory::paddr_to_vaddr(table.root_paddr()) as *const usize;
    // SAFETY: The word is of a frame that has a table, or that nobody has taken since.
    let word = |index| unsafe { words.wrapping_add(index).read_volatile() };
    let present = || (0..512).filter(|index| word(*index) != 0).count();
    assert_eq!(present(), 256);
    drop(table);
    assert_eq!(present(), 0);
}
