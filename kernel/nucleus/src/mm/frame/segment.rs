//! Frames side by side, with a reference to each.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Range;

use super::meta;
use super::{AnyFrameMeta, Frame, GetFrameError};
use crate::mm::{PAGE_SIZE, Paddr, is_page_aligned};
use crate::planted::{Bug, is_planted};

/// References to frames side by side, all of type `M`: exactly one for each.
///
/// What becomes of a segment becomes of its frames one by one, so parts of it
/// can be freed while others are still in use.
#[repr(transparent)]
pub struct Segment<M: AnyFrameMeta + ?Sized> {
    range: Range<Paddr>,
    _type: PhantomData<M>,
}

impl<M: AnyFrameMeta> Segment<M> {
    /// Claims unused frames by their addresses, as [`Frame::from_unused`] does;
    /// `data_of` makes the data of the frame at each address, in ascending order.
    ///
    /// # Errors
    ///
    /// [`GetFrameError::NotAligned`], then [`GetFrameError::OutOfBound`], then
    /// what the first frame that is not unused is instead; what was claimed
    /// before it is unused again.
    ///
    /// # Panics
    ///
    /// Panics when the range, being aligned and within bounds, is empty.
    pub fn from_unused(
        range: Range<Paddr>,
        mut data_of: impl FnMut(Paddr) -> M,
    ) -> Result<Self, GetFrameError> {
        Self::collect(range, |paddr| Frame::from_unused(paddr, data_of(paddr)))
    }

    /// As [`Self::from_unused`], of frames that the allocator does not have.
    pub(super) fn claim(
        range: Range<Paddr>,
        mut data_of: impl FnMut(Paddr) -> M,
    ) -> Result<Self, GetFrameError> {
        Self::collect(range, |paddr| Frame::claim(paddr, data_of(paddr)))
    }

    /// Makes a segment of the frames that `get` gets one by one.
    fn collect(
        range: Range<Paddr>,
        mut get: impl FnMut(Paddr) -> Result<Frame<M>, GetFrameError>,
    ) -> Result<Self, GetFrameError> {
        if !is_page_aligned(range.start) || !is_page_aligned(range.end) {
            return Err(GetFrameError::NotAligned);
        }
        if range.end > crate::arch::memory::max_paddr() {
            return Err(GetFrameError::OutOfBound);
        }
        assert!(range.start < range.end, "a segment of no frames");
        // Grows with each claim, so that an error gives back what there is.
        let mut claimed = Self {
            range: range.start..range.start,
            _type: PhantomData,
        };
        for paddr in range.step_by(PAGE_SIZE) {
            claimed.range.end = get(paddr)?.into_raw() + PAGE_SIZE;
        }
        Ok(claimed)
    }
}

impl<M: AnyFrameMeta + ?Sized> Segment<M> {
    /// Makes a segment of references that [`Self::into_raw`] gave up, or of a
    /// part of them.
    ///
    /// # Safety
    ///
    /// The references to the frames of the range are nobody's, and the frames
    /// are of type `M`.
    pub(crate) unsafe fn from_raw(range: Range<Paddr>) -> Self {
        Self {
            range,
            _type: PhantomData,
        }
    }

    /// Gives the references up to whoever keeps the range; no count changes.
    pub(crate) fn into_raw(self) -> Range<Paddr> {
        ManuallyDrop::new(self).range.clone()
    }

    /// Returns the addresses of the frames.
    pub fn paddr_range(&self) -> Range<Paddr> {
        self.range.clone()
    }

    /// Returns the address of the first byte.
    pub fn start_paddr(&self) -> Paddr {
        self.range.start
    }

