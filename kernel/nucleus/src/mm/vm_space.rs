//! A user address space: a page table of its own, the kernel's half shared.
//!
//! A [`VmSpace`] is changed by cursors ([`CursorMut`]), each of which owns a range
//! of it. What is taken out of it is flushed from the processors on which the
//! space is active, and kept until they have flushed it.
//!
//! **The active space** is the processor's: it keeps a reference to the space
//! whose root it has loaded, so that a root outlives its time in the register. A
//! processor adds itself to the space's set before it loads the root, and leaves
//! the set of the one before after that.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, DerefMut, Range};

use spin::Once;

use super::frame::{UFrame, USegment};
use super::io::{Fallible, VmReader, VmWriter, is_user_range};
use super::io_mem::IoMem;
use super::kspace;
use super::page_table::{self, MappedItem, PageTable, PageTableFrag, UserPtConfig};
use super::paging::{PagingConsts, largest_pages, page_size};
use super::prop::{PageFlags, PageProperty, PrivilegedPageFlags};
use super::tlb::{TlbFlushOp, TlbFlusher};
use super::{PAGE_SIZE, Paddr, Vaddr, is_page_aligned};
use crate::arch::{cpu, memory, mmu};
use crate::cpu::{AtomicCpuSet, CpuSet, InAtomicMode, disable_preempt};
use crate::error::{Error, Result};
use crate::sync::SpinLock;
use crate::trap_decode::PageFaultCode;

/// A user address space.
pub struct VmSpace {
    pt: PageTable<UserPtConfig>,
    /// Processors that may have translations of the space cached.
    cpus: AtomicCpuSet,
    /// Device memory that is mapped, or was: kept as long as the space.
    iomems: SpinLock<Vec<IoMem>>,
    fault_handler: Once<FaultHandler>,
}

