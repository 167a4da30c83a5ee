//! Time: the interval timer's tick, and the time-stamp counter calibrated by it
//! (Intel 8254 data sheet; SDM vol. 3B, 18.17).
//!
//! Channel 0 interrupts [`TICKS_PER_SECOND`] times a second. Channel 2, whose
//! output can be read, times the counter once at start-up. Each wait has a
//! bound, so a machine without the timer boots, only without a clock: its
//! [`uptime`] then counts ticks.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use x86_64::instructions::port::Port;

use super::pic;

/// Frequency of channel 0.
pub(crate) const TICKS_PER_SECOND: u32 = 100;

/// The timer's input clock in Hz.
const INPUT_HZ: u32 = 1_193_182;
/// Input clocks that a calibration takes: 10 ms.
const CALIBRATION_CLOCKS: u16 = (INPUT_HZ / 100) as u16;
/// Polls before the calibration gives up; 10 ms take some 10 000 on a machine.
const CALIBRATION_POLLS: u32 = 2_000_000;
/// No processor for this kernel is slower or faster than that.
const PLAUSIBLE_HZ: core::ops::RangeInclusive<u64> = 1_000_000..=20_000_000_000;

static TICKS: AtomicU64 = AtomicU64::new(0);
static TSC_AT_START: AtomicU64 = AtomicU64::new(0);
/// Frequency of the time-stamp counter, or zero when it is not known.
static TSC_HZ: AtomicU64 = AtomicU64::new(0);

/// Calibrates the time-stamp counter; returns its frequency in Hz if it could.
pub(crate) fn init_clock() -> Option<u64> {
    // Relaxed, here and below: each is one word that stands alone, written at
    // start-up by the only processor.
    TSC_AT_START.store(read_tsc(), Ordering::Relaxed);
    let frequency = time_calibration(CALIBRATION_POLLS).and_then(frequency_of);
    TSC_HZ.store(frequency.unwrap_or(0), Ordering::Relaxed);
    frequency
}

/// Starts the tick.
pub(crate) fn init_tick() {
    let divisor = (INPUT_HZ / TICKS_PER_SECOND) as u16;
    // Channel 0, both bytes, mode 2 (rate generator).
    program(0x34, 0x40, divisor);
    pic::unmask(pic::TIMER_LINE);
}

/// Counts a tick; called with interrupts off. It may not return: a test may end here.
pub(crate) fn tick() {
    // Relaxed: a count that orders nothing.
    TICKS.fetch_add(1, Ordering::Relaxed);
    crate::task::on_tick();
}

/// Returns the time since start-up.
pub fn uptime() -> Duration {
    // Relaxed: words that stand for themselves; those of start-up were written by
    // the only processor.
    let hz = TSC_HZ.load(Ordering::Relaxed);
    if hz == 0 {
        return Duration::from_secs(TICKS.load(Ordering::Relaxed)) / TICKS_PER_SECOND;
    }
    let elapsed = read_tsc().saturating_sub(TSC_AT_START.load(Ordering::Relaxed));
    let nanos = u128::from(elapsed) * 1_000_000_000 / u128::from(hz);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Returns the number of ticks so far.
#[cfg(ktest)]
pub(crate) fn ticks() -> u64 {
    // Relaxed: a count.
    TICKS.load(Ordering::Relaxed)
}

/// Returns the frequency of a counter that counted so far during the calibration,
/// if that makes sense.
fn frequency_of(clocks: u64) -> Option<u64> {
    let hz = clocks.checked_mul(u64::from(INPUT_HZ))? / u64::from(CALIBRATION_CLOCKS);
    Some(hz).filter(|hz| PLAUSIBLE_HZ.contains(hz))
}

/// Counts the counter's clocks while channel 2 counts down, in mode 0, in which
/// its output rises at zero; gives up after so many polls.
fn time_calibration(polls: u32) -> Option<u64> {
    const GATE: u8 = 1 << 0;
    const SPEAKER: u8 = 1 << 1;
    const OUTPUT: u8 = 1 << 5;
    let mut control = Port::<u8>::new(0x61);
    // SAFETY: System control port B: the gate of channel 2 and the speaker.
    let old = unsafe { control.read() };
    // SAFETY: Opens the gate, with the speaker off.
    unsafe { control.write(old & !SPEAKER | GATE) };
    program(0xb0, 0x42, CALIBRATION_CLOCKS);
    let start = read_tsc();
    let expired = (0..polls).any(|_| {
        // SAFETY: Reads the output of channel 2.
        unsafe { control.read() & OUTPUT != 0 }
    });
    let clocks = read_tsc().checked_sub(start);
    // SAFETY: As it was.
    unsafe { control.write(old) };
    clocks.filter(|_| expired)
}

/// Sets a channel's mode and its 16-bit count.
fn program(mode: u8, data_port: u16, count: u16) {
    let mut command = Port::<u8>::new(0x43);
    let mut data = Port::<u8>::new(data_port);
    // SAFETY: The interval timer belongs to this module.
    unsafe { command.write(mode) };
    for byte in count.to_le_bytes() {
        // SAFETY: As above; low byte first, as the mode says.
        unsafe { data.write(byte) };
    }
}

fn read_tsc() -> u64 {
    // SAFETY: Every 64-bit processor has the counter.
    unsafe { _rdtsc() }
}

#[cfg(ktest)]
mod tests {
    use super::{
        CALIBRATION_POLLS, Duration, Ordering, TICKS_PER_SECOND, TSC_HZ, frequency_of, ticks,
        time_calibration, uptime,
    };
    use crate::prelude::*;

    #[ktest]
    fn peer_108_counts_that_make_no_sense_are_no_frequency() {
        for clocks in [0, 1, 9_999, 1 << 33, 1 << 44, u64::MAX] {
            assert_eq!(frequency_of(clocks), None, "{clocks}");
        }
        // 2 GHz, for 10 ms and a little.
        let hz = frequency_of(20_000_000).expect("it makes sense");
        assert!((1_999_000_000..2_001_000_000).contains(&hz));
    }

    #[ktest]
    fn peer_108_calibration_ends_though_the_timer_never_does() {
        assert_eq!(time_calibration(0), None);
        // And works after that.
        assert!(time_calibration(CALIBRATION_POLLS).is_some());
    }

    #[ktest]
    fn peer_108_without_a_frequency_time_is_counted_in_ticks() {
        let hz = TSC_HZ.swap(0, Ordering::Relaxed);
        let before = ticks();
        let time = uptime();
        let after = ticks();
        TSC_HZ.store(hz, Ordering::Relaxed);
        let of = |ticks| Duration::from_secs(ticks) / TICKS_PER_SECOND;
        assert!((of(before)..=of(after)).contains(&time));
    }
}
