//! The regions of an address space: which addresses mean something, and what
//! may be done there. Arithmetic on ranges alone; no page is touched here.
//!
//! Regions are disjoint, page aligned, and as few as possible: neighbours that
//! are alike are one. Changing a part of one splits it.
//!
//! **Where the next hole is.** Free addresses are looked for from the top. To skip
//! what was searched in vain, the map remembers an address, and the size of the
//! largest hole above it: whoever wants more starts there.

use alloc::collections::BTreeMap;
use core::ops::Range;

use nucleus::mm::{PAGE_SIZE, USER_END, Vaddr};

use super::range::{LOWEST_ADDRESS, UserRange};
use super::region::{Region, RegionFlags};
use super::stack::GUARD_GAP;

/// Most regions of an address space, as in Linux.
pub(super) const MAX_REGIONS: usize = 65_530;

/// A region and its end.
#[derive(Clone, Debug)]
struct Entry {
    end: Vaddr,
    region: Region,
}

/// Bytes of regions, by what limits them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Of all regions.
    pub(crate) all: usize,
    /// Of those that [`Region::is_data`] says.
    pub(crate) data: usize,
    /// Of those that grow downwards.
    pub(crate) stack: usize,
    /// Of those that can be executed.
    pub(crate) code: usize,
    /// Of those that are to stay in memory.
    pub(crate) locked: usize,
}

impl Totals {
    fn fields(&mut self, region: &Region) -> [(&mut usize, bool); 5] {
        let is = |flag| region.flags.contains(flag);
        let is_code = region.protection.contains(nucleus::mm::PageFlags::X);
        [
            (&mut self.all, true),
            (&mut self.data, region.is_data()),
            (&mut self.stack, is(RegionFlags::GROWS_DOWN)),
            (&mut self.code, is_code),
            (&mut self.locked, is(RegionFlags::LOCKED)),
        ]
    }

    fn add(&mut self, region: &Region, len: usize) {
        for (total, counts) in self.fields(region) {
            *total += if counts { len } else { 0 };
        }
    }

    pub(super) fn subtract(&mut self, region: &Region, len: usize) {
        for (total, counts) in self.fields(region) {
            *total -= if counts { len } else { 0 };
        }
    }
}

/// The regions of an address space.
#[derive(Clone, Debug)]
pub(super) struct RegionMap {
    /// By their first addresses.
    regions: BTreeMap<Vaddr, Entry>,
    totals: Totals,
    /// Free addresses are looked for below.
    ceiling: Vaddr,
    /// No hole between here and the ceiling is larger than `largest_above`.
    search_from: Vaddr,
    largest_above: usize,
}

impl RegionMap {
    /// Bytes of a region in a full node.
    pub(super) const BYTES_A_REGION: usize = size_of::<Vaddr>() + size_of::<Entry>();

    pub(super) fn new() -> Self {
        Self {
            regions: BTreeMap::new(),
            totals: Totals::default(),
            ceiling: USER_END,
            search_from: Vaddr::MAX,
            largest_above: 0,
        }
    }

    /// Returns how many regions there are.
    pub(super) fn count(&self) -> usize {
        self.regions.len()
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns the region of an address.
    #[inline]
    pub(super) fn at(&self, address: Vaddr) -> Option<(Range<Vaddr>, &Region)> {
        let (start, entry) = self.regions.range(..=address).next_back()?;
        (address < entry.end).then_some((*start..entry.end, &entry.region))
    }

    /// Returns the first region that ends above an address.
    pub(super) fn first_above(&self, address: Vaddr) -> Option<(Range<Vaddr>, &Region)> {
        self.at(address).or_else(|| {
            let (start, entry) = self.regions.range(address..).next()?;
            Some((*start..entry.end, &entry.region))
        })
    }

    /// Returns the last region that ends at or below an address at which none is.
    pub(super) fn last_below(&self, address: Vaddr) -> Option<(Range<Vaddr>, &Region)> {
        let (start, entry) = self.regions.range(..address).next_back()?;
        Some((*start..entry.end, &entry.region))
    }

    /// Returns all regions, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Range<Vaddr>, &Region)> {
        let regions = self.regions.iter();
        regions.map(|(start, entry)| (*start..entry.end, &entry.region))
    }

