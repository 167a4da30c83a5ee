//! The only way to a frame.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use super::meta::{self, MetaSlot};
use super::{AnyFrameMeta, Frame, GetFrameError, allocator};
use crate::mm::{PAGE_SIZE, Paddr};

/// The owner of a frame that nobody else can get at.
///
/// While it lives, the frame cannot be found by its address and no page table
/// maps it, so its data can be changed.
#[repr(transparent)]
pub struct UniqueFrame<M: AnyFrameMeta + ?Sized> {
    slot: &'static MetaSlot,
    _type: PhantomData<M>,
}

impl<M: AnyFrameMeta> UniqueFrame<M> {
    /// Claims an unused frame by its address, for a type. It is taken out of the
    /// allocator, to which it returns when it is dropped.
    ///
    /// # Errors
    ///
    /// As [`Frame::from_unused`].
    pub fn from_unused(paddr: Paddr, data: M) -> Result<Self, GetFrameError> {
        allocator::take_at(paddr)?;
        let slot = meta::slot_of(paddr)?;
        slot.claim(data)?;
        slot.finish_unique();
        // SAFETY: The claim made this the owner.
        Ok(unsafe { Self::from_slot(slot) })
    }

    /// Returns the frame's data.
    pub fn meta(&self) -> &M {
        // SAFETY: The owner is the only one to get at the data.
        unsafe { &*self.slot.data::<M>() }
    }

    /// Returns the frame's data, to be changed.
    pub fn meta_mut(&mut self) -> &mut M {
        // SAFETY: The owner is the only one to get at the data.
        unsafe { &mut *self.slot.data::<M>() }
    }

    /// Gives the frame another type; the old data is dropped, drop hook included.
    pub fn repurpose<N: AnyFrameMeta>(self, data: N) -> UniqueFrame<N> {
        // Should the old data's destructor panic, nothing may drop it again
        // (peer 20): the frame is lost then, and safely so.
        let slot = ManuallyDrop::new(self).slot;
        // SAFETY: The owner is the only one to get at the data.
        unsafe { slot.replace_data(data) };
        // SAFETY: The ownership passes on; the type is the new one.
        unsafe { UniqueFrame::from_slot(slot) }
    }
}

impl<M: AnyFrameMeta + ?Sized> UniqueFrame<M> {
    /// Makes the owner of a unique frame.
    ///
    /// # Safety
    ///
    /// The frame is unique, of type `M`, and has no owner.
    pub(super) unsafe fn from_slot(slot: &'static MetaSlot) -> Self {
        Self {
            slot,
            _type: PhantomData,
        }
    }

    /// Gives the ownership up to whoever keeps the slot.
    pub(super) fn into_slot(self) -> &'static MetaSlot {
        ManuallyDrop::new(self).slot
    }

    /// Returns the address of the frame's first byte.
    pub fn start_paddr(&self) -> Paddr {
        self.slot.frame_paddr()
    }

    /// Returns the frame's size in bytes.
    pub const fn size(&self) -> usize {
        PAGE_SIZE
    }
}

impl<M: AnyFrameMeta + ?Sized> Drop for UniqueFrame<M> {
    fn drop(&mut self) {
        // SAFETY: The owner ends here.
        unsafe { self.slot.destroy_unique() };
    }
}

impl<M: AnyFrameMeta + ?Sized> From<UniqueFrame<M>> for Frame<M> {
    fn from(unique: UniqueFrame<M>) -> Self {
        let slot = unique.into_slot();
        slot.share();
        // SAFETY: Sharing made one reference; the type is the same.
        unsafe { Self::from_slot(slot) }
    }
}

impl<M: AnyFrameMeta + ?Sized> TryFrom<Frame<M>> for UniqueFrame<M> {
    type Error = Frame<M>;

    /// Returns the handle unharmed if it is not the only reference.
    fn try_from(frame: Frame<M>) -> Result<Self, Frame<M>> {
        if !frame.slot().make_unique() {
            return Err(frame);
        }
        let slot = ManuallyDrop::new(frame).slot();
        // SAFETY: The frame was just made unique, and its one reference is gone.
        Ok(unsafe { Self::from_slot(slot) })
    }
}

impl<M: AnyFrameMeta + ?Sized> fmt::Debug for UniqueFrame<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UniqueFrame({:#x})", self.start_paddr())
    }
}
