//! The physical memory map, made sane.
//!
//! Firmware and loaders hand out regions in any order, overlapping, empty,
//! unaligned, and with holes of terabytes between them. [`MemoryMap`] turns them
//! into a list that is sorted, disjoint, page aligned and merged, in which the
//! *more restrictive* kind wins wherever two claims overlap. Frames that nobody
//! mentions are not RAM.
//!
//! The capacity is fixed, since the map comes before any allocator. When it is
//! full, memory is given up, never the knowledge that some memory is taken; the
//! number of bytes given up is kept.

use core::fmt;
use core::ops::Range;

use crate::arch::paging::PHYSICAL_LIMIT;
use crate::mm::PAGE_SIZE;

/// Regions that a map can hold.
pub const MAX_REGIONS: usize = 512;

const PAGE: u64 = PAGE_SIZE as u64;

/// What a region of physical memory is, from the least restrictive kind up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegionKind {
    /// RAM that is free.
    Usable,
    /// RAM that the loader uses until the kernel stands on its own feet.
    Reclaimable,
    /// RAM that holds the initramfs.
    Initramfs,
    /// RAM that is the kernel's for ever: its image, and what start-up took.
    Kernel,
    /// Pixels; not to be treated as RAM even where it is some.
    Framebuffer,
    /// The firmware's, a device's, or broken.
    Reserved,
}

impl RegionKind {
    /// Returns whether the region is RAM, and so part of the linear map.
    pub const fn is_ram(self) -> bool {
        !matches!(self, Self::Framebuffer | Self::Reserved)
    }

    /// Returns whether the memory is or will be free: its borders are then
    /// rounded inwards, and those of everything else outwards.
    const fn is_free(self) -> bool {
        matches!(self, Self::Usable | Self::Reclaimable)
    }
}

/// A region as firmware or a loader describes it; nothing about it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRegion {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// What it is said to be.
    pub kind: RegionKind,
}

/// A region of a [`MemoryMap`]: page aligned and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// What it is.
    pub kind: RegionKind,
}

impl Region {
    const EMPTY: Self = Self {
        start: 0,
        end: 0,
        kind: RegionKind::Reserved,
    };

    /// Returns the number of bytes.
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Returns whether there are none, which is so of no region of a map.
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// All that is known about physical memory.
#[derive(Clone)]
pub struct MemoryMap {
    regions: [Region; MAX_REGIONS],
    len: usize,
    lost_bytes: u64,
}

impl MemoryMap {
    /// Returns a map that knows of no memory.
    pub const fn new() -> Self {
        Self {
            regions: [Region::EMPTY; MAX_REGIONS],
            len: 0,
            lost_bytes: 0,
        }
    }

    /// Makes a map of regions in any order and condition.
    pub fn from_regions(raw: impl IntoIterator<Item = RawRegion>) -> Self {
        let mut map = Self::new();
        for region in raw {
            map.overlay(region);
        }
        map
    }

    /// Says that a range is of a more restrictive kind than it seemed.
    pub fn carve(&mut self, range: Range<u64>, kind: RegionKind) {
        self.overlay(RawRegion {
            start: range.start,
            end: range.end,
            kind,
        });
    }

    /// Returns the regions, sorted and disjoint.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.len]
    }

    /// Returns the maximal runs of RAM, whatever their kinds.
    pub fn ram_regions(&self) -> impl Iterator<Item = Range<u64>> {
        let mut rest = self.regions();
        core::iter::from_fn(move || {
            let first = rest.iter().position(|region| region.kind.is_ram())?;
            let start = rest[first].start;
            let mut end = start;
            let mut next = first;
            while let Some(region) = rest.get(next)
                && region.kind.is_ram()
                && region.start == end
            {
                end = region.end;
                next += 1;
            }
            rest = &rest[next..];
            Some(start..end)
        })
    }

    /// Returns one past the last byte of RAM.
    pub fn end_of_ram(&self) -> u64 {
        self.ram_regions().last().map_or(0, |range| range.end)
    }

    /// Returns the number of bytes of a kind.
    pub fn bytes_of(&self, kind: RegionKind) -> u64 {
        let regions = self.regions().iter();
        regions
            .filter(|region| region.kind == kind)
            .map(Region::len)
            .sum()
    }