impl VmSpace {
    /// Makes a space without user mappings.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn new() -> Result<Self> {
        Ok(Self {
            pt: kspace::kernel_page_table().create_user_page_table()?,
            cpus: AtomicCpuSet::new(CpuSet::new_empty()),
            iomems: SpinLock::new(Vec::new()),
            fault_handler: Once::new(),
        })
    }

    /// Opens a read-only cursor on a range, waiting until no other cursor has a
    /// part of it; see [`PageTable::cursor`].
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`] when the range is empty, reversed, unaligned or
    /// not within user space.
    // Inlined, so that the cursor is made where it is to be and not copied there.
    #[inline(always)]
    pub fn cursor<'a, G: InAtomicMode>(
        &'a self,
        guard: &'a G,
        va: &Range<Vaddr>,
    ) -> Result<Cursor<'a>> {
        Ok(self.pt.cursor(guard, va)?)
    }

    /// Opens a cursor that may change the mappings in a range; otherwise as
    /// [`Self::cursor`].
    ///
    /// # Errors
    ///
    /// As [`Self::cursor`], and [`Error::NoMemory`] for a node on the way.
    #[inline(always)]
    pub fn cursor_mut<'a, G: InAtomicMode>(
        &'a self,
        guard: &'a G,
        va: &Range<Vaddr>,
    ) -> Result<CursorMut<'a>> {
        Ok(CursorMut {
            pt_cursor: self.pt.cursor_mut(guard, va)?,
            flusher: TlbFlusher::new(&self.cpus, guard),
            iomems: &self.iomems,
        })
    }

    /// Makes this the space of the processor; does nothing if it is already.
    ///
    /// Must not be called in an interrupt handler.
    pub fn activate(self: &Arc<Self>) {
        let _guard = disable_preempt();
        let here = cpu::current_id();
        let previous = {
            let mut active = cpu::local().active_space.0.lock();
            if active
                .as_ref()
                .is_some_and(|space| Arc::ptr_eq(space, self))
            {
                return;
            }
            self.cpus.add(here);
            // SAFETY: 1. its upper half is the kernel's. 2. the processor keeps
            // a reference to the space from here on.
            unsafe { self.pt.activate() };
            active.replace(Arc::clone(self))
        };
        leave(previous);
    }

    /// Leaves the active user space for the kernel's own.
    pub fn deactivate_current() {
        let _guard = disable_preempt();
        let previous = {
            let mut active = cpu::local().active_space.0.lock();
            // SAFETY: 1. it is the kernel's table. 2. it lives for ever.
            unsafe { kspace::kernel_page_table().activate() };
            active.take()
        };
        leave(previous);
    }

    /// Returns a reader of user memory. No mapping is checked here: absent pages
    /// show when they are read.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`] when the space is not active, or the range leaves
    /// user space.
    pub fn reader(&self, vaddr: Vaddr, len: usize) -> Result<VmReader<'_, Fallible>> {
        self.check_access(vaddr, len)?;
        // SAFETY: The space is active. When that changes, accesses go wrong, but
        // never to the kernel's memory.
        Ok(unsafe { VmReader::<Fallible>::from_user_space(vaddr as *const u8, len) })
    }

    /// Returns a writer of user memory; as [`Self::reader`].
    ///
    /// # Errors
    ///
    /// As [`Self::reader`].
    pub fn writer(&self, vaddr: Vaddr, len: usize) -> Result<VmWriter<'_, Fallible>> {
        self.check_access(vaddr, len)?;
        // SAFETY: As for the reader.
        Ok(unsafe { VmWriter::<Fallible>::from_user_space(vaddr as *mut u8, len) })
    }

    /// Returns a reader and a writer of the same user memory; as [`Self::reader`].
    ///
    /// # Errors
    ///
    /// As [`Self::reader`].
    pub fn reader_writer(
        &self,
        vaddr: Vaddr,
        len: usize,
    ) -> Result<(VmReader<'_, Fallible>, VmWriter<'_, Fallible>)> {
        Ok((self.reader(vaddr, len)?, self.writer(vaddr, len)?))
    }

    fn check_access(&self, vaddr: Vaddr, len: usize) -> Result<()> {
        if mmu::active_root() != self.pt.root_paddr() || !is_user_range(vaddr, len) {
            return Err(Error::AccessDenied);
        }
        Ok(())
    }

    /// Has page faults of the kernel's own accesses to this space handled. The
    /// first handler stays; later ones are ignored.
    pub fn set_page_fault_handler(&self, handler: FaultHandler) {
        self.fault_handler.call_once(|| handler);
    }

    /// Finds device memory that was mapped here, by a physical address in it;
    /// returns it with the offset of the address.
    pub fn find_iomem_by_paddr(&self, paddr: Paddr) -> Option<(IoMem, usize)> {
        let iomems = self.iomems.lock();
        let found = iomems.iter().find(|io| io.paddr_range().contains(&paddr))?;
        Some((found.clone(), paddr - found.paddr_range().start))
    }

    /// Returns the processors that may have translations of the space cached.
    #[cfg(any(test, ktest))]
    pub(crate) fn cpus(&self) -> CpuSet {
        self.cpus.load()
    }

    /// Returns the page table.
    #[cfg(any(test, ktest))]
    pub(crate) fn page_table(&self) -> &PageTable<UserPtConfig> {
        &self.pt
    }
}

/// Has a processor leave the space that it had active before.
fn leave(previous: Option<Arc<VmSpace>>) {
    if let Some(space) = previous {
        // Its root is out of the register by now, and with it what was cached.
        space.cpus.remove(cpu::current_id());
    }
}

impl fmt::Debug for VmSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VmSpace({:#x})", self.pt.root_paddr())
    }
}

/// The space that a processor has loaded.
#[derive(Debug)]
pub(crate) struct ActiveSpace(SpinLock<Option<Arc<VmSpace>>>);

impl ActiveSpace {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(None))
    }

    /// Returns whether the lock is held, by whomever.
    #[cfg(ktest)]
    pub(crate) fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

/// A page fault of the kernel's, at an address of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFaultInfo {
    /// The address.
    pub address: Vaddr,
    /// What the access was, and why it was refused.
    pub code: PageFaultCode,
}

