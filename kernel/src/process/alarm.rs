//! What is to happen at some time: alarms of processes and of descriptors.
//!
//! All alarms of the system are in one ordered map, and one task sleeps until the first
//! of them. What has come rings: a process gets a signal, a descriptor counts. So an
//! alarm is as late as the task that waits for it, up to a tick and what else is to run.
//!
//! **Locks.** A [`Timer`]'s lock is taken first, the map's after it. An alarm rings with
//! none of them held. It may have been set anew since the task took it out of the map:
//! each setting has a number of its own, and one that is not the timer's any more does
//! nothing.
//!
//! **The map has weak handles.** A timer that goes takes its entry out.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::time::Duration;

use nucleus::sync::{Once, SpinLock, WaitQueue};
use nucleus::task::TaskOptions;
use nucleus::time;

use crate::errno::Errno;

/// Something that happens when its time has come.
pub(crate) trait Alarm: Send + Sync {
    /// Returns its timer.
    fn timer(&self) -> &Timer;

    /// Does it, for times that have come since the last one; at least one.
    fn ring(&self, times: u64);
}

/// When an alarm rings: once, or again and again.
#[derive(Debug)]
pub(crate) struct Timer(SpinLock<State>);

#[derive(Debug, Default)]
struct State {
    setting: Setting,
    /// The key of its entry in the map, if it is set.
    key: Option<Key>,
}

/// What a timer is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// When it rings, as a time of `uptime`; nothing if it does not.
    pub(crate) at: Option<Duration>,
    /// After how long it rings again; zero for not at all.
    pub(crate) interval: Duration,
}

/// A time, and a number that no two settings have.
type Key = (Duration, u64);

#[derive(Debug)]
struct Alarms {
    by_time: BTreeMap<Key, Weak<dyn Alarm>>,
    last_number: u64,
}

static ALARMS: SpinLock<Alarms> = SpinLock::new(Alarms {
    by_time: BTreeMap::new(),
    last_number: 0,
});

/// Where the task waits for the first alarm, and for an earlier one.
static CHANGED: WaitQueue = WaitQueue::new();

/// Starts the task that has alarms ring, once somebody wants one.
///
/// # Errors
///
/// [`Errno::NoMemory`].
pub(crate) fn start() -> Result<(), Errno> {
    static STARTED: Once<Result<(), Errno>> = Once::new();
    *STARTED.call_once(|| {
        let task = TaskOptions::new(ring_for_ever).name("alarms");
        Ok(task.spawn().map(drop)?)
    })
}

fn ring_for_ever() {
    loop {
        let first = ALARMS.lock().first();
        let deadline = first.map(|(at, _)| at);
        // Woken by an earlier one, or one that went; or the time has come.
        let changed = || (ALARMS.lock().first() != first).then_some(());
        if CHANGED.wait_until_or(deadline, changed).is_none() {
            ring_all(time::uptime());
        }
    }
}

/// Has all alarms ring whose time has come.
fn ring_all(now: Duration) {
    loop {
        let due = ALARMS.lock().take_due(now);
        let Some((key, alarm)) = due else {
            return;
        };
        if let Some(alarm) = alarm.upgrade() {
            let times = alarm.timer().expire(key, now, &Arc::downgrade(&alarm));
            if times > 0 {
                alarm.ring(times);
            }
        }
    }
}

impl Alarms {
    fn first(&self) -> Option<Key> {
        self.by_time.keys().next().copied()
    }

    fn take_due(&mut self, now: Duration) -> Option<(Key, Weak<dyn Alarm>)> {
        let first = self.first().filter(|(at, _)| *at <= now)?;
        Some((first, self.remove(first)?))
    }

    fn remove(&mut self, key: Key) -> Option<Weak<dyn Alarm>> {
        let removed = self.by_time.remove(&key);
        if self.by_time.is_empty() {
            // One that is empty now keeps a node for the next ones, which nobody counts.
            self.by_time = BTreeMap::new();
        }
        removed
    }

    fn add(&mut self, at: Duration, alarm: &Weak<dyn Alarm>) -> Key {
        self.last_number += 1;
        let key = (at, self.last_number);
        self.by_time.insert(key, Weak::clone(alarm));
        key
    }
}

