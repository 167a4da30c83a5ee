//! Physical frames: who owns which, and their allocation.
//!
//! A frame is either the kernel's own (`KernelFrame`: a node, a piece of heap
//! or stack) or *untyped* ([`UFrame`]): memory that user programs may see and
//! change at any time, which the kernel therefore touches only through readers
//! and writers, never by reference.

use core::fmt;
use core::mem::ManuallyDrop;

pub(crate) mod allocator;
pub(crate) mod meta;
pub(crate) mod meta_map;

pub use self::allocator::{FrameCounts, frame_counts};
use self::meta::FrameUsage;
use super::io::{Infallible, VmReader, VmWriter};
use super::{PAGE_SIZE, Paddr};
use crate::arch::x86_64::memory::paddr_to_vaddr;
use crate::error::Result;

/// How to allocate a frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameAllocOptions {
    zeroed: bool,
}

impl FrameAllocOptions {
    /// Returns the default options: frames are zeroed.
    pub const fn new() -> Self {
        Self { zeroed: true }
    }

    /// Says whether frames are to be zeroed; if not, they hold old data.
    pub const fn zeroed(&mut self, zeroed: bool) -> &mut Self {
        self.zeroed = zeroed;
        self
    }

    /// Allocates a frame that user programs may see.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory) when no frame is free.
    pub fn alloc_frame(&self) -> Result<UFrame> {
        let paddr = allocator::allocate(FrameUsage::User)?;
        if self.zeroed {
            zero(paddr);
        }
        Ok(UFrame { paddr })
    }
}

impl Default for FrameAllocOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A counted handle of an untyped frame.
///
/// Handles and mappings keep the frame; the last one to go frees it.
pub struct UFrame {
    paddr: Paddr,
}

impl UFrame {
    /// Returns the physical address of the frame.
    pub fn start_paddr(&self) -> Paddr {
        self.paddr
    }

    /// Returns how many handles and mappings the frame has, this one included.
    pub fn reference_count(&self) -> u32 {
        self.slot().reference_count()
    }

    /// Returns a reader of all of the frame.
    pub fn reader(&self) -> VmReader<'_, Infallible> {
        // SAFETY: The linear map holds the frame's bytes, the handle keeps the
        // frame, and untyped frames are touched by readers and writers alone.
        unsafe { VmReader::from_kernel_space(paddr_to_vaddr(self.paddr), PAGE_SIZE) }
    }

    /// Returns a writer of all of the frame.
    pub fn writer(&self) -> VmWriter<'_, Infallible> {
        // SAFETY: As for the reader.
        unsafe { VmWriter::from_kernel_space(paddr_to_vaddr(self.paddr), PAGE_SIZE) }
    }

    /// Gives the handle's reference up to whoever keeps the address.
    pub(crate) fn into_raw(self) -> Paddr {
        ManuallyDrop::new(self).paddr
    }

    /// Makes a handle of a reference that [`Self::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `paddr` came from `into_raw`, and this is its only use since.
    pub(crate) unsafe fn from_raw(paddr: Paddr) -> Self {
        Self { paddr }
    }

    fn slot(&self) -> &'static meta::MetaSlot {
        meta::slot(self.paddr).expect("allocated frames have metadata")
    }
}

impl Clone for UFrame {
    fn clone(&self) -> Self {
        self.slot().add_reference();
        Self { paddr: self.paddr }
    }
}

impl PartialEq for UFrame {
    /// Handles are equal if they are of the same frame.
    fn eq(&self, other: &Self) -> bool {
        self.paddr == other.paddr
    }
}

impl Eq for UFrame {}

impl Drop for UFrame {
    fn drop(&mut self) {
        if self.slot().drop_reference() {
            // SAFETY: It was the last reference, and mappings hold references.
            unsafe { allocator::free(self.paddr) };
        }
    }
}

impl fmt::Debug for UFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UFrame({:#x})", self.paddr)
    }
}

/// A frame of the kernel's own, with a single owner.
pub(crate) struct KernelFrame {
    paddr: Paddr,
}

impl KernelFrame {
    /// Allocates a zeroed node of paging.
    pub(crate) fn new_node() -> Result<Self> {
        Self::new_zeroed(FrameUsage::Node)
    }

    /// Allocates a zeroed frame for a stack or the heap.
    pub(crate) fn new_memory() -> Result<Self> {
        Self::new_zeroed(FrameUsage::Kernel)
    }

    fn new_zeroed(usage: FrameUsage) -> Result<Self> {
        let paddr = allocator::allocate(usage)?;
        zero(paddr);
        Ok(Self { paddr })
    }

    /// Gives the frame up to whoever keeps the address.
    pub(crate) fn into_raw(self) -> Paddr {
        ManuallyDrop::new(self).paddr
    }

    /// Takes a frame that [`Self::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `paddr` came from `into_raw`, and this is its only use since.
    pub(crate) unsafe fn from_raw(paddr: Paddr) -> Self {
        Self { paddr }
    }
}

impl Drop for KernelFrame {
    fn drop(&mut self) {
        // SAFETY: The handle was the only owner.
        unsafe { allocator::free(self.paddr) };
    }
}

fn zero(paddr: Paddr) {
    // SAFETY: The frame was just allocated, and the linear map holds its bytes.
    unsafe { core::ptr::write_bytes(paddr_to_vaddr(paddr) as *mut u8, 0, PAGE_SIZE) };
}
