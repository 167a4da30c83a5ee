//! What devices say of themselves (USB 2.0, 9.6 and 11.23.2.1; HID 1.11, 7.1).
//!
//! A configuration is a chain of descriptors, each of which begins with its length and its
//! type; those of an interface are followed by those of its endpoints. **Nothing in it is
//! believed**: lengths lead nowhere but forward and not beyond what was read, and what makes
//! no sense is no keyboard.

use core::fmt;

/// Types of descriptors.
pub(super) mod kind {
    pub(in crate::usb) const DEVICE: u8 = 1;
    pub(in crate::usb) const CONFIGURATION: u8 = 2;
    pub(in crate::usb) const STRING: u8 = 3;
    pub(super) const INTERFACE: u8 = 4;
    pub(super) const ENDPOINT: u8 = 5;
    pub(in crate::usb) const HUB: u8 = 0x29;
}

/// Bytes of a device's own descriptor.
pub(super) const DEVICE_SIZE: usize = 18;
/// Bytes of the first descriptor of a configuration.
pub(super) const CONFIGURATION_SIZE: usize = 9;
const INTERFACE_SIZE: usize = 9;
const ENDPOINT_SIZE: usize = 7;

/// What an interface speaks, or a device: class, subclass, protocol.
pub(super) type Class = (u8, u8, u8);

/// A keyboard that knows the boot protocol.
pub(super) const BOOT_KEYBOARD: Class = (3, 1, 1);
/// The class of hubs.
pub(super) const HUB_CLASS: u8 = 9;

/// A device's own descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) class: u8,
    pub(super) vendor: u16,
    pub(super) product: u16,
    /// The number of the string that names the product; zero for none.
    pub(super) name: u8,
}

impl Device {
    /// Reads it; `None` for something else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<DEVICE_SIZE>()?;
        let is_one = usize::from(bytes[0]) >= DEVICE_SIZE && bytes[1] == kind::DEVICE;
        is_one.then_some(Self {
            class: bytes[4],
            vendor: u16::from_le_bytes([bytes[8], bytes[9]]),
            product: u16::from_le_bytes([bytes[10], bytes[11]]),
            name: bytes[15],
        })
    }
}

/// Returns how long a configuration is with all that belongs to it, from its first
/// descriptor.
pub(super) fn configuration_len(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.first_chunk::<CONFIGURATION_SIZE>()?;
    let len = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
    let is_one = bytes[1] == kind::CONFIGURATION && len >= CONFIGURATION_SIZE;
    is_one.then_some(len)
}

/// An interface with an interrupt endpoint that the device speaks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// The configuration that it is part of.
    pub(super) configuration: u8,
    pub(super) number: u8,
    pub(super) endpoint: Endpoint,
}

/// An interrupt endpoint that the device speaks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// 1 to 15.
    pub(super) number: u8,
    /// Most bytes of a packet.
    pub(super) max_packet: u16,
    /// How often it is to be asked; the unit depends on the device's speed.
    pub(super) interval: u8,
}

