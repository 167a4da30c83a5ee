//! What others ask a processor to flush.

use super::ops::Ops;
use crate::irq;
use crate::planted::{Bug, is_planted};
use crate::sync::SpinLock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A processor's requests, and how far it is with them.
#[derive(Debug)]
pub(crate) struct FlushQueue {
    pub(super) ops: SpinLock<Ops>,
    /// The number of the last request; changed under the lock.
    requested: AtomicU64,
    /// The number up to which all is flushed.
    done: AtomicU64,
}

impl FlushQueue {
    pub(crate) const fn new() -> Self {
        Self {
            ops: SpinLock::new(Ops::new()),
            requested: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Returns the number of the last request.
    pub(crate) fn requested(&self) -> u64 {
        // Acquire: a caller that made a request sees it counted.
        self.requested.load(Ordering::Acquire)
    }

    /// Returns the number of the last request that is done.
    pub(crate) fn done(&self) -> u64 {
        // Acquire: pairs with the Release in `serve`: it was flushed before.
        self.done.load(Ordering::Acquire)
    }

    pub(super) fn request(&self, ops: &Ops) {
        let mut queue = self.ops.lock();
        queue.append(ops);
        // Release: counted after it is queued. Under the lock, so not a race.
        self.requested.fetch_add(1, Ordering::Release);
    }

    /// As [`Self::serve`], if there is anything to do.
    pub(crate) fn serve_if_due(&self) {
        if self.done() != self.requested() {
            self.serve();
        }
    }

    /// Does what was asked for; on the processor whose queue it is, from the
    /// interrupt's handler or while it waits for others.
    fn serve(&self) {
        // Off until the answer: a handler in between would find nothing queued, and
        // answer for what is not flushed yet.
        let _irq_off = irq::disable_local();
        let (ops, number) = {
            let mut queue = self.ops.lock();
            let ops = *queue;
            queue.clear();
            // Relaxed: changed under the lock, which is held.
            (ops, self.requested.load(Ordering::Relaxed))
        };
        if is_planted(Bug::EarlyAnswer) {
            self.done.store(number, Ordering::Release);
        }
        ops.perform();
        // Release: the answer comes after the flush.
        self.done.store(number, Ordering::Release);
    }
}
