//! The local APIC: each processor's own interrupt controller (SDM vol. 3A,
//! chapter 11).
//!
//! The crate `x2apic` exists, but wants `&mut` for each command, and interrupts
//! between processors are sent by interrupt handlers, on all processors at once,
//! and are the core of TLB shootdown; so this is written here.
//!
//! # Modes
//!
//! | mode | registers | ids | commands |
//! |---|---|---|---|
//! | xAPIC | memory, uncached | 8 bits | two writes, and a wait before them |
//! | x2APIC | MSRs | 32 bits | one write |
//!
//! **x2APIC is used wherever the processor has it**: a command is then one write
//! that cannot be torn by an interrupt, nothing has to be polled, and every id can
//! be named. A processor that firmware left in x2APIC mode stays in it whatever
//! else is said, since the way back leads through a reset of the APIC. All
//! processors have the same mode. The option `no-x2apic` is for trying xAPIC.
//!
//! # Context
//!
//! A local APIC belongs to its processor, so there is no lock. Every function may
//! be called with interrupts on or off, and in handlers; what takes two writes
//! switches interrupts off for them. Only a non-maskable interrupt could come in
//! between, and its handler sends nothing unless the machine dies.
//!
//! * `registers`: the registers in both modes.
//! * `command`: interrupts to other processors.
//! * `timer`: each processor's tick.
//!
//! Deliberately absent: logical destinations and lowest priority, which nobody
//! needs who knows whom to interrupt; and the local lines of non-maskable
//! interrupts that a MADT may name, which report broken hardware of chip sets.

mod command;
mod registers;
#[cfg(ktest)]
mod tests;
mod timer;

use core::sync::atomic::{AtomicU32, Ordering};

use spin::Once;
use x86_64::registers::model_specific::Msr;

pub(crate) use self::command::{send, send_init, send_nmi, send_startup};
use self::registers::{Access, Register};
pub(crate) use self::timer::LocalTimer;
use super::idt::vector;
use crate::boot::platform;
pub(crate) use crate::boot::platform::ApicId;
use crate::error::Result;

/// The MSR that says where the APIC is and in which mode.
const IA32_APIC_BASE: u32 = 0x1b;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;
/// The bits of the MSR that are an address.
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Masks an entry of the local vector table.
const LVT_MASKED: u32 = 1 << 16;
/// Delivers what the 8259 pair says.
const LVT_EXTERNAL: u32 = 7 << 8;
/// Switches the APIC on, in the register of the spurious vector.
const SOFTWARE_ENABLED: u32 = 1 << 8;

/// How the registers are reached on all processors; set once by [`init`].
static ACCESS: Once<Access> = Once::new();
/// Interrupts that went away before they were delivered.
static SPURIOUS: AtomicU32 = AtomicU32::new(0);
/// Error interrupts so far.
static ERRORS: AtomicU32 = AtomicU32::new(0);

/// Finds the local APICs, on the boot processor; they are not used before
/// [`init_local`].
///
/// # Errors
///
/// [`AccessDenied`](crate::Error::AccessDenied) when there is RAM where they are said to be, and
/// [`InvalidArgs`](crate::Error::InvalidArgs) when nothing can be there; [`NoMemory`](crate::Error::NoMemory).
///
/// # Panics
///
/// Panics when the processor has none: [`is_present`].
pub(crate) fn init(allow_x2apic: bool) -> Result<()> {
    assert!(is_present(), "the processor has no APIC");
    let base = read_base();
    let access = if use_x2apic(base, has_x2apic(), allow_x2apic) {
        Access::X2apic
    } else {
        let address = base & BASE_ADDRESS;
        if let Some(said) = platform::get().local_apic.filter(|said| *said != address) {
            log::warn!("apic: at {address:#x}, and not at {said:#x} as ACPI says");
        }
        Access::map(address as usize)?
    };
    ACCESS.call_once(|| access);
    Ok(())
}

/// Returns whether the machine's local APICs are used.
pub(crate) fn is_available() -> bool {
    ACCESS.get().is_some()
}

/// Returns how the APICs are used, in words.
pub(crate) fn mode_name() -> &'static str {
    match ACCESS.get() {
        Some(Access::X2apic) => "x2APIC mode",
        Some(Access::Xapic(_)) => "xAPIC mode",
        None => "not used",
    }
}

/// Brings this processor's APIC into a known state: on, in the mode of all, every
/// local line masked, accepting every vector, no error noted.
///
/// Interrupts are off. Does nothing when there is no APIC.
pub(crate) fn init_local() {
    let Some(access) = ACCESS.get() else {
        return;
    };
    enter_mode(*access);
    let highest_lvt = access.read(Register::Version) >> 16 & 0xff;
    for (number, lvt) in Register::LVT {
        if number <= highest_lvt {
            access.write(lvt, LVT_MASKED);
        }
    }
    // Accepts all priorities.
    access.write(Register::TaskPriority, 0);
    access.write(
        Register::SpuriousVector,
        SOFTWARE_ENABLED | u32::from(vector::SPURIOUS),
    );
    clear_errors(*access);
    access.write(Register::LvtError, u32::from(vector::ERROR));
}

