//! Memory that runs out.

use crate::mm::frame::{Frame, FrameAllocOptions, frame_counts};
use crate::mm::{Paddr, VmIo};

/// What the last frame of the chain says instead of the next one's address.
const END: Paddr = Paddr::MAX;

/// Frames that nobody else is to have, until it is dropped.
///
/// They are a chain through themselves, since a vector could need memory.
#[derive(Debug)]
pub(crate) struct Hog {
    first: Paddr,
    len: usize,
}

impl Hog {
    /// Takes frames until an allocation is refused.
    pub(crate) fn until_refused(for_user: bool) -> Self {
        let mut hog = Self { first: END, len: 0 };
        hog.take_until_refused(for_user);
        hog
    }

    /// Takes all frames but so many, which it puts into this processor's cache.
    ///
    /// Frames may be in the caches of other processors, which an allocation does not wait
    /// for for ever. This does: what a test has seen refused stays refused.
    pub(crate) fn all_but(left: usize) -> Self {
        let mut hog = Self::until_refused(false);
        while frame_counts().free > 0 {
            hog.take_until_refused(false);
        }
        for _ in 0..left {
            drop(hog.give_back_one().expect("the machine has more memory"));
        }
        hog
    }

    /// Returns how many frames it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn take_until_refused(&mut self, for_user: bool) {
        let mut options = FrameAllocOptions::new();
        options.zeroed(false).for_user(for_user);
        while let Ok(frame) = options.alloc_frame() {
            frame.write_val(0, &self.first).expect("it fits");
            self.first = frame.into_raw();
            self.len += 1;
        }
    }

    pub(crate) fn give_back_one(&mut self) -> Option<Frame<()>> {
        if self.first == END {
            return None;
        }
        // SAFETY: From `into_raw` in `take_until_refused`, and once, since the next one is
        // the first from here on.
        let frame = unsafe { Frame::<()>::from_raw(self.first) };
        self.first = frame.read_val(0).expect("it was written");
        self.len -= 1;
        Some(frame)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        while self.give_back_one().is_some() {}
    }
}
