//! Bugs on purpose, to try checkers on.
//!
//! A checker that has never found anything may be blind. So each of the checkers
//! of `kernel/verify` and `kernel/fuzz`, and the one in the kernel with tests, has
//! to find bugs that it plants by this module. Without the feature `planted`, and
//! in a kernel without tests, nothing can be planted and the questions after it
//! compile to nothing.

#[cfg(any(feature = "planted", ktest))]
use core::sync::atomic::{AtomicU8, Ordering};

/// A bug, at one place of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A leaf that is taken out stays counted among its node's children.
    WrongChildCount = 1,
    /// A leaf one page longer than the window is taken to fit into it.
    WindowTooLong,
    /// The parts of a split leaf lead to each other's frames.
    SplitOutOfOrder,
    /// A query gives a reference away that it has not counted.
    UncountedReference,
    /// A slice of a segment has no reference to its last frame.
    UncountedSlice,
    /// The cursor is left where memory ran out.
    MovedByFailure,
    /// What could not be mapped for want of memory is never dropped.
    LeakedByFailure,
    /// A node that is cut off is not marked stray.
    UnmarkedStray,
    /// A cursor does not lock the nodes below its covering node.
    SkippedLock,
    /// This processor does not flush.
    SkippedFlush,
    /// Other processors are not asked to flush.
    SkippedRequest,
    /// A processor says that it has flushed, and then flushes.
    EarlyAnswer,
    /// Frames are freed without waiting for other processors.
    EarlyFree,
    /// A change of a table is counted by reading the count, and then writing it.
    UnorderedUsers,
    /// A read section is announced by a plain store.
    UnorderedSection,
    /// A reader whose copy faulted stands where it would stand otherwise.
    LostPlace,
    /// A block that is freed is not merged with its buddy.
    UnmergedBuddies,
    /// What an order has too much for a request is not given back.
    LostRemainder,
    /// Where two regions overlap, the less restrictive kind wins.
    LessRestrictive,
    /// Free memory is rounded to pages outwards.
    RoundedOutwards,
    /// A program may start anywhere.
    UncheckedEntry,
    /// A file is found by the start of its name.
    NamePrefix,
    /// A lock is taken by looking whether it is free, and then writing.
    TornLock,
    /// A reference is counted by reading the count, and then writing it.
    TornCount,
    /// A processor loads a table before it says that it uses it.
    LateUser,
    /// A processor reads the generation of a table before it joins its users.
    EarlyGeneration,
    /// A change is counted after the users were read who are asked.
    LateGeneration,
    /// A processor that leaves lazy mode does not look whether the table has changed.
    UncheckedReturn,
    /// A processor that loads a table again does not look whether it has changed.
    UncheckedLoad,
    /// A table gets an identifier with all that is cached under it.
    InheritedIdentifier,
    /// A processor takes interrupts between taking requests and doing them.
    InterruptedServe,
    /// Lazy processors are not told of nodes that go.
    UntoldOfNodes,
    /// Whoever waits does not look again before it sleeps.
    LostWakeUp,
    /// A task that is nudged wakes, and does not look again.
    LostNudge,
    /// Whoever is late goes without a last look.
    HastyDeadline,
    /// A task that was woken leaves its timer behind.
    ForgottenTimer,
    /// A lock that sleeps is released without a look at who waits for it.
    ForgottenWaiter,
    /// A processor that is disabled is listed among those that can be started.
    ListedDisabled,
    /// An entry that is longer than what is left of its table is read all the same.
    CutEntry,
    /// A page that is copied into another table has no more references than before.
    UncountedCopy,
    /// What is copied into another table keeps its rights in its own.
    WritableSource,
    /// What a copy has changed in its source is not flushed.
    UnflushedCopy,
    /// A page that one other shares may be written in place.
    SharedWrite,
    /// A page is replaced by another one before all have flushed it.
    EarlyReplacement,
}

/// The bug that is there; zero if none is.
#[cfg(any(feature = "planted", ktest))]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// A bug that is there while this lives.
#[cfg(any(feature = "planted", ktest))]
#[derive(Debug)]
#[must_use = "the bug is there while this lives"]
pub struct Planted(());

/// Plants a bug, on all machines of this process.
///
/// # Panics
///
/// Panics when one is planted already.
#[cfg(any(feature = "planted", ktest))]
pub fn plant(bug: Bug) -> Planted {
    // SeqCst: rare, and simplest to think about.
    let before = PLANTED.swap(bug as u8, Ordering::SeqCst);
    assert_eq!(before, 0, "one bug at a time");
    Planted(())
}

#[cfg(any(feature = "planted", ktest))]
impl Drop for Planted {
    fn drop(&mut self) {
        // SeqCst: as in `plant`.
        PLANTED.store(0, Ordering::SeqCst);
    }
}

/// Removes the bug that a test left behind when it died.
#[cfg(ktest)]
pub(crate) fn weed() {
    // SeqCst: as in `plant`.
    PLANTED.store(0, Ordering::SeqCst);
}

/// Returns whether a bug is there.
#[inline(always)]
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    #[cfg(any(feature = "planted", ktest))]
    // Relaxed: planted before the threads start that ask.
    return PLANTED.load(Ordering::Relaxed) == bug as u8;
    #[cfg(not(any(feature = "planted", ktest)))]
    {
        let _ = bug;
        false
    }
}
