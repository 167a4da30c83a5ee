//! Do huge pages come where they are wanted, and count for what they are?

use alloc::sync::Arc;

use nucleus::mm::page_table::MappedItem;
use nucleus::mm::{PAGE_SIZE, PageFlags, VmSpace};
use nucleus::prelude::*;

use super::super::huge::HUGE_PAGE;
use super::super::{Advice, RegionFlags, RemapRequest};
use super::{Access, AddressSpace, MapRequest, UserRange, range};

const BLOCK: usize = 0x4000_0000;

/// Returns memory with a huge page, which a page of each side surrounds.
fn memory_with_huge_page() -> Arc<AddressSpace> {
    let memory = AddressSpace::new().expect("enough memory");
    let len = HUGE_PAGE + 2 * PAGE_SIZE;
    let request = MapRequest::anonymous(len, PageFlags::RW).at(BLOCK - PAGE_SIZE);
    memory.map(&request).expect("nothing is there");
    let all = UserRange::new(BLOCK - PAGE_SIZE, len).expect("a legal range");
    let advice = Advice::Mark {
        set: RegionFlags::HUGE,
        clear: RegionFlags::empty(),
    };
    memory.advise(&all, advice).expect("it is mapped");
    let inside = BLOCK + 77 * PAGE_SIZE;
    assert_eq!(memory.handle_fault(inside, Access::Write), Ok(()));
    memory
}

fn is_huge(memory: &AddressSpace, page: usize) -> bool {
    let item = memory.page_at(page).expect("a legal page");
    matches!(item, Some(MappedItem::MappedHuge { .. }))
}

#[ktest]
fn region_that_wants_it_gets_a_huge_page_at_its_first_fault() {
    let memory = memory_with_huge_page();
    assert!(is_huge(&memory, BLOCK));
    assert_eq!(memory.sizes().resident, HUGE_PAGE);
    let before = memory.handle_fault(BLOCK - PAGE_SIZE, Access::Write);
    assert_eq!(before, Ok(()));
    assert!(!is_huge(&memory, BLOCK - PAGE_SIZE));
    let regions = memory.regions().expect("enough memory");
    assert_eq!(memory.usage(&regions[0]).huge, HUGE_PAGE);
}

#[ktest]
fn part_of_a_huge_page_that_goes_leaves_the_rest() {
    let memory = memory_with_huge_page();
    let middle = range(BLOCK + 5 * PAGE_SIZE, 3);
    memory.unmap(&middle).expect("it is mapped");
    assert_eq!(memory.sizes().resident, HUGE_PAGE - 3 * PAGE_SIZE);
    assert!(!is_huge(&memory, BLOCK));
    assert_eq!(memory.page_at(middle.start()), Ok(None));
}

#[ktest]
fn huge_page_stays_huge_in_a_fork_and_is_split_by_the_first_write() {
    let parent = memory_with_huge_page();
    parent.activate();
    parent.write_bytes(BLOCK, b"before").expect("it is mapped");
    let child = parent.fork().expect("enough memory");
    assert!(is_huge(&parent, BLOCK) && is_huge(&child, BLOCK));
    assert_eq!(child.sizes().resident, HUGE_PAGE);
    parent.write_bytes(BLOCK, b"after ").expect("it is mapped");
    assert!(!is_huge(&parent, BLOCK) && is_huge(&child, BLOCK));
    child.activate();
    assert_eq!(child.read_value::<[u8; 6]>(BLOCK), Ok(*b"before"));
    drop(parent);
    child.write_bytes(BLOCK + 8, b"x").expect("it is mapped");
    VmSpace::deactivate_current();
}

#[ktest]
fn last_sharer_of_a_huge_page_keeps_it_whole() {
    let parent = memory_with_huge_page();
    drop(parent.fork().expect("enough memory"));
    assert_eq!(parent.handle_fault(BLOCK, Access::Write), Ok(()));
    assert!(is_huge(&parent, BLOCK));
}

#[ktest]
fn huge_page_moves_as_one_where_it_fits_and_as_many_where_not() {
    for (target, stays_huge) in [(2 * BLOCK, true), (2 * BLOCK + PAGE_SIZE, false)] {
        let memory = memory_with_huge_page();
        memory.activate();
        memory
            .write_bytes(BLOCK + 5, b"five")
            .expect("it is mapped");
        let request = RemapRequest {
            address: BLOCK,
            old_len: HUGE_PAGE,
            new_len: HUGE_PAGE,
            may_move: true,
            target: Some(target),
            keeps_old: false,
        };
        assert_eq!(memory.remap(&request), Ok(target));
        assert_eq!(is_huge(&memory, target), stays_huge);
        assert_eq!(memory.read_value::<[u8; 4]>(target + 5), Ok(*b"five"));
        assert_eq!(memory.sizes().resident, HUGE_PAGE);
        VmSpace::deactivate_current();
    }
}
