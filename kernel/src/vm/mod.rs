//! A program's memory: regions that promise pages, and pages that exist.
//!
//! An [`AddressSpace`] has two halves. Its *regions* say which addresses mean
//! something, what may be done there and where the contents come from; they are the
//! program's, and the truth. Its *pages* are the nucleus' page table: what of that
//! exists so far, and what the hardware may do with it without asking. A page may
//! always be missing, or allow less than its region; it never allows more.
//!
//! A fault travels like this: the processor reports an address,
//! [`AddressSpace::handle_fault`] looks its region up, checks that the region allows
//! the access, and makes the page as the region has it. The kernel's own accesses to
//! user memory fault in the same way: the copy stops, the page is made, and the copy
//! goes on.
//!
//! | module | |
//! |---|---|
//! | [`range`] | the one checked type for ranges of user addresses |
//! | [`region`], [`region_map`] | what regions are; arithmetic on them |
//! | [`object`], [`mappers`] | what regions map: files, shared anonymous memory; who maps them |
//! | [`request`], [`limits`] | `mmap`: new regions; what a program may have at most |
//! | [`change`], [`remap`], [`advise`] | `munmap`, `mprotect`, `mremap`, `madvise` |
//! | [`heap`], [`stack`] | the two regions that grow |
//! | [`fault`], [`populate`] | making pages: zeros, an object's, copies of shared ones |
//! | [`huge`] | pages of 2 MiB |
//! | [`fork`] | a copy of all of it |
//! | [`user_memory`], [`futex`] | the kernel's own accesses; words that are waited for |
//! | [`barrier`] | barriers in other threads |
//! | [`residency`], [`report`] | what is there: `mincore`, `/proc` |
//!
//! # Why regions beside the page table
//!
//! The alternative is one level: the page table itself keeps the state of pages that
//! are not there yet, in its absent entries. Looking a fault up is then free, and
//! faults need no lock but the table's own. But what `mmap` has to say is more than an
//! entry holds (object, offset, flags), so it takes a second table beside each node,
//! and every `mmap` writes each page's or each node's state: for a gigabyte, 512 nodes
//! must exist, or be pruned and split again. `/proc/self/maps`, `mremap` and the
//! limits want regions anyway.
//!
//! Here, a fault pays for one lookup in an ordered map: about 60 instructions for the
//! few dozen regions that programs have, and 100 for a thousand, of some 1300 in all.
//! A region takes 56 bytes, in nodes that are at least half full, whatever its size;
//! `mmap` and `munmap` are a lookup and an insertion each. Neighbours that are alike
//! are one region, so that a heap that grows by `brk` or `mmap` has one.
//!
//! # Locks
//!
//! Threads share an address space in an [`Arc`]; every method takes `&self`. One lock
//! sleeps: that of the layout, which is the regions and what goes with them.
//!
//! 1. the layout's, of one space at a time, but for fork: parent, then child, which
//!    nobody else knows yet
//! 2. what an object's [`page`](object::MemoryObject::page) takes
//! 3. the locks of page-table nodes, which a cursor holds, in atomic mode
//!
//! **Faults read** the layout, so that threads fault at the same time, and each opens
//! one cursor on one page. **Whoever changes regions** has the layout exclusively until
//! the pages agree with it and all processors have flushed. So no fault can make a page
//! of a region that goes away (peer 99), and no page can be made twice: under the
//! cursor, a fault looks again whether it is still missing (peer 49).
//!
//! User memory is never accessed by its addresses with the layout locked: the access
//! may fault, and the fault would wait for its own task.
//!
//! # Copy on write
//!
//! A private page that others need as it is, too, is mapped read-only, without the mark
//! [`region::WRITE_IN_PLACE`]. A write finds out under the cursor whether the mapping's
//! reference is by now the frame's only one. If so, the page gets the mark and the right
//! to write: the last sharer never copies (peer 98). Otherwise the page is taken out,
//! every processor flushes it, and only then does the copy become visible: no thread
//! reads the old page after another has written the new one (peer 77).
//!
//! # Running out of memory
//!
//! Frames for users, and for page tables and regions on their behalf, stop at a reserve
//! that is the kernel's. A system call says `ENOMEM` then, before it has changed
//! anything that it cannot take back; a fault says [`AccessError::NoMemory`], and the
//! process is killed with a message. See [`limits`] for what may be promised.

mod advise;
mod barrier;
mod change;
mod fault;
mod fork;
mod futex;
mod heap;
mod huge;
mod limits;
mod mappers;
mod object;
mod populate;
mod range;
mod region;
mod region_map;
mod remap;
mod report;
mod request;
mod residency;
mod stack;
mod user_memory;

use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use nucleus::mm::{Vaddr, VmSpace};
use nucleus::sync::{RwMutex, RwMutexReadGuard, RwMutexWriteGuard};

pub(crate) use self::advise::Advice;
pub(crate) use self::fault::Anonymous;
pub(crate) use self::futex::FutexKey;
use self::heap::Heap;
pub(crate) use self::huge::want_huge_pages;
pub(crate) use self::limits::Limits;
pub(crate) use self::mappers::{Mappers, Taken};
pub(crate) use self::object::{MemoryObject, SharedMemory};
pub(crate) use self::range::{LOWEST_ADDRESS, UserRange};
use self::region::Region;
pub(crate) use self::region::{Access, Backing, RegionFlags};
use self::region_map::RegionMap;
pub(crate) use self::remap::RemapRequest;
pub(crate) use self::report::RegionReport;
pub(crate) use self::request::{MapRequest, Place, Placement};
use crate::errno::Errno;

