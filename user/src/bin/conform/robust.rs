//! Lists of robust locks, and the word that tells of a thread's end.

use crate::futex::{WAIT, futex, time, until_waiting};
use crate::kit::{
    AT, Answer, Case, KERNEL, NONE, PAGE, PRIVATE, SHARED, call, child, fork, load_u32, map, pause,
    say, store_u32, store_u64, wait,
};
use std::thread;

pub(crate) const CASES: &[Case] = &[
    ("futex-robust-list", robust_list),
    ("futex-robust-cyclic", robust_cyclic),
    ("futex-robust-bad", robust_bad),
    ("futex-robust-refused", robust_refused),
    ("futex-clear-child-tid", clear_child_tid),
];

/// A list of robust locks as the kernel reads it: the head, the distance from an
/// entry to its lock, the lock that is being taken.
fn set_robust_list(head: usize) -> Answer {
    call(libc::SYS_set_robust_list, [head, 24])
}

/// Fills a list in shared memory: each entry points to the next, the last to the
/// head; each lock is 8 bytes behind its entry, and its owner is this thread.
fn fill_list(locks: usize) {
    let thread = call(libc::SYS_gettid, []).value() as u32;
    let entry = |index: usize| {
        if index < locks {
            AT + 64 + index * 32
        } else {
            AT
        }
    };
    store_u64(AT, entry(0) as u64);
    store_u64(AT + 8, 8);
    store_u64(AT + 16, 0);
    for index in 0..locks {
        store_u64(entry(index), entry(index + 1) as u64);
        store_u32(entry(index) + 8, thread);
    }
}

/// Says what the locks hold now, without the numbers of threads.
fn lock_states(locks: usize) -> Vec<String> {
    let state = |index: usize| {
        let word = load_u32(AT + 64 + index * 32 + 8);
        let owner = if word & 0x3fff_ffff == 0 {
            "free"
        } else {
            "owned"
        };
        let died = if word & 0x4000_0000 == 0 {
            ""
        } else {
            ", owner died"
        };
        let waits = if word & 0x8000_0000 == 0 {
            ""
        } else {
            ", waiters"
        };
        format!("{owner}{died}{waits}")
    };
    (0..locks).map(state).collect()
}

fn robust_list() {
    map(AT, 1, SHARED);
    let end = child(|| {
        fill_list(3);
        set_robust_list(AT).error()
    });
    say!("{end}: {:?}", lock_states(3));
    let process = fork(|| {
        fill_list(2);
        // Somebody waits for the first, and the second is somebody else's.
        store_u32(AT + 64 + 8, load_u32(AT + 64 + 8) | 0x8000_0000);
        store_u32(AT + 96 + 8, 1);
        set_robust_list(AT);
        until_waiting(1, AT + 64 + 8, 0);
        0
    });
    while load_u32(AT + 96 + 8) != 1 {
        pause(1);
    }
    let soon = time(5, 0);
    let value = load_u32(AT + 64 + 8) as usize;
    let woken = futex([AT + 64 + 8, WAIT, value, soon.as_ptr() as usize]);
    say!("a waiter is woken: {woken}");
    say!(
        "{}: {:?}",
        process.map_or_else(|e| e.to_string(), wait),
        lock_states(2)
    );
    // One that is pending and not in the list.
    let end = child(|| {
        fill_list(2);
        store_u64(AT, AT as u64);
        store_u64(AT + 16, (AT + 64) as u64);
        set_robust_list(AT).error()
    });
    say!("pending, {end}: {:?}", lock_states(2));
}

fn robust_cyclic() {
    // peer_102: the walk ends, although the list does not.
    map(AT, 1, SHARED);
    let end = child(|| {
        fill_list(3);
        store_u64(AT + 64 + 2 * 32, (AT + 64) as u64);
        set_robust_list(AT).error()
    });
    say!("three in a circle, {end}: {:?}", lock_states(3));
    let end = child(|| {
        fill_list(1);
        store_u64(AT + 64, (AT + 64) as u64);
        set_robust_list(AT).error()
    });
    say!("one that points to itself, {end}: {:?}", lock_states(1));
    let end = child(|| {
        let thread = thread::spawn(|| {
            fill_list(2);
            store_u64(AT + 64 + 32, (AT + 64) as u64);
            set_robust_list(AT);
        });
        i32::from(thread.join().is_err())
    });
    say!("of a thread, {end}: {:?}", lock_states(2));
}

fn robust_bad() {
    map(AT, 1, SHARED);
    for (name, head) in [
        ("null", 0),
        ("kernel", KERNEL),
        ("not there", AT + PAGE),
        ("1", 1),
    ] {
        let end = child(|| set_robust_list(head).error());
        say!("a head at {name}: {end}");
    }
    for (name, next) in [("kernel", KERNEL), ("null", 0), ("not there", AT + PAGE)] {
        let end = child(|| {
            fill_list(2);
            store_u64(AT + 64, next as u64);
            set_robust_list(AT).error()
        });
        say!("an entry at {name}, {end}: {:?}", lock_states(2));
    }
    let end = child(|| {
        fill_list(1);
        store_u64(AT + 8, u64::MAX / 2);
        set_robust_list(AT).error()
    });
    say!("a wild distance, {end}: {:?}", lock_states(1));
    let end = child(|| {
        fill_list(1);
        store_u64(AT + 8, 10);
        set_robust_list(AT).error()
    });
    say!("a lock that is not aligned, {end}: {:?}", lock_states(1));
}

fn robust_refused() {
    for size in [0, 8, 23, 25, 32, NONE] {
        say!(
            "set_robust_list(size {size}) = {}",
            call(libc::SYS_set_robust_list, [AT, size])
        );
    }
    set_robust_list(AT);
    let mut answers = [0_usize; 2];
    let (head, size) = (
        answers.as_mut_ptr() as usize,
        answers.as_mut_ptr() as usize + 8,
    );
    let get = |pid, head, size| call(libc::SYS_get_robust_list, [pid, head, size]);
    say!("get_robust_list = {}", get(0, head, size));
    say!("the head: {}, size {}", answers[0] == AT, answers[1]);
    say!("get_robust_list(head to kernel) = {}", get(0, KERNEL, size));
    say!("get_robust_list(size to kernel) = {}", get(0, head, KERNEL));
    say!("get_robust_list(nobody) = {}", get(9_999_999, head, size));
    set_robust_list(0);
}

fn clear_child_tid() {
    map(AT, 1, PRIVATE);
    store_u32(AT, 1);
    let end = child(|| {
        // Nobody joins this thread: the library would wait for its own word.
        thread::spawn(|| {
            call(libc::SYS_set_tid_address, [AT]);
            until_waiting(1, AT, 0);
            call(libc::SYS_exit, [0]);
        });
        let long = time(15, 0);
        let answer = futex([AT, WAIT, 1, long.as_ptr() as usize]);
        say!("woken: {answer}, the word {}", load_u32(AT));
        0
    });
    say!("{end}");
    let end = child(|| {
        let answer = call(libc::SYS_set_tid_address, [AT]);
        i32::from(answer == call(libc::SYS_gettid, []))
    });
    say!(
        "its value is the number: {end}, the word of a process alone {}",
        load_u32(AT)
    );
    for to in [0, KERNEL, 1, AT + 2] {
        let end = child(|| i32::from(call(libc::SYS_set_tid_address, [to]).is_error()));
        say!(
            "set_tid_address({}): {end}",
            if to == KERNEL { "kernel" } else { "other" }
        );
    }
}
