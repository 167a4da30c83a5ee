//! The loader's map of physical memory: the bytes of ACPI's tables, and the event
//! timer.

use super::acpi::PhysicalMemory;
use super::loader;
use crate::arch::x86_64::hpet::{self, Hpet};
use crate::arch::x86_64::memory::paddr_to_vaddr;
use crate::mm::kspace::layout::LINEAR_MAP_SIZE;
use crate::mm::{PAGE_SIZE, Paddr};

/// Physical memory in the loader's map.
///
/// Whoever has one uses it before the kernel's own tables are active.
#[derive(Debug)]
pub(super) struct LoaderMap(());

impl LoaderMap {
    /// # Safety
    ///
    /// The loader's tables are active for as long as the value and the bytes that
    /// it hands out are used.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

impl LoaderMap {
    /// Returns the event timer with registers at a physical address, started.
    pub(super) fn hpet(&self, address: u64) -> Option<Hpet> {
        let start = Paddr::try_from(address).ok()?;
        let is_usable = start.is_multiple_of(8) && is_mapped(start, hpet::SIZE);
        // SAFETY: The registers are mapped while the loader's tables are active,
        // and ACPI's tables say that they are an event timer's.
        is_usable.then(|| unsafe { Hpet::start(paddr_to_vaddr(start)) })?
    }
}

impl PhysicalMemory for LoaderMap {
    fn bytes(&self, start: u64, len: usize) -> Option<&[u8]> {
        let start = Paddr::try_from(start).ok()?;
        if !is_mapped(start, len) {
            return None;
        }
        // SAFETY: The bytes were just found mapped, and stay so while the
        // loader's tables are active. They are the firmware's, which does not run.
        Some(unsafe { core::slice::from_raw_parts(paddr_to_vaddr(start) as *const u8, len) })
    }
}

fn is_mapped(start: Paddr, len: usize) -> bool {
    let Some(end) = start.checked_add(len) else {
        return false;
    };
    let mut pages = (start / PAGE_SIZE * PAGE_SIZE..end).step_by(PAGE_SIZE);
    end <= LINEAR_MAP_SIZE
        && pages.all(|page| loader::tree().translate(paddr_to_vaddr(page)) == Some(page))
}
