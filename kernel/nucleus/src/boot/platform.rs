//! What the machine is made of, as far as nobody can find it out by looking.
//!
//! ACPI's tables are [read](super::acpi) once, before there is an allocator, and
//! what is wanted of them is copied into a [`Platform`]: lists with a fixed
//! capacity, which count what found no place. Nothing in it is trusted to be
//! true: whoever uses an address or a port checks that something answers there.

use core::fmt;

use spin::Once;

use crate::cpu::MAX_CPUS;

/// What started the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS, or what a UEFI firmware has in place of one.
    Bios,
    /// UEFI.
    Uefi,
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bios => "BIOS",
            Self::Uefi => "UEFI",
        })
    }
}

/// The name of a processor in the interrupt hardware: 8 bits in xAPIC mode, 32 in
/// x2APIC mode. Names may have gaps, which a `CpuId` has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApicId(pub u32);

impl fmt::Display for ApicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "APIC {}", self.0)
    }
}

impl ApicId {
    /// The largest id that 8 bits can name; 255 means all processors.
    pub const MAX_XAPIC: Self = Self(254);
}

/// Whether a processor can be used, as the MADT's flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessorState {
    /// It can be started.
    Enabled,
    /// It is not there, but may be plugged in; this kernel does not wait for it.
    OnlineCapable,
    /// It cannot be used.
    Disabled,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Physical address of its registers.
    pub address: u64,
    /// The number of its first line among those of all I/O APICs.
    pub first_line: u32,
}

/// At which level of a line there is a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// The high one.
    ActiveHigh,
    /// The low one.
    ActiveLow,
}

/// How long a line shows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By changing.
    Edge,
    /// By staying until it is served.
    Level,
}

/// Where a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The line among those of all I/O APICs.
    pub line: u32,
    /// Which level is a request.
    pub polarity: Polarity,
    /// How a request looks.
    pub trigger: Trigger,
}

/// Where a line of the ISA bus ends that does not end at the line of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The line of the bus, 0 to 15.
    pub isa_line: u8,
    /// Where it ends.
    pub route: Route,
}

/// The power-management timer, of 3 579 545 Hz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmTimer {
    /// The port of its 32-bit register.
    pub port: u16,
    /// It counts with 32 bits, and not with 24.
    pub is_32_bit: bool,
}

/// The battery-backed clock at its usual ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CalendarClock {
    /// Its register of the century.
    pub century: Option<u8>,
}

/// A value of 8 bits, and the port to write it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortWrite {
    /// The port.
    pub port: u16,
    /// The value.
    pub value: u8,
}

/// Where a register of 8 bits is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// At a port.
    Port(u16),
    /// In memory, at a physical address.
    Memory(u64),
    /// In the configuration of a PCI device on bus 0.
    PciConfiguration {
        /// The device, below 32.
        device: u8,
        /// Its function, below 8.
        function: u8,
        /// The byte.
        offset: u8,
    },
}

/// A control register of power management, of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepPort {
    /// Its port.
    pub port: u16,
    /// The type of sleep that is S5 there, below 8.
    pub sleep_type: u8,
}

/// How a machine enters sleep state S5: it is off then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerOff {
    /// By its control registers.
    Ports {
        /// The first one.
        a: SleepPort,
        /// The second one, which few machines have.
        b: Option<SleepPort>,
        /// What gets these registers from firmware, if it has them.
        enable: Option<PortWrite>,
    },
    /// By one register for that, on machines without the others.
    Register {
        /// The register.
        control: Register,
        /// The type of sleep that is S5 there, below 8.
        sleep_type: u8,
    },
}

/// The write of 8 bits that resets the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetRegister {
    /// Where to.
    pub register: Register,
    /// The value.
    pub value: u8,
}

/// A list with a fixed capacity.
#[derive(Clone, Copy)]
pub struct List<T, const N: usize> {
    items: [Option<T>; N],
    len: usize,
    nr_left_out: usize,
}

impl<T: Copy + PartialEq, const N: usize> List<T, N> {
    const fn new() -> Self {
        Self {
            items: [None; N],
            len: 0,
            nr_left_out: 0,
        }
    }

    /// Adds an item unless it is there already; counts it when there is no place.
    pub(super) fn push_once(&mut self, item: T) {
        if self.iter().any(|known| *known == item) {
            return;
        }
        match self.items.get_mut(self.len) {
            Some(place) => {
                *place = Some(item);
                self.len += 1;
            }
            None => self.nr_left_out += 1,
        }
    }

    /// Returns the items, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }

    /// Returns the number of items.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many items found no place.
    pub const fn nr_left_out(&self) -> usize {
        self.nr_left_out
    }
}

impl<T: Copy + PartialEq + fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Most I/O APICs, and most overrides, that are remembered.
const MAX_ENTRIES: usize = 16;

