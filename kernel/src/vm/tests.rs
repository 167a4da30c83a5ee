//! Tests of address spaces as wholes.

use alloc::sync::Arc;

use nucleus::mm::page_table::MappedItem;
use nucleus::mm::{PAGE_SIZE, PageFlags, Vaddr};
use nucleus::prelude::*;

mod advice;
mod fork;
mod huge;
mod model;
mod remap;
mod shrink;
mod threads;

use super::stack::GUARD_GAP;
use super::{Access, AccessError, AddressSpace, Errno, MapRequest, Placement, UserRange};

const BASE: Vaddr = 0x10_0000;

fn range(start: Vaddr, pages: usize) -> UserRange {
    UserRange::new(start, pages * PAGE_SIZE).expect("a legal range")
}

/// Returns memory with a region of two pages, none of which exists.
fn memory_with_region(protection: PageFlags) -> Arc<AddressSpace> {
    let memory = AddressSpace::new().expect("enough memory");
    let request = MapRequest::anonymous(2 * PAGE_SIZE, protection);
    memory.map(&request.at(BASE)).expect("nothing is there");
    memory
}

/// Returns the frame of a page that exists, and its rights.
#[track_caller]
fn page_of(memory: &AddressSpace, page: Vaddr) -> (usize, PageFlags) {
    let item = memory.page_at(page).expect("a legal page");
    let Some(MappedItem::MappedRam { frame, prop }) = item else {
        panic!("the page exists");
    };
    (frame.start_paddr(), prop.flags & PageFlags::RWX)
}

/// Returns the frame of the first page of the region, and its rights.
#[track_caller]
fn first_page(memory: &AddressSpace) -> (usize, PageFlags) {
    page_of(memory, BASE)
}

/// Returns how many mappings the frame of the first page has.
fn references(memory: &AddressSpace) -> u32 {
    match memory.page_at(BASE) {
        // The handle is one itself.
        Ok(Some(MappedItem::MappedRam { frame, .. })) => frame.reference_count() - 1,
        other => panic!("{other:?} is no page"),
    }
}

#[ktest]
fn peer_049_later_faults_on_a_page_find_it_there() {
    let memory = memory_with_region(PageFlags::RW);
    assert_eq!(memory.handle_fault(BASE + 5, Access::Write), Ok(()));
    let page = first_page(&memory);
    for access in [Access::Read, Access::Write] {
        assert_eq!(memory.handle_fault(BASE + 9, access), Ok(()));
        assert_eq!(first_page(&memory), page);
    }
    let forbidden = memory.handle_fault(BASE, Access::Execute);
    assert_eq!(forbidden, Err(AccessError::Forbidden));
}

#[ktest]
fn peer_049_fault_on_a_page_that_allows_less_than_its_region_is_mended() {
    let memory = memory_with_region(PageFlags::R);
    assert_eq!(memory.handle_fault(BASE, Access::Read), Ok(()));
    let (frame, before) = first_page(&memory);
    // The region alone, as if changing the page had failed.
    let change = |region: &mut super::Region| region.protect(PageFlags::RW);
    memory.change().regions.change(&range(BASE, 2), change);
    assert_eq!(memory.handle_fault(BASE, Access::Write), Ok(()));
    assert_eq!(before, PageFlags::R);
    assert_eq!(first_page(&memory), (frame, PageFlags::RW));
}

#[ktest]
fn peer_095_first_addresses_cannot_be_mapped() {
    let memory = AddressSpace::new().expect("enough memory");
    for address in [0, PAGE_SIZE, 0xf000] {
        let request = MapRequest::anonymous(PAGE_SIZE, PageFlags::RW).at(address);
        assert_eq!(memory.map(&request), Err(Errno::NotPermitted));
    }
    let hint = MapRequest::anonymous(PAGE_SIZE, PageFlags::RW);
    let hint = hint.placed(PAGE_SIZE, Placement::Anywhere);
    assert_eq!(memory.map(&hint), Ok(0x1_0000));
}

#[ktest]
fn peer_012_hint_inside_a_region_is_not_taken() {
    let memory = AddressSpace::new().expect("enough memory");
    let at = |page: usize, pages| {
        let request = MapRequest::anonymous(pages * PAGE_SIZE, PageFlags::R);
        request.placed(BASE + page * PAGE_SIZE, Placement::Anywhere)
    };
    assert_eq!(memory.map(&at(4, 3)), Ok(BASE + 4 * PAGE_SIZE));
    for page in [3, 4, 5, 6] {
        let found = memory.map(&at(page, 2)).expect("there is room");
        assert!(found > BASE + 100 * PAGE_SIZE);
    }
    assert_eq!(memory.map(&at(7, 2)), Ok(BASE + 7 * PAGE_SIZE));
}

#[ktest]
fn peer_096_stack_grows_when_it_is_touched_and_keeps_its_distance() {
    let memory = AddressSpace::new().expect("enough memory");
    let end = memory.map_stack().expect("enough memory");
    let lowest = end - memory.look().limits.stack;
    assert_eq!(memory.handle_fault(end - (1 << 20), Access::Write), Ok(()));
    let beyond = memory.handle_fault(lowest - 1, Access::Write);
    assert_eq!(beyond, Err(AccessError::Unmapped));

    let other = end - (3 << 20);
    let request = MapRequest::anonymous(PAGE_SIZE, PageFlags::RW).at(other);
    assert_eq!(memory.map(&request), Ok(other));
    let nearest = other + PAGE_SIZE + GUARD_GAP;
    let fault = memory.handle_fault(nearest - 1, Access::Write);
    assert_eq!(fault, Err(AccessError::Unmapped));
    assert_eq!(memory.handle_fault(nearest, Access::Write), Ok(()));
}

#[ktest]
fn fixed_mapping_replaces_what_was_there_and_its_pages() {
    let memory = memory_with_region(PageFlags::RW);
    assert_eq!(memory.handle_fault(BASE, Access::Write), Ok(()));
    let request = MapRequest::anonymous(PAGE_SIZE, PageFlags::R);
    let request = request.placed(BASE, Placement::Fixed);
    assert_eq!(memory.map(&request), Ok(BASE));
    assert_eq!(memory.page_at(BASE), Ok(None));
    let write = memory.handle_fault(BASE, Access::Write);
    assert_eq!(write, Err(AccessError::Forbidden));
    let write = memory.handle_fault(BASE + PAGE_SIZE, Access::Write);
    assert_eq!(write, Ok(()), "the second page is still the old region's");
}

#[ktest]
fn protection_applies_up_to_the_first_hole() {
    let memory = memory_with_region(PageFlags::RW);
    assert_eq!(memory.handle_fault(BASE, Access::Write), Ok(()));
    let protected = memory.protect(&range(BASE, 3), PageFlags::R);
    assert_eq!(protected, Err(Errno::NoMemory));
    assert_eq!(first_page(&memory).1, PageFlags::R);
    assert_eq!(memory.protect(&range(BASE, 2), PageFlags::RW), Ok(()));
    assert_eq!(
        first_page(&memory).1,
        PageFlags::RW,
        "it may be written in place"
    );
}
