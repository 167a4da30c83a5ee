//! What is told of a run while it goes on, and the form that programs read: KTAP
//! version 1 (`docs/dev-tools/ktap.rst` of Linux).

use core::fmt::{self, Write};

use super::runner::Summary;

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ended as it should.
    Passed,
    /// It did not; explanations came before.
    Failed,
    /// It does not apply to this machine, for this reason.
    Skipped(&'static str),
}

/// Who is told of a run. The calls come in the order in which they stand here, those
/// about a test once for each.
pub trait Report {
    /// So many tests are selected.
    fn start(&mut self, planned: usize);
    /// A test is about to run; tests are counted from 1.
    fn test(&mut self, number: usize, name: &'static str);
    /// A line about the test that has run.
    fn explain(&mut self, line: fmt::Arguments<'_>);
    /// The test that has run came to this.
    fn verdict(&mut self, number: usize, name: &'static str, verdict: Verdict);
    /// The run stops after a test that has left the machine unfit for more.
    fn stop(&mut self, number: usize);
    /// All tests have run.
    fn finish(&mut self, summary: &Summary);
}

impl<A: Report + ?Sized, B: Report + ?Sized> Report for (&mut A, &mut B) {
    fn start(&mut self, planned: usize) {
        self.0.start(planned);
        self.1.start(planned);
    }

    fn test(&mut self, number: usize, name: &'static str) {
        self.0.test(number, name);
        self.1.test(number, name);
    }

    fn explain(&mut self, line: fmt::Arguments<'_>) {
        self.0.explain(line);
        self.1.explain(line);
    }

    fn verdict(&mut self, number: usize, name: &'static str, verdict: Verdict) {
        self.0.verdict(number, name, verdict);
        self.1.verdict(number, name, verdict);
    }

    fn stop(&mut self, number: usize) {
        self.0.stop(number);
        self.1.stop(number);
    }

    fn finish(&mut self, summary: &Summary) {
        self.0.finish(summary);
        self.1.finish(summary);
    }
}

/// The report as KTAP. Each line is written as a whole.
#[derive(Debug)]
pub struct Ktap<W>(pub W);

impl<W: Write> Ktap<W> {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Neither the console nor a string ever fails.
        let _ = self.0.write_fmt(format_args!("{line}\n"));
    }
}

impl<W: Write> Report for Ktap<W> {
    fn start(&mut self, planned: usize) {
        self.line(format_args!("KTAP version 1"));
        self.line(format_args!("1..{planned}"));
    }

    fn test(&mut self, _number: usize, name: &'static str) {
        self.line(format_args!("# run {name}"));
    }

    fn explain(&mut self, line: fmt::Arguments<'_>) {
        self.line(format_args!("# {line}"));
    }

    fn verdict(&mut self, number: usize, name: &'static str, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.line(format_args!("ok {number} {name}")),
            Verdict::Failed => self.line(format_args!("not ok {number} {name}")),
            Verdict::Skipped(reason) => {
                self.line(format_args!("ok {number} {name} # SKIP {reason}"));
            }
        }
    }

    fn stop(&mut self, number: usize) {
        self.line(format_args!("# reboot needed after {number}"));
    }

    fn finish(&mut self, summary: &Summary) {
        self.line(format_args!("# tests done: {summary}"));
    }
}
