//! What threads use: time and faults, and `getrusage(2)`'s form of it.

use core::time::Duration;

/// Bytes of a `struct rusage`.
pub(crate) const RUSAGE_SIZE: usize = 144;

/// What one or several threads have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Time on a processor, in ring 3 and in the kernel.
    pub(crate) time: Duration,
    /// Faults that were settled without reading a device: all of them.
    pub(crate) faults: u64,
    /// The most pages that the memory has had, of whichever had most.
    pub(crate) peak_pages: usize,
}

impl Usage {
    /// Adds what others have used.
    pub(crate) fn add(&mut self, other: Self) {
        self.time = self.time.saturating_add(other.time);
        self.faults = self.faults.saturating_add(other.faults);
        self.peak_pages = self.peak_pages.max(other.peak_pages);
    }

    /// Returns a `struct rusage`. All time is told as that of ring 3: the two are not
    /// measured apart.
    pub(crate) fn to_bytes(self) -> [u8; RUSAGE_SIZE] {
        const USER_SECONDS: usize = 0;
        const USER_MICROS: usize = 1;
        const PEAK: usize = 4;
        const MINOR_FAULTS: usize = 8;
        const KIB_PER_PAGE: usize = nucleus::mm::PAGE_SIZE / 1024;
        let mut words = [0; RUSAGE_SIZE / 8];
        words[USER_SECONDS] = self.time.as_secs();
        words[USER_MICROS] = self.time.subsec_micros().into();
        words[PEAK] = (self.peak_pages * KIB_PER_PAGE) as u64;
        words[MINOR_FAULTS] = self.faults;
        let mut bytes = [0; RUSAGE_SIZE];
        bytes.copy_from_slice(words.map(u64::to_le_bytes).as_flattened());
        bytes
    }
}
