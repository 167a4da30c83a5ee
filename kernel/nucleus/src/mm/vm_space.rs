//! A user address space: a page table of its own, the kernel's half shared.
//!
//! A [`VmSpace`] is changed by cursors ([`CursorMut`]), each of which owns a range
//! of it. What is taken out of it is flushed from the processors on which the
//! space is active, and kept until they have flushed it.
//!
//! **Two spaces at once**: a task that has cursors of two spaces opens that of the
//! older one first, the one that was made first: else two tasks might wait for each
//! other. A fork copies from the older one to the newer one ([`CursorMut::copy_from`]).
//! Where assertions are on, the order is checked as cursors are opened.
//!
//! **The active space** is the processor's: it keeps a reference to the space
//! whose root it has loaded, so that a root outlives its time in the register
//! (peer 70). How a processor joins and leaves the space's users, and what it
//! flushes then, is told in `tlb::users` and `tlb::identifiers`.
//!
//! **A task without a user space** leaves the root of the one before loaded
//! (`on_switch`): the processor is *lazy*. It is not interrupted for pages of the
//! space any more. When a node of it is to go, whose freed memory the processor
//! could still walk, it leaves for the kernel's own table and keeps only the
//! reference, which no interrupt handler could drop. Since it may have missed
//! flushes, user memory must not be accessed: no [`VmReader`] can be made, and one
//! that was made before belongs to a task that does not run.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use spin::Once;

mod copy;
mod cursor;
mod marks;
mod write;

pub use self::cursor::{Cursor, CursorMut};
use super::inspect::listing;
use super::io::{Fallible, VmReader, VmWriter, is_user_range};
use super::io_mem::IoMem;
use super::kspace;
use super::page_table::invariants::{Counts, Finding};
use super::page_table::{PageTable, UserPtConfig};
use super::tlb::{TableUsers, TlbFlusher};
use super::{Paddr, Vaddr};
use crate::arch::{cpu, memory, mmu, tasks};
#[cfg(any(test, ktest))]
use crate::cpu::CpuSet;
use crate::cpu::{InAtomicMode, disable_preempt, is_atomic};
use crate::error::{Error, Result};
use crate::irq;
use crate::planted::{Bug, is_planted};
use crate::sync::{SpinLock, rcu};
use crate::trap_decode::PageFaultCode;

/// A user address space.
pub struct VmSpace {
    pt: PageTable<UserPtConfig>,
    users: TableUsers,
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
            users: TableUsers::new(),
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
        rcu::check_order(self.users.id());
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
        rcu::check_order(self.users.id());
        Ok(CursorMut {
            pt_cursor: self.pt.cursor_mut(guard, va)?,
            flusher: TlbFlusher::new(&self.users, guard),
            iomems: &self.iomems,
        })
    }

    /// Makes this the space of the processor; does nothing if it is already.
    ///
    /// Must not be called in an interrupt handler.
    pub fn activate(self: &Arc<Self>) {
        let _guard = disable_preempt();
        tasks::set_space(Some(Arc::clone(self)));
        drop(self.load());
    }

    /// As [`Self::activate`], for someone who stays on the processor; returns the
    /// space that was loaded before, if it is another one.
    fn load(self: &Arc<Self>) -> Option<Arc<Self>> {
        let (here, local) = (cpu::current_id(), cpu::local());
        let mut active = local.active_space.0.lock();
        let is_ours = active
            .as_ref()
            .is_some_and(|space| Arc::ptr_eq(space, self));
        if is_ours && local.tlb.is_running() {
            return None;
        }
        if is_ours && local.tlb.is_lazy() {
            local.tlb.resume(self.users.resume(here));
            return None;
        }
        let is_late = is_planted(Bug::LateUser);
        let generation = if is_late {
            self.users.generation()
        } else {
            self.users.join(here)
        };
        // SAFETY: 1. the processor keeps a reference to the space from here on.
        // 2. its upper half is the kernel's. 3. it has joined, but for a bug on purpose.
        unsafe {
            local
                .tlb
                .load(self.users.id(), self.pt.root_paddr(), generation);
        }
        if is_late {
            self.users.join(here);
        }
        if is_ours {
            // It had been left while the processor was lazy.
            return None;
        }
        let previous = active.replace(Arc::clone(self));
        leave(previous.as_deref());
        previous
    }

    /// Leaves the active user space for the kernel's own.
    pub fn deactivate_current() {
        let _guard = disable_preempt();
        tasks::set_space(None);
        let local = cpu::local();
        let previous = {
            let mut active = local.active_space.0.lock();
            let Some(space) = active.take() else {
                return;
            };
            load_kernel_table();
            leave(Some(&space));
            space
        };
        drop(previous);
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
        let is_active = mmu::active_root() == self.pt.root_paddr() && !cpu::local().tlb.is_lazy();
        if !is_active || !is_user_range(vaddr, len) {
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

    /// Writes what the page table has for the user, equal neighbours folded, without
    /// locks; see [`listing`].
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_page_table(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        listing::write_user_half(self.pt.root_paddr(), out)
    }

    /// Checks the page table from scratch; see [`invariants`](super::page_table::invariants).
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]: it could not be checked. What is wrong is the inner result.
    pub fn check(&self) -> Result<core::result::Result<Counts, Finding>> {
        self.pt.check()
    }

    /// Returns who uses the space, to flush it without a cursor.
    pub fn users(&self) -> &TableUsers {
        &self.users
    }

    /// Returns the processors that have the space loaded.
    #[cfg(any(test, ktest))]
    pub(crate) fn cpus(&self) -> CpuSet {
        self.users.loaded()
    }

    /// Returns the page table.
    #[cfg(any(test, ktest))]
    pub(crate) fn page_table(&self) -> &PageTable<UserPtConfig> {
        &self.pt
    }
}

