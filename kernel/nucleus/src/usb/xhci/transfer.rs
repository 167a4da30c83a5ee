//! Transfers: requests to devices by the endpoint of control, and what devices say by an
//! interrupt endpoint.

use super::device::{Device, Role};
use super::work::Done;
use super::{Controller, Fault};
use crate::console::input;
use crate::mm::VmIo;
use crate::mm::dma::DmaCoherent;
use crate::usb::context::CONTROL;
use crate::usb::ring::ProducerRing;
use crate::usb::trb::{Completion, Request, Trb};

/// Places in a slot's page.
pub(super) const CONTROL_RING: usize = 2048;
pub(super) const INTERRUPT_RING: usize = 2560;
const DATA: usize = 3072;
const REPORTS: usize = 3584;
/// Places of a ring in it.
pub(super) const RING_PLACES: usize = 32;
/// Most bytes of a request's data.
pub(super) const MAX_DATA: usize = 512;
/// Bytes of a report at most, and reports that are asked for in advance: whatever happens
/// from one tick to the next finds room.
pub(super) const MAX_REPORT: usize = 64;
const NR_REPORTS: usize = 8;

/// Time for a request. A device may take 5 s for some, and none does.
const REQUEST_TICKS: u32 = 200;
/// Errors in a row after which an interrupt endpoint is given up.
const MAX_ERRORS: u8 = 10;

/// An interrupt endpoint.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) ring: ProducerRing,
    /// The endpoint's number, as the controller counts.
    pub(super) number: u8,
    /// The report that comes next.
    next: usize,
    /// It has stopped by an error.
    is_halted: bool,
    nr_errors: u8,
}

impl Pipe {
    pub(super) fn new(ring: ProducerRing, number: u8) -> Self {
        Self {
            ring,
            number,
            next: 0,
            is_halted: false,
            nr_errors: 0,
        }
    }

    /// Asks for the report at a place.
    fn ask(&mut self, page: &DmaCoherent, index: usize) {
        let buffer = (page.daddr() + place_of(index)) as u64;
        self.ring.push(page, Trb::normal(buffer, MAX_REPORT as u32));
    }
}

/// Returns where a report is in a slot's page.
fn place_of(index: usize) -> usize {
    REPORTS + index % NR_REPORTS * MAX_REPORT
}

impl Controller {
    /// Returns a device and its page.
    pub(super) fn device(&mut self, slot: u8) -> Option<(&mut Device, &DmaCoherent)> {
        let index = usize::from(slot.checked_sub(1)?);
        let device = self.devices.get_mut(index)?.as_mut()?;
        Some((device, self.pages.get(index)?))
    }

    /// Makes a request to a device, with the data that go there; returns what came from
    /// there, with zeros for what did not.
    ///
    /// # Errors
    ///
    /// [`Fault::Ended`] if it ended otherwise than well: with [`Completion::STALL`] the
    /// device does not know the request. The endpoint can be used again then.
    pub(super) async fn request(
        &mut self,
        slot: u8,
        request: Request,
        data: &[u8],
    ) -> Result<[u8; MAX_DATA], Fault> {
        const GONE: Fault = Fault::Nonsense("it is gone");
        let (device, page) = self.device(slot).ok_or(GONE)?;
        let mut bytes = [0; MAX_DATA];
        for (byte, given) in bytes.iter_mut().zip(data) {
            *byte = *given;
        }
        page.write_bytes(DATA, &bytes).map_err(|_| GONE)?;
        device.control.push(page, Trb::setup(&request));
        if request.len > 0 {
            let buffer = (page.daddr() + DATA) as u64;
            device.control.push(page, Trb::data(&request, buffer));
        }
        let last = device.control.push(page, Trb::status(&request));
        self.control_done = None;
        self.ring_doorbell(slot, CONTROL);
        let completion = self.end_of_request(slot, last).await?;
        if completion != Completion::SUCCESS {
            self.reset_endpoint(slot, CONTROL).await?;
            return Err(Fault::Ended(completion));
        }
        let (_, page) = self.device(slot).ok_or(GONE)?;
        page.read_bytes(DATA, &mut bytes).map_err(|_| GONE)?;
        Ok(bytes)
    }

    /// Waits until a request has ended: its last stage, or an earlier one by an error.
    async fn end_of_request(&mut self, slot: u8, last: u64) -> Result<Completion, Fault> {
        for _ in 0..REQUEST_TICKS {
            self.take_events();
            let is_end = |done: &mut Done| {
                let is_good = done.completion == Completion::SUCCESS;
                done.slot == slot && (done.trb == last || !is_good)
            };
            if let Some(done) = self.control_done.take_if(is_end) {
                return Ok(done.completion);
            }
            self.tick().await?;
        }
        Err(Fault::Silent)
    }

