//! The task of a test.

use core::cell::{Cell, UnsafeCell};
use core::fmt::Write;
use core::panic::PanicInfo;
use core::time::Duration;

use spin::Once;

use crate::arch::x86_64::{context, cpu, irq, local, timer};
use crate::console::{self, println};
use crate::cpu::CpuId;
use crate::error::Result;
use crate::ktest::runner::{Ending, Message};
use crate::mm::Vaddr;
use crate::mm::kspace::KernelStack;
use crate::panic;

/// Bytes of a test's stack.
const STACK_SIZE: usize = 256 * 1024;

/// The test that runs, and the runner that waits for it.
struct Current {
    stack: Once<KernelStack>,
    test: Cell<Option<fn()>>,
    /// The tick after which the test has taken too long.
    deadline: Cell<u64>,
    runner: UnsafeCell<Vaddr>,
    ending: Cell<Option<Ending>>,
}

// SAFETY: Tests run on the boot processor alone, the runner and the test take
// turns, and the timer's handler interrupts neither while it holds a borrow.
unsafe impl Sync for Current {}

static CURRENT: Current = Current {
    stack: Once::new(),
    test: Cell::new(None),
    deadline: Cell::new(u64::MAX),
    runner: UnsafeCell::new(0),
    ending: Cell::new(None),
};

/// Makes the stack on which tests run, before their resources are counted.
///
/// # Errors
///
/// [`Error::NoMemory`](crate::Error::NoMemory).
pub(crate) fn prepare_tests() -> Result<()> {
    let stack = KernelStack::new(STACK_SIZE)?;
    CURRENT.stack.call_once(|| stack);
    Ok(())
}

/// Runs a test on a stack of its own until it ends, or its time is over.
pub(crate) fn run_test(test: fn(), timeout: Duration) -> Ending {
    let stack = test_stack();
    let ticks = timeout.as_millis() as u64 * u64::from(timer::TICKS_PER_SECOND) / 1000;
    CURRENT.deadline.set(timer::ticks() + ticks);
    CURRENT.test.set(Some(test));
    // SAFETY: The stack is mapped, and no test is using it: tests run one after
    // the other, and an abandoned one never runs again.
    let entry = unsafe { context::prepare(stack.top(), enter_test) };
    // SAFETY: 1. the cell is this static's; 2. the context was just prepared.
    unsafe { context::switch(CURRENT.runner.get(), entry) };
    irq::enable();
    CURRENT.ending.take().expect("a test says how it ended")
}

extern "C" fn enter_test() -> ! {
    irq::enable();
    let test = CURRENT.test.get().expect("the runner set the test");
    test();
    end_test(Ending::Returned)
}

/// Ends the current test and goes back to the runner, for good.
///
/// # Panics
///
/// Panics when no test runs.
pub(crate) fn end_test(ending: Ending) -> ! {
    irq::disable();
    assert!(CURRENT.test.take().is_some(), "no test runs");
    local::abandon_guards();
    CURRENT.ending.set(Some(ending));
    let mut abandoned = 0;
    // SAFETY: The runner waits, so that nobody else uses the cell.
    let runner = unsafe { *CURRENT.runner.get() };
    // SAFETY: 1. a local variable; 2. the runner saved its context when it
    // switched to this test, and each switch is answered once.
    unsafe { context::switch(&raw mut abandoned, runner) };
    unreachable!("an abandoned test was resumed")
}

/// Ends the current test if its time is over; called by the timer's handler.
pub(crate) fn on_tick() {
    if is_testing() && timer::ticks() > CURRENT.deadline.get() {
        end_test(Ending::TimedOut);
    }
}

/// Returns the stack on which tests run.
pub(crate) fn test_stack() -> &'static KernelStack {
    CURRENT.stack.get().expect("`prepare_tests` made the stack")
}

/// Returns whether a test runs on this processor.
pub(crate) fn is_testing() -> bool {
    cpu::current_id() == CpuId::bsp() && CURRENT.test.get().is_some()
}

/// Ends the current test with its panic; returns when no test runs.
pub(crate) fn panic_current_test(info: &PanicInfo<'_>) {
    if !is_testing() {
        return;
    }
    // A test may die while it holds the console: then its report is lost.
    if !console::is_locked() {
        if let Some(place) = info.location() {
            println!("# panic at {place}");
        }
        panic::print_backtrace(None, panic::frame_pointer());
    }
    let mut message = Message::new();
    // A message takes any text and cuts it off.
    let _ = write!(message, "{}", info.message());
    end_test(Ending::Panicked(message))
}

/// Ends the current test with an exception; returns when no test runs.
pub(crate) fn fault_current_test(exception: &'static str) {
    if is_testing() {
        end_test(Ending::Faulted(exception));
    }
}
