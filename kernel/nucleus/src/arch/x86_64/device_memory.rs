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
    map_range(address, 1)
}

/// As [`map`], of all pages that `len` bytes from an address on are in.
fn map_range(address: u64, len: usize) -> Result<Vaddr> {
    let address = address as usize;
    let page = address - address % PAGE_SIZE;
    let end = address.checked_add(len).ok_or(Error::Overflow)?;
    let end = end
        .checked_next_multiple_of(PAGE_SIZE)
        .ok_or(Error::Overflow)?;
    let memory = IoMem::acquire(page..end, CachePolicy::Uncacheable)?;
    let prop = PageProperty::new_kernel(PageFlags::RW, memory.cache_policy());
    let size = memory.size() + PAGE_SIZE;
    // SAFETY: The pages are no RAM, so that nobody's memory changes by them.
    let area =
        unsafe { KVirtArea::map_untracked_frames(size, PAGE_SIZE, memory.paddr_range(), prop) }?;
    let vaddr = area.start() + PAGE_SIZE + address % PAGE_SIZE;
    area.leak();
    Ok(vaddr)
}

/// Registers of 32 bits, side by side.
///
/// Where there is none, nothing is written, and all ones are read, as on a bus: offsets
/// may be what a device says.
#[derive(Debug)]
pub(crate) struct Registers {
    start: Vaddr,
    len: usize,
}

impl Registers {
    /// Maps the registers in `len` bytes of device memory, for ever.
    ///
    /// Whoever writes to them answers for what the device does then to memory.
    ///
    /// # Errors
    ///
    /// As [`IoMem::acquire`]; [`Error::InvalidArgs`] for an address that is no multiple of
    /// 4; [`Error::NoMemory`].
    pub(crate) fn map(address: u64, len: usize) -> Result<Self> {
        if !address.is_multiple_of(size_of::<u32>() as u64) {
            return Err(Error::InvalidArgs);
        }
        let start = map_range(address, len)?;
        Ok(Self { start, len })
    }

    /// Reads the register at an offset in bytes.
    pub(crate) fn read(&self, offset: usize) -> u32 {
        match self.place(offset) {
            // SAFETY: The register is mapped for ever, and is no RAM.
            Some(register) => unsafe { register.read_volatile() },
            None => u32::MAX,
        }
    }

    /// Writes the register at an offset in bytes.
    pub(crate) fn write(&self, offset: usize, value: u32) {
        if let Some(register) = self.place(offset) {
            // SAFETY: As in `read`.
            unsafe { register.write_volatile(value) };
        }
    }

    /// Writes two registers that are a number of 64 bits, the lower one first.
    pub(crate) fn write_u64(&self, offset: usize, value: u64) {
        self.write(offset, value as u32);
        self.write(offset + size_of::<u32>(), (value >> 32) as u32);
    }

    fn place(&self, offset: usize) -> Option<*mut u32> {
        let last = self.len.checked_sub(size_of::<u32>())?;
        let is_there = offset <= last && offset.is_multiple_of(size_of::<u32>());
        is_there.then(|| (self.start + offset) as *mut u32)
    }
}
