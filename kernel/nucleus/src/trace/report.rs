//! What the rings hold, in lines of text.

use core::fmt::{self, Write};
use core::ops::Range;
use core::time::Duration;

use super::ring::{Count, Ring};
use super::{Event, RINGS, groups};
use crate::console;
use crate::cpu::MAX_CPUS;

/// Events that a panic's report ends with.
pub(super) const LATEST: usize = 24;

/// Prints the last events of all processors in the order of their times, if there are
/// some. Takes no lock but the console's.
pub fn print_latest() {
    // The console's writer does not fail.
    let _ = write_latest_events(&mut console::Printer);
}

/// Writes what [`print_latest`] prints, and takes no lock.
///
/// # Errors
///
/// Those of `out`.
pub(crate) fn write_latest_events(out: &mut impl Write) -> fmt::Result {
    let rings = RINGS.get().map_or(&[][..], |rings| rings);
    write_latest(out, rings, LATEST)
}

/// Prints what was counted, if anything was to be.
pub fn print_summary() {
    if groups().is_empty() {
        return;
    }
    let rings = RINGS.get().map_or(&[][..], |rings| rings);
    // As above.
    let _ = write_summary(&mut console::Printer, rings);
}

/// Writes the last events of rings, at most so many of them.
pub(super) fn write_latest(out: &mut impl Write, rings: &[Ring], most: usize) -> fmt::Result {
    let mut merged = Merged::new(rings);
    let nr_events = Merged::new(rings).count();
    if nr_events == 0 {
        return Ok(());
    }
    let shown = nr_events.min(most);
    writeln!(out, "the last {shown} events of {nr_events}:")?;
    for (time, cpu, event) in merged.by_ref().skip(nr_events - shown) {
        let (seconds, micros) = (time.as_secs(), time.subsec_micros());
        writeln!(out, "  [{seconds:5}.{micros:06}] cpu {cpu}: {event}")?;
    }
    Ok(())
}

/// The events of several rings in the order of their times, with the rings' numbers.
///
/// Rings that are written meanwhile lose events, and the order is as good as the clock.
struct Merged<'a> {
    rings: &'a [Ring],
    rest: [Range<u64>; MAX_CPUS],
}

impl<'a> Merged<'a> {
    fn new(rings: &'a [Ring]) -> Self {
        let rings = &rings[..rings.len().min(MAX_CPUS)];
        let mut rest = [const { 0..0 }; MAX_CPUS];
        for (rest, ring) in rest.iter_mut().zip(rings) {
            *rest = ring.numbers();
        }
        Self { rings, rest }
    }

    /// Returns the oldest event of a ring that is left, without those that are gone.
    fn peek(&mut self, cpu: usize) -> Option<(Duration, Event)> {
        let rest = &mut self.rest[cpu];
        while !rest.is_empty() {
            let event = self.rings[cpu].get(rest.start);
            if event.is_some() {
                return event;
            }
            rest.start += 1;
        }
        None
    }
}

impl Iterator for Merged<'_> {
    type Item = (Duration, usize, Event);

    fn next(&mut self) -> Option<Self::Item> {
        let mut oldest: Option<Self::Item> = None;
        for cpu in 0..self.rings.len() {
            if let Some((time, event)) = self.peek(cpu)
                && oldest.is_none_or(|(before, ..)| time < before)
            {
                oldest = Some((time, cpu, event));
            }
        }
        if let Some((_, cpu, _)) = oldest {
            self.rest[cpu].start += 1;
        }
        oldest
    }
}

/// Writes the sums of what rings have counted.
pub(super) fn write_summary(out: &mut impl Write, rings: &[Ring]) -> fmt::Result {
    let sum = |count| rings.iter().map(|ring| ring.nr(count)).sum::<u64>();
    let [user, kernel, resolved, refused, took_ns] = [
        Count::UserFaults,
        Count::KernelFaults,
        Count::Resolved,
        Count::Refused,
        Count::FaultNanoseconds,
    ]
    .map(sum);
    let ended = (resolved + refused).max(1);
    writeln!(
        out,
        "trace: faults: {user} of programs, {kernel} of the kernel in their memory; {resolved} \
         resolved, {refused} refused; {} ns each",
        took_ns / ended
    )?;
    let sizes = [
        ("1", Count::FlushesOf1),
        ("2-3", Count::FlushesOf3),
        ("4-7", Count::FlushesOf7),
        ("8-15", Count::FlushesOf15),
        ("16 and more", Count::FlushesOfMore),
        ("all", Count::FlushesOfAll),
    ];
    write!(out, "trace: flushes by pages:")?;
    for (size, count) in sizes {
        write!(out, " {size}: {};", sum(count))?;
    }
    let [asked, served, switches] = [Count::Asked, Count::Served, Count::Switches].map(sum);
    writeln!(out, " {asked} requests to others, {served} times served")?;
    writeln!(out, "trace: switches of tasks: {switches}")
}
