//! Registers of devices in memory, mapped for ever.

use crate::error::{Error, Result};
use crate::mm::kspace::KVirtArea;
use crate::mm::{CachePolicy, IoMem, PAGE_SIZE, PageFlags, PageProperty, Vaddr};

/// Maps the page with a physical address, and returns where that address is.
///
/// The caller answers for what accesses do there, but not for memory: the page is no RAM.
///
/// # Errors
///
/// As [`IoMem::acquire`]; [`Error::NoMemory`].
pub(super) fn map(address: u64) -> Result<Vaddr> {
    let address = address as usize;
    let page = address - address % PAGE_SIZE;
    let end = page.checked_add(PAGE_SIZE).ok_or(Error::Overflow)?;
    let memory = IoMem::acquire(page..end, CachePolicy::Uncacheable)?;
    let prop = PageProperty::new_kernel(PageFlags::RW, memory.cache_policy());
    // SAFETY: The page is no RAM, so that nobody's memory changes by it.
    let area = unsafe {
        KVirtArea::map_untracked_frames(2 * PAGE_SIZE, PAGE_SIZE, memory.paddr_range(), prop)
    }?;
    let vaddr = area.start() + PAGE_SIZE + address % PAGE_SIZE;
    area.leak();
    Ok(vaddr)
}
