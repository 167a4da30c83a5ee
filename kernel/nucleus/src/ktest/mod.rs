//! In-kernel tests: registration, selection, and what is told of them: KTAP for
//! programs, over serial, and progress for people, on the screen.
//!
//! A function with `#[ktest]` puts a [`KtestItem`] into the section `ktests` of
//! the image; the linker makes an array of them. Each test runs as a task of its
//! own, under a time-out, so that one which panics, faults or hangs is reported
//! by name and the rest still run: see [`runner`]. A test that finds the machine
//! unfit calls `skip`.
//!
//! On a machine of one's own, where nobody reads serial, the option `ktest.wait` has
//! the run end with a [`dialogue`]: a summary to be photographed, the failures page by
//! page, and a choice of how to go on.

pub mod dialogue;
pub mod failures;
pub mod progress;
pub mod report;
pub mod runner;

#[cfg(ktest)]
mod deliberate;
#[cfg(ktest)]
mod machine;
#[cfg(ktest)]
pub use self::machine::skip;

/// A registered test.
#[derive(Debug)]
pub struct KtestItem {
    /// Its path in the source.
    pub name: &'static str,
    /// The test itself.
    pub run: fn(),
    /// Whether it passes by a panic.
    pub should_panic: ShouldPanic,
}

/// Whether, and how, a test has to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShouldPanic {
    /// A panic fails the test.
    No,
    /// Any panic passes the test.
    Yes,
    /// A panic passes the test if its message contains this.
    With(&'static str),
}

/// Runs a test on a host: on a simulated machine of its own, as its first
/// processor.
#[cfg(not(target_os = "none"))]
pub fn on_host(test: fn()) {
    let machine = crate::arch::sim::Machine::default();
    machine.on(0, test);
}

/// Runs the tests if the command line asks for them, and then ends the machine;
/// returns otherwise, or when the kernel was built without tests.
#[cfg(target_os = "none")]
pub fn run_if_requested() {
    #[cfg(ktest)]
    machine::run_if_requested();
    #[cfg(not(ktest))]
    if crate::boot::command_line().ktest.is_some() {
        ::log::error!("this kernel was built without tests");
    }
}
