//! Progress for people: a line for each test as it ends, and below all of it a line that
//! says how far the run has come and which test runs.
//!
//! ```text
//!   11  ok       nucleus::mm::heap::tests::blocks_are_aligned
//!   12  skipped  nucleus::mm::tlb::tests::peer_017_… (no PCID)
//!             panicked: assertion failed: left == right
//!             at kernel/nucleus/src/task/tests.rs:12:5
//!   13  FAILED   nucleus::task::tests::a_task_sleeps
//!  14 of 480   1 failed   1 skipped   nucleus::task::tests::a_task_wakes
//! ```
//!
//! The last row of the screen is kept out of what scrolls (DECSTBM), so that log messages
//! and backtraces pass above it, and a machine that stops answering shows in which test.
//! The sequences are those of a VT100.

use core::fmt::{self, Write};

use super::report::{Report, Verdict};
use super::runner::{Message, Summary};

/// A screen that shows how a run goes on.
#[derive(Debug)]
pub struct Progress<W> {
    screen: W,
    columns: usize,
    rows: usize,
    planned: usize,
    nr_failed: usize,
    nr_skipped: usize,
}

impl<W: Write> Progress<W> {
    /// Shows progress on a screen of this size, in characters.
    pub fn new(screen: W, (columns, rows): (usize, usize)) -> Self {
        Self {
            screen,
            columns,
            rows,
            planned: 0,
            nr_failed: 0,
            nr_skipped: 0,
        }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Neither the screen nor a string ever fails.
        let _ = self.screen.write_fmt(text);
    }

    /// Fills the last row, and returns to where the cursor was.
    fn show(&mut self, number: usize, name: &str) {
        let (planned, failed, skipped) = (self.planned, self.nr_failed, self.nr_skipped);
        let (rows, columns) = (self.rows, self.columns);
        let mut line: Message = Message::new();
        // A message takes any text, and cuts it off.
        let _ = write!(
            line,
            " {number} of {planned}   {failed} failed   {skipped} skipped   {name}"
        );
        // The last column stays free: what is written there may scroll a terminal.
        let width = columns.saturating_sub(1);
        let text = cut(line.as_str(), width);
        let color = if failed == 0 { "7" } else { "7;31" };
        self.write(format_args!(
            "\x1b7\x1b[{rows};1H\x1b[{color}m{text:width$}\x1b[0m\x1b8"
        ));
    }
}

impl<W: Write> Report for Progress<W> {
    fn start(&mut self, planned: usize) {
        self.planned = planned;
        (self.nr_failed, self.nr_skipped) = (0, 0);
        let above = self.rows.saturating_sub(1);
        // A line feed first: what is in the last row moves up. Setting the margins moves
        // the cursor to the first row.
        self.write(format_args!("\r\n\x1b[1;{above}r\x1b[{above};1H"));
    }

    fn test(&mut self, number: usize, name: &'static str) {
        self.show(number, name);
    }

    fn explain(&mut self, line: fmt::Arguments<'_>) {
        self.write(format_args!("            {line}\n"));
    }

    fn verdict(&mut self, number: usize, name: &'static str, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.write(format_args!("{number:5}  ok       {name}\n")),
            Verdict::Skipped(reason) => {
                self.nr_skipped += 1;
                self.write(format_args!(
                    "{number:5}  \x1b[33mskipped\x1b[0m  {name} ({reason})\n"
                ));
            }
            Verdict::Failed => {
                self.nr_failed += 1;
                self.write(format_args!(
                    "{number:5}  \x1b[1;31mFAILED\x1b[0m   {name}\n"
                ));
            }
        }
    }

    fn stop(&mut self, number: usize) {
        let planned = self.planned;
        self.end();
        self.write(format_args!(
            "\x1b[1;31mstopped after {number} of {planned}: the machine is unfit for more\x1b[0m\n"
        ));
    }

    fn finish(&mut self, summary: &Summary) {
        self.end();
        self.write(format_args!("tests done: {summary}\n"));
    }
}

impl<W: Write> Progress<W> {
    /// Gives the last row back, empty, and puts the cursor there.
    fn end(&mut self) {
        let rows = self.rows;
        self.write(format_args!("\x1b[r\x1b[{rows};1H\x1b[2K"));
    }
}

/// Returns the first characters of a text.
fn cut(text: &str, width: usize) -> &str {
    let end = text.char_indices().nth(width);
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::string::String;

    use super::Progress;
    use crate::ktest::report::{Report, Verdict};
    use crate::ktest::runner::Summary;
    use crate::prelude::*;

    #[ktest]
    fn progress_is_a_line_a_test_and_a_row_that_stays() {
        let mut text = String::new();
        let mut progress = Progress::new(&mut text, (44, 25));
        progress.start(2);
        progress.test(1, "a::one");
        progress.explain(format_args!("panicked: oh"));
        progress.verdict(1, "a::one", Verdict::Failed);
        progress.test(2, "a::name_that_is_too_long_for_the_row");
        progress.verdict(2, "a::two", Verdict::Skipped("no SMAP"));
        progress.finish(&Summary {
            failed: 1,
            skipped: 1,
            ..Summary::default()
        });
        let expected = [
            "\r\n\x1b[1;24r\x1b[24;1H",
            "\x1b7\x1b[25;1H\x1b[7m 1 of 2   0 failed   0 skipped   a::one    \x1b[0m\x1b8",
            "            panicked: oh\n",
            "    1  \x1b[1;31mFAILED\x1b[0m   a::one\n",
            "\x1b7\x1b[25;1H\x1b[7;31m 2 of 2   1 failed   0 skipped   a::name_th\x1b[0m\x1b8",
            "    2  \x1b[33mskipped\x1b[0m  a::two (no SMAP)\n",
            "\x1b[r\x1b[25;1H\x1b[2K",
            "tests done: 0 passed, 1 failed, 1 skipped\n",
        ];
        assert_eq!(text, expected.concat());
    }
}
