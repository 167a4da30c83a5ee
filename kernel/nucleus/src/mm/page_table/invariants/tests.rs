//! Whatever is wrong with a table is found: each kind of damage, done on purpose.
//!
//! On simulated machines whose checker does not follow entries: it would stop a test that
//! damages them.

extern crate std;

use super::*;
use crate::arch::sim::{Config, Machine};
use crate::mm::frame::Frame as Handle;
use crate::mm::kspace::KVirtArea;
use crate::mm::{CachePolicy, FrameAllocOptions, PageProperty, UFrame, VmSpace};

const VA: Vaddr = 0x40_0000_0000;
const USER: usize = 1 << 2;

fn on_machine(body: impl FnOnce()) {
    let config = Config {
        checked: false,
        ..Config::default()
    };
    Machine::new(config).on(0, body);
}

/// Returns a space that maps a page, and the frame.
fn space() -> (VmSpace, UFrame) {
    let space = VmSpace::new().expect("enough memory");
    let frame = FrameAllocOptions::new().alloc_frame();
    let frame: UFrame = frame.expect("enough memory").into();
    map(&space, VA, &frame);
    (space, frame)
}

fn map(space: &VmSpace, vaddr: Vaddr, frame: &UFrame) {
    let guard = disable_preempt();
    let range = vaddr..vaddr + PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
    cursor.map(frame.clone(), prop).expect("enough memory");
}

/// Returns the node of a level on the way to an address.
fn node<C: Checkable>(table: &PageTable<C>, vaddr: Vaddr, level: PagingLevel) -> Node<C> {
    let mut node = table.root_node();
    for upper in (level + 1..=NR_LEVELS).rev() {
        let entry = node.read_unlocked(pte_index::<PagingConsts>(vaddr, upper));
        assert!(entry.is_table());
        // SAFETY: The entry leads to a node of a table that the test keeps.
        node = unsafe { Node::at(entry.child()) };
    }
    node
}

/// Runs with an entry changed, which is as it was afterwards.
fn with_entry<C: Checkable>(
    (node, index): (Node<C>, usize),
    change: impl Fn(usize) -> usize,
    body: impl FnOnce(),
) {
    let old = node.read_unlocked(index);
    let set = |entry| {
        node.lock();
        node.replace(index, entry);
        node.unlock();
    };
    set(PageTableEntry::from_usize(change(old.as_usize())));
    body();
    set(old);
}

/// Returns the node of a level on the way to a table's page, and the entry for it.
fn place<C: Checkable>(table: &PageTable<C>, vaddr: Vaddr, level: PagingLevel) -> (Node<C>, usize) {
    let index = pte_index::<PagingConsts>(vaddr, level);
    (node(table, vaddr, level), index)
}

/// Both checks find it.
#[track_caller]
fn assert_found<C: Checkable>(table: &PageTable<C>, damage: Damage) {
    let found = table.check().expect("enough memory");
    assert_eq!(found.map_err(|finding| finding.damage), Err(damage));
    let found = table.check_alone();
    assert_eq!(found.map_err(|finding| finding.damage), Err(damage));
}

#[track_caller]
fn assert_sound<C: Checkable>(table: &PageTable<C>) -> Counts {
    let counts = table.check().expect("enough memory").expect("it is sound");
    assert_eq!(table.check_alone(), Ok(counts));
    counts
}

#[test]
fn sound_tables_are_found_sound_and_counted() {
    on_machine(|| {
        let (space, frame) = space();
        map(&space, VA + PAGE_SIZE, &frame);
        let (nodes, leaves) = (3, 2);
        assert_eq!(assert_sound(space.page_table()), Counts { nodes, leaves });
        let counts = assert_sound(kernel_page_table());
        assert!(counts.nodes >= 255);
    });
}

