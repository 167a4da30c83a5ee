//! Rings of [blocks](super::trb) in memory that the controller reads or writes by itself
//! (xHCI 1.2, 4.9).
//!
//! Nobody tells the other side how far it is: each block has a **cycle bit**, which the
//! producer gives another value in each round. A block with the value of this round is
//! valid. It belongs to the consumer then, and the producer's is what follows.
//!
//! ```text
//!  round 0:  1 1 1 0 0 0 L        the consumer stops at the first 0
//!  round 1:  0 0 1 1 1 1 L        L, the link, leads back and has it toggled
//! ```
//!
//! **Order.** The word with the cycle bit is written last, after a release fence, and read
//! first, before an acquire fence; the other side of each is the device. On x86, where
//! stores are seen in their order and devices snoop, the fences only keep the compiler from
//! doing otherwise (SDM 3A, 9.2.2).

use core::sync::atomic::{Ordering, fence};

use super::trb::{self, CYCLE, Trb};
use crate::mm::dma::DmaCoherent;
use crate::mm::{PAGE_SIZE, VmIoOnce};

/// The word with the cycle bit.
const LAST_WORD: usize = 3 * size_of::<u32>();

/// A ring whose producer the driver is: of commands, or of transfers.
///
/// It does not count what the controller has not consumed yet: whoever uses it has fewer
/// under way than there are places.
#[derive(Debug)]
pub(super) struct ProducerRing {
    /// Where it is in its memory, in bytes.
    offset: usize,
    /// Places, with that of the link.
    nr_places: usize,
    next: usize,
    cycle: u32,
}

impl ProducerRing {
    /// Makes an empty one at an offset in memory that is zeroed there.
    pub(super) fn new(memory: &DmaCoherent, offset: usize, nr_places: usize) -> Self {
        let ring = Self {
            offset,
            nr_places,
            next: 0,
            cycle: CYCLE,
        };
        let link = Trb::link(ring.start(memory));
        ring.write_body(memory, nr_places - 1, link);
        ring
    }

    /// Returns the address of its first place.
    pub(super) fn start(&self, memory: &DmaCoherent) -> u64 {
        self.address(memory, 0)
    }

    /// Returns where it goes on, with the cycle bit there in the lowest bit.
    pub(super) fn position(&self, memory: &DmaCoherent) -> u64 {
        self.address(memory, self.next) | u64::from(self.cycle)
    }

    /// Adds a block; returns its address.
    pub(super) fn push(&mut self, memory: &DmaCoherent, block: Trb) -> u64 {
        let address = self.address(memory, self.next);
        self.publish(memory, self.next, block);
        self.next += 1;
        if self.next == self.nr_places - 1 {
            // The link becomes valid for this round; the next one has the other bit.
            let link = Trb::link(self.start(memory));
            self.publish(memory, self.next, link);
            self.next = 0;
            self.cycle ^= CYCLE;
        }
        address
    }

    fn address(&self, memory: &DmaCoherent, place: usize) -> u64 {
        (memory.daddr() + self.offset + place * trb::SIZE) as u64
    }

    fn publish(&self, memory: &DmaCoherent, place: usize, block: Trb) {
        self.write_body(memory, place, block);
        fence(Ordering::Release);
        let last = block.0[3] & !CYCLE | self.cycle;
        write(memory, self.offset + place * trb::SIZE + LAST_WORD, last);
    }

    /// Writes all but the last word.
    fn write_body(&self, memory: &DmaCoherent, place: usize, block: Trb) {
        let start = self.offset + place * trb::SIZE;
        for (index, word) in block.0.iter().take(3).enumerate() {
            write(memory, start + index * size_of::<u32>(), *word);
        }
    }
}

/// The ring of events, a page, whose consumer the driver is. It has no link.
#[derive(Debug)]
pub(super) struct EventRing {
    memory: DmaCoherent,
    next: usize,
    cycle: u32,
}

impl EventRing {
    /// Places of it.
    pub(super) const NR_PLACES: usize = PAGE_SIZE / trb::SIZE;

    /// Makes one of a page that is zeroed.
    pub(super) fn new(memory: DmaCoherent) -> Self {
        Self {
            memory,
            next: 0,
            cycle: CYCLE,
        }
    }

    /// Returns the address of its first place.
    pub(super) fn start(&self) -> u64 {
        self.memory.daddr() as u64
    }

    /// Returns the address of the next event.
    pub(super) fn position(&self) -> u64 {
        self.start() + (self.next * trb::SIZE) as u64
    }

