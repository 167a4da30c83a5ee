//! What a controller is told of devices and endpoints (xHCI 1.2, 6.2): contexts, of 32 or
//! 64 bytes as the controller has it, of which 20 are used.
//!
//! ```text
//!  input context:   0 which ones count │ 1 slot │ 2 endpoint 1 │ 3 endpoint 2 │ …
//!  device context:                       0 slot │ 1 endpoint 1 │ …
//! ```
//!
//! Endpoints are counted by 1 for the one of control, and 2n + 1 for endpoint n at which
//! the device speaks.

use core::fmt;

use super::descriptor::{Endpoint, Hub};
use super::ring;
use crate::mm::dma::DmaCoherent;

/// The number of the endpoint of control.
pub(super) const CONTROL: u8 = 1;
/// Contexts of an input context.
const NR_CONTEXTS: usize = 33;
/// Bytes of an input context at most.
pub(super) const INPUT_SIZE: usize = NR_CONTEXTS * 64;

/// How fast a device is: the numbers that ports show (xHCI 1.2, 7.2.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Speed(pub(super) u8);

impl Speed {
    pub(super) const FULL: Self = Self(1);
    pub(super) const LOW: Self = Self(2);
    pub(super) const HIGH: Self = Self(3);

    /// Returns whether it is one of USB 3.
    pub(super) const fn is_super(self) -> bool {
        self.0 > Self::HIGH.0
    }

    /// Returns whether a hub of high speed has to translate for it.
    pub(super) const fn is_slow(self) -> bool {
        self.0 < Self::HIGH.0
    }

    /// Returns the packet size of control that is presumed until the device has told its
    /// own.
    pub(super) const fn first_packet_size(self) -> u16 {
        match self {
            Self::LOW => 8,
            Self::FULL | Self::HIGH => 64,
            _ => 512,
        }
    }

    /// Returns the packet size of control that a device means by what it says; `None` for
    /// one that there is not.
    pub(super) const fn packet_size(self, said: u8) -> Option<u16> {
        match (self, said) {
            (Self::LOW, 8) => Some(8),
            (Self::FULL, 8 | 16 | 32 | 64) | (Self::HIGH, 64) => Some(said as u16),
            (speed, 9) if speed.is_super() => Some(512),
            _ => None,
        }
    }

    /// Returns how often an interrupt endpoint is asked: each 2ⁿ times 125 µs (xHCI 1.2,
    /// table 6-12). Slow devices say it in milliseconds, others as n + 1.
    pub(super) fn interval(self, said: u8) -> u8 {
        let said = said.max(1);
        if self.is_slow() {
            let microframes = u32::from(said) * 8;
            (microframes.ilog2() as u8).clamp(3, 10)
        } else {
            (said - 1).min(15)
        }
    }
}

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The controller's port, counted from 1.
    pub(super) root_port: u8,
    /// The ports of the hubs on the way, 4 bits each, the nearest one in the lowest.
    pub(super) route: u32,
    /// How many hubs are on the way.
    pub(super) depth: u8,
    /// The last of them, by its slot, and the port there.
    pub(super) parent: Option<(u8, u8)>,
    /// The hub that translates for slow devices, and the port there.
    pub(super) translator: Option<(u8, u8)>,
}

impl Place {
    /// Most hubs on the way to a device (USB 2.0, 4.1.1).
    pub(super) const MAX_DEPTH: u8 = 5;

    /// Returns that of a port of the controller.
    pub(super) const fn root(root_port: u8) -> Self {
        Self {
            root_port,
            route: 0,
            depth: 0,
            parent: None,
            translator: None,
        }
    }

    /// Returns that of a port of a hub which is here itself; `None` behind too many hubs.
    pub(super) fn behind(&self, slot: u8, speed: Speed, port: u8) -> Option<Self> {
        if self.depth >= Self::MAX_DEPTH {
            return None;
        }
        let nibble = u32::from(port.min(Hub::MAX_PORTS));
        let translator = if speed == Speed::HIGH {
            Some((slot, port))
        } else {
            self.translator
        };
        Some(Self {
            root_port: self.root_port,
            route: self.route | nibble << (4 * self.depth),
            depth: self.depth + 1,
            parent: Some((slot, port)),
            translator,
        })
    }
}

impl fmt::Display for Place {
    /// The ports on the way: `3.1` is port 1 of a hub on the controller's port 3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root_port)?;
        for hub in 0..self.depth {
            write!(f, ".{}", self.route >> (4 * hub) & 0xf)?;
        }
        Ok(())
    }
}

