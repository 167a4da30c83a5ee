//! Lists of frames.

use super::{FrameAllocOptions, Ordering, Paddr, UniqueFrame, frame_counts, slot};
use crate::mm::frame::linked_list::{Link, LinkedList};
use crate::prelude::ktest;

fn linked<M: core::fmt::Debug + Send + Sync + 'static>(meta: M) -> UniqueFrame<Link<M>> {
    let frame = FrameAllocOptions::new().alloc_frame_with(Link::new(meta));
    UniqueFrame::try_from(frame.expect("enough memory")).expect("it has one reference")
}

/// Checks a list from front to back and back again.
#[track_caller]
fn assert_list(list: &mut LinkedList<()>, expected: &[Paddr]) {
    assert_eq!(list.size(), expected.len());
    let mut cursor = list.cursor_front_mut();
    for paddr in expected {
        assert_eq!(cursor.current_paddr(), Some(*paddr));
        cursor.move_next();
    }
    assert_eq!(cursor.current_paddr(), None);
    for paddr in expected.iter().rev() {
        cursor.move_prev();
        assert_eq!(cursor.current_paddr(), Some(*paddr));
    }
    cursor.move_prev();
    assert_eq!(cursor.current_paddr(), None);
}

#[ktest]
fn claim_57_list_is_a_sequence_with_a_ghost() {
    let mut list = LinkedList::new();
    assert_list(&mut list, &[]);
    let frames = [(); 3].map(|()| linked(()));
    let [a, b, c] = [0, 1, 2].map(|index: usize| frames[index].start_paddr());
    let [first, second, third] = frames;
    list.push_back(second);
    list.push_front(first);
    list.push_back(third);
    assert_list(&mut list, &[a, b, c]);
    let popped = list.pop_front().expect("it has three");
    assert_eq!(popped.start_paddr(), a);
    let mut cursor = list.cursor_back_mut();
    cursor.insert_before(popped);
    assert_eq!(cursor.current_paddr(), Some(c), "the cursor stays");
    assert_list(&mut list, &[b, a, c]);
}

#[ktest]
fn cursor_shows_its_list_and_the_data_of_its_frame() {
    // Links fill a slot, so data beside them has no size.
    #[derive(Debug, PartialEq)]
    struct Tag;
    let mut list = LinkedList::new();
    assert_eq!(list.cursor_front_mut().current_meta(), None);
    list.push_back(linked(Tag));
    list.push_back(linked(Tag));
    let mut cursor = list.cursor_back_mut();
    assert_eq!(cursor.current_meta(), Some(&mut Tag));
    assert_eq!(cursor.as_list().size(), 2);
    cursor.move_next();
    assert_eq!(cursor.current_meta(), None);
}

#[ktest]
fn claim_58_taking_moves_to_the_next_or_to_the_ghost() {
    let mut list = LinkedList::new();
    let (first, second) = (linked(()), linked(()));
    let b = second.start_paddr();
    list.push_back(first);
    list.push_back(second);
    let mut cursor = list.cursor_front_mut();
    drop(cursor.take_current().expect("it is at a frame"));
    assert_eq!(cursor.current_paddr(), Some(b));
    drop(cursor.take_current().expect("it is at a frame"));
    assert_eq!(cursor.current_paddr(), None);
    assert!(list.is_empty());
}

#[ktest]
fn claim_59_taking_at_the_ghost_changes_nothing() {
    let mut list = LinkedList::new();
    list.push_back(linked(()));
    let mut cursor = list.cursor_at_ghost_mut();
    assert!(cursor.take_current().is_none());
    assert_eq!(list.size(), 1);
}

#[ktest]
fn claim_60_frame_is_in_one_list_at_most() {
    let (mut one, mut other) = (LinkedList::new(), LinkedList::new());
    let unique = linked(());
    let paddr = unique.start_paddr();
    assert!(!one.contains(paddr));
    one.push_back(unique);
    assert!(one.contains(paddr) && !other.contains(paddr));
    assert!(!one.contains(paddr + 1) && !one.contains(usize::MAX));
    assert!(other.cursor_mut_at(paddr).is_none());
    let taken = one
        .cursor_mut_at(paddr)
        .and_then(|mut cursor| cursor.take_current());
    other.push_front(taken.expect("the list has it"));
    assert!(!one.contains(paddr) && other.contains(paddr));
}

#[ktest]
fn claim_61_dropping_a_list_frees_its_frames() {
    let before = frame_counts();
    let mut list = LinkedList::new();
    (0..5).for_each(|_| list.push_back(linked(())));
    assert_eq!(frame_counts().free, before.free - 5);
    drop(list);
    assert_eq!(frame_counts(), before);
}

#[ktest]
fn claim_49_only_frames_in_lists_have_a_list() {
    let in_list = |paddr| slot(paddr).in_list.load(Ordering::Relaxed);
    let mut list = LinkedList::new();
    let unique = linked(());
    let paddr = unique.start_paddr();
    assert_eq!(in_list(paddr), 0);
    list.push_back(unique);
    assert_ne!(in_list(paddr), 0);
    let unique = list.pop_back().expect("it has one");
    assert_eq!(in_list(paddr), 0);
    drop(unique);
    assert_eq!(in_list(paddr), 0);
}