/// Handles a page fault: `Ok` if the access is worth another try.
pub type FaultHandler = fn(&VmSpace, &PageFaultInfo) -> Result<(), ()>;

/// Has page faults handled of spaces that have no handler of their own. The first
/// handler stays; later ones are ignored.
pub fn inject_user_page_fault_handler(handler: FaultHandler) {
    memory::memory().fault_handler.call_once(|| handler);
}

/// Asks the active space's handler about a fault of a fallible access; returns
/// whether the access is worth another try.
pub(crate) fn handle_user_fault(info: &PageFaultInfo) -> bool {
    let space = cpu::local().active_space.0.lock().clone();
    let Some(space) = space else {
        return false;
    };
    let default = memory::memory().fault_handler.get();
    match space.fault_handler.get().or(default) {
        Some(handler) => handler(&space, info).is_ok(),
        None => false,
    }
}

/// A place in a range of a space that can be looked at.
pub type Cursor<'a> = page_table::Cursor<'a, UserPtConfig>;

/// A place in a range of a space that can be changed.
#[derive(Debug)]
pub struct CursorMut<'a> {
    pt_cursor: page_table::CursorMut<'a, UserPtConfig>,
    flusher: TlbFlusher<'a>,
    iomems: &'a SpinLock<Vec<IoMem>>,
}

impl<'a> Deref for CursorMut<'a> {
    type Target = Cursor<'a>;

    fn deref(&self) -> &Cursor<'a> {
        &self.pt_cursor
    }
}

impl DerefMut for CursorMut<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.pt_cursor
    }
}

