//! Counters of events that one can wait for (`eventfd(2)`).
//!
//! Writing adds to the counter, reading takes everything, or one of a semaphore. The
//! counter is an atomic word, so that whoever waits for it needs no lock; it is changed
//! before the queue counts a wake-up, which orders it for those who wait.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use nucleus::mm::{VmReader, VmWriter};
use nucleus::sync::WaitQueue;

use super::buffer::{Sink, Source};
use super::node::{Filesystem, Inode, Kind, Metadata, Stream};
use super::poll::{self, EdgeCounter, Edges, Readiness};
use crate::errno::Errno;

/// Bytes of a number that is read or written.
const SIZE: usize = size_of::<u64>();
/// The most that a counter holds.
const MAX: u64 = u64::MAX - 1;

/// A counter of events.
#[derive(Debug)]
pub(crate) struct EventCounter {
    count: AtomicU64,
    is_semaphore: bool,
    edges: EdgeCounter,
    queue: WaitQueue,
}

impl EventCounter {
    pub(crate) fn new(count: u32, is_semaphore: bool) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicU64::new(count.into()),
            is_semaphore,
            edges: EdgeCounter::new(),
            queue: WaitQueue::new(),
        })
    }

    fn count(&self) -> u64 {
        // Relaxed: the queue orders it for those who wait.
        self.count.load(Ordering::Relaxed)
    }

    /// Changes the counter, unless that cannot be now; returns what it was.
    fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> Result<u64, Errno> {
        // Relaxed: as in `count`.
        let updated = self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        updated.map_err(|_| Errno::Again)
    }
}

impl Inode for EventCounter {
    fn metadata(&self) -> Metadata {
        Metadata {
            permissions: 0o600,
            ..Metadata::new(Filesystem::Nameless, 1, Kind::Nothing)
        }
    }

    fn made_up_name(&self) -> Vec<u8> {
        b"anon_inode:[eventfd]".to_vec()
    }
}

impl Stream for EventCounter {
    fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno> {
        if to.room() < SIZE {
            return Err(Errno::Invalid);
        }
        let taken = |count: u64| if self.is_semaphore { 1 } else { count };
        let before = self.update(|count| (count > 0).then(|| count - taken(count)))?;
        self.edges.add_write();
        poll::wake(&self.queue);
        // As in Linux, events are gone if there is no place for their number.
        let bytes = taken(before).to_le_bytes();
        to.put(VmReader::from(&bytes[..]))
    }

    fn write(&self, from: &mut dyn Source) -> Result<usize, Errno> {
        if from.left() < SIZE {
            return Err(Errno::Invalid);
        }
        let mut bytes = [0; SIZE];
        if from.take(VmWriter::from(&mut bytes[..]))? < SIZE {
            return Err(Errno::Fault);
        }
        let added = u64::from_le_bytes(bytes);
        if added > MAX {
            return Err(Errno::Invalid);
        }
        self.update(|count| (MAX - count >= added).then(|| count + added))?;
        self.edges.add_read();
        poll::wake(&self.queue);
        Ok(SIZE)
    }

    fn readiness(&self) -> Readiness {
        let count = self.count();
        Readiness::READ_ONLY_IN.when(count > 0) | Readiness::WRITE_ONLY_OUT.when(count < MAX)
    }

    fn edges(&self) -> Edges {
        self.edges.get()
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn writes_once(&self) -> bool {
        true
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::mm::{VmReader, VmWriter};
    use nucleus::prelude::*;

    use super::{EventCounter, MAX};
    use crate::errno::Errno;
    use crate::fs::node::Stream;
    use crate::fs::poll::Readiness;

    fn add(counter: &EventCounter, count: u64) -> Result<usize, Errno> {
        counter.write(&mut VmReader::from(&count.to_le_bytes()[..]))
    }

    fn take(counter: &EventCounter) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        counter.read(&mut VmWriter::from(&mut bytes[..]))?;
        Ok(u64::from_le_bytes(bytes))
    }

    #[ktest]
    fn counter_gives_all_at_once_and_a_semaphore_one_by_one() {
        let counter = EventCounter::new(2, false);
        assert_eq!(add(&counter, 5), Ok(8));
        assert_eq!(take(&counter), Ok(7));
        assert_eq!(take(&counter), Err(Errno::Again));
        let semaphore = EventCounter::new(2, true);
        assert_eq!((take(&semaphore), take(&semaphore)), (Ok(1), Ok(1)));
        assert_eq!(take(&semaphore), Err(Errno::Again));
    }

    #[ktest]
    fn counter_never_overflows() {
        let counter = EventCounter::new(0, false);
        assert_eq!(add(&counter, u64::MAX), Err(Errno::Invalid));
        assert_eq!(add(&counter, MAX), Ok(8));
        assert_eq!(add(&counter, 1), Err(Errno::Again));
        assert_eq!(add(&counter, 0), Ok(8));
        assert!(!counter.readiness().intersects(Readiness::WRITE));
        assert_eq!(take(&counter), Ok(MAX));
    }
}
