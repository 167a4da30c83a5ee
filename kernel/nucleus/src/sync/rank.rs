//! The order of the nucleus' spin locks, checked where assertions are on.
//!
//! A lock with a rank may be taken while only locks of lower ranks are held on the
//! processor; so whoever holds several has taken them in the order of the list, and no
//! two processors wait for each other. What is held is one bit for each rank. Locks
//! without a rank are taken by themselves, and are not followed.

use core::cell::Cell;

/// Where a lock stands in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Rank {
    /// The addresses of kernel virtual areas.
    KernelAddresses,
    /// Tasks that wait for something.
    Waiters,
    /// Tasks that a processor wakes at some time.
    Timers,
    /// Tasks that are over.
    Dead,
    /// A processor's ready tasks.
    Ready,
    /// The heap.
    Heap,
    /// The frames that the heap has at hand.
    HeapFrames,
    /// The pool of frames.
    Frames,
    /// What was typed.
    Input,
    /// The console.
    Console,
    /// The serial port.
    Serial,
}

impl Rank {
    /// All of them, in order.
    const ALL: [Self; 11] = [
        Self::KernelAddresses,
        Self::Waiters,
        Self::Timers,
        Self::Dead,
        Self::Ready,
        Self::Heap,
        Self::HeapFrames,
        Self::Frames,
        Self::Input,
        Self::Console,
        Self::Serial,
    ];

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// The ranks of the locks that a processor holds; used with interrupts off.
#[derive(Debug, Default)]
pub(crate) struct HeldRanks(Cell<u32>);

impl HeldRanks {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(0))
    }

    /// Stops the machine if a lock must not be waited for now.
    ///
    /// # Panics
    ///
    /// Panics when a lock is held that comes later in the order, or is of the same rank.
    pub(super) fn check(&self, wanted: Rank) {
        let is_held = |rank: &&Rank| self.0.get() & rank.bit() != 0;
        let last = Rank::ALL.iter().rev().find(is_held);
        if let Some(last) = last.filter(|last| **last >= wanted) {
            panic!("the lock {wanted:?} was taken after {last:?}, out of order");
        }
    }

    pub(super) fn add(&self, rank: Rank) {
        self.0.set(self.0.get() | rank.bit());
    }

    pub(super) fn remove(&self, rank: Rank) {
        self.0.set(self.0.get() & !rank.bit());
    }

    /// Forgets the locks of whoever never runs on.
    pub(crate) fn abandon(&self) {
        self.0.set(0);
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{HeldRanks, Rank};
    use crate::prelude::*;
    use crate::sync::SpinLock;

    #[ktest]
    fn list_of_ranks_is_in_order_and_complete() {
        assert!(Rank::ALL.is_sorted());
        assert_eq!(Rank::ALL.len(), Rank::Serial as usize + 1);
    }

    #[ktest]
    fn locks_in_order_may_be_released_in_any() {
        let held = HeldRanks::new();
        held.check(Rank::Heap);
        held.add(Rank::Heap);
        held.check(Rank::Console);
        held.add(Rank::Console);
        held.remove(Rank::Heap);
        held.check(Rank::Serial);
        held.remove(Rank::Console);
        held.check(Rank::Heap);
    }

    #[ktest]
    #[should_panic(expected = "Heap was taken after Frames")]
    fn lock_out_of_order_stops_the_machine() {
        let frames = SpinLock::ranked((), Rank::Frames);
        let heap = SpinLock::ranked((), Rank::Heap);
        let _frames = frames.lock();
        let _heap = heap.lock();
    }

    #[ktest]
    #[should_panic(expected = "Heap was taken after Heap")]
    fn lock_of_the_same_rank_stops_the_machine() {
        let [one, other] = [(), ()].map(|()| SpinLock::ranked((), Rank::Heap));
        let _one = one.lock();
        let _other = other.lock();
    }
}
