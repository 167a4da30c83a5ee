//! Lines from whoever is there: a file, a terminal that edits lines itself, or a bare
//! console, which hands bytes out as they are typed and shows none of them.
//!
//! Input is read byte by byte, since what follows a line may be meant for the program
//! that the line starts.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

use rustix::termios::{LocalModes, tcgetattr};

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const END_OF_INPUT: u8 = 0x04;
const CANCEL: u8 = 0x03;
const ERASE_LINE: u8 = 0x15;
const ESCAPE: u8 = 0x1b;

/// What the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody looks on.
    File,
    /// It shows and edits what is typed.
    Terminal,
    /// Showing and editing is up to us.
    Console,
}

#[derive(Debug)]
pub(super) struct Lines {
    input: File,
    kind: Kind,
    /// The lines that were read from a console.
    history: Vec<String>,
}

impl Lines {
    /// Reads this process's standard input.
    pub(super) fn from_standard_input() -> io::Result<Self> {
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let is_console = input.metadata()?.file_type().is_char_device();
        let kind = match tcgetattr(&input) {
            Ok(state) if state.local_modes.contains(LocalModes::ICANON) => Kind::Terminal,
            // `/dev/null` is a device, too, and there nobody wants a prompt.
            _ if is_console && !is_null(&input) => Kind::Console,
            _ => Kind::File,
        };
        Ok(Self::new(input, kind))
    }

    /// Reads a file.
    pub(super) fn from_file(input: File) -> Self {
        Self::new(input, Kind::File)
    }

    fn new(input: File, kind: Kind) -> Self {
        Self {
            input,
            kind,
            history: Vec::new(),
        }
    }

    /// Returns whether there is somebody to talk to.
    pub(super) fn is_interactive(&self) -> bool {
        self.kind != Kind::File
    }

    /// Reads a line, with its end unless the input ends there; nothing when it does.
    pub(super) fn next(&mut self, prompt: &str) -> io::Result<Option<String>> {
        let mut output = io::stdout().lock();
        if self.is_interactive() {
            write!(output, "{prompt}")?;
            output.flush()?;
        }
        let mut editor = Editor::new(prompt, &self.history);
        loop {
            let Some(byte) = next_byte(&mut self.input)? else {
                return Ok(editor.rest());
            };
            let state = match self.kind {
                Kind::Console => editor.type_byte(byte, &mut output)?,
                Kind::File | Kind::Terminal => editor.take_byte(byte),
            };
            match state {
                State::Open => {}
                State::End => return Ok(None),
                State::Line(line) => {
                    if self.kind == Kind::Console && !line.trim().is_empty() {
                        self.history.push(line.trim_end().to_owned());
                    }
                    return Ok(Some(line));
                }
            }
        }
    }
}

fn next_byte(input: &mut File) -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_null(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let null = std::fs::metadata("/dev/null").map(|null| null.rdev());
    let ours = file.metadata().map(|ours| ours.rdev());
    null.ok().zip(ours.ok()).is_some_and(|(a, b)| a == b)
}

/// What has become of a line.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    Line(String),
    /// The input ends.
    End,
}

/// A line that is being typed.
struct Editor<'a> {
    prompt: &'a str,
    history: &'a [String],
    /// Which line of the history is shown; their number if none is.
    at: usize,
    bytes: Vec<u8>,
    /// What has come of a key that sends several bytes.
    escape: Vec<u8>,
}

impl<'a> Editor<'a> {
    fn new(prompt: &'a str, history: &'a [String]) -> Self {
        Self {
            prompt,
            history,
            at: history.len(),
            bytes: Vec::new(),
            escape: Vec::new(),
        }
    }

    /// Takes a byte as it is.
    fn take_byte(&mut self, byte: u8) -> State {
        self.bytes.push(byte);
        if byte == b'\n' {
            self.finish()
        } else {
            State::Open
        }
    }

    /// Takes a byte from a keyboard, and shows what comes of it.
    fn type_byte(&mut self, byte: u8, output: &mut dyn Write) -> io::Result<State> {
        if !self.escape.is_empty() || byte == ESCAPE {
            self.escape.push(byte);
            self.escape_sequence(output)?;
            return Ok(State::Open);
        }
        match byte {
            b'\r' | b'\n' => {
                writeln!(output)?;
                self.bytes.push(b'\n');
                return Ok(self.finish());
            }
            END_OF_INPUT if self.bytes.is_empty() => {
                writeln!(output)?;
                return Ok(State::End);
            }
            CANCEL => {
                writeln!(output, "^C")?;
                self.bytes.clear();
                self.bytes.push(b'\n');
                return Ok(self.finish());
            }
            BACKSPACE | DELETE => {
                // A character may be several bytes, of which the first one is none
                // that goes on.
                while self.bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
                self.show_again(output)?;
            }
            ERASE_LINE => {
                self.bytes.clear();
                self.show_again(output)?;
            }
            b' '.. => {
                self.bytes.push(byte);
                output.write_all(&[byte])?;
            }
            // Other keys do nothing here.
            _ => {}
        }
        output.flush()?;
        Ok(State::Open)
    }

