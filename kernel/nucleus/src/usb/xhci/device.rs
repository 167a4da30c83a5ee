//! A device, from its first answer to its role (USB 2.0, 9.1.2; xHCI 1.2, 4.3).
//!
//! 1. Its port is reset: it answers at address 0.
//! 2. It gets a slot, and an address by it.
//! 3. The first 8 bytes that it says tell the size of its packets; then it says what it is.
//! 4. A keyboard or a hub is configured and listened to. Whatever else it is, the slot is
//!    given back, and it is left alone.
//!
//! One that fails is reset and tried again, [`ATTEMPTS`] times in all.

use super::transfer::{CONTROL_RING, INTERRUPT_RING, MAX_DATA, MAX_REPORT, Pipe, RING_PLACES};
use super::{Controller, Fault};
use crate::console::input;
use crate::mm::{PAGE_SIZE, VmIo};
use crate::usb::boot_keyboard::BootKeyboard;
use crate::usb::context::{self, CONTROL, Place, Slot, Speed};
use crate::usb::descriptor::{
    self, BOOT_KEYBOARD, CONFIGURATION_SIZE, DEVICE_SIZE, HUB_CLASS, Hub, Interface, Name, kind,
};
use crate::usb::ring::ProducerRing;
use crate::usb::trb::{Completion, Request, Trb};

const ATTEMPTS: usize = 3;
/// Ticks that a device may take to know its new address: 2 ms.
const ADDRESS_TICKS: u32 = 2;
/// The language of names: English of the United States.
const ENGLISH: u16 = 0x0409;

/// Requests, by what they are sent to.
pub(super) mod to {
    pub(in super::super) const DEVICE_IN: u8 = 0x80;
    pub(in super::super) const DEVICE_OUT: u8 = 0;
    pub(in super::super) const HID_OUT: u8 = 0x21;
}

/// Numbers of requests.
pub(super) mod number {
    pub(in super::super) const GET_DESCRIPTOR: u8 = 6;
    pub(in super::super) const SET_CONFIGURATION: u8 = 9;
    pub(in super::super) const SET_REPORT: u8 = 9;
    pub(in super::super) const SET_IDLE: u8 = 10;
    pub(in super::super) const SET_PROTOCOL: u8 = 11;
}

/// A device with a slot.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) place: Place,
    pub(super) speed: Speed,
    pub(super) control: ProducerRing,
    pub(super) pipe: Option<Pipe>,
    pub(super) role: Role,
}

/// What a device is used as.
#[derive(Debug)]
pub(super) enum Role {
    /// It is not known yet.
    None,
    /// A keyboard.
    Keyboard(Keyboard),
    /// A hub.
    Hub(HubState),
}

/// A keyboard.
#[derive(Debug)]
pub(super) struct Keyboard {
    pub(super) keys: BootKeyboard,
    interface: u8,
    /// The lights that it was told last.
    lights: Option<u8>,
}

/// A hub, and its ports: one bit for each, from bit 1 on.
#[derive(Debug)]
pub(super) struct HubState {
    pub(super) hub: Hub,
    /// Ports at which something has happened.
    pub(super) changed: u16,
    /// Ports whose device was looked at.
    pub(super) settled: u16,
}

impl Role {
    /// Takes what the device says by itself.
    pub(super) fn take_report(&mut self, report: &[u8]) {
        match self {
            Self::Keyboard(keyboard) => keyboard.keys.take(report, &mut input::use_key),
            Self::Hub(state) => {
                let bytes = [0, 1].map(|index| report.get(index).copied().unwrap_or(0));
                state.changed |= u16::from_le_bytes(bytes);
            }
            Self::None => {}
        }
    }

    /// Says that no key is down any more.
    pub(super) fn release_all_keys(&mut self) {
        if let Self::Keyboard(keyboard) = self {
            keyboard.keys.release_all(&mut input::use_key);
        }
    }
}

impl Controller {
    /// Looks at a device that was plugged in.
    ///
    /// # Errors
    ///
    /// [`Fault::Controller`]. What is wrong with the device is logged.
    pub(super) async fn attach(&mut self, place: Place) -> Result<(), Fault> {
        let mut last = Ok(());
        for _ in 0..ATTEMPTS {
            last = self.try_attach(place).await;
            match last {
                Ok(()) => return Ok(()),
                Err(Fault::Controller(_)) => return last,
                Err(fault) => log::debug!("usb: the device on port {place}: {fault}"),
            }
        }
        if let Err(fault) = last {
            log::warn!("usb: the device on port {place} cannot be used: {fault}");
        }
        Ok(())
    }

