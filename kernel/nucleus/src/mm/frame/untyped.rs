//! Untyped frames: plain bytes that user programs may see.

use core::mem::ManuallyDrop;

use super::{AnyFrameMeta, Frame, Segment};
use crate::arch::memory::paddr_to_vaddr;
use crate::arch::pages;
use crate::mm::{Infallible, VmReader, VmWriter};

/// The type of a frame that is untyped.
///
/// # Safety
///
/// [`AnyFrameMeta::is_untyped`] says yes.
pub unsafe trait AnyUFrameMeta: AnyFrameMeta {}

/// A counted reference to an untyped frame.
pub type UFrame = Frame<dyn AnyUFrameMeta>;

/// References to untyped frames side by side.
pub type USegment = Segment<dyn AnyUFrameMeta>;

/// Memory that is touched by readers and writers alone.
pub trait UntypedMem {
    /// Returns a reader of all of it.
    fn reader(&self) -> VmReader<'_, Infallible>;
    /// Returns a writer of all of it.
    fn writer(&self) -> VmWriter<'_, Infallible>;
}

macro_rules! impl_untyped_mem {
    ($type:ident) => {
        impl<M: AnyUFrameMeta + ?Sized> UntypedMem for $type<M> {
            fn reader(&self) -> VmReader<'_, Infallible> {
                let start = paddr_to_vaddr(self.start_paddr()) as *const u8;
                // SAFETY: The linear map holds the bytes, the handle keeps the
                // frames, and untyped memory is touched by readers and writers
                // alone.
                unsafe { VmReader::from_kernel_space(start, self.size()) }
            }

            fn writer(&self) -> VmWriter<'_, Infallible> {
                let start = paddr_to_vaddr(self.start_paddr()) as *mut u8;
                // SAFETY: As for the reader.
                unsafe { VmWriter::from_kernel_space(start, self.size()) }
            }
        }
    };
}

impl_untyped_mem!(Frame);
impl_untyped_mem!(Segment);

impl<M: AnyUFrameMeta + ?Sized> Frame<M> {
    /// Copies all bytes of another frame into this one.
    ///
    /// What somebody else writes to either meanwhile may be copied in part.
    #[inline]
    pub fn copy_from<N: AnyUFrameMeta + ?Sized>(&self, source: &Frame<N>) {
        let target = paddr_to_vaddr(self.start_paddr()) as *mut u8;
        let source = paddr_to_vaddr(source.start_paddr()) as *const u8;
        // SAFETY: The linear map holds both pages, the handles keep the frames, and
        // untyped memory is anybody's to read and write.
        unsafe { pages::copy_page(target, source) };
    }
}

impl<M: AnyUFrameMeta> From<Frame<M>> for UFrame {
    fn from(frame: Frame<M>) -> Self {
        // SAFETY: The type is an untyped one.
        unsafe { frame.transmute() }
    }
}

impl From<UFrame> for Frame<dyn AnyFrameMeta> {
    fn from(frame: UFrame) -> Self {
        // SAFETY: Every type has this in common.
        unsafe { frame.transmute() }
    }
}

impl TryFrom<Frame<dyn AnyFrameMeta>> for UFrame {
    type Error = Frame<dyn AnyFrameMeta>;

    /// Returns the handle unharmed if the frame is not untyped.
    fn try_from(frame: Frame<dyn AnyFrameMeta>) -> Result<Self, Self::Error> {
        if frame.dyn_meta().is_untyped() {
            // SAFETY: The type was just asked.
            Ok(unsafe { frame.transmute() })
        } else {
            Err(frame)
        }
    }
}

impl<M: AnyUFrameMeta> From<Segment<M>> for USegment {
    fn from(segment: Segment<M>) -> Self {
        let range = ManuallyDrop::new(segment).paddr_range();
        // SAFETY: The references of the old segment pass on; the type is untyped.
        unsafe { Self::from_raw(range) }
    }
}
