//! A user address space: a root of its own, the kernel's half shared.
//!
//! User mappings are pages of 4 KiB, and each holds a reference to its frame.
//! A cursor owns the whole space while it lives. The lock comes before the
//! kernel's, see [`crate::sync`].
//!
//! **The active space** belongs to the processor: it keeps a reference to the
//! space whose root is loaded, so that a root outlives its time in the register.

use alloc::sync::Arc;
use core::fmt;
use core::ops::{Deref, DerefMut, Range};

use super::frame::KernelFrame;
use super::io::{Fallible, VmReader, VmWriter};
use super::kspace::layout::KERNEL_ROOT_INDEX;
use super::kspace::{self, AllocatedNodes};
use super::page_table::{Node, Tree};
use super::prop::{PageProperty, PrivilegedPageFlags};
use super::{
    NR_LEVELS, PAGE_SIZE, Paddr, PagingLevel, UFrame, USER_END, Vaddr, is_page_aligned, page_size,
    pte_index,
};
use crate::arch::paging::{PageTableEntry, PteState};
use crate::arch::x86_64::mmu;
use crate::error::{Error, Result};
use crate::sync::{SpinLock, SpinLockGuard};

/// The space that is loaded, if it is a user's.
static ACTIVE: SpinLock<Option<Arc<VmSpace>>> = SpinLock::new(None);

/// A user address space.
pub struct VmSpace {
    root: Paddr,
    tree: SpinLock<Tree>,
}

