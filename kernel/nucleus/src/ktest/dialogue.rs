//! What follows a run on a machine of one's own, with somebody in front of it: a summary
//! to be photographed, the failures page by page, and how to go on.

use core::fmt::{self, Write};

use super::failures::{Failure, Failures};
use super::runner::Summary;

/// How to go on after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Run the tests once more.
    Again,
    /// Restart the machine.
    Restart,
    /// Power it off.
    PowerOff,
}

/// A run that is over.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// What came of it.
    pub summary: &'a Summary,
    /// The failures.
    pub failures: &'a Failures,
    /// What the machine is, in a few lines.
    pub machine: &'a dyn fmt::Display,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Run").field(self.summary).finish()
    }
}

/// Clears the screen and goes to its first place.
const CLEAR: &str = "\x1b[0m\x1b[2J\x1b[H";

/// Shows a run on a console of this size, in characters, until somebody has chosen.
///
/// `read_key` waits for a key and returns what it sends. `out` never fails.
pub fn hold(
    run: Run<'_>,
    out: &mut dyn Write,
    (columns, rows): (usize, usize),
    read_key: &mut dyn FnMut() -> u8,
) -> Choice {
    let mut write = |text: fmt::Arguments<'_>| {
        // As promised.
        let _ = out.write_fmt(text);
    };
    let has_failures = run.summary.failed > 0;
    show_summary(&run, &mut write);
    if has_failures {
        write(format_args!("Press a key to see the failures.\n"));
        read_key();
        show_failures(run.failures, &mut write, (columns, rows), read_key);
    }
    loop {
        if has_failures {
            write(format_args!("f: the failures   s: the summary   "));
        }
        write(format_args!("a: again   r: restart   p: power off\n"));
        match read_key().to_ascii_lowercase() {
            b'a' => return Choice::Again,
            b'r' => return Choice::Restart,
            b'p' => return Choice::PowerOff,
            b's' => show_summary(&run, &mut write),
            b'f' if has_failures => {
                show_failures(run.failures, &mut write, (columns, rows), read_key);
            }
            _ => {}
        }
    }
}

fn show_summary(run: &Run<'_>, write: &mut dyn FnMut(fmt::Arguments<'_>)) {
    let summary = run.summary;
    write(format_args!(
        "{CLEAR}Vostok {}: tests in the kernel\n\n",
        env!("CARGO_PKG_VERSION")
    ));
    let color = if summary.failed == 0 { 32 } else { 31 };
    write(format_args!("    \x1b[1;{color}m{summary}\x1b[0m\n"));
    if summary.needs_reboot {
        let ran = summary.passed + summary.failed + summary.skipped;
        let selected = summary.selected;
        write(format_args!(
            "    stopped after {ran} of {selected}: the last one has left the machine unfit for more\n"
        ));
    }
    write(format_args!("\n{}\n", run.machine));
}

/// Shows page after page, a key apart.
fn show_failures(
    failures: &Failures,
    write: &mut dyn FnMut(fmt::Arguments<'_>),
    (columns, rows): (usize, usize),
    read_key: &mut dyn FnMut() -> u8,
) {
    // The heading, an empty row, and the one that asks for a key.
    let room = rows.saturating_sub(3);
    let all = failures.kept();
    let mut first = 0;
    while first < all.len() {
        let end = first + page(&all[first..], columns, room);
        write(format_args!(
            "{CLEAR}failures {} to {end} of {}\n\n",
            first + 1,
            all.len() + failures.nr_forgotten()
        ));
        for failure in &all[first..end] {
            let Failure { number, name, text } = failure;
            write(format_args!("{number:5}  \x1b[1;31m{name}\x1b[0m\n"));
            for line in text.as_str().lines() {
                write(format_args!("       {line}\n"));
            }
        }
        first = end;
        if first < all.len() {
            write(format_args!("Press a key for more."));
            read_key();
        }
    }
    match failures.nr_forgotten() {
        0 => {}
        more => write(format_args!("and {more} more that were not kept\n")),
    }
}

/// Returns how many failures, from the first one on, fit in so many rows; at least one.
fn page(failures: &[Failure], columns: usize, room: usize) -> usize {
    const INDENT: usize = 7;
    let rows_of = |line: &str| (INDENT + line.chars().count()).div_ceil(columns.max(1));
    let mut used = 0;
    let fitting = failures.iter().take_while(|failure| {
        let lines = failure.text.as_str().lines();
        used += rows_of(failure.name) + lines.map(rows_of).sum::<usize>();
        used <= room
    });
    fitting.count().max(1)
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::{Choice, Run, hold};
    use crate::ktest::failures::Failures;
    use crate::ktest::report::{Report, Verdict};
    use crate::ktest::runner::Summary;
    use crate::prelude::*;

    /// Holds a run with so many failures, of three rows each on a console of 25 rows, and
    /// presses keys; returns the pages that were seen and the choice.
    fn hold_with(nr_failures: usize, keys: &str) -> (Vec<String>, Choice) {
        let mut failures = Failures::new();
        failures.start(nr_failures);
        for number in 1..=nr_failures {
            failures.test(number, "a::b");
            failures.explain(format_args!("panicked: oh"));
            failures.explain(format_args!("at x.rs:{number}:1"));
            failures.verdict(number, "a::b", Verdict::Failed);
        }
        let summary = Summary {
            selected: 100,
            passed: 100 - nr_failures,
            failed: nr_failures,
            ..Summary::default()
        };
        let run = Run {
            summary: &summary,
            failures: &failures,
            machine: &"a machine",
        };
        let mut keys = keys.bytes();
        let mut text = String::new();
        let choice = hold(run, &mut text, (80, 25), &mut || {
            keys.next().expect("there are keys until the choice")
        });
        assert_eq!(keys.next(), None, "it waits for all of them");
        let pages = text.split("\x1b[2J").skip(1);
        (pages.map(String::from).collect(), choice)
    }

    #[ktest]
    fn good_run_has_a_summary_and_a_choice() {
        let (pages, choice) = hold_with(0, "xa");
        assert_eq!((pages.len(), choice), (1, Choice::Again));
        assert!(pages[0].contains("100 passed, 0 failed, 0 skipped"));
        assert!(pages[0].contains("a machine") && !pages[0].contains("failures"));
        assert_eq!(hold_with(0, "R").1, Choice::Restart);
        assert_eq!(hold_with(0, "p").1, Choice::PowerOff);
    }

    #[ktest]
    fn failures_come_page_by_page() {
        // Seven fit on a page.
        let (pages, choice) = hold_with(15, " xyp");
        assert_eq!((pages.len(), choice), (4, Choice::PowerOff));
        assert!(pages[0].contains("85 passed, 15 failed"));
        assert!(pages[1].contains("failures 1 to 7 of 15") && pages[1].contains("x.rs:7:1"));
        assert!(pages[2].contains("failures 8 to 14 of 15") && !pages[2].contains("x.rs:7:1"));
        assert!(pages[3].contains("x.rs:15:1") && pages[3].contains("p: power off"));
    }

    #[ktest]
    fn failures_can_be_seen_again() {
        let (pages, _) = hold_with(1, " fsfp");
        assert_eq!(pages.len(), 5);
        assert_eq!(pages[1], pages[2]);
    }
}
