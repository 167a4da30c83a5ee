//! The allocator of start-up: takes memory from the map and never gives it back.
//!
//! Everything that it hands out stays with the kernel for ever. What is left in
//! the end goes to the frame allocator, which makes the two account for every
//! usable byte of the map between them.

use core::ops::Range;

use super::memory_map::{MAX_REGIONS, MemoryMap, RegionKind};
use crate::mm::{PAGE_SIZE, Paddr};

/// Low memory is left alone: firmware keeps tables there, and other processors
/// start there.
const LOWEST: Paddr = 1 << 20;

/// Pieces left over by alignment that are remembered.
const MAX_GAPS: usize = 64;

/// Hands out the usable memory of a map, from low to high.
#[derive(Debug)]
pub struct EarlyAllocator<'m> {
    map: &'m MemoryMap,
    /// How far each region of the map has been used up.
    next: [Paddr; MAX_REGIONS],
    gaps: [Range<Paddr>; MAX_GAPS],
    nr_gaps: usize,
    allocated_bytes: usize,
}

impl<'m> EarlyAllocator<'m> {
    /// Starts with all usable memory of the map above the first MiB.
    pub fn new(map: &'m MemoryMap) -> Self {
        let mut next = [0; MAX_REGIONS];
        for (next, region) in next.iter_mut().zip(map.regions()) {
            *next = (region.start as Paddr).max(LOWEST);
        }
        Self {
            map,
            next,
            gaps: [const { 0..0 }; MAX_GAPS],
            nr_gaps: 0,
            allocated_bytes: 0,
        }
    }

    /// Takes `size` bytes, both arguments being multiples of a page and `align`
    /// a power of two; the contents are whatever they were.
    ///
    /// # Panics
    ///
    /// Panics when the arguments are anything else.
    pub fn alloc(&mut self, size: usize, align: usize) -> Option<Paddr> {
        assert!(size.is_multiple_of(PAGE_SIZE) && align.is_power_of_two() && align >= PAGE_SIZE);
        let from_gap = self.gaps[..self.nr_gaps]
            .iter_mut()
            .find(|gap| gap.start.is_multiple_of(align) && gap.len() >= size);
        let paddr = if let Some(gap) = from_gap {
            let start = gap.start;
            gap.start += size;
            start
        } else {
            self.alloc_from_region(size, align)?
        };
        self.allocated_bytes += size;
        Some(paddr)
    }

    fn alloc_from_region(&mut self, size: usize, align: usize) -> Option<Paddr> {
        let usable = self.map.regions().iter().zip(&mut self.next);
        for (region, next) in usable.filter(|(region, _)| region.kind == RegionKind::Usable) {
            let start = next.next_multiple_of(align);
            let gap = *next..start;
            let fits = (region.end as Paddr).checked_sub(start) >= Some(size);
            if !fits || (!gap.is_empty() && self.nr_gaps == MAX_GAPS) {
                continue;
            }
            *next = start + size;
            if !gap.is_empty() {
                self.gaps[self.nr_gaps] = gap;
                self.nr_gaps += 1;
            }
            return Some(start);
        }
        None
    }

    /// Returns how much was handed out.
    pub fn allocated_bytes(&self) -> usize {
        self.allocated_bytes
    }

    /// Returns the usable memory that was not handed out, page aligned.
    fn rest(&self) -> impl Iterator<Item = Range<Paddr>> {
        let usable = self.map.regions().iter().zip(&self.next);
        usable
            .filter(|(region, _)| region.kind == RegionKind::Usable)
            .map(|(region, next)| *next..region.end as Paddr)
            .chain(self.gaps[..self.nr_gaps].iter().cloned())
            .filter(|range| range.start < range.end)
    }

    /// Ends allocation: returns the map in which the memory that was handed
    /// out, and low memory, are the kernel's.
    pub fn into_map(self) -> MemoryMap {
        let mut map = self.map.clone();
        let usable = self.map.regions().iter();
        for region in usable.filter(|region| region.kind == RegionKind::Usable) {
            let mut taken_from = region.start;
            let mut rest: [Range<u64>; MAX_GAPS + 1] = [const { 0..0 }; MAX_GAPS + 1];
            let mut nr_rest = 0;
            for part in self.rest() {
                let (start, end) = (part.start as u64, part.end as u64);
                if region.start <= start && end <= region.end {
                    rest[nr_rest] = start..end;
                    nr_rest += 1;
                }
            }
            rest[..nr_rest].sort_unstable_by_key(|part| part.start);
            for part in &rest[..nr_rest] {
                map.carve(taken_from..part.start, RegionKind::Kernel);
                taken_from = part.end;
            }
            map.carve(taken_from..region.end, RegionKind::Kernel);
        }
        map
    }
}

