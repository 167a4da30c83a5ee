//! A processor's own free frames.
//!
//! Only their processor puts and takes them, in brief sections. Others may ask how many
//! there are, and may want them back ([`FrameCache::want`]), which the processor does
//! in the handler of an interrupt: it has interrupted no section then.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use super::meta::MetaSlot;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Frames that a cache holds at most.
pub(super) const CACHE_SIZE: usize = 128;
/// Frames that move between a cache and the pool at a time.
pub(super) const BATCH: usize = CACHE_SIZE / 2;
/// Frames known to be zero that a cache holds at most.
pub(super) const ZEROED_SIZE: usize = 32;

/// A processor's own free frames.
#[derive(Debug)]
pub(crate) struct FrameCache {
    pub(super) ordinary: Stack<CACHE_SIZE>,
    /// Frames that are all zeros.
    pub(super) zeroed: Stack<ZEROED_SIZE>,
    /// Whether another processor wants them all back in the pool.
    is_wanted: AtomicBool,
}

/// Some free frames. Only their processor puts and takes them; the others may
/// ask how many there are.
#[derive(Debug)]
pub(super) struct Stack<const N: usize> {
    slots: UnsafeCell<[MaybeUninit<&'static MetaSlot>; N]>,
    /// How many there are: those below are initialised.
    len: AtomicUsize,
}

impl<const N: usize> Stack<N> {
    const fn new() -> Self {
        Self {
            slots: UnsafeCell::new([const { MaybeUninit::uninit() }; N]),
            len: AtomicUsize::new(0),
        }
    }

    /// Returns how many there are.
    fn len(&self) -> usize {
        // Relaxed: this processor's own, or a snapshot of another's.
        self.len.load(Ordering::Relaxed)
    }

    /// Puts a frame on top, if there is room.
    #[inline]
    pub(super) fn push(&self, slot: &'static MetaSlot) -> Result<(), &'static MetaSlot> {
        let len = self.len();
        if len >= N {
            return Err(slot);
        }
        // SAFETY: Only this processor uses its stacks, in brief sections, so that no
        // other task does; interrupt handlers stay away, and no reference is kept.
        let slots = unsafe { &mut *self.slots.get() };
        slots[len].write(slot);
        // Relaxed: others only ask how many there are, and read no slot.
        self.len.store(len + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the frame on top.
    #[inline]
    pub(super) fn pop(&self) -> Option<&'static MetaSlot> {
        let len = self.len().checked_sub(1)?;
        // Relaxed: as in `push`.
        self.len.store(len, Ordering::Relaxed);
        // SAFETY: As in `push`.
        let slots = unsafe { &*self.slots.get() };
        debug_assert!(len < N);
        // SAFETY: No more are pushed than there is room for.
        let top = unsafe { slots.get_unchecked(len) };
        // SAFETY: The elements below the old length were written by `push`.
        Some(unsafe { *top.assume_init_ref() })
    }
}

impl FrameCache {
    pub(crate) const fn new() -> Self {
        Self {
            ordinary: Stack::new(),
            zeroed: Stack::new(),
            is_wanted: AtomicBool::new(false),
        }
    }

    /// Asks for all frames, which the processor gives back when it is interrupted next.
    pub(super) fn want(&self) {
        // Release: pairs with the Acquire of `answer`.
        self.is_wanted.store(true, Ordering::Release);
    }

    /// Returns whether the processor has not answered yet.
    pub(super) fn is_wanted(&self) -> bool {
        // Acquire: pairs with the Release of `answer`: the frames are in the pool.
        self.is_wanted.load(Ordering::Acquire)
    }

    /// Says that they are there.
    pub(super) fn answer(&self) {
        // Release: as there.
        self.is_wanted.store(false, Ordering::Release);
    }

    /// Returns how many frames the cache holds.
    pub(super) fn nr_free(&self) -> usize {
        self.ordinary.len() + self.zeroed.len()
    }
}
