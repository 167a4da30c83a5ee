//! Does an address space stay what it is while many threads change it at once?
//!
//! Tasks fault, map over what others fault in, protect, unmap, move and fork, all at
//! random and all in the same few pages. Afterwards everything is to agree: what exists
//! is in a region and allows no more than it, and is counted. That no frame is lost or
//! given back twice, each test is checked for by the nucleus.

use alloc::sync::Arc;
use nucleus::mm::page_table::MappedItem;
use nucleus::mm::{PAGE_SIZE, PageFlags};
use nucleus::prelude::*;
use nucleus::task::TaskOptions;

use super::super::{Advice, RemapRequest};
use super::{Access, AddressSpace, BASE, MapRequest, Placement, range};

const PAGES: usize = 12;
const TASKS: usize = 4;
const STEPS: usize = 250;

/// Runs tasks that do steps with an address space, each with random numbers of its own;
/// returns when they are over.
fn run_tasks(memory: &Arc<AddressSpace>, step: fn(&AddressSpace, usize)) {
    let spawn = |number: usize| {
        let memory = Arc::clone(memory);
        let body = move || {
            let mut state = number + 1;
            for _ in 0..STEPS {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                step(&memory, state >> 30);
            }
        };
        TaskOptions::new(body).spawn().expect("enough memory")
    };
    let tasks: [_; TASKS] = core::array::from_fn(spawn);
    tasks.iter().for_each(|task| task.join());
}

fn memory() -> Arc<AddressSpace> {
    let memory = AddressSpace::new().expect("enough memory");
    let request = MapRequest::anonymous(PAGES * PAGE_SIZE, PageFlags::RW);
    memory.map(&request.at(BASE)).expect("nothing is there");
    memory
}

/// Checks that what exists is allowed, and counted.
fn check(memory: &AddressSpace) {
    let regions = memory.regions().expect("enough memory");
    let mut count = 0;
    for page in range(BASE, PAGES).as_range().clone().step_by(PAGE_SIZE) {
        let Some(item) = memory.page_at(page).expect("a legal page") else {
            continue;
        };
        count += 1;
        let region = regions.iter().find(|region| region.range.contains(&page));
        let region = region.expect("what exists is in a region");
        let rights = item.prop().flags & (PageFlags::W | PageFlags::X);
        assert!(region.protection.contains(rights), "{page:#x} allows more");
    }
    assert_eq!(memory.sizes().resident, count * PAGE_SIZE);
}

/// Faults at random.
fn fault(memory: &AddressSpace, number: usize) {
    let access = [Access::Read, Access::Write][number % 2];
    // Somebody may just have taken the page, or its rights, away.
    let _ = memory.handle_fault(BASE + number / 2 % PAGES * PAGE_SIZE, access);
}

#[ktest]
fn peer_097_forks_while_others_fault_and_unmap() {
    let memory = memory();
    run_tasks(&memory, |memory, number| match number % 8 {
        0 => {
            let child = memory.fork().expect("enough memory");
            (0..4).for_each(|page| fault(&child, number / 8 + page));
            check(&child);
        }
        1 => {
            let request = MapRequest::anonymous(3 * PAGE_SIZE, PageFlags::RW);
            let start = BASE + number / 8 % (PAGES - 2) * PAGE_SIZE;
            let mapped = memory.map(&request.placed(start, Placement::Fixed));
            assert_eq!(mapped, Ok(start));
        }
        2 => {
            let start = BASE + number / 8 % (PAGES - 1) * PAGE_SIZE;
            assert_eq!(memory.unmap(&range(start, 2)), Ok(()));
        }
        _ => fault(memory, number / 8),
    });
    check(&memory);
}

#[ktest]
fn peer_099_fixed_mappings_over_pages_that_are_faulted_in() {
    let memory = memory();
    run_tasks(&memory, |memory, number| match number % 4 {
        0 => {
            let protection = [PageFlags::R, PageFlags::RW][number / 4 % 2];
            let request = MapRequest::anonymous(4 * PAGE_SIZE, protection);
            let start = BASE + number / 8 % (PAGES - 3) * PAGE_SIZE;
            let mapped = memory.map(&request.placed(start, Placement::Fixed));
            assert_eq!(mapped, Ok(start));
        }
        1 => {
            let start = BASE + number / 8 % (PAGES - 3) * PAGE_SIZE;
            let protection = [PageFlags::R, PageFlags::RW][number / 4 % 2];
            assert_eq!(memory.protect(&range(start, 4), protection), Ok(()));
        }
        _ => fault(memory, number / 4),
    });
    check(&memory);
}

#[ktest]
fn peer_061_moves_while_others_fault_at_both_places() {
    let memory = memory();
    run_tasks(&memory, |memory, number| match number % 4 {
        0 => {
            let half = PAGES / 2 * PAGE_SIZE;
            let (from, to) = match number / 4 % 2 {
                0 => (BASE, BASE + half),
                _ => (BASE + half, BASE),
            };
            // The other one may have moved it before.
            let _ = memory.remap(&RemapRequest {
                address: from,
                old_len: half,
                new_len: half,
                may_move: true,
                target: Some(to),
                keeps_old: false,
            });
        }
        1 => {
            let advice = Advice::DontNeed { locked_too: false };
            let _ = memory.advise(&range(BASE + number / 4 % PAGES * PAGE_SIZE, 1), advice);
        }
        _ => fault(memory, number / 4),
    });
    check(&memory);
}

#[ktest]
fn peer_098_last_sharers_of_a_page_never_both_write_it_in_place() {
    let memory = memory();
    run_tasks(&memory, |memory, number| {
        let page = BASE + number % PAGES * PAGE_SIZE;
        if number % 16 < 3 {
            let child = memory.fork().expect("enough memory");
            let _ = child.handle_fault(page, Access::Write);
            let (ours, theirs) = (memory.page_at(page), child.page_at(page));
            let Ok(Some(MappedItem::MappedRam { frame, prop })) = theirs else {
                return;
            };
            let is_same = matches!(
                ours,
                Ok(Some(MappedItem::MappedRam { frame: other, .. })) if other == frame
            );
            assert!(
                !is_same || !prop.flags.contains(PageFlags::W),
                "the child writes the parent's page"
            );
        } else {
            let _ = memory.handle_fault(page, Access::Write);
        }
    });
    check(&memory);
}
