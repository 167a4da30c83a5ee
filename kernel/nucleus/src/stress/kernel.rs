//! The workers on the real processors.
//!
//! A test that shows that a missing flush is found uses frames of a pool, which are
//! never freed, and only reads and replaces words that are tags: so a stale
//! translation does no harm but to be seen.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::board::Stale;
use super::tag::Supply;
use super::worker::{Arena, Tally, Worker};
use crate::boot;
use crate::planted::{Bug, plant};
use crate::prelude::*;

/// Steps of a run, all workers together, unless the command line says otherwise.
const STEPS: u32 = 20_000;
/// Steps within which a missing flush has to be seen, if ever: each of many reads
/// would have seen it.
const STEPS_TO_FIND: u32 = 5_000;

fn steps() -> u32 {
    boot::command_line().ktest_stress.unwrap_or(STEPS)
}

/// Lets some workers take turns on one processor.
fn take_turns(workers: u32, supply: Supply, steps: u32) -> Result<Vec<Tally>, Stale> {
    let arena = Arena::new(0, supply);
    let mut workers: Vec<_> = (0..workers)
        .map(|number| Worker::new(&arena, number, u64::from(steps)))
        .collect();
    let turns = steps as usize / workers.len();
    let seen = (0..turns).try_for_each(|_| workers.iter_mut().try_for_each(Worker::step));
    let tallies = workers.into_iter().map(Worker::end).collect();
    seen.map(|()| tallies)
}

#[ktest]
fn workers_that_take_turns_see_nothing_stale() {
    let tallies = take_turns(3, Supply::Allocator, steps()).expect("no access is stale");
    tallies.iter().for_each(Tally::check);
}

#[ktest]
fn frames_of_a_pool_are_reused_at_once_and_nothing_stale_is_seen() {
    let tallies = take_turns(2, Supply::new_pool(64), steps()).expect("no access is stale");
    tallies.iter().for_each(Tally::check);
}

#[ktest]
fn missing_local_flush_is_seen() {
    let planted = plant(Bug::SkippedFlush);
    let result = take_turns(1, Supply::new_pool(64), STEPS_TO_FIND);
    drop(planted);
    match result {
        Err(stale) => log::info!("seen, as it should be: {stale:?}"),
        Ok(_) => crate::ktest::skip("this processor forgot every translation by itself"),
    }
}
