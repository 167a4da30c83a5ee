//! Where a controller's registers are, and what their bits mean (xHCI 1.2, 5 and 7).
//!
//! ```text
//!  0         capabilities: sizes, and where the others are
//!  +CAPLENGTH operational: command, status, memory of the driver; from 0x400 on the ports
//!  +RTSOFF    runtime: the ring of events
//!  +DBOFF     doorbells: one for commands, one for each slot
//! ```

use alloc::vec::Vec;

use crate::arch::x86_64::device_memory::Registers;
use crate::error::{Error, Result};
use crate::mm::PAGE_SIZE;

/// Operational registers.
pub(super) mod op {
    pub(in super::super) const COMMAND: usize = 0;
    pub(in super::super) const STATUS: usize = 4;
    pub(in super::super) const PAGE_SIZE: usize = 8;
    pub(in super::super) const COMMAND_RING: usize = 0x18;
    pub(in super::super) const CONTEXTS: usize = 0x30;
    pub(in super::super) const CONFIG: usize = 0x38;
    /// Of the first port; each has four.
    pub(in super::super) const PORTS: usize = 0x400;
}

/// Bits of the command register.
pub(super) mod command {
    pub(in super::super) const RUN: u32 = 1;
    pub(in super::super) const RESET: u32 = 1 << 1;
}

/// Bits of the status register.
pub(super) mod status {
    pub(in super::super) const IS_HALTED: u32 = 1;
    /// An access to memory failed.
    pub(in super::super) const HOST_ERROR: u32 = 1 << 2;
    pub(in super::super) const NOT_READY: u32 = 1 << 11;
    pub(in super::super) const CONTROLLER_ERROR: u32 = 1 << 12;
}

/// Runtime registers of the first interrupter.
pub(super) mod runtime {
    pub(in super::super) const TABLE_SIZE: usize = 0x28;
    pub(in super::super) const TABLE: usize = 0x30;
    pub(in super::super) const DEQUEUE: usize = 0x38;
    /// With the address: what is there has been seen.
    pub(in super::super) const IS_BUSY: u64 = 1 << 3;
}

/// Bits of a port's register.
pub(super) mod port {
    pub(in super::super) const IS_CONNECTED: u32 = 1;
    /// Written: disables the port.
    pub(in super::super) const IS_ENABLED: u32 = 1 << 1;
    pub(in super::super) const RESET: u32 = 1 << 4;
    pub(in super::super) const HAS_POWER: u32 = 1 << 9;
    pub(in super::super) const CONNECTION_CHANGED: u32 = 1 << 17;
    pub(in super::super) const RESET_DONE: u32 = 1 << 21;
    pub(in super::super) const WARM_RESET_DONE: u32 = 1 << 19;
    /// All that tell of a change, and end to do so when they are written.
    pub(in super::super) const CHANGES: u32 = 0x7f << 17;
    /// USB 3: a reset that also helps a port that found no speed.
    pub(in super::super) const WARM_RESET: u32 = 1 << 31;
    /// What stays as it is when it is written back: power, lights, and what wakes. All
    /// others do something, or are read-only.
    pub(in super::super) const KEPT: u32 = HAS_POWER | 0b11 << 14 | 0b111 << 25;

    /// Returns the number of the speed.
    pub(in super::super) const fn speed(value: u32) -> u8 {
        (value >> 10 & 0xf) as u8
    }
}

/// Firmware's and the system's claim to a controller (xHCI 1.2, 7.1).
pub(super) mod legacy {
    pub(in super::super) const IS_FIRMWARES: u32 = 1 << 16;
    pub(in super::super) const IS_OURS: u32 = 1 << 24;
    /// The next register: what interrupts into firmware.
    pub(in super::super) const CONTROL: usize = 4;
    pub(in super::super) const INTERRUPTS: u32 = 1 | 1 << 4 | 0b111 << 13;
    pub(in super::super) const EVENTS: u32 = 0b111 << 29;
}

/// Ports that speak the same protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    first: u8,
    count: u8,
    pub(super) is_usb3: bool,
    pub(super) slot_type: u8,
}

impl Ports {
    /// Returns whether a port is one of these.
    pub(super) fn has(&self, port: u8) -> bool {
        port.checked_sub(self.first)
            .is_some_and(|index| index < self.count)
    }
}

