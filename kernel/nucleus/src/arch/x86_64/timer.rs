//! Time: a tick on each processor, and a clock by the time-stamp counter.
//!
//! | what | by |
//! |---|---|
//! | the clock | the time-stamp counter, [measured](super::calibration) at start-up |
//! | the tick | each processor's [own timer](super::apic::LocalTimer) |
//! | the tick where there is none | the [interval timer](super::pit), on the boot processor alone |
//!
//! A machine on which nothing can be measured boots all the same, only without a
//! clock: [`uptime`] then counts the boot processor's ticks.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use spin::Once;

use super::apic::{self, LocalTimer};
use super::calibration::{self, MAX_OPINIONS, Opinion, Reference};
use super::hpet::Hpet;
use super::{cpu, lines, pit, tsc};
use crate::boot::platform::PmTimer;
use crate::console;
use crate::cpu::CpuId;
use crate::task::{self, Origin};
use crate::usb;

/// Ticks a second, on each processor.
pub(crate) const TICKS_PER_SECOND: u32 = 100;

/// The time from tick to tick.
pub(crate) const TICK: Duration = Duration::from_nanos(1_000_000_000 / TICKS_PER_SECOND as u64);

/// Times that the interval timer may fail, as an emulator's does when a pause of
/// the emulator outlasts it.
const PIT_ATTEMPTS: usize = 3;

/// The boot processor's ticks.
static TICKS: AtomicU64 = AtomicU64::new(0);
static TSC_AT_START: AtomicU64 = AtomicU64::new(0);
/// Frequency of the time-stamp counter, or zero when it is not known.
static TSC_HZ: AtomicU64 = AtomicU64::new(0);
/// The [`Scale`] of that frequency, or zero likewise.
static SCALE: AtomicU64 = AtomicU64::new(0);
/// How all processors tick, if they tick by themselves.
static LOCAL_TIMER: Once<LocalTimer> = Once::new();

/// Starts the clock, if there is anything to measure it by.
pub(crate) fn init_clock(hpet: Option<Hpet>, pm_timer: Option<PmTimer>) {
    // Relaxed, here and below: each is one word that stands alone, written at
    // start-up by the only processor.
    TSC_AT_START.store(calibration::read_tsc(), Ordering::Relaxed);
    let candidates = [
        hpet.as_ref().and_then(opinion),
        pm_timer.as_ref().and_then(opinion),
        opinion_of_the_interval_timer(),
    ];
    let mut opinions = [("", 0); MAX_OPINIONS];
    let mut len = 0;
    for opinion in candidates.into_iter().flatten() {
        opinions[len] = opinion;
        len += 1;
    }
    let measured = settle(&opinions[..len]);
    let hz = measured.or_else(calibration::hz_by_cpuid);
    TSC_HZ.store(hz.unwrap_or(0), Ordering::Relaxed);
    SCALE.store(hz.map_or(0, |hz| Scale::of(hz).0), Ordering::Relaxed);
    let who = if measured.is_some() {
        "timers"
    } else {
        "cpuid"
    };
    match hz {
        Some(hz) => log::info!("clock: {} kHz, by {len} {who}", hz / 1000),
        None => log::warn!("clock: nothing to measure time by; counting ticks"),
    }
}

fn opinion(reference: &impl Reference) -> Option<Opinion> {
    let hz = calibration::measure(reference);
    if hz.is_none() {
        doubt(reference.name());
    }
    hz.map(|hz| (reference.name(), hz))
}

fn opinion_of_the_interval_timer() -> Option<Opinion> {
    let mut attempts = (0..PIT_ATTEMPTS).map(|_| calibration::measure(&pit::Countdown::start()));
    let hz = attempts.find_map(|hz| hz);
    if hz.is_none() {
        doubt(pit::NAME);
    }
    hz.map(|hz| (pit::NAME, hz))
}

fn doubt(name: &str) {
    log::warn!("clock: the {name} says nothing sane");
}

/// Decides what the frequency is, and says who disagrees.
fn settle(opinions: &[Opinion]) -> Option<u64> {
    let settled = calibration::settle(opinions)?;
    for (name, hz) in opinions {
        log::debug!("clock: {} kHz by the {name}", hz / 1000);
        if !calibration::agree(settled, *hz) {
            log::warn!(
                "clock: the {name} says {} kHz and not {}; it is not believed",
                hz / 1000,
                settled / 1000
            );
        }
    }
    Some(settled)
}

