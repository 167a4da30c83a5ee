//! What `/proc` tells of an address space, counted in the page table itself.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering;

use nucleus::cpu::disable_preempt;
use nucleus::mm::page_table::MappedItemRef;
use nucleus::mm::{PAGE_SIZE, PageFlags, UFrame, Vaddr};

use super::region::{Region, RegionFlags, WRITE_IN_PLACE};
use super::{AddressSpace, Layout, UserRange, ensure_reserve};
use crate::errno::Errno;

/// A region, as a line of `/proc/self/maps` has it.
#[derive(Clone, Debug)]
pub(crate) struct RegionReport {
    pub(crate) range: Range<Vaddr>,
    /// What the program asked for.
    pub(crate) protection: PageFlags,
    pub(crate) is_shared: bool,
    /// Where in its object it starts; zero without one.
    pub(crate) offset: usize,
    pub(crate) inode: u64,
    /// The object's name, `[heap]`, `[stack]`, or nothing.
    pub(crate) name: Vec<u8>,
    pub(crate) flags: RegionFlags,
}

/// What of a region is there, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resident: usize,
    /// Each page's share, divided by how many mappings it has.
    pub(crate) proportional: usize,
    /// Of pages with other mappings, and whether they were written through this one.
    pub(crate) shared_clean: usize,
    pub(crate) shared_dirty: usize,
    /// Of pages without other mappings.
    pub(crate) private_clean: usize,
    pub(crate) private_dirty: usize,
    pub(crate) referenced: usize,
    /// Of pages that are no object's.
    pub(crate) anonymous: usize,
    /// Of huge pages.
    pub(crate) huge: usize,
}

/// The size of an address space, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) mapped: usize,
    pub(crate) peak_mapped: usize,
    pub(crate) resident: usize,
    pub(crate) peak_resident: usize,
    /// Of regions that are private and writable, of those that grow downwards, of those
    /// that can be executed, of those that are locked.
    pub(crate) data: usize,
    pub(crate) stack: usize,
    pub(crate) code: usize,
    pub(crate) locked: usize,
}

/// Bytes whose pages are looked at at once, with preemption off.
const PART: usize = 2 << 20;

impl AddressSpace {
    /// Returns all regions, by address.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn regions(&self) -> Result<Vec<RegionReport>, Errno> {
        ensure_reserve()?;
        let layout = self.look();
        let mut reports = Vec::new();
        reports
            .try_reserve_exact(layout.regions.count())
            .map_err(|_| Errno::NoMemory)?;
        let all = layout.regions.iter();
        reports.extend(all.map(|(range, region)| layout.report(range, region)));
        Ok(reports)
    }

    /// Counts what of a region is there.
    pub(crate) fn usage(&self, region: &RegionReport) -> Usage {
        let mut usage = Usage::default();
        let layout = self.look();
        let Some(range) = UserRange::between(region.range.start, region.range.end) else {
            return usage;
        };
        for (part, region) in layout.regions.parts(&range) {
            let found = layout.regions.at(part.start());
            let start = found.map_or(part.start(), |(range, _)| range.start);
            self.add_usage(&mut usage, start, region, &part);
        }
        usage
    }

    /// Writes what the page table has, as the hardware finds it.
    pub(crate) fn write_page_table(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.space.write_page_table(out)
    }

    /// Returns the sizes.
    pub(crate) fn sizes(&self) -> Sizes {
        let layout = self.look();
        let totals = layout.regions.totals();
        // Relaxed: a count.
        let resident = self.resident.load(Ordering::Relaxed) * PAGE_SIZE;
        self.note_peak();
        Sizes {
            mapped: totals.all,
            peak_mapped: layout.peak_mapped.max(totals.all),
            resident,
            // Relaxed: as above.
            peak_resident: self.peak_resident.load(Ordering::Relaxed) * PAGE_SIZE,
            data: totals.data,
            stack: totals.stack,
            code: totals.code,
            locked: totals.locked,
        }
    }

    /// Adds what is there of a part of a region that starts at `start`.
    fn add_usage(&self, usage: &mut Usage, start: Vaddr, region: &Region, range: &UserRange) {
        let mut next = range.start();
        while next < range.end() {
            let end = ((next / PART + 1) * PART).min(range.end());
            let guard = disable_preempt();
            // Opening one to look needs no memory, and the range is legal.
            let Ok(cursor) = self.space.cursor(&guard, &(next..end)) else {
                return;
            };
            while let Some(page) = cursor.find_next(end - cursor.virt_addr()) {
                let Ok((slot, Some(item))) = cursor.query_ref() else {
                    break;
                };
                let len = slot.end.min(end) - page;
                usage.add(&item, len, || is_own(region, page - start, &item));
                if cursor.jump(page + len).is_err() {
                    break;
                }
            }
            next = end;
        }
    }
}

/// Returns whether a page is the region's own and not its object's.
fn is_own(region: &Region, offset: usize, item: &MappedItemRef<'_>) -> bool {
    let Some((object, index)) = region.object_page(offset) else {
        return true;
    };
    let theirs = object.page_at_hand(index).as_ref().map(UFrame::start_paddr);
    match item {
        MappedItemRef::MappedRam { frame, .. } => {
            !region.is_shared() && theirs != Some(frame.start_paddr())
        }
        _ => false,
    }
}

impl Usage {
    /// Adds what is mapped, of which `len` bytes count.
    fn add(&mut self, item: &MappedItemRef<'_>, len: usize, is_own: impl Fn() -> bool) {
        let (references, flags, is_huge) = match item {
            MappedItemRef::MappedRam { frame, prop } => {
                (frame.reference_count() as usize, prop.flags, false)
            }
            // Which is in place if nobody shares it.
            MappedItemRef::MappedHuge { prop, .. } => {
                let is_shared = !prop.flags.contains(WRITE_IN_PLACE);
                (1 + usize::from(is_shared), prop.flags, true)
            }
            MappedItemRef::MappedIoMem { .. } => return,
        };
        let is_own = is_own();
        // An object has a reference of its own to each of its pages.
        let mappings = references.saturating_sub(usize::from(!is_own)).max(1);
        self.resident += len;
        self.proportional += len / mappings;
        let is_dirty = flags.contains(PageFlags::DIRTY);
        *match (mappings > 1, is_dirty) {
            (true, false) => &mut self.shared_clean,
            (true, true) => &mut self.shared_dirty,
            (false, false) => &mut self.private_clean,
            (false, true) => &mut self.private_dirty,
        } += len;
        for (total, counts) in [
            (&mut self.referenced, flags.contains(PageFlags::ACCESSED)),
            (&mut self.anonymous, is_own),
            (&mut self.huge, is_huge),
        ] {
            *total += if counts { len } else { 0 };
        }
    }
}

impl Layout {
    fn report(&self, range: Range<Vaddr>, region: &Region) -> RegionReport {
        let (offset, inode, name) = match region.object_page(0) {
            Some((object, page)) => (page * PAGE_SIZE, object.inode(), object.name()),
            None => (0, 0, self.name_of(&range).to_vec()),
        };
        RegionReport {
            range,
            protection: region.protection,
            is_shared: region.is_shared(),
            offset,
            inode,
            name,
            flags: region.flags,
        }
    }

    /// Returns what a region without an object is called, by where it is.
    fn name_of(&self, range: &Range<Vaddr>) -> &'static [u8] {
        let heap = self.heap.range();
        if range.start < heap.end && heap.start < range.end {
            b"[heap]"
        } else if range.contains(&self.stack_start.wrapping_sub(1)) {
            b"[stack]"
        } else {
            b""
        }
    }
}
