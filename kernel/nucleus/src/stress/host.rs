//! The workers on a simulated machine, whose TLBs forget nothing by themselves.

extern crate std;

use std::thread;
use std::vec::Vec;

use super::board::Stale;
use super::tag::Supply;
use super::worker::{Arena, Tally, Worker};
use crate::arch::sim::{Config, Machine};

/// Steps of a run, all workers together, unless the environment says otherwise.
const STEPS: u32 = 6000;

fn steps() -> u32 {
    let wanted = std::env::var("VOSTOK_STRESS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(STEPS)
}

/// Lets as many workers as there are processors work at once.
fn run(cpus: u32, make_supply: fn() -> Supply, seed: u64) {
    let machine = Machine::new(Config {
        cpus: cpus as usize,
        ..Config::default()
    });
    let arena = machine.on(0, || Arena::new(0, make_supply()));
    let work = |number: u32| {
        machine.on(number as usize, || {
            let mut worker = Worker::new(&arena, number, seed);
            let seen = (0..steps() / cpus).try_for_each(|_| worker.step());
            let tally = worker.end();
            seen.map(|()| tally)
        })
    };
    let work = &work;
    let results: Vec<Result<Tally, Stale>> = thread::scope(|scope| {
        let spawn = |number| scope.spawn(move || work(number));
        let workers: Vec<_> = (0..cpus).map(spawn).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|result| result.expect("it did not die"))
            .collect()
    });
    machine.on(0, || drop(arena));
    for result in results {
        result.expect("no access is stale").check();
    }
}

#[test]
fn one_processor_sees_nothing_stale() {
    run(1, || Supply::Allocator, 1);
}

#[test]
fn two_processors_see_nothing_stale() {
    run(2, || Supply::Allocator, 2);
}

#[test]
fn four_processors_see_nothing_stale() {
    run(4, || Supply::Allocator, 4);
}

#[test]
fn frames_of_a_pool_are_reused_at_once_and_nothing_stale_is_seen() {
    run(2, || Supply::new_pool(64), 3);
}