/// The machine, as ACPI's tables describe it.
#[derive(Clone, Debug)]
pub struct Platform {
    /// The processors that can be started, the boot processor first.
    processors: List<ApicId, MAX_CPUS>,
    nr_online_capable: usize,
    nr_disabled: usize,
    /// Where the MADT says that the local APICs are.
    pub local_apic: Option<u64>,
    /// The I/O APICs.
    pub io_apics: List<IoApic, MAX_ENTRIES>,
    /// The lines of ISA that do not end where their number says.
    pub overrides: List<Override, MAX_ENTRIES>,
    /// Physical address of the event timer's registers.
    pub hpet: Option<u64>,
    /// The power-management timer.
    pub pm_timer: Option<PmTimer>,
    /// The battery-backed clock, unless the machine is said to have none.
    pub calendar_clock: Option<CalendarClock>,
    /// How the machine is powered off.
    pub power_off: Option<PowerOff>,
    /// How the machine is reset.
    pub reset: Option<ResetRegister>,
    /// Whether there is a keyboard controller, if anybody says so.
    pub keyboard_controller: Option<bool>,
}

impl Platform {
    /// Describes a machine that says nothing: one processor and a pair of 8259s.
    pub fn without_tables(boot_apic: ApicId) -> Self {
        let mut processors = List::new();
        processors.push_once(boot_apic);
        Self {
            processors,
            nr_online_capable: 0,
            nr_disabled: 0,
            local_apic: None,
            io_apics: List::new(),
            overrides: List::new(),
            hpet: None,
            pm_timer: None,
            calendar_clock: Some(CalendarClock::default()),
            power_off: None,
            reset: None,
            keyboard_controller: None,
        }
    }

    /// Returns the processors that can be started, in the order of the MADT, but
    /// the boot processor first. None is named twice.
    pub fn processors(&self) -> impl Iterator<Item = ApicId> {
        self.processors.iter().copied()
    }

    /// Returns where a line of the ISA bus ends: at the line of its number, as the
    /// bus has it, unless there is an override.
    pub fn route(&self, isa_line: u8) -> Route {
        let mut overrides = self.overrides.iter();
        let overridden = overrides.find(|known| known.isa_line == isa_line);
        overridden.map_or(
            Route {
                line: u32::from(isa_line),
                polarity: Polarity::ActiveHigh,
                trigger: Trigger::Edge,
            },
            |known| known.route,
        )
    }

    /// Returns the number of processors that can be started.
    pub fn nr_processors(&self) -> usize {
        self.processors.len()
    }

    /// Returns how many processors there are besides those that found a place.
    pub fn nr_processors_left_out(&self) -> usize {
        self.processors.nr_left_out()
    }

    /// Returns the numbers of processors that may be plugged in, and of those that
    /// cannot be used. One that is named twice counts twice.
    pub fn nr_absent(&self) -> (usize, usize) {
        (self.nr_online_capable, self.nr_disabled)
    }

    pub(super) fn add_processor(&mut self, id: ApicId, state: ProcessorState) {
        match state {
            ProcessorState::Enabled => self.processors.push_once(id),
            ProcessorState::OnlineCapable => self.nr_online_capable += 1,
            ProcessorState::Disabled => self.nr_disabled += 1,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nr_processors = self.processors.len();
        write!(f, "platform: {nr_processors} processors")?;
        let absent = [
            (self.nr_processors_left_out(), "left out"),
            (self.nr_online_capable, "not plugged in"),
            (self.nr_disabled, "disabled"),
        ];
        for (count, what) in absent.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, " and {count} {what}")?;
        }
        let nr_io_apics = self.io_apics.len();
        let nr_overrides = self.overrides.len();
        write!(f, ", {nr_io_apics} I/O APICs, {nr_overrides} overrides")?;
        let timers = [
            (self.pm_timer.is_some(), "PM timer"),
            (self.hpet.is_some(), "HPET"),
            (self.power_off.is_some(), "power-off"),
            (self.reset.is_some(), "reset"),
        ];
        for (_, what) in timers.into_iter().filter(|(there, _)| *there) {
            write!(f, ", {what}")?;
        }
        Ok(())
    }
}

static PLATFORM: Once<Platform> = Once::new();

/// Remembers what the machine is made of; the first call counts.
pub(super) fn set(platform: Platform) {
    PLATFORM.call_once(|| platform);
}

/// Returns what the machine is made of.
///
/// # Panics
///
/// Panics before start-up has read the tables.
pub fn get() -> &'static Platform {
    try_get().expect("start-up reads ACPI's tables first of all")
}

/// Returns what the machine is made of, if start-up has got so far.
pub fn try_get() -> Option<&'static Platform> {
    PLATFORM.get()
}
