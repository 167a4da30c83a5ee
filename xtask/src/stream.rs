//! What the guest prints: split into lines, filtered, and symbolised on the way.
//!
//! Firmware and loader print noise before the kernel's first line; that is
//! dropped. After a line of a backtrace the function and the place in the source
//! are added, so that a report can be read as it streams by.

use std::path::PathBuf;

use crate::symbolize::{self, Symbolizer};

/// What the kernel's own lines said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The kernel has printed something.
    pub(crate) started: bool,
    /// Where the kernel's image is.
    pub(crate) image_base: Option<u64>,
    /// The kernel is about to run a program.
    pub(crate) program_started: bool,
    /// The last exit status that the kernel reported.
    pub(crate) exit_status: Option<u8>,
    /// The tests ended with a summary.
    pub(crate) tests_done: bool,
    /// The kernel reported a panic.
    pub(crate) panicked: bool,
    /// The last line that was seen.
    pub(crate) last_line: String,
}

impl Facts {
    /// Returns whether the kernel has said its last word.
    pub(crate) fn is_finished(&self) -> bool {
        self.exit_status.is_some() || self.tests_done || self.panicked
    }

    fn note(&mut self, line: &str) {
        if !line.trim().is_empty() {
            line.clone_into(&mut self.last_line);
        }
        if let Some(rest) = line.strip_prefix("vostok: exit status ") {
            // The kernel prints the line after the program has ended, so that
            // the last one counts, whatever a program prints before.
            let number = rest
                .split(' ')
                .next()
                .and_then(|number| number.parse().ok());
            self.exit_status = number.or(self.exit_status);
        }
        self.image_base = symbolize::image_base(line).or(self.image_base);
        self.program_started |= line.starts_with("vostok: start ");
        self.tests_done |= line.starts_with("# tests done:") || line.starts_with("# reboot needed");
        self.panicked |= line == "vostok: panic";
    }
}

/// Takes a guest's output apart.
pub(crate) struct Stream {
    symbolizer: Symbolizer,
    /// The bytes of a line that is not complete.
    line: Vec<u8>,
    /// How much of it has been shown.
    shown: usize,
    /// Hide the kernel's marks around a program's output.
    hide_marks: bool,
    pub(crate) facts: Facts,
}

/// Something to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes as they arrive.
    Bytes(Vec<u8>),
    /// A complete line, without its end; its bytes have been handed out before.
    Line(String),
}

impl Stream {
    pub(crate) fn new(symbols: PathBuf, hide_marks: bool) -> Self {
        Self {
            symbolizer: Symbolizer::new(symbols),
            line: Vec::new(),
            shown: 0,
            hide_marks,
            facts: Facts::default(),
        }
    }

    /// Of a kernel whose lines and backtraces are not ours: all of it is handed out.
    pub(crate) fn of_another_kernel() -> Self {
        let mut stream = Self::new(PathBuf::new(), false);
        stream.facts.started = true;
        stream
    }

    /// Takes bytes in, hands events out.
    pub(crate) fn feed(&mut self, bytes: &[u8], handle: &mut dyn FnMut(Event)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.finish_line(handle);
            } else if self.facts.started && !self.may_be_mark() {
                self.show(handle);
            }
        }
    }

    fn finish_line(&mut self, handle: &mut dyn FnMut(Event)) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        self.facts.started |= is_first_line(&text);
        if self.facts.started {
            self.facts.note(&text);
            let hidden = self.hide_marks && text.starts_with("vostok: ");
            if !hidden {
                self.show(handle);
            }
            for extra in self.symbolizer.explain(&text) {
                handle(Event::Bytes(format!("{extra}\r\n").into_bytes()));
            }
            handle(Event::Line(text));
        }
        self.line.clear();
        self.shown = 0;
    }

    fn show(&mut self, handle: &mut dyn FnMut(Event)) {
        handle(Event::Bytes(self.line[self.shown..].to_vec()));
        self.shown = self.line.len();
    }

    /// Returns whether the incomplete line may become a mark to be hidden.
    fn may_be_mark(&self) -> bool {
        const MARK: &[u8] = b"vostok: ";
        let len = self.line.len().min(MARK.len());
        self.hide_marks && self.shown == 0 && self.line[..len] == MARK[..len]
    }
}

/// Returns whether a line can only be the kernel's: the first of its log, of a
/// program's output, or of the tests.
fn is_first_line(line: &str) -> bool {
    line.contains("(image base 0x")
        || line.starts_with("vostok: start ")
        || line.starts_with("KTAP version")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Event, Stream};

    /// Returns what is shown and which lines there are, of input in pieces.
    fn stream(pieces: &[&str], hide_marks: bool) -> (String, Vec<String>, super::Facts) {
        let mut stream = Stream::new(PathBuf::from("nonexistent"), hide_marks);
        let (mut shown, mut lines) = (String::new(), Vec::new());
        for piece in pieces {
            stream.feed(piece.as_bytes(), &mut |event| match event {
                Event::Bytes(bytes) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                Event::Line(line) => lines.push(line),
            });
        }
        (shown, lines, stream.facts)
    }

    #[test]
    fn noise_before_the_first_line_is_dropped() {
        let (shown, lines, facts) = stream(
            &[
                "SeaBIOS\n\x1b[2Jload",
                "ing\nVostok (image base 0x1)\nnext\n",
            ],
            false,
        );
        assert_eq!(shown, "Vostok (image base 0x1)\nnext\n");
        assert_eq!(lines, ["Vostok (image base 0x1)", "next"]);
        assert!(facts.started && facts.exit_status.is_none());
        assert_eq!(facts.image_base, Some(1));
    }

    #[test]
    fn marks_are_hidden_and_the_rest_is_shown_at_once() {
        let pieces = [
            "vostok: start /bin/x\r\n",
            "na",
            "me? ",
            "vos",
            "\r\nvostok: exit status 7\r\n",
        ];
        let (shown, _, facts) = stream(&pieces, true);
        assert_eq!(shown, "name? vos\r\n");
        assert_eq!(facts.exit_status, Some(7));
    }

    #[test]
    fn forged_status_is_overruled_by_the_last_one() {
        let text = "vostok: start x\nvostok: exit status 0\nvostok: exit status 9 (no newline)\n";
        assert_eq!(stream(&[text], true).2.exit_status, Some(9));
    }

    #[test]
    fn end_of_tests_and_panics_are_noticed() {
        assert!(
            stream(&["KTAP version 1\n# tests done: 1 passed\n"], false)
                .2
                .tests_done
        );
        assert!(
            stream(&["KTAP version 1\nvostok: panic\n"], false)
                .2
                .panicked
        );
    }
}
