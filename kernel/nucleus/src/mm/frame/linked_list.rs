//! Lists of unique frames, chained through their metadata: no allocation.
//!
//! A frame is in one list at most, and its slot says in which, so that asking
//! whether a list contains a frame is one load. The place between the last and
//! the first frame is the *ghost*: a cursor there is at no frame.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use super::meta::{self, MetaSlot};
use super::{AnyFrameMeta, UniqueFrame};
use crate::arch::memory;
use crate::mm::Paddr;

/// The type of a frame that can be in a list, with data of type `M`.
///
/// The links take all the room that a slot has, so `M` has no bytes.
#[derive(Debug)]
pub struct Link<M> {
    next: Option<&'static MetaSlot>,
    prev: Option<&'static MetaSlot>,
    meta: M,
}

impl<M> Link<M> {
    /// Returns the data of a frame that is in no list.
    pub const fn new(meta: M) -> Self {
        Self {
            next: None,
            prev: None,
            meta,
        }
    }

    /// Returns the data that is the caller's.
    pub fn meta(&self) -> &M {
        &self.meta
    }
}

// SAFETY: 1. it is not untyped; 2. there is no hook.
unsafe impl<M: fmt::Debug + Send + Sync + 'static> AnyFrameMeta for Link<M> {}

/// A list that owns its frames.
pub struct LinkedList<M: fmt::Debug + Send + Sync + 'static> {
    front: Option<&'static MetaSlot>,
    back: Option<&'static MetaSlot>,
    size: usize,
    /// The list's number; zero until it is needed.
    id: u32,
    _type: PhantomData<Link<M>>,
}

impl<M: fmt::Debug + Send + Sync + 'static> LinkedList<M> {
    /// Returns an empty list.
    pub const fn new() -> Self {
        Self {
            front: None,
            back: None,
            size: 0,
            id: 0,
            _type: PhantomData,
        }
    }

    /// Returns the number of frames in the list.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Returns whether the list has no frames.
    pub const fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Adds a frame before the first.
    pub fn push_front(&mut self, frame: UniqueFrame<Link<M>>) {
        self.cursor_front_mut().insert_before(frame);
    }

    /// Adds a frame after the last.
    pub fn push_back(&mut self, frame: UniqueFrame<Link<M>>) {
        self.cursor_at_ghost_mut().insert_before(frame);
    }

    /// Takes the first frame out.
    pub fn pop_front(&mut self) -> Option<UniqueFrame<Link<M>>> {
        self.cursor_front_mut().take_current()
    }

    /// Takes the last frame out.
    pub fn pop_back(&mut self) -> Option<UniqueFrame<Link<M>>> {
        self.cursor_back_mut().take_current()
    }

    /// Returns whether the frame at an address is in this list; no for an
    /// address without a frame.
    pub fn contains(&self, paddr: Paddr) -> bool {
        // Relaxed: while the frame is in this list, the list's owner is the only
        // one who could change the answer. A list without a number has no frames.
        let is_here = |slot: &MetaSlot| slot.in_list.load(Ordering::Relaxed) == self.id;
        self.id != 0 && meta::slot_of(paddr).is_ok_and(is_here)
    }

    /// Returns a cursor at the frame of an address, if the list has it.
    pub fn cursor_mut_at(&mut self, paddr: Paddr) -> Option<CursorMut<'_, M>> {
        if !self.contains(paddr) {
            return None;
        }
        let current = meta::slot_of(paddr).ok();
        Some(CursorMut {
            list: self,
            current,
        })
    }

    /// Returns a cursor at the first frame, or at the ghost of an empty list.
    pub fn cursor_front_mut(&mut self) -> CursorMut<'_, M> {
        CursorMut {
            current: self.front,
            list: self,
        }
    }

    /// Returns a cursor at the last frame, or at the ghost of an empty list.
    pub fn cursor_back_mut(&mut self) -> CursorMut<'_, M> {
        CursorMut {
            current: self.back,
            list: self,
        }
    }

    /// Returns a cursor at the ghost.
    pub fn cursor_at_ghost_mut(&mut self) -> CursorMut<'_, M> {
        CursorMut {
            current: None,
            list: self,
        }
    }

    /// Returns the list's number, which it gets when first asked.
    fn id(&mut self) -> u32 {
        if self.id == 0 {
            // Relaxed: the numbers need only be distinct.
            let id = memory::memory()
                .next_list_id
                .fetch_add(1, Ordering::Relaxed);
            assert!(
                id != u32::MAX,
                "there are no more numbers for lists of frames"
            );
            self.id = id;
        }
        self.id
    }

    /// Returns the links of a frame in the list.
    fn link(&mut self, slot: &'static MetaSlot) -> &mut Link<M> {
        // SAFETY: The frame is in this list, which is its unique owner and is
        // borrowed exclusively.
        unsafe { &mut *slot.data::<Link<M>>() }
    }
}

