//! One slot of metadata for each physical frame: its state, its type, its data.
//!
//! The slots form an array in virtual memory, so a frame's slot is found by
//! arithmetic. Where there is no RAM the array is backed by one shared page of
//! zeros that cannot be written, and all zeros mean *not RAM*: every frame below
//! the physical bound has a slot that can be read, at the price of one page for
//! the holes, however large they are.
//!
//! A frame's whole life is told at `MetaSlot::ref_count`.

pub(crate) mod census;

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;

use super::allocator;
use super::meta_type::{AnyFrameMeta, MetaVtable};
use crate::arch::memory;
use crate::mm::{PAGE_SIZE, Paddr, is_page_aligned};
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

/// The metadata of one frame.
#[repr(C, align(32))]
pub(crate) struct MetaSlot {
    /// The data: a value of the frame's type while there is one; the links of
    /// the frame allocator's lists while the frame is free.
    storage: UnsafeCell<[MaybeUninit<u64>; 2]>,
    /// The state of the frame.
    ///
    /// | value | state | meaning |
    /// |---|---|---|
    /// | `u32::MAX` | unused | free; no data, in the allocator's hands or in transit from or to it |
    /// | `u32::MAX − 1` | unique | owned by one [`UniqueFrame`](super::UniqueFrame), or by a list |
    /// | 0 | busy | under construction or destruction, or not to be had at all |
    /// | 1 ..= [`REF_COUNT_MAX`] | shared | so many references |
    /// | others | guard band | never reached: the machine stops before |
    ///
    /// | from | to | by | ordering |
    /// |---|---|---|---|
    /// | unused | busy | a claim, compare-exchange | `Acquire`, pairs with the last `Release` of the owner before |
    /// | busy | 1 | the claimer, data written | `Release`, pairs with a look-up's `Acquire` |
    /// | busy | unique | the claimer, data written | `Relaxed`: no other way leads to the frame |
    /// | n | n + 1 | a look-up by address, compare-exchange | `Acquire`: sees the data |
    /// | n | n + 1 | a holder that clones its reference | `Relaxed`: it has one |
    /// | n | n − 1 | a holder that drops its reference | `Release`, for the one who destroys |
    /// | 1 | busy | the last holder | `Release`, then an `Acquire` fence: sees what all holders did |
    /// | busy | unused | the destroyer, data gone | `Release`, pairs with a claim |
    /// | unique | 1 | the owner, to share | `Release`, pairs with a look-up |
    /// | 1 | unique | the only holder, compare-exchange | `Relaxed`: it has seen the data |
    /// | unique | busy | the owner, to destroy | `Relaxed`: nobody else looks |
    ref_count: AtomicU32,
    /// The list that the frame is in, or zero; only unique frames are in one.
    pub(super) in_list: AtomicU32,
    /// The number of the type's [`MetaVtable`]; has a meaning while there is data.
    /// Ordered by `ref_count`.
    vtable: AtomicU32,
    /// A [`Mark`]; changed at start-up, and then under the buddy system's lock.
    mark: AtomicU8,
    /// For a node of paging, its level; see [`census`].
    level: AtomicU8,
}

/// Bytes of metadata a frame.
pub(crate) const SLOT_SIZE: usize = size_of::<MetaSlot>();
const _: () = assert!(SLOT_SIZE == 32, "the metadata budget is 32 bytes a frame");
const _: () = assert!(
    PAGE_SIZE.is_multiple_of(SLOT_SIZE),
    "slots do not straddle pages"
);

/// How far a slot's offset is from its frame's address: a power of two.
const FRAME_PER_SLOT_SHIFT: u32 = (PAGE_SIZE / SLOT_SIZE).trailing_zeros();

/// Largest data of a frame, in bytes.
pub const FRAME_METADATA_MAX_SIZE: usize = 16;
/// Largest alignment of a frame's data, in bytes.
pub const FRAME_METADATA_MAX_ALIGN: usize = 8;

const REF_COUNT_UNUSED: u32 = u32::MAX;
const REF_COUNT_UNIQUE: u32 = u32::MAX - 1;
const REF_COUNT_BUSY: u32 = 0;
/// Most references that a frame may have. The machine stops when one more is
/// asked for; processors on their way to that at the same moment stay in the guard
/// band. Being the highest bit, it is compared with by the sign of a count.
pub const REF_COUNT_MAX: u32 = 1 << 31;
const _: () = assert!(REF_COUNT_MAX as usize + crate::cpu::MAX_CPUS < REF_COUNT_UNIQUE as usize);

