//! Threads: what they share, what is their own, and how they end.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;

use crate::kit::{AT, Case, PAGE, PRIVATE, call, child, load, map, pause, peek, say, store, unmap};

pub(crate) const CASES: &[Case] = &[
    ("thread-locals", locals),
    ("thread-count", count),
    ("thread-channels", channels),
    ("thread-condition", condition),
    ("thread-many", many),
    ("thread-stacks", stacks),
    ("thread-maps-and-unmaps", maps),
    ("thread-faults-on-one-page", one_page),
    ("thread-fork-while-writing", fork_while_writing),
    ("thread-fork-has-one", fork_has_one),
    ("thread-vectors", vectors),
    ("thread-shares-files", shares_files),
    ("thread-stack-overflow", overflow),
];

thread_local! {
    static OWN: Cell<u32> = const { Cell::new(7) };
}

fn locals() {
    OWN.set(8);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            thread::spawn(move || {
                let before = OWN.get();
                OWN.set(number);
                call(libc::SYS_sched_yield, []);
                (before, OWN.get())
            })
        })
        .collect();
    for thread in threads {
        say!("{:?}", thread.join().ok());
    }
    say!(
        "ours: {}, in a child {}",
        OWN.get(),
        child(|| OWN.get() as i32)
    );
}

fn count() {
    let counter = Arc::new(AtomicU32::new(0));
    let mutex = Arc::new(Mutex::new(0_u32));
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let (counter, mutex) = (Arc::clone(&counter), Arc::clone(&mutex));
            thread::spawn(move || {
                for _ in 0..2000 {
                    // Relaxed: the sum is read after all have ended.
                    counter.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut value) = mutex.lock() {
                        *value += 1;
                    }
                }
            })
        })
        .collect();
    let ended = threads
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .count();
    let value = mutex.lock().map(|value| *value).unwrap_or(0);
    say!(
        "{ended} ended, {} and {value}",
        counter.load(Ordering::Relaxed)
    );
}

fn channels() {
    let (sender, receiver) = mpsc::channel::<u64>();
    let threads: Vec<_> = (1..4)
        .map(|number| {
            let sender = sender.clone();
            thread::spawn(move || (0..500).all(|value| sender.send(value * number).is_ok()))
        })
        .collect();
    drop(sender);
    let sum: u64 = receiver.iter().sum();
    let sent = threads
        .into_iter()
        .all(|thread| thread.join().unwrap_or(false));
    say!("sum {sum}, all sent: {sent}");
}

fn condition() {
    let pair = Arc::new((Mutex::new(0_u32), Condvar::new()));
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let pair = Arc::clone(&pair);
            thread::spawn(move || {
                let (mutex, changed) = &*pair;
                for round in 0..200 {
                    let Ok(turn) = mutex.lock() else { return };
                    let Ok(mut turn) = changed.wait_while(turn, |turn| *turn % 3 != number) else {
                        return;
                    };
                    *turn += 1;
                    changed.notify_all();
                    let _ = round;
                }
            })
        })
        .collect();
    let ended = threads
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .count();
    say!(
        "{ended} ended after {:?} turns",
        pair.0.lock().map(|turn| *turn).ok()
    );
}

fn many() {
    let mut sum = 0;
    for round in 0..10 {
        let barrier = Arc::new(Barrier::new(20));
        let threads: Vec<_> = (0..20)
            .map(|number| {
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || {
                    barrier.wait();
                    number + round
                })
            })
            .collect();
        sum += threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .sum::<u32>();
    }
    say!("sum {sum}");
}

/// Uses much of a stack.
fn deep(depth: usize) -> usize {
    let pad = std::hint::black_box([depth as u8; 1024]);
    if depth == 0 {
        0
    } else {
        deep(depth - 1) + usize::from(pad[depth % 1024] as usize == depth % 256)
    }
}

fn stacks() {
    for kilobytes in [64, 256, 4096] {
        let builder = thread::Builder::new().stack_size(kilobytes << 10);
        let depth = kilobytes / 4;
        let thread = builder.spawn(move || deep(depth));
        say!(
            "{kilobytes} KiB: {:?}",
            thread.ok().and_then(|thread| thread.join().ok())
        );
    }
}