    /// The keys up and down show earlier lines; others are left out.
    fn escape_sequence(&mut self, output: &mut dyn Write) -> io::Result<()> {
        self.at = match self.escape.as_slice() {
            [ESCAPE] | [ESCAPE, b'['] => return Ok(()),
            [ESCAPE, b'[', b'0'..=b'9'] => return Ok(()),
            [ESCAPE, b'[', b'A'] => self.at.saturating_sub(1),
            [ESCAPE, b'[', b'B'] => (self.at + 1).min(self.history.len()),
            _ => {
                self.escape.clear();
                return Ok(());
            }
        };
        self.escape.clear();
        let line = self.history.get(self.at).cloned().unwrap_or_default();
        self.bytes = line.into_bytes();
        self.show_again(output)
    }

    /// Writes the line over what is shown of it.
    fn show_again(&self, output: &mut dyn Write) -> io::Result<()> {
        write!(output, "\r\x1b[K{}", self.prompt)?;
        output.write_all(&self.bytes)?;
        output.flush()
    }

    fn finish(&mut self) -> State {
        let bytes = std::mem::take(&mut self.bytes);
        State::Line(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns what stands before the end of the input, if anything does.
    fn rest(&mut self) -> Option<String> {
        match self.finish() {
            State::Line(line) if !line.is_empty() => Some(line),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Editor, Kind, Lines, State};

    /// Types bytes; returns the lines, and what was shown.
    fn typed(bytes: &[u8], history: &[&str]) -> (Vec<State>, String) {
        let history: Vec<_> = history.iter().map(|line| (*line).to_owned()).collect();
        let mut editor = Editor::new("$ ", &history);
        let mut shown = Vec::new();
        let mut states = Vec::new();
        for byte in bytes {
            match editor.type_byte(*byte, &mut shown).expect("room") {
                State::Open => {}
                state => states.push(state),
            }
        }
        (states, String::from_utf8(shown).expect("text"))
    }

    fn line(text: &str) -> State {
        State::Line(text.to_owned())
    }

    #[test]
    fn what_is_typed_is_shown() {
        let (states, shown) = typed(b"ls\r", &[]);
        assert_eq!((states, shown.as_str()), (vec![line("ls\n")], "ls\n"));
    }

    #[test]
    fn characters_are_taken_back_whole() {
        let (states, shown) = typed("aä\x7fb\n".as_bytes(), &[]);
        assert_eq!(states, [line("ab\n")]);
        assert_eq!(shown, "aä\r\x1b[K$ ab\n");
        assert_eq!(typed(b"\x7f\x08a\n", &[]).0, [line("a\n")]);
    }

    #[test]
    fn keys_of_control_end_and_cancel() {
        assert_eq!(typed(b"ab\x03", &[]).0, [line("\n")]);
        assert_eq!(typed(b"\x04", &[]).0, [State::End]);
        assert_eq!(typed(b"a\x04b\x15c\n", &[]).0, [line("c\n")]);
    }

    #[test]
    fn earlier_lines_come_back() {
        assert_eq!(typed(b"\x1b[A\x1b[A\n", &["one", "two"]).0, [line("one\n")]);
        assert_eq!(typed(b"\x1b[A\x1b[B\n", &["one"]).0, [line("\n")]);
        assert_eq!(
            typed(b"\x1b[A\x1b[A\x1b[A!\n", &["one"]).0,
            [line("one!\n")]
        );
        assert_eq!(typed(b"a\x1b[3~b\x1bOc\n", &[]).0, [line("abc\n")]);
    }

    #[test]
    fn file_is_read_line_by_line() {
        let mut file = tempfile::tempfile().expect("a file");
        write!(file, "a\n\nb").expect("room");
        std::io::Seek::rewind(&mut file).expect("a file that can");
        let mut lines = Lines::new(file, Kind::File);
        let mut next = || lines.next("$ ").expect("a file that can be read");
        assert_eq!(next().as_deref(), Some("a\n"));
        assert_eq!(next().as_deref(), Some("\n"));
        assert_eq!(next().as_deref(), Some("b"));
        assert_eq!(next(), None);
    }
}