    /// Returns the regions that have a part in a range, and those parts.
    pub(super) fn parts(&self, range: &UserRange) -> impl Iterator<Item = (UserRange, &Region)> {
        let first = self
            .at(range.start())
            .map_or(range.start(), |(r, _)| r.start);
        let regions = self.regions.range(first..range.end());
        regions.filter_map(|(start, entry)| {
            Some((range.intersection(&(*start..entry.end))?, &entry.region))
        })
    }

    /// Returns whether no region has a part in a range.
    pub(super) fn is_free(&self, range: &UserRange) -> bool {
        let before = self.regions.range(..range.end()).next_back();
        before.is_none_or(|(_, entry)| entry.end <= range.start())
    }

    /// Returns how much of a range belongs to regions without a hole, from its
    /// start on.
    pub(super) fn covered_len(&self, range: &UserRange) -> usize {
        let mut covered = range.start();
        for (part, _) in self.parts(range) {
            if part.start() != covered {
                break;
            }
            covered = part.end();
        }
        covered - range.start()
    }

    /// Returns whether every address of a range belongs to a region.
    pub(super) fn covers(&self, range: &UserRange) -> bool {
        self.covered_len(range) == range.len()
    }

    /// Returns whether taking a range out, or changing it, may make more regions
    /// than there may be.
    pub(super) fn is_full(&self, new_regions: usize) -> bool {
        self.regions.len() + new_regions > MAX_REGIONS
    }

    /// Adds a region to addresses that are free.
    pub(super) fn insert(&mut self, range: &UserRange, region: Region) {
        debug_assert!(self.is_free(range));
        let (start, mut end, mut region) = (range.start(), range.end(), region);
        region.note_own_pages();
        self.totals.add(&region, range.len());
        if region.flags.contains(RegionFlags::GROWS_DOWN) {
            // It keeps a distance that the search did not know of.
            self.search_from = Vaddr::MAX;
            self.largest_above = 0;
        }
        // Joined with its neighbours before it is put in: most of what is mapped
        // becomes part of one, and costs no entry.
        if let Some(next) = self.regions.get(&end)
            && region.is_followed_by(end - start, &next.region)
            && let Some(next) = self.regions.remove(&end)
        {
            end = next.end;
        }
        if let Some((before, entry)) = self.regions.range_mut(..start).next_back()
            && entry.end == start
            && entry.region.is_followed_by(start - before, &region)
        {
            entry.end = end;
            return;
        }
        self.regions.insert(start, Entry { end, region });
    }

    /// Takes a range out of whatever regions it meets.
    pub(super) fn remove(&mut self, range: &UserRange) {
        if let Some((start, entry)) = self.regions.range_mut(..range.start()).next_back()
            && entry.end > range.start()
        {
            let end = core::mem::replace(&mut entry.end, range.start());
            let rest = (end > range.end()).then(|| entry.region.skip(range.end() - start));
            let taken = end.min(range.end()) - range.start();
            self.totals.subtract(&entry.region, taken);
            self.put_back(range.end()..end, rest);
        }
        while let Some((start, _)) = self.regions.range(range.as_range().clone()).next() {
            let start = *start;
            let Some(Entry { end, region }) = self.regions.remove(&start) else {
                break;
            };
            let taken = end.min(range.end()) - start;
            self.totals.subtract(&region, taken);
            let rest = (end > range.end()).then(|| region.skip(range.end() - start));
            self.put_back(range.end()..end, rest);
        }
        if range.end() > self.search_from {
            let next = self.regions.range(range.end()..).next();
            self.search_from = next.map_or(Vaddr::MAX, |(start, entry)| top_below(*start, entry));
        }
    }

