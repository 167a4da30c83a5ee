//! Starting a controller (xHCI 1.2, 4.2 and 4.22.1).
//!
//! The page that it is told once:
//!
//! ```text
//!  0      addresses of the device contexts, by slots; the first one is that of the
//!         controller's own pages
//!  512    table of the segments of the ring of events: one
//!  1024   input context, which each command uses that has one
//! ```

use alloc::vec::Vec;

use super::registers::{self, command, legacy, op, port, runtime, status};
use super::work::PortSet;
use super::{Controller, Fault, MAX_SLOTS};
use crate::arch::x86_64::pci::Function;
use crate::mm::PAGE_SIZE;
use crate::mm::dma::DmaCoherent;
use crate::usb::context::{self, Input};
use crate::usb::ring::{EventRing, ProducerRing, write, write_u64};
use crate::usb::trb;

const TABLE: usize = 512;
const INPUT: usize = 1024;
const _: () = assert!((MAX_SLOTS as usize + 1) * size_of::<u64>() <= TABLE);
const _: () = assert!(INPUT + context::INPUT_SIZE <= PAGE_SIZE);

/// Time for firmware to let go, as long as others give it.
const FIRMWARE_TICKS: u32 = 100;
/// Time for a reset and the like.
const RESET_TICKS: u32 = 100;
/// Time for ports to have power, and for devices to show.
const POWER_TICKS: u32 = 12;

