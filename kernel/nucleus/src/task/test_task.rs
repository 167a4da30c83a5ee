//! The task of a test, which can be abandoned.
//!
//! The runner, itself a task, has one task for each test and waits until it ends. When
//! the test returns, panics, faults, skips itself or exceeds its time, or a task does
//! that it has started, the first of these is how it ended, and the test is never
//! resumed; its stack serves the next test. What an abandoned test had allocated stays
//! allocated. Guards that it held are forgotten, so that the processor takes
//! interrupts again.
//!
//! Tests run on the boot processor; what they start runs anywhere. A task that a test
//! has left behind is abandoned like the test itself, where it leaves its processor
//! next.

#[cfg(ktest)]
pub(super) use self::in_tests::{TestNumber, is_left_behind, what_becomes_of};
#[cfg(ktest)]
pub(crate) use self::in_tests::{
    end_test, fault_current_test, is_testing, on_tick, panic_current_test, prepare_tests, run_test,
    test_stack,
};
#[cfg(not(ktest))]
pub(crate) use self::without_tests::{fault_current_test, is_testing, on_tick, panic_current_test};
#[cfg(not(ktest))]
pub(super) use self::without_tests::{is_left_behind, what_becomes_of};

#[cfg(not(ktest))]
mod without_tests {
    //! This kernel has no tests to abandon.

    use core::panic::PanicInfo;

    use super::super::Task;
    use super::super::cpu_tasks::Leave;

    pub(crate) fn on_tick() {}

    pub(in super::super) fn is_left_behind(_task: &Task) -> bool {
        false
    }

    pub(in super::super) fn what_becomes_of(_task: &Task, how: Leave) -> Leave {
        how
    }

    /// Returns whether a test runs, which in this kernel none does.
    pub(crate) fn is_testing() -> bool {
        false
    }

    pub(crate) fn fault_current_test(_exception: &'static str) {}

    pub(crate) fn panic_current_test(_info: &PanicInfo<'_>) {}
}

#[cfg(ktest)]
mod in_tests {
    //! Ending a test, and what it takes to go on after it.

    use alloc::boxed::Box;
    use alloc::sync::Arc;
    use core::fmt::Write;
    use core::panic::PanicInfo;
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use core::time::Duration;

    use spin::Once;

    use super::super::cpu_tasks::Leave;
    use super::super::options::prepare;
    use super::super::{Task, scheduler};
    use crate::arch::cpu;
    use crate::arch::x86_64::{irq, local, timer};
    use crate::console;
    use crate::cpu::CpuId;
    use crate::error::Result;
    use crate::ktest::runner::{Ending, Message};
    use crate::mm::kspace::KernelStack;
    use crate::panic;
    use crate::sync::SpinLock;

    /// Bytes of a test's stack.
    const STACK_SIZE: usize = 256 * 1024;

    /// The test that runs.
    struct Current {
        body: fn(),
        test: Arc<Task>,
        runner: Arc<Task>,
        /// How it ended, once it has.
        ending: Option<Ending>,
    }

    /// The number of the test that runs; zero if none does.
    static RUNNING: AtomicU32 = AtomicU32::new(0);

    /// The number of the test that a task belongs to; zero if it belongs to none.
    #[derive(Debug)]
    pub(in super::super) struct TestNumber(u32);

    impl TestNumber {
        /// That of the kernel's own tasks.
        pub(in super::super) const NONE: Self = Self(0);

        /// Returns the number of the test that runs.
        pub(in super::super) fn current() -> Self {
            // Relaxed: written by the runner, before there are tasks that ask.
            Self(RUNNING.load(Ordering::Relaxed))
        }
    }

    /// Returns whether a task belongs to a test that is over.
    pub(in super::super) fn is_left_behind(task: &Task) -> bool {
        let TestNumber(owner) = task.owner;
        // Relaxed: a task may run on a little.
        owner != 0 && owner != RUNNING.load(Ordering::Relaxed)
    }

    /// Has a task abandoned that is about to leave its processor and was left behind.
    pub(in super::super) fn what_becomes_of(task: &Task, how: Leave) -> Leave {
        if how == Leave::Ended || !is_left_behind(task) {
            return how;
        }
        task.state.end();
        Leave::Abandoned
    }

    static STACK: Once<KernelStack> = Once::new();
    static CURRENT: SpinLock<Option<Current>> = SpinLock::new(None);
    /// The tick after which the test has taken too long.
    static DEADLINE: AtomicU64 = AtomicU64::new(u64::MAX);

    /// Makes the stack on which tests run, before their resources are counted.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub(crate) fn prepare_tests() -> Result<()> {
        let stack = KernelStack::new(STACK_SIZE)?;
        STACK.call_once(|| stack);
        Ok(())
    }

    /// Returns the stack on which tests run.
    pub(crate) fn test_stack() -> &'static KernelStack {
        STACK.get().expect("`prepare_tests` made the stack")
    }

