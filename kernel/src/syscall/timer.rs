//! Calls about alarms: `alarm`, interval timers, and timers that are read.

use alloc::sync::{Arc, Weak};
use core::time::Duration;

use nucleus::time;

use super::SyscallResult;
use super::time::Clock;
use crate::errno::Errno;
use crate::fs::OpenFile;
use crate::fs::open::{Access, status};
use crate::fs::timer::TimerFile;
use crate::process::Current;
use crate::process::alarm::{self, Alarm, Setting};
use crate::process::cpu_alarm::Counts;
use crate::vm::ensure_reserve;

/// What an interval timer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// The time.
    Real,
    /// The time that the process uses.
    Used(Counts),
}

impl Which {
    fn new(which: usize) -> Result<Self, Errno> {
        match which as u32 {
            0 => Ok(Self::Real),
            1 => Ok(Self::Used(Counts::User)),
            2 => Ok(Self::Used(Counts::All)),
            _ => Err(Errno::Invalid),
        }
    }
}

/// Reads seconds and fractions of seconds, of which there are `max` in a second.
fn read_pair(current: &Current, from: usize, max: i64) -> Result<Duration, Errno> {
    const NANOS_PER_SECOND: i64 = 1_000_000_000;
    let [seconds, parts]: [i64; 2] = current.memory.read_value(from)?;
    match (u64::try_from(seconds), u64::try_from(parts)) {
        (Ok(seconds), Ok(_)) if parts < max => {
            let nanos = parts * (NANOS_PER_SECOND / max);
            // Less than a second of them.
            Ok(Duration::new(seconds, nanos as u32))
        }
        _ => Err(Errno::Invalid),
    }
}

/// Writes an interval, and how long it is until a timer rings, in parts of a second of
/// so many nanoseconds.
fn write_setting(
    current: &Current,
    to: usize,
    [left, interval]: [Duration; 2],
    nanos: u32,
) -> Result<(), Errno> {
    let words = |time: Duration| [time.as_secs(), u64::from(time.subsec_nanos() / nanos)];
    let words = [words(interval), words(left)];
    current.memory.write_value(to, &words)
}

const MICRO: u32 = 1000;
const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Sets the timer of the process that goes by the time; returns what it was set to.
fn set_real(current: &Current, first: Duration, interval: Duration) -> Result<Setting, Errno> {
    alarm::start()?;
    ensure_reserve()?;
    let at = (!first.is_zero()).then(|| time::uptime().saturating_add(first));
    let process: Arc<dyn Alarm> = current.process.clone();
    let process: Weak<dyn Alarm> = Arc::downgrade(&process);
    // Without a first time, there is no next one.
    let interval = at.map_or(Duration::ZERO, |_| interval);
    let setting = Setting { at, interval };
    Ok(current.process.timer().set(setting, &process))
}

/// Returns the seconds that were left of the last alarm, rounded, but never to zero.
pub(super) fn alarm(current: &mut Current, seconds: usize) -> SyscallResult {
    let seconds = u64::from((seconds as u32).min(i32::MAX as u32));
    let old = set_real(current, Duration::from_secs(seconds), Duration::ZERO)?;
    let left = old.left();
    let rounds_up = left.subsec_micros() >= 500_000 || left.as_secs() == 0 && !left.is_zero();
    Ok(left.as_secs() as usize + usize::from(rounds_up))
}

pub(super) fn getitimer(current: &mut Current, which: usize, to: usize) -> SyscallResult {
    let [left, interval] = match Which::new(which)? {
        Which::Real => parts(&current.process.timer().get()),
        Which::Used(counts) => current.process.cpu_alarm(counts).get(),
    };
    write_setting(current, to, [left, interval], MICRO)?;
    Ok(0)
}

pub(super) fn setitimer(
    current: &mut Current,
    which: usize,
    from: usize,
    old_to: usize,
) -> SyscallResult {
    let [interval, first] = match from {
        0 => [Duration::ZERO; 2],
        _ => read_setting(current, from, MICROS_PER_SECOND)?,
    };
    let old = match Which::new(which)? {
        Which::Real => parts(&set_real(current, first, interval)?),
        Which::Used(counts) => {
            alarm::start()?;
            ensure_reserve()?;
            current.process.cpu_alarm(counts).set(first, interval)
        }
    };
    if old_to != 0 {
        write_setting(current, old_to, old, MICRO)?;
    }
    Ok(0)
}

/// Returns how long it is until a timer rings, and after how long it rings again.
fn parts(setting: &Setting) -> [Duration; 2] {
    [setting.left(), setting.interval]
}

/// Reads an interval, and when a timer is to ring first.
fn read_setting(current: &Current, from: usize, max: i64) -> Result<[Duration; 2], Errno> {
    let second = from.checked_add(2 * size_of::<u64>()).ok_or(Errno::Fault)?;
    // All of it first: where it is not there, what it says does not count.
    let _: [u64; 4] = current.memory.read_value(from)?;
    Ok([
        read_pair(current, from, max)?,
        read_pair(current, second, max)?,
    ])
}

pub(super) fn timerfd_create(current: &mut Current, clock: usize, flags: usize) -> SyscallResult {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let flags = flags as u32;
    if flags & !(CLOSE_ON_EXEC | status::NONBLOCK) != 0 {
        return Err(Errno::Invalid);
    }
    let is_since_epoch = match clock as u32 {
        0 => true,
        1 | 7 => false,
        // Those that wake a machine up, which is for nobody.
        8 | 9 => return Err(Errno::NotPermitted),
        _ => return Err(Errno::Invalid),
    };
    alarm::start()?;
    ensure_reserve()?;
    let kept = flags & status::NONBLOCK;
    let file = OpenFile::from_stream(TimerFile::new(is_since_epoch), Access::BOTH, kept);
    current
        .files
        .add(Arc::new(file), flags & CLOSE_ON_EXEC != 0, 0)
}

fn as_timer(file: &OpenFile) -> Result<&TimerFile, Errno> {
    let timer = file.stream().and_then(|stream| stream.as_timer());
    timer.ok_or(Errno::Invalid)
}

pub(super) fn timerfd_settime(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const ABSOLUTE: u32 = 1;
    /// Clocks are not set, so nothing is cancelled by that.
    const CANCEL_ON_SET: u32 = 2;
    let [file, flags, from, old_to] = arguments;
    let flags = flags as u32;
    let [interval, first] = read_setting(current, from, NANOS_PER_SECOND)?;
    if flags & !(ABSOLUTE | CANCEL_ON_SET) != 0 {
        return Err(Errno::Invalid);
    }
    let file = current.files.get(file)?;
    let timer = as_timer(&file)?;
    let clock = match timer.is_since_epoch {
        true => Clock::SinceEpoch,
        false => Clock::SinceStart,
    };
    let at = match flags & ABSOLUTE {
        _ if first.is_zero() => None,
        0 => Some(time::uptime().saturating_add(first)),
        _ => Some(clock.to_uptime(first)),
    };
    ensure_reserve()?;
    let old = timer.set(Setting { at, interval });
    if old_to != 0 {
        write_setting(current, old_to, parts(&old), 1)?;
    }
    Ok(0)
}

pub(super) fn timerfd_gettime(current: &mut Current, file: usize, to: usize) -> SyscallResult {
    let file = current.files.get(file)?;
    let setting = as_timer(&file)?.get();
    write_setting(current, to, parts(&setting), 1)?;
    Ok(0)
}