/// What a slot is told: which device it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) place: Place,
    pub(super) speed: Speed,
    /// The highest endpoint that is used.
    pub(super) last_endpoint: u8,
    pub(super) hub: Option<Hub>,
}

impl Slot {
    fn words(&self) -> [u32; 5] {
        let nr_ports = self.hub.map_or(0, |hub| u32::from(hub.nr_ports));
        let is_hub = u32::from(self.hub.is_some());
        let translator = self.place.translator.filter(|_| self.speed.is_slow());
        let (hub, port) = translator.unwrap_or_default();
        let think_time = self.hub.filter(|_| self.speed == Speed::HIGH);
        let think_time = think_time.map_or(0, |hub| u32::from(hub.think_time));
        [
            self.place.route
                | u32::from(self.speed.0) << 20
                | is_hub << 26
                | u32::from(self.last_endpoint) << 27,
            u32::from(self.place.root_port) << 16 | nr_ports << 24,
            u32::from(hub) | u32::from(port) << 8 | think_time << 16,
            0,
            0,
        ]
    }
}

/// Returns what the endpoint of control is told.
fn control_words(max_packet: u16, ring: u64) -> [u32; 5] {
    const CONTROL_TYPE: u32 = 4;
    const AVERAGE: u32 = 8;
    endpoint_words(CONTROL_TYPE, max_packet, 0, ring, AVERAGE)
}

/// Returns what an interrupt endpoint is told.
fn interrupt_words(endpoint: &Endpoint, speed: Speed, ring: u64) -> [u32; 5] {
    const INTERRUPT_IN: u32 = 7;
    let size = u32::from(endpoint.max_packet);
    let interval = speed.interval(endpoint.interval);
    // It sends up to a packet each time, and as a rule that.
    endpoint_words(
        INTERRUPT_IN,
        endpoint.max_packet,
        interval,
        ring,
        size << 16 | size,
    )
}

fn endpoint_words(kind: u32, max_packet: u16, interval: u8, ring: u64, sizes: u32) -> [u32; 5] {
    const THREE_ERRORS: u32 = 3 << 1;
    [
        u32::from(interval) << 16,
        THREE_ERRORS | kind << 3 | u32::from(max_packet) << 16,
        ring as u32,
        (ring >> 32) as u32,
        sizes,
    ]
}

/// Returns the number of an endpoint at which the device speaks.
pub(super) const fn number_of(endpoint: &Endpoint) -> u8 {
    2 * endpoint.number + 1
}

/// The input context, somewhere in memory.
#[derive(Debug)]
pub(super) struct Input<'a> {
    pub(super) memory: &'a DmaCoherent,
    /// Where it is, in bytes.
    pub(super) offset: usize,
    /// Bytes of a context.
    pub(super) context_size: usize,
}

