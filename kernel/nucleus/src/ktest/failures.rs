//! The failures of a run, kept to be looked at when it is over.
//!
//! Their memory is taken before the first test, so that no test is charged for it and
//! none that exhausts memory is forgotten. Of failures that find no room the number is
//! known.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::report::{Report, Verdict};
use super::runner::{Message, Summary};

/// Failures that are kept.
const CAPACITY: usize = 128;

/// A test that failed, and why.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its number among those selected, from 1.
    pub number: usize,
    /// Its path in the source.
    pub name: &'static str,
    /// What was said about it, line by line; cut off if it is long.
    pub text: Message<512>,
}

/// The failures of a run.
#[derive(Debug)]
pub struct Failures {
    kept: Vec<Failure>,
    nr_forgotten: usize,
    /// What has been said about the test that runs.
    text: Message<512>,
}

impl Failures {
    /// Takes the memory. Without any, failures are counted alone.
    pub fn new() -> Self {
        let mut kept = Vec::new();
        // What there is no memory for is counted.
        let _ = kept.try_reserve_exact(CAPACITY);
        Self {
            kept,
            nr_forgotten: 0,
            text: Message::new(),
        }
    }

    /// Returns those that were kept, in order.
    pub fn kept(&self) -> &[Failure] {
        &self.kept
    }

    /// Returns how many more there were.
    pub fn nr_forgotten(&self) -> usize {
        self.nr_forgotten
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self::new()
    }
}

impl Report for Failures {
    fn start(&mut self, _planned: usize) {
        self.kept.clear();
        self.nr_forgotten = 0;
    }

    fn test(&mut self, _number: usize, _name: &'static str) {
        self.text = Message::new();
    }

    fn explain(&mut self, line: fmt::Arguments<'_>) {
        // A message takes any text, and cuts it off.
        let _ = writeln!(self.text, "{line}");
    }

    fn verdict(&mut self, number: usize, name: &'static str, verdict: Verdict) {
        if verdict != Verdict::Failed {
            return;
        }
        if self.kept.len() == self.kept.capacity() {
            self.nr_forgotten += 1;
            return;
        }
        self.kept.push(Failure {
            number,
            name,
            text: self.text.clone(),
        });
    }

    fn stop(&mut self, _number: usize) {}

    fn finish(&mut self, _summary: &Summary) {}
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{CAPACITY, Failures};
    use crate::ktest::report::{Report, Verdict};
    use crate::prelude::*;

    fn fail(failures: &mut Failures, number: usize) {
        failures.test(number, "a::b");
        failures.explain(format_args!("panicked: {number}"));
        failures.explain(format_args!("at x.rs:1:2"));
        failures.verdict(number, "a::b", Verdict::Failed);
    }

    #[ktest]
    fn failures_are_kept_with_what_was_said() {
        let mut failures = Failures::new();
        failures.start(3);
        fail(&mut failures, 1);
        failures.test(2, "a::c");
        failures.explain(format_args!("of no interest"));
        failures.verdict(2, "a::c", Verdict::Passed);
        failures.test(3, "a::d");
        failures.verdict(3, "a::d", Verdict::Failed);
        let [first, second] = failures.kept() else {
            panic!("two were kept, and not {:?}", failures.kept());
        };
        assert_eq!((first.number, first.name), (1, "a::b"));
        assert_eq!(first.text.as_str(), "panicked: 1\nat x.rs:1:2\n");
        assert_eq!((second.number, second.text.as_str()), (3, ""));
        failures.start(1);
        assert_eq!(failures.kept().len(), 0);
    }

    #[ktest]
    fn failures_without_room_are_counted() {
        let mut failures = Failures::new();
        let room = failures.kept.capacity();
        assert!(room >= CAPACITY);
        (0..room + 3).for_each(|number| fail(&mut failures, number));
        assert_eq!(failures.kept().len(), room);
        assert_eq!(failures.nr_forgotten(), 3);
    }
}
