//! Device memory: physical addresses that are not RAM.
//!
//! Nobody owns device memory, so mappings of it are not tracked. An [`IoMem`]
//! says where it is and how accesses to it are cached. Making one checks that no
//! frame of RAM is in it: whoever could map RAM this way would see memory that
//! the allocator gives to others.

use core::ops::Range;

use super::frame::meta::{self, Mark};
use super::prop::CachePolicy;
use super::{PAGE_SIZE, Paddr, is_page_aligned};
use crate::arch::paging::PHYSICAL_LIMIT;
use crate::error::{Error, Result};

/// A range of device memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoMem {
    range: Range<Paddr>,
    cache: CachePolicy,
}

impl IoMem {
    /// Describes device memory.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the range is empty, reversed, not whole pages
    /// or beyond what the processor can address; [`Error::AccessDenied`] when a
    /// part of it is RAM.
    pub fn acquire(range: Range<Paddr>, cache: CachePolicy) -> Result<Self> {
        let is_legal = range.start < range.end
            && is_page_aligned(range.start)
            && is_page_aligned(range.end)
            && range.end <= PHYSICAL_LIMIT;
        if !is_legal {
            return Err(Error::InvalidArgs);
        }
        let is_ram = |paddr| {
            meta::slot_of(paddr)
                .is_ok_and(|slot: &meta::MetaSlot| slot.mark() != Some(Mark::NotRam))
        };
        // Above the end of RAM there is nothing to ask.
        let end = range.end.min(crate::arch::memory::max_paddr());
        if (range.start..end).step_by(PAGE_SIZE).any(is_ram) {
            return Err(Error::AccessDenied);
        }
        Ok(Self { range, cache })
    }

    /// Returns where the memory is.
    pub fn paddr_range(&self) -> Range<Paddr> {
        self.range.clone()
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> usize {
        self.range.end - self.range.start
    }

    /// Returns how accesses are cached.
    pub fn cache_policy(&self) -> CachePolicy {
        self.cache
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::IoMem;
    use crate::mm::{CachePolicy, FrameAllocOptions, PAGE_SIZE};
    use crate::prelude::*;

    const NONE: CachePolicy = CachePolicy::Uncacheable;

    #[ktest]
    fn peer_030_ram_is_no_device_memory() {
        let frame = FrameAllocOptions::new()
            .alloc_frame()
            .expect("enough memory");
        let start = frame.start_paddr();
        let refused = IoMem::acquire(start..start + PAGE_SIZE, NONE);
        assert_eq!(refused, Err(Error::AccessDenied));
        assert_eq!(IoMem::acquire(0..PAGE_SIZE, NONE), Err(Error::AccessDenied));
    }

    #[ktest]
    fn illegal_ranges_are_refused() {
        const DEVICE: usize = 1 << 45;
        for (start, end) in [
            (DEVICE, DEVICE),
            (DEVICE + PAGE_SIZE, DEVICE),
            (DEVICE + 1, DEVICE + PAGE_SIZE),
            (DEVICE, DEVICE + 1),
            (DEVICE, usize::MAX & !0xfff),
        ] {
            let range = core::ops::Range { start, end };
            assert_eq!(IoMem::acquire(range, NONE), Err(Error::InvalidArgs));
        }
        let io = IoMem::acquire(DEVICE..DEVICE + PAGE_SIZE, NONE).expect("it is no RAM");
        assert_eq!((io.size(), io.cache_policy()), (PAGE_SIZE, NONE));
    }
}
