//! Who is in which bucket, and who is woken?

use alloc::sync::Arc;

use nucleus::mm::{PAGE_SIZE, PageFlags, Vaddr, VmSpace};
use nucleus::prelude::*;

use super::{ANY, Counts, Errno, Place, Thread, bucket_of, enter, leave, requeue, wake};
use crate::process::limits::Limits;
use crate::process::signal::{Actions, SignalSet};
use crate::process::{Name, Pid, Process};
use crate::vm::{AddressSpace, FutexKey, MapRequest};

/// Memory with words to wait at.
struct Words {
    memory: Arc<AddressSpace>,
    start: Vaddr,
}

impl Words {
    fn new() -> Self {
        let memory = AddressSpace::new().expect("enough memory");
        let request = MapRequest::anonymous(PAGE_SIZE, PageFlags::RW);
        let start = memory.map(&request).expect("there is room");
        memory.activate();
        Self { memory, start }
    }

    fn address(&self, index: usize) -> Vaddr {
        self.start + index * size_of::<u32>()
    }

    fn key(&self, index: usize) -> FutexKey {
        let key = self.memory.futex_key(self.address(index), true);
        key.expect("it is memory")
    }

    /// Has a new thread enter the bucket of a word, which is zero.
    fn enter(&self, index: usize, bits: u32) -> Arc<Thread> {
        let thread = new_thread();
        let address = (self.address(index), true);
        enter(&self.memory, address, 0, bits, &thread).expect("the word is zero");
        thread
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        VmSpace::deactivate_current();
    }
}

fn new_thread() -> Arc<Thread> {
    let id = Pid::from_valid(1);
    let process = Process::new(id, Limits::default(), Arc::new(Actions::new()));
    let thread = Thread::new(id, Arc::new(process), Name::default(), SignalSet::EMPTY);
    Arc::new(thread)
}

fn is_waiting(thread: &Arc<Thread>) -> bool {
    thread.futex.get() != Place::NOWHERE
}

#[ktest]
fn threads_are_woken_in_their_order_and_no_more_than_asked_for() {
    let words = Words::new();
    let threads = [0, 0, 1, 0].map(|index| words.enter(index, ANY));
    assert_eq!(wake(&words.key(0), 2, ANY), 2);
    let waiting = threads.each_ref().map(is_waiting);
    assert_eq!(waiting, [false, false, true, true]);
    assert_eq!(wake(&words.key(0), 9, ANY), 1);
    assert!(leave(&threads[2]) && !is_waiting(&threads[2]));
}

#[ktest]
fn threads_without_a_bit_in_common_are_not_woken() {
    let words = Words::new();
    let threads = [1, 2, 3].map(|bits| words.enter(0, bits));
    assert_eq!(wake(&words.key(0), 9, 2), 2);
    assert_eq!(threads.each_ref().map(is_waiting), [true, false, false]);
    assert_eq!(wake(&words.key(0), 9, 1), 1);
}

#[ktest]
fn peer_102_word_that_has_changed_keeps_a_thread_awake() {
    let words = Words::new();
    let thread = new_thread();
    let address = words.address(0);
    words.memory.write_value(address, &1_u32).expect("memory");
    let entered = enter(&words.memory, (address, true), 0, ANY, &thread);
    assert_eq!(entered, Err(Errno::Again));
    assert!(!is_waiting(&thread));
    assert_eq!(wake(&words.key(0), 9, ANY), 0);
}

#[ktest]
fn peer_102_wake_before_the_sleep_is_found_by_whoever_leaves() {
    let words = Words::new();
    let thread = words.enter(0, ANY);
    assert_eq!(wake(&words.key(0), 1, ANY), 1);
    assert!(
        !leave(&thread),
        "it was woken, whatever else happened to it"
    );
    let thread = words.enter(0, ANY);
    assert!(leave(&thread), "nobody has woken it");
    assert_eq!(wake(&words.key(0), 1, ANY), 0);
}

#[ktest]
fn some_are_woken_and_others_moved_and_woken_there() {
    let words = Words::new();
    // Words in other buckets, and in the same one.
    for target in 1..40 {
        let threads = [0, 0, 0, 0].map(|index| words.enter(index, ANY));
        let (from, to) = (words.key(0), words.key(target));
        let counts = Counts {
            wake: 1,
            requeue: 2,
        };
        assert_eq!(requeue(&from, &to, counts, || Ok(())), Ok(3));
        let waiting = threads.each_ref().map(is_waiting);
        assert_eq!(waiting, [false, true, true, true]);
        assert_eq!(threads[1].futex.get(), bucket_of(&to));
        assert_eq!(wake(&to, 1, ANY), 1);
        assert!(!is_waiting(&threads[1]));
        assert!(
            leave(&threads[2]),
            "it leaves the bucket to which it was moved"
        );
        assert_eq!((wake(&to, 9, ANY), wake(&from, 9, ANY)), (0, 1));
    }
}

#[ktest]
fn refused_move_leaves_all_where_they_are() {
    let words = Words::new();
    let thread = words.enter(0, ANY);
    let counts = Counts {
        wake: 1,
        requeue: 1,
    };
    let refused = requeue(&words.key(0), &words.key(1), counts, || Err(Errno::Again));
    assert_eq!(refused, Err(Errno::Again));
    assert!(leave(&thread));
}
