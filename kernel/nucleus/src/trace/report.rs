//! What the rings hold, in lines of text.

use core::fmt::{self, Write};
use core::ops::Range;

use super::event::{Clock, Told};
use super::ring::{Count, Ring};
use super::{Event, counted};
use crate::arch::cpu;
use crate::console;
use crate::cpu::MAX_CPUS;

/// Events that a panic's report ends with: few enough for the cause to stay on a screen of
/// fifty rows.
pub(super) const LATEST: usize = 16;

/// Prints the last events of all processors in the order of their times. Takes no lock but
/// the console's.
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
    write_latest(out, rings(), Clock::MACHINE, LATEST)
}

/// Prints what was counted, if anything was to be.
pub fn print_summary() {
    if !counted().is_empty() {
        // As above.
        let _ = write_summary(&mut console::Printer, rings, Clock::MACHINE);
    }
}

/// Returns the rings of all processors, by their numbers.
fn rings() -> impl Iterator<Item = &'static Ring> {
    cpu::all().map(|cpu| &cpu.events)
}

/// Writes the last events of rings, at most so many of them.
pub(super) fn write_latest<'a>(
    out: &mut impl Write,
    rings: impl Iterator<Item = &'a Ring>,
    clock: Clock,
    most: usize,
) -> fmt::Result {
    let merged = Merged::new(rings);
    let nr_events = merged.clone().count();
    if nr_events == 0 {
        return Ok(());
    }
    let shown = nr_events.min(most);
    writeln!(out, "the last {shown} events of {nr_events}:")?;
    for (cycles, cpu, event) in merged.skip(nr_events - shown) {
        out.write_str("  ")?;
        clock.tell_when(out, cycles)?;
        writeln!(out, " cpu {cpu}: {}", Told(event, clock))?;
    }
    Ok(())
}

/// The events of several rings in the order of their times, with the rings' numbers.
///
/// Rings that are written meanwhile lose events, and the order is as good as the
/// processors' counts of cycles agree.
#[derive(Clone)]
struct Merged<'a> {
    rings: [Option<&'a Ring>; MAX_CPUS],
    rest: [Range<u64>; MAX_CPUS],
}

impl<'a> Merged<'a> {
    fn new(rings: impl Iterator<Item = &'a Ring>) -> Self {
        let mut merged = Self {
            rings: [None; MAX_CPUS],
            rest: [const { 0..0 }; MAX_CPUS],
        };
        for (cpu, ring) in rings.take(MAX_CPUS).enumerate() {
            merged.rings[cpu] = Some(ring);
            merged.rest[cpu] = ring.numbers();
        }
        merged
    }

    /// Returns the oldest event of a ring that is left, without those that are gone.
    fn peek(&mut self, cpu: usize) -> Option<(u64, Event)> {
        let ring = self.rings[cpu]?;
        let rest = &mut self.rest[cpu];
        while !rest.is_empty() {
            let event = ring.get(rest.start);
            if event.is_some() {
                return event;
            }
            rest.start += 1;
        }
        None
    }
}

impl Iterator for Merged<'_> {
    /// A count of cycles, the ring, and the event.
    type Item = (u64, usize, Event);

    fn next(&mut self) -> Option<Self::Item> {
        let mut oldest: Option<Self::Item> = None;
        for cpu in 0..self.rings.len() {
            if let Some((cycles, event)) = self.peek(cpu)
                && oldest.is_none_or(|(before, ..)| cycles < before)
            {
                oldest = Some((cycles, cpu, event));
            }
        }
        if let Some((_, cpu, _)) = oldest {
            self.rest[cpu].start += 1;
        }
        oldest
    }
}

/// Writes the sums of what rings have counted.
pub(super) fn write_summary<'a, I: Iterator<Item = &'a Ring>>(
    out: &mut impl Write,
    rings: impl Fn() -> I,
    clock: Clock,
) -> fmt::Result {
    let sum = |count| rings().map(|ring| ring.nr(count)).sum::<u64>();
    let [user, kernel, resolved, refused, cycles] = [
        Count::UserFaults,
        Count::KernelFaults,
        Count::Resolved,
        Count::Refused,
        Count::FaultCycles,
    ]
    .map(sum);
    let ended = (resolved + refused).max(1);
    write!(
        out,
        "trace: faults: {user} of programs, {kernel} of the kernel in their memory; {resolved} \
         resolved, {refused} refused; "
    )?;
    clock.tell_length(out, cycles / ended)?;
    writeln!(out, " each")?;
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
