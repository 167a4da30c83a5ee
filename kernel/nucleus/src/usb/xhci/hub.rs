//! Hubs (USB 2.0, 11): more ports, which are asked by requests.
//!
//! A hub says by its interrupt endpoint at which ports something has happened. Its ports
//! are [settled](super::port) as those of the controller are. Hubs of USB 3 are left alone:
//! each is one of USB 2 as well, at which keyboards are.

use super::device::{HubState, Role, number};
use super::port::{DEBOUNCE_TICKS, RECOVERY_TICKS, RESET_TICKS};
use super::{Controller, Fault};
use crate::usb::context::{Place, Speed};
use crate::usb::descriptor::{Hub, Interface, kind};
use crate::usb::trb::Request;

const HUB_IN: u8 = 0xa0;
const PORT_IN: u8 = 0xa3;
const PORT_OUT: u8 = 0x23;

const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;

/// Features of a port.
mod feature {
    pub(super) const RESET: u16 = 4;
    pub(super) const POWER: u16 = 8;
    /// The first one that tells of a change; they are in the order of the status' bits.
    pub(super) const CHANGES: u16 = 16;
}

/// Bits of a port's status, and of its changes.
mod status {
    pub(super) const IS_CONNECTED: u16 = 1;
    pub(super) const IS_ENABLED: u16 = 1 << 1;
    pub(super) const IS_LOW_SPEED: u16 = 1 << 9;
    pub(super) const IS_HIGH_SPEED: u16 = 1 << 10;
    pub(super) const CONNECTION_CHANGED: u16 = 1;
    pub(super) const RESET_DONE: u16 = 1 << 4;
}
/// Changes that there are.
const NR_CHANGES: u16 = 5;
/// Milliseconds of a tick.
const TICK_MS: u16 = 10;

impl Controller {
    /// Configures a hub, and gives its ports power.
    pub(super) async fn set_up_hub(
        &mut self,
        slot: u8,
        interface: &Interface,
    ) -> Result<(), Fault> {
        let request = Request {
            kind: HUB_IN,
            number: number::GET_DESCRIPTOR,
            value: u16::from(kind::HUB) << 8,
            index: 0,
            len: Hub::SIZE as u16,
        };
        let bytes = self.request(slot, request, &[]).await?;
        let hub = Hub::parse(&bytes).ok_or(Fault::Nonsense("it is a hub without ports"))?;
        self.configure(slot, interface, Some(hub)).await?;
        for port in 1..=hub.nr_ports {
            self.port_feature(slot, SET_FEATURE, port, feature::POWER)
                .await?;
        }
        for _ in 0..=hub.power_ms.div_ceil(TICK_MS) {
            self.tick().await?;
        }
        if let Some((device, _)) = self.device(slot) {
            device.role = Role::Hub(HubState {
                hub,
                // All of them, from bit 1 on.
                changed: (u16::MAX << 1) & !(u16::MAX << 1 << hub.nr_ports),
                settled: 0,
            });
        }
        self.listen(slot);
        Ok(())
    }

    /// Returns a hub's slot and the port of it at which something has happened, once.
    pub(super) fn take_changed_hub_port(&mut self) -> Option<(u8, u8)> {
        for (index, device) in self.devices.iter_mut().enumerate() {
            let Some(Role::Hub(state)) = device.as_mut().map(|device| &mut device.role) else {
                continue;
            };
            // The hub itself, which has nothing to say that matters.
            state.changed &= !1;
            let port = state.changed.trailing_zeros() as u8;
            if port <= state.hub.nr_ports {
                state.changed &= !(1 << port);
                return Some((u8::try_from(index + 1).ok()?, port));
            }
        }
        None
    }