impl Controller {
    /// Maps a controller's registers and allocates all memory for it; does nothing to it
    /// but let it answer.
    pub(super) fn new(function: Function) -> Result<Self, &'static str> {
        const NO_MEMORY: &str = "there is too little memory";
        let address = function.registers().ok_or("it has no registers")?;
        function.enable();
        let mapped = registers::map(address);
        let mapped = mapped.map_err(|_| "its registers cannot be mapped")?;
        let (registers, layout) = mapped.ok_or("it does not answer")?;
        if registers.read(layout.operational + op::PAGE_SIZE) & 1 == 0 {
            return Err("it has no pages of 4 KiB");
        }
        let page = || DmaCoherent::alloc(1).map_err(|_| NO_MEMORY);
        let nr_slots = layout.nr_slots.min(MAX_SLOTS);
        let pages: Vec<_> = (0..nr_slots).map(|_| page()).collect::<Result<_, _>>()?;
        let (shared, command_memory, event_memory) = (page()?, page()?, page()?);
        let scratch = match layout.nr_scratch_pages {
            0 => None,
            count => Some(scratch(count).ok_or(NO_MEMORY)?),
        };
        {
            let own = scratch.iter().flat_map(|(list, pages)| [list, pages]);
            let all = pages
                .iter()
                .chain([&shared, &command_memory, &event_memory]);
            let mut ends = all.chain(own).map(|memory| memory.daddr() + memory.size());
            if !layout.is_64_bit && ends.any(|end| end > 1 << 32) {
                return Err("it cannot use memory beyond 4 GiB");
            }
        }
        if let Some((list, _)) = &scratch {
            write_u64(&shared, 0, list.daddr() as u64);
        }
        let nr_places = PAGE_SIZE / trb::SIZE;
        Ok(Self {
            function,
            protocols: layout.protocols(&registers),
            registers,
            layout,
            shared,
            _scratch: scratch,
            commands: ProducerRing::new(&command_memory, 0, nr_places),
            command_memory,
            events: EventRing::new(event_memory),
            pages,
            devices: [const { None }; MAX_SLOTS as usize],
            command_done: None,
            control_done: None,
            changed: PortSet::default(),
            settled: PortSet::default(),
            is_running: false,
            nr_ticks: 0,
        })
    }

    /// Takes the controller from firmware and runs it.
    pub(super) async fn start(&mut self) -> Result<(), Fault> {
        self.take_from_firmware().await?;
        self.reset().await?;
        self.tell_memory();
        self.write_operational(op::COMMAND, command::RUN);
        let is_running = |status| status & status::IS_HALTED == 0;
        self.wait_for_status(is_running, "it does not start")
            .await?;
        self.is_running = true;
        for port in 1..=self.layout.nr_ports {
            if self.layout.has_power_switches {
                self.write_port(port, port::HAS_POWER);
            }
        }
        for _ in 0..POWER_TICKS {
            self.tick().await?;
        }
        (1..=self.layout.nr_ports).for_each(|port| self.changed.add(port));
        Ok(())
    }

    /// Stops the controller, without waiting for it.
    pub(super) fn stop(&self) {
        self.write_operational(op::COMMAND, 0);
    }

    /// Has firmware let go of the controller, and no longer be interrupted by it. One that
    /// does not answer in time is not asked again.
    async fn take_from_firmware(&mut self) -> Result<(), Fault> {
        let Some(claims) = self.layout.legacy(&self.registers) else {
            return Ok(());
        };
        let old = self.registers.read(claims);
        self.registers.write(claims, old | legacy::IS_OURS);
        let mut ticks = 0..FIRMWARE_TICKS;
        while self.registers.read(claims) & legacy::IS_FIRMWARES != 0 {
            if ticks.next().is_none() {
                log::warn!("usb: firmware does not let go of {}", self.function);
                let now = self.registers.read(claims);
                self.registers.write(claims, now & !legacy::IS_FIRMWARES);
                break;
            }
            self.tick().await?;
        }
        let control = claims + legacy::CONTROL;
        let kept = self.registers.read(control) & !(legacy::INTERRUPTS | legacy::EVENTS);
        self.registers.write(control, kept | legacy::EVENTS);
        Ok(())
    }

    /// Stops and resets the controller.
    async fn reset(&mut self) -> Result<(), Fault> {
        self.stop();
        let is_halted = |status| status & status::IS_HALTED != 0;
        self.wait_for_status(is_halted, "it does not stop").await?;
        self.write_operational(op::COMMAND, command::RESET);
        // Some do not answer for a while then.
        self.tick().await?;
        let mut ticks = 0..RESET_TICKS;
        while self.read_operational(op::COMMAND) & command::RESET != 0 {
            ticks.next().ok_or(Fault::Controller("it does not reset"))?;
            self.tick().await?;
        }
        let is_ready = |status| status & status::NOT_READY == 0;
        self.wait_for_status(is_ready, "it does not get ready")
            .await
    }

    async fn wait_for_status(
        &mut self,
        is_reached: impl Fn(u32) -> bool,
        why: &'static str,
    ) -> Result<(), Fault> {
        let mut ticks = 0..RESET_TICKS;
        while !is_reached(self.read_operational(op::STATUS)) {
            ticks.next().ok_or(Fault::Controller(why))?;
            self.tick().await?;
        }
        Ok(())
    }

    /// Tells the controller where its memory is.
    fn tell_memory(&self) {
        const ONE_SEGMENT: u32 = 1;
        let shared = self.shared.daddr() as u64;
        write_u64(&self.shared, TABLE, self.events.start());
        write(&self.shared, TABLE + 8, EventRing::NR_PLACES as u32);
        self.write_operational(op::CONFIG, self.pages.len() as u32);
        let operational = self.layout.operational;
        self.registers.write_u64(operational + op::CONTEXTS, shared);
        let commands = self.commands.position(&self.command_memory);
        self.registers
            .write_u64(operational + op::COMMAND_RING, commands);
        let base = self.layout.runtime;
        self.registers
            .write(base + runtime::TABLE_SIZE, ONE_SEGMENT);
        self.registers
            .write_u64(base + runtime::DEQUEUE, self.events.position());
        // The last one, which starts the ring.
        let table = shared + TABLE as u64;
        self.registers.write_u64(base + runtime::TABLE, table);
    }

    /// Returns the input context.
    pub(super) fn input(&self) -> Input<'_> {
        Input {
            memory: &self.shared,
            offset: INPUT,
            context_size: self.layout.context_size,
        }
    }

    /// Tells the controller where a slot's device context is, or that it has none.
    pub(super) fn set_device_context(&self, slot: u8, address: u64) {
        write_u64(&self.shared, usize::from(slot) * size_of::<u64>(), address);
    }
}

/// Allocates pages for the controller's own use, and the list of their addresses before
/// them.
fn scratch(count: usize) -> Option<(DmaCoherent, DmaCoherent)> {
    let list_size = count * size_of::<u64>();
    let list = DmaCoherent::alloc(list_size.div_ceil(PAGE_SIZE)).ok()?;
    let pages = DmaCoherent::alloc(count).ok()?;
    for index in 0..count {
        let address = (pages.daddr() + index * PAGE_SIZE) as u64;
        write_u64(&list, index * size_of::<u64>(), address);
    }
    Some((list, pages))
}
