//! What others ask a processor to flush.
//!
//! Requests are numbered as they are queued, and all that are queued are taken out
//! together; the answer is the number up to which all is flushed. A request that
//! comes while earlier ones are flushed has a higher number, so their answer is none
//! to it (peer 66).
//!
//! A processor is interrupted when its queue was empty: whoever finds requests in
//! it knows that an interrupt for these is on its way, or will be in a moment, and
//! that the handler will take the new one with them.

use core::ops::DerefMut;

use super::work::Work;
use crate::irq::{self, DisabledLocalIrqGuard};
use crate::planted::{Bug, is_planted};
use crate::sync::SpinLock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A processor's requests, and how far it is with them.
#[derive(Debug)]
pub(crate) struct FlushQueue {
    pub(super) work: SpinLock<Work>,
    /// The number of the last request; changed under the lock.
    requested: AtomicU64,
    /// The number up to which all is flushed.
    done: AtomicU64,
    /// Interrupts that its requests needed; changed under the lock.
    interrupts: AtomicU64,
}

impl FlushQueue {
    pub(crate) const fn new() -> Self {
        Self {
            work: SpinLock::new(Work::new()),
            requested: AtomicU64::new(0),
            done: AtomicU64::new(0),
            interrupts: AtomicU64::new(0),
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

    /// Returns how often the processor was to be interrupted so far.
    pub(crate) fn interrupts(&self) -> u64 {
        // Relaxed: a count.
        self.interrupts.load(Ordering::Relaxed)
    }

    /// Adds a request; returns whether the processor has to be interrupted for it.
    #[must_use = "nobody else interrupts the processor"]
    pub(super) fn request(&self, work: &Work) -> bool {
        let mut queue = self.work.lock();
        let was_empty = queue.is_empty();
        queue.append(work);
        // Release: counted after it is queued. Under the lock, so not a race.
        self.requested.fetch_add(1, Ordering::Release);
        if was_empty {
            // Relaxed: a count.
            self.interrupts.fetch_add(1, Ordering::Relaxed);
        }
        was_empty
    }

    /// Does what was asked for, if there is anything; on the processor whose queue
    /// it is, from the interrupt's handler or while it waits for others.
    pub(crate) fn serve_if_due(&self) {
        if self.done() != self.requested() {
            self.serve();
        }
    }

    /// As [`Self::serve_if_due`], for someone who waits for a lock: if that is the
    /// queue's own, there will be another try.
    pub(crate) fn try_serve(&self) {
        if self.done() == self.requested() {
            return;
        }
        let irq_off = irq::disable_local();
        let taken = self.work.try_lock().map(|queue| self.take(queue));
        if let Some(taken) = taken {
            self.answer(taken, &irq_off);
        }
    }

    fn serve(&self) {
        // Off until the answer: a handler in between would find nothing queued, and
        // answer for what is not flushed yet.
        let irq_off = irq::disable_local();
        let taken = self.take(self.work.lock());
        if is_planted(Bug::InterruptedServe) {
            drop(irq_off);
            return self.answer(taken, &irq::disable_local());
        }
        self.answer(taken, &irq_off);
    }

    fn answer(&self, (work, number): (Work, u64), irq_off: &DisabledLocalIrqGuard) {
        if is_planted(Bug::EarlyAnswer) {
            self.done.store(number, Ordering::Release);
        }
        work.perform(irq_off);
        // Release: the answer comes after the flush.
        self.done.store(number, Ordering::Release);
    }

    /// Takes all requests out; returns the number of the last one.
    fn take(&self, mut queue: impl DerefMut<Target = Work>) -> (Work, u64) {
        let work = *queue;
        queue.clear();
        // Relaxed: changed under the lock, which is held.
        (work, self.requested.load(Ordering::Relaxed))
    }
}