    /// Looks at a hub's port at which something has happened.
    pub(super) async fn visit_hub_port(&mut self, slot: u8, port: u8) -> Result<(), Fault> {
        let (state, changes) = self.take_port_status(slot, port).await?;
        let is_connected = state & status::IS_CONNECTED != 0;
        if !is_connected || changes & status::CONNECTION_CHANGED != 0 {
            self.set_settled(slot, port, false);
            self.detach_behind(slot, port).await?;
        }
        if !is_connected || self.is_settled(slot, port) {
            return Ok(());
        }
        self.set_settled(slot, port, true);
        for _ in 0..DEBOUNCE_TICKS {
            self.tick().await?;
        }
        let Some((device, _)) = self.device(slot) else {
            return Ok(());
        };
        match device.place.behind(slot, device.speed, port) {
            Some(place) => self.attach(place).await,
            None => {
                log::warn!("usb: too many hubs, one behind the other");
                Ok(())
            }
        }
    }

    /// Resets a port of a hub, and so the device there; returns how fast it is.
    pub(super) async fn reset_hub_port(&mut self, slot: u8, port: u8) -> Result<Speed, Fault> {
        self.port_feature(slot, SET_FEATURE, port, feature::RESET)
            .await?;
        let mut ticks = 0..RESET_TICKS;
        let state = loop {
            self.tick().await?;
            let (state, changes) = self.take_port_status(slot, port).await?;
            if state & status::IS_CONNECTED == 0 {
                return Err(Fault::Nonsense("it is gone"));
            }
            if changes & status::RESET_DONE != 0 {
                break state;
            }
            ticks
                .next()
                .ok_or(Fault::Nonsense("its port does not reset"))?;
        };
        if state & status::IS_ENABLED == 0 {
            return Err(Fault::Nonsense("its port is not enabled by a reset"));
        }
        for _ in 0..RECOVERY_TICKS {
            self.tick().await?;
        }
        Ok(match state {
            _ if state & status::IS_LOW_SPEED != 0 => Speed::LOW,
            _ if state & status::IS_HIGH_SPEED != 0 => Speed::HIGH,
            _ => Speed::FULL,
        })
    }

    /// Returns a port's status and what has changed, which it forgets.
    async fn take_port_status(&mut self, slot: u8, port: u8) -> Result<(u16, u16), Fault> {
        let request = Request {
            kind: PORT_IN,
            number: GET_STATUS,
            value: 0,
            index: port.into(),
            len: 4,
        };
        let bytes = self.request(slot, request, &[]).await?;
        let state = u16::from_le_bytes([bytes[0], bytes[1]]);
        let changes = u16::from_le_bytes([bytes[2], bytes[3]]);
        for bit in (0..NR_CHANGES).filter(|bit| changes >> bit & 1 != 0) {
            self.port_feature(slot, CLEAR_FEATURE, port, feature::CHANGES + bit)
                .await?;
        }
        Ok((state, changes))
    }

    async fn port_feature(
        &mut self,
        slot: u8,
        number: u8,
        port: u8,
        feature: u16,
    ) -> Result<(), Fault> {
        let request = Request {
            kind: PORT_OUT,
            number,
            value: feature,
            index: port.into(),
            len: 0,
        };
        self.request(slot, request, &[]).await.map(drop)
    }

    /// Forgets what was plugged in at a port of a hub, and all behind it.
    async fn detach_behind(&mut self, slot: u8, port: u8) -> Result<(), Fault> {
        let Some((device, _)) = self.device(slot) else {
            return Ok(());
        };
        let Some(gone) = device.place.behind(slot, device.speed, port) else {
            return Ok(());
        };
        self.detach(|place| is_behind(place, &gone)).await
    }

    fn is_settled(&mut self, slot: u8, port: u8) -> bool {
        match self.device(slot).map(|(device, _)| &device.role) {
            Some(Role::Hub(state)) => state.settled >> port & 1 != 0,
            _ => false,
        }
    }

    fn set_settled(&mut self, slot: u8, port: u8, is_settled: bool) {
        if let Some((device, _)) = self.device(slot)
            && let Role::Hub(state) = &mut device.role
        {
            state.settled = state.settled & !(1 << port) | u16::from(is_settled) << port;
        }
    }
}

/// Returns whether a place is another one, or behind it.
fn is_behind(place: &Place, other: &Place) -> bool {
    let way = (1 << (4 * u32::from(other.depth))) - 1;
    place.root_port == other.root_port
        && place.depth >= other.depth
        && place.route & way == other.route
}
