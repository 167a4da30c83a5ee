//! Finding out how fast a counter counts, by others whose frequency is known.
//!
//! The time-stamp counter is measured against every [`Reference`] that the machine
//! has: the event timer, the power-management timer, the interval timer. Each
//! measurement takes 10 ms and has a bound, so a timer that stands still costs a
//! moment and no more. Results that make no sense are dropped; of the others the
//! one in the middle is taken, and those that disagree with it are logged.
//!
//! Both counters are read as close together as a few attempts allow, and what
//! counts is how far both got, not how long the wait was meant to be. So an
//! interrupt of the firmware, or an emulator that pauses, falsifies nothing.

use core::arch::x86_64::_rdtsc;
use core::ops::RangeInclusive;

/// Measurements take a hundredth of a second.
const WINDOWS_PER_SECOND: u64 = 100;
/// Polls before a measurement gives up; 10 ms take some 10 000 on a machine.
const MAX_POLLS: u32 = 2_000_000;
/// Pairs of readings of which the closest is taken.
const ATTEMPTS: usize = 5;
/// No counter of a processor for this kernel is slower or faster than that.
const PLAUSIBLE_HZ: RangeInclusive<u64> = 1_000_000..=20_000_000_000;
/// Frequencies agree that differ by no more than this part of one of them.
const TOLERATED_PART: u64 = 100;
/// Most frequencies that are compared.
pub(super) const MAX_OPINIONS: usize = 3;

/// A counter whose frequency is known.
pub(super) trait Reference {
    /// How it is called in the log.
    fn name(&self) -> &'static str;

    /// Its frequency in Hz.
    fn hz(&self) -> u64;

    /// The bits that it counts with.
    fn mask(&self) -> u64;

    /// Returns the count, which goes up; nothing when it means nothing.
    fn read(&self) -> Option<u64>;
}

/// A frequency of the time-stamp counter in Hz, and who says so.
pub(super) type Opinion = (&'static str, u64);

/// Two counts at about the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) clocks: u64,
    pub(super) tsc: u64,
}

/// Measures the time-stamp counter; returns its frequency in Hz if it makes sense.
pub(super) fn measure(reference: &impl Reference) -> Option<u64> {
    measure_within(reference, MAX_POLLS)
}

fn measure_within(reference: &impl Reference, polls: u32) -> Option<u64> {
    let window = reference.hz() / WINDOWS_PER_SECOND;
    let start = sample(|| reference.read())?;
    let since_start = |clocks: u64| clocks.wrapping_sub(start.clocks) & reference.mask();
    let mut has_passed = |_| {
        reference
            .read()
            .is_none_or(|clocks| since_start(clocks) >= window)
    };
    if !(0..polls).any(&mut has_passed) {
        return None;
    }
    let end = sample(|| reference.read())?;
    let tsc = end.tsc.checked_sub(start.tsc)?;
    frequency(tsc, since_start(end.clocks), reference.hz())
}

/// Reads a counter and the time-stamp counter together.
pub(super) fn sample(read: impl Fn() -> Option<u64>) -> Option<Sample> {
    let attempts = (0..ATTEMPTS).filter_map(|_| {
        let before = read_tsc();
        let clocks = read()?;
        let took = read_tsc().checked_sub(before)?;
        let tsc = before.checked_add(took / 2)?;
        Some((took, Sample { clocks, tsc }))
    });
    let closest = attempts.min_by_key(|(took, _)| *took);
    closest.map(|(_, sample)| sample)
}

/// Returns the frequency of a counter that counted so far while another one, of
/// `hz`, counted `clocks`; if that makes sense.
pub(super) fn frequency(counted: u64, clocks: u64, hz: u64) -> Option<u64> {
    let scaled = u128::from(counted).checked_mul(u128::from(hz))?;
    let found = u64::try_from(scaled.checked_div(u128::from(clocks))?).ok()?;
    Some(found).filter(|hz| PLAUSIBLE_HZ.contains(hz))
}

/// Returns the frequency in the middle; of two, the first.
pub(super) fn settle(opinions: &[Opinion]) -> Option<u64> {
    let first = opinions.first()?.1;
    let mut sorted = [first; MAX_OPINIONS];
    let opinions = &opinions[..opinions.len().min(MAX_OPINIONS)];
    for (place, (_, hz)) in sorted.iter_mut().zip(opinions) {
        *place = *hz;
    }
    // Where there are two, the first fills the third place.
    sorted.sort_unstable();
    Some(sorted[MAX_OPINIONS / 2])
}

