//! The runner: selects tests, runs them one by one, and judges.
//!
//! It knows nothing of tasks and machines: an [`Isolation`] runs a test and says
//! how it ended, and a [`Report`] tells people. A test that dies with one of the kernel's
//! own locks held would hang whoever takes it next, and one that dies with most of the
//! memory would fail all that follow. So the runner then stops and asks for a reboot;
//! `xtask` boots again and goes on after that test.

use core::fmt::{self, Write};

use super::report::{Report, Verdict};
use super::{KtestItem, ShouldPanic};
use crate::mm::frame::Census;

/// How a test's task ended.
#[expect(
    clippy::large_enum_variant,
    reason = "a dying test must not allocate, so its message is kept in place"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The function returned.
    Returned,
    /// It panicked.
    Panicked {
        /// What it said.
        message: Message,
        /// Where in the source, as `file:line:column`; empty if nobody knows.
        place: Message<128>,
    },
    /// It raised an exception.
    Faulted(&'static str),
    /// It was still running after its time.
    TimedOut,
    /// It does not apply to this machine.
    Skipped(&'static str),
}

/// A message of limited length, kept without an allocator; the rest is cut off.
#[derive(Clone, PartialEq, Eq)]
pub struct Message<const CAPACITY: usize = 512> {
    bytes: [u8; CAPACITY],
    len: usize,
    is_cut: bool,
}

impl<const CAPACITY: usize> Message<CAPACITY> {
    /// Returns an empty message.
    pub const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            len: 0,
            is_cut: false,
        }
    }

    /// Returns whether there was more text than room.
    pub fn is_cut(&self) -> bool {
        self.is_cut
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

impl<const CAPACITY: usize> Default for Message<CAPACITY> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAPACITY: usize> Write for Message<CAPACITY> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let taken = text.len().min(room);
        self.bytes[self.len..][..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        self.is_cut |= taken < text.len();
        Ok(())
    }
}

impl<const CAPACITY: usize> fmt::Debug for Message<CAPACITY> {
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
    /// Returns whether a test that died has left the machine unfit for more: it holds a
    /// lock of the kernel's own, or much of the memory.
    fn is_stuck(&self) -> bool;
    /// Counts what a test might leak.
    fn resources(&self) -> Resources;
    /// Counts frames by kind, to name those that a test leaks.
    fn census(&self) -> Census;
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
    /// Tests that were selected.
    pub selected: usize,
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that do not apply.
    pub skipped: usize,
    /// The last test that ran left the machine unfit for more.
    pub needs_reboot: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Runs the selected tests and reports.
pub fn run_all(
    tests: &[KtestItem],
    selection: Selection<'_>,
    isolation: &mut dyn Isolation,
    report: &mut dyn Report,
) -> Summary {
    let selected = || tests.iter().filter(|test| selection.selects(test.name));
    let mut summary = Summary {
        selected: selected().count(),
        ..Summary::default()
    };
    report.start(summary.selected);
    let numbered = (1..).zip(selected());
    for (number, test) in numbered.skip(selection.from - 1) {
        run_one(number, test, isolation, &mut summary, report);
        if summary.needs_reboot {
            report.stop(number);
            return summary;
        }
    }
    report.finish(&summary);
    summary
}

fn run_one(
    number: usize,
    test: &KtestItem,
    isolation: &mut dyn Isolation,
    summary: &mut Summary,
    report: &mut dyn Report,
) {
    report.test(number, test.name);
    let before = isolation.resources();
    let kinds_before = isolation.census();
    let ending = isolation.run(test.run);
    summary.needs_reboot = isolation.is_stuck();
    if let Ending::Skipped(reason) = ending {
        summary.skipped += 1;
        return report.verdict(number, test.name, Verdict::Skipped(reason));
    }
    // What a task held when it died stays lost; that is no leak of the code
    // under test. The counters are behind locks, so none may be stuck.
    let after = (ending == Ending::Returned).then(|| isolation.resources());
    let is_right = judge(test, &ending, report);
    let has_leaked = is_right && leaked(before, after.unwrap_or(before), report);
    if has_leaked {
        tell_kinds(&kinds_before, &isolation.census(), report);
    }
    let passed = is_right && !has_leaked;
    let verdict = if passed {
        summary.passed += 1;
        Verdict::Passed
    } else {
        summary.failed += 1;
        Verdict::Failed
    };
    report.verdict(number, test.name, verdict);
}

/// Returns whether an ending is the one that the test wants; says why not.
fn judge(test: &KtestItem, ending: &Ending, report: &mut dyn Report) -> bool {
    match (ending, test.should_panic) {
        (Ending::Returned, ShouldPanic::No) | (Ending::Panicked { .. }, ShouldPanic::Yes) => {
            return true;
        }
        (Ending::Panicked { message, .. }, ShouldPanic::With(expected))
            if message.as_str().contains(expected) =>
        {
            return true;
        }
        (Ending::Panicked { message, place }, wanted) => {
            explain_panic(message, report);
            if let ShouldPanic::With(expected) = wanted {
                report.explain(format_args!("expected a panic with: {expected}"));
            }
            if !place.as_str().is_empty() {
                report.explain(format_args!("at {}", place.as_str()));
            }
        }
        (Ending::Returned, _) => report.explain(format_args!("did not panic as it should")),
        (Ending::Faulted(name), _) => {
            report.explain(format_args!("raised an exception: {name}"));
        }
        (Ending::TimedOut, _) => report.explain(format_args!("timed out")),
        (Ending::Skipped(_), _) => {}
    }
    false
}

/// Tells what a panic said, each of its lines by itself: those of a failed comparison are
/// three.
fn explain_panic(message: &Message, report: &mut dyn Report) {
    let mut lines = message.as_str().lines();
    report.explain(format_args!("panicked: {}", lines.next().unwrap_or("")));
    lines.for_each(|line| report.explain(format_args!("{line}")));
    if message.is_cut() {
        report.explain(format_args!("… and more, which found no room"));
    }
}

fn leaked(before: Resources, after: Resources, report: &mut dyn Report) -> bool {
    let frames = before.free_frames.saturating_sub(after.free_frames);
    let bytes = after.heap_bytes.saturating_sub(before.heap_bytes);
    let tasks = after.tasks.saturating_sub(before.tasks);
    let lost_none = frames == 0 && bytes == 0 && tasks == 0;
    if !lost_none {
        report.explain(format_args!(
            "leaked {frames} frames, {bytes} bytes of the heap and {tasks} tasks"
        ));
    }
    !lost_none
}

/// Tells of which kinds there are more frames than before.
fn tell_kinds(before: &Census, after: &Census, report: &mut dyn Report) {
    for kind in after.growth_since(before) {
        report.explain(format_args!("{} more frames of kind {kind}", kind.frames));
    }
}

#[cfg(any(test, ktest))]
#[path = "runner_tests.rs"]
mod tests;
