//! Is what a program says about its memory heard, and told back?

use nucleus::mm::{PAGE_SIZE, PageFlags, VmSpace};
use nucleus::prelude::*;

use super::super::{Advice, RegionFlags};
use super::{Access, AddressSpace, BASE, Errno, MapRequest, first_page, memory_with_region, range};

const DONT_NEED: Advice = Advice::DontNeed { locked_too: false };

#[ktest]
fn forgotten_page_is_zeros_again() {
    let memory = memory_with_region(PageFlags::RW);
    memory.activate();
    memory.write_bytes(BASE, b"bytes").expect("it is mapped");
    assert_eq!(memory.advise(&range(BASE, 2), DONT_NEED), Ok(()));
    assert_eq!(memory.sizes().resident, 0);
    assert_eq!(memory.read_value::<[u8; 5]>(BASE), Ok([0; 5]));
    VmSpace::deactivate_current();
}

#[ktest]
fn advice_is_followed_around_a_hole_and_the_hole_is_told() {
    let memory = memory_with_region(PageFlags::RW);
    let behind = BASE + 3 * PAGE_SIZE;
    let request = MapRequest::anonymous(PAGE_SIZE, PageFlags::RW).at(behind);
    memory.map(&request).expect("nothing is there");
    assert_eq!(memory.handle_fault(behind, Access::Write), Ok(()));
    let advised = memory.advise(&range(BASE, 4), DONT_NEED);
    assert_eq!(advised, Err(Errno::NoMemory));
    assert_eq!(memory.page_at(behind), Ok(None));
}

#[ktest]
fn locked_memory_is_there_and_is_not_forgotten() {
    let memory = memory_with_region(PageFlags::RW);
    assert_eq!(memory.set_locked(&range(BASE, 2), true), Ok(()));
    assert_eq!(memory.sizes().resident, 2 * PAGE_SIZE);
    assert_eq!(memory.sizes().locked, 2 * PAGE_SIZE);
    let advised = memory.advise(&range(BASE, 2), DONT_NEED);
    assert_eq!(advised, Err(Errno::Invalid));
    let checked = memory.check_mapped(&range(BASE, 2), true);
    assert_eq!(checked, Err(Errno::Busy));
    assert_eq!(memory.set_all_locked(false), Ok(()));
    assert_eq!(memory.advise(&range(BASE, 2), DONT_NEED), Ok(()));
}

#[ktest]
fn pages_in_memory_are_told_one_by_one() {
    let memory = memory_with_region(PageFlags::RW);
    let mut bytes = [7; 2];
    let second = BASE + PAGE_SIZE;
    assert_eq!(memory.handle_fault(second, Access::Read), Ok(()));
    assert_eq!(memory.residency(&range(BASE, 2), &mut bytes), Ok(()));
    assert_eq!(bytes, [0, 1]);
    let hole = memory.residency(&range(BASE + PAGE_SIZE, 2), &mut bytes);
    assert_eq!(hole, Err(Errno::NoMemory));
}

#[ktest]
fn report_counts_what_the_page_table_has() {
    let parent = memory_with_region(PageFlags::RW);
    assert_eq!(parent.handle_fault(BASE, Access::Write), Ok(()));
    let child = parent.fork().expect("enough memory");
    let second = BASE + PAGE_SIZE;
    assert_eq!(parent.handle_fault(second, Access::Write), Ok(()));
    let regions = parent.regions().expect("enough memory");
    let [region] = &regions[..] else {
        panic!("there is one region");
    };
    assert_eq!(region.range, BASE..BASE + 2 * PAGE_SIZE);
    assert!(!region.is_shared && region.protection == PageFlags::RW);
    let usage = parent.usage(region);
    assert_eq!(usage.resident, 2 * PAGE_SIZE);
    assert_eq!(usage.proportional, PAGE_SIZE + PAGE_SIZE / 2);
    assert_eq!(
        (usage.shared_dirty, usage.private_dirty),
        (PAGE_SIZE, PAGE_SIZE)
    );
    assert_eq!((usage.shared_clean, usage.private_clean), (0, 0));
    assert_eq!((usage.anonymous, usage.huge), (2 * PAGE_SIZE, 0));
    drop(child);
    assert_eq!(parent.usage(region).private_dirty, 2 * PAGE_SIZE);
}

#[ktest]
fn sizes_remember_their_peaks() {
    let memory = memory_with_region(PageFlags::RW);
    for page in [BASE, BASE + PAGE_SIZE] {
        assert_eq!(memory.handle_fault(page, Access::Write), Ok(()));
    }
    memory.unmap(&range(BASE, 2)).expect("it is mapped");
    let sizes = memory.sizes();
    assert_eq!((sizes.mapped, sizes.resident), (0, 0));
    assert_eq!(sizes.peak_mapped, 2 * PAGE_SIZE);
    assert_eq!(sizes.peak_resident, 2 * PAGE_SIZE);
}

#[ktest]
fn heap_and_stack_are_called_so() {
    let memory = AddressSpace::new().expect("enough memory");
    memory.set_heap_start(BASE + 1);
    assert_eq!(
        memory.set_heap_end(BASE + 3 * PAGE_SIZE),
        BASE + 3 * PAGE_SIZE
    );
    memory.map_stack().expect("enough memory");
    let regions = memory.regions().expect("enough memory");
    let names: alloc::vec::Vec<&[u8]> = regions.iter().map(|region| &region.name[..]).collect();
    assert_eq!(names, [&b"[heap]"[..], b"[stack]"]);
    assert!(regions[1].flags.contains(RegionFlags::GROWS_DOWN));
}

#[ktest]
fn heap_ends_where_something_else_is() {
    let memory = AddressSpace::new().expect("enough memory");
    memory.set_heap_start(BASE);
    let other = MapRequest::anonymous(PAGE_SIZE, PageFlags::R).at(BASE + 4 * PAGE_SIZE);
    memory.map(&other).expect("nothing is there");
    assert_eq!(
        memory.set_heap_end(BASE + 3 * PAGE_SIZE),
        BASE + 3 * PAGE_SIZE
    );
    let before = memory.set_heap_end(BASE + 4 * PAGE_SIZE);
    assert_eq!(before, BASE + 3 * PAGE_SIZE, "a page stays free");
    assert_eq!(memory.handle_fault(BASE, Access::Write), Ok(()));
    assert_eq!(first_page(&memory).1, PageFlags::RW);
    assert_eq!(memory.set_heap_end(BASE), BASE);
    assert_eq!(memory.sizes().resident, 0);
}
