//! A processor's read sections, as others see them.
//!
//! The counter is odd while the processor is in a section. It is one half of a
//! handshake: a reader *says that it is in a section, and then looks*; who takes
//! something out *takes it out, and then observes the counter*. Either the reader
//! finds it gone, or the other finds the reader. Saying and observing are both
//! read-modify-write operations of the one counter, so one of them comes first and
//! the second sees all that was before it; a plain store or load on either side
//! would not do.
//!
//! Only its processor changes the counter. An observer that finds a section open
//! waits until it is over ([`Section::is_over`]), and until it has once found none
//! open: the end of a section is a plain store, so the handshake with the section
//! after it has still to be made.

use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicU64, Ordering};

/// A counter of sections begun and ended.
#[derive(Debug)]
pub(crate) struct Section(AtomicU64);

impl Section {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns whether a section is open; for its processor.
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed: written by this processor; others only wonder.
        self.0.load(Ordering::Relaxed) % 2 == 1
    }

    /// Begins a section, unless one is open; returns whether it did.
    #[inline(always)]
    pub(crate) fn begin(&self) -> bool {
        // Relaxed: this processor alone writes it.
        let now = self.0.load(Ordering::Relaxed);
        if now % 2 == 1 {
            return false;
        }
        let next = now.wrapping_add(1);
        if is_planted(Bug::UnorderedSection) {
            self.0.store(next, Ordering::Release);
        } else {
            // AcqRel, and a swap although what was there is known: the handshake.
            // What an observer took out before is seen to be gone.
            self.0.swap(next, Ordering::AcqRel);
        }
        true
    }

    /// Ends the section that is open.
    #[inline(always)]
    pub(crate) fn end(&self) {
        // Relaxed: this processor alone writes it.
        let now = self.0.load(Ordering::Relaxed);
        // Release: the looks of this section come before its end.
        self.0.store(now.wrapping_add(1), Ordering::Release);
    }

    /// Returns the number of the section that is open, for someone who took
    /// something out before.
    pub(crate) fn observe(&self) -> Option<u64> {
        // AcqRel, and a write although it changes nothing: the handshake.
        let now = self.0.fetch_or(0, Ordering::AcqRel);
        (now % 2 == 1).then_some(now)
    }

    /// Returns whether a section that was observed is over, and no other is open.
    pub(crate) fn is_over(&self, observed: u64) -> bool {
        // Relaxed, and first, since it costs less: the other one decides.
        self.0.load(Ordering::Relaxed) != observed && self.observe().is_none()
    }
}