// SAFETY: `storage` is touched by the one who holds the state that allows it:
// written by a claimer, destroyer, unique owner or the allocator, read by the
// holders of references; the transitions of `ref_count` order these.
unsafe impl Sync for MetaSlot {}

/// What kind of memory a slot speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mark {
    /// There is no RAM at this address.
    NotRam = 0,
    /// RAM that the kernel or the firmware keeps for ever.
    Reserved = 1,
    /// RAM that is given out, or that was put aside for it.
    Managed = 2,
    /// The first frame of a free block of order 0; one more for each order.
    FreeBlock = 0x40,
}

/// Why a frame could not be had by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetFrameError {
    /// The address is not a multiple of a page.
    NotAligned,
    /// The address is beyond the end of RAM.
    OutOfBound,
    /// There is no RAM at the address: a hole, or a device.
    NotRam,
    /// The kernel or the firmware keeps the frame.
    Reserved,
    /// The frame is shared by those who have references.
    InUse,
    /// The frame has a unique owner.
    Unique,
    /// The frame is being made or destroyed at this moment.
    Busy,
    /// Nobody uses the frame.
    Unused,
}

impl fmt::Display for GetFrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAligned => "the address is not aligned to a page",
            Self::OutOfBound => "the address is beyond the end of memory",
            Self::NotRam => "there is no memory at the address",
            Self::Reserved => "the frame is reserved",
            Self::InUse => "the frame is in use",
            Self::Unique => "the frame has a unique owner",
            Self::Busy => "the frame is being made or destroyed",
            Self::Unused => "nobody uses the frame",
        })
    }
}

impl core::error::Error for GetFrameError {}

/// Returns the slot of the frame at an address, whatever its state.
///
/// # Errors
///
/// [`GetFrameError::NotAligned`], then [`GetFrameError::OutOfBound`].
pub(crate) fn slot_of(paddr: Paddr) -> Result<&'static MetaSlot, GetFrameError> {
    if !is_page_aligned(paddr) {
        return Err(GetFrameError::NotAligned);
    }
    if paddr >= memory::max_paddr() {
        return Err(GetFrameError::OutOfBound);
    }
    // SAFETY: The address is below the bound.
    Ok(unsafe { slot_of_unchecked(paddr) })
}

/// Returns the slot of a frame.
///
/// # Safety
///
/// `paddr` is a multiple of a page below the bound of physical memory.
#[inline]
pub(crate) unsafe fn slot_of_unchecked(paddr: Paddr) -> &'static MetaSlot {
    let slot = memory::slot_base().wrapping_add(paddr >> FRAME_PER_SLOT_SHIFT);
    // SAFETY: Below the bound, as the caller promises, the array is mapped,
    // initialised and never unmapped.
    unsafe { &*(slot as *const MetaSlot) }
}

impl MetaSlot {
    /// Returns the address of the frame that the slot speaks of.
    #[inline]
    pub(crate) fn frame_paddr(&self) -> Paddr {
        // The slot is in the array, so nothing wraps.
        (&raw const *self as usize).wrapping_sub(memory::slot_base()) << FRAME_PER_SLOT_SHIFT
    }

    /// Returns where the data is.
    pub(super) fn data<M>(&self) -> *mut M {
        self.storage.get().cast()
    }

    /// Returns where the data of a node of paging is.
    pub(in crate::mm) fn node_data<M>(&self) -> *const M {
        self.data()
    }

    /// Returns the second word of the data, which small data leaves alone.
    pub(in crate::mm) fn spare_word<T>(&self) -> *mut T {
        const { assert!(size_of::<T>() <= size_of::<u64>()) };
        self.data::<u64>().wrapping_add(1).cast()
    }

    /// Returns the number of references; zero for a frame that is not shared.
    pub(crate) fn reference_count(&self) -> u32 {
        // Acquire: a snapshot, but for who has the only one: pairs with the Release of those
        // who dropped theirs, as in `has_one_reference`.
        match self.ref_count.load(Ordering::Acquire) {
            count @ 1..=REF_COUNT_MAX => count,
            _ => 0,
        }
    }

    /// Returns whether the caller's reference is the only one.
    #[inline]
    pub(crate) fn has_one_reference(&self) -> bool {
        // Acquire: pairs with the Release of those who dropped theirs, whose accesses
        // to the page come before those of the caller.
        let count = self.ref_count.load(Ordering::Acquire);
        count == 1 || (count == 2 && is_planted(Bug::SharedWrite))
    }