    /// Lets an endpoint go on that has stopped, behind all that it was asked.
    async fn reset_endpoint(&mut self, slot: u8, endpoint: u8) -> Result<(), Fault> {
        // One that has not stopped is in the wrong state for it, and that is well.
        let outcome = self.command(Trb::reset_endpoint(slot, endpoint)).await;
        if let Err(fault @ Fault::Controller(_)) = outcome {
            return Err(fault);
        }
        let Some((device, page)) = self.device(slot) else {
            return Ok(());
        };
        let ring = match &device.pipe {
            Some(pipe) if pipe.number == endpoint => &pipe.ring,
            _ => &device.control,
        };
        let position = ring.position(page);
        let block = Trb::set_dequeue(slot, endpoint, position);
        self.command(block).await.map(drop)
    }

    /// Asks a device for reports, from now on.
    pub(super) fn listen(&mut self, slot: u8) {
        let Some((device, page)) = self.device(slot) else {
            return;
        };
        let Some(pipe) = &mut device.pipe else {
            return;
        };
        pipe.is_halted = false;
        pipe.next = 0;
        (0..NR_REPORTS).for_each(|index| pipe.ask(page, index));
        let number = pipe.number;
        self.ring_doorbell(slot, number);
    }

    /// Takes the end of a transfer.
    pub(super) fn transfer_ended(&mut self, done: Done, endpoint: u8, nr_left: u32) {
        if endpoint == CONTROL {
            self.control_done = Some(done);
            return;
        }
        let Some((device, page)) = self.device(done.slot) else {
            return;
        };
        let Some(pipe) = device.pipe.as_mut().filter(|pipe| pipe.number == endpoint) else {
            return;
        };
        if !matches!(
            done.completion,
            Completion::SUCCESS | Completion::SHORT_PACKET
        ) {
            pipe.is_halted = true;
            pipe.nr_errors = pipe.nr_errors.saturating_add(1);
            return;
        }
        pipe.nr_errors = 0;
        let mut report = [0; MAX_REPORT];
        let len = MAX_REPORT.saturating_sub(nr_left as usize);
        let is_read = page.read_bytes(place_of(pipe.next), &mut report).is_ok();
        pipe.ask(page, pipe.next);
        pipe.next = (pipe.next + 1) % NR_REPORTS;
        let number = pipe.number;
        if is_read {
            device.role.take_report(&report[..len]);
        }
        self.ring_doorbell(done.slot, number);
    }

    /// Returns a slot whose interrupt endpoint has stopped by an error.
    pub(super) fn halted_slot(&self) -> Option<u8> {
        self.slot_of(|device| {
            let pipe = device.pipe.as_ref();
            pipe.is_some_and(|pipe| pipe.is_halted && pipe.nr_errors <= MAX_ERRORS)
        })
    }

    /// Lets a device speak again whose interrupt endpoint has stopped.
    pub(super) async fn revive(&mut self, slot: u8) -> Result<(), Fault> {
        let Some((device, _)) = self.device(slot) else {
            return Ok(());
        };
        let place = device.place;
        let Some(pipe) = &mut device.pipe else {
            return Ok(());
        };
        pipe.is_halted = false;
        if pipe.nr_errors >= MAX_ERRORS {
            log::warn!("usb: the device on port {place} is given up: it always fails");
            return Ok(());
        }
        let number = pipe.number;
        self.reset_endpoint(slot, number).await?;
        self.listen(slot);
        Ok(())
    }

    /// Returns the first slot with a device that a function chooses.
    pub(super) fn slot_of(&self, is_wanted: impl Fn(&Device) -> bool) -> Option<u8> {
        let mut devices = self.devices.iter();
        let index = devices.position(|device| device.as_ref().is_some_and(&is_wanted))?;
        u8::try_from(index + 1).ok()
    }

    /// Repeats the keys that are held, at each tick.
    pub(super) fn repeat_keys(&mut self) {
        for device in self.devices.iter_mut().flatten() {
            if let Role::Keyboard(keyboard) = &mut device.role {
                keyboard.keys.on_tick(&mut input::use_key);
            }
        }
    }

    /// Says that no key is down any more.
    pub(super) fn release_all_keys(&mut self) {
        for device in self.devices.iter_mut().flatten() {
            device.role.release_all_keys();
        }
    }
}
