//! Calls on other processors.
//!
//! A call is a function without arguments that a processor runs in the handler
//! of an interrupt, with interrupts off; it must be short and take no lock that
//! code with interrupts on takes otherwise than with them off.
//!
//! Each processor has a queue of limited length. Whoever finds one full waits, and
//! serves its own queues meanwhile, so that two processors that call each other
//! both go on, whether they have interrupts on or off. Calls are numbered, and a
//! processor says up to which number it is done, after it is: see
//! [`tlb`](crate::mm::tlb), which does the same with flushes.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::arch::x86_64::cpu;
use crate::cpu::{CpuId, CpuSet, disable_preempt};
use crate::irq;
use crate::sync::SpinLock;

/// Calls that wait for a processor at most.
const CAPACITY: usize = 16;

/// What a processor is to call, and how far it is.
pub(crate) struct CallQueue {
    waiting: SpinLock<Waiting>,
    /// The number of the last call that was asked for.
    requested: AtomicU64,
    /// The number up to which all calls have returned.
    done: AtomicU64,
    /// Whether the processor makes calls: one that is made may wait, and serve.
    is_serving: AtomicBool,
}

struct Waiting {
    calls: [Option<fn()>; CAPACITY],
    len: usize,
}

impl CallQueue {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: SpinLock::new(Waiting {
                calls: [None; CAPACITY],
                len: 0,
            }),
            requested: AtomicU64::new(0),
            done: AtomicU64::new(0),
            is_serving: AtomicBool::new(false),
        }
    }

    /// Queues a call, if there is room; returns its number.
    fn push(&self, call: fn()) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        let len = waiting.len;
        *waiting.calls.get_mut(len)? = Some(call);
        waiting.len += 1;
        // Relaxed: counted under the lock.
        Some(self.requested.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Returns whether the call of a number has returned.
    fn is_done(&self, number: u64) -> bool {
        // Acquire: pairs with the Release in `serve`: what was called is over.
        self.done.load(Ordering::Acquire) >= number
    }

    /// Makes the calls that wait; on the processor whose queue it is.
    ///
    /// A call may get here again, when it waits. It then makes the calls that came
    /// meanwhile, and leaves the answer to the outermost, which is not done yet.
    fn serve(&self) {
        // Off until all have returned: a handler in between would answer for them.
        let _irq_off = irq::disable_local();
        // Relaxed, here and below: this processor's own.
        let is_outermost = !self.is_serving.swap(true, Ordering::Relaxed);
        let number = loop {
            let mut waiting = self.waiting.lock();
            if waiting.len == 0 {
                // Relaxed: counted under the lock, which is held.
                break self.requested.load(Ordering::Relaxed);
            }
            waiting.len = 0;
            let calls = core::mem::replace(&mut waiting.calls, [None; CAPACITY]);
            drop(waiting);
            for call in calls.into_iter().flatten() {
                call();
            }
        };
        if is_outermost {
            self.is_serving.store(false, Ordering::Relaxed);
            // Release: the answer comes after the calls.
            self.done.store(number, Ordering::Release);
        }
    }
}

/// Has processors call a function, and does not wait for the others.
///
/// If this processor is among them, it calls the function itself before this
/// returns, and after it has asked the others. May be called in any context.
pub fn inter_processor_call(targets: &CpuSet, call: fn()) {
    let guard = disable_preempt();
    let here = CpuId::current(&guard);
    for target in targets.iter().filter(|target| *target != here) {
        request(target, call);
    }
    if targets.contains(here) {
        let _irq_off = irq::disable_local();
        call();
    }
}

/// As [`inter_processor_call`], and waits until all have returned.
///
/// # Panics
///
/// Panics when interrupts are off: two processors that wait for each other's
/// locks would never end.
pub fn inter_processor_call_and_wait(targets: &CpuSet, call: fn()) {
    assert!(
        irq::is_enabled(),
        "waiting for other processors with interrupts off"
    );
    let guard = disable_preempt();
    let here = CpuId::current(&guard);
    let mut numbers = [0; crate::cpu::MAX_CPUS];
    let others = || targets.iter().filter(|target| *target != here);
    for target in others() {
        numbers[target.as_usize()] = request(target, call);
    }
    if targets.contains(here) {
        let _irq_off = irq::disable_local();
        call();
    }
    for target in others() {
        while !cpu::calls_of(target).is_done(numbers[target.as_usize()]) {
            wait();
        }
    }
}