/// Starts the boot processor's tick; interrupts are off.
pub(crate) fn init_tick() {
    if let Some(timer) = LocalTimer::find(tsc_hz(), TICKS_PER_SECOND) {
        log::info!("tick: {timer}, {TICKS_PER_SECOND} a second");
        LOCAL_TIMER.call_once(|| timer);
        init_local();
    } else {
        log::info!("tick: interval timer, {TICKS_PER_SECOND} a second");
        pit::start_tick(TICKS_PER_SECOND);
        lines::unmask(lines::TIMER);
    }
}

/// Starts the tick of the processor that asks, if processors tick by themselves;
/// after [`apic::init_local`], with interrupts off.
pub(crate) fn init_local() {
    if let Some(timer) = LOCAL_TIMER.get() {
        timer.start();
    }
}

/// Handles the interrupt of this processor's own timer. May not return here.
pub(super) fn on_local_tick(origin: Origin) {
    apic::end_of_interrupt();
    if let Some(timer) = LOCAL_TIMER.get() {
        timer.go_on();
        tick(origin);
    }
}

/// Handles the interrupt of the interval timer, which was acknowledged. May not
/// return here.
pub(super) fn on_line_tick(origin: Origin) {
    // Whoever else started the timer, for example firmware, is not meant.
    if LOCAL_TIMER.get().is_none() {
        tick(origin);
    }
}

fn tick(origin: Origin) {
    if cpu::current_id() == CpuId::bsp() {
        // Relaxed: a count that orders nothing.
        TICKS.fetch_add(1, Ordering::Relaxed);
        usb::on_tick();
        console::on_tick();
        console::requests::perform();
    }
    task::on_tick(origin);
}

/// Returns the time since start-up, which never goes back, on any processor.
///
/// Callable in any context; it takes no lock.
pub fn uptime() -> Duration {
    let Some(scale) = scale() else {
        // Relaxed: a count.
        return Duration::from_secs(TICKS.load(Ordering::Relaxed)) / TICKS_PER_SECOND;
    };
    // Relaxed: written by the only processor that there was.
    let start = TSC_AT_START.load(Ordering::Relaxed);
    scale.time_of(tsc::read_monotonic().saturating_sub(start))
}

/// Looks at the clock at most, which may stand still where interrupts are off: some
/// seconds.
const MAX_LOOKS: u32 = 100_000_000;

/// Waits until something is so, for some time at most; returns whether it is.
///
/// Callable in any context. A count of looks alone is no measure of time: where the
/// processors are threads of a busy host, one may look millions of times while another
/// one stands still.
pub(crate) fn wait_at_most(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = uptime().saturating_add(limit);
    for _ in 0..MAX_LOOKS {
        // The clock first: what is so when the time has come is seen.
        let is_late = uptime() >= end;
        if is_so() {
            return true;
        }
        if is_late {
            break;
        }
        core::hint::spin_loop();
    }
    false
}

/// Returns a count of this processor that goes up with time, and is never zero. Cheap: one
/// instruction, which may be done before what comes before it.
#[inline(always)]
pub(crate) fn cycles() -> u64 {
    calibration::read_tsc()
}

/// Returns how long so many cycles take, if that is known.
pub(crate) fn time_of(cycles: u64) -> Option<Duration> {
    scale().map(|scale| scale.time_of(cycles))
}

/// Returns the time since start-up at such a count, if that is known: as good as the
/// counts of the processors agree. What was before the clock is at its start.
pub(crate) fn uptime_at(cycles: u64) -> Option<Duration> {
    // Relaxed: as in `uptime`.
    let start = TSC_AT_START.load(Ordering::Relaxed);
    time_of(cycles.saturating_sub(start))
}

/// What a cycle takes, in nanoseconds, times 2³²: a multiplication instead of a division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale(u64);

impl Scale {
    /// Returns that of a frequency, which is at least 1 MHz.
    fn of(hz: u64) -> Self {
        Self((1_000_000_000 << 32) / hz)
    }