/// What a controller says of itself.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) operational: usize,
    pub(super) runtime: usize,
    pub(super) doorbells: usize,
    /// Capabilities that were added later; zero for none.
    extended: usize,
    pub(super) nr_ports: u8,
    pub(super) nr_slots: u8,
    /// Pages that the controller wants for itself.
    pub(super) nr_scratch_pages: usize,
    pub(super) context_size: usize,
    /// It can use memory beyond 4 GiB.
    pub(super) is_64_bit: bool,
    pub(super) has_power_switches: bool,
}

impl Layout {
    /// Reads it; `None` if nobody answers.
    fn read(registers: &Registers) -> Option<Self> {
        let version = registers.read(0);
        if version == u32::MAX || version == 0 {
            return None;
        }
        let sizes = registers.read(0x04);
        let scratch = registers.read(0x08);
        let flags = registers.read(0x10);
        Some(Self {
            operational: (version & 0xff) as usize,
            runtime: (registers.read(0x18) & !0x1f) as usize,
            doorbells: (registers.read(0x14) & !0b11) as usize,
            extended: (flags >> 16) as usize * size_of::<u32>(),
            nr_ports: (sizes >> 24) as u8,
            nr_slots: sizes as u8,
            nr_scratch_pages: (scratch >> 16 & 0x3e0 | scratch >> 27) as usize,
            context_size: if flags & 1 << 2 != 0 { 64 } else { 32 },
            is_64_bit: flags & 1 != 0,
            has_power_switches: flags & 1 << 3 != 0,
        })
    }

    /// Returns how many bytes the registers take that are used, as far as the extended ones
    /// go into the page where they begin.
    fn len(&self) -> usize {
        let ports = self.operational + op::PORTS + usize::from(self.nr_ports) * 16;
        let doorbells = self.doorbells + (usize::from(self.nr_slots) + 1) * size_of::<u32>();
        let runtime = self.runtime + runtime::DEQUEUE + size_of::<u64>();
        let extended = (self.extended + 1).next_multiple_of(PAGE_SIZE);
        [ports, doorbells, runtime, extended]
            .into_iter()
            .fold(PAGE_SIZE, usize::max)
    }

    /// Returns the offset of a port's register.
    pub(super) fn port(&self, port: u8) -> usize {
        self.operational + op::PORTS + usize::from(port.saturating_sub(1)) * 16
    }

    /// Returns the extended capabilities, by their numbers and offsets. They lead forward
    /// alone, and so have an end.
    fn extended(&self, registers: &Registers) -> impl Iterator<Item = (u8, usize)> {
        let mut next = Some(self.extended).filter(|offset| *offset > 0);
        core::iter::from_fn(move || {
            let offset = next?;
            let header = registers.read(offset);
            if header == u32::MAX {
                return None;
            }
            let step = (header >> 8 & 0xff) as usize * size_of::<u32>();
            next = (step > 0).then(|| offset + step);
            Some((header as u8, offset))
        })
    }

    /// Returns where the claims to the controller are, if firmware can have one.
    pub(super) fn legacy(&self, registers: &Registers) -> Option<usize> {
        const LEGACY: u8 = 1;
        let mut all = self.extended(registers);
        all.find_map(|(number, offset)| (number == LEGACY).then_some(offset))
    }

    /// Returns which protocols the ports speak.
    pub(super) fn protocols(&self, registers: &Registers) -> Vec<Ports> {
        const PROTOCOL: u8 = 2;
        let all = self.extended(registers);
        let protocols = all.filter(|(number, _)| *number == PROTOCOL);
        protocols
            .map(|(_, offset)| {
                let place = registers.read(offset + 8);
                Ports {
                    first: place as u8,
                    count: (place >> 8) as u8,
                    is_usb3: registers.read(offset) >> 24 == 3,
                    slot_type: (registers.read(offset + 12) & 0x1f) as u8,
                }
            })
            .collect()
    }
}

/// More than this no controller has.
const MAX_LEN: usize = 1 << 20;

/// Maps a controller's registers; `None` if nobody answers there.
///
/// # Errors
///
/// As [`Registers::map`]; [`Error::InvalidArgs`] if they are said to be far apart.
pub(super) fn map(address: u64) -> Result<Option<(Registers, Layout)>> {
    // How many there are stands in the first page, which stays mapped by itself.
    let first = Registers::map(address, PAGE_SIZE)?;
    let Some(layout) = Layout::read(&first) else {
        return Ok(None);
    };
    if layout.len() > MAX_LEN {
        return Err(Error::InvalidArgs);
    }
    let all = Registers::map(address, layout.len())?;
    Ok(Some((all, layout)))
}
