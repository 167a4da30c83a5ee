//! A processor's ring of events, and its counts.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::Event;
use super::event::Packed;
use crate::arch::cpu;
use crate::trap_decode::PageFaultCode;

/// Events that are remembered; a power of two.
pub(super) const CAPACITY: usize = 256;

/// An event's place.
///
/// ```text
///  63         40 39           8 7    0
/// |       count of cycles             |  the stamp; zero while it is written
/// |      0      |    small     | kind |
/// |            first word             |
/// |            second word            |
/// ```
#[derive(Debug)]
struct Slot([AtomicU64; 4]);

const SLOT_SIZE: u64 = size_of::<Slot>() as u64;

/// What a processor remembers and has counted.
#[derive(Debug)]
pub(crate) struct Ring {
    slots: [Slot; CAPACITY],
    /// The number of the next event in bytes of slots, from which it is one step to its
    /// place.
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
    FaultCycles,
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
    pub(crate) const fn new() -> Self {
        Self {
            slots: [const { Slot([const { AtomicU64::new(0) }; 4]) }; CAPACITY],
            next: AtomicU64::new(0),
            counts: [const { AtomicU64::new(0) }; NR_COUNTS],
        }
    }

    #[inline(always)]
    fn slot(&self, number: u64) -> &Slot {
        &self.slots[number as usize % CAPACITY]
    }

    /// Records an event in place of the oldest; on the processor whose ring it is, at a
    /// count of cycles of its own, which is not zero.
    #[inline(always)]
    pub(super) fn record(&self, cycles: u64, event: Event) {
        let Packed { kind, small, words } = event.pack();
        // Whoever interrupts this takes another number.
        let number = cpu::fetch_add_here(&self.next, SLOT_SIZE) / SLOT_SIZE;
        let Slot([stamp, what, first, second]) = self.slot(number);
        stamp.store(0, Ordering::Relaxed);
        // Release: who reads one of the words below sees that the stamp was zero.
        fence(Ordering::Release);
        what.store(u64::from(small) << 8 | u64::from(kind), Ordering::Relaxed);
        first.store(words[0], Ordering::Relaxed);
        second.store(words[1], Ordering::Relaxed);
        // Release: who reads the stamp sees the words.
        stamp.store(cycles, Ordering::Release);
    }

    /// Returns what is in the slot of an event, with the count of cycles, unless it is
    /// being written.
    pub(super) fn get(&self, number: u64) -> Option<(u64, Event)> {
        let Slot([stamp, what, first, second]) = self.slot(number);
        // Acquire: pairs with the stamp's store.
        let cycles = stamp.load(Ordering::Acquire);
        let [what, first, second] = [what, first, second].map(|word| word.load(Ordering::Relaxed));
        // Acquire: pairs with the fence of whoever has written one of the words since.
        fence(Ordering::Acquire);
        let is_whole = cycles != 0 && stamp.load(Ordering::Relaxed) == cycles;
        let packed = Packed {
            kind: what as u8,
            small: (what >> 8) as u32,
            words: [first, second],
        };
        let event = is_whole.then(|| Event::unpack(packed))?;
        event.map(|event| (cycles, event))
    }

    /// Returns the numbers of the events that may still be there.
    pub(super) fn numbers(&self) -> Range<u64> {
        // Relaxed: `get` looks at each.
        let next = self.next.load(Ordering::Relaxed) / SLOT_SIZE;
        next.saturating_sub(CAPACITY as u64)..next
    }

    /// Returns a count.
    pub(super) fn nr(&self, count: Count) -> u64 {
        // Relaxed: counts.
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    /// Counts an event; on the processor whose ring it is.
    pub(super) fn count(&self, event: &Event) {
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
                add(Count::FaultCycles, *took);
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
