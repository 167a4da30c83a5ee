//! Who goes on: by itself the host decides. With the feature `shuttle`, which no
//! kernel has, a checker decides at each place where it matters.
//!
//! Such places are the operations on atomic words that processors share, locks,
//! loads of the root register, flushes, and accesses to user memory. At each of
//! them an interrupt that is due *may* arrive as well, if the processor takes any.

#[cfg(feature = "shuttle")]
pub use self::chosen::in_parallel;
#[cfg(feature = "shuttle")]
pub(crate) use self::chosen::{switch, wait};
#[cfg(not(feature = "shuttle"))]
pub(crate) use self::free::{switch, wait};

#[cfg(not(feature = "shuttle"))]
mod free {
    //! The host decides.

    extern crate std;

    /// A place where another thread may go on: any place is.
    #[inline(always)]
    pub(crate) fn switch() {}

    /// Waits for what another thread does.
    pub(crate) fn wait() {
        std::thread::yield_now();
    }
}

#[cfg(feature = "shuttle")]
mod chosen {
    //! A checker decides.

    extern crate std;

    use core::sync::atomic::Ordering;
    use std::boxed::Box;
    use std::cell::Cell;
    use std::vec::Vec;

    use shuttle::rand::RngCore;
    use shuttle::sync::atomic::AtomicBool;

    use super::super::cpu::serve_interrupts;
    use super::super::machine::{self, CURRENT, Machine};

    std::thread_local! {
        /// Whether threads run in parallel. All of them are one thread of the host.
        static IS_PARALLEL: Cell<bool> = const { Cell::new(false) };
    }

    /// A place where another thread may go on, and an interrupt may arrive.
    #[inline]
    pub(crate) fn switch() {
        if IS_PARALLEL.get() {
            switch_now();
        }
    }

    #[cold]
    fn switch_now() {
        // One that unwinds goes on: the checker has found what it looked for.
        if std::thread::panicking() {
            return;
        }
        let cpu = CURRENT.get();
        // The checker switches before each operation on one of its own atomics.
        AtomicBool::new(false).load(Ordering::Relaxed);
        CURRENT.set(cpu);
        let cpu = machine::current();
        let is_due = cpu.irq_guards.get() == 0 && cpu.interrupted.load(Ordering::Relaxed);
        if is_due && shuttle::rand::thread_rng().next_u64().is_multiple_of(2) {
            serve_interrupts();
        }
    }

    /// Waits for what another thread does.
    pub(crate) fn wait() {
        let cpu = CURRENT.get();
        shuttle::thread::yield_now();
        CURRENT.set(cpu);
    }

    /// Runs several threads, the first as processor 0 and so on. From the start,
    /// none of the processors is idle; each is when its thread ends.
    ///
    /// # Panics
    ///
    /// Panics when one of the threads does, or one of the processors is played.
    pub fn in_parallel<'a>(machine: &Machine, bodies: Vec<Box<dyn FnOnce() + Send + 'a>>) {
        let claimed: Vec<_> = bodies
            .into_iter()
            .enumerate()
            .map(|(cpu, body)| (machine.claim(cpu), body))
            .collect();
        let before = CURRENT.get();
        IS_PARALLEL.set(true);
        shuttle::thread::scope(|scope| {
            for (claim, body) in claimed {
                scope.spawn(move || claim.play(body));
            }
        });
        IS_PARALLEL.set(false);
        CURRENT.set(before);
    }
}
