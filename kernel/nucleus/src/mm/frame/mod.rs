//! Physical frames: who owns which, and their allocation.
//!
//! Each frame of RAM has a slot of metadata ([`meta`]) with its state and a
//! value of its type. Ownership takes one of these forms:
//!
//! * [`Frame<M>`]: one of any number of counted references to a frame of type `M`.
//! * [`UniqueFrame<M>`]: the only way to a frame; gives mutable access to its data.
//! * [`Segment<M>`]: references to frames side by side, one for each.
//! * [`FrameRef`]: a borrowed look at a frame, which counts nothing.
//! * [`LinkedList`](linked_list::LinkedList): unique frames chained by their slots.
//!
//! A frame is either of a kernel type (a node of paging, a piece of stack) or
//! *untyped* ([`UFrame`]): plain bytes that user programs may see and change at
//! any time, which the kernel therefore touches by readers and writers, never
//! by reference. Page tables of users accept untyped frames alone.
//!
//! **Accounting.** A shared frame's count is the number of its handles, of the
//! segments that cover it, of the leaves that map it with ownership (a huge leaf
//! holds one reference to *each* of its frames), and of the flushes that still
//! keep it. When the last of these goes, the frame does.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

pub(crate) mod allocator;
mod buddy;
mod cache;
pub mod linked_list;
mod macros;
pub mod meta;
pub(crate) mod meta_type;
mod options;
mod reference;
pub(crate) mod reserve;
mod segment;
mod unique;
mod untyped;

pub use self::allocator::{FrameAllocator, FrameCounts, frame_counts, validate_free_frames};
pub use self::meta::GetFrameError;
use self::meta::MetaSlot;
pub use self::meta::census::{Census, KindCount, census};
pub use self::meta_type::{AnyFrameMeta, DropHook, FrameKind};
pub use self::options::FrameAllocOptions;
pub use self::reference::FrameRef;
pub use self::reserve::{
    MemoryCounts, ensure_reserve, has_reserve, memory_counts, reserve, set_reserve,
};
pub use self::segment::Segment;
pub(in crate::mm) use self::segment::{have_one_reference, try_add_references};
pub use self::unique::UniqueFrame;
pub use self::untyped::{AnyUFrameMeta, UFrame, USegment, UntypedMem};
use super::{PAGE_SIZE, Paddr, PagingLevel};

/// A counted reference to a frame whose type is `M`.
///
/// Holding it proves that the frame is not free, that its type is `M`, and that
/// its data is there to be read. It says nothing about the page's bytes.
#[repr(transparent)]
pub struct Frame<M: AnyFrameMeta + ?Sized> {
    slot: &'static MetaSlot,
    _type: PhantomData<M>,
}

impl<M: AnyFrameMeta> Frame<M> {
    /// Claims an unused frame by its address, for a type. It is taken out of the
    /// allocator, to which it returns when it is dropped.
    ///
    /// # Errors
    ///
    /// What the frame is instead of unused; [`GetFrameError::Busy`], too, if it is
    /// among those that another processor keeps at hand. Nothing has changed then.
    pub fn from_unused(paddr: Paddr, data: M) -> Result<Self, GetFrameError> {
        allocator::take_at(paddr)?;
        Self::claim(paddr, data)
    }

    /// Claims an unused frame that the allocator does not have.
    ///
    /// # Errors
    ///
    /// What the frame is instead of unused; nothing has changed then.
    pub(crate) fn claim(paddr: Paddr, data: M) -> Result<Self, GetFrameError> {
        let slot = meta::slot_of(paddr)?;
        slot.claim(data)?;
        slot.finish_shared();
        // SAFETY: The claim made one reference, to a frame of this type.
        Ok(unsafe { Self::from_slot(slot) })
    }

    /// Returns the frame's data.
    pub fn meta(&self) -> &M {
        // SAFETY: The reference keeps the data, and nobody changes the data of
        // a shared frame.
        unsafe { &*self.slot.data::<M>() }
    }
}

impl Frame<dyn AnyFrameMeta> {
    /// Finds a frame in use by its address, whatever its type.
    ///
    /// # Errors
    ///
    /// What the frame is instead of shared.
    ///
    /// # Panics
    ///
    /// Panics when the frame has its most references already.
    pub fn from_in_use(paddr: Paddr) -> Result<Self, GetFrameError> {
        let slot = meta::slot_of(paddr)?;
        slot.look_up()?;
        // SAFETY: The look-up added one reference.
        Ok(unsafe { Self::from_slot(slot) })
    }
}

impl<M: AnyFrameMeta + ?Sized> Frame<M> {
    /// Makes a handle of a reference.
    ///
    /// # Safety
    ///
    /// 1. The slot has a reference that is nobody's.
    /// 2. The frame's type is `M`, or `M` is what the type has in common with it.
    #[inline]
    pub(crate) unsafe fn from_slot(slot: &'static MetaSlot) -> Self {
        Self {
            slot,
            _type: PhantomData,
        }
    }

