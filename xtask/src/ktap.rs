//! The kernel's test report, read line by line (KTAP version 1).
//!
//! A kernel that dies takes the test down that was running, and no other: the
//! next boot goes on after it.
//!
//! What is told of a failed test begins with why it failed, which the kernel says last:
//! a long backtrace before it would hide that where output is cut.

use crate::test::{Outcome, Verdict};

/// What the reports of one or more boots said.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The number of tests in all.
    planned: Option<usize>,
    /// The number of the last test that has a verdict, or has died.
    last: usize,
    running: Option<String>,
    /// What was printed since the running test began.
    output: Vec<String>,
    done: bool,
    pub(crate) outcomes: Vec<Outcome>,
}

/// What to do after a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// All tests have verdicts.
    Finished,
    /// Boot again, from this test on.
    BootFrom(usize),
    /// No test was reached.
    NothingRan,
}

impl Report {
    /// Takes a line of the guest's output in.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("1..") {
            self.planned = count.parse().ok();
        } else if let Some(name) = line.strip_prefix("# run ") {
            self.running = Some(name.to_owned());
            self.output.clear();
        } else if let Some(rest) = line.strip_prefix("ok ") {
            self.verdict(rest, true);
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            self.verdict(rest, false);
        } else if line.starts_with("# tests done:") {
            self.done = true;
        } else if self.running.is_some() {
            self.output.push(line.to_owned());
        }
    }

    /// Takes more output of the running test in, which is no line of the report.
    pub(crate) fn explanation(&mut self, text: &str) {
        if self.running.is_some() {
            self.output.extend(text.lines().map(str::to_owned));
        }
    }

    fn verdict(&mut self, rest: &str, passed: bool) {
        let Some((number, name)) = rest.split_once(' ') else {
            return;
        };
        let Ok(number) = number.parse() else { return };
        self.last = number;
        self.running = None;
        let (name, skipped) = match name.split_once(" # SKIP ") {
            Some((name, reason)) => (name, Some(reason)),
            None => (name, None),
        };
        let verdict = match (passed, skipped) {
            (_, Some(reason)) => Verdict::Skipped(reason.to_owned()),
            (true, None) => Verdict::Passed,
            (false, None) => Verdict::Failed(self.told()),
        };
        self.outcomes.push(Outcome::new("kernel", name, verdict));
    }

    /// Returns what was printed while the test ran, the runner's own lines first.
    fn told(&self) -> String {
        let of_runner = |line: &&String| line.starts_with("# ");
        let (mut told, rest): (Vec<_>, Vec<_>) = self.output.iter().partition(of_runner);
        told.extend(rest);
        let lines = told.into_iter().map(String::as_str);
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Ends a boot; `complaint` says how it ended if it did not as it should.
    pub(crate) fn end_boot(&mut self, complaint: Option<&str>) -> Next {
        if let Some(name) = self.running.take() {
            self.last += 1;
            let reason = complaint.unwrap_or("the kernel ended without a verdict");
            self.output.insert(0, reason.to_owned());
            let verdict = Verdict::Failed(self.output.join("\n"));
            self.outcomes.push(Outcome::new("kernel", &name, verdict));
        }
        match self.planned {
            None => Next::NothingRan,
            Some(planned) if self.done || self.last >= planned => Next::Finished,
            Some(_) => Next::BootFrom(self.last + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Report};
    use crate::test::Verdict;

    fn feed(report: &mut Report, text: &str) {
        text.lines().for_each(|line| report.line(line));
    }

    #[test]
    fn verdicts_are_read_with_their_output() {
        let mut report = Report::default();
        feed(
            &mut report,
            "KTAP version 1\n1..3\n# run a\nok 1 a\n# run b\n# panicked: oh\n",
        );
        feed(
            &mut report,
            "not ok 2 b\n# run c\nok 3 c # SKIP no SMAP\n# tests done: 1 passed\n",
        );
        let verdicts: Vec<_> = report.outcomes.iter().map(|o| o.verdict.clone()).collect();
        let failed = Verdict::Failed("# panicked: oh".to_owned());
        assert_eq!(
            verdicts,
            [
                Verdict::Passed,
                failed,
                Verdict::Skipped("no SMAP".to_owned())
            ]
        );
        assert_eq!(report.end_boot(None), Next::Finished);
    }

    #[test]
    fn reason_of_a_failure_comes_before_the_backtrace() {
        let mut report = Report::default();
        feed(
            &mut report,
            "1..1\n# run a\nbacktrace:\n #0 0x1\n# panicked: oh\n#   left: 1\n# at x.rs:1\n",
        );
        feed(&mut report, "not ok 1 a\n");
        let expected = "# panicked: oh\n#   left: 1\n# at x.rs:1\nbacktrace:\n #0 0x1";
        assert_eq!(
            report.outcomes[0].verdict,
            Verdict::Failed(expected.to_owned())
        );
    }

    #[test]
    fn death_fails_the_running_test_and_the_rest_still_run() {
        let mut report = Report::default();
        feed(
            &mut report,
            "KTAP version 1\n1..3\n# run a\nok 1 a\n# run b\nlast words\n",
        );
        assert_eq!(
            report.end_boot(Some("the guest took too long")),
            Next::BootFrom(3)
        );
        let expected = Verdict::Failed("the guest took too long\nlast words".to_owned());
        assert_eq!(report.outcomes[1].verdict, expected);
        feed(
            &mut report,
            "KTAP version 1\n1..3\n# run c\nok 3 c\n# tests done: 1 passed\n",
        );
        assert_eq!(report.end_boot(None), Next::Finished);
        assert_eq!(report.outcomes.len(), 3);
    }

    #[test]
    fn reboot_that_the_kernel_asks_for_goes_on_after_the_verdict() {
        let mut report = Report::default();
        feed(
            &mut report,
            "KTAP version 1\n1..9\n# run a\nok 1 a\n# reboot needed after 1\n",
        );
        assert_eq!(report.end_boot(None), Next::BootFrom(2));
    }

    #[test]
    fn death_in_the_last_test_ends_the_run() {
        let mut report = Report::default();
        feed(&mut report, "KTAP version 1\n1..1\n# run a\n");
        assert_eq!(report.end_boot(Some("reset")), Next::Finished);
    }

    #[test]
    fn boot_that_reaches_no_test_is_noticed() {
        assert_eq!(Report::default().end_boot(None), Next::NothingRan);
    }
}