    /// Takes the next event, if there is one.
    pub(super) fn pop(&mut self) -> Option<Trb> {
        let start = self.next * trb::SIZE;
        let last = read(&self.memory, start + LAST_WORD);
        if last & CYCLE != self.cycle {
            return None;
        }
        fence(Ordering::Acquire);
        let word = |index: usize| read(&self.memory, start + index * size_of::<u32>());
        let block = Trb([word(0), word(1), word(2), last]);
        self.next += 1;
        if self.next == Self::NR_PLACES {
            self.next = 0;
            self.cycle ^= CYCLE;
        }
        Some(block)
    }
}

/// Writes a word that the device may read at any time.
///
/// # Panics
///
/// Panics when it is not in the memory, whose layout is the driver's.
pub(super) fn write(memory: &DmaCoherent, offset: usize, word: u32) {
    memory
        .write_once(offset, &word)
        .expect("what the driver lays out is in its memory");
}

/// Writes two words that are an address, the lower one first.
pub(super) fn write_u64(memory: &DmaCoherent, offset: usize, value: u64) {
    write(memory, offset, value as u32);
    write(memory, offset + size_of::<u32>(), (value >> 32) as u32);
}

/// Reads a word that the device may write at any time.
///
/// # Panics
///
/// As [`write()`].
pub(super) fn read(memory: &DmaCoherent, offset: usize) -> u32 {
    memory
        .read_once(offset)
        .expect("what the driver lays out is in its memory")
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{EventRing, ProducerRing, read, write};
    use crate::mm::dma::DmaCoherent;
    use crate::prelude::*;
    use crate::usb::trb::{self, CYCLE, Trb};

    /// A ring's consumer, as the controller is one.
    struct Consumer {
        start: usize,
        next: usize,
        cycle: u32,
    }

    impl Consumer {
        fn pop(&mut self, memory: &DmaCoherent) -> Option<Trb> {
            loop {
                let words = [0, 4, 8, 12].map(|word| read(memory, self.next + word));
                if words[3] & CYCLE != self.cycle {
                    return None;
                }
                if words[3] >> 10 & 0x3f != 6 {
                    self.next += trb::SIZE;
                    return Some(Trb([words[0], words[1], words[2], words[3] & !CYCLE]));
                }
                assert_eq!(words[0] as usize, memory.daddr() + self.start);
                assert_eq!(words[3] & 2, 2, "the link toggles the bit");
                (self.next, self.cycle) = (self.start, self.cycle ^ CYCLE);
            }
        }
    }

    #[ktest]
    fn blocks_come_out_of_a_ring_as_they_went_in_round_after_round() {
        const START: usize = 512;
        let memory = DmaCoherent::alloc(1).expect("enough memory");
        let mut ring = ProducerRing::new(&memory, START, 4);
        let mut consumer = Consumer {
            start: START,
            next: START,
            cycle: CYCLE,
        };
        assert_eq!(consumer.pop(&memory), None);
        for round in 0..20 {
            let blocks = [round, round + 100].map(|number| Trb::normal(number, 8));
            for block in blocks {
                let place = ring.position(&memory) & !1;
                assert_eq!(ring.push(&memory, block), place);
            }
            for block in blocks {
                assert_eq!(consumer.pop(&memory), Some(block), "round {round}");
            }
            assert_eq!(consumer.pop(&memory), None, "round {round}");
        }
    }

    #[ktest]
    fn ring_goes_on_where_it_says() {
        let memory = DmaCoherent::alloc(1).expect("enough memory");
        let mut ring = ProducerRing::new(&memory, 0, 3);
        let start = ring.start(&memory);
        let mut positions = alloc::vec::Vec::new();
        for _ in 0..5 {
            positions.push(ring.position(&memory) - start);
            ring.push(&memory, Trb::normal(0, 0));
        }
        assert_eq!(positions, [1, 17, 0, 16, 1]);
    }

    #[ktest]
    fn events_are_taken_once_however_often_the_ring_turns() {
        let memory = DmaCoherent::alloc(1).expect("enough memory");
        let mut ring = EventRing::new(memory);
        let mut cycle = CYCLE;
        for number in 0..3 * EventRing::NR_PLACES as u32 + 5 {
            assert_eq!(ring.pop(), None);
            let place = (ring.position() - ring.start()) as usize;
            write(&ring.memory, place, number);
            write(&ring.memory, place + 12, 34 << 10 | cycle);
            let event = ring.pop().expect("it was just written");
            assert_eq!(event.0[0], number);
            if place + trb::SIZE == crate::mm::PAGE_SIZE {
                cycle ^= CYCLE;
            }
        }
    }
}
