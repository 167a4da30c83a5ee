//! Do mappings lose what their object loses, and nothing else?

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nucleus::mm::{PAGE_SIZE, PageFlags, VmReader, VmSpace};
use nucleus::prelude::*;
use nucleus::sync::WaitQueue;
use nucleus::task::{Task, TaskOptions};

use super::super::{Advice, Backing, MemoryObject, RegionFlags, SharedMemory};
use super::{Access, AccessError, AddressSpace, BASE, Errno, MapRequest, page_of, range};
use crate::fs;
use crate::fs::node::{Node, RegularFile};

const PAGES: usize = 4;
/// Where the same file is mapped privately.
const PRIVATE: usize = BASE + 16 * PAGE_SIZE;

/// Makes a file of some pages, each of which is full of its number and one.
fn file() -> Arc<dyn RegularFile> {
    let Ok(Node::File(file)) = fs::create_shared_memory() else {
        panic!("there is room for a file");
    };
    for page in 0..PAGES {
        let bytes = [page as u8 + 1; PAGE_SIZE];
        let offset = (page * PAGE_SIZE) as u64;
        let written = file.write_at(offset, &mut VmReader::from(&bytes[..]));
        assert_eq!(written, Ok(PAGE_SIZE));
    }
    file
}

fn map(memory: &AddressSpace, object: Arc<dyn MemoryObject>, address: usize, flags: RegionFlags) {
    let mut request = MapRequest::anonymous(PAGES * PAGE_SIZE, PageFlags::RW).at(address);
    request.backing = Backing::Object { object, offset: 0 };
    request.flags |= flags;
    memory.map(&request).expect("nothing is there");
}

/// Returns memory that maps a file twice: shared, and privately.
fn mapped(file: &Arc<dyn RegularFile>) -> Arc<AddressSpace> {
    let memory = AddressSpace::new().expect("enough memory");
    let object = || Arc::clone(file).memory_object().expect("it has pages");
    map(&memory, object(), BASE, RegionFlags::SHARED);
    map(&memory, object(), PRIVATE, RegionFlags::empty());
    memory
}

fn byte(memory: &AddressSpace, address: usize) -> Result<u8, Errno> {
    memory.read_value::<[u8; 1]>(address).map(|[byte]| byte)
}

/// Makes all pages of both regions, and the second page of the private one its own.
fn touch(memory: &AddressSpace) {
    for page in 0..PAGES {
        for start in [BASE, PRIVATE] {
            let made = memory.handle_fault(start + page * PAGE_SIZE, Access::Read);
            assert_eq!(made, Ok(()));
        }
    }
    for start in [BASE, PRIVATE] {
        let written = memory.write_bytes(start + PAGE_SIZE, &[start as u8 | 99]);
        assert_eq!(written, Ok(()));
    }
}

#[ktest]
fn pages_behind_the_new_end_go_from_all_mappings_and_copies() {
    let file = file();
    let parent = mapped(&file);
    parent.activate();
    touch(&parent);
    let child = parent.fork().expect("enough memory");
    assert_eq!(file.resize(100), Ok(()));
    for memory in [&parent, &child] {
        memory.activate();
        for page in 1..PAGES {
            for start in [BASE, PRIVATE] {
                let address = start + page * PAGE_SIZE;
                assert!(matches!(memory.page_at(address), Ok(None)));
                let fault = memory.handle_fault(address, Access::Read);
                assert_eq!(fault, Err(AccessError::BeyondObject));
            }
        }
        assert_eq!(byte(memory, BASE + 99), Ok(1));
        assert_eq!(byte(memory, BASE + 100), Ok(0), "the rest of the page");
    }
    assert_eq!(file.resize((PAGES * PAGE_SIZE) as u64), Ok(()));
    assert_eq!(byte(&child, BASE + PAGE_SIZE), Ok(0));
    assert_eq!(byte(&child, PRIVATE + PAGE_SIZE), Ok(0));
    VmSpace::deactivate_current();
}

#[ktest]
fn hole_is_zeros_for_all_but_private_copies() {
    let file = file();
    let memory = mapped(&file);
    memory.activate();
    touch(&memory);
    let frames = file.metadata().frames;
    let (start, len) = (PAGE_SIZE as u64 - 8, 2 * PAGE_SIZE as u64 + 16);
    assert_eq!(file.punch_hole(start, len), Ok(()));
    assert_eq!(file.metadata().frames, frames - 2);
    assert_eq!(byte(&memory, BASE + PAGE_SIZE - 9), Ok(1));
    assert_eq!(byte(&memory, BASE + PAGE_SIZE - 8), Ok(0));
    assert_eq!(byte(&memory, BASE + PAGE_SIZE), Ok(0));
    assert_eq!(byte(&memory, BASE + 3 * PAGE_SIZE + 7), Ok(0));
    assert_eq!(byte(&memory, BASE + 3 * PAGE_SIZE + 8), Ok(4));
    assert_ne!(
        byte(&memory, PRIVATE + PAGE_SIZE),
        Ok(0),
        "a copy of its own"
    );
    for start in [BASE, PRIVATE] {
        assert_eq!(byte(&memory, start + 2 * PAGE_SIZE), Ok(0));
    }
    let same = page_of(&memory, BASE + 2 * PAGE_SIZE).0;
    assert_eq!(page_of(&memory, PRIVATE + 2 * PAGE_SIZE).0, same);
    VmSpace::deactivate_current();
}

