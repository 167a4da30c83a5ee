//! The FADT: registers of power-off and reset, PM timer, calendar, and whether there is
//! a keyboard controller (specification 6.5, 5.2.9).
//!
//! Power-off writes the sleep type of state S5 into one or two control registers, or
//! into one of another kind on machines with "reduced hardware".
//! The type stands in the firmware's byte code; instead of interpreting that, the
//! bytes of the package `_S5_` are looked for, within the table's length.

use acpi::AcpiError;
use acpi::address::{AddressSpace, GenericAddress};
use acpi::fadt::Fadt;

use super::tables::Tables;
use super::{PhysicalMemory, read};
use crate::boot::platform::{
    CalendarClock, Platform, PmTimer, PortWrite, PowerOff, Register, ResetRegister, SleepPort,
};

/// Bytes of a FADT that may be used: all that ACPI 1.0 had.
const OLD_SIZE: usize = 116;
/// The lengths of the register blocks, in bytes.
const BLOCK_LENGTHS: core::ops::Range<usize> = 88..92;
/// No block is longer; the crate computes the number of bits in a byte.
const MAX_BLOCK_LENGTH: u8 = 31;

/// Where the table's revision is, and the first that says what PC hardware there is.
const REVISION: usize = 8;
const FIRST_WITH_BOOT_ARCHITECTURE: u8 = 3;

/// Where a century may be, past the clock itself.
const CENTURY_REGISTERS: core::ops::RangeInclusive<u8> = 0x0e..=0x7f;

/// Takes what a FADT says into a platform.
pub(super) fn apply<M: PhysicalMemory>(
    table: &[u8],
    tables: &Tables<'_, M>,
    platform: &mut Platform,
) {
    let Some(fadt) = complete(table) else {
        log::warn!("acpi: a FADT of {} bytes says nothing", table.len());
        return;
    };
    platform.pm_timer = fadt.pm_timer_block().ok().flatten().and_then(|block| {
        Some(PmTimer {
            port: port_of(Ok(block))?,
            is_32_bit: { fadt.flags }.pm_timer_is_32_bit(),
        })
    });
    let has_clock = !{ fadt.iapc_boot_arch }.use_time_and_alarm_namespace_for_rtc();
    platform.calendar_clock = has_clock.then(|| CalendarClock {
        century: Some(fadt.century).filter(|register| CENTURY_REGISTERS.contains(register)),
    });
    platform.reset = { fadt.flags }
        .supports_system_reset_via_fadt()
        .then(|| reset_register(&fadt))
        .flatten();
    let dsdt = fadt.dsdt_address().ok();
    let dsdt = dsdt.and_then(|address| tables.at(address as u64, *b"DSDT"));
    platform.power_off = dsdt.and_then(|code| power_off(&fadt, sleep_types(code)?));
    let says = table[REVISION] >= FIRST_WITH_BOOT_ARCHITECTURE;
    platform.keyboard_controller =
        says.then(|| { fadt.iapc_boot_arch }.motherboard_implements_8042());
}

/// Reads a FADT as of the newest revision: fields that an older one does not have
/// are zero, which means that there is nothing.
fn complete(table: &[u8]) -> Option<Fadt> {
    let mut bytes = [0; size_of::<Fadt>()];
    let len = table.len().min(bytes.len());
    if len < OLD_SIZE {
        return None;
    }
    bytes[..len].copy_from_slice(&table[..len]);
    for length in &mut bytes[BLOCK_LENGTHS] {
        *length = (*length).min(MAX_BLOCK_LENGTH);
    }
    read(&bytes)
}

fn power_off(fadt: &Fadt, (type_a, type_b): (u8, u8)) -> Option<PowerOff> {
    if { fadt.flags }.system_is_hw_reduced_acpi() {
        let control = fadt.sleep_control_register().ok().flatten()?;
        return Some(PowerOff::Register {
            control: register(control)?,
            sleep_type: type_a & 7,
        });
    }
    let port = |block, sleep_type: u8| {
        Some(SleepPort {
            port: port_of(block)?,
            sleep_type: sleep_type & 7,
        })
    };
    let port_b = fadt.pm1b_control_block().ok().flatten();
    let command = u16::try_from(fadt.smi_cmd_port).ok();
    let command = command.filter(|port| *port != 0 && fadt.acpi_enable != 0);
    Some(PowerOff::Ports {
        a: port(fadt.pm1a_control_block(), type_a)?,
        b: port_b.and_then(|block| port(Ok(block), type_b)),
        enable: command.map(|port| PortWrite {
            port,
            value: fadt.acpi_enable,
        }),
    })
}

fn reset_register(fadt: &Fadt) -> Option<ResetRegister> {
    Some(ResetRegister {
        register: register(fadt.reset_register().ok()?)?,
        value: fadt.reset_value,
    })
}

/// Returns where a register is, if it can be written there; zero is nowhere.
fn register(at: GenericAddress) -> Option<Register> {
    match at.address_space {
        AddressSpace::SystemIo => port_of(Ok(at)).map(Register::Port),
        AddressSpace::SystemMemory => (at.address != 0).then_some(Register::Memory(at.address)),
        AddressSpace::PciConfigSpace => {
            let word = |shift: u32| (at.address >> shift & 0xffff) as u16;
            let (device, function, offset) = (word(32), word(16), word(0));
            let is_legal = device < 32 && function < 8 && offset < 256;
            is_legal.then_some(Register::PciConfiguration {
                device: device as u8,
                function: function as u8,
                offset: offset as u8,
            })
        }
        _ => None,
    }
}

/// Returns the port of a register, if it is at one.
fn port_of(register: Result<GenericAddress, AcpiError>) -> Option<u16> {
    let register = register.ok()?;
    let port = u16::try_from(register.address).ok()?;
    let is_port = register.address_space == AddressSpace::SystemIo && port != 0;
    is_port.then_some(port)
}

/// Finds `_S5_`'s two sleep types: `NameOp "_S5_" PackageOp length count value
/// value`, where small values are opcodes themselves (20.2.3 and 20.2.5). The
/// name may occur without a package, where it is referred to.
pub(super) fn sleep_types(code: &[u8]) -> Option<(u8, u8)> {
    const NAME: &[u8] = b"_S5_";
    let mut names = code.windows(NAME.len()).enumerate();
    names.find_map(|(at, window)| {
        let is_name = window == NAME;
        is_name.then(|| package(&code[at + NAME.len()..])).flatten()
    })
}

fn package(code: &[u8]) -> Option<(u8, u8)> {
    const PACKAGE_OP: u8 = 0x12;
    let rest = code.strip_prefix(&[PACKAGE_OP])?;
    let extra_length_bytes = usize::from(rest.first()? >> 6);
    let values = rest.get(1 + extra_length_bytes + 1..)?;
    let (first, values) = integer(values)?;
    // Some firmware leaves the second out where there is one register.
    let second = integer(values).map_or(0, |(second, _)| second);
    Some((first, second))
}

/// Reads a small integer of byte code; returns it and what follows.
fn integer(code: &[u8]) -> Option<(u8, &[u8])> {
    const BYTE_PREFIX: u8 = 0x0a;
    match code {
        [BYTE_PREFIX, value, rest @ ..] => Some((*value, rest)),
        [value @ 0..=1, rest @ ..] => Some((*value, rest)),
        _ => None,
    }
}
