//! The runner: selects tests, runs them one by one, and reports in KTAP.
//!
//! It knows nothing of tasks and machines: an [`Isolation`] runs a test and says
//! how it ended. A test that dies with one of the kernel's own locks held would
//! hang whoever takes it next, so the runner then stops and asks for a reboot;
//! `xtask` boots again and goes on after that test.

use core::fmt::{self, Write};

use super::{KtestItem, ShouldPanic};

/// How a test's task ended.
#[expect(
    clippy::large_enum_variant,
    reason = "a dying test must not allocate, so its message is kept in place"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The function returned.
    Returned,
    /// It panicked, with this message.
    Panicked(Message),
    /// It raised an exception.
    Faulted(&'static str),
    /// It was still running after its time.
    TimedOut,
    /// It does not apply to this machine.
    Skipped(&'static str),
}

/// A message of limited length, kept without an allocator; the rest is cut off.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    bytes: [u8; 256],
    len: usize,
}

impl Message {
    /// Returns an empty message.
    pub const fn new() -> Self {
        Self {
            bytes: [0; 256],
            len: 0,
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        // Cut off in the middle of a character, the whole ones still count.
        let bytes = &self.bytes[..self.len];
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let taken = text.len().min(room);
        self.bytes[self.len..][..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What can be counted before and after a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Free frames.
    pub free_frames: usize,
    /// Bytes of the heap in use.
    pub heap_bytes: usize,
    /// Tasks that are not over.
    pub tasks: usize,
}

/// What runs a test and keeps the others safe from it.
pub trait Isolation {
    /// Runs a test to its end, whatever that is.
    fn run(&mut self, test: fn()) -> Ending;
    /// Returns whether a lock of the kernel's own is held by a test that died.
    fn is_stuck(&self) -> bool;
    /// Counts what a test might leak.
    fn resources(&self) -> Resources;
}

/// Part of the names of tests that end badly on purpose.
const DELIBERATE: &str = "::deliberate::";

/// Which tests to run.
///
/// The two filters are lists of alternatives, separated by `|`; a name passes a
/// filter that has a part of it among its alternatives, of which the empty one is
/// part of every name.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// What the user wants to see run.
    pub filter: &'a str,
    /// What this machine is for: names have to pass this, too.
    pub among: &'a str,
    /// The first to run, counted from 1 among those that are selected.
    pub from: usize,
}

impl Selection<'_> {
    /// Returns whether a test is to run: those that end badly on purpose only
    /// run when the filter names them.
    fn selects(&self, name: &str) -> bool {
        let is_wanted = !name.contains(DELIBERATE) || self.filter.contains("deliberate");
        is_wanted && passes(name, self.filter) && passes(name, self.among)
    }
}

/// Returns whether one of a filter's alternatives is part of a name.
fn passes(name: &str, filter: &str) -> bool {
    filter.split('|').any(|part| name.contains(part))
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that do not apply.
    pub skipped: usize,
    /// The last test that ran left the machine unfit for more.
    pub needs_reboot: bool,
}

/// Runs the selected tests and writes the report to `out`.
///
/// # Errors
///
/// Those of `out`.
pub fn run_all(
    tests: &[KtestItem],
    selection: Selection<'_>,
    isolation: &mut dyn Isolation,
    out: &mut dyn Write,
) -> Result<Summary, fmt::Error> {
    let selected = || tests.iter().filter(|test| selection.selects(test.name));
    let mut summary = Summary::default();
    writeln!(out, "KTAP version 1")?;
    writeln!(out, "1..{}", selected().count())?;
    let numbered = (1..).zip(selected());
    for (number, test) in numbered.skip(selection.from - 1) {
        run_one(number, test, isolation, &mut summary, out)?;
        if summary.needs_reboot {
            writeln!(out, "# reboot needed after {number}")?;
            return Ok(summary);
        }
    }
    let Summary {
        passed,
        failed,
        skipped,
        ..
    } = summary;
    writeln!(
        out,
        "# tests done: {passed} passed, {failed} failed, {skipped} skipped"
    )?;
    Ok(summary)
}

fn run_one(
    number: usize,
    test: &KtestItem,
    isolation: &mut dyn Isolation,
    summary: &mut Summary,
    out: &mut dyn Write,
) -> fmt::Result {
    writeln!(out, "# run {}", test.name)?;
    let before = isolation.resources();
    let ending = isolation.run(test.run);
    summary.needs_reboot = isolation.is_stuck();
    if let Ending::Skipped(reason) = ending {
        summary.skipped += 1;
        return writeln!(out, "ok {number} {} # SKIP {reason}", test.name);
    }
    // What a task held when it died stays lost; that is no leak of the code
    // under test. The counters are behind locks, so none may be stuck.
    let after = (ending == Ending::Returned).then(|| isolation.resources());
    let passed = judge(test, &ending, out)? && !leaked(before, after.unwrap_or(before), out)?;
    let verdict = if passed {
        summary.passed += 1;
        "ok"
    } else {
        summary.failed += 1;
        "not ok"
    };
    writeln!(out, "{verdict} {number} {}", test.name)
}

/// Returns whether an ending is the one that the test wants; says why not.
fn judge(test: &KtestItem, ending: &Ending, out: &mut dyn Write) -> Result<bool, fmt::Error> {
    match (ending, test.should_panic) {
        (Ending::Returned, ShouldPanic::No) | (Ending::Panicked(_), ShouldPanic::Yes) => {
            return Ok(true);
        }
        (Ending::Panicked(message), ShouldPanic::With(expected))
            if message.as_str().contains(expected) =>
        {
            return Ok(true);
        }
        (Ending::Panicked(message), ShouldPanic::With(expected)) => {
            writeln!(out, "# panicked: {}", message.as_str())?;
            writeln!(out, "# expected a panic with: {expected}")?;
        }
        (Ending::Panicked(message), ShouldPanic::No) => {
            writeln!(out, "# panicked: {}", message.as_str())?;
        }
        (Ending::Returned, _) => writeln!(out, "# did not panic as it should")?,
        (Ending::Faulted(name), _) => writeln!(out, "# raised an exception: {name}")?,
        (Ending::TimedOut, _) => writeln!(out, "# timed out")?,
        (Ending::Skipped(_), _) => {}
    }
    Ok(false)
}

fn leaked(before: Resources, after: Resources, out: &mut dyn Write) -> Result<bool, fmt::Error> {
    let frames = before.free_frames.saturating_sub(after.free_frames);
    let bytes = after.heap_bytes.saturating_sub(before.heap_bytes);
    let tasks = after.tasks.saturating_sub(before.tasks);
    if frames == 0 && bytes == 0 && tasks == 0 {
        return Ok(false);
    }
    writeln!(
        out,
        "# leaked {frames} frames, {bytes} bytes of the heap and {tasks} tasks"
    )?;
    Ok(true)
}

#[cfg(any(test, ktest))]
#[path = "runner_tests.rs"]
mod tests;
