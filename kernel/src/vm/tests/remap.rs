//! Do pages move with their regions?

use nucleus::cpu::num_cpus;
use nucleus::ktest::skip;
use nucleus::mm::frame::{frame_counts, reserve, set_reserve};
use nucleus::mm::{PAGE_SIZE, PageFlags};
use nucleus::prelude::*;

use super::super::RemapRequest;
use super::{
    Access, AccessError, AddressSpace, BASE, Errno, MapRequest, first_page, memory_with_region,
    page_of, references,
};

const ELSEWHERE: usize = 0x4000_0000;

/// Asks for the two pages at the base to become so many.
fn resize(pages: usize) -> RemapRequest {
    RemapRequest {
        address: BASE,
        old_len: 2 * PAGE_SIZE,
        new_len: pages * PAGE_SIZE,
        may_move: false,
        target: None,
        keeps_old: false,
    }
}

fn touched() -> alloc::sync::Arc<AddressSpace> {
    let memory = memory_with_region(PageFlags::RW);
    assert_eq!(memory.handle_fault(BASE, Access::Write), Ok(()));
    memory
}

#[ktest]
fn region_grows_and_shrinks_where_it_is() {
    let memory = touched();
    assert_eq!(memory.remap(&resize(4)), Ok(BASE));
    let last = BASE + 3 * PAGE_SIZE;
    assert_eq!(memory.handle_fault(last, Access::Write), Ok(()));
    let shrunk = RemapRequest {
        old_len: 4 * PAGE_SIZE,
        ..resize(1)
    };
    assert_eq!(memory.remap(&shrunk), Ok(BASE));
    let gone = memory.handle_fault(BASE + PAGE_SIZE, Access::Read);
    assert_eq!(gone, Err(AccessError::Unmapped));
    assert_eq!(memory.sizes().resident, PAGE_SIZE);
}

#[ktest]
fn peer_061_moved_page_keeps_its_frame_and_leaves_nothing_behind() {
    let memory = touched();
    let neighbour = MapRequest::anonymous(PAGE_SIZE, PageFlags::R).at(BASE + 2 * PAGE_SIZE);
    memory.map(&neighbour).expect("nothing is there");
    let before = first_page(&memory);
    assert_eq!(memory.remap(&resize(3)), Err(Errno::NoMemory));
    let moving = RemapRequest {
        may_move: true,
        ..resize(3)
    };
    let new = memory.remap(&moving).expect("there is room");
    assert_eq!(page_of(&memory, new), before);
    assert_eq!(memory.page_at(BASE), Ok(None));
    let gone = memory.handle_fault(BASE, Access::Read);
    assert_eq!(gone, Err(AccessError::Unmapped));
    assert_eq!(memory.sizes().resident, PAGE_SIZE);
    let third = memory.handle_fault(new + 2 * PAGE_SIZE, Access::Write);
    assert_eq!(third, Ok(()));
}

#[ktest]
fn moved_page_that_is_shared_is_still_copied_on_write() {
    let memory = touched();
    let child = memory.fork().expect("enough memory");
    let there = RemapRequest {
        may_move: true,
        target: Some(ELSEWHERE),
        ..resize(2)
    };
    assert_eq!(memory.remap(&there), Ok(ELSEWHERE));
    assert_eq!(page_of(&memory, ELSEWHERE), first_page(&child));
    assert_eq!(references(&child), 2);
    assert_eq!(memory.handle_fault(ELSEWHERE, Access::Write), Ok(()));
    assert_ne!(page_of(&memory, ELSEWHERE).0, first_page(&child).0);
}

#[ktest]
fn old_place_that_is_kept_is_empty() {
    let memory = touched();
    let there = RemapRequest {
        may_move: true,
        target: Some(ELSEWHERE),
        keeps_old: true,
        ..resize(2)
    };
    let before = first_page(&memory);
    assert_eq!(memory.remap(&there), Ok(ELSEWHERE));
    assert_eq!(page_of(&memory, ELSEWHERE), before);
    assert_eq!(memory.page_at(BASE), Ok(None));
    assert_eq!(memory.handle_fault(BASE, Access::Write), Ok(()));
}

#[ktest]
fn peer_011_nothing_grows_or_moves_out_of_user_space() {
    let memory = touched();
    let to = |address| {
        memory.remap(&RemapRequest {
            may_move: true,
            target: Some(address),
            ..resize(2)
        })
    };
    let last = nucleus::mm::USER_END - PAGE_SIZE;
    assert_eq!(to(last), Err(Errno::Invalid));
    assert_eq!(to(usize::MAX - PAGE_SIZE + 1), Err(Errno::Invalid));
    assert_eq!(to(BASE + PAGE_SIZE), Err(Errno::Invalid), "they overlap");
    let huge = RemapRequest {
        new_len: 1 << 62,
        may_move: true,
        ..resize(2)
    };
    assert_eq!(memory.remap(&huge), Err(Errno::NoMemory));
    let beyond = RemapRequest {
        old_len: 3 * PAGE_SIZE,
        ..resize(4)
    };
    assert_eq!(memory.remap(&beyond), Err(Errno::Fault));
}

/// Few frames for programs, for as long as it lives: all others are the kernel's.
struct Scarce {
    usual_reserve: usize,
}

impl Scarce {
    fn leave(frames: usize) -> Self {
        let usual_reserve = reserve();
        set_reserve(frame_counts().free - frames);
        Self { usual_reserve }
    }
}

impl Drop for Scarce {
    fn drop(&mut self) {
        set_reserve(self.usual_reserve);
    }
}

#[ktest]
fn page_that_finds_no_room_at_its_new_place_is_not_counted() {
    const M2: usize = 2 << 20;
    if num_cpus() > 1 {
        skip("other processors allocate frames meanwhile");
    }
    let memory = touched();
    let second = memory.handle_fault(BASE + PAGE_SIZE, Access::Write);
    assert_eq!(second, Ok(()));
    let before = first_page(&memory);
    // The two pages are in different nodes there, neither of which exists.
    let target = ELSEWHERE + M2 - PAGE_SIZE;
    let there = RemapRequest {
        may_move: true,
        target: Some(target),
        ..resize(2)
    };
    let mut nr_refused = 0;
    for spare in 1..16 {
        let scarce = Scarce::leave(spare);
        let moved = memory.remap(&there);
        drop(scarce);
        assert_eq!(memory.sizes().resident, 2 * PAGE_SIZE, "{spare} to spare");
        match moved {
            Ok(place) => {
                assert_eq!(place, target);
                assert_eq!(page_of(&memory, target), before);
                break;
            }
            Err(error) => assert_eq!(error, Errno::NoMemory),
        }
        assert_eq!(first_page(&memory), before);
        nr_refused += 1;
    }
    assert!(nr_refused > 0, "there was room for all");
}
