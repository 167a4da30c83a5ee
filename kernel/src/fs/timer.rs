//! Timers that are read (`timerfd_create(2)`).
//!
//! A timer's file counts how often its time has come; reading takes the count. As with
//! other streams, the count is changed before the queue counts a wake-up.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use nucleus::mm::VmReader;
use nucleus::sync::WaitQueue;

use super::buffer::{Sink, Source};
use super::node::{Filesystem, Inode, Kind, Metadata, Stream};
use super::poll::{self, EdgeCounter, Edges, Readiness};
use crate::errno::Errno;
use crate::process::alarm::{Alarm, Setting, Timer};

/// Bytes of the count.
const SIZE: usize = size_of::<u64>();

/// A timer that is read.
#[derive(Debug)]
pub(crate) struct TimerFile {
    this: Weak<Self>,
    /// Whether it goes by the clock that counts from 1970.
    pub(crate) is_since_epoch: bool,
    timer: Timer,
    count: AtomicU64,
    edges: EdgeCounter,
    queue: WaitQueue,
}

impl TimerFile {
    pub(crate) fn new(is_since_epoch: bool) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            is_since_epoch,
            timer: Timer::new(),
            count: AtomicU64::new(0),
            edges: EdgeCounter::new(),
            queue: WaitQueue::new(),
        })
    }

    /// Sets it, and forgets what it has counted; returns what it was set to.
    pub(crate) fn set(&self, setting: Setting) -> Setting {
        let alarm: Weak<dyn Alarm> = self.this.clone();
        let old = self.timer.set(setting, &alarm);
        // Relaxed: the queue orders it for those who wait.
        self.count.store(0, Ordering::Relaxed);
        old
    }

    /// Returns what it is set to.
    pub(crate) fn get(&self) -> Setting {
        self.timer.get()
    }
}

impl Alarm for TimerFile {
    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn ring(&self, times: u64) {
        // Relaxed: as in `set`.
        self.count.fetch_add(times, Ordering::Relaxed);
        self.edges.add_read();
        poll::wake(&self.queue);
    }
}

impl Inode for TimerFile {
    fn metadata(&self) -> Metadata {
        Metadata {
            permissions: 0o600,
            ..Metadata::new(Filesystem::Nameless, 1, Kind::Nothing)
        }
    }

    fn made_up_name(&self) -> Vec<u8> {
        b"anon_inode:[timerfd]".to_vec()
    }
}

impl Stream for TimerFile {
    fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno> {
        if to.room() < SIZE {
            return Err(Errno::Invalid);
        }
        // Relaxed: as in `set`.
        let count = self.count.swap(0, Ordering::Relaxed);
        if count == 0 {
            return Err(Errno::Again);
        }
        to.put(VmReader::from(&count.to_le_bytes()[..]))
    }

    fn write(&self, _from: &mut dyn Source) -> Result<usize, Errno> {
        Err(Errno::Invalid)
    }

    fn readiness(&self) -> Readiness {
        // Relaxed: as in `set`.
        Readiness::READ_ONLY_IN.when(self.count.load(Ordering::Relaxed) > 0)
    }

    fn edges(&self) -> Edges {
        self.edges.get()
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_timer(&self) -> Option<&TimerFile> {
        Some(self)
    }
}
