//! The workers on the real processors: as tasks, one for each processor and one that
//! goes where it may, or taking turns as a single task.
//!
//! A test that shows that a missing flush is found uses frames of a pool, which are
//! never freed, keeps its tables, and only reads and replaces words that are tags: so a
//! stale translation does no harm but to be seen. The bug is there while workers work,
//! and neither when their stacks and spaces are made nor when they are freed: the
//! kernel's own flushes would be left out as well. After it, everything is flushed.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::board::Stale;
use super::tag::{MAX_SPACES, Supply};
use super::worker::{Arena, Tally, Worker};
use crate::boot;
use crate::cpu::{CpuId, CpuSet, disable_preempt, num_cpus};
use crate::mm::tlb::{TlbFlushOp, TlbFlusher};
use crate::planted::{Bug, plant};
use crate::prelude::*;
use crate::sync::SpinLock;
use crate::task::{Task, TaskOptions};

/// Steps of a run, all workers together, unless the command line says otherwise.
const STEPS: u32 = 4_000;
/// Steps within which a missing flush has to be seen, if ever. An emulator may let its
/// processors run one after the other for long, so that few of them meet.
const STEPS_TO_FIND: u32 = 200_000;

fn steps() -> u32 {
    boot::command_line().ktest_stress.unwrap_or(STEPS)
}

/// Runs with a bug planted, if there is one to plant, and has all processors forget
/// what they were not told to forget.
fn with_bug<R>(bug: Option<Bug>, body: impl FnOnce() -> R) -> R {
    let planted = bug.map(plant);
    let result = body();
    if planted.is_some() {
        drop(planted);
        let guard = disable_preempt();
        let flusher = TlbFlusher::for_kernel(&guard);
        flusher.issue_tlb_flush(TlbFlushOp::All);
        flusher.dispatch_tlb_flush();
        flusher.sync_tlb_flush();
    }
    result
}

/// Lets some workers take turns on one processor.
fn take_turns(
    workers: u32,
    supply: Supply,
    steps: u32,
    bug: Option<Bug>,
) -> Result<Vec<Tally>, Stale> {
    let arena = Arena::new(0, supply);
    let mut workers: Vec<_> = (0..workers)
        .map(|number| Worker::new(&arena, number, u64::from(steps)))
        .collect();
    let turns = steps as usize / workers.len();
    let seen = with_bug(bug, || {
        (0..turns).try_for_each(|_| workers.iter_mut().try_for_each(Worker::step))
    });
    let tallies = workers.into_iter().map(Worker::end).collect();
    seen.map(|()| tallies)
}

/// Steps between two times that a worker lets other tasks run by itself.
const BEFORE_YIELDING: u32 = 100;

/// What the tasks of a run share.
struct Crew {
    arena: Arc<Arena>,
    /// Steps of each worker.
    steps: u32,
    /// They may begin: all are there.
    is_open: AtomicBool,
    /// One of them has seen something: the others need not go on.
    is_over: AtomicBool,
    /// How many have worked.
    nr_done: AtomicU32,
    /// They may end.
    is_closed: AtomicBool,
    results: SpinLock<Vec<Result<Tally, Stale>>>,
}

impl Crew {
    /// Works as the worker with a number, in a task of its own.
    fn work(&self, number: u32) {
        let mut worker = Worker::new(&self.arena, number, self.steps.into());
        // Acquire, and Release of the count: the bug is there in between.
        wait_until(|| self.is_open.load(Ordering::Acquire));
        let mut seen = Ok(());
        for step in 1..=self.steps {
            seen = worker.step();
            // Relaxed: a hint.
            if seen.is_err() || self.is_over.load(Ordering::Relaxed) {
                break;
            }
            if step.is_multiple_of(BEFORE_YIELDING) {
                Task::yield_now();
            }
        }
        if seen.is_err() {
            // Relaxed: as above.
            self.is_over.store(true, Ordering::Relaxed);
        }
        self.nr_done.fetch_add(1, Ordering::Release);
        wait_until(|| self.is_closed.load(Ordering::Acquire));
        let tally = worker.end();
        // There is room for one of each.
        self.results.lock().push(seen.map(|()| tally));
    }
}

/// Lets other tasks run until something is so.
fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        Task::yield_now();
    }
}

/// Lets a worker work on each processor, and one on all, at once.
fn work_at_once(supply: Supply, steps: u32, bug: Option<Bug>) -> Result<Vec<Tally>, Stale> {
    let workers = (num_cpus() as u32 + 1).min(MAX_SPACES - 1);
    let crew = Arc::new(Crew {
        arena: Arena::new(0, supply),
        steps: steps / workers,
        is_open: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        nr_done: AtomicU32::new(0),
        is_closed: AtomicBool::new(false),
        results: SpinLock::new(Vec::with_capacity(workers as usize)),
    });
    let spawn = |number: u32| {
        let its_crew = Arc::clone(&crew);
        let options = TaskOptions::new(move || its_crew.work(number));
        let home = if number as usize == num_cpus() {
            CpuSet::new_full()
        } else {
            CpuId::new(number as usize).into()
        };
        options
            .affinity(home)
            .spawn()
            .expect("there is memory for a task")
    };
    let tasks: Vec<_> = (0..workers).map(spawn).collect();
    with_bug(bug, || {
        // Release, and Acquire of the count: see `Crew::work`.
        crew.is_open.store(true, Ordering::Release);
        wait_until(|| crew.nr_done.load(Ordering::Acquire) == workers);
    });
    crew.is_closed.store(true, Ordering::Release);
    tasks.iter().for_each(|task| task.join());
    let results = core::mem::take(&mut *crew.results.lock());
    assert_eq!(results.len(), workers as usize, "each says what it saw");
    results.into_iter().collect()
}

#[ktest]
fn processors_that_work_at_once_see_nothing_stale() {
    let tallies = work_at_once(Supply::Allocator, steps(), None).expect("no access is stale");
    tallies.iter().for_each(Tally::check);
}

#[ktest]
fn missing_request_is_seen() {
    if num_cpus() < 2 {
        crate::ktest::skip("there is one processor");
    }
    match work_at_once(
        Supply::new_pool(64),
        STEPS_TO_FIND,
        Some(Bug::SkippedRequest),
    ) {
        Err(stale) => log::info!("seen, as it should be: {stale:?}"),
        Ok(_) => crate::ktest::skip("the processors forgot every translation by themselves"),
    }
}

#[ktest]
fn workers_that_take_turns_see_nothing_stale() {
    let tallies = take_turns(3, Supply::Allocator, steps(), None).expect("no access is stale");
    tallies.iter().for_each(Tally::check);
}

#[ktest]
fn frames_of_a_pool_are_reused_at_once_and_nothing_stale_is_seen() {
    let tallies = take_turns(2, Supply::new_pool(64), steps(), None).expect("no access is stale");
    tallies.iter().for_each(Tally::check);
}

#[ktest]
fn missing_local_flush_is_seen() {
    match take_turns(
        1,
        Supply::new_pool(64),
        STEPS_TO_FIND,
        Some(Bug::SkippedFlush),
    ) {
        Err(stale) => log::info!("seen, as it should be: {stale:?}"),
        Ok(_) => crate::ktest::skip("this processor forgot every translation by itself"),
    }
}
