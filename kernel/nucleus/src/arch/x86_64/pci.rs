//! PCI's configuration space, by its first mechanism (PCI Local Bus Specification 3.0,
//! 3.2.2.3.2), which every chip set has, and which knows the first 256 bytes of each
//! function.
//!
//! ```text
//!  0xcf8  31       23    15      10        7        1 0
//!        │enable│  …  │ bus │ device │ function │ word │00│      0xcfc  the word
//! ```
//!
//! Buses are found by walking from bus 0, and from those of the other host bridges that
//! bus 0 tells of, through the bridges, as firmware has numbered them. What it has not set
//! up is not found; nor are host bridges that ACPI's byte code alone tells of.

use core::fmt;

use pci_types::{
    CommandRegister, ConfigRegionAccess, HeaderType, PciAddress, PciHeader, PciPciBridgeHeader,
};
use x86_64::instructions::port::Port;

use crate::sync::SpinLock;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

const DEVICES: u8 = 32;
const FUNCTIONS: u8 = 8;
/// What the id of a function reads as that is not there.
const NOBODY: u16 = 0xffff;
/// The first of a function's base addresses.
const BASE_ADDRESS: u16 = 0x10;

/// Between the address and the data nobody else writes an address.
static PORTS: SpinLock<()> = SpinLock::new(());

/// The mechanism.
#[derive(Clone, Copy)]
struct Mechanism;

impl ConfigRegionAccess for Mechanism {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        let _others_wait = PORTS.lock();
        select(address, offset);
        // SAFETY: Reading a configuration register changes nothing of memory.
        unsafe { Port::new(DATA).read() }
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        let _others_wait = PORTS.lock();
        select(address, offset);
        // SAFETY: The caller answers for what the register does.
        unsafe { Port::new(DATA).write(value) };
    }
}

/// Selects a register.
fn select(address: PciAddress, offset: u16) {
    let place = u32::from(address.bus()) << 16
        | u32::from(address.device()) << 11
        | u32::from(address.function()) << 8
        | u32::from(offset & 0xfc);
    // SAFETY: Selects the register, and changes nothing else.
    unsafe { Port::new(ADDRESS).write(ENABLE | place) };
}

/// Writes a byte of the configuration of a device on bus 0, as the machine's last deed:
/// whoever else selected a register is not waited for.
pub(super) fn write_byte(device: u8, function: u8, offset: u8, value: u8) {
    select(
        PciAddress::new(0, 0, device % DEVICES, function % FUNCTIONS),
        offset.into(),
    );
    // SAFETY: ACPI's tables name the register and the value for this.
    unsafe { Port::new(DATA + u16::from(offset & 3)).write(value) };
}

/// A function that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function(PciAddress);

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Function {
    /// Returns what it is: class, subclass and interface.
    pub(crate) fn class(self) -> (u8, u8, u8) {
        let (_, base, sub, interface) = self.header().revision_and_class(Mechanism);
        (base, sub, interface)
    }

    /// Returns the physical address of the registers that its first base address names.
    /// `None` if that is none of memory, or was not set by firmware.
    ///
    /// Its size is not asked for: the registers would be elsewhere meanwhile, and firmware
    /// may be using them.
    pub(crate) fn registers(self) -> Option<u64> {
        const IS_PORT: u32 = 1;
        const TYPE: u32 = 0b110;
        const IS_64_BIT: u32 = 0b100;
        if self.header().header_type(Mechanism) != HeaderType::Endpoint {
            return None;
        }
        // SAFETY: Endpoints have these registers, and reading changes nothing.
        let low = unsafe { Mechanism.read(self.0, BASE_ADDRESS) };
        if low & IS_PORT != 0 {
            return None;
        }
        let high = if low & TYPE == IS_64_BIT {
            // SAFETY: As above.
            unsafe { Mechanism.read(self.0, BASE_ADDRESS + 4) }
        } else {
            0
        };
        let address = u64::from(high) << 32 | u64::from(low & !0xf);
        (address != 0).then_some(address)
    }

    /// Lets the function answer at its registers and use memory by itself, but not
    /// interrupt by a line.
    ///
    /// Whoever calls it answers for what it was told of memory, now or by firmware.
    pub(crate) fn enable(self) {
        self.header().update_command(Mechanism, |command| {
            command
                | CommandRegister::MEMORY_ENABLE
                | CommandRegister::BUS_MASTER_ENABLE
                | CommandRegister::INTERRUPT_DISABLE
        });
    }

    fn header(self) -> PciHeader {
        PciHeader::new(self.0)
    }
}

