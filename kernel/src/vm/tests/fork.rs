//! Do copies share what they may, and nothing else?

use alloc::sync::Arc;

use nucleus::mm::{PAGE_SIZE, PageFlags, VmSpace};
use nucleus::prelude::*;

use super::super::{Advice, Backing, RegionFlags, SharedMemory};
use super::{
    Access, AccessError, AddressSpace, BASE, MapRequest, first_page, memory_with_region, range,
    references,
};

/// Returns memory whose first page was written, and a copy of it.
fn written_and_forked() -> (Arc<AddressSpace>, Arc<AddressSpace>) {
    let parent = memory_with_region(PageFlags::RW);
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    let child = parent.fork().expect("enough memory");
    (parent, child)
}

#[ktest]
fn copy_shares_the_frame_and_neither_may_write_it() {
    let (parent, child) = written_and_forked();
    let (frame, rights) = first_page(&parent);
    assert_eq!(first_page(&child), (frame, rights));
    assert_eq!(rights, PageFlags::R);
    assert_eq!(references(&parent), 2);
    assert_eq!(child.sizes().resident, PAGE_SIZE);
}

#[ktest]
fn first_writer_copies_and_the_last_sharer_does_not() {
    let (parent, child) = written_and_forked();
    let (frame, _) = first_page(&parent);
    assert_eq!(child.handle_fault(BASE, Access::Write), Ok(()));
    let (copy, rights) = first_page(&child);
    assert_ne!(copy, frame);
    assert_eq!((rights, references(&child)), (PageFlags::RW, 1));
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    assert_eq!(first_page(&parent), (frame, PageFlags::RW));
    assert_eq!(references(&parent), 1);
}

#[ktest]
fn parent_of_a_child_that_is_gone_does_not_copy() {
    let (parent, child) = written_and_forked();
    let (frame, _) = first_page(&parent);
    drop(child);
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    assert_eq!(first_page(&parent), (frame, PageFlags::RW));
}

#[ktest]
fn peer_078_copy_of_a_copy_is_copied_on_write_as_well() {
    let (parent, child) = written_and_forked();
    let grandchild = child.fork().expect("enough memory");
    assert_eq!(references(&parent), 3);
    let (frame, _) = first_page(&parent);
    for memory in [&grandchild, &child] {
        assert_eq!(memory.handle_fault(BASE, Access::Write), Ok(()));
        assert_ne!(first_page(memory).0, frame);
    }
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    assert_eq!(first_page(&parent), (frame, PageFlags::RW));
}

#[ktest]
fn peer_078_making_a_shared_page_writable_again_does_not_make_it_so() {
    let (parent, child) = written_and_forked();
    for protection in [PageFlags::R, PageFlags::RW] {
        assert_eq!(parent.protect(&range(BASE, 2), protection), Ok(()));
        assert_eq!(first_page(&parent).1, PageFlags::R);
    }
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    assert_ne!(first_page(&parent).0, first_page(&child).0);
}

#[ktest]
fn peer_098_second_of_two_faults_on_a_shared_page_finds_the_copy() {
    let (parent, _child) = written_and_forked();
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    let copy = first_page(&parent);
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    assert_eq!(first_page(&parent), copy);
}

#[ktest]
fn copied_contents_are_the_originals_and_then_apart() {
    let (parent, child) = written_and_forked();
    parent.activate();
    parent.write_bytes(BASE, b"parent").expect("it is mapped");
    child.activate();
    let mut bytes = [1; 6];
    child.read_bytes(BASE, &mut bytes).expect("it is mapped");
    assert_eq!(bytes, [0; 6], "the parent wrote after the fork");
    child.write_bytes(BASE, b"child ").expect("it is mapped");
    let second = child.fork().expect("enough memory");
    second.activate();
    second.read_bytes(BASE, &mut bytes).expect("it is mapped");
    assert_eq!(&bytes, b"child ");
    VmSpace::deactivate_current();
}

#[ktest]
fn shared_memory_is_the_same_on_both_sides_before_and_after_a_fork() {
    let parent = AddressSpace::new().expect("enough memory");
    let request = MapRequest {
        backing: Backing::Object {
            object: SharedMemory::new(2 * PAGE_SIZE),
            offset: 0,
        },
        flags: RegionFlags::SHARED | RegionFlags::MAY_WRITE,
        ..MapRequest::anonymous(2 * PAGE_SIZE, PageFlags::RW).at(BASE)
    };
    parent.map(&request).expect("nothing is there");
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    let child = parent.fork().expect("enough memory");
    assert_eq!(child.handle_fault(BASE, Access::Write), Ok(()));
    assert_eq!(first_page(&parent), first_page(&child));
    assert_eq!(first_page(&parent).1, PageFlags::RW);
    assert_eq!(
        parent.futex_key(BASE + 8, false),
        child.futex_key(BASE + 8, false)
    );
    assert_ne!(
        parent.futex_key(BASE + 8, true),
        child.futex_key(BASE + 8, true)
    );
}

#[ktest]
fn regions_that_are_not_to_be_forked_are_left_out_or_empty() {
    let parent = memory_with_region(PageFlags::RW);
    for page in [BASE, BASE + PAGE_SIZE] {
        assert_eq!(parent.handle_fault(page, Access::Write), Ok(()));
    }
    let mark = |page, set| {
        let clear = RegionFlags::empty();
        let marked = parent.advise(&range(page, 1), Advice::Mark { set, clear });
        marked.expect("it is mapped");
    };
    mark(BASE, RegionFlags::FORGOTTEN_IN_FORK);
    mark(BASE + PAGE_SIZE, RegionFlags::NOT_FORKED);
    let child = parent.fork().expect("enough memory");
    assert_eq!(child.page_at(BASE), Ok(None));
    assert_eq!(child.handle_fault(BASE, Access::Read), Ok(()));
    let gone = child.handle_fault(BASE + PAGE_SIZE, Access::Read);
    assert_eq!(gone, Err(AccessError::Unmapped));
    assert_eq!(first_page(&parent).1, PageFlags::RW, "it is not shared");
}