#[ktest]
fn advice_to_remove_is_followed_by_objects_that_can_and_told_of_others() {
    let memory = AddressSpace::new().expect("enough memory");
    memory.activate();
    let object = SharedMemory::new(PAGES * PAGE_SIZE);
    map(&memory, object, BASE, RegionFlags::SHARED);
    let both = [5; 2 * PAGE_SIZE];
    assert_eq!(memory.write_bytes(BASE, &both), Ok(()));
    let advised = memory.advise(&range(BASE, 1), Advice::Remove);
    assert_eq!(advised, Ok(()));
    assert_eq!(byte(&memory, BASE), Ok(0));
    assert_eq!(byte(&memory, BASE + PAGE_SIZE), Ok(5));
    let over_the_end = memory.advise(&range(BASE, PAGES + 1), Advice::Remove);
    assert_eq!(over_the_end, Err(Errno::NoMemory));
    assert_eq!(byte(&memory, BASE + PAGE_SIZE), Ok(0));
    let file = file();
    let object = Arc::clone(&file).memory_object().expect("it has pages");
    map(&memory, object, PRIVATE, RegionFlags::empty());
    let private = memory.advise(&range(PRIVATE, 1), Advice::Remove);
    assert_eq!(private, Err(Errno::Access));
    VmSpace::deactivate_current();
}

#[ktest]
fn object_forgets_who_has_unmapped_it() {
    let file = file();
    let object = Arc::clone(&file).memory_object().expect("it has pages");
    let count = || object.mappers().map_or(0, super::super::Mappers::count);
    let spaces: Vec<_> = (0..3).map(|_| mapped(&file)).collect();
    assert_eq!(count(), 3);
    let unmapped = spaces[0].unmap(&range(BASE, 32));
    assert_eq!((unmapped, file.resize(1)), (Ok(()), Ok(())));
    assert_eq!(count(), 2);
    drop(spaces);
    assert_eq!(count(), 0);
}

/// What the tasks of the next test have in common.
struct Race {
    file: Arc<dyn RegularFile>,
    memory: Arc<AddressSpace>,
    is_over: AtomicBool,
    running: AtomicUsize,
    queue: WaitQueue,
}

impl Race {
    /// Faults everywhere, and forks, until the race is over.
    fn fault(&self, number: usize) {
        let mut step = number;
        // Relaxed: it ends the loop and orders nothing.
        while !self.is_over.load(Ordering::Relaxed) {
            step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let start = [BASE, PRIVATE][step >> 40 & 1];
            let page = start + (step >> 42) % PAGES * PAGE_SIZE;
            let access = [Access::Read, Access::Write][step >> 41 & 1];
            // The page may be behind the end.
            let _ = self.memory.handle_fault(page, access);
            if step >> 50 & 15 == 0 {
                drop(self.memory.fork().expect("enough memory"));
            }
            Task::yield_now();
        }
        // Release: pairs with the Acquire of who waits.
        self.running.fetch_sub(1, Ordering::Release);
        self.queue.wake_all();
    }
}

#[ktest]
fn peer_099_nothing_is_mapped_behind_the_end_while_others_fault_and_fork() {
    let file = file();
    let race = Arc::new(Race {
        memory: mapped(&file),
        file,
        is_over: AtomicBool::new(false),
        running: AtomicUsize::new(3),
        queue: WaitQueue::new(),
    });
    for number in 0..3 {
        let other = Arc::clone(&race);
        let task = TaskOptions::new(move || other.fault(number + 1));
        task.spawn().expect("enough memory");
    }
    for round in 0..200 {
        let pages = round % PAGES;
        assert_eq!(race.file.resize((pages * PAGE_SIZE) as u64), Ok(()));
        let child = race.memory.fork().expect("enough memory");
        for memory in [&race.memory, &child] {
            for page in pages..PAGES {
                for start in [BASE, PRIVATE] {
                    let found = memory.page_at(start + page * PAGE_SIZE);
                    assert!(matches!(found, Ok(None)), "{found:?}");
                }
            }
        }
        assert_eq!(race.file.metadata().frames.max(pages as u64), pages as u64);
        let all = (PAGES * PAGE_SIZE) as u64;
        assert_eq!(race.file.resize(all), Ok(()));
        Task::yield_now();
    }
    // Relaxed: as where it is read.
    race.is_over.store(true, Ordering::Relaxed);
    // Acquire: as above.
    let is_done = || (race.running.load(Ordering::Acquire) == 0).then_some(());
    race.queue.wait_until(is_done);
}
