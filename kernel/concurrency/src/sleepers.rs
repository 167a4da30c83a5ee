//! Locks whose takers sleep, and waiting for what another task brings about.
//!
//! Each processor has one task, which is parked where the nucleus parks it; a wake-up
//! that is lost leaves it waiting for ever, which the search notices.

use std::sync::Arc;
use std::time::Duration;

use nucleus::arch::sim::interleave::in_parallel;
use nucleus::arch::sim::{Config, Machine};
use nucleus::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use nucleus::sync::{Mutex, RwMutex, WaitQueue};
use nucleus::task::Task;
use nucleus::time::uptime;

const SECOND: Duration = Duration::from_secs(1);

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

/// Each task by turns counts and looks, so often, in a way that shows who else is inside.
fn count_and_look(cpus: usize, rounds: usize) {
    let lock = RwMutex::new(0_usize);
    let (writers, readers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let write = || {
        let mut count = lock.write();
        assert_eq!(writers.fetch_add(1, Ordering::SeqCst), 0, "two write");
        assert_eq!(readers.load(Ordering::SeqCst), 0, "one writes what is read");
        *count += 1;
        writers.fetch_sub(1, Ordering::SeqCst);
        // Every other one goes on as a reader.
        if count.is_multiple_of(2) {
            let count = count.downgrade();
            assert!(count.is_multiple_of(2), "somebody has written meanwhile");
        }
    };
    let read = || {
        let count = lock.read();
        readers.fetch_add(1, Ordering::SeqCst);
        assert_eq!(
            writers.load(Ordering::SeqCst),
            0,
            "one reads what is written"
        );
        assert!(*count <= cpus * rounds);
        readers.fetch_sub(1, Ordering::SeqCst);
    };
    let number = AtomicUsize::new(0);
    on_all(cpus, || {
        let is_reader_first = number.fetch_add(1, Ordering::SeqCst) == 0;
        for round in 0..rounds {
            match round.is_multiple_of(2) == is_reader_first {
                true => read(),
                false => write(),
            }
        }
    });
    let is_free = machine(1).on(0, || lock.try_write().is_some());
    assert!(is_free, "somebody still has it");
}

pub(crate) fn readers() {
    count_and_look(2, 1);
}

pub(crate) fn readers_of_three() {
    count_and_look(3, 2);
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

/// One task waits for what the other brings, with a nudge and not through the queue.
pub(crate) fn nudge() {
    let machine = machine(2);
    let (queue, value) = (WaitQueue::new(), AtomicUsize::new(0));
    let waiter = machine.on(0, || Task::current().expect("a processor has a task"));
    in_parallel(
        &machine,
        vec![
            Box::new(|| {
                queue.wait_until(|| (value.load(Ordering::SeqCst) == 7).then_some(()));
                assert!(!queue.wake_one(), "it is still in the queue");
            }),
            Box::new(|| {
                value.store(7, Ordering::SeqCst);
                waiter.nudge();
            }),
        ],
    );
}

/// Lets a second pass, and ticks go on.
fn tick_until(machine: &Machine, is_over: &AtomicBool) {
    machine.pass_time(SECOND);
    while !is_over.load(Ordering::SeqCst) {
        Task::yield_now();
        machine.pass_time(Duration::ZERO);
    }
}

/// A task waits for nothing, and time passes.
pub(crate) fn deadline() {
    let machine = machine(2);
    let (queue, is_over) = (WaitQueue::new(), AtomicBool::new(false));
    in_parallel(
        &machine,
        vec![
            Box::new(|| {
                let found = queue.wait_until_or(Some(SECOND), || None::<()>);
                assert!(found.is_none() && uptime() >= SECOND);
                assert!(!queue.wake_one(), "it is still in the queue");
                is_over.store(true, Ordering::SeqCst);
            }),
            Box::new(|| tick_until(&machine, &is_over)),
        ],
    );
}

/// What one task waits for comes when its time does. If it is late and finds the piece
/// all the same, or goes without it, the other one gets the piece in the end.
pub(crate) fn late_piece() {
    let machine = machine(3);
    let (queue, pieces) = (WaitQueue::new(), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    let take = || {
        let exchange = pieces.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst);
        exchange.ok().map(drop)
    };
    let bring = || {
        pieces.store(1, Ordering::SeqCst);
        queue.wake_one();
    };
    in_parallel(
        &machine,
        vec![
            Box::new(|| {
                if queue.wait_until_or(Some(SECOND), take).is_some() {
                    bring();
                }
                is_over.store(true, Ordering::SeqCst);
            }),
            Box::new(|| queue.wait_until(take)),
            Box::new(|| {
                bring();
                tick_until(&machine, &is_over);
            }),
        ],
    );
}

/// What was brought before the time had come is found, and the wait after it is not
/// ended by the time of the one before.
pub(crate) fn two_waits() {
    let machine = machine(2);
    let (queue, value) = (WaitQueue::new(), AtomicUsize::new(0));
    let wait_for = |wanted, deadline| {
        let look = || (value.load(Ordering::SeqCst) >= wanted).then_some(());
        queue.wait_until_or(deadline, look)
    };
    in_parallel(
        &machine,
        vec![
            Box::new(|| {
                assert!(wait_for(1, Some(SECOND)).is_some());
                assert!(wait_for(2, Some(2 * SECOND)).is_some());
            }),
            Box::new(|| {
                value.store(1, Ordering::SeqCst);
                queue.wake_one();
                machine.pass_time(SECOND);
                value.store(2, Ordering::SeqCst);
                queue.wake_one();
            }),
        ],
    );
}
