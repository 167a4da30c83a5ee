//! Which addresses of [`KVIRT_RANGE`] are free, and which will be.
//!
//! The addresses of an area that is gone may be used again when no processor can
//! have them cached any more. Until all have flushed them they are in
//! *quarantine*. Nobody is told when that is over: whoever takes addresses or
//! gives some back has a look.
//!
//! The tables have a fixed size, since addresses are given back where there may
//! be no memory. When the quarantine is full, whoever gives addresses back waits for
//! the other processors, with interrupts off too. A free range that finds no place is
//! lost, and counted: of 32 TiB of addresses some may be.

use core::ops::Range;

use super::layout::KVIRT_RANGE;
use crate::arch::memory;
use crate::error::{Error, Result};
use crate::mm::Vaddr;
use crate::mm::tlb::{self, FlushMark};

/// Free ranges that are remembered.
const MAX_FREE: usize = 256;
/// Ranges in quarantine that are remembered.
pub(super) const MAX_WAITING: usize = 64;

/// Takes addresses: `size` bytes, whole pages. When there are none but in
/// quarantine, waits for its end.
///
/// # Errors
///
/// [`Error::NoMemory`].
pub(super) fn take(size: usize) -> Result<Range<Vaddr>> {
    let addresses = &memory::memory().kvirt;
    let (taken, nr_waiting) = {
        let mut addresses = addresses.lock();
        (addresses.alloc(size), addresses.quarantine.len)
    };
    if taken.is_none() && nr_waiting > 0 {
        tlb::wait_for_requests();
        return addresses.lock().alloc(size).ok_or(Error::NoMemory);
    }
    taken.ok_or(Error::NoMemory)
}

/// Gives addresses back at which nothing is mapped any more, and which all
/// processors were asked to flush; `is_flushed` if they have.
///
/// Waits for other processors only when the quarantine is full.
pub(super) fn give_back(range: Range<Vaddr>, is_flushed: bool) {
    let addresses = &memory::memory().kvirt;
    let is_noted = {
        let mut addresses = addresses.lock();
        addresses.end_quarantine();
        if is_flushed {
            addresses.free(range.clone());
            true
        } else {
            addresses.quarantine.add(range.clone())
        }
    };
    if !is_noted {
        tlb::wait_for_requests();
        let mut addresses = addresses.lock();
        addresses.end_quarantine();
        addresses.free(range);
    }
}

/// The addresses of [`KVIRT_RANGE`]: free are those above `fresh` and the ranges
/// in the table. The first range that is large enough is used, from its end.
#[derive(Debug)]
pub(crate) struct KvirtAllocator {
    /// From here on nothing was ever used.
    fresh: Vaddr,
    /// Free ranges, sorted and not adjacent.
    free: [Range<Vaddr>; MAX_FREE],
    nr_free: usize,
    quarantine: Quarantine,
    /// Bytes of addresses that were given up, for want of a place to note them.
    lost: usize,
}

impl KvirtAllocator {
    pub(crate) const fn new() -> Self {
        Self {
            fresh: KVIRT_RANGE.start,
            free: [const { 0..0 }; MAX_FREE],
            nr_free: 0,
            quarantine: Quarantine::new(),
            lost: 0,
        }
    }

    /// Takes addresses: `size` bytes, whole pages.
    pub(super) fn alloc(&mut self, size: usize) -> Option<Range<Vaddr>> {
        self.end_quarantine();
        if let Some(index) = self.free[..self.nr_free]
            .iter()
            .position(|free| free.len() >= size)
        {
            let free = &mut self.free[index];
            let taken = free.end - size..free.end;
            free.end = taken.start;
            if free.start == free.end {
                self.remove(index);
            }
            return Some(taken);
        }
        let end = self
            .fresh
            .checked_add(size)
            .filter(|end| *end <= KVIRT_RANGE.end)?;
        let taken = self.fresh..end;
        self.fresh = end;
        Some(taken)
    }

    /// Gives addresses back that no processor has cached any more.
    fn free(&mut self, range: Range<Vaddr>) {
        let mut range = range;
        let index = self.free[..self.nr_free].partition_point(|free| free.end < range.start);
        // Join with the ranges that it touches, of which there are two at most.
        while index < self.nr_free && self.free[index].start <= range.end {
            range = range.start.min(self.free[index].start)..range.end.max(self.free[index].end);
            self.remove(index);
        }
        if range.end == self.fresh {
            self.fresh = range.start;
            return;
        }
        if self.nr_free == MAX_FREE {
            self.lost += range.len();
            return;
        }
        self.free[index..=self.nr_free].rotate_right(1);
        self.free[index] = range;
        self.nr_free += 1;
    }

    fn remove(&mut self, index: usize) {
        self.free[index..self.nr_free].rotate_left(1);
        self.nr_free -= 1;
        self.free[self.nr_free] = 0..0;
    }

    /// Frees what has been in quarantine for long enough.
    fn end_quarantine(&mut self) {
        while let Some(range) = self.quarantine.next_flushed() {
            self.free(range);
        }
    }

    /// Returns the bytes of lost addresses, and of those in quarantine.
    #[cfg(any(test, ktest))]
    pub(super) fn lost_and_waiting(&self) -> (usize, usize) {
        let waiting = &self.quarantine.ranges[..self.quarantine.len];
        (self.lost, waiting.iter().map(ExactSizeIterator::len).sum())
    }
}

/// Ranges that not all processors have flushed yet, though they were asked to.
#[derive(Debug)]
struct Quarantine {
    /// The ranges, oldest first.
    ranges: [Range<Vaddr>; MAX_WAITING],
    len: usize,
    /// How many of them are free when `mark` is reached.
    nr_marked: usize,
    mark: FlushMark,
    /// When the others are free, which came later.
    later: FlushMark,
}

impl Quarantine {
    const fn new() -> Self {
        Self {
            ranges: [const { 0..0 }; MAX_WAITING],
            len: 0,
            nr_marked: 0,
            mark: FlushMark::new(),
            later: FlushMark::new(),
        }
    }

    /// Adds a range that all processors were asked to flush; returns whether there
    /// was room.
    fn add(&mut self, range: Range<Vaddr>) -> bool {
        if self.len == MAX_WAITING {
            return false;
        }
        self.ranges[self.len] = range;
        self.len += 1;
        self.later.set_to_requested();
        true
    }

    /// Takes a range out that all processors have flushed.
    fn next_flushed(&mut self) -> Option<Range<Vaddr>> {
        if self.len == 0 {
            return None;
        }
        if self.nr_marked == 0 {
            self.nr_marked = self.len;
            self.mark = self.later;
        }
        if !self.mark.is_reached() {
            return None;
        }
        self.nr_marked -= 1;
        self.len -= 1;
        self.ranges[..=self.len].rotate_left(1);
        Some(core::mem::replace(&mut self.ranges[self.len], 0..0))
    }
}

#[cfg(test)]
mod tests;