impl Input<'_> {
    /// Returns the address that the controller is told.
    pub(super) fn address(&self) -> u64 {
        (self.memory.daddr() + self.offset) as u64
    }

    /// Says what a device is, and which size the packets of control have; `ring` is where
    /// their ring goes on.
    pub(super) fn write_device(&self, slot: &Slot, max_packet: u16, ring: u64) {
        self.begin(0b11);
        self.write(1, &slot.words());
        self.write(2, &control_words(max_packet, ring));
    }

    /// Says which size the packets of control have; nothing else changes.
    pub(super) fn write_packet_size(&self, max_packet: u16) {
        self.begin(0b10);
        self.write(2, &control_words(max_packet, 0));
    }

    /// Adds an interrupt endpoint to a device.
    pub(super) fn write_endpoint(&self, slot: &Slot, endpoint: &Endpoint, ring: u64) {
        let number = number_of(endpoint);
        self.begin(1 | 1 << number);
        self.write(1, &slot.words());
        let words = interrupt_words(endpoint, slot.speed, ring);
        self.write(usize::from(number) + 1, &words);
    }

    /// Clears it, and says which contexts count: one bit for each.
    fn begin(&self, added: u32) {
        let size = NR_CONTEXTS * self.context_size;
        for word in (0..size).step_by(size_of::<u32>()) {
            ring::write(self.memory, self.offset + word, 0);
        }
        ring::write(self.memory, self.offset + size_of::<u32>(), added);
    }

    fn write(&self, index: usize, words: &[u32]) {
        let start = self.offset + index * self.context_size;
        for (place, word) in words.iter().enumerate() {
            ring::write(self.memory, start + place * size_of::<u32>(), *word);
        }
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::string::ToString;

    use super::{Input, Place, Slot, Speed};
    use crate::mm::dma::DmaCoherent;
    use crate::prelude::*;
    use crate::usb::descriptor::{Endpoint, Hub};
    use crate::usb::ring::read;

    #[ktest]
    fn route_names_the_ports_on_the_way_and_has_an_end() {
        let mut place = Place::root(3);
        for (depth, port) in [2, 15, 1, 9, 4].into_iter().enumerate() {
            let behind = place.behind(1, Speed::HIGH, port).expect("few hubs");
            assert_eq!(
                (behind.root_port, usize::from(behind.depth)),
                (3, depth + 1)
            );
            place = behind;
        }
        assert_eq!(place.route, 0x491f2);
        assert_eq!(place.to_string(), "3.2.15.1.9.4");
        assert_eq!(place.behind(1, Speed::HIGH, 1), None);
    }

    #[ktest]
    fn slow_device_is_translated_for_by_the_nearest_fast_hub() {
        let fast = Place::root(1).behind(5, Speed::HIGH, 2).expect("few hubs");
        let slow = fast.behind(6, Speed::FULL, 3).expect("few hubs");
        assert_eq!(slow.translator, Some((5, 2)));
        assert_eq!(slow.parent, Some((6, 3)));
        let none = Place::root(1).behind(5, Speed::FULL, 2).expect("few hubs");
        assert_eq!(none.translator, None);
    }

    #[ktest]
    fn interval_is_no_longer_than_the_device_says() {
        for (speed, said, expected) in [
            (Speed::LOW, 10, 6),
            (Speed::FULL, 8, 6),
            (Speed::FULL, 1, 3),
            (Speed::FULL, 255, 10),
            (Speed::FULL, 0, 3),
            (Speed::HIGH, 4, 3),
            (Speed::HIGH, 0, 0),
            (Speed::HIGH, 255, 15),
        ] {
            assert_eq!(speed.interval(said), expected, "{speed:?} {said}");
        }
    }

    #[ktest]
    fn packet_sizes_that_there_are_not_are_refused() {
        for (speed, said, expected) in [
            (Speed::LOW, 8, Some(8)),
            (Speed::LOW, 64, None),
            (Speed::FULL, 16, Some(16)),
            (Speed::FULL, 0, None),
            (Speed::HIGH, 64, Some(64)),
            (Speed::HIGH, 8, None),
            (Speed(4), 9, Some(512)),
            (Speed(5), 64, None),
        ] {
            assert_eq!(speed.packet_size(said), expected, "{speed:?} {said}");
        }
    }

    #[ktest]
    fn contexts_are_where_the_controllers_size_puts_them() {
        let memory = DmaCoherent::alloc(1).expect("enough memory");
        let place = Place::root(4).behind(2, Speed::HIGH, 7).expect("few hubs");
        let slot = Slot {
            place,
            speed: Speed::LOW,
            last_endpoint: 3,
            hub: None,
        };
        let endpoint = Endpoint {
            number: 1,
            max_packet: 8,
            interval: 10,
        };
        for context_size in [32, 64] {
            let input = Input {
                memory: &memory,
                offset: 128,
                context_size,
            };
            input.write_endpoint(&slot, &endpoint, 0x1_0000_2001);
            let word = |context: usize, word: usize| {
                read(&memory, 128 + context * context_size + word * 4)
            };
            assert_eq!((word(0, 0), word(0, 1)), (0, 0b1001));
            let expected = [7 | 2 << 20 | 3 << 27, 4 << 16, 2 | 7 << 8];
            assert_eq!([0, 1, 2].map(|at| word(1, at)), expected);
            let expected = [6 << 16, 3 << 1 | 7 << 3 | 8 << 16, 0x2001, 1, 8 << 16 | 8];
            assert_eq!([0, 1, 2, 3, 4].map(|at| word(4, at)), expected);
            assert_eq!([0, 1, 2].map(|at| word(3, at)), [0; 3]);
        }
    }

    #[ktest]
    fn hub_says_its_ports_and_its_translators_time() {
        let memory = DmaCoherent::alloc(1).expect("enough memory");
        let input = Input {
            memory: &memory,
            offset: 0,
            context_size: 32,
        };
        let slot = Slot {
            place: Place::root(1),
            speed: Speed::HIGH,
            last_endpoint: 1,
            hub: Some(Hub {
                nr_ports: 4,
                think_time: 2,
                power_ms: 0,
            }),
        };
        input.write_device(&slot, 64, 1);
        let expected = [3 << 20 | 1 << 26 | 1 << 27, 1 << 16 | 4 << 24, 2 << 16];
        assert_eq!([32, 36, 40].map(|at| read(&memory, at)), expected);
    }
}