fn maps() {
    let threads: Vec<_> = (0..4)
        .map(|number| {
            thread::spawn(move || {
                let at = AT + number * 64 * PAGE;
                let mut wrong = 0;
                for round in 0..150 {
                    map(at, 16, PRIVATE);
                    for page in 0..16 {
                        wrong += i32::from(load(at + page * PAGE) != 0);
                        store(at + page * PAGE, round as u8);
                    }
                    call(libc::SYS_mprotect, [at + 4 * PAGE, 4 * PAGE, 1]);
                    wrong += i32::from(load(at + 5 * PAGE) != round as u8);
                    unmap(at, 16);
                }
                wrong
            })
        })
        .collect();
    let wrong: i32 = threads
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .sum();
    say!("wrong: {wrong}, afterwards {}", peek(AT));
}

/// All threads touch the same fresh page first: nobody's write may be lost.
fn one_page() {
    let mut lost = 0;
    for _ in 0..40 {
        map(AT, 8, PRIVATE);
        let barrier = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || {
                    barrier.wait();
                    (0..8).for_each(|page| store(AT + page * PAGE + number, number as u8 + 1));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| drop(thread.join()));
        for page in 0..8 {
            let is_there = (0..4).all(|number| load(AT + page * PAGE + number) == number as u8 + 1);
            lost += i32::from(!is_there);
        }
    }
    say!("lost: {lost}");
}

fn fork_while_writing() {
    // peer_097
    static STOP: AtomicU32 = AtomicU32::new(0);
    map(AT, 32, PRIVATE);
    let writer = thread::spawn(|| {
        let mut value = 0_u64;
        // Relaxed: it only ends the loop.
        while STOP.load(Ordering::Relaxed) == 0 {
            value += 1;
            for page in 0..32 {
                crate::kit::store_u64(AT + page * PAGE, value);
            }
        }
        let last = value;
        (0..32).all(|page| crate::kit::load_u64(AT + page * PAGE) == last)
    });
    let mut torn = 0;
    for _ in 0..25 {
        let end = child(|| {
            // A child's copy stands still, and later pages are never newer.
            let values = || (0..32).map(|page| crate::kit::load_u64(AT + page * PAGE));
            let first: Vec<_> = values().collect();
            let is_ordered = first.windows(2).all(|pair| pair[0] >= pair[1]);
            call(libc::SYS_sched_yield, []);
            let is_still = values().eq(first.iter().copied());
            i32::from(!(is_ordered && is_still))
        });
        torn += i32::from(end != "exit 0");
    }
    STOP.store(1, Ordering::Relaxed);
    say!(
        "torn: {torn}, the writer's last value is everywhere: {:?}",
        writer.join().ok()
    );
}

fn fork_has_one() {
    let _other = thread::spawn(|| pause(300));
    let end = child(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let threads = status.lines().find(|line| line.starts_with("Threads:"));
        i32::from(threads == Some("Threads:\t1"))
    });
    say!("one thread in a child: {end}");
}

/// Each thread keeps numbers in vector registers while others run.
fn vectors() {
    let threads: Vec<_> = (1..6)
        .map(|number| {
            thread::spawn(move || {
                let mut sums = [f64::from(number); 8];
                for round in 0..20_000 {
                    for (index, sum) in sums.iter_mut().enumerate() {
                        *sum = std::hint::black_box(*sum + index as f64);
                    }
                    if round % 500 == 0 {
                        call(libc::SYS_sched_yield, []);
                    }
                }
                sums
            })
        })
        .collect();
    for thread in threads {
        say!("{:?}", thread.join().ok());
    }
}

fn shares_files() {
    let file = thread::spawn(|| crate::kit::file_with(c"a", b"text"))
        .join()
        .unwrap_or(99);
    say!("opened by a thread: {}", crate::kit::close(file));
    let directory = thread::spawn(|| {
        let made = std::fs::create_dir("d").is_ok();
        made && std::env::set_current_dir("d").is_ok()
    });
    let moved = directory.join().unwrap_or(false);
    let here = std::env::current_dir().unwrap_or_default();
    say!("moved by a thread: {moved}, {:?}", here.file_name());
}

fn overflow() {
    let end = child(|| {
        let thread = thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(|| deep(100_000));
        let _ = thread.map(|thread| thread.join());
        3
    });
    say!("a thread's stack overflows: {end}");
}
