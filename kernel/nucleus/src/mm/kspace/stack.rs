//! Kernel stacks: areas with guards at both ends, so that an overflow faults.

use super::kvirt::KVirtArea;
use crate::error::Result;
use crate::impl_frame_meta_for;
use crate::mm::frame::FrameAllocOptions;
use crate::mm::prop::{CachePolicy, PageFlags, PrivilegedPageFlags};
use crate::mm::{PAGE_SIZE, PageProperty, Vaddr};

/// Pages that are not mapped, at each end of a stack.
pub(super) const GUARD_SIZE: usize = 2 * PAGE_SIZE;

/// The type of a frame that is a part of a stack.
#[derive(Debug)]
struct StackFrame;

impl_frame_meta_for!(StackFrame => "stacks");

/// A stack of the kernel.
#[derive(Debug)]
pub struct KernelStack {
    area: KVirtArea,
}

impl KernelStack {
    /// Bytes of a stack, unless somebody knows better. The deepest that a program's calls
    /// and faults were seen to get is 12 KiB; the report of a panic needs some more.
    pub const DEFAULT_SIZE: usize = 32 * 1024;

    /// Makes a stack of `size` bytes, whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub fn new(size: usize) -> Result<Self> {
        let mut options = FrameAllocOptions::new();
        // Who stands on a stack reads nothing there that it has not written.
        options.zeroed(false);
        let frames = (0..size / PAGE_SIZE).map(|_| options.alloc_frame_with(StackFrame));
        // Not global: a stack is used by the processor that runs its task.
        let prop = PageProperty {
            flags: PageFlags::RW,
            cache: CachePolicy::Writeback,
            priv_flags: PrivilegedPageFlags::empty(),
        };
        let area = KVirtArea::map_new_frames(size + 2 * GUARD_SIZE, GUARD_SIZE, frames, prop)?;
        Ok(Self { area })
    }

    /// Returns the address that the first push goes below.
    pub fn top(&self) -> Vaddr {
        self.area.end() - GUARD_SIZE
    }

    /// Returns the bytes between the guards.
    pub fn size(&self) -> usize {
        self.area.len() - 2 * GUARD_SIZE
    }

    /// Returns the address below which the guard lies.
    pub fn bottom(&self) -> Vaddr {
        self.area.start() + GUARD_SIZE
    }
}