    /// Returns what the byte at an address is, if anybody mentioned it.
    pub fn kind_at(&self, address: u64) -> Option<RegionKind> {
        let after = self
            .regions()
            .partition_point(|region| region.end <= address);
        let region = self.regions().get(after)?;
        (region.start <= address).then_some(region.kind)
    }

    /// Returns how many bytes of memory were given up for want of room.
    pub const fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Lays a region over the map; wherever they overlap, the more restrictive
    /// kind wins.
    fn overlay(&mut self, raw: RawRegion) {
        let Some(new) = normalise(raw) else { return };
        // What is left of the new region to the right of what has been done.
        let mut start = new.start;
        let mut index = self.regions().partition_point(|region| region.end <= start);
        while start < new.end {
            match self.regions().get(index).copied() {
                Some(old) if old.start < new.end => {
                    if start < old.start {
                        index = self.insert(
                            index,
                            Region {
                                start,
                                end: old.start,
                                kind: new.kind,
                            },
                        );
                    }
                    let overlap = start.max(old.start)..new.end.min(old.end);
                    if old.kind < new.kind {
                        index = self.replace_part(index, overlap.clone(), new.kind);
                    } else {
                        index += 1;
                    }
                    start = overlap.end;
                }
                _ => {
                    self.insert(
                        index,
                        Region {
                            start,
                            end: new.end,
                            kind: new.kind,
                        },
                    );
                    start = new.end;
                }
            }
        }
        self.merge();
    }

    /// Gives a part of a region another kind; returns the index after the part.
    fn replace_part(&mut self, index: usize, part: Range<u64>, kind: RegionKind) -> usize {
        let old = self.regions[index];
        let before = Region {
            end: part.start,
            ..old
        };
        let middle = Region {
            start: part.start,
            end: part.end,
            kind,
        };
        let after = Region {
            start: part.end,
            ..old
        };
        self.remove(index);
        let mut index = index;
        for piece in [before, middle, after] {
            let is_after = piece.start == part.end;
            if !piece.is_empty() {
                let next = self.insert(index, piece);
                if !is_after {
                    index = next;
                }
            }
        }
        index
    }

    /// Inserts a region; returns the index after it. A full map gives its
    /// smallest free region up, or the new one if that is free.
    fn insert(&mut self, index: usize, region: Region) -> usize {
        let mut index = index;
        if self.len == MAX_REGIONS {
            if region.kind.is_free() {
                self.lost_bytes += region.len();
                return index;
            }
            let free = (0..self.len).filter(|i| self.regions[*i].kind.is_free());
            let victim = free.min_by_key(|i| self.regions[*i].len());
            let victim = victim.expect("a map of 512 regions, none of them free memory");
            self.lost_bytes += self.regions[victim].len();
            self.remove(victim);
            if victim < index {
                index -= 1;
            }
        }
        self.regions.copy_within(index..self.len, index + 1);
        self.regions[index] = region;
        self.len += 1;
        index + 1
    }

    fn remove(&mut self, index: usize) {
        self.regions.copy_within(index + 1..self.len, index);
        self.len -= 1;
    }

    /// Joins neighbours of the same kind.
    fn merge(&mut self) {
        let mut kept = 0;
        for index in 0..self.len {
            let region = self.regions[index];
            let joins = kept > 0 && {
                let last = self.regions[kept - 1];
                last.kind == region.kind && last.end == region.start
            };
            if joins {
                self.regions[kept - 1].end = region.end;
            } else {
                self.regions[kept] = region;
                kept += 1;
            }
        }
        self.len = kept;
    }
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

/// Aligns a region to pages and clips it to what a processor can address;
/// nothing may be left of it.
fn normalise(raw: RawRegion) -> Option<Region> {
    let raw_end = raw.end.min(PHYSICAL_LIMIT as u64);
    if raw.start >= raw_end {
        return None;
    }
    let (start, end) = if raw.kind.is_free() {
        (raw.start.next_multiple_of(PAGE), raw_end / PAGE * PAGE)
    } else {
        (raw.start / PAGE * PAGE, raw_end.next_multiple_of(PAGE))
    };
    (start < end).then_some(Region {
        start,
        end,
        kind: raw.kind,
    })
}

impl fmt::Debug for MemoryMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.regions()).finish()
    }
}

#[cfg(any(test, ktest))]
#[path = "memory_map_tests.rs"]
mod tests;
