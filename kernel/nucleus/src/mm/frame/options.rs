//! How frames are allocated.

use super::meta::MetaSlot;
use super::{AnyFrameMeta, Frame, GetFrameError, Segment, allocator};
use crate::arch::memory::paddr_to_vaddr;
use crate::arch::pages;
use crate::error::{Error, Result};
use crate::mm::{PAGE_SIZE, Paddr};

/// How to allocate frames: zeroed, and for the kernel, unless told otherwise.
#[derive(Clone, Copy, Debug)]
pub struct FrameAllocOptions {
    zeroed: bool,
    for_user: bool,
    align: usize,
}

impl FrameAllocOptions {
    /// Returns the default options: zeroed, for the kernel, aligned to a page.
    pub const fn new() -> Self {
        Self {
            zeroed: true,
            for_user: false,
            align: PAGE_SIZE,
        }
    }

    /// Says whether frames are to be zeroed; if not, they hold old data.
    pub const fn zeroed(&mut self, zeroed: bool) -> &mut Self {
        self.zeroed = zeroed;
        self
    }

    /// Says whether the frames are for a user, who does not get those that are kept for
    /// the kernel ([`reserve`](super::reserve())).
    pub const fn for_user(&mut self, for_user: bool) -> &mut Self {
        self.for_user = for_user;
        self
    }

    /// Says what the first address is to be a multiple of: bytes, a power of two
    /// of at least a page.
    ///
    /// # Panics
    ///
    /// Panics when `align` is anything else.
    pub const fn align(&mut self, align: usize) -> &mut Self {
        assert!(
            align.is_power_of_two() && align >= PAGE_SIZE,
            "an alignment is a power of two of at least a page"
        );
        self.align = align;
        self
    }

    /// Allocates an untyped frame.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    #[inline(always)]
    pub fn alloc_frame(&self) -> Result<Frame<()>> {
        self.alloc_frame_with(())
    }

    /// Allocates a frame of a type.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    #[inline(always)]
    pub fn alloc_frame_with<M: AnyFrameMeta>(&self, data: M) -> Result<Frame<M>> {
        if self.align > PAGE_SIZE {
            return self.alloc_aligned_with(data);
        }
        let free = allocator::alloc_frame(self.zeroed, self.for_user).ok_or(Error::NoMemory)?;
        // Claimed first: a pool that lies must not have a used frame zeroed.
        if let Err(why) = free.slot.claim(data) {
            refuse(free.slot, why);
        }
        if self.zeroed && !free.is_zeroed {
            zero(free.slot.frame_paddr(), PAGE_SIZE);
        }
        free.slot.finish_shared();
        // SAFETY: The claim made one reference, to a frame of this type.
        Ok(unsafe { Frame::from_slot(free.slot) })
    }

    #[cold]
    fn alloc_aligned_with<M: AnyFrameMeta>(&self, data: M) -> Result<Frame<M>> {
        let mut data = Some(data);
        let one = |_| data.take().expect("a segment of one frame asks once");
        let mut segment = self.alloc_segment_with(1, one)?;
        segment.next().ok_or(Error::NoMemory)
    }

    /// Allocates untyped frames side by side.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] for no frames, [`Error::NoMemory`].
    pub fn alloc_segment(&self, nr_frames: usize) -> Result<Segment<()>> {
        self.alloc_segment_with(nr_frames, |_| ())
    }

    /// Allocates frames of a type side by side; `data_of` makes the data of the
    /// frame at each address.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] for no frames, [`Error::NoMemory`].
    pub fn alloc_segment_with<M: AnyFrameMeta>(
        &self,
        nr_frames: usize,
        data_of: impl FnMut(Paddr) -> M,
    ) -> Result<Segment<M>> {
        if nr_frames == 0 {
            return Err(Error::InvalidArgs);
        }
        let size = nr_frames.checked_mul(PAGE_SIZE).ok_or(Error::NoMemory)?;
        let start = allocator::alloc_contiguous(size, self.align, self.for_user);
        let start = start.ok_or(Error::NoMemory)?;
        match Segment::claim(start..start + size, data_of) {
            Ok(segment) => {
                if self.zeroed {
                    zero(start, size);
                }
                Ok(segment)
            }
            Err(why) => panic!("the allocator gave frames from {start:#x} out, but {why}"),
        }
    }
}

impl Default for FrameAllocOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Stops the machine for a pool that lies. By values, so that they stay in registers.
#[cold]
#[inline(never)]
fn refuse(slot: &'static MetaSlot, why: GetFrameError) -> ! {
    panic!("the allocator gave {slot:?} out, but {why}");
}

/// Zeroes memory that was just claimed.
fn zero(start: Paddr, size: usize) {
    for paddr in (start..start + size).step_by(PAGE_SIZE) {
        // SAFETY: The linear map holds the page, which was just claimed, and which
        // nobody else has a use for yet.
        unsafe { pages::zero_page(paddr_to_vaddr(paddr) as *mut u8) };
    }
}