impl VmSpace {
    /// Makes a space without user mappings.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn new() -> Result<Arc<Self>> {
        let root = KernelFrame::new_node()?.into_raw();
        // SAFETY: The frame was just made a node and is this space's alone.
        let tree = unsafe { Tree::from_root(root) };
        kspace::copy_top_half(tree.root());
        Ok(Arc::new(Self {
            root,
            tree: SpinLock::new(tree),
        }))
    }

    /// Makes this the space of the processor.
    ///
    /// Activating the active space does nothing. Must not be called in an
    /// interrupt handler.
    pub fn activate(self: &Arc<Self>) {
        let previous = {
            let mut active = ACTIVE.lock();
            if active
                .as_ref()
                .is_some_and(|space| Arc::ptr_eq(space, self))
            {
                return;
            }
            // SAFETY: `ACTIVE` keeps the space from here on, and its upper half
            // is the kernel's.
            unsafe { mmu::activate(self.root) };
            active.replace(Arc::clone(self))
        };
        // Only now, with its root out of the register and the lock released.
        drop(previous);
    }

    /// Leaves the active user space for the kernel's own.
    pub fn deactivate_current() {
        let previous = {
            let mut active = ACTIVE.lock();
            kspace::activate_kernel_only();
            active.take()
        };
        drop(previous);
    }

    /// Opens a read-only cursor over a range; it excludes every other cursor of
    /// the space while it lives.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`] when the range is empty, reversed, unaligned or
    /// not within user space.
    pub fn cursor(&self, range: &Range<Vaddr>) -> Result<Cursor<'_>> {
        let ordered = range.start < range.end && range.end <= USER_END + PAGE_SIZE;
        if !ordered || !is_page_aligned(range.start) || !is_page_aligned(range.end) {
            return Err(Error::AccessDenied);
        }
        Ok(Cursor {
            tree: self.tree.lock(),
            barrier: range.clone(),
            vaddr: range.start,
            is_active: mmu::active_root() == self.root,
        })
    }

    /// Opens a cursor that may change the mappings in a range; otherwise as
    /// [`Self::cursor`].
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`], as for [`Self::cursor`].
    pub fn cursor_mut(&self, range: &Range<Vaddr>) -> Result<CursorMut<'_>> {
        Ok(CursorMut(self.cursor(range)?))
    }

    /// Returns a reader of user memory. No mapping is checked here: absent pages
    /// show when they are read.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`] when the space is not active, or the range leaves
    /// user space.
    pub fn reader(&self, vaddr: Vaddr, len: usize) -> Result<VmReader<'_, Fallible>> {
        self.check_user_range(vaddr, len)?;
        // SAFETY: The range is in the user half. The space is active, and a
        // change of spaces makes accesses wrong, not unsafe.
        Ok(unsafe { VmReader::<Fallible>::from_user_space(vaddr, len) })
    }

    /// Returns a writer of user memory; as [`Self::reader`].
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`], as for [`Self::reader`].
    pub fn writer(&self, vaddr: Vaddr, len: usize) -> Result<VmWriter<'_, Fallible>> {
        self.check_user_range(vaddr, len)?;
        // SAFETY: As for the reader.
        Ok(unsafe { VmWriter::<Fallible>::from_user_space(vaddr, len) })
    }

    fn check_user_range(&self, vaddr: Vaddr, len: usize) -> Result<()> {
        let in_user_space = vaddr <= USER_END && len <= USER_END - vaddr;
        if in_user_space && mmu::active_root() == self.root {
            Ok(())
        } else {
            Err(Error::AccessDenied)
        }
    }
}

impl Drop for VmSpace {
    fn drop(&mut self) {
        // The processor's reference is gone, so the root is not loaded.
        let root = self.tree.lock().root();
        for index in 0..KERNEL_ROOT_INDEX {
            release(root.read(index), NR_LEVELS);
        }
        // SAFETY: The root came from `into_raw` in `new`.
        drop(unsafe { KernelFrame::from_raw(self.root) });
    }
}

/// Gives back what an entry of a node of `level` holds; depth is the level's.
fn release(entry: PageTableEntry, level: PagingLevel) {
    match entry.state(level) {
        PteState::Absent => {}
        PteState::Leaf(paddr, _) => {
            // SAFETY: The mapping held the reference that `map` gave up, and
            // nothing translates by this entry any more.
            drop(unsafe { UFrame::from_raw(paddr) });
        }
        PteState::Table(child) => {
            // SAFETY: A table entry leads to a node.
            let node = unsafe { Node::from_paddr(child) };
            for index in 0..super::NR_ENTRIES {
                release(node.read(index), level - 1);
            }
            // SAFETY: The node came from `AllocatedNodes`, and its only link is
            // this entry.
            drop(unsafe { KernelFrame::from_raw(child) });
        }
    }
}

impl fmt::Debug for VmSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VmSpace({:#x})", self.root)
    }
}

/// What is mapped at a page: a handle of the frame, and how it is mapped.
pub type MappedItem = (UFrame, PageProperty);

/// A position in a range of a user address space.
#[derive(Debug)]
pub struct Cursor<'a> {
    tree: SpinLockGuard<'a, Tree>,
    barrier: Range<Vaddr>,
    vaddr: Vaddr,
    /// Whether this processor may cache translations of the space.
    is_active: bool,
}

impl Cursor<'_> {
    /// Returns the current address.
    pub fn virt_addr(&self) -> Vaddr {
        self.vaddr
    }

    /// Returns the range of the slot at the cursor, and what is mapped in it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] at the end of the range.
    pub fn query(&mut self) -> Result<(Range<Vaddr>, Option<MappedItem>)> {
        if self.vaddr >= self.barrier.end {
            return Err(Error::InvalidArgs);
        }
        let walk = self.tree.walk(self.vaddr);
        let size = page_size(walk.level);
        let start = self.vaddr / size * size;
        let item = match walk.state {
            PteState::Leaf(paddr, prop) => {
                // SAFETY: The mapping holds a reference, which is borrowed for
                // the clone and then forgotten again.
                let frame = unsafe { UFrame::from_raw(paddr) };
                let handle = frame.clone();
                frame.into_raw();
                Some((handle, prop))
            }
            PteState::Absent | PteState::Table(_) => None,
        };
        Ok((start..start + size, item))
    }

    /// Moves to the first mapped page of the next `len` bytes; returns it.
    /// When there is none, the cursor moves to their end.
    ///
    /// # Panics
    ///
    /// Panics when `len` is unaligned or more than is left of the range.
    pub fn find_next(&mut self, len: usize) -> Option<Vaddr> {
        let end = self.window_end(len);
        while self.vaddr < end {
            let walk = self.tree.walk(self.vaddr);
            if matches!(walk.state, PteState::Leaf(..)) {
                return Some(self.vaddr);
            }
            let size = page_size(walk.level);
            self.vaddr = (self.vaddr / size * size + size).min(end);
        }
        None
    }

    /// Moves to an address of the range.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the address is not in the range.
    ///
    /// # Panics
    ///
    /// Panics when the address is unaligned.
    pub fn jump(&mut self, vaddr: Vaddr) -> Result<()> {
        assert!(is_page_aligned(vaddr), "jump to unaligned {vaddr:#x}");
        if !self.barrier.contains(&vaddr) {
            return Err(Error::InvalidArgs);
        }
        self.vaddr = vaddr;
        Ok(())
    }

    /// Checks a length against the rest of the range, by subtraction.
    fn window_end(&self, len: usize) -> Vaddr {
        assert!(is_page_aligned(len), "length {len:#x} is unaligned");
        assert!(
            len <= self.barrier.end - self.vaddr,
            "{len:#x} bytes from {:#x} leave the cursor's range",
            self.vaddr
        );
        self.vaddr + len
    }

    fn flush(&self, vaddr: Vaddr) {
        if self.is_active {
            mmu::flush_page(vaddr);
        }
    }
}

/// A position in a range of a user address space, with the right to change the
/// mappings there.
#[derive(Debug)]
pub struct CursorMut<'a>(Cursor<'a>);

impl<'a> Deref for CursorMut<'a> {
    type Target = Cursor<'a>;

    fn deref(&self) -> &Cursor<'a> {
        &self.0
    }
}

impl DerefMut for CursorMut<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl CursorMut<'_> {
    /// Maps a frame at the cursor and moves on by a page. A frame that was
    /// mapped there is replaced, and flushed before it is given back.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] when a node cannot be made; the mappings are then as
    /// they were.
    ///
    /// # Panics
    ///
    /// Panics at the end of the range.
    pub fn map(&mut self, frame: UFrame, mut prop: PageProperty) -> Result<()> {
        let vaddr = self.vaddr;
        self.window_end(PAGE_SIZE);
        prop.priv_flags = PrivilegedPageFlags::USER;
        let node = self.tree.node_for(vaddr, 1, true, &mut AllocatedNodes)?;
        let entry = PageTableEntry::new_leaf(frame.into_raw(), 1, prop);
        let old = node.swap(pte_index(vaddr, 1), entry);
        if old != PageTableEntry::default() {
            self.flush(vaddr);
            release(old, 1);
        }
        self.vaddr += PAGE_SIZE;
        Ok(())
    }

    /// Unmaps the next `len` bytes and moves to their end; returns how many
    /// pages were mapped there.
    ///
    /// # Panics
    ///
    /// Panics when `len` is unaligned or more than is left of the range.
    pub fn unmap(&mut self, len: usize) -> usize {
        let end = self.window_end(len);
        let mut count = 0;
        while self.vaddr < end {
            let rest = end - self.vaddr;
            let Some(vaddr) = self.find_next(rest) else {
                break;
            };
            let walk = self.tree.walk(vaddr);
            let index = pte_index(vaddr, walk.level);
            let old = walk.node.swap(index, PageTableEntry::default());
            self.flush(vaddr);
            release(old, walk.level);
            count += 1;
            self.vaddr += PAGE_SIZE;
        }
        count
    }

    /// Changes the property of the first mapping in the next `len` bytes,
    /// flushes it and moves past it; returns its range. The privileged flags
    /// stay as they are.
    ///
    /// # Panics
    ///
    /// Panics when `len` is unaligned or more than is left of the range.
    pub fn protect_next(
        &mut self,
        len: usize,
        change: impl FnOnce(&mut PageProperty),
    ) -> Option<Range<Vaddr>> {
        self.window_end(len);
        let vaddr = self.find_next(len)?;
        let walk = self.tree.walk(vaddr);
        let PteState::Leaf(paddr, mut prop) = walk.state else {
            return None;
        };
        let privileged = prop.priv_flags;
        change(&mut prop);
        prop.priv_flags = privileged;
        let entry = PageTableEntry::new_leaf(paddr, walk.level, prop);
        walk.node.write(pte_index(vaddr, walk.level), entry);
        self.flush(vaddr);
        self.vaddr += PAGE_SIZE;
        Some(vaddr..vaddr + PAGE_SIZE)
    }
}

/// Returns whether the lock of the active space is held, by whomever.
#[cfg(ktest)]
pub(crate) fn is_active_locked() -> bool {
    ACTIVE.is_locked()
}

#[cfg(ktest)]
#[path = "vm_space_tests.rs"]
mod tests;
