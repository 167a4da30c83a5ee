//! What `run-cases` reports: frames of lines, one a case.
//!
//! Whatever is no line of a frame is somebody else's, such as a message of the
//! kernel's; it is kept for the complaint about a case that did not end.

use std::collections::BTreeMap;

/// What came of a case on one of the two systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    /// As the runner frames it: what is not printable is escaped, and a last line
    /// without an end has a `\` there.
    pub(super) output: String,
    /// Such as `exit 0`, `signal 11` or `time-out`.
    pub(super) end: String,
}

impl Observed {
    /// Says how this, which Linux did, differs from what Vostok did.
    pub(super) fn differences(&self, actual: &Self) -> String {
        let mut text = String::new();
        if self.end != actual.end {
            text = format!("{} on Linux, {} on Vostok\n", self.end, actual.end);
        }
        let (mut ours, mut theirs) = (actual.output.lines(), self.output.lines());
        loop {
            match (theirs.next(), ours.next()) {
                (None, None) => return text,
                (a, b) if a == b => {}
                (a, b) => {
                    let line = |line: Option<&str>| line.unwrap_or("(no line)").to_owned();
                    text.push_str(&format!("Linux:  {}\nVostok: {}\n", line(a), line(b)));
                }
            }
        }
    }
}

/// A report, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) cases: BTreeMap<usize, Observed>,
    /// The case that began and has not ended.
    pub(super) running: Option<usize>,
    /// What else was printed while a case ran, such as the kernel's messages.
    pub(super) messages: BTreeMap<usize, String>,
    /// Kinds of frames, and how many were in use before and after all cases.
    pub(super) frames: BTreeMap<String, (Option<u64>, Option<u64>)>,
    /// The output of the case that runs.
    output: String,
    /// The other lines since a case began.
    others: Vec<String>,
}

impl Report {
    /// Reads a line, without its end.
    pub(super) fn feed(&mut self, line: &str) {
        if let Some(line) = line.strip_prefix("| ") {
            self.output.push_str(line);
            self.output.push('\n');
        } else if self.feed_mark(line).is_none() {
            self.others.push(line.to_owned());
        }
    }

    /// Reads a line that begins or ends a frame, if it is one.
    fn feed_mark(&mut self, line: &str) -> Option<()> {
        if let Some(rest) = line.strip_prefix("frames ") {
            return self.feed_count(rest);
        }
        let mut words = line.strip_prefix("case ")?.splitn(3, ' ');
        let number: usize = words.next()?.parse().ok()?;
        match (words.next()?, words.next()) {
            ("begin", None) => {
                self.running = Some(number);
                self.others.clear();
            }
            ("end", Some(end)) if self.running == Some(number) => {
                self.running = None;
                let output = std::mem::take(&mut self.output);
                let end = end.to_owned();
                if !self.others.is_empty() {
                    self.messages.insert(number, self.others());
                }
                let output = without_thread_ids(&output);
                self.cases.insert(number, Observed { output, end });
            }
            _ => return None,
        }
        self.output.clear();
        Some(())
    }

    /// Reads `before KIND NUMBER` or `after KIND NUMBER`.
    fn feed_count(&mut self, rest: &str) -> Option<()> {
        let mut words = rest.split_whitespace();
        let (when, kind, count) = (words.next()?, words.next()?, words.next()?);
        let count = count.parse().ok()?;
        let both = self.frames.entry(kind.to_owned()).or_default();
        match when {
            "before" => both.0 = Some(count),
            "after" => both.1 = Some(count),
            _ => return None,
        }
        Some(())
    }

    /// Returns what else was printed since a case began, for a complaint about it.
    pub(super) fn others(&self) -> String {
        self.others.join("\n")
    }
}

/// Leaves the identifiers out that Rust's messages name threads by.
pub(super) fn without_thread_ids(output: &str) -> String {
    let mut lines = Vec::new();
    for line in output.split('\n') {
        let thread = line.strip_prefix("thread '").and_then(|rest| {
            let (name, rest) = rest.split_once("' (")?;
            let (_, rest) = rest.split_once(") ")?;
            Some(format!("thread '{name}' {rest}"))
        });
        lines.push(thread.unwrap_or_else(|| line.to_owned()));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Observed, Report};

    fn read(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.feed(line));
        report
    }

    #[test]
    fn frames_are_read() {
        let report = read("noise\ncase 0 begin\n| a\n| b\\\ncase 0 end exit 7\ncase 1 begin\n");
        let first = Observed {
            output: "a\nb\\\n".to_owned(),
            end: "exit 7".to_owned(),
        };
        assert_eq!(report.cases.into_iter().collect::<Vec<_>>(), [(0, first)]);
        assert_eq!(report.running, Some(1));
    }

    #[test]
    fn forged_marks_are_output_or_nothing() {
        let report = read(
            "case 4 begin\n| case 4 end exit 0\ncase 5 end exit 0\ncase x end exit 1\n\
             oops\ncase 4 end signal 9\n",
        );
        assert_eq!(report.cases.len(), 1);
        assert_eq!(report.cases[&4].output, "case 4 end exit 0\n");
        assert_eq!(report.cases[&4].end, "signal 9");
        assert!(report.messages[&4].contains("oops"));
    }

    #[test]
    fn frames_in_use_are_paired() {
        let report = read("frames before user 3\nframes after user 4\nframes after\n");
        assert_eq!(report.frames["user"], (Some(3), Some(4)));
    }

    #[test]
    fn differences_name_both_systems() {
        let observed = |output: &str| Observed {
            output: output.to_owned(),
            end: "exit 0".to_owned(),
        };
        let text = observed("a\nb\n").differences(&observed("a\nc\nd\n"));
        assert_eq!(text, "Linux:  b\nVostok: c\nLinux:  (no line)\nVostok: d\n");
    }
}
