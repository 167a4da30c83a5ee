//! A program's memory: regions that promise pages, and pages that exist.
//!
//! Pages appear when they are touched, zeroed. A fault travels like this: the
//! processor reports an address, [`AddressSpace::handle_fault`] looks its region
//! up, checks that the region allows the access, and maps a frame. The kernel's
//! own accesses to user memory fault in the same way: the copy stops, the page
//! is made, and the copy goes on.

mod region;

use alloc::sync::Arc;

use nucleus::Error;
use nucleus::cpu::disable_preempt;
use nucleus::mm::page_table::MappedItem;
use nucleus::mm::tlb::TlbFlushOp;
use nucleus::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, Vaddr, VmReader,
    VmSpace, VmWriter,
};

use self::region::{Region, RegionMap};
pub(crate) use self::region::{RegionKind, UserRange};
use crate::errno::Errno;

/// Most bytes of a program's stack.
pub(crate) const STACK_SIZE: usize = 8 << 20;
/// Addresses below the stack that nothing else may use (peer 96).
const STACK_GAP: usize = 1 << 20;
/// End of the stack: 64 KiB below the end of the lower half.
const STACK_END: Vaddr = 0x7fff_ffff_0000;
/// Most bytes of a program's heap.
const HEAP_LIMIT: usize = 1 << 36;

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Execute,
}

impl Access {
    const fn needs(self) -> PageFlags {
        match self {
            Self::Read => PageFlags::R,
            Self::Write => PageFlags::W,
            Self::Execute => PageFlags::X,
        }
    }
}

/// Why an access cannot be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessError {
    /// The address belongs to no region.
    Unmapped,
    /// The region forbids the access.
    Forbidden,
    /// There is no memory for the page.
    NoMemory,
}

/// The memory of a program.
#[derive(Debug)]
pub(crate) struct AddressSpace {
    space: Arc<VmSpace>,
    regions: RegionMap,
    /// Where the heap starts, and where the program wants it to end.
    heap_start: Vaddr,
    heap_end: Vaddr,
}

