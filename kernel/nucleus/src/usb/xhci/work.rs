//! Commands and events, and what a tick does.

use core::future::poll_fn;
use core::mem;
use core::task::Poll;

use super::registers::{Ports, op, port, runtime, status};
use super::{Controller, Fault};
use crate::usb::ring::EventRing;
use crate::usb::trb::{Completion, Event, Trb};

/// Time for a command.
const COMMAND_TICKS: u32 = 500;
/// From one look at whether the controller is well to the next.
const HEALTH_TICKS: u32 = 100;

/// How a command or a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// Where the block is that ended it.
    pub(super) trb: u64,
    pub(super) completion: Completion,
    pub(super) slot: u8,
}

/// Ports, by their numbers: one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PortSet([u128; 2]);

impl PortSet {
    pub(super) fn add(&mut self, port: u8) {
        self.0[usize::from(port / 128)] |= 1 << (port % 128);
    }

    pub(super) fn remove(&mut self, port: u8) {
        self.0[usize::from(port / 128)] &= !(1 << (port % 128));
    }

    pub(super) fn has(&self, port: u8) -> bool {
        self.0[usize::from(port / 128)] >> (port % 128) & 1 != 0
    }

    /// Takes the first one.
    pub(super) fn take(&mut self) -> Option<u8> {
        let first = (0..=u8::MAX).find(|port| self.has(*port))?;
        self.remove(first);
        Some(first)
    }
}

impl Controller {
    /// Waits for the next tick, and sees to what has come.
    ///
    /// # Errors
    ///
    /// [`Fault::Controller`] if the controller has failed or is gone.
    pub(super) async fn tick(&mut self) -> Result<(), Fault> {
        let mut is_over = false;
        poll_fn(|_| {
            if mem::replace(&mut is_over, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        self.take_events();
        self.repeat_keys();
        self.nr_ticks = self.nr_ticks.wrapping_add(1);
        if self.nr_ticks.is_multiple_of(HEALTH_TICKS) {
            self.check_health()?;
        }
        Ok(())
    }

    fn check_health(&self) -> Result<(), Fault> {
        let status = self.read_operational(op::STATUS);
        if status == u32::MAX {
            return Err(Fault::Controller("it is gone"));
        }
        // A controller that fails stops by itself. What firmware has left there goes with the
        // reset.
        let failed = status::HOST_ERROR | status::CONTROLLER_ERROR | status::IS_HALTED;
        if self.is_running && status & failed != 0 {
            return Err(Fault::Controller("it has stopped by itself"));
        }
        Ok(())
    }

    /// Takes all events that have come, at most as many as there is room for.
    pub(super) fn take_events(&mut self) {
        let mut has_come = false;
        for _ in 0..EventRing::NR_PLACES {
            let Some(block) = self.events.pop() else {
                break;
            };
            has_come = true;
            self.take_event(Event::parse(block));
        }
        if has_come {
            let position = self.events.position() | runtime::IS_BUSY;
            let place = self.layout.runtime + runtime::DEQUEUE;
            self.registers.write_u64(place, position);
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Command {
                trb,
                completion,
                slot,
            } => {
                self.command_done = Some(Done {
                    trb,
                    completion,
                    slot,
                });
            }
            Event::Transfer {
                trb,
                completion,
                nr_left,
                slot,
                endpoint,
            } => {
                let done = Done {
                    trb,
                    completion,
                    slot,
                };
                self.transfer_ended(done, endpoint, nr_left);
            }
            Event::Port(port) if (1..=self.layout.nr_ports).contains(&port) => {
                self.changed.add(port);
            }
            Event::Port(_) | Event::Other(_) => log::debug!("usb: {event:?}"),
        }
    }

    /// Gives the controller a command and waits for its end; returns the slot that it
    /// tells.
    ///
    /// # Errors
    ///
    /// [`Fault::Ended`] if it did not end well.
    pub(super) async fn command(&mut self, block: Trb) -> Result<u8, Fault> {
        const COMMANDS: u8 = 0;
        let address = self.commands.push(&self.command_memory, block);
        self.command_done = None;
        self.ring_doorbell(COMMANDS, 0);
        for _ in 0..COMMAND_TICKS {
            self.take_events();
            let done = self.command_done.take_if(|done| done.trb == address);
            if let Some(done) = done {
                return match done.completion {
                    Completion::SUCCESS => Ok(done.slot),
                    other => Err(Fault::Ended(other)),
                };
            }
            self.tick().await?;
        }
        Err(Fault::Controller("it does not answer a command"))
    }

    /// Tells the controller that there is something to do for a slot, or for none.
    pub(super) fn ring_doorbell(&self, slot: u8, target: u8) {
        let place = self.layout.doorbells + usize::from(slot) * size_of::<u32>();
        self.registers.write(place, target.into());
    }

    pub(super) fn read_operational(&self, register: usize) -> u32 {
        self.registers.read(self.layout.operational + register)
    }

    pub(super) fn write_operational(&self, register: usize, value: u32) {
        let place = self.layout.operational + register;
        self.registers.write(place, value);
    }

    pub(super) fn read_port(&self, port: u8) -> u32 {
        self.registers.read(self.layout.port(port))
    }

    /// Writes bits of a port's register, and leaves what stays.
    pub(super) fn write_port(&self, number: u8, bits: u32) {
        let kept = self.read_port(number) & port::KEPT;
        self.registers.write(self.layout.port(number), kept | bits);
    }

    /// Returns what ports of a kind a port is among, if the controller says so.
    pub(super) fn protocol(&self, port: u8) -> Option<&Ports> {
        self.protocols.iter().find(|ports| ports.has(port))
    }
}