    /// Puts back what is left behind a range that was taken out, if anything.
    fn put_back(&mut self, range: Range<Vaddr>, rest: Option<Region>) {
        if let Some(region) = rest {
            let end = range.end;
            self.regions.insert(range.start, Entry { end, region });
        }
    }

    /// Changes every region within a range.
    pub(super) fn change(&mut self, range: &UserRange, mut op: impl FnMut(&mut Region)) {
        self.split_at(range.start());
        self.split_at(range.end());
        for (start, entry) in self.regions.range_mut(range.as_range().clone()) {
            let len = entry.end - start;
            self.totals.subtract(&entry.region, len);
            op(&mut entry.region);
            self.totals.add(&entry.region, len);
        }
        self.merge_around(range);
    }

    /// Makes an address the border of two regions, if it is inside of one.
    fn split_at(&mut self, address: Vaddr) {
        let Some((start, entry)) = self.regions.range_mut(..address).next_back() else {
            return;
        };
        if entry.end > address {
            let second = Entry {
                end: core::mem::replace(&mut entry.end, address),
                region: entry.region.skip(address - start),
            };
            self.regions.insert(address, second);
        }
    }

    /// Joins neighbours that are alike at and between the borders of a range.
    fn merge_around(&mut self, range: &UserRange) {
        let before = self.regions.range(..range.start()).next_back();
        let mut current = before.map_or(range.start(), |(start, _)| *start);
        while current <= range.end()
            && let Some((start, entry)) = self.regions.range(current..=range.end()).next()
        {
            let (start, end) = (*start, entry.end);
            let is_joined = self
                .regions
                .get(&end)
                .is_some_and(|next| entry.region.is_followed_by(end - start, &next.region));
            if is_joined
                && let Some(next) = self.regions.remove(&end)
                && let Some(entry) = self.regions.get_mut(&start)
            {
                entry.end = next.end;
                current = start;
            } else {
                current = end;
            }
        }
    }

    /// Says below what address free ones are looked for.
    pub(super) fn set_ceiling(&mut self, ceiling: Vaddr) {
        self.ceiling = ceiling;
        (self.search_from, self.largest_above) = (Vaddr::MAX, 0);
    }

    /// Finds the lowest free addresses of a range.
    pub(super) fn find_free_within(&self, len: usize, within: Range<Vaddr>) -> Option<UserRange> {
        let mut start = within.start;
        while start < within.end {
            let range = UserRange::new(start, len).filter(|range| range.end() <= within.end)?;
            match self.parts(&range).last() {
                None => return Some(range),
                Some((part, _)) => start = part.end(),
            }
        }
        None
    }

    /// Finds the highest free addresses below the ceiling.
    pub(super) fn find_free(&mut self, len: usize) -> Option<UserRange> {
        let len = len.checked_next_multiple_of(PAGE_SIZE)?;
        if len <= self.largest_above {
            (self.search_from, self.largest_above) = (Vaddr::MAX, 0);
        }
        let mut top = self.search_from.min(self.ceiling);
        for (start, entry) in self.regions.range(..top).rev() {
            if entry.end <= top {
                let hole = top - entry.end;
                if hole >= len {
                    break;
                }
                self.largest_above = self.largest_above.max(hole);
            }
            top = top.min(top_below(*start, entry));
        }
        self.search_from = top;
        let start = top.checked_sub(len)?;
        let range = UserRange::new(start, len)?;
        debug_assert!(self.is_free(&range));
        (start >= LOWEST_ADDRESS).then_some(range)
    }
}

/// Returns the address below which others may be, in front of a region: one that
/// grows keeps its distance (peer 96).
fn top_below(start: Vaddr, entry: &Entry) -> Vaddr {
    if entry.region.flags.contains(RegionFlags::GROWS_DOWN) {
        return start.saturating_sub(GUARD_GAP);
    }
    start
}

#[cfg(ktest)]
#[path = "region_map_tests.rs"]
mod tests;