/// Queues a call and interrupts its processor; returns the call's number.
fn request(target: CpuId, call: fn()) -> u64 {
    let queue = cpu::calls_of(target);
    loop {
        if let Some(number) = queue.push(call) {
            cpu::interrupt_to_call(target);
            return number;
        }
        wait();
    }
}

fn wait() {
    serve();
    cpu::relax();
}

/// Makes the calls that others asked this processor for.
pub(crate) fn serve() {
    cpu::calls_of(cpu::current_id()).serve();
}

#[cfg(ktest)]
mod tests {
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::{CAPACITY, CallQueue, inter_processor_call, inter_processor_call_and_wait};
    use crate::cpu::{CpuId, CpuSet, disable_preempt, num_cpus};
    use crate::irq;
    use crate::prelude::*;

    static CALLED: AtomicU64 = AtomicU64::new(0);

    /// Notes which processor makes the call.
    fn note() {
        assert!(!irq::is_enabled(), "a call is made with interrupts off");
        let guard = disable_preempt();
        let bit = 1 << CpuId::current(&guard).as_usize();
        CALLED.fetch_or(bit, Ordering::Relaxed);
    }

    #[ktest]
    fn peer_067_each_processor_answers_a_call_of_its_own() {
        for cpu in CpuSet::new_full().iter() {
            CALLED.store(0, Ordering::Relaxed);
            inter_processor_call_and_wait(&cpu.into(), note);
            assert_eq!(CALLED.load(Ordering::Relaxed), 1 << cpu.as_usize());
        }
    }

    #[ktest]
    fn smp_all_processors_answer_a_call_of_all() {
        CALLED.store(0, Ordering::Relaxed);
        inter_processor_call_and_wait(&CpuSet::new_full(), note);
        assert_eq!(
            CALLED.load(Ordering::Relaxed).count_ones() as usize,
            num_cpus()
        );
    }

    #[ktest]
    fn own_call_is_made_at_once() {
        let guard = disable_preempt();
        let here = CpuSet::from(CpuId::current(&guard));
        CALLED.store(0, Ordering::Relaxed);
        inter_processor_call(&here, note);
        assert_ne!(CALLED.load(Ordering::Relaxed), 0);
    }

    static COUNT: AtomicU64 = AtomicU64::new(0);

    fn count() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }

    fn count_everywhere() {
        let mut others = CpuSet::new_full();
        let guard = disable_preempt();
        others.remove(CpuId::current(&guard));
        for _ in 0..CAPACITY * 8 {
            inter_processor_call(&others, count);
        }
    }

    #[ktest]
    fn smp_processors_that_call_each_other_with_full_queues_and_interrupts_off_go_on() {
        COUNT.store(0, Ordering::Relaxed);
        let calls = (num_cpus() * (num_cpus() - 1) * CAPACITY * 8) as u64;
        inter_processor_call_and_wait(&CpuSet::new_full(), count_everywhere);
        while COUNT.load(Ordering::Relaxed) < calls {
            core::hint::spin_loop();
        }
        assert_eq!(COUNT.load(Ordering::Relaxed), calls);
    }

    #[ktest]
    fn full_queue_takes_no_more_and_answers_for_what_it_took() {
        let queue = CallQueue::new();
        let numbers = (0..CAPACITY).map_while(|_| queue.push(count));
        assert_eq!(numbers.last(), Some(CAPACITY as u64));
        assert_eq!(queue.push(count), None);
        assert!(!queue.is_done(1));
        queue.serve();
        assert!(queue.is_done(CAPACITY as u64) && !queue.is_done(CAPACITY as u64 + 1));
    }
}