/// Finds the first interface of a configuration whose class is wanted, and which has an
/// interrupt endpoint that the device speaks at. Alternate settings are passed over.
pub(super) fn find_interface(bytes: &[u8], is_wanted: impl Fn(Class) -> bool) -> Option<Interface> {
    configuration_len(bytes)?;
    let configuration = bytes[5];
    let mut number = None;
    for descriptor in descriptors(bytes) {
        match descriptor[1] {
            kind::INTERFACE => {
                let interface = descriptor.first_chunk::<INTERFACE_SIZE>();
                let wanted = interface.filter(|interface| {
                    let class = (interface[5], interface[6], interface[7]);
                    interface[3] == 0 && is_wanted(class)
                });
                number = wanted.map(|interface| interface[2]);
            }
            kind::ENDPOINT => {
                if let (Some(number), Some(endpoint)) = (number, interrupt_in(descriptor)) {
                    return Some(Interface {
                        configuration,
                        number,
                        endpoint,
                    });
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the descriptors one after the other, until one makes no sense.
fn descriptors(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const SMALLEST: usize = 2;
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let len = usize::from(*rest.first()?);
        if len < SMALLEST {
            return None;
        }
        let (descriptor, behind) = rest.split_at_checked(len)?;
        rest = behind;
        Some(descriptor)
    })
}

/// Reads an endpoint; `None` if it is of another kind.
fn interrupt_in(descriptor: &[u8]) -> Option<Endpoint> {
    const IS_IN: u8 = 1 << 7;
    const TYPE: u8 = 0b11;
    const INTERRUPT: u8 = 3;
    const MAX_PACKET: u16 = 0x7ff;
    let bytes = descriptor.first_chunk::<ENDPOINT_SIZE>()?;
    let endpoint = Endpoint {
        number: bytes[2] & 0xf,
        max_packet: u16::from_le_bytes([bytes[4], bytes[5]]) & MAX_PACKET,
        interval: bytes[6],
    };
    let is_wanted = bytes[2] & IS_IN != 0 && bytes[3] & TYPE == INTERRUPT;
    (is_wanted && endpoint.number != 0 && endpoint.max_packet != 0).then_some(endpoint)
}

/// The name of a product, as far as it can be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Name {
    const MAX: usize = 32;

    /// Reads a string descriptor, which is in UTF-16. What is no ASCII becomes `?`.
    pub(super) fn parse(descriptor: &[u8]) -> Self {
        let mut name = Self::default();
        let Some(header) = descriptor.first_chunk::<2>() else {
            return name;
        };
        let len = usize::from(header[0]).min(descriptor.len());
        if header[1] != kind::STRING || len < 2 {
            return name;
        }
        let units = descriptor[2..len].chunks_exact(2).take(Self::MAX);
        for unit in units.map(|pair| u16::from_le_bytes([pair[0], pair[1]])) {
            let character = u8::try_from(unit).ok();
            let printable = character.filter(|byte| matches!(byte, b' '..=b'~') && *byte != b'"');
            name.bytes[name.len] = printable.unwrap_or(b'?');
            name.len += 1;
        }
        name
    }
}

impl Default for Name {
    /// Returns the name of what has none.
    fn default() -> Self {
        Self {
            bytes: [0; Self::MAX],
            len: 0,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = &self.bytes[..self.len];
        f.write_str(str::from_utf8(bytes).unwrap_or_default().trim_end())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What a hub says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hub {
    pub(super) nr_ports: u8,
    /// What its translator for slow devices needs from one to the next, as a number of 2
    /// bits.
    pub(super) think_time: u8,
    /// Milliseconds that a port takes to have power.
    pub(super) power_ms: u16,
}

impl Hub {
    /// Bytes of the part that is read.
    pub(super) const SIZE: usize = 7;
    /// Most ports of a hub: what a route has room for.
    pub(super) const MAX_PORTS: u8 = 15;

    /// Reads it; `None` for something else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<{ Self::SIZE }>()?;
        let is_one = usize::from(bytes[0]) >= Self::SIZE && bytes[1] == kind::HUB;
        (is_one && bytes[2] > 0).then(|| Self {
            nr_ports: bytes[2].min(Self::MAX_PORTS),
            think_time: bytes[3] >> 5 & 0b11,
            power_ms: u16::from(bytes[5]) * 2,
        })
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::{BOOT_KEYBOARD, Device, Endpoint, Hub, Interface, Name, find_interface};
    use crate::prelude::*;

    /// A mouse and a keyboard in one, as receivers of wireless ones are: the keyboard has an
    /// endpoint to speak to it first.
    const BOTH: [u8; 66] = [
        9, 2, 66, 0, 2, 7, 0, 0xa0, 50, // configuration 7
        9, 4, 0, 0, 1, 3, 1, 2, 0, // interface 0: mouse
        9, 0x21, 0x11, 1, 0, 1, 0x22, 52, 0, // its HID descriptor
        7, 5, 0x81, 3, 4, 0, 10, // endpoint 1, in
        9, 4, 1, 0, 2, 3, 1, 1, 0, // interface 1: keyboard
        9, 0x21, 0x11, 1, 0, 1, 0x22, 63, 0, // its HID descriptor
        7, 5, 0x02, 3, 8, 0, 10, // endpoint 2, out
        7, 5, 0x83, 3, 8, 0, 10, // endpoint 3, in
    ];

    fn find(bytes: &[u8]) -> Option<Interface> {
        find_interface(bytes, |class| class == BOOT_KEYBOARD)
    }

    #[ktest]
    fn keyboard_is_found_among_other_interfaces() {
        let expected = Interface {
            configuration: 7,
            number: 1,
            endpoint: Endpoint {
                number: 3,
                max_packet: 8,
                interval: 10,
            },
        };
        assert_eq!(find(&BOTH), Some(expected));
    }

    #[ktest]
    fn device_that_is_none_or_ends_too_early_has_no_keyboard() {
        for len in 0..BOTH.len() {
            assert_eq!(find(&BOTH[..len]), None, "{len} bytes");
        }
        // The protocol of the keyboard, and its setting.
        for (place, value) in [(41, 0), (37, 1), (62, 2), (61, 0x80), (63, 0)] {
            let mut other = BOTH;
            other[place] = value;
            assert_eq!(find(&other), None, "byte {place} is {value}");
        }
    }

    #[ktest]
    fn no_length_leads_out_of_what_was_read_or_nowhere() {
        let mut nr_found = 0;
        for place in 0..BOTH.len() {
            for value in 0..=u8::MAX {
                let mut changed = BOTH;
                changed[place] = value;
                nr_found += usize::from(find(&changed).is_some());
            }
        }
        assert!(nr_found > 0);
    }

    #[ktest]
    fn device_tells_what_it_is_in_18_bytes() {
        let mut bytes = [0; 18];
        bytes[..2].copy_from_slice(&[18, 1]);
        bytes[4] = 9;
        bytes[8..12].copy_from_slice(&[0x6d, 0x04, 0x2b, 0xc5]);
        bytes[15] = 2;
        let expected = Device {
            class: 9,
            vendor: 0x046d,
            product: 0xc52b,
            name: 2,
        };
        assert_eq!(Device::parse(&bytes), Some(expected));
        assert_eq!(Device::parse(&bytes[..17]), None);
        assert_eq!(Device::parse(&[0; 18]), None);
    }

    #[ktest]
    fn name_is_printable_whatever_the_device_says() {
        let string = |text: &str| {
            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
            let mut bytes: Vec<u8> = [0, 3].into_iter().chain(units).collect();
            bytes[0] = bytes.len() as u8;
            bytes
        };
        let name = |bytes: &[u8]| Name::parse(bytes).to_string();
        assert_eq!(name(&string("QEMU USB Keyboard")), "QEMU USB Keyboard");
        assert_eq!(name(&string("K\u{1b}[2J\"é\u{1f600}")), "K?[2J????");
        assert_eq!(name(&string(&"x".repeat(99))), "x".repeat(32));
        for nothing in [&[][..], &[4], &[0, 3], &[4, 1, b'a', 0], &[2, 3, b'a', 0]] {
            assert_eq!(name(nothing), "");
        }
        assert_eq!(name(&[255, 3, b'a', 0, b'b']), "a");
    }

    #[ktest]
    fn hub_has_as_many_ports_as_a_route_has_room_for() {
        let bytes = [9, 0x29, 4, 0x60, 0, 50, 100, 0, 0xff];
        let expected = Hub {
            nr_ports: 4,
            think_time: 3,
            power_ms: 100,
        };
        assert_eq!(Hub::parse(&bytes), Some(expected));
        let mut many = bytes;
        many[2] = 200;
        assert_eq!(Hub::parse(&many).map(|hub| hub.nr_ports), Some(15));
        many[2] = 0;
        assert_eq!(Hub::parse(&many), None);
        assert_eq!(Hub::parse(&bytes[..6]), None);
    }
}
