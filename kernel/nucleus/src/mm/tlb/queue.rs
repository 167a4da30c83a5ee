//! What others ask a processor to flush.

use core::sync::atomic::{AtomicU64, Ordering};

use super::ops::Ops;
use crate::arch::cpu;
use crate::cpu::{CpuSet, MAX_CPUS};
use crate::planted::{Bug, is_planted};
use crate::sync::SpinLock;

/// A processor's requests, and how far it is with them.
#[derive(Debug)]
pub(crate) struct FlushQueue {
    ops: SpinLock<Ops>,
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

/// How far each processor has to be with its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark([u64; MAX_CPUS]);

impl FlushMark {
    pub(crate) const fn new() -> Self {
        Self([0; MAX_CPUS])
    }

    /// Means all requests that were made so far.
    pub(crate) fn set_to_requested(&mut self) {
        for cpu in CpuSet::new_full().iter() {
            self.0[cpu.as_usize()] = cpu::of(cpu).flushes.requested();
        }
    }

    /// Returns whether all processors have done theirs.
    pub(crate) fn is_reached(&self) -> bool {
        let mut cpus = CpuSet::new_full().iter();
        cpus.all(|cpu| cpu::of(cpu).flushes.done() >= self.0[cpu.as_usize()])
    }
}

#[cfg(test)]
mod tests {
    //! The simulated machine shows when interrupts arrive.

    use crate::arch::cpu;
    use crate::arch::sim::{Config, Machine};
    use crate::cpu::CpuId;
    use crate::irq;
    use crate::mm::tlb::ops::Ops;

    #[test]
    fn peer_065_handler_does_not_interrupt_the_holder_of_its_queue() {
        let machine = Machine::new(Config {
            cpus: 2,
            ..Config::default()
        });
        machine.on(1, || {
            let queue = &cpu::local().flushes;
            let mut ops = Ops::new();
            ops.push((0x1000, 1));
            queue.request(&ops);
            machine.on(0, || cpu::interrupt_to_flush(CpuId::new(1)));
            let held = queue.ops.lock();
            assert!(!irq::is_enabled(), "else the handler would spin for ever");
            // Interrupts that are due arrive when a guard goes, but not yet.
            drop(irq::disable_local());
            assert_eq!(queue.done(), 0);
            drop(held);
            assert_eq!((queue.requested(), queue.done()), (1, 1));
        });
    }
}