/// A kernel with its tests checks the page table once more before it goes.
#[cfg(ktest)]
impl Drop for VmSpace {
    fn drop(&mut self) {
        if let Err(finding) = self.pt.check_alone() {
            panic!("a page table is damaged: {finding}");
        }
    }
}

/// Has this processor leave a space that it has not loaded any more.
fn leave(space: Option<&VmSpace>) {
    if let Some(space) = space {
        space.users.leave(cpu::current_id());
    }
}

/// Loads the kernel's own table; with interrupts off.
fn load_kernel_table() {
    let root = kspace::kernel_page_table().root_paddr();
    // SAFETY: It is the kernel's table, which lives for ever.
    unsafe { cpu::local().tlb.load_kernel(root) };
}

/// Follows a switch of tasks: loads the space of the next one, or leaves it at the
/// one that is loaded, lazily, for a task without.
///
/// Called by the scheduler, with interrupts off. Returns the space that was loaded
/// before, if another one is now: to be dropped where its frames may be freed.
#[must_use = "dropping a space may free all of it, which takes its time"]
pub(crate) fn on_switch(next: Option<&Arc<VmSpace>>) -> Option<Arc<VmSpace>> {
    debug_assert!(!irq::is_enabled(), "tasks are switched with interrupts off");
    match next {
        Some(space) => space.load(),
        None => {
            rest();
            None
        }
    }
}

/// Has this processor be lazy, if it has a space loaded.
fn rest() {
    let local = cpu::local();
    let active = local.active_space.0.lock();
    if let Some(space) = active.as_ref()
        && local.tlb.is_running()
    {
        local.tlb.rest();
        space.users.rest(cpu::current_id());
    }
}

/// Has a lazy processor leave the space that it has loaded, but not the reference;
/// for the handler of flushes, with interrupts off.
pub(super) fn leave_lazy_space() {
    let active = cpu::local().active_space.0.lock();
    load_kernel_table();
    leave(active.as_deref());
}

impl fmt::Debug for VmSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VmSpace({:#x})", self.pt.root_paddr())
    }
}

/// The space that a processor has loaded, or had when it became lazy.
///
/// The lock is the processor's own: it keeps its handler of flushes away.
#[derive(Debug)]
pub(crate) struct ActiveSpace(SpinLock<Option<Arc<VmSpace>>>);

impl ActiveSpace {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(None))
    }

    /// Returns whether no space is loaded, nor kept.
    #[cfg(ktest)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_none()
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
        let local = cpu::local();
        let is_running = local.tlb.is_running();
        is_running.then(|| local.active_space.0.lock().clone())
    };
    let Some(space) = space.flatten() else {
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
