//! Registers of 8 bits that ACPI's tables name, wherever they are.

use core::iter;

use spin::Once;
use x86_64::instructions::port::Port;

use crate::arch::x86_64::{device_memory, pci};
use crate::boot::platform::{self, PowerOff, Register};
use crate::mm::Vaddr;

/// Registers in memory that are known: that of reset, that of sleep.
const MAX_MAPPED: usize = 2;

/// Where registers in memory are mapped, by their physical addresses.
static MAPPED: Once<[Option<(u64, Vaddr)>; MAX_MAPPED]> = Once::new();

/// Maps the registers in memory, for ever. Those that cannot be mapped are done without.
pub(super) fn init() {
    let platform = platform::get();
    let sleep = match platform.power_off {
        Some(PowerOff::Register { control, .. }) => Some(control),
        _ => None,
    };
    let registers = [platform.reset.map(|reset| reset.register), sleep];
    let mapped = registers.map(|register| match register {
        Some(Register::Memory(address)) => match device_memory::map(address) {
            Ok(vaddr) => Some((address, vaddr)),
            Err(error) => {
                log::warn!("power: the register at {address:#x} cannot be used: {error}");
                None
            }
        },
        _ => None,
    });
    MAPPED.call_once(|| mapped);
}

/// Writes a register; one in memory that is not mapped is left alone.
pub(super) fn write(register: Register, value: u8) {
    match register {
        Register::Port(port) => {
            // SAFETY: ACPI's tables name the port and the value for this.
            unsafe { Port::<u8>::new(port).write(value) };
        }
        Register::Memory(address) => {
            let known = iter::once(MAPPED.get()).flatten().flatten().flatten();
            for (_, vaddr) in known.filter(|(paddr, _)| *paddr == address) {
                // SAFETY: The register is mapped for ever, and is no RAM.
                unsafe { (*vaddr as *mut u8).write_volatile(value) };
            }
        }
        Register::PciConfiguration {
            device,
            function,
            offset,
        } => pci::write_byte(device, function, offset, value),
    }
}
