//! How to power the machine off, from ACPI's tables (specification 6.5).
//!
//! The tables are read while the loader's map of all physical memory is active,
//! by the crate `acpi`. The value that enters sleep state S5 stands in the
//! firmware's byte code; instead of interpreting that, the bytes of the package
//! `_S5_` are looked for, within the table's length. Nothing here is fatal: a
//! machine without sane tables is halted in the end instead of powered off.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use acpi::fadt::Fadt;
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};

use super::loader;
use crate::arch::x86_64::memory::paddr_to_vaddr;
use crate::arch::x86_64::power;
use crate::mm::kspace::layout::LINEAR_MAP_SIZE;
use crate::mm::{PAGE_SIZE, Paddr};

/// The bit of the control register that enters the sleep state.
const SLEEP_ENABLE: u16 = 1 << 13;
/// Where the sleep type stands in the control register.
const SLEEP_TYPE_SHIFT: u16 = 10;

static DISABLED: AtomicBool = AtomicBool::new(false);

/// Leaves the tables alone; from the command line.
pub(super) fn disable() {
    // Relaxed: one flag, used at start-up by the only processor.
    DISABLED.store(true, Ordering::Relaxed);
}

/// Finds out how the machine is powered off, if the tables say it.
pub(super) fn find_power_off(root: Paddr) {
    // Relaxed: as it is written.
    if DISABLED.load(Ordering::Relaxed) {
        log::info!("acpi: not read, as the command line wants it");
        return;
    }
    match power_off_registers(root) {
        Some((a, b)) => {
            log::info!("acpi: power off by port {:#x}", a.0);
            power::set_acpi_power_off(a, b);
        }
        None => log::warn!("acpi: no way to power off in the tables at {root:#x}"),
    }
}

type PortAndValue = (u16, u16);

fn power_off_registers(root: Paddr) -> Option<(PortAndValue, Option<PortAndValue>)> {
    // SAFETY: The handler maps what is physical memory, and refuses the rest by
    // a panic below only where even the loader maps nothing.
    let tables = unsafe { AcpiTables::from_rsdp(LoaderMap, root) }.ok()?;
    let fadt = tables.find_table::<Fadt>().ok()?;
    let dsdt = tables.dsdt().ok()?;
    if !is_mapped(dsdt.address, dsdt.length as usize) {
        return None;
    }
    // SAFETY: The bytes are mapped while the loader's tables are active, and are
    // only looked at.
    let code = unsafe {
        core::slice::from_raw_parts(
            paddr_to_vaddr(dsdt.address) as *const u8,
            dsdt.length as usize,
        )
    };
    let (type_a, type_b) = sleep_types(code)?;
    let value = |sleep_type: u8| u16::from(sleep_type & 7) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE;
    let port_a = u16::try_from(fadt.pm1a_control_block().ok()?.address).ok()?;
    let port_b = fadt.pm1b_control_block().ok().flatten();
    let port_b = port_b.and_then(|block| u16::try_from(block.address).ok());
    Some((
        (port_a, value(type_a)),
        port_b.map(|port| (port, value(type_b))),
    ))
}

/// Finds `_S5_`'s two sleep types: `NameOp "_S5_" PackageOp length count value
/// value`, where small values are opcodes themselves (20.2.3 and 20.2.5).
fn sleep_types(code: &[u8]) -> Option<(u8, u8)> {
    const PACKAGE_OP: u8 = 0x12;
    let name = code.windows(4).position(|window| window == b"_S5_")?;
    let rest = code.get(name + 4..)?.strip_prefix(&[PACKAGE_OP])?;
    let extra_length_bytes = usize::from(rest.first()? >> 6);
    let values = rest.get(1 + extra_length_bytes + 1..)?;
    let (first, values) = integer(values)?;
    let (second, _) = integer(values)?;
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

/// The loader's map of physical memory.
#[derive(Clone, Copy, Debug)]
struct LoaderMap;

fn is_mapped(start: Paddr, len: usize) -> bool {
    let Some(end) = start.checked_add(len) else {
        return false;
    };
    let mut pages = (start / PAGE_SIZE * PAGE_SIZE..end).step_by(PAGE_SIZE);
    end <= LINEAR_MAP_SIZE
        && pages.all(|page| loader::tree().translate(paddr_to_vaddr(page)) == Some(page))
}

impl AcpiHandler for LoaderMap {
    unsafe fn map_physical_region<T>(&self, start: usize, size: usize) -> PhysicalMapping<Self, T> {
        assert!(
            is_mapped(start, size),
            "an ACPI table at {start:#x} is not in memory"
        );
        let vaddr = paddr_to_vaddr(start) as *mut T;
        let pointer = NonNull::new(vaddr).expect("the linear map does not start at zero");
        // SAFETY: The range was just found mapped, and stays so while the
        // loader's tables are active.
        unsafe { PhysicalMapping::new(start, pointer, size, size, *self) }
    }

    fn unmap_physical_region<T>(_region: &PhysicalMapping<Self, T>) {}
}
