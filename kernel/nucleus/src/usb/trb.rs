//! The words that an xHCI controller and its driver exchange (xHCI 1.2, 6.4): transfer
//! request blocks of 16 bytes.
//!
//! ```text
//!  word 0, 1   an address, or data
//!  word 2      a length; of events, how it ended in bits 31:24
//!  word 3      bit 0 cycle │ flags │ bits 15:10 type │ of what: slot in bits 31:24
//! ```
//!
//! The crate `xhci` has types of these, too. They refuse events in which a reserved bit is
//! set, which controllers are free to do, and know the size of contexts by a type and not
//! at run time; what is used here is small enough to have of our own.

use core::fmt;

/// Bytes of one.
pub(super) const SIZE: usize = 16;

/// The bit of the last word by which one is told from what was there before.
pub(super) const CYCLE: u32 = 1;
/// Of a link: the cycle bit is the other one behind it.
const TOGGLE_CYCLE: u32 = 1 << 1;
/// A packet that is shorter than asked for is told of.
const ON_SHORT: u32 = 1 << 2;
/// The end is told of.
const ON_COMPLETION: u32 = 1 << 5;
/// The data are in the block itself.
const IMMEDIATE: u32 = 1 << 6;
/// The device sends.
const IN: u32 = 1 << 16;

/// Types.
mod kind {
    pub(super) const NORMAL: u32 = 1;
    pub(super) const SETUP: u32 = 2;
    pub(super) const DATA: u32 = 3;
    pub(super) const STATUS: u32 = 4;
    pub(super) const LINK: u32 = 6;
    pub(super) const ENABLE_SLOT: u32 = 9;
    pub(super) const DISABLE_SLOT: u32 = 10;
    pub(super) const ADDRESS_DEVICE: u32 = 11;
    pub(super) const CONFIGURE_ENDPOINT: u32 = 12;
    pub(super) const EVALUATE_CONTEXT: u32 = 13;
    pub(super) const RESET_ENDPOINT: u32 = 14;
    pub(super) const SET_DEQUEUE: u32 = 16;
    pub(super) const TRANSFER_EVENT: u32 = 32;
    pub(super) const COMMAND_COMPLETION: u32 = 33;
    pub(super) const PORT_STATUS_CHANGE: u32 = 34;
}

/// A block, without its cycle bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trb(pub(super) [u32; 4]);

/// How something ended (xHCI 1.2, table 6-90).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Completion(pub(super) u8);

impl Completion {
    pub(super) const SUCCESS: Self = Self(1);
    pub(super) const STALL: Self = Self(6);
    pub(super) const SHORT_PACKET: Self = Self(13);
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("success"),
            3 => f.write_str("babble"),
            4 => f.write_str("no answer on the bus"),
            5 => f.write_str("a block makes no sense"),
            6 => f.write_str("stall"),
            7 => f.write_str("no resources"),
            8 => f.write_str("no bandwidth"),
            9 => f.write_str("no slots"),
            11 => f.write_str("slot not enabled"),
            13 => f.write_str("short packet"),
            17 => f.write_str("a parameter makes no sense"),
            19 => f.write_str("wrong state of a context"),
            36 => f.write_str("split transaction failed"),
            other => write!(f, "completion code {other}"),
        }
    }
}

/// A request to a device (USB 2.0, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Direction, kind and recipient.
    pub(super) kind: u8,
    pub(super) number: u8,
    pub(super) value: u16,
    pub(super) index: u16,
    /// Bytes of data.
    pub(super) len: u16,
}

impl Request {
    /// Returns whether the device sends the data.
    pub(super) const fn is_in(&self) -> bool {
        self.kind & 0x80 != 0
    }
}

impl Trb {
    fn new(kind: u32, address: u64, len: u32, flags: u32) -> Self {
        Self([
            address as u32,
            (address >> 32) as u32,
            len,
            kind << 10 | flags,
        ])
    }

    fn of_slot(kind: u32, slot: u8, address: u64, flags: u32) -> Self {
        Self::new(kind, address, 0, u32::from(slot) << 24 | flags)
    }

    /// Leads back to a ring's start.
    pub(super) fn link(start: u64) -> Self {
        Self::new(kind::LINK, start, 0, TOGGLE_CYCLE)
    }

    /// Asks an interrupt endpoint.
    pub(super) fn normal(buffer: u64, len: u32) -> Self {
        Self::new(kind::NORMAL, buffer, len, ON_COMPLETION | ON_SHORT)
    }

    /// Begins a request.
    pub(super) fn setup(request: &Request) -> Self {
        const NO_DATA: u32 = 0;
        const OUT_DATA: u32 = 2 << 16;
        const IN_DATA: u32 = 3 << 16;
        let transfer = match (request.len, request.is_in()) {
            (0, _) => NO_DATA,
            (_, true) => IN_DATA,
            (_, false) => OUT_DATA,
        };
        let low = u32::from(request.kind)
            | u32::from(request.number) << 8
            | u32::from(request.value) << 16;
        let high = u32::from(request.index) | u32::from(request.len) << 16;
        let bytes = u64::from(high) << 32 | u64::from(low);
        Self::new(kind::SETUP, bytes, 8, IMMEDIATE | transfer)
    }

    /// Transfers a request's data.
    pub(super) fn data(request: &Request, buffer: u64) -> Self {
        let direction = if request.is_in() { IN } else { 0 };
        Self::new(kind::DATA, buffer, request.len.into(), direction)
    }