    /// Returns how long so many cycles take: short of the truth by a billionth of it.
    fn time_of(self, cycles: u64) -> Duration {
        let nanos = (u128::from(cycles) * u128::from(self.0)) >> 32;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn scale() -> Option<Scale> {
    // Relaxed: as in `init_clock`.
    Some(SCALE.load(Ordering::Relaxed))
        .filter(|scale| *scale > 0)
        .map(Scale)
}

fn tsc_hz() -> Option<u64> {
    // Relaxed: as in `init_clock`.
    Some(TSC_HZ.load(Ordering::Relaxed)).filter(|hz| *hz > 0)
}

/// Returns whether each processor ticks by itself, and not the boot processor alone.
pub(crate) fn is_local() -> bool {
    LOCAL_TIMER.get().is_some()
}

/// Returns the number of the boot processor's ticks so far.
#[cfg(ktest)]
pub(crate) fn ticks() -> u64 {
    // Relaxed: a count.
    TICKS.load(Ordering::Relaxed)
}

#[cfg(ktest)]
mod tests {
    use super::{
        Duration, LOCAL_TIMER, Opinion, Ordering, SCALE, Scale, TICKS_PER_SECOND, TSC_HZ,
        calibration, opinion_of_the_interval_timer, ticks, uptime, wait_at_most,
    };
    use core::sync::atomic::{AtomicBool, AtomicU64};

    use crate::arch::x86_64::{apic, cmos};
    use crate::boot::platform;
    use crate::cpu::CpuSet;
    use crate::prelude::*;
    use crate::time::since_epoch;

    #[ktest]
    fn interval_timer_measures_what_start_up_did() {
        let mut attempts = (0..3).filter_map(|_| opinion_of_the_interval_timer());
        let expected = TSC_HZ.load(Ordering::Relaxed);
        let agrees = |(_, hz): Opinion| calibration::agree(expected, hz);
        assert!(attempts.any(agrees));
    }

    #[ktest]
    fn peer_108_without_a_frequency_time_is_counted_in_ticks() {
        let scale = SCALE.swap(0, Ordering::Relaxed);
        let before = ticks();
        let time = uptime();
        let after = ticks();
        SCALE.store(scale, Ordering::Relaxed);
        let of = |ticks| Duration::from_secs(ticks) / TICKS_PER_SECOND;
        assert!((of(before)..=of(after)).contains(&time));
    }

    #[ktest]
    fn waiting_ends_when_it_is_so_or_when_it_is_time() {
        let (start, soon) = (uptime(), Duration::from_millis(3));
        assert!(!wait_at_most(soon, || false));
        assert!(uptime() - start >= soon);
        assert!(!wait_at_most(Duration::ZERO, || false));
        // However late it is.
        assert!(wait_at_most(Duration::ZERO, || true));
        assert!(wait_at_most(Duration::MAX, || uptime() - start > soon * 2));
    }

    #[ktest]
    fn cycles_become_time_at_any_plausible_frequency() {
        for hz in [1_000_000, 999_999_937, 2_500_000_000, 20_000_000_000] {
            let hour = Scale::of(hz).time_of(hz * 3600);
            let error = Duration::from_secs(3600).saturating_sub(hour);
            assert!(hour <= Duration::from_secs(3600) && error < Duration::from_micros(50));
            let _no_overflow = Scale::of(hz).time_of(u64::MAX);
        }
    }

    #[ktest]
    fn smp_clock_does_not_go_back_from_processor_to_processor() {
        use crate::smp::inter_processor_call_and_wait;
        static LAST_NS: AtomicU64 = AtomicU64::new(0);
        static WENT_BACK: AtomicBool = AtomicBool::new(false);
        fn look() {
            for _ in 0..1000 {
                let before = LAST_NS.load(Ordering::Acquire);
                let now = uptime().as_nanos() as u64;
                if now < before {
                    WENT_BACK.store(true, Ordering::Relaxed);
                }
                LAST_NS.fetch_max(now, Ordering::AcqRel);
            }
        }
        LAST_NS.store(0, Ordering::Release);
        inter_processor_call_and_wait(&CpuSet::new_full(), look);
        assert!(!WENT_BACK.load(Ordering::Relaxed));
    }

    #[ktest]
    fn calendar_is_about_where_the_battery_backed_clock_stands() {
        let Some(date) = platform::get().calendar_clock.and_then(cmos::read) else {
            crate::ktest::skip("the machine has no such clock");
        };
        let apart = since_epoch().abs_diff(date.since_epoch());
        assert!(apart < Duration::from_secs(60), "by {apart:?}");
    }

    #[ktest]
    fn processors_tick_by_themselves_where_there_is_an_apic() {
        assert_eq!(LOCAL_TIMER.get().is_some(), apic::is_available());
    }
}