/// Returns whether two frequencies differ by no more than measuring explains.
pub(super) const fn agree(a: u64, b: u64) -> bool {
    a.abs_diff(b) <= a / TOLERATED_PART
}

/// Returns what the processor itself says of its time-stamp counter, in Hz (SDM
/// vol. 2A, leaves 0x15 and 0x16): exactly, or by what its clock is called.
pub(super) fn hz_by_cpuid() -> Option<u64> {
    use core::arch::x86_64::__cpuid;
    const RATIO: u32 = 0x15;
    const NOMINAL: u32 = 0x16;
    let highest = __cpuid(0).eax;
    let exact = (highest >= RATIO).then(|| {
        let leaf = __cpuid(RATIO);
        let crystal_hz = u64::from(leaf.ecx);
        frequency(u64::from(leaf.ebx), u64::from(leaf.eax), crystal_hz)
    });
    let nominal = || {
        let mhz = (highest >= NOMINAL).then(|| __cpuid(NOMINAL).eax & 0xffff)?;
        frequency(u64::from(mhz), 1, 1_000_000)
    };
    exact.flatten().or_else(nominal)
}

#[inline(always)]
pub(super) fn read_tsc() -> u64 {
    // SAFETY: Every 64-bit processor has the counter.
    unsafe { _rdtsc() }
}

#[cfg(ktest)]
mod tests {
    use core::cell::Cell;

    use super::{Reference, agree, frequency, measure_within, settle};
    use crate::prelude::*;

    /// A counter that goes on by so much with each reading.
    struct Fake {
        step: u64,
        count: Cell<u64>,
        breaks_at: u64,
    }

    impl Reference for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn hz(&self) -> u64 {
            1_000_000
        }

        fn mask(&self) -> u64 {
            0xffff
        }

        fn read(&self) -> Option<u64> {
            self.count.set(self.count.get() + self.step);
            Some(self.count.get() & self.mask()).filter(|_| self.count.get() < self.breaks_at)
        }
    }

    fn fake(step: u64, first: u64) -> Fake {
        Fake {
            step,
            count: Cell::new(first),
            breaks_at: u64::MAX,
        }
    }

    #[ktest]
    fn peer_108_counts_that_make_no_sense_are_no_frequency() {
        for (counted, clocks) in [
            (0, 11_932),
            (9_000, 11_932),
            (1 << 44, 11_932),
            (u64::MAX, 11_932),
            (u64::MAX, 1),
            (20_000_000, 0),
        ] {
            assert_eq!(frequency(counted, clocks, 1_193_182), None, "{counted}");
        }
        // 2 GHz, for 10 ms and a little.
        let hz = frequency(20_000_000, 11_931, 1_193_182).expect("it makes sense");
        assert!(agree(2_000_000_000, hz));
    }

    #[ktest]
    fn peer_108_measuring_ends_though_the_timer_stands_still_or_breaks() {
        assert_eq!(measure_within(&fake(0, 0), 1_000), None);
        let breaking = Fake {
            breaks_at: 500,
            ..fake(1, 0)
        };
        assert_eq!(measure_within(&breaking, 1_000_000), None);
    }

    #[ktest]
    fn counter_may_wrap_around_during_a_measurement() {
        // The end is 10 000 clocks later whether it wraps or not.
        let slow = fake(1, 0xffff - 100);
        let _ = measure_within(&slow, 1_000_000);
        let counted = slow.count.get() - (0xffff - 100);
        assert!((10_000..10_050).contains(&counted), "{counted}");
    }

    #[ktest]
    fn peer_108_one_timer_that_lies_is_outvoted() {
        let (right, wrong) = (2_000_000_000, 3_000_000_000);
        for opinions in [
            [("a", wrong), ("b", right), ("c", right)],
            [("a", right), ("b", wrong), ("c", right)],
            [("a", right), ("b", right), ("c", 1_000_000)],
        ] {
            assert_eq!(settle(&opinions), Some(right));
        }
        assert_eq!(settle(&[("a", right), ("b", wrong)]), Some(right));
        assert_eq!(settle(&[("a", right), ("b", 1)]), Some(right));
        assert_eq!(settle(&[("a", right)]), Some(right));
        assert_eq!(settle(&[]), None);
        assert!(agree(right, right + right / 200) && !agree(right, wrong));
    }
}
