//! Each processor's own timer (SDM vol. 3A, 11.5.4).
//!
//! Where the processor has it, the timer waits for a deadline of the time-stamp
//! counter. Deadlines are the multiples of the period, so that a tick that comes
//! late does not shift the next one, those that were slept through are left out,
//! and nothing has to be kept for it. Else the timer counts down at a frequency
//! of its own, again and again.

use core::arch::x86_64::_mm_mfence;
use core::fmt;

use x86_64::registers::model_specific::Msr;

use super::registers::{Access, Register};
use super::{ACCESS, LVT_MASKED};
use crate::arch::x86_64::calibration;
use crate::arch::x86_64::idt::vector;

const IA32_TSC_DEADLINE: u32 = 0x6e0;
/// Counts down again and again.
const PERIODIC: u32 = 1 << 17;
/// Waits for a deadline.
const DEADLINE: u32 = 2 << 17;
/// Counts each clock of the timer's input.
const DIVIDE_BY_1: u32 = 0xb;

/// Polls before the measurement of the timer gives up: ten times as many as its
/// 10 ms take on a fast processor.
const MAX_POLLS: u32 = 20_000_000;

/// How the timers of all processors tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalTimer {
    /// By deadlines of the time-stamp counter, so many clocks apart.
    Deadline { period: u64 },
    /// By counting down from so much.
    Periodic { count: u32 },
}

impl LocalTimer {
    /// Finds out how to tick so often, on a machine whose time-stamp counter has
    /// this frequency; nothing when there is no way. Interrupts are off.
    pub(crate) fn find(tsc_hz: Option<u64>, per_second: u32) -> Option<Self> {
        let access = ACCESS.get()?;
        let tsc_hz = tsc_hz?;
        if has_deadline() {
            let period = tsc_hz / u64::from(per_second);
            return Some(Self::Deadline { period });
        }
        let hz = measure(*access, tsc_hz)?;
        let count = u32::try_from(hz / u64::from(per_second)).ok()?;
        Some(Self::Periodic { count })
    }

    /// Starts this processor's tick.
    pub(crate) fn start(self) {
        let Some(access) = ACCESS.get() else {
            return;
        };
        let vector = u32::from(vector::TIMER);
        match self {
            Self::Deadline { period } => {
                access.write(Register::LvtTimer, DEADLINE | vector);
                // The mode is to be set before the deadline is (11.5.4.1).
                // SAFETY: Every 64-bit processor has it.
                unsafe { _mm_mfence() };
                set_deadline(period);
            }
            Self::Periodic { count } => {
                access.write(Register::TimerDivide, DIVIDE_BY_1);
                access.write(Register::LvtTimer, PERIODIC | vector);
                access.write(Register::TimerInitial, count);
            }
        }
    }

    /// Sees to it that there is a next tick.
    pub(crate) fn go_on(self) {
        if let Self::Deadline { period } = self {
            set_deadline(period);
        }
    }
}

impl fmt::Display for LocalTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { period } => write!(f, "deadlines {period} clocks apart"),
            Self::Periodic { count } => write!(f, "APIC timer, {count} of its clocks"),
        }
    }
}

fn set_deadline(period: u64) {
    let deadline = next_multiple(calibration::read_tsc(), period);
    // SAFETY: The processor has the register; its timer interrupts with a vector
    // that has a handler. A deadline that is over by now interrupts at once.
    unsafe { Msr::new(IA32_TSC_DEADLINE).write(deadline) };
}

/// Returns the first multiple of `period` after `now`; the end of time, if there is
/// none.
const fn next_multiple(now: u64, period: u64) -> u64 {
    now.saturating_add(period - now % period)
}

/// Measures the frequency of the timer's input against the time-stamp counter.
fn measure(access: Access, tsc_hz: u64) -> Option<u64> {
    access.write(Register::LvtTimer, LVT_MASKED);
    access.write(Register::TimerDivide, DIVIDE_BY_1);
    access.write(Register::TimerInitial, u32::MAX);
    let read = || Some(u64::from(u32::MAX - access.read(Register::TimerCurrent)));
    let start = calibration::sample(read)?;
    let end_tsc = start.tsc.checked_add(tsc_hz / 100)?;
    let has_passed = (0..MAX_POLLS).any(|_| calibration::read_tsc() >= end_tsc);
    let end = calibration::sample(read)?;
    access.write(Register::TimerInitial, 0);
    let clocks = end.clocks.checked_sub(start.clocks)?;
    let tsc = end.tsc.checked_sub(start.tsc)?;
    let hz = calibration::frequency(clocks, tsc, tsc_hz).filter(|_| has_passed);
    if hz.is_none() {
        log::warn!("apic: the timer counted {clocks} clocks in 10 ms, and is not used");
    }
    hz
}

fn has_deadline() -> bool {
    core::arch::x86_64::__cpuid(1).ecx >> 24 & 1 == 1
}

#[cfg(ktest)]
mod tests {
    use super::{ACCESS, LocalTimer, has_deadline, next_multiple};
    use crate::ktest::skip;
    use crate::prelude::*;

    #[ktest]
    fn deadlines_are_multiples_of_the_period_and_in_the_future() {
        for (now, expected) in [
            (0, 10),
            (1, 10),
            (9, 10),
            (10, 20),
            (u64::MAX - 5, u64::MAX),
        ] {
            assert_eq!(next_multiple(now, 10), expected, "{now}");
        }
    }

    #[ktest]
    fn processor_with_deadlines_ticks_by_them() {
        if !has_deadline() {
            skip("the processor has no TSC deadlines");
        }
        let found = LocalTimer::find(Some(2_000_000_000), 100);
        let period = 20_000_000;
        let is_used = ACCESS.get().is_some();
        assert_eq!(found, is_used.then_some(LocalTimer::Deadline { period }));
    }
}