/// Why an access cannot be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessError {
    /// The address belongs to no region.
    Unmapped,
    /// The region forbids the access.
    Forbidden,
    /// There is no memory for the page.
    NoMemory,
    /// The region's object ends before.
    BeyondObject,
}

/// The memory of a program, which its threads share.
#[derive(Debug)]
pub(crate) struct AddressSpace {
    this: Weak<Self>,
    /// Another one for each space; a fork's is higher than its parent's.
    number: u64,
    space: Arc<VmSpace>,
    layout: RwMutex<Layout>,
    /// How many pages there are, and how many there were at most.
    resident: AtomicUsize,
    peak_resident: AtomicUsize,
    /// Whether there ever was a huge page.
    has_huge_pages: AtomicBool,
    /// Which barriers the program has said that it will ask for, by their bits.
    pub(crate) barriers: AtomicU8,
}

/// What an address space is to be: its regions, and what goes with them.
#[derive(Clone, Debug)]
struct Layout {
    regions: RegionMap,
    heap: Heap,
    /// Where the stack ends, or zero.
    stack_start: Vaddr,
    limits: Limits,
    /// How many bytes were mapped at most.
    peak_mapped: usize,
    /// New regions are to stay in memory.
    locks_new: bool,
}

impl AddressSpace {
    /// Makes an address space with nothing in it.
    pub(crate) fn new() -> Result<Arc<Self>, Errno> {
        ensure_reserve()?;
        let layout = Layout {
            regions: RegionMap::new(),
            heap: Heap::default(),
            stack_start: 0,
            limits: Limits::default(),
            peak_mapped: 0,
            locks_new: false,
        };
        Ok(Self::with_layout(VmSpace::new()?, layout))
    }

    /// Makes an address space of a page table without pages.
    fn with_layout(space: VmSpace, layout: Layout) -> Arc<Self> {
        static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            // Relaxed: who makes a space from another one has seen that one's number.
            number: LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1,
            space: Arc::new(space),
            layout: RwMutex::new(layout),
            resident: AtomicUsize::new(0),
            peak_resident: AtomicUsize::new(0),
            has_huge_pages: AtomicBool::new(false),
            barriers: AtomicU8::new(0),
        })
    }

    /// Makes this the space that user mode, and accesses to user memory, use.
    pub(crate) fn activate(&self) {
        self.space.activate();
    }

    /// Sets the limits; what there is already stays.
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.change().limits = limits;
    }

    /// Locks the layout to look at it: others may do so, too.
    #[inline]
    fn look(&self) -> RwMutexReadGuard<'_, Layout> {
        self.layout.read()
    }

    /// Locks the layout to change it.
    fn change(&self) -> RwMutexWriteGuard<'_, Layout> {
        self.layout.write()
    }

    /// Counts pages that were made.
    fn count_made(&self, pages: usize) {
        // Relaxed: a count, which is told and decides nothing.
        self.resident.fetch_add(pages, Ordering::Relaxed);
    }

    /// Counts pages that were taken out.
    fn count_taken(&self, pages: usize) {
        self.note_peak();
        // Relaxed: as above.
        self.resident.fetch_sub(pages, Ordering::Relaxed);
    }

    /// Notes that there are huge pages, before there are.
    fn note_huge_pages(&self) {
        // Relaxed: only who has the layout exclusively wants to know, and has waited for
        // those who make pages.
        self.has_huge_pages.store(true, Ordering::Relaxed);
    }

    /// Returns whether there may be huge pages; with the layout held exclusively.
    fn may_have_huge_pages(&self) -> bool {
        // Relaxed: as above.
        self.has_huge_pages.load(Ordering::Relaxed)
    }

    /// Returns how many pages there were at most.
    pub(crate) fn peak_pages(&self) -> usize {
        self.note_peak();
        // Relaxed: a count.
        self.peak_resident.load(Ordering::Relaxed)
    }

    /// Notes how many pages there are, before there are fewer: so faults need not.
    fn note_peak(&self) {
        // Relaxed: counts.
        let now = self.resident.load(Ordering::Relaxed);
        self.peak_resident.fetch_max(now, Ordering::Relaxed);
    }
}

impl Layout {
    /// Adds a region to free addresses, within the limits.
    fn add_region(&mut self, range: &UserRange, region: Region) -> Result<(), Errno> {
        self.limits
            .check(self.regions.totals(), &region, range.len())?;
        limits::check_commitment(&region, range.len())?;
        self.check_room(1)?;
        self.regions.insert(range, region);
        self.note_peak();
        Ok(())
    }

    /// Notes how much is mapped, after there is more.
    fn note_peak(&mut self) {
        self.peak_mapped = self.peak_mapped.max(self.regions.totals().all);
    }

    /// Checks that there may be so many regions more, and that there is memory for
    /// them.
    fn check_room(&self, new_regions: usize) -> Result<(), Errno> {
        if self.regions.is_full(new_regions) {
            return Err(Errno::NoMemory);
        }
        ensure_reserve()
    }
}

/// Checks that the kernel's reserve is untouched, before objects of the kernel's are
/// made for a program: they could not say that there is no memory.
pub(crate) fn ensure_reserve() -> Result<(), Errno> {
    Ok(nucleus::mm::frame::ensure_reserve()?)
}

#[cfg(ktest)]
mod tests;
