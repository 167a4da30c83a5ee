//! Do tasks that wait look again when they are nudged, and when it is time?
//!
//! Schedules are searched by `kernel/concurrency`; these are the real timers.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use super::{Task, TaskOptions};
use crate::cpu::CpuSet;
use crate::prelude::*;
use crate::sync::{Mutex, WaitQueue};
use crate::time::uptime;

/// Long enough that nothing in a test takes as long.
const NEVER: Duration = Duration::from_secs(1000);
/// Short enough to wait for.
const SOON: Duration = Duration::from_millis(30);

fn spawn(body: impl FnOnce() + Send + 'static) -> Arc<Task> {
    TaskOptions::new(body).spawn().expect("enough memory")
}

/// Lets others run until a task sleeps.
fn wait_for_sleep(task: &Task) {
    while !task.state.is_parked() {
        Task::yield_now();
    }
}

fn found(flag: &AtomicBool) -> Option<()> {
    flag.load(Ordering::Acquire).then_some(())
}

#[ktest]
fn sleeper_that_is_nudged_looks_again_and_leaves_the_queue() {
    let shared = Arc::new((WaitQueue::new(), AtomicBool::new(false)));
    let of_task = Arc::clone(&shared);
    let task = spawn(move || of_task.0.wait_until(|| found(&of_task.1)));
    wait_for_sleep(&task);
    // It looks, finds nothing, and sleeps again.
    task.nudge();
    wait_for_sleep(&task);
    shared.1.store(true, Ordering::Release);
    task.nudge();
    task.join();
    assert!(!shared.0.wake_one(), "nobody is in the queue");
}

#[ktest]
fn task_that_was_nudged_before_it_ran_runs_all_the_same() {
    let task = TaskOptions::new(|| ()).build().expect("enough memory");
    task.nudge();
    task.run();
    task.join();
}

#[ktest]
fn wait_ends_when_it_is_time_and_not_before() {
    let queue = WaitQueue::new();
    let deadline = uptime() + SOON;
    assert_eq!(queue.wait_until_or(Some(deadline), || None::<()>), None);
    assert!(uptime() >= deadline);
    assert!(!queue.wake_one(), "nobody is in the queue");
}

#[ktest]
fn wait_that_is_late_from_the_start_looks_once() {
    let mut looks = 0;
    let mut look = || {
        looks += 1;
        None::<()>
    };
    let queue = WaitQueue::new();
    assert_eq!(queue.wait_until_or(Some(Duration::ZERO), &mut look), None);
    assert_eq!(looks, 1);
    let found = queue.wait_until_or(Some(Duration::ZERO), || Some(7));
    assert_eq!(found, Some(7));
}

#[ktest]
fn task_that_is_woken_before_its_time_leaves_no_timer_behind() {
    let shared = Arc::new((WaitQueue::new(), AtomicBool::new(false)));
    let of_task = Arc::clone(&shared);
    let task = spawn(move || {
        let deadline = uptime() + NEVER;
        let result = of_task
            .0
            .wait_until_or(Some(deadline), || found(&of_task.1));
        assert_eq!(result, Some(()));
        let task = Task::current().expect("it is one");
        assert!(!task.timer.is_started());
    });
    wait_for_sleep(&task);
    shared.1.store(true, Ordering::Release);
    assert!(shared.0.wake_one());
    task.join();
}

#[ktest]
fn smp_tasks_of_all_processors_are_woken_at_their_times() {
    let tasks = CpuSet::new_full().iter().flat_map(|cpu| {
        [1, 7, 25, 3].map(|ms| {
            let body = move || {
                let deadline = uptime() + Duration::from_millis(ms);
                let queue = WaitQueue::new();
                assert_eq!(queue.wait_until_or(Some(deadline), || None::<()>), None);
                assert!(uptime() >= deadline);
            };
            let options = TaskOptions::new(body).affinity(cpu.into());
            options.spawn().expect("enough memory")
        })
    });
    let tasks: alloc::vec::Vec<_> = tasks.collect();
    tasks.iter().for_each(|task| task.join());
}

#[ktest]
fn what_looks_may_sleep_itself() {
    let shared = Arc::new((WaitQueue::new(), Mutex::new(0)));
    let of_task = Arc::clone(&shared);
    let held = shared.1.lock();
    let task = spawn(move || {
        of_task
            .0
            .wait_until(|| (*of_task.1.lock() > 0).then_some(()))
    });
    // For the lock, while it waits for the number.
    wait_for_sleep(&task);
    drop(held);
    *shared.1.lock() += 1;
    shared.0.wake_one();
    task.join();
}

#[ktest]
fn peer_102_wake_ups_nudges_and_deadlines_in_a_storm_lose_nothing() {
    const WAITERS: usize = 6;
    const PIECES: usize = 300;
    let shared = Arc::new((WaitQueue::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
    let waiter = |number: usize| {
        let shared = Arc::clone(&shared);
        move || {
            let (queue, pieces, taken) = &*shared;
            let take = || {
                let one_less = |pieces: usize| pieces.checked_sub(1);
                let exchange = pieces.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
                exchange.ok().map(drop)
            };
            let mut mine = 0;
            while mine < PIECES {
                // Half of them go on before a piece is there, as it happens.
                let deadline = number
                    .is_multiple_of(2)
                    .then(|| uptime() + Duration::from_millis(5));
                if queue.wait_until_or(deadline, take).is_some() {
                    mine += 1;
                    taken.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    };
    let tasks: alloc::vec::Vec<_> = (0..WAITERS).map(|number| spawn(waiter(number))).collect();
    let (queue, pieces, taken) = &*shared;
    for round in 0..WAITERS * PIECES {
        pieces.fetch_add(1, Ordering::AcqRel);
        queue.wake_one();
        tasks[round % WAITERS].nudge();
        if round.is_multiple_of(16) {
            Task::yield_now();
        }
    }
    tasks.iter().for_each(|task| task.join());
    assert_eq!(taken.load(Ordering::Acquire), WAITERS * PIECES);
    assert_eq!(pieces.load(Ordering::Acquire), 0);
}
