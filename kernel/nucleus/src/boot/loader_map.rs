//! The loader's map of physical memory, as the source of the tables' bytes.

use super::acpi::PhysicalMemory;
use super::loader;
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