    /// Claims an unused frame for a type: it is busy until
    /// [`Self::finish_shared`] or [`Self::finish_unique`].
    ///
    /// # Errors
    ///
    /// Says what the frame is instead of unused.
    #[inline]
    pub(super) fn claim<M: AnyFrameMeta>(&self, data: M) -> Result<(), GetFrameError> {
        // The slots of holes cannot be written, so look first.
        self.check_unused()?;
        self.claim_ram(data)
    }

    /// As [`Self::claim`], with its errors, for a frame that is known to be RAM.
    #[inline(always)]
    pub(super) fn claim_ram<M: AnyFrameMeta>(&self, data: M) -> Result<(), GetFrameError> {
        // Acquire: pairs with the Release of the owner before. Relaxed if it fails:
        // nothing but the state itself is looked at.
        self.ref_count
            .compare_exchange(
                REF_COUNT_UNUSED,
                REF_COUNT_BUSY,
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .map_err(|seen| self.why_not(seen))?;
        // SAFETY: The frame is busy, and it was this call that made it so.
        unsafe { self.set_data(data) };
        Ok(())
    }

    /// Writes the data and its type.
    ///
    /// # Safety
    ///
    /// The frame is busy or unique by the caller's doing, and holds no data.
    #[inline]
    unsafe fn set_data<M: AnyFrameMeta>(&self, data: M) {
        const {
            assert!(
                size_of::<M>() <= FRAME_METADATA_MAX_SIZE,
                "the data fits into a slot"
            );
            assert!(
                align_of::<M>() <= FRAME_METADATA_MAX_ALIGN,
                "the data's alignment is the slot's"
            );
        }
        // SAFETY: Size and alignment were checked just now; nobody else touches the
        // storage in this state.
        unsafe { self.data::<M>().write(data) };
        // Relaxed: ordered by `ref_count`.
        self.vtable
            .store(MetaVtable::number_of::<M>(), Ordering::Relaxed);
    }

    /// Says whether the frame is unused.
    ///
    /// # Errors
    ///
    /// What it is instead.
    pub(super) fn check_unused(&self) -> Result<(), GetFrameError> {
        // Relaxed: a snapshot.
        match self.ref_count.load(Ordering::Relaxed) {
            REF_COUNT_UNUSED => Ok(()),
            seen => Err(self.why_not(seen)),
        }
    }

    /// Why a frame in this state is not unused.
    #[cold]
    fn why_not(&self, seen: u32) -> GetFrameError {
        match seen {
            REF_COUNT_UNUSED => GetFrameError::Unused,
            REF_COUNT_UNIQUE => GetFrameError::Unique,
            REF_COUNT_BUSY => match self.mark() {
                Some(Mark::NotRam) => GetFrameError::NotRam,
                Some(Mark::Reserved) => GetFrameError::Reserved,
                _ => GetFrameError::Busy,
            },
            _ => GetFrameError::InUse,
        }
    }

    /// Ends a claim: one reference.
    pub(super) fn finish_shared(&self) {
        // Release: pairs with the Acquire of a look-up, which sees the data.
        self.ref_count.store(1, Ordering::Release);
    }

    /// Ends a claim: a unique owner.
    pub(super) fn finish_unique(&self) {
        // Relaxed: nobody gets at a unique frame but through its owner.
        self.ref_count.store(REF_COUNT_UNIQUE, Ordering::Relaxed);
    }

    /// Adds a reference to a shared frame that the caller has none of.
    ///
    /// # Errors
    ///
    /// Says what the frame is instead of shared.
    ///
    /// # Panics
    ///
    /// Panics when the frame has [`REF_COUNT_MAX`] references.
    pub(super) fn look_up(&self) -> Result<(), GetFrameError> {
        // Relaxed: the exchange decides.
        let mut seen = self.ref_count.load(Ordering::Relaxed);
        loop {
            if !(1..REF_COUNT_UNIQUE).contains(&seen) {
                return Err(self.why_not(seen));
            }
            assert!(seen < REF_COUNT_MAX, "a frame has too many references");
            // Acquire: pairs with the Release that made the frame shared.
            match self.ref_count.compare_exchange_weak(
                seen,
                seen + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }

    /// Adds a reference, for a caller that holds one or borrows from one.
    ///
    /// # Panics
    ///
    /// Panics when the frame has [`REF_COUNT_MAX`] references.
    #[inline]
    pub(crate) fn add_reference(&self) {
        // Relaxed: the caller's reference keeps the frame.
        let before = if is_planted(Bug::TornCount) {
            let before = self.ref_count.load(Ordering::Relaxed);
            self.ref_count.store(before + 1, Ordering::Relaxed);
            before
        } else {
            self.ref_count.fetch_add(1, Ordering::Relaxed)
        };
        debug_assert!(
            (1..REF_COUNT_UNIQUE).contains(&before),
            "a frame without references cannot be shared"
        );
        assert!(before < REF_COUNT_MAX, "a frame has too many references");
    }

    /// Adds a reference as [`Self::add_reference`] does; returns whether there may be
    /// one more.
    #[inline(always)]
    #[must_use]
    pub(crate) fn try_add_reference(&self) -> bool {
        // Relaxed: the caller's reference keeps the frame.
        let before = self.ref_count.fetch_add(1, Ordering::Relaxed);
        debug_assert!(
            (1..REF_COUNT_UNIQUE).contains(&before),
            "a frame without references cannot be shared"
        );
        if before >= REF_COUNT_MAX {
            self.take_back();
            return false;
        }
        true
    }

    /// Takes back a reference that is one too many.
    #[cold]
    fn take_back(&self) {
        // Relaxed: nobody has used it.
        self.ref_count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives a reference back; the last one destroys the frame and frees it.
    ///
    /// # Safety
    ///
    /// The reference is the caller's, and the frame is shared.
    #[inline(always)]
    pub(super) unsafe fn drop_reference(&'static self) {
        // Release: what this holder did comes before the frame's destruction.
        let before = self.ref_count.fetch_sub(1, Ordering::Release);
        debug_assert!(
            (1..REF_COUNT_UNIQUE).contains(&before),
            "a reference was given back twice"
        );
        if before == 1 {
            // Acquire: pairs with the Release of every holder.
            fence(Ordering::Acquire);
            // SAFETY: The count is zero, so the frame is this caller's to destroy.
            unsafe { self.destroy_and_free() };
        }
    }

    /// Destroys the data of a busy frame and hands the frame to the allocator.
    ///
    /// # Safety
    ///
    /// The frame is busy by the caller's doing, and holds data.
    #[inline(never)]
    unsafe fn destroy_and_free(&'static self) {
        // Relaxed: ordered by `ref_count`, which the caller has to itself.
        if !MetaVtable::is_plain(self.vtable.load(Ordering::Relaxed)) {
            // SAFETY: As the caller promises.
            return unsafe { self.destroy_with_hook_and_free() };
        }
        // Release: pairs with the Acquire of the next claim.
        self.ref_count.store(REF_COUNT_UNUSED, Ordering::Release);
        allocator::free_frame(self, false);
    }

    /// As [`Self::destroy_and_free`], for data that has something to do.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(never)]
    unsafe fn destroy_with_hook_and_free(&'static self) {
        let vtable = self.vtable();
        // SAFETY: As the caller promises.
        unsafe { self.destroy_data(vtable) };
        // Release: pairs with the Acquire of the next claim.
        self.ref_count.store(REF_COUNT_UNUSED, Ordering::Release);
        allocator::free_frame(self, vtable.leaves_zeros);
    }

    /// Runs the drop hook and drops the data.
    ///
    /// # Safety
    ///
    /// The frame is busy or unique by the caller's doing, holds data of this
    /// vtable's type, and nobody uses the data after.
    unsafe fn destroy_data(&self, vtable: &MetaVtable) {
        if let Some(destroy) = vtable.destroy {
            // SAFETY: As the caller promises.
            unsafe { destroy(self.data(), self.frame_paddr()) };
        }
    }

    /// Destroys a unique frame and frees it.
    ///
    /// # Safety
    ///
    /// The caller is the unique owner, and is one no more.
    pub(super) unsafe fn destroy_unique(&'static self) {
        // Relaxed: nobody else looks at a unique frame but to be refused.
        self.ref_count.store(REF_COUNT_BUSY, Ordering::Relaxed);
        // SAFETY: The frame is busy by this caller's doing.
        unsafe { self.destroy_and_free() };
    }

    /// Gives a unique frame data of another type.
    ///
    /// # Safety
    ///
    /// The caller is the unique owner, with nobody looking at the data.
    pub(super) unsafe fn replace_data<M: AnyFrameMeta>(&self, data: M) {
        // SAFETY: As the caller promises.
        unsafe { self.destroy_data(self.vtable()) };
        // SAFETY: The data was just destroyed.
        unsafe { self.set_data(data) };
    }

    /// Shares a unique frame: one reference.
    pub(super) fn share(&self) {
        // Release: pairs with the Acquire of a look-up.
        self.ref_count.store(1, Ordering::Release);
    }

    /// Makes a frame unique if the caller's reference is the only one.
    pub(super) fn make_unique(&self) -> bool {
        // Relaxed: the caller holds the one reference, and so has seen the data.
        self.ref_count
            .compare_exchange(1, REF_COUNT_UNIQUE, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    fn vtable(&self) -> &'static MetaVtable {
        // Relaxed: ordered by `ref_count`, of which the caller has a reference.
        let number = self.vtable.load(Ordering::Relaxed);
        // SAFETY: `set_data` stored the number of a vtable.
        unsafe { MetaVtable::by_number(number) }
    }

    /// Returns whether the data is of a type; the caller holds a reference.
    pub(super) fn is_of<M: AnyFrameMeta>(&self) -> bool {
        self.vtable().is_of::<M>()
    }

    /// Returns whether the frame is shared at this moment and its data is of a type.
    pub(in crate::mm) fn is_shared_of<M: AnyFrameMeta>(&self) -> bool {
        // What is shared has, or had just now, a number of a vtable.
        self.reference_count() > 0 && self.is_of::<M>()
    }

    /// Returns the data as what all types have in common; the caller holds a
    /// reference for as long as it uses it.
    pub(super) fn dyn_data(&self) -> *const dyn AnyFrameMeta {
        // SAFETY: The storage holds a value of the vtable's type.
        unsafe { (self.vtable().as_dyn)(self.data()) }
    }

    /// Returns what kind of memory the frame is; nothing for the first frame of
    /// a free block.
    pub(crate) fn mark(&self) -> Option<Mark> {
        // Relaxed: set at start-up, or under the buddy system's lock.
        match self.mark.load(Ordering::Relaxed) {
            0 => Some(Mark::NotRam),
            1 => Some(Mark::Reserved),
            2 => Some(Mark::Managed),
            _ => None,
        }
    }

    /// Returns the order of the free block that starts at this frame.
    pub(super) fn free_order(&self) -> Option<u8> {
        // Relaxed: read under the buddy system's lock.
        self.mark
            .load(Ordering::Relaxed)
            .checked_sub(Mark::FreeBlock as u8)
    }

    /// Says that a free block of an order starts, or no longer starts, here.
    pub(super) fn set_free_order(&self, order: Option<u8>) {
        let mark = order.map_or(Mark::Managed as u8, |order| Mark::FreeBlock as u8 + order);
        // Relaxed: written under the buddy system's lock.
        self.mark.store(mark, Ordering::Relaxed);
    }

    /// Returns whether the frame is free, or in transit from or to the allocator.
    pub(crate) fn is_unused(&self) -> bool {
        // Relaxed: a snapshot.
        self.ref_count.load(Ordering::Relaxed) == REF_COUNT_UNUSED
    }

    /// Initialises the slot of a frame that the kernel keeps.
    ///
    /// The caller is start-up, before anybody else knows of the slot.
    pub(crate) fn init_reserved(&self) {
        // Relaxed: published with the whole array.
        self.ref_count.store(REF_COUNT_BUSY, Ordering::Relaxed);
        // Relaxed: likewise.
        self.mark.store(Mark::Reserved as u8, Ordering::Relaxed);
    }

    /// Makes a reserved frame one that can be claimed.
    ///
    /// The caller owns the frame, which was reserved so far.
    pub(crate) fn make_claimable(&self) {
        // Relaxed: the owner's alone so far; later ones come by the count.
        self.mark.store(Mark::Managed as u8, Ordering::Relaxed);
        // Release: pairs with the Acquire of a claim.
        self.ref_count.store(REF_COUNT_UNUSED, Ordering::Release);
    }

    /// Sets the number of references, to test what happens near the limit.
    #[cfg(any(test, ktest))]
    pub(crate) fn set_reference_count(&self, count: u32) {
        // Relaxed: the test runs alone.
        self.ref_count.store(count, Ordering::Relaxed);
    }

    /// Makes an unused frame busy, as a claim in progress does, or undoes that.
    #[cfg(any(test, ktest))]
    pub(crate) fn set_busy(&self, busy: bool) {
        let state = if busy {
            REF_COUNT_BUSY
        } else {
            REF_COUNT_UNUSED
        };
        // Relaxed: the test runs alone.
        self.ref_count.store(state, Ordering::Relaxed);
    }
}

impl fmt::Debug for MetaSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetaSlot({:#x})", self.frame_paddr())
    }
}