    async fn try_attach(&mut self, place: Place) -> Result<(), Fault> {
        let speed = match place.parent {
            None => self.reset_root_port(place.root_port).await?,
            Some((hub, port)) => self.reset_hub_port(hub, port).await?,
        };
        let protocol = self.protocol(place.root_port);
        let slot_type = protocol.map_or(0, |ports| ports.slot_type);
        let slot = self.command(Trb::enable_slot(slot_type)).await?;
        let outcome = self.set_up(slot, place, speed).await;
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => self.release(slot).await,
            Err(fault) => {
                self.release(slot).await?;
                Err(fault)
            }
        }
    }

    /// Gives a device an address and a role; returns whether it has one.
    async fn set_up(&mut self, slot: u8, place: Place, speed: Speed) -> Result<bool, Fault> {
        self.give_address(slot, place, speed).await?;
        let descriptor = self.descriptor(slot, kind::DEVICE, DEVICE_SIZE).await?;
        let device = descriptor::Device::parse(&descriptor);
        let device = device.ok_or(Fault::Nonsense("it does not say what it is"))?;
        log::debug!(
            "usb: device {:04x}:{:04x} on port {place}",
            device.vendor,
            device.product
        );
        let first = self.descriptor(slot, kind::CONFIGURATION, CONFIGURATION_SIZE);
        let len = descriptor::configuration_len(&first.await?);
        let len = len.ok_or(Fault::Nonsense("it has no configuration"))?;
        let len = len.min(MAX_DATA);
        let bytes = self.descriptor(slot, kind::CONFIGURATION, len).await?;
        let bytes = &bytes[..len];
        if device.class == HUB_CLASS && !speed.is_super() {
            let interface = descriptor::find_interface(bytes, |class| class.0 == HUB_CLASS);
            let interface = interface.ok_or(Fault::Nonsense("it is a hub without an endpoint"))?;
            self.set_up_hub(slot, &interface).await?;
            log::debug!("usb: hub on port {place}");
            return Ok(true);
        }
        let interface = descriptor::find_interface(bytes, |class| class == BOOT_KEYBOARD);
        let Some(interface) = interface else {
            return Ok(false);
        };
        let name = self.name(slot, device.name).await?;
        self.set_up_keyboard(slot, &interface).await?;
        log::info!("usb: keyboard \"{name}\" on port {place}");
        Ok(true)
    }

    /// Gives a device an address, and finds out the size of its packets.
    async fn give_address(&mut self, slot: u8, place: Place, speed: Speed) -> Result<(), Fault> {
        const WRONG_SLOT: Fault = Fault::Nonsense("its slot makes no sense");
        let index = usize::from(slot.checked_sub(1).ok_or(WRONG_SLOT)?);
        let page = self.pages.get(index).ok_or(WRONG_SLOT)?;
        // The slot was not enabled until now, so nobody else uses its page.
        page.write_bytes(0, &[0; PAGE_SIZE])
            .map_err(|_| WRONG_SLOT)?;
        let control = ProducerRing::new(page, CONTROL_RING, RING_PLACES);
        let words = Slot {
            place,
            speed,
            last_endpoint: CONTROL,
            hub: None,
        };
        let input = self.input();
        let presumed = speed.first_packet_size();
        input.write_device(&words, presumed, control.position(page));
        let command = Trb::address_device(slot, input.address());
        self.set_device_context(slot, page.daddr() as u64);
        let place_of_device = self.devices.get_mut(index).ok_or(WRONG_SLOT)?;
        *place_of_device = Some(Device {
            place,
            speed,
            control,
            pipe: None,
            role: Role::None,
        });
        self.command(command).await?;
        for _ in 0..ADDRESS_TICKS {
            self.tick().await?;
        }
        let first = self.descriptor(slot, kind::DEVICE, 8).await?;
        let size = speed.packet_size(first[7]);
        let size = size.ok_or(Fault::Nonsense("its packets have no size"))?;
        if size != presumed {
            let input = self.input();
            input.write_packet_size(size);
            let command = Trb::evaluate_context(slot, input.address());
            self.command(command).await?;
        }
        Ok(())
    }

    /// Asks a device for a descriptor.
    async fn descriptor(
        &mut self,
        slot: u8,
        kind: u8,
        len: usize,
    ) -> Result<[u8; MAX_DATA], Fault> {
        let request = Request {
            kind: to::DEVICE_IN,
            number: number::GET_DESCRIPTOR,
            value: u16::from(kind) << 8,
            index: 0,
            len: len.min(MAX_DATA) as u16,
        };
        self.request(slot, request, &[]).await
    }

    /// Asks a device for a name; one that does not tell has none.
    async fn name(&mut self, slot: u8, index: u8) -> Result<Name, Fault> {
        if index == 0 {
            return Ok(Name::default());
        }
        let request = Request {
            kind: to::DEVICE_IN,
            number: number::GET_DESCRIPTOR,
            value: u16::from(kind::STRING) << 8 | u16::from(index),
            index: ENGLISH,
            len: 255,
        };
        match self.request(slot, request, &[]).await {
            Ok(bytes) => Ok(Name::parse(&bytes)),
            Err(Fault::Ended(Completion::STALL)) => Ok(Name::default()),
            Err(fault) => Err(fault),
        }
    }

    async fn set_up_keyboard(&mut self, slot: u8, interface: &Interface) -> Result<(), Fault> {
        self.configure(slot, interface, None).await?;
        let request = |number, value| Request {
            kind: to::HID_OUT,
            number,
            value,
            index: interface.number.into(),
            len: 0,
        };
        // The boot protocol, and a report at each change alone. Some know no other
        // protocol, and some repeat their reports whatever they are told: neither harms.
        for (number, value) in [(number::SET_PROTOCOL, 0), (number::SET_IDLE, 0)] {
            let outcome = self.request(slot, request(number, value), &[]).await;
            if outcome.is_err() && outcome != Err(Fault::Ended(Completion::STALL)) {
                return outcome.map(drop);
            }
        }
        if let Some((device, _)) = self.device(slot) {
            device.role = Role::Keyboard(Keyboard {
                keys: BootKeyboard::default(),
                interface: interface.number,
                lights: None,
            });
        }
        self.listen(slot);
        Ok(())
    }

    /// Has a device and the controller use an interface and its endpoint.
    pub(super) async fn configure(
        &mut self,
        slot: u8,
        interface: &Interface,
        hub: Option<Hub>,
    ) -> Result<(), Fault> {
        let endpoint = &interface.endpoint;
        if usize::from(endpoint.max_packet) > MAX_REPORT {
            return Err(Fault::Nonsense("its reports are too long"));
        }
        let number = context::number_of(endpoint);
        let (device, page) = self.device(slot).ok_or(Fault::Nonsense("it is gone"))?;
        let ring = ProducerRing::new(page, INTERRUPT_RING, RING_PLACES);
        let position = ring.position(page);
        device.pipe = Some(Pipe::new(ring, number));
        let words = Slot {
            place: device.place,
            speed: device.speed,
            last_endpoint: number,
            hub,
        };
        let input = self.input();
        input.write_endpoint(&words, endpoint, position);
        let command = Trb::configure_endpoint(slot, input.address());
        self.command(command).await?;
        let request = Request {
            kind: to::DEVICE_OUT,
            number: number::SET_CONFIGURATION,
            value: interface.configuration.into(),
            index: 0,
            len: 0,
        };
        self.request(slot, request, &[]).await.map(drop)
    }

    /// Returns a keyboard whose lights are not those that they are to be.
    pub(super) fn unlit_slot(&self) -> Option<u8> {
        let wanted = input::lights();
        self.slot_of(|device| match &device.role {
            Role::Keyboard(keyboard) => keyboard.lights != Some(wanted),
            _ => false,
        })
    }

    /// Puts a keyboard's lights on and off (HID 1.11, B.1). One that refuses stays as it
    /// is.
    pub(super) async fn light(&mut self, slot: u8) -> Result<(), Fault> {
        const OUTPUT: u16 = 2 << 8;
        let wanted = input::lights();
        let Some((device, _)) = self.device(slot) else {
            return Ok(());
        };
        let Role::Keyboard(keyboard) = &mut device.role else {
            return Ok(());
        };
        keyboard.lights = Some(wanted);
        let request = Request {
            kind: to::HID_OUT,
            number: number::SET_REPORT,
            value: OUTPUT,
            index: keyboard.interface.into(),
            len: 1,
        };
        // HID counts them from another one on: Num Lock, Caps Lock, Scroll Lock.
        let outcome = self.request(slot, request, &[wanted >> 1]).await;
        outcome.map(drop)
    }

    /// Forgets devices that are gone, by their places, and those behind hubs that are.
    ///
    /// # Errors
    ///
    /// [`Fault::Controller`].
    pub(super) async fn detach(&mut self, is_gone: impl Fn(&Place) -> bool) -> Result<(), Fault> {
        while let Some(slot) = self.slot_of(|device| is_gone(&device.place)) {
            if let Some((device, _)) = self.device(slot)
                && matches!(device.role, Role::Keyboard(_))
            {
                log::info!("usb: the keyboard on port {} is gone", device.place);
            }
            self.release(slot).await?;
        }
        Ok(())
    }

    /// Gives a slot back.
    ///
    /// # Errors
    ///
    /// [`Fault::Controller`].
    async fn release(&mut self, slot: u8) -> Result<(), Fault> {
        let index = usize::from(slot.wrapping_sub(1));
        let device = self.devices.get_mut(index).and_then(Option::take);
        if let Some(mut device) = device {
            device.role.release_all_keys();
        }
        let outcome = self.command(Trb::disable_slot(slot)).await;
        if index < self.pages.len() {
            self.set_device_context(slot, 0);
        }
        match outcome {
            Err(fault @ Fault::Controller(_)) => Err(fault),
            _ => Ok(()),
        }
    }
}