    /// Runs a test as a task of its own until it ends, or its time is over.
    pub(crate) fn run_test(test_body: fn(), timeout: Duration) -> Ending {
        let runner = Task::current().expect("the runner is a task");
        static LAST: AtomicU32 = AtomicU32::new(0);
        // Relaxed: by the runner alone.
        RUNNING.store(LAST.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        // What it captured would never be freed.
        let body = Box::new(run_current);
        let task = Task::made(None, Some(body)).with_affinity(CpuId::bsp().into());
        let test = prepare(task, test_stack().top());
        let ticks = timeout.as_millis() as u64 * u64::from(timer::TICKS_PER_SECOND) / 1000;
        // Relaxed, here and below: looked at by this processor.
        DEADLINE.store(timer::ticks() + ticks, Ordering::Relaxed);
        *CURRENT.lock() = Some(Current {
            body: test_body,
            test: Arc::clone(&test),
            runner,
            ending: None,
        });
        test.state.start();
        scheduler::make_ready(Arc::clone(&test));
        let ending = loop {
            scheduler::park();
            if let Some(ending) = take_ending() {
                break ending;
            }
        };
        DEADLINE.store(u64::MAX, Ordering::Relaxed);
        RUNNING.store(0, Ordering::Relaxed);
        // A test that ended itself is over; otherwise it sleeps, or is ready.
        while !test.state.is_over() && !scheduler::abandon(&test) {
            core::hint::spin_loop();
        }
        ending
    }

    /// What the task of a test does.
    fn run_current() {
        let body = CURRENT.lock().as_ref().map(|current| current.body);
        if let Some(body) = body {
            body();
        }
        end_test(Ending::Returned)
    }

    /// Takes the ending of the test, with which no test runs any more.
    fn take_ending() -> Option<Ending> {
        let mut current = CURRENT.lock();
        let ending = current.as_mut()?.ending.take()?;
        *current = None;
        Some(ending)
    }

    /// Says how the test ended, unless that is said already, and wakes the runner.
    /// Returns false if no test runs.
    fn say_ending(ending: Ending) -> bool {
        let mut current = CURRENT.lock();
        let Some(current) = current.as_mut() else {
            return false;
        };
        current.ending.get_or_insert(ending);
        current.runner.unpark();
        true
    }

    /// Ends the current test, and the task that says so, for good.
    ///
    /// # Panics
    ///
    /// Panics when no test runs.
    pub(crate) fn end_test(ending: Ending) -> ! {
        irq::disable();
        local::abandon_guards();
        assert!(say_ending(ending), "no test runs");
        scheduler::abandon_current()
    }

    /// Ends the current test if its time is over; called by the timer's handler.
    pub(crate) fn on_tick() {
        let is_boot_cpu = cpu::current_id() == CpuId::bsp();
        // Relaxed: as in `run_test`.
        if !is_boot_cpu || timer::ticks() <= DEADLINE.load(Ordering::Relaxed) {
            return;
        }
        let is_current = match (&*CURRENT.lock(), cpu::tasks().current()) {
            (Some(current), Some(task)) => Arc::ptr_eq(&current.test, task),
            _ => return,
        };
        if is_current {
            end_test(Ending::TimedOut);
        }
        say_ending(Ending::TimedOut);
    }

    /// Returns whether the current task belongs to the test that runs. What goes wrong
    /// in any other task, a processor's own among them, is the kernel's own fault.
    pub(crate) fn is_testing() -> bool {
        // Relaxed: of a test's task, the number stays as it is while the test runs.
        let running = RUNNING.load(Ordering::Relaxed);
        let owner = Task::current().map_or(0, |task| task.owner.0);
        running != 0 && owner == running
    }

    /// Ends the current test with a panic; returns when the task is no test's.
    pub(crate) fn panic_current_test(info: &PanicInfo<'_>) {
        if !is_testing() {
            return;
        }
        // A test may die while it holds the console: then its report is lost.
        if !console::is_locked() {
            panic::print_backtrace(None, panic::frame_pointer());
        }
        let (mut message, mut place) = (Message::new(), Message::new());
        // A message takes any text and cuts it off.
        let _ = write!(message, "{}", info.message());
        if let Some(location) = info.location() {
            let _ = write!(place, "{location}");
        }
        end_test(Ending::Panicked { message, place })
    }

    /// Ends the current test with an exception; returns when no test runs.
    pub(crate) fn fault_current_test(exception: &'static str) {
        if is_testing() {
            end_test(Ending::Faulted(exception));
        }
    }
}
