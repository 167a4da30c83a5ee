//! A processor's ring of events, and its counts.

use core::sync::atomic::{AtomicU64, Ordering, fence};
use core::time::Duration;

use super::Event;
use super::event::{Packed, SMALL_BITS};
use crate::trap_decode::PageFaultCode;

/// Events that are remembered; a power of two.
pub(super) const CAPACITY: usize = 256;

/// An event's place.
///
/// ```text
///  63              32 31           8 7    0
/// | number, plus one |    small     | kind |  header; zero while it is written
/// |              time, in ns               |
/// |               first word               |
/// |               second word              |
/// ```
#[derive(Debug)]
struct Slot([AtomicU64; 4]);

/// What a processor remembers and has counted.
#[derive(Debug)]
pub(super) struct Ring {
    slots: [Slot; CAPACITY],
    /// The number of the next event.
    next: AtomicU64,
    counts: [AtomicU64; NR_COUNTS],
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Count {
    UserFaults,
    KernelFaults,
    Resolved,
    Refused,
    FaultNanoseconds,
    /// Flushes of one page; the next ones are of up to 3, 7, 15 and more.
    FlushesOf1,
    FlushesOf3,
    FlushesOf7,
    FlushesOf15,
    FlushesOfMore,
    FlushesOfAll,
    Asked,
    Served,
    Switches,
}

pub(super) const NR_COUNTS: usize = Count::Switches as usize + 1;

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            slots: [const { Slot([const { AtomicU64::new(0) }; 4]) }; CAPACITY],
            next: AtomicU64::new(0),
            counts: [const { AtomicU64::new(0) }; NR_COUNTS],
        }
    }

    /// Records an event in place of the oldest.
    pub(super) fn record(&self, time: Duration, event: Event) {
        self.count(&event);
        let Packed { kind, small, words } = event.pack();
        // Relaxed: whoever interrupts this takes another number.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let Slot([header, when, first, second]) = &self.slots[number as usize % CAPACITY];
        header.store(0, Ordering::Relaxed);
        // Release: who reads one of the words below sees that the header was zero.
        fence(Ordering::Release);
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        when.store(time_ns, Ordering::Relaxed);
        first.store(words[0], Ordering::Relaxed);
        second.store(words[1], Ordering::Relaxed);
        let name = tag(number) << 32 | u64::from(small) << 8 | u64::from(kind);
        // Release: who reads the header sees the words.
        header.store(name, Ordering::Release);
    }

    /// Returns an event by its number, with its time, unless it is gone or being
    /// written.
    pub(super) fn get(&self, number: u64) -> Option<(Duration, Event)> {
        let Slot([header, when, first, second]) = &self.slots[number as usize % CAPACITY];
        // Acquire: pairs with the header's store.
        let before = header.load(Ordering::Acquire);
        let words = [first, second].map(|word| word.load(Ordering::Relaxed));
        let time = Duration::from_nanos(when.load(Ordering::Relaxed));
        // Acquire: pairs with the fence of whoever has written one of the words since.
        fence(Ordering::Acquire);
        let is_whole = header.load(Ordering::Relaxed) == before && before >> 32 == tag(number);
        let packed = Packed {
            kind: before as u8,
            small: (before >> 8) as u32 & ((1 << SMALL_BITS) - 1),
            words,
        };
        let event = is_whole.then(|| Event::unpack(packed))?;
        event.map(|event| (time, event))
    }

    /// Returns the numbers of the events that may still be there.
    pub(super) fn numbers(&self) -> core::ops::Range<u64> {
        // Relaxed: `get` looks at each.
        let next = self.next.load(Ordering::Relaxed);
        next.saturating_sub(CAPACITY as u64)..next
    }

    /// Returns a count.
    pub(super) fn nr(&self, count: Count) -> u64 {
        // Relaxed: counts.
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    fn count(&self, event: &Event) {
        // Relaxed: counts.
        let add = |count: Count, n| self.counts[count as usize].fetch_add(n, Ordering::Relaxed);
        match event {
            Event::Fault { code, .. } if code.contains(PageFaultCode::USER) => {
                add(Count::UserFaults, 1)
            }
            Event::Fault { .. } => add(Count::KernelFaults, 1),
            Event::FaultEnd {
                took, is_resolved, ..
            } => {
                add(Count::FaultNanoseconds, took.as_nanos() as u64);
                add(
                    if *is_resolved {
                        Count::Resolved
                    } else {
                        Count::Refused
                    },
                    1,
                )
            }
            Event::Flush {
                pages, nr_asked, ..
            } => {
                add(Count::Asked, u64::from(*nr_asked));
                add(by_size(*pages), 1)
            }
            Event::Served { .. } => add(Count::Served, 1),
            Event::Switch { .. } => add(Count::Switches, 1),
        };
    }
}

/// Returns what a slot's header has of an event's number; never zero for an event that
/// was recorded, but for one in four thousand million.
fn tag(number: u64) -> u64 {
    number.wrapping_add(1) & 0xffff_ffff
}

/// Returns which count of flushes is for so many pages.
fn by_size(pages: u16) -> Count {
    match pages {
        0 => Count::FlushesOfAll,
        1 => Count::FlushesOf1,
        2..=3 => Count::FlushesOf3,
        4..=7 => Count::FlushesOf7,
        8..=15 => Count::FlushesOf15,
        16.. => Count::FlushesOfMore,
    }
}
