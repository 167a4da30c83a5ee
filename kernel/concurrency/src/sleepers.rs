//! Locks whose takers sleep, and waiting for what another task brings about.
//!
//! Each processor has one task, which is parked where the nucleus parks it; a wake-up
//! that is lost leaves it waiting for ever, which the search notices.

use std::sync::Arc;

use nucleus::arch::sim::interleave::in_parallel;
use nucleus::arch::sim::{Config, Machine};
use nucleus::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use nucleus::sync::{Mutex, WaitQueue};

fn machine(cpus: usize) -> Machine {
    Machine::new(Config {
        ram: 3 << 20,
        cpus,
        checked: false,
        ..Config::default()
    })
}

/// Runs the same on all processors.
fn on_all(cpus: usize, body: impl Fn() + Sync) {
    let machine = machine(cpus);
    let bodies = (0..cpus).map(|_| Box::new(&body) as Box<dyn FnOnce() + Send + '_>);
    in_parallel(&machine, bodies.collect());
}

/// Each task locks and counts so often, in a way that shows whether it is alone.
fn count(cpus: usize, rounds: usize) {
    let mutex = Arc::new(Mutex::new(0));
    let is_inside = Arc::new(AtomicBool::new(false));
    on_all(cpus, || {
        for _ in 0..rounds {
            let mut count = mutex.lock();
            assert!(!is_inside.swap(true, Ordering::SeqCst), "two are inside");
            *count += 1;
            is_inside.store(false, Ordering::SeqCst);
        }
    });
    assert_eq!(machine(1).on(0, || *mutex.lock()), cpus * rounds);
}

pub(crate) fn mutex() {
    count(2, 1);
}

pub(crate) fn mutex_of_three() {
    count(3, 2);
}

/// One task waits for what the other brings.
pub(crate) fn wake_up() {
    let machine = machine(2);
    let (queue, value) = (WaitQueue::new(), AtomicUsize::new(0));
    in_parallel(
        &machine,
        vec![
            Box::new(|| {
                let found = queue.wait_until(|| match value.load(Ordering::SeqCst) {
                    0 => None,
                    found => Some(found),
                });
                assert_eq!(found, 7);
            }),
            Box::new(|| {
                value.store(7, Ordering::SeqCst);
                queue.wake_one();
            }),
        ],
    );
}

/// Two tasks wait for a piece each, and a third brings the pieces one by one.
pub(crate) fn pieces() {
    let machine = machine(3);
    let (queue, pieces) = (WaitQueue::new(), AtomicUsize::new(0));
    let take = || loop {
        let left = pieces.load(Ordering::SeqCst);
        let exchange = pieces.compare_exchange(
            left,
            left.checked_sub(1)?,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        if exchange.is_ok() {
            return Some(());
        }
    };
    in_parallel(
        &machine,
        vec![
            Box::new(|| queue.wait_until(take)),
            Box::new(|| queue.wait_until(take)),
            Box::new(|| {
                for _ in 0..2 {
                    pieces.fetch_add(1, Ordering::SeqCst);
                    queue.wake_one();
                }
            }),
        ],
    );
}