#[test]
fn node_that_is_none_or_of_another_level_or_linked_twice_is_found() {
    on_machine(|| {
        let (space, frame) = space();
        let table = space.page_table();
        let leads_to = |paddr| move |_| paddr | 7;
        with_entry(place(table, VA, 2), leads_to(frame.start_paddr()), || {
            assert_found(table, Damage::NotANode(frame.start_paddr()));
        });
        // The hole in the machine's memory, and beyond its end.
        for nowhere in [0x20_0000, 1 << 40] {
            with_entry(place(table, VA, 2), leads_to(nowhere), || {
                assert_found(table, Damage::NotANode(nowhere));
            });
        }
        let lowest = node(table, VA, 1).paddr();
        with_entry(place(table, VA, 3), leads_to(lowest), || {
            assert_found(table, Damage::OtherLevel(1));
        });
        with_entry(place(table, VA + (2 << 20), 2), leads_to(lowest), || {
            let found = table.check().expect("enough memory");
            let damage = found.expect_err("it is linked twice").damage;
            assert_eq!(damage, Damage::LinkedTwice(lowest));
            assert!(table.check_alone().is_err(), "its parent counts one");
        });
        assert_sound(table);
    });
}

#[test]
fn counts_locks_and_references_of_nodes_that_are_wrong_are_found() {
    on_machine(|| {
        let (space, _frame) = space();
        let table = space.page_table();
        for level in 1..=4 {
            let node = node(table, VA, level);
            node.gain_children(2);
            assert_found(table, Damage::Children(3, 1));
            node.lose_children(2);
            node.lock();
            let found = table.check_alone().expect_err("a lock is held");
            assert_eq!((found.damage, found.level), (Damage::Lock, level));
            node.unlock();
        }
        let lowest = node(table, VA, 1);
        let second = Handle::from_in_use(lowest.paddr()).expect("it is in use");
        assert_found(table, Damage::NodeReferences(2));
        drop(second);
        assert_sound(table);
        lowest.mark_stray();
        assert_found(table, Damage::Stray);
    });
}

#[test]
fn bits_of_entries_that_must_not_be_set_are_found() {
    on_machine(|| {
        let (space, _frame) = space();
        let table = space.page_table();
        with_entry(
            place(table, VA + PAGE_SIZE, 1),
            |_| 1 << 5,
            || {
                assert_found(table, Damage::NotZero);
            },
        );
        with_entry(
            place(table, VA, 1),
            |bits| bits | 1 << 55,
            || {
                assert_found(table, Damage::Reserved);
            },
        );
        with_entry(
            place(table, VA, 3),
            |bits| bits & !USER,
            || {
                assert_found(table, Damage::User);
            },
        );
        // Marked as a leaf, in a root.
        with_entry(
            place(table, VA, 4),
            |_| 0x201,
            || {
                assert_found(table, Damage::LeafTooHigh);
            },
        );
        let kernel = (table.root_node(), 300);
        with_entry(
            kernel,
            |bits| bits ^ 1 << 12,
            || {
                assert_found(table, Damage::OtherKernelHalf);
            },
        );
        with_entry(
            kernel,
            |bits| bits ^ ACCESSED,
            || {
                assert_sound(table);
            },
        );
        assert_sound(table);
    });
}

#[test]
fn kernel_entry_for_users_is_found_at_every_level() {
    on_machine(|| {
        let frame = FrameAllocOptions::new().alloc_frame();
        let frame: UFrame = frame.expect("enough memory").into();
        let prop = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback);
        let area = KVirtArea::map_frames(PAGE_SIZE, 0, [frame].into_iter(), prop);
        let area = area.expect("enough memory");
        let table = kernel_page_table();
        for level in 1..=4 {
            with_entry(
                place(table, area.start(), level),
                |bits| bits | USER,
                || {
                    assert_found(table, Damage::User);
                },
            );
        }
        assert_sound(table);
    });
}

#[test]
fn frame_that_is_mapped_more_often_than_it_has_references_is_found() {
    on_machine(|| {
        let (space, frame) = space();
        map(&space, VA + 5 * PAGE_SIZE, &frame);
        let table = space.page_table();
        assert_sound(table);
        let slot = slot_of(frame.start_paddr()).expect("it is memory");
        assert_eq!(slot.reference_count(), 3);
        slot.set_reference_count(1);
        let found = table.check().expect("enough memory");
        let damage = found.expect_err("it is mapped twice").damage;
        assert_eq!(damage, Damage::FrameReferences(1, 2));
        slot.set_reference_count(0);
        assert_found(table, Damage::FrameReferences(0, 1));
        slot.set_reference_count(3);
        assert_sound(table);
    });
}