/// Calls a function for each function of each device that is there; once for each.
pub(crate) fn for_each(mut visit: impl FnMut(Function)) {
    if !is_there() {
        return;
    }
    let mut buses = Buses::default();
    buses.add_host_bridges();
    while let Some(bus) = buses.next() {
        for device in 0..DEVICES {
            for function in functions_of(bus, device) {
                buses.add_behind(function);
                visit(function);
            }
        }
    }
}

/// Returns whether anybody keeps the address that is written.
fn is_there() -> bool {
    let _others_wait = PORTS.lock();
    select(PciAddress::new(0, 0, 0, 0), 0);
    // SAFETY: Reading the port changes nothing.
    unsafe { Port::<u32>::new(ADDRESS).read() == ENABLE }
}

fn functions_of(bus: u8, device: u8) -> impl Iterator<Item = Function> {
    let at = move |function| PciAddress::new(0, bus, device, function);
    let header = PciHeader::new(at(0));
    let nr_functions = match header.id(Mechanism) {
        (NOBODY, _) => 0,
        _ if header.has_multiple_functions(Mechanism) => FUNCTIONS,
        _ => 1,
    };
    (0..nr_functions).map(at).filter_map(|address| {
        let (vendor, _) = PciHeader::new(address).id(Mechanism);
        (vendor != NOBODY).then_some(Function(address))
    })
}

/// The buses that are known: one bit for each.
#[derive(Default)]
struct Buses {
    known: [u128; 2],
    visited: [u128; 2],
}

impl Buses {
    fn add(&mut self, bus: u8) {
        self.known[usize::from(bus / 128)] |= 1 << (bus % 128);
    }

    /// Adds bus 0; and, where device 0 of it has several functions, for each of them the
    /// bus of its number: that many host bridges are there then.
    fn add_host_bridges(&mut self) {
        self.add(0);
        for function in functions_of(0, 0) {
            self.add(function.0.function());
        }
    }

    /// Adds the bus behind a function, if it is a bridge.
    fn add_behind(&mut self, function: Function) {
        if let Some(bridge) = PciPciBridgeHeader::from_header(function.header(), Mechanism) {
            self.add(bridge.secondary_bus_number(Mechanism));
        }
    }

    /// Returns a bus that was not visited yet, which it is from now on.
    fn next(&mut self) -> Option<u8> {
        for (half, (known, visited)) in self.known.iter().zip(&mut self.visited).enumerate() {
            let left = known & !*visited;
            if left != 0 {
                let bit = left.trailing_zeros();
                *visited |= 1 << bit;
                return u8::try_from(half * 128 + bit as usize).ok();
            }
        }
        None
    }
}

#[cfg(ktest)]
mod tests {
    use super::{Buses, Function, for_each, is_there};
    use crate::ktest::skip;
    use crate::prelude::*;

    #[ktest]
    fn each_bus_is_visited_once_however_often_it_is_found() {
        let mut buses = Buses::default();
        for bus in [200, 0, 127, 128, 0, 255] {
            buses.add(bus);
        }
        let mut order = alloc::vec::Vec::new();
        while let Some(bus) = buses.next() {
            order.push(bus);
            buses.add(bus);
        }
        assert_eq!(order, [0, 127, 128, 200, 255]);
    }

    #[ktest]
    fn host_bridge_is_found_first_and_nobody_twice() {
        if !is_there() {
            skip("there is no PCI bus");
        }
        let mut found = alloc::vec::Vec::new();
        for_each(|function: Function| found.push(function));
        let first = found.first().expect("the mechanism is part of a bridge");
        assert_eq!(first.class().0, 6, "a bridge: {first}");
        let mut addresses: alloc::vec::Vec<_> = found.iter().map(|function| function.0).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), found.len());
    }
}