    /// Makes a handle of a reference that [`Self::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `paddr` came from `into_raw` of a handle of this type, and this is the
    /// only use of that reference since.
    #[inline]
    pub(crate) unsafe fn from_raw(paddr: Paddr) -> Self {
        // SAFETY: A handle was there, so the frame is below the bound.
        let slot = unsafe { meta::slot_of_unchecked(paddr) };
        // SAFETY: As the caller promises.
        unsafe { Self::from_slot(slot) }
    }

    /// Gives the reference up to whoever keeps the address; no count changes.
    #[inline]
    pub(crate) fn into_raw(self) -> Paddr {
        ManuallyDrop::new(self).slot.frame_paddr()
    }

    /// Drops the handle, inlined where many are dropped.
    #[inline(always)]
    pub(crate) fn release(self) {
        let slot = ManuallyDrop::new(self).slot;
        // SAFETY: The reference is this handle's, which ended.
        unsafe { slot.drop_reference() };
    }

    /// Returns the address of the frame's first byte.
    pub fn start_paddr(&self) -> Paddr {
        self.slot.frame_paddr()
    }

    /// Returns the frame's size in bytes.
    pub const fn size(&self) -> usize {
        PAGE_SIZE
    }

    /// Returns the level at which the frame can be mapped.
    pub const fn map_level(&self) -> PagingLevel {
        1
    }

    /// Returns how many references the frame has, this one included: handles, mappings,
    /// and flushes that still keep it.
    ///
    /// It was true at a moment of the call. Others may add and drop references
    /// meanwhile; but where it is 1, the caller has the only one, and the number stays
    /// true: nobody else can add one but by the frame's address
    /// ([`Frame::from_in_use`]). So it errs upwards: who counts two may be the last one a
    /// moment later.
    pub fn reference_count(&self) -> u32 {
        self.slot.reference_count()
    }

    /// Returns the data as what all types have in common.
    pub fn dyn_meta(&self) -> &dyn AnyFrameMeta {
        // SAFETY: The reference keeps the data, and nobody changes the data of
        // a shared frame.
        unsafe { &*self.slot.dyn_data() }
    }

    /// Borrows the frame: a look that counts nothing.
    pub fn borrow(&self) -> FrameRef<'_, M> {
        // SAFETY: 1. this handle's reference outlives the borrow; 2. same type.
        unsafe { FrameRef::from_slot(self.slot) }
    }

    pub(in crate::mm) fn slot(&self) -> &'static MetaSlot {
        self.slot
    }

    /// Calls the reference one to a frame of another type.
    ///
    /// # Safety
    ///
    /// The frame's type is `N`, or `N` is what the type has in common with it.
    #[inline]
    unsafe fn transmute<N: AnyFrameMeta + ?Sized>(self) -> Frame<N> {
        let slot = ManuallyDrop::new(self).slot;
        // SAFETY: The reference of `self` passes on; the type is as promised.
        unsafe { Frame::from_slot(slot) }
    }
}

impl<M: AnyFrameMeta + ?Sized> Clone for Frame<M> {
    #[inline]
    fn clone(&self) -> Self {
        self.slot.add_reference();
        // SAFETY: The reference was just added.
        unsafe { Self::from_slot(self.slot) }
    }
}

impl<M: AnyFrameMeta + ?Sized> Drop for Frame<M> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The reference is this handle's, which ends.
        unsafe { self.slot.drop_reference() };
    }
}

impl<M: AnyFrameMeta + ?Sized> PartialEq for Frame<M> {
    /// Handles are equal if they are of the same frame.
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.slot, other.slot)
    }
}

impl<M: AnyFrameMeta + ?Sized> Eq for Frame<M> {}

impl<M: AnyFrameMeta + ?Sized> fmt::Debug for Frame<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:#x})", self.start_paddr())
    }
}

impl<M: AnyFrameMeta> From<Frame<M>> for Frame<dyn AnyFrameMeta> {
    fn from(frame: Frame<M>) -> Self {
        // SAFETY: Every type has this in common.
        unsafe { frame.transmute() }
    }
}

impl<M: AnyFrameMeta> TryFrom<Frame<dyn AnyFrameMeta>> for Frame<M> {
    type Error = Frame<dyn AnyFrameMeta>;

    /// Returns the handle unharmed if the frame is of another type.
    fn try_from(frame: Frame<dyn AnyFrameMeta>) -> Result<Self, Self::Error> {
        if frame.slot.is_of::<M>() {
            // SAFETY: The type was just compared.
            Ok(unsafe { frame.transmute() })
        } else {
            Err(frame)
        }
    }
}

#[cfg(any(test, ktest))]
pub(crate) mod tests;