#[cfg(target_os = "none")]
impl crate::mm::page_table::boot::NodeSource for EarlyAllocator<'_> {
    fn new_node(&mut self) -> crate::Result<Paddr> {
        let paddr = self
            .alloc(PAGE_SIZE, PAGE_SIZE)
            .ok_or(crate::Error::NoMemory)?;
        let start = crate::arch::x86_64::memory::paddr_to_vaddr(paddr) as *mut u8;
        // SAFETY: The frame was just handed out, and the linear map holds it.
        unsafe { core::ptr::write_bytes(start, 0, PAGE_SIZE) };
        Ok(paddr)
    }
}

#[cfg(any(test, ktest))]
mod tests {
    extern crate alloc;
    use alloc::boxed::Box;

    use super::EarlyAllocator;
    use crate::boot::memory_map::{MemoryMap, RawRegion, RegionKind};
    use crate::prelude::*;

    const MIB: u64 = 1 << 20;

    fn map() -> Box<MemoryMap> {
        let usable = |start, end| RawRegion {
            start,
            end,
            kind: RegionKind::Usable,
        };
        Box::new(MemoryMap::from_regions([
            usable(0, MIB),
            usable(MIB + 0x3000, 4 * MIB),
            usable(8 * MIB, 16 * MIB),
        ]))
    }

    #[ktest]
    fn low_memory_is_never_handed_out() {
        // peer_090
        let map = map();
        let mut early = Box::new(EarlyAllocator::new(&map));
        assert_eq!(early.alloc(4096, 4096), Some(MIB as usize + 0x3000));
        assert!(early.rest().all(|range| range.start >= MIB as usize));
    }

    #[ktest]
    fn claim_187_handed_out_and_rest_make_up_all_usable_memory() {
        let map = map();
        let mut early = Box::new(EarlyAllocator::new(&map));
        let total: usize = early.rest().map(|range| range.len()).sum();
        for (size, align) in [
            (4096, 4096),
            (2 << 20, 2 << 20),
            (8192, 4096),
            (4 << 20, 4 << 20),
        ] {
            let paddr = early.alloc(size, align).expect("there is room");
            assert!(paddr.is_multiple_of(align));
        }
        let rest: usize = early.rest().map(|range| range.len()).sum();
        assert_eq!(rest + early.allocated_bytes(), total);
    }

    #[ktest]
    fn alignment_gap_is_used_by_smaller_requests() {
        let map = map();
        let mut early = Box::new(EarlyAllocator::new(&map));
        assert_eq!(early.alloc(2 << 20, 2 << 20), Some(2 << 20));
        assert_eq!(early.alloc(4096, 4096), Some(MIB as usize + 0x3000));
    }

    #[ktest]
    fn claim_185_final_map_has_exactly_the_rest_as_usable() {
        let map = map();
        let mut early = Box::new(EarlyAllocator::new(&map));
        early.alloc(2 << 20, 2 << 20).expect("there is room");
        early.alloc(4096, 4096).expect("there is room");
        let rest: usize = early.rest().map(|range| range.len()).sum();
        let after = Box::new(early.into_map());
        assert_eq!(after.bytes_of(RegionKind::Usable), rest as u64);
        assert_eq!(after.kind_at(0), Some(RegionKind::Kernel));
        assert_eq!(after.kind_at(2 << 20), Some(RegionKind::Kernel));
        assert_eq!(after.end_of_ram(), map.end_of_ram());
    }

    #[ktest]
    fn exhausted_memory_is_none() {
        let map = map();
        let mut early = Box::new(EarlyAllocator::new(&map));
        assert_eq!(early.alloc(16 << 20, 4096), None);
        assert_eq!(early.allocated_bytes(), 0);
    }
}