/// Lets the 8259 pair interrupt this processor, through its first local line.
pub(super) fn connect_8259() {
    if let Some(access) = ACCESS.get() {
        access.write(Register::LvtLine0, LVT_EXTERNAL);
    }
}

/// Returns the id of the processor that asks.
pub(crate) fn id() -> ApicId {
    match ACCESS.get() {
        Some(access @ Access::Xapic(_)) => ApicId(access.read(Register::Id) >> 24),
        Some(access @ Access::X2apic) => ApicId(access.read(Register::Id)),
        None => initial_id(),
    }
}

/// Says that the interrupt that is being handled has been handled. Not for
/// spurious interrupts.
pub(crate) fn end_of_interrupt() {
    if let Some(access) = ACCESS.get() {
        access.write(Register::EndOfInterrupt, 0);
    }
}

/// Returns whether an interrupt of a vector is being handled on this processor.
pub(super) fn is_in_service(vector: u8) -> bool {
    ACCESS
        .get()
        .is_some_and(|access| access.is_in_service(vector))
}

/// Counts an interrupt that went away before it was delivered, and which nobody
/// waits to see the end of.
pub(super) fn on_spurious() {
    // Relaxed, here and below: statistics that order nothing.
    let count = SPURIOUS.fetch_add(1, Ordering::Relaxed) + 1;
    log::debug!("apic: spurious interrupt, number {count}");
}

/// Counts an error interrupt.
pub(super) fn on_error() {
    let count = ERRORS.fetch_add(1, Ordering::Relaxed) + 1;
    if let Some(access) = ACCESS.get() {
        let errors = clear_errors(*access);
        log::debug!("apic: errors {errors:#x}, number {count}");
    }
    end_of_interrupt();
}

/// Returns which errors there were since the last call (SDM vol. 3A, 11.5.3).
fn clear_errors(access: Access) -> u32 {
    // A write shows the errors since the write before it.
    access.write(Register::ErrorStatus, 0);
    let errors = access.read(Register::ErrorStatus);
    access.write(Register::ErrorStatus, 0);
    errors
}

/// Returns whether x2APIC mode is to be used, by the base register as firmware
/// left it.
const fn use_x2apic(base: u64, has_x2apic: bool, is_allowed: bool) -> bool {
    let is_on = base & (BASE_ENABLED | BASE_X2APIC) == BASE_ENABLED | BASE_X2APIC;
    is_on || (has_x2apic && is_allowed)
}

/// Returns the values to write to the base register, one after the other, to get
/// from one state to a mode (SDM vol. 3A, figure 11-27): x2APIC is entered from
/// xAPIC only, and there is no way back.
const fn mode_changes(base: u64, to_x2apic: bool) -> [u64; 2] {
    let enabled = base | BASE_ENABLED;
    if to_x2apic {
        [enabled, enabled | BASE_X2APIC]
    } else {
        [enabled, enabled]
    }
}

fn enter_mode(access: Access) {
    let mut base = read_base();
    if let Access::Xapic(registers) = access {
        // Where the boot processor's is, since that is mapped.
        base = base & !BASE_ADDRESS | registers.paddr() as u64;
    }
    for value in mode_changes(base, matches!(access, Access::X2apic)) {
        // SAFETY: The transition is one of those that the manual allows, and the
        // address is mapped for this, as device memory.
        unsafe { Msr::new(IA32_APIC_BASE).write(value) };
    }
}

fn read_base() -> u64 {
    // SAFETY: Every processor with an APIC has the register.
    unsafe { Msr::new(IA32_APIC_BASE).read() }
}

/// Returns whether the processor has an APIC, and firmware left it switched on.
pub(crate) fn is_present() -> bool {
    core::arch::x86_64::__cpuid(1).edx >> 9 & 1 == 1
}

fn has_x2apic() -> bool {
    core::arch::x86_64::__cpuid(1).ecx >> 21 & 1 == 1
}

/// Returns the id that this processor was born with, without asking its APIC.
pub(crate) fn initial_id() -> ApicId {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    const TOPOLOGY: u32 = 0xb;
    if __cpuid(0).eax >= TOPOLOGY {
        let topology = __cpuid_count(TOPOLOGY, 0);
        // A level that is not there says nothing.
        if topology.ebx != 0 {
            return ApicId(topology.edx);
        }
    }
    ApicId(__cpuid(1).ebx >> 24)
}
