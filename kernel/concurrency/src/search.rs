//! How schedules are searched.

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use crate::exhaustive::Exhaustive;

/// A way to search.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Search {
    /// At random: half of the time each step by itself, half of the time few
    /// switches at random places (probabilistic concurrency testing).
    Random,
    /// All schedules with so many preemptions at most.
    Exhaustive(usize),
}

/// Few switches, for probabilistic concurrency testing.
const PCT_DEPTH: usize = 4;

impl Search {
    /// Runs a scenario by so many schedules at most. Returns how many there were, and
    /// whether these were all.
    ///
    /// # Panics
    ///
    /// Panics as soon as the scenario does, or does not end; the checker has
    /// written the schedule to standard error then.
    pub(crate) fn run(self, scenario: fn(), schedules: usize) -> (usize, bool) {
        match self {
            Self::Random => {
                let half = schedules / 2;
                let random = RandomScheduler::new_from_seed(1, half);
                let few = PctScheduler::new_from_seed(1, PCT_DEPTH, half);
                (run(random, scenario) + run(few, scenario), false)
            }
            Self::Exhaustive(preemptions) => {
                let tried = run(Exhaustive::new(preemptions, schedules), scenario);
                (tried, tried < schedules)
            }
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Random => "shuttle",
            Self::Exhaustive(1) => "shuttle, up to 1 preemption",
            Self::Exhaustive(2) => "shuttle, up to 2 preemptions",
            Self::Exhaustive(_) => "shuttle, up to 3 preemptions",
        }
    }
}

/// Runs a scenario by the schedule that a failure has written.
pub(crate) fn replay(scenario: fn(), schedule: &str) {
    let scheduler = ReplayScheduler::new_from_encoded(schedule);
    run(scheduler, scenario);
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    // A thread that waits for what never comes.
    config.max_steps = MaxSteps::FailAfter(200_000);
    config.silence_warnings = true;
    config
        .ungraceful_shutdown_config
        .immediately_return_on_panic = true;
    Runner::new(scheduler, config).run(scenario)
}