    /// Ends a request: by the other side than the one that sent data.
    pub(super) fn status(request: &Request) -> Self {
        let direction = if request.len > 0 && request.is_in() {
            0
        } else {
            IN
        };
        Self::new(kind::STATUS, 0, 0, ON_COMPLETION | direction)
    }

    /// Asks for a slot; the type is what the port says.
    pub(super) fn enable_slot(slot_type: u8) -> Self {
        Self::new(kind::ENABLE_SLOT, 0, 0, u32::from(slot_type & 0x1f) << 16)
    }

    pub(super) fn disable_slot(slot: u8) -> Self {
        Self::of_slot(kind::DISABLE_SLOT, slot, 0, 0)
    }

    pub(super) fn address_device(slot: u8, input: u64) -> Self {
        Self::of_slot(kind::ADDRESS_DEVICE, slot, input, 0)
    }

    pub(super) fn configure_endpoint(slot: u8, input: u64) -> Self {
        Self::of_slot(kind::CONFIGURE_ENDPOINT, slot, input, 0)
    }

    pub(super) fn evaluate_context(slot: u8, input: u64) -> Self {
        Self::of_slot(kind::EVALUATE_CONTEXT, slot, input, 0)
    }

    /// Lets an endpoint go on that has stopped by an error.
    pub(super) fn reset_endpoint(slot: u8, endpoint: u8) -> Self {
        Self::of_slot(kind::RESET_ENDPOINT, slot, 0, u32::from(endpoint) << 16)
    }

    /// Says where a stopped endpoint goes on; the lowest bit is the cycle bit there.
    pub(super) fn set_dequeue(slot: u8, endpoint: u8, place: u64) -> Self {
        Self::of_slot(kind::SET_DEQUEUE, slot, place, u32::from(endpoint) << 16)
    }
}

/// What a controller tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A transfer has ended.
    Transfer {
        /// Where its block is.
        trb: u64,
        completion: Completion,
        /// Bytes that were not transferred.
        nr_left: u32,
        slot: u8,
        endpoint: u8,
    },
    /// A command has ended.
    Command {
        /// Where its block is.
        trb: u64,
        completion: Completion,
        slot: u8,
    },
    /// Something happened at a port.
    Port(u8),
    /// Something that nobody asked for.
    Other(u8),
}

impl Event {
    pub(super) fn parse(trb: Trb) -> Self {
        let [low, high, status, control] = trb.0;
        let pointer = u64::from(high) << 32 | u64::from(low);
        let completion = Completion((status >> 24) as u8);
        let slot = (control >> 24) as u8;
        match control >> 10 & 0x3f {
            kind::TRANSFER_EVENT => Self::Transfer {
                trb: pointer,
                completion,
                nr_left: status & 0xff_ffff,
                slot,
                endpoint: (control >> 16 & 0x1f) as u8,
            },
            kind::COMMAND_COMPLETION => Self::Command {
                trb: pointer,
                completion,
                slot,
            },
            kind::PORT_STATUS_CHANGE => Self::Port((low >> 24) as u8),
            other => Self::Other(other as u8),
        }
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{Completion, Event, Request, Trb};
    use crate::prelude::*;

    #[ktest]
    fn request_for_a_descriptor_has_three_stages() {
        let request = Request {
            kind: 0x80,
            number: 6,
            value: 0x0100,
            index: 0,
            len: 18,
        };
        let stages = [
            Trb::setup(&request),
            Trb::data(&request, 0x1_2345_6000),
            Trb::status(&request),
        ];
        let expected = [
            [0x0100_0680, 18 << 16, 8, 2 << 10 | 3 << 16 | 1 << 6],
            [0x2345_6000, 1, 18, 3 << 10 | 1 << 16],
            [0, 0, 0, 4 << 10 | 1 << 5],
        ];
        assert_eq!(stages.map(|trb| trb.0), expected);
    }

    #[ktest]
    fn request_without_data_ends_with_word_from_the_device() {
        let request = Request {
            kind: 0x21,
            number: 11,
            value: 0,
            index: 1,
            len: 0,
        };
        assert_eq!(Trb::setup(&request).0[3], 2 << 10 | 1 << 6);
        assert_eq!(Trb::status(&request).0[3], 4 << 10 | 1 << 5 | 1 << 16);
    }

    #[ktest]
    fn events_are_told_apart_whatever_else_is_in_them() {
        // A reserved bit is set in each.
        let transfer = Trb([0x1000, 2, 13 << 24 | 5, 7 << 24 | 3 << 16 | 32 << 10 | 8]);
        let expected = Event::Transfer {
            trb: 0x2_0000_1000,
            completion: Completion::SHORT_PACKET,
            nr_left: 5,
            slot: 7,
            endpoint: 3,
        };
        assert_eq!(Event::parse(transfer), expected);
        let port = Trb([9 << 24 | 1, 1, 1 << 24, 34 << 10]);
        assert_eq!(Event::parse(port), Event::Port(9));
        let command = Trb([0x40, 0, 6 << 24, 2 << 24 | 33 << 10]);
        let expected = Event::Command {
            trb: 0x40,
            completion: Completion::STALL,
            slot: 2,
        };
        assert_eq!(Event::parse(command), expected);
        assert_eq!(Event::parse(Trb([u32::MAX; 4])), Event::Other(63));
    }
}