impl<M: fmt::Debug + Send + Sync + 'static> Default for LinkedList<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: fmt::Debug + Send + Sync + 'static> Drop for LinkedList<M> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

impl<M: fmt::Debug + Send + Sync + 'static> fmt::Debug for LinkedList<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkedList of {} frames", self.size)
    }
}

/// A place in a list: a frame, or the ghost.
pub struct CursorMut<'a, M: fmt::Debug + Send + Sync + 'static> {
    list: &'a mut LinkedList<M>,
    current: Option<&'static MetaSlot>,
}

impl<M: fmt::Debug + Send + Sync + 'static> CursorMut<'_, M> {
    /// Moves to the next frame: from the last to the ghost, from there to the
    /// first.
    pub fn move_next(&mut self) {
        self.current = match self.current {
            Some(slot) => self.list.link(slot).next,
            None => self.list.front,
        };
    }

    /// Moves to the frame before: from the first to the ghost, from there to the
    /// last.
    pub fn move_prev(&mut self) {
        self.current = match self.current {
            Some(slot) => self.list.link(slot).prev,
            None => self.list.back,
        };
    }

    /// Returns the address of the current frame, if the cursor is at one.
    pub fn current_paddr(&self) -> Option<Paddr> {
        self.current.map(MetaSlot::frame_paddr)
    }

    /// Returns the data of the current frame, if the cursor is at one.
    pub fn current_meta(&mut self) -> Option<&mut M> {
        let slot = self.current?;
        Some(&mut self.list.link(slot).meta)
    }

    /// Takes the current frame out and moves to the next one; does nothing at
    /// the ghost.
    pub fn take_current(&mut self) -> Option<UniqueFrame<Link<M>>> {
        let slot = self.current?;
        let link = self.list.link(slot);
        let (next, prev) = (link.next.take(), link.prev.take());
        match prev {
            Some(prev) => self.list.link(prev).next = next,
            None => self.list.front = next,
        }
        match next {
            Some(next) => self.list.link(next).prev = prev,
            None => self.list.back = prev,
        }
        self.list.size -= 1;
        self.current = next;
        // Relaxed: only the list's owner, which the frame has no more, relied
        // on it.
        slot.in_list.store(0, Ordering::Relaxed);
        // SAFETY: The list was the owner of the frame, and is no more.
        Some(unsafe { UniqueFrame::from_slot(slot) })
    }

    /// Adds a frame before the current one, which stays the current one; at the
    /// ghost, adds it after the last.
    pub fn insert_before(&mut self, frame: UniqueFrame<Link<M>>) {
        let slot = frame.into_slot();
        // Relaxed: nobody else sees the frame in the list before the list's owner
        // does.
        slot.in_list.store(self.list.id(), Ordering::Relaxed);
        let next = self.current;
        let prev = match next {
            Some(next) => self.list.link(next).prev,
            None => self.list.back,
        };
        let link = self.list.link(slot);
        (link.next, link.prev) = (next, prev);
        match next {
            Some(next) => self.list.link(next).prev = Some(slot),
            None => self.list.back = Some(slot),
        }
        match prev {
            Some(prev) => self.list.link(prev).next = Some(slot),
            None => self.list.front = Some(slot),
        }
        self.list.size += 1;
    }

    /// Returns the list.
    pub fn as_list(&self) -> &LinkedList<M> {
        self.list
    }
}

impl<M: fmt::Debug + Send + Sync + 'static> fmt::Debug for CursorMut<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CursorMut at {:x?}", self.current_paddr())
    }
}
