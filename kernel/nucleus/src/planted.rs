//! Bugs on purpose, to try checkers on.
//!
//! A checker that has never found anything may be blind. So each of the checkers
//! of `kernel/verify` has to find bugs that it plants by this module. Without the
//! feature `planted`, which no kernel has, nothing can be planted and the
//! questions after it compile to nothing.

#[cfg(feature = "planted")]
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
    /// Who uses a table is read by a plain load.
    UnorderedUsers,
    /// A read section is announced by a plain store.
    UnorderedSection,
    /// A lock is taken by looking whether it is free, and then writing.
    TornLock,
    /// A reference is counted by reading the count, and then writing it.
    TornCount,
    /// A processor loads a table before it says that it uses it.
    LateUser,
}

/// The bug that is there; zero if none is.
#[cfg(feature = "planted")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// A bug that is there while this lives.
#[cfg(feature = "planted")]
#[derive(Debug)]
#[must_use = "the bug is there while this lives"]
pub struct Planted(());

/// Plants a bug, on all machines of this process.
///
/// # Panics
///
/// Panics when one is planted already.
#[cfg(feature = "planted")]
pub fn plant(bug: Bug) -> Planted {
    // SeqCst: rare, and simplest to think about.
    let before = PLANTED.swap(bug as u8, Ordering::SeqCst);
    assert_eq!(before, 0, "one bug at a time");
    Planted(())
}

#[cfg(feature = "planted")]
impl Drop for Planted {
    fn drop(&mut self) {
        // SeqCst: as in `plant`.
        PLANTED.store(0, Ordering::SeqCst);
    }
}

/// Returns whether a bug is there.
#[inline(always)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    #[cfg(feature = "planted")]
    // Relaxed: planted before the threads start that ask.
    return PLANTED.load(Ordering::Relaxed) == bug as u8;
    #[cfg(not(feature = "planted"))]
    {
        let _ = bug;
        false
    }
}
