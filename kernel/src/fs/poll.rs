//! Waiting for one of several files.
//!
//! Each stream has a queue of its own, for those who read or write it. Whoever waits for
//! several streams at once sleeps in the one queue of pollers, and looks at all of its
//! streams again each time that any stream of the system has changed. That is little
//! code, and no memory for each stream; a machine with many pollers would want more.

use core::ops::BitOr;
use core::sync::atomic::{AtomicU64, Ordering};

use nucleus::sync::WaitQueue;

/// What is possible with a file at once: the bits of `poll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness(u16);

impl Readiness {
    pub(crate) const NONE: Self = Self(0);
    /// `POLLIN`, `POLLRDNORM`.
    pub(crate) const READ: Self = Self(0x041);
    /// `POLLOUT`, `POLLWRNORM`.
    pub(crate) const WRITE: Self = Self(0x104);
    /// `POLLIN` alone, and `POLLOUT` alone.
    pub(crate) const READ_ONLY_IN: Self = Self(0x001);
    pub(crate) const WRITE_ONLY_OUT: Self = Self(0x004);
    /// `POLLERR`: nobody reads what is written.
    pub(crate) const ERROR: Self = Self(0x008);
    /// `POLLHUP`: nobody writes any more.
    pub(crate) const HANG_UP: Self = Self(0x010);
    /// `POLLNVAL`: there is no such file.
    pub(crate) const INVALID: Self = Self(0x020);

    /// Reading and writing never wait.
    pub(crate) const ALWAYS: Self = Self(Self::READ.0 | Self::WRITE.0);

    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u16 {
        self.0
    }

    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns these bits if a condition holds.
    pub(crate) const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

impl BitOr for Readiness {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How often reading, and writing, has become possible, or more than before. Whoever
/// wants to hear of changes alone (`EPOLLET`) compares two of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edges {
    pub(crate) read: u64,
    pub(crate) write: u64,
}

/// Counts [`Edges`].
#[derive(Debug)]
pub(crate) struct EdgeCounter {
    read: AtomicU64,
    write: AtomicU64,
}

impl EdgeCounter {
    pub(crate) const fn new() -> Self {
        Self {
            read: AtomicU64::new(0),
            write: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self) -> Edges {
        // Relaxed: counted before the queue of pollers counts a wake-up, and looked at
        // after that was read: the queue orders it.
        Edges {
            read: self.read.load(Ordering::Relaxed),
            write: self.write.load(Ordering::Relaxed),
        }
    }

    /// Notes that more can be read.
    pub(crate) fn add_read(&self) {
        // Relaxed: as in `get`.
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that more can be written.
    pub(crate) fn add_write(&self) {
        // Relaxed: as in `get`.
        self.write.fetch_add(1, Ordering::Relaxed);
    }
}

/// Those who wait for several streams.
static POLLERS: WaitQueue = WaitQueue::new();

/// Returns the queue of those who wait for several streams.
pub(crate) fn pollers() -> &'static WaitQueue {
    &POLLERS
}

/// Wakes everybody who waits for a stream, which has changed already.
pub(crate) fn wake(queue: &WaitQueue) {
    queue.wake_all();
    POLLERS.wake_all();
}