impl<'a> CursorMut<'a> {
    /// Returns the flusher of the space's processors.
    pub fn flusher(&mut self) -> &mut TlbFlusher<'a> {
        &mut self.flusher
    }

    /// Maps a frame at the cursor and moves past it. What was mapped there is
    /// replaced, flushed, and kept until that is done.
    ///
    /// Privileges in `prop` do not count: the mapping is the user's.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; the mappings are then as they were.
    ///
    /// # Panics
    ///
    /// Panics at the end of the range.
    #[inline(always)]
    pub fn map(&mut self, frame: UFrame, prop: PageProperty) -> Result<()> {
        let prop = users(prop);
        if self.map_item(MappedItem::MappedRam { frame, prop })? {
            self.flusher.dispatch_tlb_flush();
        }
        Ok(())
    }

    /// Maps frames side by side, by the largest pages that their addresses and
    /// the cursor's allow and the processor has, and moves past them; otherwise
    /// as [`Self::map`].
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; the mappings are then as they were.
    ///
    /// # Panics
    ///
    /// Panics when the frames reach over the end of the range.
    pub fn map_segment(&mut self, frames: USegment, prop: PageProperty) -> Result<()> {
        let (start, prop) = (self.virt_addr(), users(prop));
        let (paddr, size) = (frames.start_paddr(), frames.size());
        assert!(
            size <= self.barrier().end - start,
            "{size:#x} bytes of frames at {start:#x} leave the cursor's range"
        );
        let highest = mmu::highest_leaf_level();
        let tiles = || largest_pages::<PagingConsts>(start, paddr, size, highest);
        for (va, _, level) in tiles() {
            self.pt_cursor.jump(va)?;
            let prepared = self
                .pt_cursor
                .prepare(page_size::<PagingConsts>(level), level);
            if prepared.is_err() {
                self.pt_cursor.jump(start)?;
                return Ok(prepared?);
            }
        }
        if size > 0 {
            self.pt_cursor.jump(start)?;
        }
        let mut rest = Some(frames);
        let mut is_replaced = false;
        for (_, _, level) in tiles() {
            let bytes = page_size::<PagingConsts>(level);
            let (part, others) = match rest.take() {
                Some(rest) if rest.size() > bytes => {
                    let (part, others) = rest.split(bytes);
                    (part, Some(others))
                }
                Some(rest) => (rest, None),
                None => break,
            };
            rest = others;
            let item = match level {
                1 => part
                    .into_iter()
                    .next()
                    .map(|frame| MappedItem::MappedRam { frame, prop }),
                _ => Some(MappedItem::MappedHuge { frames: part, prop }),
            };
            if let Some(item) = item {
                is_replaced |= self.map_item(item)?;
            }
        }
        if is_replaced {
            self.flusher.dispatch_tlb_flush();
        }
        Ok(())
    }

    /// Maps a device's memory, page by page: `len` bytes of it from `offset` on,
    /// as far as it goes. The space keeps the device's memory.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; the mappings are then as they were.
    ///
    /// # Panics
    ///
    /// Panics when `len` or `offset` is not whole pages, or the memory reaches
    /// over the end of the range.
    pub fn map_iomem(
        &mut self,
        io: &IoMem,
        prop: PageProperty,
        len: usize,
        offset: usize,
    ) -> Result<()> {
        assert!(is_page_aligned(len), "length {len:#x} is not whole pages");
        assert!(
            is_page_aligned(offset),
            "offset {offset:#x} is not whole pages"
        );
        let Some(rest) = io.size().checked_sub(offset).filter(|rest| *rest > 0) else {
            return Ok(());
        };
        let len = len.min(rest);
        self.pt_cursor.prepare(len, 1)?;
        {
            let mut iomems = self.iomems.lock();
            if !iomems.contains(io) {
                iomems.try_reserve(1).map_err(|_| Error::NoMemory)?;
                iomems.push(io.clone());
            }
        }
        let prop = PageProperty {
            cache: io.cache_policy(),
            ..users(prop)
        };
        let start = io.paddr_range().start + offset;
        let mut is_replaced = false;
        for paddr in (start..start + len).step_by(PAGE_SIZE) {
            is_replaced |= self.map_item(MappedItem::MappedIoMem {
                paddr,
                level: 1,
                prop,
            })?;
        }
        if is_replaced {
            self.flusher.dispatch_tlb_flush();
        }
        Ok(())
    }

    /// Maps an item; returns whether something was there that is to be flushed.
    #[inline(always)]
    fn map_item(&mut self, item: MappedItem) -> Result<bool> {
        // SAFETY: 1. users may see untyped frames and device memory, in their
        // half. 2. the flusher keeps what was there.
        let replaced = unsafe { self.pt_cursor.map(item) }?;
        Ok(match replaced {
            None => false,
            Some(frag) => {
                self.issue_flush_of(frag);
                true
            }
        })
    }

    /// Takes all mappings of the next `len` bytes out and moves to their end;
    /// returns how many there were, huge ones counting once. Huge ones that reach
    /// over an end are split. Flushes once, on all processors that use the space,
    /// and keeps the frames until that is done; does not wait for it.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] when a huge mapping cannot be split; the mappings are
    /// then as they were.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    pub fn unmap(&mut self, len: usize) -> Result<usize> {
        self.pt_cursor.split_edges(len)?;
        let end = self.virt_addr() + len;
        let mut count = 0;
        while self.virt_addr() < end {
            count += self.unmap_run(end);
            let rest = end - self.virt_addr();
            // SAFETY: 1. what a user loses is the user's business. 2. the flusher
            // keeps it.
            let Some(frag) = (unsafe { self.pt_cursor.take_next(rest) })? else {
                break;
            };
            count += self.issue_flush_of(frag);
        }
        self.flusher.dispatch_tlb_flush();
        Ok(count)
    }

    /// Unmaps the pages of one node.
    #[inline]
    fn unmap_run(&mut self, end: Vaddr) -> usize {
        let flusher = &mut self.flusher;
        let taken = |va, item| issue_flush_of_item(flusher, va, item);
        // SAFETY: 1. what a user loses is the user's business. 2. the flusher
        // keeps it.
        unsafe { self.pt_cursor.take_run(end, taken) }
    }

    /// Changes the property of all mappings of the next `len` bytes and moves to
    /// their end; returns how many there were. Otherwise as
    /// [`Self::protect_next`], but that `op` may be called once for many mappings
    /// with the same property.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] when a huge mapping cannot be split; the mappings are
    /// then as they were.
    ///
    /// # Panics
    ///
    /// As [`Self::protect_next`].
    #[inline]
    pub fn protect(
        &mut self,
        len: usize,
        op: impl Fn(PageProperty) -> PageProperty,
    ) -> Result<usize> {
        let keep = |old: PageProperty| keep_tag(old, &op);
        // SAFETY: What a user may do with its memory is the user's business.
        Ok(unsafe { self.pt_cursor.protect_all(len, keep) }?)
    }

    /// Changes the property of the first mapping of the next `len` bytes and
    /// moves past it; returns its range. A huge one that reaches over an end is
    /// split. Returns nothing, with the cursor at their end, when nothing is
    /// mapped there.
    ///
    /// Flushes nothing: issue and dispatch that once for all that is changed.
    /// Privileges stay as they are.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] when a huge mapping cannot be split; the mappings are
    /// then as they were.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of the range.
    #[inline]
    pub fn protect_next(
        &mut self,
        len: usize,
        op: impl FnOnce(PageProperty) -> PageProperty,
    ) -> Result<Option<Range<Vaddr>>> {
        let keep = |old: PageProperty| keep_tag(old, op);
        // SAFETY: What a user may do with its memory is the user's business.
        Ok(unsafe { self.pt_cursor.protect_next(len, keep) }?)
    }

    /// Has the flusher flush and keep what was taken out; returns how many
    /// mappings it was.
    #[inline(always)]
    fn issue_flush_of(&mut self, frag: PageTableFrag<UserPtConfig>) -> usize {
        match frag {
            PageTableFrag::Mapped { va, item } => {
                let op = TlbFlushOp::Address(va);
                match item {
                    MappedItem::MappedRam { frame, .. } => {
                        self.flusher.issue_tlb_flush_with(op, frame.into());
                    }
                    MappedItem::MappedHuge { frames, .. } => {
                        self.flusher.issue_tlb_flush_with_segment(op, frames.into());
                    }
                    MappedItem::MappedIoMem { .. } => self.flusher.issue_tlb_flush(op),
                }
                1
            }
            PageTableFrag::StrayPageTable {
                pt,
                va,
                len,
                num_frames,
            } => {
                let op = TlbFlushOp::Range(va..va + len);
                self.flusher.issue_tlb_flush_with(op, pt);
                num_frames
            }
        }
    }
}

