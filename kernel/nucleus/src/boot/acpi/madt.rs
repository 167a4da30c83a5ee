//! The MADT: processors and interrupt controllers (specification 6.5, 5.2.12).
//!
//! ```text
//! header 36 | local APIC address 4 | flags 4 | entry | entry | …
//!                                               entry: type 1 | length 1 | …
//! ```

use acpi::madt::{
    InterruptSourceOverrideEntry, IoApicEntry, LocalApicAddressOverrideEntry, LocalApicEntry,
    LocalX2ApicEntry,
};

use super::read;
use crate::boot::platform::{
    ApicId, IoApic, Override, Platform, Polarity, ProcessorState, Route, Trigger,
};

/// Where the entries begin.
const ENTRIES: usize = 44;

/// Takes what a MADT says into a platform.
pub(super) fn apply(table: &[u8], platform: &mut Platform) {
    let address = table.get(36..40).and_then(|bytes| bytes.try_into().ok());
    let (Some(address), Some(entries)) = (address, table.get(ENTRIES..)) else {
        log::warn!("acpi: a MADT of {} bytes says nothing", table.len());
        return;
    };
    platform.local_apic = Some(u64::from(u32::from_le_bytes(address)));
    for entry in Entries(entries) {
        apply_entry(entry, platform);
    }
}

/// Takes an entry into account, if it is one of interest and complete.
fn apply_entry(entry: &[u8], platform: &mut Platform) {
    match entry.first() {
        Some(0) => {
            if let Some(entry) = read::<LocalApicEntry>(entry) {
                // All ones mean all processors, here and below.
                let id = Some(entry.apic_id).filter(|id| *id != u8::MAX);
                add_processor(id.map(u32::from), entry.flags, platform);
            }
        }
        Some(9) => {
            if let Some(entry) = read::<LocalX2ApicEntry>(entry) {
                let id = Some(entry.x2apic_id).filter(|id| *id != u32::MAX);
                add_processor(id, entry.flags, platform);
            }
        }
        Some(1) => {
            if let Some(entry) = read::<IoApicEntry>(entry) {
                platform.io_apics.push_once(IoApic {
                    address: u64::from(entry.io_apic_address),
                    first_line: entry.global_system_interrupt_base,
                });
            }
        }
        Some(2) => {
            if let Some(entry) = read::<InterruptSourceOverrideEntry>(entry) {
                add_override(entry, platform);
            }
        }
        Some(5) => {
            if let Some(entry) = read::<LocalApicAddressOverrideEntry>(entry) {
                platform.local_apic = Some(entry.local_apic_address);
            }
        }
        _ => {}
    }
}

fn add_processor(id: Option<u32>, flags: u32, platform: &mut Platform) {
    const ENABLED: u32 = 1 << 0;
    const ONLINE_CAPABLE: u32 = 1 << 1;
    let state = if flags & ENABLED != 0 {
        ProcessorState::Enabled
    } else if flags & ONLINE_CAPABLE != 0 {
        ProcessorState::OnlineCapable
    } else {
        ProcessorState::Disabled
    };
    if let Some(id) = id {
        platform.add_processor(ApicId(id), state);
    }
}

/// Takes an override into account; one that makes no sense is skipped.
fn add_override(entry: InterruptSourceOverrideEntry, platform: &mut Platform) {
    const ISA: u8 = 0;
    let polarity = match entry.flags & 3 {
        // What ISA has, unless said otherwise.
        0 | 1 => Polarity::ActiveHigh,
        3 => Polarity::ActiveLow,
        _ => return,
    };
    let trigger = match entry.flags >> 2 & 3 {
        0 | 1 => Trigger::Edge,
        3 => Trigger::Level,
        _ => return,
    };
    let is_first = !platform
        .overrides
        .iter()
        .any(|known| known.isa_line == entry.irq);
    if entry.bus == ISA && entry.irq < 16 && is_first {
        platform.overrides.push_once(Override {
            isa_line: entry.irq,
            route: Route {
                line: entry.global_system_interrupt,
                polarity,
                trigger,
            },
        });
    }
}

/// The entries of a MADT, each as many bytes as it says it has. Ends where an
/// entry is shorter than its own header or longer than what is left.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(*self.0.get(1)?);
        let is_sane = (2..=self.0.len()).contains(&len);
        if !is_sane {
            log::warn!("acpi: a MADT entry of {len} bytes ends the table");
            self.0 = &[];
            return None;
        }
        let (entry, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(entry)
    }
}
