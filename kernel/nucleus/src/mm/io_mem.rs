//! Device memory: physical addresses that are not RAM.
//!
//! Nobody owns device memory, so mappings of it are not tracked. An [`IoMem`]
//! says where it is and how accesses to it are cached. Making one checks that no
//! frame of RAM is in it: whoever could map RAM this way would see memory that
//! the allocator gives to others. It also checks that the processor has so long
//! addresses: in an entry, the bits above are reserved, and whoever accessed such a
//! page would get a page fault that nothing explains (SDM vol. 3A, 4.7).

use core::ops::Range;

use super::frame::meta::{self, Mark};
use super::prop::CachePolicy;
use super::{PAGE_SIZE, Paddr, is_page_aligned};
use crate::arch::mmu;
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
    /// or beyond the addresses that the processor has; [`Error::AccessDenied`] when a
    /// part of it is RAM.
    pub fn acquire(range: Range<Paddr>, cache: CachePolicy) -> Result<Self> {
        let is_legal = range.start < range.end
            && is_page_aligned(range.start)
            && is_page_aligned(range.end)
            && range.end <= end_of_addresses();
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

/// Returns the end of the physical addresses that the processor has.
fn end_of_addresses() -> Paddr {
    let (bits, _) = mmu::paging_limits();
    1 << bits
}

/// Returns a range of device memory that no machine has: the last addresses.
#[cfg(any(test, ktest))]
pub(super) fn range_without_device(size: usize) -> Range<Paddr> {
    let end = end_of_addresses();
    end - size..end
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{IoMem, end_of_addresses, range_without_device};
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
        let device = range_without_device(2 * PAGE_SIZE).start;
        for (start, end) in [
            (device, device),
            (device + PAGE_SIZE, device),
            (device + 1, device + PAGE_SIZE),
            (device, device + 1),
            (device, usize::MAX & !0xfff),
        ] {
            let range = core::ops::Range { start, end };
            assert_eq!(IoMem::acquire(range, NONE), Err(Error::InvalidArgs));
        }
        let io = IoMem::acquire(device..device + PAGE_SIZE, NONE).expect("it is no RAM");
        assert_eq!((io.size(), io.cache_policy()), (PAGE_SIZE, NONE));
    }

    #[ktest]
    fn addresses_that_the_processor_does_not_have_are_refused() {
        let end = end_of_addresses();
        let refused = Err(Error::InvalidArgs);
        for start in [end - PAGE_SIZE, end, end << 1, 1 << 51, 1 << 52, 1 << 62] {
            let range = start..start + 2 * PAGE_SIZE;
            let is_beyond = range.end > end;
            assert!(!is_beyond || IoMem::acquire(range, NONE) == refused);
        }
        let last = IoMem::acquire(end - PAGE_SIZE..end, NONE);
        assert_eq!(last.map(|io| io.size()), Ok(PAGE_SIZE));
    }

    /// As on a processor of 2006, and on one that has all that entries have room for.
    #[cfg(test)]
    #[test]
    fn how_long_addresses_are_is_asked_of_the_processor() {
        use crate::arch::sim::{Config, Machine};
        for physical_bits in [36, 40, 52] {
            let machine = Machine::new(Config {
                physical_bits,
                ..Config::default()
            });
            machine.on(0, || {
                let end = 1 << physical_bits;
                assert!(IoMem::acquire(end - PAGE_SIZE..end, NONE).is_ok());
                let beyond = IoMem::acquire(end..end + PAGE_SIZE, NONE);
                assert_eq!(beyond, Err(Error::InvalidArgs));
            });
        }
    }
}