impl AddressSpace {
    /// Makes an address space with nothing in it.
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self {
            space: Arc::new(VmSpace::new()?),
            regions: RegionMap::new(),
            heap_start: 0,
            heap_end: 0,
        })
    }

    /// Makes this the space that user mode, and accesses to user memory, use.
    pub(crate) fn activate(&self) {
        self.space.activate();
    }

    /// Promises memory at an address, which must be free.
    pub(crate) fn map_at(
        &mut self,
        range: &UserRange,
        protection: PageFlags,
        kind: RegionKind,
    ) -> Result<(), Errno> {
        if !self.regions.is_free(range) {
            return Err(Errno::Exists);
        }
        self.regions.insert(range, Region { protection, kind });
        Ok(())
    }

    /// Promises memory at the hint, or else where there is room.
    pub(crate) fn map_anywhere(
        &mut self,
        hint: Vaddr,
        len: usize,
        protection: PageFlags,
    ) -> Result<Vaddr, Errno> {
        let ceiling = STACK_END - STACK_SIZE - STACK_GAP;
        let range = self
            .regions
            .find_free(hint, len, ceiling)
            .ok_or(Errno::NoMemory)?;
        self.map_at(&range, protection, RegionKind::Anonymous)?;
        Ok(range.start())
    }

    /// Takes memory away, and the promise of it.
    pub(crate) fn unmap(&mut self, range: &UserRange) -> Result<(), Errno> {
        self.regions.remove(range);
        self.unmap_pages(range)
    }

    /// Returns whether all of a range means something.
    pub(crate) fn is_mapped(&self, range: &UserRange) -> bool {
        self.regions.covers(range)
    }

    /// Changes what may be done in a range, all of which must mean something.
    pub(crate) fn protect(&mut self, range: &UserRange, flags: PageFlags) -> Result<(), Errno> {
        if !self.regions.covers(range) {
            return Err(Errno::NoMemory);
        }
        self.regions.protect(range, flags);
        self.protect_pages(range, flags)
    }

    /// Changes what may be done with the pages of a range that exist.
    fn protect_pages(&self, range: &UserRange, flags: PageFlags) -> Result<(), Errno> {
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, range.as_range())?;
        let change = |prop: PageProperty| PageProperty {
            flags: (prop.flags - PageFlags::RWX) | flags,
            ..prop
        };
        if cursor.protect(range.len(), change)? > 0 {
            let op = TlbFlushOp::Range(range.as_range().clone());
            cursor.flusher().issue_tlb_flush(op);
            cursor.flusher().dispatch_tlb_flush();
            cursor.flusher().sync_tlb_flush();
        }
        Ok(())
    }

    /// Forgets the contents of a range; it reads as zeros again.
    pub(crate) fn discard(&mut self, range: &UserRange) -> Result<(), Errno> {
        if !self.regions.covers(range) {
            return Err(Errno::NoMemory);
        }
        self.unmap_pages(range)
    }

    fn unmap_pages(&self, range: &UserRange) -> Result<(), Errno> {
        let guard = disable_preempt();
        let mut cursor = self.space.cursor_mut(&guard, range.as_range())?;
        cursor.unmap(range.len())?;
        cursor.flusher().sync_tlb_flush();
        Ok(())
    }

    /// Starts the heap behind the program's image.
    pub(crate) fn set_heap_start(&mut self, start: Vaddr) {
        self.heap_start = start.next_multiple_of(PAGE_SIZE);
        self.heap_end = self.heap_start;
    }

    /// Moves the heap's end as far as is possible; returns where it is now.
    pub(crate) fn set_heap_end(&mut self, wanted: Vaddr) -> Vaddr {
        if wanted < self.heap_start || wanted - self.heap_start > HEAP_LIMIT {
            return self.heap_end;
        }
        let old = self.heap_end.next_multiple_of(PAGE_SIZE);
        let new = wanted.next_multiple_of(PAGE_SIZE);
        let done = match UserRange::new(old.min(new), old.abs_diff(new)) {
            None => old == new,
            Some(range) if new > old => {
                self.map_at(&range, PageFlags::RW, RegionKind::Heap).is_ok()
            }
            Some(range) => self.unmap(&range).is_ok(),
        };
        if done {
            self.heap_end = wanted;
        }
        self.heap_end
    }

    /// Makes the stack; returns its end.
    pub(crate) fn map_stack(&mut self) -> Result<Vaddr, Errno> {
        let start = STACK_END - STACK_SIZE;
        let stack = UserRange::new(start, STACK_SIZE).ok_or(Errno::NoMemory)?;
        let gap = UserRange::new(start - STACK_GAP, STACK_GAP).ok_or(Errno::NoMemory)?;
        self.map_at(&gap, PageFlags::empty(), RegionKind::Guard)?;
        self.map_at(&stack, PageFlags::RW, RegionKind::Stack)?;
        Ok(stack.end())
    }

    /// Maps a frame that has contents, replacing the page that was there.
    pub(crate) fn map_frame(
        &mut self,
        vaddr: Vaddr,
        frame: UFrame,
        flags: PageFlags,
    ) -> Result<(), Errno> {
        let range = vaddr..vaddr + PAGE_SIZE;
        let prop = PageProperty::new_user(flags, CachePolicy::Writeback);
        let guard = disable_preempt();
        Ok(self.space.cursor_mut(&guard, &range)?.map(frame, prop)?)
    }

    /// Returns the page at an address, if it exists.
    pub(crate) fn page_at(&self, page: Vaddr) -> Result<Option<MappedItem>, Errno> {
        let guard = disable_preempt();
        let cursor = self.space.cursor(&guard, &(page..page + PAGE_SIZE))?;
        let (_, item) = cursor.query().map_err(Error::from)?;
        Ok(item)
    }

    /// Makes the page of an address exist, if the access is allowed.
    ///
    /// A page that exists already and allows the access is no error: somebody
    /// else was faster, or the processor had an old translation (peer 49). One
    /// that allows less than its region is changed, or it would fault for ever.
    pub(crate) fn handle_fault(&mut self, vaddr: Vaddr, access: Access) -> Result<(), AccessError> {
        let region = self.regions.at(vaddr).ok_or(AccessError::Unmapped)?;
        if !region.protection.contains(access.needs()) {
            return Err(AccessError::Forbidden);
        }
        let page = vaddr / PAGE_SIZE * PAGE_SIZE;
        let no_memory = |_| AccessError::NoMemory;
        if let Some(item) = self.page_at(page).map_err(no_memory)? {
            if item.prop().flags.contains(access.needs()) {
                return Ok(());
            }
            let range = UserRange::new(page, PAGE_SIZE).ok_or(AccessError::Unmapped)?;
            return self
                .protect_pages(&range, region.protection)
                .map_err(no_memory);
        }
        let frame = FrameAllocOptions::new().alloc_frame();
        let frame = frame.map_err(|_| AccessError::NoMemory)?;
        self.map_frame(page, frame.into(), region.protection)
            .map_err(no_memory)
    }

    /// Copies from user memory into a buffer.
    pub(crate) fn read(&mut self, vaddr: Vaddr, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let mut reader = self.space.reader(vaddr.wrapping_add(done), rest.len())?;
            let result = reader.read_fallible(&mut VmWriter::from(rest));
            done += self.settle(result, vaddr.wrapping_add(done), Access::Read)?;
        }
        Ok(())
    }

    /// Copies a buffer to user memory.
    pub(crate) fn write(&mut self, vaddr: Vaddr, buffer: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &buffer[done..];
            let mut writer = self.space.writer(vaddr.wrapping_add(done), rest.len())?;
            let result = writer.write_fallible(&mut VmReader::from(rest));
            done += self.settle(result, vaddr.wrapping_add(done), Access::Write)?;
        }
        Ok(())
    }

    /// Returns how far a copy came; after a fault, the page is there.
    fn settle(
        &mut self,
        result: Result<usize, (Error, usize)>,
        start: Vaddr,
        access: Access,
    ) -> Result<usize, Errno> {
        match result {
            Ok(copied) => Ok(copied),
            Err((_, copied)) => {
                self.handle_fault(start + copied, access)
                    .map_err(|_| Errno::Fault)?;
                Ok(copied)
            }
        }
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::mm::{PAGE_SIZE, PageFlags, Vaddr};
    use nucleus::prelude::*;

    use super::{
        Access, AccessError, AddressSpace, Errno, MappedItem, RegionKind, STACK_GAP, STACK_SIZE,
        UserRange,
    };

    const BASE: Vaddr = 0x10_0000;

    fn range(start: Vaddr, pages: usize) -> UserRange {
        UserRange::new(start, pages * PAGE_SIZE).expect("a legal range")
    }

    /// Returns memory with a region of two pages, none of which exists.
    fn memory_with_region(protection: PageFlags) -> AddressSpace {
        let mut memory = AddressSpace::new().expect("enough memory");
        memory
            .map_at(&range(BASE, 2), protection, RegionKind::Anonymous)
            .expect("nothing is there");
        memory
    }

    /// Returns the frame of the first page of the region, and its rights.
    fn first_page(memory: &AddressSpace) -> (usize, PageFlags) {
        let item = memory.page_at(BASE).expect("a legal page");
        let Some(MappedItem::MappedRam { frame, prop }) = item else {
            panic!("the page exists");
        };
        (frame.start_paddr(), prop.flags & PageFlags::RWX)
    }

    #[ktest]
    fn peer_049_later_faults_on_a_page_find_it_there() {
        let mut memory = memory_with_region(PageFlags::RW);
        assert_eq!(memory.handle_fault(BASE + 5, Access::Write), Ok(()));
        let page = first_page(&memory);
        for access in [Access::Read, Access::Write] {
            assert_eq!(memory.handle_fault(BASE + 9, access), Ok(()));
            assert_eq!(first_page(&memory), page);
        }
        let forbidden = memory.handle_fault(BASE, Access::Execute);
        assert_eq!(forbidden, Err(AccessError::Forbidden));
    }

    #[ktest]
    fn peer_049_fault_on_a_page_that_allows_less_than_its_region_is_mended() {
        let mut memory = memory_with_region(PageFlags::R);
        assert_eq!(memory.handle_fault(BASE, Access::Read), Ok(()));
        let (frame, before) = first_page(&memory);
        // The region alone, as if changing the page had failed.
        memory.regions.protect(&range(BASE, 2), PageFlags::RW);
        assert_eq!(memory.handle_fault(BASE, Access::Write), Ok(()));
        assert_eq!(before, PageFlags::R);
        assert_eq!(first_page(&memory), (frame, PageFlags::RW));
    }

    #[ktest]
    fn peer_096_nothing_gets_into_the_gap_below_the_stack() {
        let mut memory = AddressSpace::new().expect("enough memory");
        let start = memory.map_stack().expect("enough memory") - STACK_SIZE;
        assert_eq!(memory.handle_fault(start, Access::Write), Ok(()));
        for address in [start - 1, start - STACK_GAP] {
            let fault = memory.handle_fault(address, Access::Write);
            assert_eq!(fault, Err(AccessError::Forbidden));
        }
        for page in [start - PAGE_SIZE, start - STACK_GAP] {
            let fixed = memory.map_at(&range(page, 1), PageFlags::RW, RegionKind::Anonymous);
            assert_eq!(fixed, Err(Errno::Exists));
            let found = memory.map_anywhere(page, PAGE_SIZE, PageFlags::RW);
            assert!(found.expect("there is room") + PAGE_SIZE <= start - STACK_GAP);
        }
    }
}