    /// Returns the address after the last byte.
    pub fn end_paddr(&self) -> Paddr {
        self.range.end
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> usize {
        self.range.end - self.range.start
    }

    /// Cuts the segment in two; no count changes.
    ///
    /// # Panics
    ///
    /// Panics unless `offset` is a multiple of a page inside the segment, and not
    /// at one of its ends.
    pub fn split(self, offset: usize) -> (Self, Self) {
        assert!(
            is_page_aligned(offset),
            "a cut at {offset:#x} is not between frames"
        );
        assert!(
            0 < offset && offset < self.size(),
            "a cut at {offset:#x} leaves one side empty"
        );
        let range = self.into_raw();
        let middle = range.start + offset;
        // SAFETY: The references were just given up, and each side gets its own.
        let first = unsafe { Self::from_raw(range.start..middle) };
        // SAFETY: As above.
        let second = unsafe { Self::from_raw(middle..range.end) };
        (first, second)
    }

    /// Returns a part of the segment, with a new reference to each frame of it.
    ///
    /// # Panics
    ///
    /// Panics unless both ends are multiples of a page, in order, and inside of
    /// the segment.
    pub fn slice(&self, range: &Range<usize>) -> Self {
        assert!(
            is_page_aligned(range.start) && is_page_aligned(range.end),
            "{range:#x?} is not whole frames"
        );
        // Compared before anything is added, so that nothing can wrap (peer 8).
        assert!(
            range.start <= range.end && range.end <= self.size(),
            "{range:#x?} is not part of a segment of {:#x} bytes",
            self.size()
        );
        let part = self.range.start + range.start..self.range.start + range.end;
        let mut counted = part.clone();
        if is_planted(Bug::UncountedSlice) && !part.is_empty() {
            counted.end -= PAGE_SIZE;
        }
        // SAFETY: The part is of this segment, which has a reference to each frame.
        unsafe { add_references(counted) };
        // SAFETY: The references were just added; the type is the same.
        unsafe { Self::from_raw(part) }
    }

    /// Returns how many references the first frame has, if there is one.
    pub fn reference_count(&self) -> u32 {
        if self.range.is_empty() {
            return 0;
        }
        // SAFETY: The segment has a reference to the frame.
        unsafe { meta::slot_of_unchecked(self.range.start) }.reference_count()
    }
}

/// Adds a reference to each frame of a range.
///
/// # Safety
///
/// The caller has a reference to each of them.
#[inline(never)]
unsafe fn add_references(range: Range<Paddr>) {
    for paddr in range.step_by(PAGE_SIZE) {
        // SAFETY: The frame is referenced, so it has a slot.
        unsafe { meta::slot_of_unchecked(paddr) }.add_reference();
    }
}

/// As [`add_references`]; returns whether each frame may have one more. None has,
/// if not.
///
/// # Safety
///
/// As there.
#[inline(never)]
pub(in crate::mm) unsafe fn try_add_references(range: Range<Paddr>) -> bool {
    for paddr in range.clone().step_by(PAGE_SIZE) {
        // SAFETY: The frame is referenced, so it has a slot.
        if !unsafe { meta::slot_of_unchecked(paddr) }.try_add_reference() {
            // SAFETY: These were just added.
            unsafe { drop_references::<dyn AnyFrameMeta>(range.start..paddr) };
            return false;
        }
    }
    true
}

/// Returns whether each frame of a range has one reference, and that is the caller's.
///
/// # Safety
///
/// The caller has a reference to each of them.
#[inline(never)]
pub(in crate::mm) unsafe fn have_one_reference(range: Range<Paddr>) -> bool {
    let mut frames = range.step_by(PAGE_SIZE);
    // SAFETY: The frame is referenced, so it has a slot.
    frames.all(|paddr| unsafe { meta::slot_of_unchecked(paddr) }.has_one_reference())
}

impl<M: AnyFrameMeta + ?Sized> Clone for Segment<M> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: The segment has a reference to each of its frames.
        unsafe { add_references(self.paddr_range()) };
        // SAFETY: The references were just added; the type is the same.
        unsafe { Self::from_raw(self.paddr_range()) }
    }
}

impl<M: AnyFrameMeta + ?Sized> Drop for Segment<M> {
    #[inline]
    fn drop(&mut self) {
        // By value, so that a segment that is dropped can stay in registers.
        // SAFETY: The references are this segment's, which ends.
        unsafe { drop_references::<M>(self.paddr_range()) };
    }
}

/// Drops a reference to each frame of a range.
///
/// # Safety
///
/// The references are nobody's, and the frames are of type `M`.
#[inline(never)]
unsafe fn drop_references<M: AnyFrameMeta + ?Sized>(range: Range<Paddr>) {
    for paddr in range.step_by(PAGE_SIZE) {
        // SAFETY: As the caller promises.
        drop(unsafe { Frame::<M>::from_raw(paddr) });
    }
}

impl<M: AnyFrameMeta + ?Sized> Iterator for Segment<M> {
    type Item = Frame<M>;

    /// Takes the first frame out, with the segment's reference to it.
    fn next(&mut self) -> Option<Frame<M>> {
        if self.range.is_empty() {
            return None;
        }
        let paddr = self.range.start;
        self.range.start += PAGE_SIZE;
        // SAFETY: The segment had this reference and, being shorter now, has it
        // no more.
        Some(unsafe { Frame::from_raw(paddr) })
    }
}

impl<M: AnyFrameMeta + ?Sized> From<Frame<M>> for Segment<M> {
    fn from(frame: Frame<M>) -> Self {
        let start = frame.into_raw();
        // SAFETY: The reference was just given up; the type is the same.
        unsafe { Self::from_raw(start..start + PAGE_SIZE) }
    }
}

impl<M: AnyFrameMeta> From<Segment<M>> for Segment<dyn AnyFrameMeta> {
    fn from(segment: Segment<M>) -> Self {
        // SAFETY: The references pass on; every type has this in common.
        unsafe { Self::from_raw(segment.into_raw()) }
    }
}

impl From<super::USegment> for Segment<dyn AnyFrameMeta> {
    fn from(segment: super::USegment) -> Self {
        // SAFETY: The references pass on; every type has this in common.
        unsafe { Self::from_raw(segment.into_raw()) }
    }
}

impl<M: AnyFrameMeta> TryFrom<Segment<dyn AnyFrameMeta>> for Segment<M> {
    type Error = Segment<dyn AnyFrameMeta>;

    /// Returns the segment unharmed if its frames are of another type, or if it
    /// has none.
    fn try_from(segment: Segment<dyn AnyFrameMeta>) -> Result<Self, Self::Error> {
        let range = segment.paddr_range();
        // An empty segment owns no frame that it could look at (peer 17).
        if range.is_empty() {
            return Err(segment);
        }
        // SAFETY: The segment has a reference to its first frame.
        if !unsafe { meta::slot_of_unchecked(range.start) }.is_of::<M>() {
            return Err(segment);
        }
        // SAFETY: The references pass on; the frames of a segment are of one
        // type, which was just compared.
        Ok(unsafe { Self::from_raw(segment.into_raw()) })
    }
}

impl<M: AnyFrameMeta + ?Sized> PartialEq for Segment<M> {
    /// Segments are equal if they are of the same frames.
    fn eq(&self, other: &Self) -> bool {
        self.range == other.range
    }
}

impl<M: AnyFrameMeta + ?Sized> Eq for Segment<M> {}

impl<M: AnyFrameMeta + ?Sized> fmt::Debug for Segment<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({:#x}..{:#x})", self.range.start, self.range.end)
    }
}
