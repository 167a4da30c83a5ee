//! A borrowed look at a frame: no count changes when it comes or goes.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;

use super::meta::MetaSlot;
use super::{AnyFrameMeta, Frame};

/// A frame, borrowed from somebody's reference that lives for `'a`.
pub struct FrameRef<'a, M: AnyFrameMeta + ?Sized> {
    frame: ManuallyDrop<Frame<M>>,
    _owner: PhantomData<&'a Frame<M>>,
}

impl<M: AnyFrameMeta + ?Sized> FrameRef<'_, M> {
    /// Looks at a frame by its slot.
    ///
    /// # Safety
    ///
    /// 1. Somebody's reference to the frame outlives the lifetime.
    /// 2. The frame's type is `M`, or `M` is what the type has in common with it.
    pub(crate) unsafe fn from_slot(slot: &'static MetaSlot) -> Self {
        // SAFETY: 1. the handle is never dropped, so that it needs no reference
        // of its own; 2. as promised.
        let frame = unsafe { Frame::from_slot(slot) };
        Self {
            frame: ManuallyDrop::new(frame),
            _owner: PhantomData,
        }
    }
}

impl<M: AnyFrameMeta + ?Sized> Deref for FrameRef<'_, M> {
    type Target = Frame<M>;

    fn deref(&self) -> &Frame<M> {
        &self.frame
    }
}

impl<M: AnyFrameMeta + ?Sized> fmt::Debug for FrameRef<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameRef({:#x})", self.start_paddr())
    }
}
