//! The controller's own ports: what is plugged in and out there.
//!
//! A port is **settled** when the device that is plugged in has been looked at, whatever
//! came of it; another one is plugged in when the port says that the connection has
//! changed.

use super::registers::port;
use super::{Controller, Fault};
use crate::usb::context::{Place, Speed};

/// Time for a connection to come to rest (USB 2.0, 7.1.7.3).
pub(super) const DEBOUNCE_TICKS: u32 = 10;
/// Time for a reset; it takes 50 ms at a port of the controller.
pub(super) const RESET_TICKS: u32 = 50;
/// Time for a device to recover from it, which is 10 ms.
pub(super) const RECOVERY_TICKS: u32 = 2;

impl Controller {
    /// Looks at a port at which something has happened.
    pub(super) async fn visit_root_port(&mut self, number: u8) -> Result<(), Fault> {
        let value = self.read_port(number);
        self.write_port(number, value & port::CHANGES);
        let is_connected = value & port::IS_CONNECTED != 0;
        if !is_connected || value & port::CONNECTION_CHANGED != 0 {
            self.settled.remove(number);
            self.detach(|place| place.root_port == number).await?;
        }
        if !is_connected || self.settled.has(number) {
            return Ok(());
        }
        self.settled.add(number);
        for _ in 0..DEBOUNCE_TICKS {
            self.tick().await?;
        }
        let value = self.read_port(number);
        self.write_port(number, value & port::CHANGES);
        if value & port::IS_CONNECTED == 0 {
            self.settled.remove(number);
            return Ok(());
        }
        self.attach(Place::root(number)).await
    }

    /// Resets a port, and so the device there; returns how fast it is.
    pub(super) async fn reset_root_port(&mut self, number: u8) -> Result<Speed, Fault> {
        let value = self.read_port(number);
        if value & port::IS_CONNECTED == 0 {
            return Err(Fault::Nonsense("it is gone"));
        }
        let is_usb3 = self.protocol(number).is_some_and(|ports| ports.is_usb3);
        // Ports of USB 3 are enabled by themselves when they have found a device.
        if !is_usb3 || value & port::IS_ENABLED == 0 {
            let reset = if is_usb3 {
                port::WARM_RESET
            } else {
                port::RESET
            };
            self.write_port(number, reset);
            let mut ticks = 0..RESET_TICKS;
            let done = port::RESET_DONE | port::WARM_RESET_DONE;
            while self.read_port(number) & done == 0 {
                ticks
                    .next()
                    .ok_or(Fault::Nonsense("its port does not reset"))?;
                self.tick().await?;
            }
            self.write_port(number, done);
        }
        for _ in 0..RECOVERY_TICKS {
            self.tick().await?;
        }
        let value = self.read_port(number);
        if value & port::IS_ENABLED == 0 {
            return Err(Fault::Nonsense("its port is not enabled by a reset"));
        }
        Ok(Speed(port::speed(value)))
    }
}