/// Has a flusher flush and keep an item.
#[inline(always)]
fn issue_flush_of_item(flusher: &mut TlbFlusher<'_>, va: Vaddr, item: MappedItem) {
    let op = TlbFlushOp::Address(va);
    match item {
        MappedItem::MappedRam { frame, .. } => flusher.issue_tlb_flush_with(op, frame.into()),
        MappedItem::MappedHuge { frames, .. } => {
            flusher.issue_tlb_flush_with_segment(op, frames.into());
        }
        MappedItem::MappedIoMem { .. } => flusher.issue_tlb_flush(op),
    }
}

/// Changes a property but for the tag and the privileges.
#[inline(always)]
fn keep_tag(old: PageProperty, op: impl FnOnce(PageProperty) -> PageProperty) -> PageProperty {
    let tag = old.flags & PageFlags::AVAIL1;
    let new = op(page_table::untagged(old));
    PageProperty {
        flags: (new.flags - PageFlags::AVAIL1) | tag,
        cache: new.cache,
        priv_flags: old.priv_flags,
    }
}

/// Returns a property as a user's mapping has it.
fn users(prop: PageProperty) -> PageProperty {
    PageProperty {
        flags: prop.flags - PageFlags::AVAIL1,
        cache: prop.cache,
        priv_flags: PrivilegedPageFlags::USER,
    }
}

#[cfg(any(test, ktest))]
mod tests;
