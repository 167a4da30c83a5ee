//! How frames are allocated.

use super::meta::MetaSlot;
use super::{AnyFrameMeta, Frame, Segment, allocator, reserve};
use crate::arch::memory::{self, paddr_to_vaddr};
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
        if self.align > PAGE_SIZE || self.for_user && memory::memory().buddy.is_low() {
            return self.alloc_unusual_with(data);
        }
        if self.zeroed {
            return self.alloc_zeroed_with(data);
        }
        let slot = allocator::alloc_frame(self.for_user).ok_or(Error::NoMemory)?;
        Ok(make_frame(slot, data, Page::AsItIs))
    }

    #[inline(always)]
    fn alloc_zeroed_with<M: AnyFrameMeta>(&self, data: M) -> Result<Frame<M>> {
        if let Some(slot) = allocator::alloc_zeroed_frame() {
            return Ok(make_frame(slot, data, Page::AsItIs));
        }
        let slot = allocator::alloc_frame(self.for_user).ok_or(Error::NoMemory)?;
        Ok(make_frame(slot, data, Page::Zeroed))
    }

    /// Allocates a frame with a larger alignment, or for a user where memory is short.
    #[cold]
    fn alloc_unusual_with<M: AnyFrameMeta>(&self, data: M) -> Result<Frame<M>> {
        if self.align > PAGE_SIZE {
            let mut data = Some(data);
            let one = |_| data.take().expect("a segment of one frame asks once");
            let mut segment = self.alloc_segment_with(1, one)?;
            return segment.next().ok_or(Error::NoMemory);
        }
        let slot = reserve::alloc_scarce(self.for_user).ok_or(Error::NoMemory)?;
        let page = if self.zeroed {
            Page::Zeroed
        } else {
            Page::AsItIs
        };
        Ok(make_frame(slot, data, page))
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

/// What is done with the bytes of a frame that was just allocated.
#[derive(Clone, Copy)]
enum Page {
    AsItIs,
    Zeroed,
}

/// Makes a frame of the allocator's one of a type.
///
/// # Panics
///
/// Panics when the frame is in use: the pool that gave it out lied.
#[inline(always)]
fn make_frame<M: AnyFrameMeta>(slot: &'static MetaSlot, data: M, page: Page) -> Frame<M> {
    // Claimed first: a pool that lies must not have a used frame zeroed.
    if let Err(why) = slot.claim_ram(data) {
        allocator::refuse(slot, why);
    }
    if let Page::Zeroed = page {
        zero(slot.frame_paddr(), PAGE_SIZE);
    }
    slot.finish_shared();
    // SAFETY: The claim made one reference, to a frame of this type.
    unsafe { Frame::from_slot(slot) }
}

/// Zeroes memory that was just claimed.
fn zero(start: Paddr, size: usize) {
    for paddr in (start..start + size).step_by(PAGE_SIZE) {
        // SAFETY: The linear map holds the page, which was just claimed, and which
        // nobody else has a use for yet.
        unsafe { pages::zero_page(paddr_to_vaddr(paddr) as *mut u8) };
    }
}
