//! What threads use: time and faults, and `getrusage(2)`'s form of it.

use core::time::Duration;

/// Bytes of a `struct rusage`.
pub(crate) const RUSAGE_SIZE: usize = 144;

/// What one or several threads have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Time on a processor, in ring 3.
    pub(crate) user: Duration,
    /// Time on a processor, in the kernel.
    pub(crate) system: Duration,
    /// Faults that were settled without reading a device: all of them.
    pub(crate) faults: u64,
    /// How often the processor was left to sleep.
    pub(crate) sleeps: u64,
    /// How often it was left though there was more to do.
    pub(crate) preemptions: u64,
    /// The most pages that the memory has had, of whichever had most.
    pub(crate) peak_pages: usize,
}

impl Usage {
    /// Adds what others have used.
    pub(crate) fn add(&mut self, other: Self) {
        self.user = self.user.saturating_add(other.user);
        self.system = self.system.saturating_add(other.system);
        self.faults = self.faults.saturating_add(other.faults);
        self.sleeps = self.sleeps.saturating_add(other.sleeps);
        self.preemptions = self.preemptions.saturating_add(other.preemptions);
        self.peak_pages = self.peak_pages.max(other.peak_pages);
    }

    /// Returns the time on a processor.
    pub(crate) fn time(&self) -> Duration {
        self.user.saturating_add(self.system)
    }

    /// Returns a `struct rusage`.
    pub(crate) fn to_bytes(self) -> [u8; RUSAGE_SIZE] {
        const USER: usize = 0;
        const SYSTEM: usize = 2;
        const PEAK: usize = 4;
        const MINOR_FAULTS: usize = 8;
        const SLEEPS: usize = 14;
        const PREEMPTIONS: usize = 15;
        const KIB_PER_PAGE: usize = nucleus::mm::PAGE_SIZE / 1024;
        let mut words = [0; RUSAGE_SIZE / 8];
        for (place, time) in [(USER, self.user), (SYSTEM, self.system)] {
            words[place] = time.as_secs();
            words[place + 1] = time.subsec_micros().into();
        }
        words[PEAK] = (self.peak_pages * KIB_PER_PAGE) as u64;
        words[MINOR_FAULTS] = self.faults;
        words[SLEEPS] = self.sleeps;
        words[PREEMPTIONS] = self.preemptions;
        let mut bytes = [0; RUSAGE_SIZE];
        bytes.copy_from_slice(words.map(u64::to_le_bytes).as_flattened());
        bytes
    }
}
