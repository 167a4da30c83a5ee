//! The physical memory map, made sane.
//!
//! Firmware and loaders hand out regions in any order, overlapping, empty,
//! unaligned, and with holes of terabytes between them. [`MemoryMap`] turns them
//! into a list that is sorted, disjoint, page aligned and merged, in which the
//! *more restrictive* kind wins wherever two claims overlap. Frames that nobody
//! mentions are not RAM.
//!
//! The capacity is fixed, since the map comes before any allocator. When it is
//! full, usable memory is given up, never the knowledge that some memory is taken; the
//! number of bytes given up is kept.

use core::fmt;
use core::ops::Range;

use crate::arch::paging::PHYSICAL_LIMIT;
use crate::mm::PAGE_SIZE;
use crate::planted::{Bug, is_planted};

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
    /// RAM that holds text and constants of the kernel's image, which nobody may write.
    KernelConstant,
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
    ///
    /// # Panics
    ///
    /// Panics when the regions that are not usable do not fit: there is nothing
    /// to give up then.
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
        let runs = self.runs(|kind| kind.is_ram().then_some(()));
        runs.map(|(range, ())| range)
    }

    /// Returns the maximal runs of RAM that may be written, and of RAM that may not be:
    /// each with whether it may.
    pub fn ram_by_writability(&self) -> impl Iterator<Item = (Range<u64>, bool)> {
        self.runs(|kind| kind.is_ram().then_some(kind != RegionKind::KernelConstant))
    }

    /// Returns the maximal runs of regions that are of the same sort, with their sorts;
    /// those without one are left out.
    fn runs<S: PartialEq>(
        &self,
        sort_of: impl Fn(RegionKind) -> Option<S>,
    ) -> impl Iterator<Item = (Range<u64>, S)> {
        let mut rest = self.regions();
        core::iter::from_fn(move || {
            let (first, sort) = rest
                .iter()
                .enumerate()
                .find_map(|(index, region)| Some((index, sort_of(region.kind)?)))?;
            let start = rest[first].start;
            let mut end = start;
            let mut next = first;
            while let Some(region) = rest.get(next)
                && sort_of(region.kind).as_ref() == Some(&sort)
                && region.start == end
            {
                end = region.end;
                next += 1;
            }
            rest = &rest[next..];
            Some((start..end, sort))
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
        // What is left of the new region to the right of what has been done. What
        // is there is looked up again each time: to make room, any usable
        // region may have been given up.
        let mut start = new.start;
        while start < new.end {
            let index = self.index_after(start);
            let next = self.regions().get(index).copied();
            let end = match next.filter(|old| old.start < new.end) {
                Some(old) if old.start <= start => {
                    let end = new.end.min(old.end);
                    if (old.kind < new.kind) != is_planted(Bug::LessRestrictive) {
                        self.replace_part(index, start..end, new.kind);
                    }
                    end
                }
                next => {
                    let end = next.map_or(new.end, |old| old.start);
                    self.insert(Region { start, end, ..new });
                    end
                }
            };
            start = end;
        }
    }

    /// Returns the index of the first region that ends behind an address.
    fn index_after(&self, address: u64) -> usize {
        self.regions()
            .partition_point(|region| region.end <= address)
    }

    /// Gives a part of a region another kind.
    fn replace_part(&mut self, index: usize, part: Range<u64>, kind: RegionKind) {
        let old = self.regions[index];
        self.remove(index);
        let pieces = [
            (old.start, part.start, old.kind),
            (part.start, part.end, kind),
            (part.end, old.end, old.kind),
        ];
        for (start, end, kind) in pieces {
            if start < end {
                self.insert(Region { start, end, kind });
            }
        }
    }

    /// Inserts a region where there is none, joined with neighbours of its kind.
    /// A full map gives its smallest usable region up, or the new one if that is
    /// usable.
    fn insert(&mut self, mut region: Region) {
        let mut index = self.index_after(region.start);
        let is_same = |other: Option<&Region>| other.is_some_and(|it| it.kind == region.kind);
        let next = self.regions().get(index);
        if is_same(next) && next.is_some_and(|next| next.start == region.end) {
            region.end = self.regions[index].end;
            self.remove(index);
        }
        let before = index.checked_sub(1).map(|before| &self.regions[before]);
        if is_same(before) && before.is_some_and(|before| before.end == region.start) {
            self.regions[index - 1].end = region.end;
            return;
        }
        if self.len == MAX_REGIONS {
            if region.kind == RegionKind::Usable {
                self.lost_bytes += region.len();
                return;
            }
            // Not what can be reclaimed: it is not free yet, and a later region
            // could say that it is usable, with nothing here to contradict it.
            let is_usable = |i: &usize| self.regions[*i].kind == RegionKind::Usable;
            let victim = (0..self.len)
                .filter(is_usable)
                .min_by_key(|i| self.regions[*i].len())
                .expect("a map of 512 regions, none of them usable");
            self.lost_bytes += self.regions[victim].len();
            self.remove(victim);
            index = self.index_after(region.start);
        }
        self.regions.copy_within(index..self.len, index + 1);
        self.regions[index] = region;
        self.len += 1;
    }

    fn remove(&mut self, index: usize) {
        self.regions.copy_within(index + 1..self.len, index);
        self.len -= 1;
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
    let (start, end) = if raw.kind.is_free() && !is_planted(Bug::RoundedOutwards) {
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
