//! ACPI's tables, read once at start-up (specification 6.5, chapter 5).
//!
//! ```text
//! root pointer ──► RSDT or XSDT ──► MADT   processors, interrupt controllers
//!                               ├──► FADT   ports of power-off, reset and PM timer
//!                               │     └──► DSDT   byte code; `_S5_` is looked for in it
//!                               └──► HPET   where the event timer is
//! ```
//!
//! Layouts are those of the crate `acpi`. Its walk of the tables trusts them: a
//! MADT entry of length zero never ends it, and one that reaches over the table's
//! end, a short table or a region that is no memory panic. So the walk is done
//! here, over bytes whose bounds are known, and only what was found complete is
//! read as one of the crate's types, by copying it out.
//!
//! * [`PhysicalMemory`]: where the bytes come from: the loader's map of physical
//!   memory, or an arena in tests.
//! * `tables`: from the root pointer to the bytes of a table.
//! * `madt`, `fadt`, `hpet`: from the bytes of a table to what is wanted of it.
//!
//! **Nothing in the tables is fatal.** A table with a bad checksum is passed over
//! like one that is missing; an entry that makes no sense is skipped, and one
//! without a length ends its table.
//!
//! Deliberately absent: an interpreter of byte code. What only byte code tells
//! (interrupt routing of PCI, devices, sleep states other than S5) is not known.

mod fadt;
#[cfg(any(test, ktest, feature = "planted"))]
pub mod firmware;
mod hpet;
mod madt;
mod tables;
#[cfg(any(test, ktest))]
mod tests;

use acpi::madt::{
    InterruptSourceOverrideEntry, IoApicEntry, LocalApicAddressOverrideEntry, LocalApicEntry,
    LocalX2ApicEntry,
};
use acpi::rsdp::Rsdp;
use acpi::sdt::SdtHeader;

use self::tables::Tables;
use super::platform::{ApicId, Platform};

/// Physical memory, as far as it can be read.
pub trait PhysicalMemory {
    /// Returns `len` bytes from the physical address `start` on, or nothing when
    /// not all of them are memory.
    fn bytes(&self, start: u64, len: usize) -> Option<&[u8]>;
}

/// Copies what the tables say of the machine out of them.
///
/// `root` is the physical address of the root pointer, and `boot_apic` the
/// processor that asks. Whatever the tables hold, there is an answer; without
/// usable ones it is [`Platform::without_tables`].
pub fn read_platform(memory: &impl PhysicalMemory, root: u64, boot_apic: ApicId) -> Platform {
    let mut platform = Platform::without_tables(boot_apic);
    let Some(tables) = Tables::from_root_pointer(memory, root) else {
        log::warn!("acpi: no usable tables at {root:#x}");
        return platform;
    };
    match tables.find(*b"APIC") {
        Some(table) => madt::apply(table, &mut platform),
        None => log::warn!("acpi: no usable MADT: one processor, and the 8259 pair"),
    }
    match tables.find(*b"FACP") {
        Some(table) => fadt::apply(table, &tables, &mut platform),
        None => log::warn!("acpi: no usable FADT: no way to power off"),
    }
    if let Some(table) = tables.find(*b"HPET") {
        platform.hpet = hpet::base_address(table);
    }
    platform
}

/// A layout of the crate `acpi` that any bytes make a value of.
///
/// # Safety
///
/// The type consists of integers, and arrays and packed structures of them.
unsafe trait Plain: Copy {}

// SAFETY: All of them are packed structures of integers; what is private in them
// are reserved fields, or arrays of bytes.
unsafe impl Plain for SdtHeader {}
// SAFETY: As above.
unsafe impl Plain for Rsdp {}
// SAFETY: As above.
unsafe impl Plain for LocalApicEntry {}
// SAFETY: As above.
unsafe impl Plain for LocalX2ApicEntry {}
// SAFETY: As above.
unsafe impl Plain for IoApicEntry {}
// SAFETY: As above.
unsafe impl Plain for InterruptSourceOverrideEntry {}
// SAFETY: As above.
unsafe impl Plain for LocalApicAddressOverrideEntry {}
// SAFETY: As above; fields of later revisions are integers that may be
// uninitialised, which initialised ones are a case of.
unsafe impl Plain for acpi::fadt::Fadt {}

/// Copies the start of some bytes out, whatever their alignment; nothing when
/// there are too few.
fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: The slice has as many bytes as the type, any bytes are a value of
    // it by the contract of `Plain`, and the read asks for no alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
