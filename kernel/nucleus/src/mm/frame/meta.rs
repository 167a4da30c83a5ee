//! One slot of metadata for each physical frame: who uses it, and how often.
//!
//! The slots form an array in virtual memory, so a frame's slot is found by
//! arithmetic. Where there is no RAM the array is backed by one shared page of
//! zeros that cannot be written, and zero means *absent*: every frame below the
//! physical bound has a slot that can be read, at the price of one page for the
//! holes, however large they are.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::mm::kspace::layout::{META_BASE, META_SIZE};
use crate::mm::{PAGE_SIZE, Paddr, Vaddr};

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameUsage {
    /// There is no RAM at this address, or the firmware keeps it.
    Absent = 0,
    /// In the allocator's hands.
    Free = 1,
    /// The kernel's for ever: image, RAM disk, metadata, tables made at boot.
    Boot = 2,
    /// A node of paging.
    Node = 3,
    /// The kernel's memory: stacks, heap.
    Kernel = 4,
    /// Memory that user programs may see.
    User = 5,
}

/// The metadata of one frame.
#[repr(C, align(32))]
pub(crate) struct MetaSlot {
    /// Handles and mappings of a `User` frame; 1 for each other allocated frame;
    /// 0 for a free or absent one.
    ///
    /// | from | to | by | ordering |
    /// |---|---|---|---|
    /// | 0 | 1 | the allocator, under its lock | `Relaxed`: the lock orders |
    /// | n | n + 1 | a holder that clones its handle | `Relaxed`: it has one |
    /// | n | n − 1 | a holder that drops its handle | `Release`, then `Acquire` by the last |
    ref_count: AtomicU32,
    /// A [`FrameUsage`]; changes only while the frame has one owner.
    usage: AtomicU8,
    /// Address of the next free frame, in the allocator's list.
    next_free: AtomicUsize,
}

/// Bytes of metadata a frame.
pub(crate) const SLOT_SIZE: usize = size_of::<MetaSlot>();
const _: () = assert!(SLOT_SIZE == 32, "the metadata budget is 32 bytes a frame");

/// Most references a frame may have; the machine stops beyond, far from where
/// the count could wrap.
const MAX_REFERENCES: u32 = 1 << 30;

/// End of the addresses that have a slot; zero until the array is there.
static MAX_PADDR: AtomicUsize = AtomicUsize::new(0);

/// Returns the address of a frame's slot in the array.
///
/// # Panics
///
/// Panics when the frame is beyond the 64 TiB that the array has room for.
pub(crate) fn slot_address(paddr: Paddr) -> Vaddr {
    let offset = paddr / PAGE_SIZE * SLOT_SIZE;
    assert!(
        offset < META_SIZE,
        "frame {paddr:#x} has no room for metadata"
    );
    META_BASE + offset
}

/// Declares the array mapped for all frames below `max_paddr`.
pub(super) fn publish(max_paddr: Paddr) {
    // Release pairs with the Acquire in `slot`: whoever sees the bound sees the
    // slots below it initialised.
    MAX_PADDR.store(max_paddr, Ordering::Release);
}

/// Returns the slot of the frame that holds an address, if it has one.
pub(crate) fn slot(paddr: Paddr) -> Option<&'static MetaSlot> {
    // Acquire pairs with the Release in `publish`.
    if paddr >= MAX_PADDR.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: Below the bound the array is mapped, initialised, and never
    // unmapped; a slot has no interior but atomics.
    Some(unsafe { &*(slot_address(paddr) as *const MetaSlot) })
}

/// Returns what a frame is used for; frames without a slot are absent.
#[cfg(ktest)]
pub(crate) fn usage_of(paddr: Paddr) -> FrameUsage {
    slot(paddr).map_or(FrameUsage::Absent, MetaSlot::usage)
}

impl MetaSlot {
    /// Returns what the frame is used for.
    pub(crate) fn usage(&self) -> FrameUsage {
        // Relaxed: meaningful only to the owner, who got the frame by a lock.
        match self.usage.load(Ordering::Relaxed) {
            1 => FrameUsage::Free,
            2 => FrameUsage::Boot,
            3 => FrameUsage::Node,
            4 => FrameUsage::Kernel,
            5 => FrameUsage::User,
            _ => FrameUsage::Absent,
        }
    }

    /// Sets who uses the frame, with one reference or, if it is free, none.
    ///
    /// The caller owns the frame: it is being initialised, or allocated or freed
    /// under the allocator's lock.
    pub(super) fn set_usage(&self, usage: FrameUsage) {
        let references = u32::from(!matches!(usage, FrameUsage::Free | FrameUsage::Absent));
        // Relaxed, both: the allocator's lock orders them, or start-up does.
        self.usage.store(usage as u8, Ordering::Relaxed);
        self.ref_count.store(references, Ordering::Relaxed);
    }

    /// Links the free frame to the next one of the allocator's list.
    pub(super) fn set_next_free(&self, next: Option<Paddr>) {
        // Relaxed: read and written under the allocator's lock alone. Frame 0
        // is never free, so that zero can mean the end.
        self.next_free.store(next.unwrap_or(0), Ordering::Relaxed);
    }

    /// Returns the next free frame of the allocator's list.
    pub(super) fn next_free(&self) -> Option<Paddr> {
        // Relaxed: as in `set_next_free`.
        Some(self.next_free.load(Ordering::Relaxed)).filter(|next| *next != 0)
    }

    /// Returns the number of references.
    pub(crate) fn reference_count(&self) -> u32 {
        // Relaxed: a snapshot.
        self.ref_count.load(Ordering::Relaxed)
    }

    /// Adds a reference, for a caller that holds one.
    ///
    /// # Panics
    ///
    /// Panics before the count reaches its limit, so that it cannot wrap.
    pub(super) fn add_reference(&self) {
        // Relaxed: the caller's own reference keeps the frame.
        let before = self.ref_count.fetch_add(1, Ordering::Relaxed);
        assert!(
            (1..MAX_REFERENCES).contains(&before),
            "frame with {before} references cannot be shared"
        );
    }

    /// Gives a reference back; returns whether it was the last.
    pub(super) fn drop_reference(&self) -> bool {
        // Release: what this holder did with the frame comes before its reuse,
        // which the last holder's Acquire fence makes hold.
        let before = self.ref_count.fetch_sub(1, Ordering::Release);
        assert!(before != 0, "a reference was given back twice");
        if before == 1 {
            core::sync::atomic::fence(Ordering::Acquire);
        }
        before == 1
    }
}
