//! What a task may be.
//!
//! ```text
//!           run               begins to park          its registers are saved
//!   Made ────────▶ Awake ────────────────────▶ Parking ─────────────▶ Parked
//!                  │ ▲ ▲                          │                     │
//!                  │ │ └── there is a token ──────┘                     │
//!                  │ └──────────── unparked ────────────────────────────┘
//!                  ▼
//!                Ended
//! ```
//!
//! * **Made**: it has not run. **Awake**: it runs, or is in the queue of a processor.
//! * **Parking**: it will sleep, and is still on its processor. **Parked**: it sleeps.
//! * **Ended**: it never runs again.
//!
//! Beside that there is a *token*: whoever unparks a task leaves it, and a task that
//! finds it does not sleep but takes it. So a wake-up that comes between the decision
//! to sleep and the sleep is not lost. One token is as good as many: whoever parks
//! has to look again at what it waits for.
//!
//! Who changes what: the task itself begins to park, and takes the token; the next
//! task of its processor ends the parking; whoever brings the token of a parked task,
//! of whom there is one, wakes it.

use crate::sync::atomic::{AtomicU8, Ordering};

const MADE: u8 = 0;
const AWAKE: u8 = 1;
const PARKING: u8 = 2;
const PARKED: u8 = 3;
const ENDED: u8 = 4;
/// The token, beside each of the others.
const TOKEN: u8 = 0x80;

/// The state of a task, and its token.
#[derive(Debug)]
pub(crate) struct State(AtomicU8);

impl State {
    /// Returns the state of a task that has not run.
    pub(crate) const fn made() -> Self {
        Self(AtomicU8::new(MADE))
    }

    /// Returns the state of a task that runs.
    pub(crate) const fn awake() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Makes a new task awake; returns whether it was new.
    pub(crate) fn start(&self) -> bool {
        let start = |token| {
            let (from, to) = (MADE | token, AWAKE | token);
            // AcqRel: once.
            let exchange = self
                .0
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
            exchange.is_ok()
        };
        // A token that came before stays.
        start(0) || start(TOKEN)
    }

    /// Begins to park; returns false, and takes the token, if there is one. For the
    /// task itself.
    pub(crate) fn begin_park(&self) -> bool {
        if self.take_token() {
            return false;
        }
        // Acquire: what was done before the token was brought is seen.
        let exchange = self
            .0
            .compare_exchange(AWAKE, PARKING, Ordering::AcqRel, Ordering::Acquire);
        let is_parking = exchange.is_ok();
        if !is_parking {
            self.take_token();
        }
        is_parking
    }

    /// Ends the parking of a task whose registers are saved. Returns false if it is
    /// awake instead, and the caller has to have it run.
    pub(crate) fn finish_park(&self) -> bool {
        // Release: whoever wakes the task sees its registers.
        let exchange =
            self.0
                .compare_exchange(PARKING, PARKED, Ordering::AcqRel, Ordering::Acquire);
        let is_parked = exchange.is_ok();
        if !is_parked {
            // Release: as above. The token stays, and others change nothing but it.
            self.0.store(AWAKE | TOKEN, Ordering::Release);
        }
        is_parked
    }

    /// Brings the token. Returns whether this woke the task, and the caller has to
    /// have it run.
    pub(crate) fn unpark(&self) -> bool {
        // AcqRel: what was done before is seen by the task, and its registers here.
        let was_parked = self.0.fetch_or(TOKEN, Ordering::AcqRel) == PARKED;
        if was_parked {
            // Release: nobody else changes the state of a parked task with a token.
            self.0.store(AWAKE | TOKEN, Ordering::Release);
        }
        was_parked
    }

    /// Takes the token; returns whether there was one. For the task itself.
    pub(crate) fn take_token(&self) -> bool {
        // Acquire: what was done before the token was brought is seen.
        self.0.fetch_and(!TOKEN, Ordering::AcqRel) & TOKEN != 0
    }

    /// Ends the task. It runs, and stands on its stack for a last moment, or it was
    /// abandoned and is in no queue.
    pub(crate) fn end(&self) {
        // Release: what the task has done is seen by whoever finds it over.
        self.0.store(ENDED, Ordering::Release);
    }

    /// Returns whether the task sleeps.
    pub(crate) fn is_parked(&self) -> bool {
        // Acquire: what was done before the task was woken is seen.
        self.0.load(Ordering::Acquire) & !TOKEN == PARKED
    }

    /// Returns whether the task runs or is ready.
    pub(crate) fn is_awake(&self) -> bool {
        // Acquire: whatever is known of the task that woke is seen.
        self.0.load(Ordering::Acquire) & !TOKEN == AWAKE
    }

    /// Returns whether the task is over.
    pub(crate) fn is_over(&self) -> bool {
        // Acquire: what the task has done is seen.
        self.0.load(Ordering::Acquire) & !TOKEN == ENDED
    }

    /// Returns what the state is called.
    pub(crate) fn name(&self) -> &'static str {
        // Relaxed: for a look from outside.
        match self.0.load(Ordering::Relaxed) & !TOKEN {
            MADE => "made",
            AWAKE => "ready",
            PARKING => "parking",
            PARKED => "sleeps",
            _ => "ended",
        }
    }

    /// Ends a task that sleeps, for good; returns whether it did.
    #[cfg(ktest)]
    pub(crate) fn abandon(&self) -> bool {
        // Relaxed failure: the caller looks elsewhere then.
        let exchange = self
            .0
            .compare_exchange(PARKED, ENDED, Ordering::AcqRel, Ordering::Relaxed);
        exchange.is_ok()
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::State;
    use crate::prelude::*;

    #[ktest]
    fn token_that_comes_first_keeps_a_task_awake_once() {
        let state = State::awake();
        assert!(!state.unpark(), "it runs");
        assert!(!state.begin_park());
        assert!(state.begin_park());
    }

    #[ktest]
    fn token_that_comes_while_a_task_goes_to_sleep_is_not_lost() {
        let state = State::awake();
        assert!(state.begin_park());
        assert!(!state.unpark(), "whoever ends the parking has it run");
        assert!(!state.finish_park());
        assert!(!state.is_parked() && state.take_token());
    }

    #[ktest]
    fn one_of_those_who_unpark_a_sleeper_wakes_it() {
        let state = State::awake();
        assert!(state.begin_park() && state.finish_park() && state.is_parked());
        assert!(state.unpark());
        assert!(!state.unpark());
    }

    #[ktest]
    fn task_that_was_unparked_before_it_ran_starts_with_the_token() {
        let state = State::made();
        assert!(!state.unpark(), "it has not run");
        assert!(state.start() && !state.start());
        assert!(!state.begin_park() && state.begin_park());
    }

    #[ktest]
    fn task_starts_once_and_stays_over() {
        let state = State::made();
        assert!(state.start() && !state.start());
        state.end();
        assert!(!state.unpark() && state.is_over());
    }
}
