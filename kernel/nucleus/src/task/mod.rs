//! Tasks: so far, one that runs a test and can be abandoned.
//!
//! A test runs on a stack of its own. When it returns, panics, faults, skips
//! itself or exceeds its time, control goes back to the runner's context and the
//! test's is never resumed; its stack serves the next test. What an abandoned
//! test had allocated stays allocated. Guards of interrupts that it held are
//! forgotten, so that the processor takes interrupts again.

#[cfg(ktest)]
mod test_task;
#[cfg(ktest)]
pub(crate) use self::test_task::{
    end_test, fault_current_test, is_testing, on_tick, panic_current_test, prepare_tests, run_test,
    test_stack,
};

/// Does nothing: this kernel has no tests to abandon.
#[cfg(not(ktest))]
pub(crate) fn on_tick() {}

/// Returns whether a test runs, which in this kernel none does.
#[cfg(not(ktest))]
pub(crate) fn is_testing() -> bool {
    false
}

/// Does nothing: this kernel has no tests to abandon.
#[cfg(not(ktest))]
pub(crate) fn fault_current_test(_exception: &'static str) {}

/// Does nothing: this kernel has no tests to abandon.
#[cfg(not(ktest))]
pub(crate) fn panic_current_test(_info: &core::panic::PanicInfo<'_>) {}
