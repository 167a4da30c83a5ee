//! Calls about time: reading clocks, and sleeping.

use core::time::Duration;

use nucleus::time::{self, since_epoch};

use super::SyscallResult;
use crate::errno::Errno;
use crate::process::{Current, Pid, table};

/// How often the coarse clocks go on, and timers are looked at.
const TICK: Duration = Duration::from_millis(10);
/// How finely the other clocks are read.
const FINE: Duration = Duration::from_nanos(1);

/// A clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Counts from 1970.
    SinceEpoch,
    /// Counts from start-up; the machine is never suspended.
    SinceStart,
    /// Counts while a process runs.
    OfProcess(Pid),
    /// Counts while a thread runs.
    OfThread(Pid),
}

/// A clock, and what is special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NamedClock {
    clock: Clock,
    resolution: Duration,
    /// Whether one can sleep by it.
    is_alarm: bool,
}

impl Clock {
    /// Returns the time of a clock.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] when whom it is of has ended.
    fn now(self) -> Result<Duration, Errno> {
        match self {
            Self::SinceEpoch => Ok(since_epoch()),
            Self::SinceStart => Ok(time::uptime()),
            Self::OfProcess(pid) => {
                let process = table::find_process(pid).ok_or(Errno::Invalid)?;
                Ok(process.usage().time())
            }
            Self::OfThread(tid) => {
                let thread = table::find_thread(tid).ok_or(Errno::Invalid)?;
                Ok(thread.usage().time())
            }
        }
    }

    /// Returns what the time since start-up is when this clock, which counts always, has
    /// a time.
    pub(super) fn to_uptime(self, at: Duration) -> Duration {
        match self {
            Self::SinceEpoch => {
                let wait = at.saturating_sub(since_epoch());
                time::uptime().saturating_add(wait)
            }
            _ => at,
        }
    }
}

impl NamedClock {
    /// Finds a clock by its number.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`].
    fn find(current: &Current, number: usize) -> Result<Self, Errno> {
        let fine = |clock| Self {
            clock,
            resolution: FINE,
            is_alarm: true,
        };
        let read_only = |clock, resolution| Self {
            clock,
            resolution,
            is_alarm: false,
        };
        let (process, thread) = (current.process.id(), current.thread.id());
        Ok(match number as i32 {
            0 | 8 | 11 => fine(Clock::SinceEpoch),
            1 | 7 | 9 => fine(Clock::SinceStart),
            2 => read_only(Clock::OfProcess(process), FINE),
            3 => read_only(Clock::OfThread(thread), FINE),
            4 => read_only(Clock::SinceStart, FINE),
            5 => read_only(Clock::SinceEpoch, TICK),
            6 => read_only(Clock::SinceStart, TICK),
            number if number < 0 => read_only(named_by_pid(current, number)?, FINE),
            _ => return Err(Errno::Invalid),
        })
    }
}

/// Finds the clock of a process or thread that its number names: the complement of the
/// process's number, a bit for threads, and two bits for what is counted.
fn named_by_pid(current: &Current, number: i32) -> Result<Clock, Errno> {
    const OF_THREAD: i32 = 4;
    const KIND: i32 = 3;
    /// What belongs to a file descriptor.
    const DESCRIPTOR: i32 = 3;
    if number & KIND == DESCRIPTOR {
        return Err(Errno::Invalid);
    }
    let is_thread = number & OF_THREAD != 0;
    let pid = match !(number >> 3) {
        0 if is_thread => current.thread.id(),
        0 => current.process.id(),
        pid => Pid::new(pid as usize).ok_or(Errno::Invalid)?,
    };
    Ok(match is_thread {
        true => Clock::OfThread(pid),
        false => Clock::OfProcess(pid),
    })
}

pub(super) fn clock_gettime(current: &mut Current, clock: usize, to: usize) -> SyscallResult {
    let now = NamedClock::find(current, clock)?.clock.now()?;
    write_duration(current, to, now)
}

pub(super) fn clock_getres(current: &mut Current, clock: usize, to: usize) -> SyscallResult {
    let clock = NamedClock::find(current, clock)?;
    if to == 0 {
        return Ok(0);
    }
    write_duration(current, to, clock.resolution)
}

/// Nobody may set a clock: there is none that keeps what is set.
pub(super) fn clock_settime(current: &mut Current, clock: usize, from: usize) -> SyscallResult {
    let is_settable = clock as i32 == 0;
    if !is_settable {
        return Err(Errno::Invalid);
    }
    read_duration(current, from)?;
    Err(Errno::NotPermitted)
}

pub(super) fn gettimeofday(current: &mut Current, to: usize, zone_to: usize) -> SyscallResult {
    if to != 0 {
        let now = since_epoch();
        let words = [now.as_secs(), u64::from(now.subsec_micros())];
        current.memory.write_value(to, &words)?;
    }
    if zone_to != 0 {
        // Minutes west of Greenwich, and a rule of summer time.
        current.memory.write_value(zone_to, &[0_u32; 2])?;
    }
    Ok(0)
}

pub(super) fn time(current: &mut Current, to: usize) -> SyscallResult {
    let seconds = since_epoch().as_secs();
    if to != 0 {
        current.memory.write_value(to, &seconds)?;
    }
    Ok(seconds as usize)
}

pub(super) fn nanosleep(current: &mut Current, request: usize, rest_to: usize) -> SyscallResult {
    let duration = read_duration(current, request)?;
    let deadline = time::uptime().saturating_add(duration);
    sleep_until(current, deadline, rest_to)
}

pub(super) fn clock_nanosleep(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const ABSOLUTE: usize = 1;
    let [clock, flags, request, rest_to] = arguments;
    let clock = NamedClock::find(current, clock)?;
    if !clock.is_alarm {
        return Err(Errno::NotSupported);
    }
    let duration = read_duration(current, request)?;
    if flags & ABSOLUTE == 0 {
        let deadline = time::uptime().saturating_add(duration);
        return sleep_until(current, deadline, rest_to);
    }
    sleep_until(current, clock.clock.to_uptime(duration), 0)
}

/// Sleeps until a time since start-up; if that is cut short, writes how much was left.
fn sleep_until(current: &Current, deadline: Duration, rest_to: usize) -> SyscallResult {
    // The deadline of the call that is made again, if this is one.
    let deadline = current.signals.deadline.take().unwrap_or(deadline);
    let nothing = || None::<()>;
    match current.wait(&current.thread.queue, Some(deadline), nothing) {
        Err(Errno::TimedOut) => Ok(0),
        Err(error) => {
            if rest_to != 0 {
                let rest = deadline.saturating_sub(time::uptime());
                write_duration(current, rest_to, rest)?;
            }
            Err(error)
        }
        Ok(()) => Ok(0),
    }
}

/// Reads a `struct timespec`.
///
/// # Errors
///
/// [`Errno::Fault`]; [`Errno::Invalid`] for a time that is negative or has more than a
/// second of nanoseconds.
pub(super) fn read_duration(current: &Current, from: usize) -> Result<Duration, Errno> {
    const NANOS_PER_SECOND: u32 = 1_000_000_000;
    let [seconds, nanos]: [i64; 2] = current.memory.read_value(from)?;
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < NANOS_PER_SECOND => Ok(Duration::new(seconds, nanos)),
        _ => Err(Errno::Invalid),
    }
}

/// Writes a `struct timespec`.
fn write_duration(current: &Current, to: usize, duration: Duration) -> SyscallResult {
    let words = [duration.as_secs(), u64::from(duration.subsec_nanos())];
    current.memory.write_value(to, &words)?;
    Ok(0)
}
