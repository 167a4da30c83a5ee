//! Alarms that go by the time that a process has used (`ITIMER_VIRTUAL`, `ITIMER_PROF`).
//!
//! Nothing counts down while a process runs. Its alarm rings when the time could have
//! been used at the earliest, with all threads at once on processors, and looks how much
//! was used; if that is less, it rings again when the rest could have been.

use alloc::sync::{Arc, Weak};
use core::time::Duration;

use nucleus::sync::SpinLock;
use nucleus::time;

use super::Process;
use super::alarm::{Alarm, Setting, Timer};
use super::signal::{self, SigInfo, Signal};

/// How often an alarm looks at most.
const TICK: Duration = Duration::from_millis(10);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// The time in ring 3.
    User,
    /// All time on a processor.
    All,
}

/// An alarm that goes by the time that its process has used.
#[derive(Debug)]
pub(crate) struct CpuAlarm {
    this: Weak<Self>,
    process: Weak<Process>,
    counts: Counts,
    timer: Timer,
    goal: SpinLock<Goal>,
}

/// What an alarm is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Goal {
    /// How much is to be used when it rings; nothing if it does not.
    used: Option<Duration>,
    /// How much more until it rings again; zero for not at all.
    interval: Duration,
}

impl CpuAlarm {
    pub(super) fn new(process: &Arc<Process>, counts: Counts) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            process: Arc::downgrade(process),
            counts,
            timer: Timer::new(),
            goal: SpinLock::new(Goal::default()),
        })
    }

    /// Sets it: how much more is to be used, zero for no alarm, and then again and
    /// again. The task of alarms has to be [started](super::alarm::start). Returns how
    /// much was left, and the interval.
    pub(crate) fn set(&self, first: Duration, interval: Duration) -> [Duration; 2] {
        let Some(process) = self.process.upgrade() else {
            return [Duration::ZERO; 2];
        };
        let used = self.used_by(&process);
        let goal = match first.is_zero() {
            true => Goal::default(),
            false => Goal {
                used: Some(used.saturating_add(first)),
                interval,
            },
        };
        let old = core::mem::replace(&mut *self.goal.lock(), goal);
        self.look_after(&process, goal.used.map(|_| first));
        [old.left(used), old.interval]
    }

    /// Returns how much is left until it rings, and the interval.
    pub(crate) fn get(&self) -> [Duration; 2] {
        let goal = *self.goal.lock();
        let process = self.process.upgrade();
        let used = process.map_or(Duration::ZERO, |process| self.used_by(&process));
        [goal.left(used), goal.interval]
    }

    fn used_by(&self, process: &Process) -> Duration {
        let usage = process.usage();
        match self.counts {
            Counts::User => usage.user,
            Counts::All => usage.time(),
        }
    }

    /// Looks again as soon as so much more can have been used; never, if it is nothing.
    fn look_after(&self, process: &Process, left: Option<Duration>) {
        let nr_threads = process.threads().len().max(1);
        let nr_threads = u32::try_from(nr_threads).unwrap_or(u32::MAX);
        let at = left.map(|left| time::uptime().saturating_add((left / nr_threads).max(TICK)));
        let setting = Setting {
            at,
            interval: Duration::ZERO,
        };
        let alarm: Weak<dyn Alarm> = self.this.clone();
        self.timer.set(setting, &alarm);
    }
}

impl Alarm for CpuAlarm {
    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn ring(&self, _times: u64) {
        let Some(process) = self.process.upgrade() else {
            return;
        };
        let used = self.used_by(&process);
        // It may have been set anew, to what has not come: then nothing happens.
        let (is_reached, left) = {
            let mut goal = self.goal.lock();
            let is_reached = goal.used.is_some_and(|goal| used >= goal);
            if is_reached {
                goal.go_on(used);
            }
            (is_reached, goal.used.map(|_| goal.left(used)))
        };
        if is_reached {
            let signal = match self.counts {
                Counts::User => Signal::VTALRM,
                Counts::All => Signal::PROF,
            };
            // A standard signal finds room always.
            let _ = signal::send_to_process(&process, SigInfo::of_kernel(signal));
        }
        self.look_after(&process, left);
    }
}

impl Goal {
    /// Returns how much is left: nothing if it does not ring, and never zero if it does.
    fn left(&self, used: Duration) -> Duration {
        let left = |goal: Duration| goal.saturating_sub(used);
        self.used
            .map_or(Duration::ZERO, |goal| left(goal).max(TICK))
    }

    /// Sets the next goal, after so much was used. Those that were passed count as one.
    fn go_on(&mut self, used: Duration) {
        let is_repeated = !self.interval.is_zero();
        self.used = is_repeated.then(|| used.saturating_add(self.interval));
    }
}
