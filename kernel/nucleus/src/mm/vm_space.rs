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
use core::ops::Range;

use spin::Once;

mod cursor;

pub use self::cursor::{Cursor, CursorMut};
use super::io::{Fallible, VmReader, VmWriter, is_user_range};
use super::io_mem::IoMem;
use super::kspace;
use super::page_table::{PageTable, UserPtConfig};
use super::tlb::TlbFlusher;
use super::{Paddr, Vaddr};
use crate::arch::{cpu, memory, mmu, tasks};
use crate::cpu::{AtomicCpuSet, CpuSet, InAtomicMode, disable_preempt, is_atomic};
use crate::error::{Error, Result};
use crate::planted::{Bug, is_planted};
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
        tasks::set_space(Some(Arc::clone(self)));
        self.load();
    }

    /// Has this processor, in atomic mode, use the space.
    fn load(self: &Arc<Self>) {
        let here = cpu::current_id();
        let previous = {
            let mut active = cpu::local().active_space.0.lock();
            if active
                .as_ref()
                .is_some_and(|space| Arc::ptr_eq(space, self))
            {
                return;
            }
            let is_late = is_planted(Bug::LateUser);
            if !is_late {
                self.cpus.add(here);
            }
            // SAFETY: 1. its upper half is the kernel's. 2. the processor keeps
            // a reference to the space from here on.
            unsafe { self.pt.activate() };
            if is_late {
                self.cpus.add(here);
            }
            active.replace(Arc::clone(self))
        };
        leave(previous);
    }

    /// Leaves the active user space for the kernel's own.
    pub fn deactivate_current() {
        let _guard = disable_preempt();
        tasks::set_space(None);
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
        Ok(VmReader::from_user_space(vaddr as *const u8, len))
    }

    /// Returns a writer of user memory; as [`Self::reader`].
    ///
    /// # Errors
    ///
    /// As [`Self::reader`].
    pub fn writer(&self, vaddr: Vaddr, len: usize) -> Result<VmWriter<'_, Fallible>> {
        self.check_access(vaddr, len)?;
        Ok(VmWriter::from_user_space(vaddr as *mut u8, len))
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

    /// Has page faults of the kernel's own accesses to this space handled, but
    /// for those in atomic mode. The first handler stays; later ones are ignored.
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

/// Has this processor use the space of the task that runs next, whatever it is for a
/// task that has none. Interrupts are off.
pub(crate) fn on_switch(next: Option<&Arc<VmSpace>>) {
    if let Some(space) = next {
        space.load();
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
///
/// In atomic mode it is not: the handler may wait for other processors, or for
/// a lock that the task itself holds (peers 50 and 51).
pub(crate) fn handle_user_fault(info: &PageFaultInfo) -> bool {
    if is_atomic() {
        return false;
    }
    let space = {
        let _stays = disable_preempt();
        cpu::local().active_space.0.lock().clone()
    };
    let Some(space) = space else {
        return false;
    };
    let default = memory::memory().fault_handler.get();
    match space.fault_handler.get().or(default) {
        Some(handler) => handler(&space, info).is_ok(),
        None => false,
    }
}

#[cfg(any(test, ktest))]
mod tests;

#[cfg(ktest)]
mod model_tests;