impl Timer {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(State {
            setting: Setting {
                at: None,
                interval: Duration::ZERO,
            },
            key: None,
        }))
    }

    /// Sets the timer of an alarm, whose it is; returns what it was set to. The task has
    /// to be [started](start).
    pub(crate) fn set(&self, setting: Setting, alarm: &Weak<dyn Alarm>) -> Setting {
        let mut state = self.0.lock();
        let old = state.setting;
        let gone = {
            let mut alarms = ALARMS.lock();
            let gone = state.key.and_then(|key| alarms.remove(key));
            state.key = setting.at.map(|at| alarms.add(at, alarm));
            gone
        };
        state.setting = setting;
        drop(state);
        drop(gone);
        CHANGED.wake_all();
        old
    }

    /// Returns what it is set to.
    pub(crate) fn get(&self) -> Setting {
        self.0.lock().setting
    }

    /// Notes that the time of a setting has come, and sets the next one; returns how
    /// often it has come since the last time. That is zero if it was set anew meanwhile.
    fn expire(&self, key: Key, now: Duration, alarm: &Weak<dyn Alarm>) -> u64 {
        let mut state = self.0.lock();
        if state.key != Some(key) {
            return 0;
        }
        let (times, next) = state.setting.after(now);
        state.setting.at = next;
        state.key = next.map(|at| ALARMS.lock().add(at, alarm));
        times
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let key = self.0.lock().key;
        let gone = key.and_then(|key| ALARMS.lock().remove(key));
        drop(gone);
    }
}

impl Setting {
    /// Returns how often it rings up to a time, and when it does next.
    fn after(&self, now: Duration) -> (u64, Option<Duration>) {
        let Some(late) = self.at.and_then(|at| now.checked_sub(at)) else {
            return (0, self.at);
        };
        if self.interval.is_zero() {
            return (1, None);
        }
        let missed = late.as_nanos() / self.interval.as_nanos();
        let times = u64::try_from(missed).unwrap_or(u64::MAX).saturating_add(1);
        let rest = late.as_nanos() % self.interval.as_nanos();
        // Less than the interval, of which the nanoseconds fit.
        let rest = Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX));
        let next = now.saturating_add(self.interval.saturating_sub(rest));
        (times, Some(next))
    }

    /// Returns how long it is until it rings: nothing if it does not, and never zero if
    /// it does.
    pub(crate) fn left(&self) -> Duration {
        let left = |at: Duration| at.saturating_sub(time::uptime());
        self.at
            .map_or(Duration::ZERO, |at| left(at).max(Duration::from_micros(1)))
    }
}

#[cfg(ktest)]
mod tests {
    use core::sync::atomic::{AtomicU64, Ordering};

    use nucleus::prelude::*;

    use super::{ALARMS, Alarm, Arc, Duration, Setting, Timer, Weak, ring_all};

    const MS: Duration = Duration::from_millis(1);

    #[ktest]
    fn repeated_alarm_keeps_its_beat_however_late_it_is() {
        let setting = Setting {
            at: Some(100 * MS),
            interval: 30 * MS,
        };
        assert_eq!(setting.after(99 * MS), (0, Some(100 * MS)));
        assert_eq!(setting.after(100 * MS), (1, Some(130 * MS)));
        assert_eq!(setting.after(195 * MS), (4, Some(220 * MS)));
        let once = Setting {
            interval: Duration::ZERO,
            ..setting
        };
        assert_eq!(once.after(195 * MS), (1, None));
        assert_eq!(Setting::default().after(MS), (0, None));
    }

    struct Bell {
        timer: Timer,
        times: AtomicU64,
    }

    impl Alarm for Bell {
        fn timer(&self) -> &Timer {
            &self.timer
        }

        fn ring(&self, times: u64) {
            // Relaxed: there is one task here.
            self.times.fetch_add(times, Ordering::Relaxed);
        }
    }

    fn bell() -> (Arc<Bell>, Weak<dyn Alarm>) {
        let bell = Arc::new(Bell {
            timer: Timer::new(),
            times: AtomicU64::new(0),
        });
        let alarm: Arc<dyn Alarm> = bell.clone();
        let weak = Arc::downgrade(&alarm);
        (bell, weak)
    }

    /// Without the task, which would stay when the test is over.
    #[ktest]
    fn alarms_ring_as_they_are_set_now_and_are_forgotten_with_their_owners() {
        let (one, one_weak) = bell();
        let (other, other_weak) = bell();
        let setting = |at, interval| Setting {
            at: Some(at),
            interval,
        };
        other
            .timer
            .set(setting(Duration::MAX, Duration::ZERO), &other_weak);
        one.timer.set(setting(100 * MS, MS), &one_weak);
        // Relaxed: there is one task here.
        let times = || one.times.load(Ordering::Relaxed);
        ring_all(99 * MS);
        assert_eq!(times(), 0);
        ring_all(102 * MS);
        assert_eq!(times(), 3);
        ring_all(102 * MS);
        assert_eq!(times(), 3, "not before the next time");
        let old = one.timer.set(setting(200 * MS, Duration::ZERO), &one_weak);
        assert_eq!(old, setting(103 * MS, MS));
        ring_all(199 * MS);
        assert_eq!(times(), 3, "the old setting is none");
        ring_all(1000 * MS);
        assert_eq!((times(), one.timer.get().at), (4, None));
        assert_eq!(ALARMS.lock().by_time.len(), 1);
        drop((one, other));
        assert_eq!(ALARMS.lock().by_time.len(), 0);
    }
}
