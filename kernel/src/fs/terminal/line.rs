//! The line discipline: what a typed byte does.
//!
//! Typed bytes are kept in one queue of a fixed size. Where lines are edited, the part of
//! it behind the last end of a line is still being edited, and cannot be read yet; an end
//! of input is an end of a line that has no byte.

use alloc::collections::VecDeque;

use nucleus::console;

use super::settings::{Meaning, Settings};

/// Bytes that can be typed before they are read, and those of the longest line: what
/// is typed beyond is lost.
const CAPACITY: usize = 4096;

/// What has come of a typed byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Nothing,
    /// There is more to read.
    Readable,
    /// A signal is to be sent.
    Signal(u8),
}

/// Settings, and what was typed.
#[derive(Debug)]
pub(super) struct Discipline {
    settings: Settings,
    typed: VecDeque<u8>,
    /// How many of the typed bytes can be read.
    readable: usize,
    /// Lengths of the lines that can be read; of an end of input there is nothing to read.
    lines: VecDeque<usize>,
}

impl Discipline {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::new(),
            // All that it may ever need: it grows under no lock.
            typed: VecDeque::with_capacity(CAPACITY),
            readable: 0,
            lines: VecDeque::with_capacity(CAPACITY),
        }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings. What was typed can be read at once if there are no lines
    /// any more.
    pub(super) fn set_settings(&mut self, settings: &Settings) {
        if self.settings.has_lines() != settings.has_lines() {
            self.readable = self.typed.len();
            self.lines.clear();
            if settings.has_lines() && self.readable > 0 {
                self.lines.push_back(self.readable);
            }
        }
        self.settings = settings.clone();
    }

    /// Forgets what was typed.
    pub(super) fn flush(&mut self) {
        self.typed.clear();
        self.lines.clear();
        self.readable = 0;
    }

    pub(super) fn has_input(&self) -> bool {
        if self.settings.has_lines() {
            !self.lines.is_empty()
        } else {
            self.readable > 0 && self.readable >= self.settings.least()
        }
    }

    pub(super) const fn nr_readable(&self) -> usize {
        self.readable
    }

    /// Takes bytes that can be read; returns how many, and whether more of the same line
    /// may follow. None where there is nothing to read yet.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Option<(usize, bool)> {
        if !self.settings.has_lines() {
            let may_wait = self.settings.least() > 0;
            if may_wait && !self.has_input() {
                return None;
            }
            let count = self.take(buffer);
            return Some((count, false));
        }
        let len = self.lines.pop_front()?;
        let part = buffer.len().min(len);
        let count = self.take(&mut buffer[..part]);
        if count < len {
            self.lines.push_front(len - count);
        }
        Some((count, count < len))
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.readable);
        for (to, byte) in buffer.iter_mut().zip(self.typed.drain(..count)) {
            *to = byte;
        }
        self.readable -= count;
        count
    }

    /// Does what a byte that was typed means.
    pub(super) fn type_byte(&mut self, byte: u8) -> Typed {
        let Some(byte) = self.settings.translate(byte) else {
            return Typed::Nothing;
        };
        if let Some(signal) = self.settings.signal(byte) {
            self.echo(byte);
            if self.settings.flushes_at_signal() {
                self.flush();
            }
            return Typed::Signal(signal);
        }
        if !self.settings.has_lines() {
            if self.typed.len() < CAPACITY {
                self.echo(byte);
                self.typed.push_back(byte);
                self.readable = self.typed.len();
            }
            return Typed::Readable;
        }
        match self.settings.meaning(byte) {
            Meaning::Erase => self.erase_while(|count, _| count == 0),
            Meaning::EraseLine => self.erase_while(|_, _| true),
            Meaning::EraseWord => self.erase_word(),
            Meaning::Plain => {
                // Room is left for the end of the line.
                if self.typed.len() < CAPACITY - 1 {
                    self.echo(byte);
                    self.typed.push_back(byte);
                }
            }
            Meaning::EndOfLine => {
                if self.typed.len() < CAPACITY {
                    self.echo(byte);
                    self.typed.push_back(byte);
                    self.end_line();
                    return Typed::Readable;
                }
            }
            Meaning::EndOfInput => {
                self.end_line();
                return Typed::Readable;
            }
        }
        Typed::Nothing
    }

    /// Makes what is being edited readable.
    fn end_line(&mut self) {
        let len = self.typed.len() - self.readable;
        if self.lines.len() < CAPACITY {
            self.lines.push_back(len);
            self.readable = self.typed.len();
        }
    }

    /// Erases the last characters of the line that is edited, as long as a condition on
    /// how many were erased and the next one holds.
    fn erase_while(&mut self, condition: impl Fn(usize, u8) -> bool) {
        let mut count = 0;
        while self.typed.len() > self.readable
            && let Some(last) = self.typed.back().copied()
            && condition(count, last)
        {
            self.erase_character();
            count += 1;
        }
    }

    fn erase_word(&mut self) {
        self.erase_while(|_, byte| byte == b' ');
        self.erase_while(|_, byte| byte != b' ');
    }

    /// Erases a character: all of its bytes, if it is text.
    fn erase_character(&mut self) {
        while self.typed.len() > self.readable {
            let Some(byte) = self.typed.pop_back() else {
                break;
            };
            let is_rest_of_character = byte & 0xc0 == 0x80;
            if is_rest_of_character {
                continue;
            }
            if self.settings.echoes() {
                let width = if self.is_shown_as_control(byte) { 2 } else { 1 };
                for _ in 0..width {
                    console::write_program_output(b"\x08 \x08");
                }
            }
            break;
        }
    }

    const fn is_shown_as_control(&self, byte: u8) -> bool {
        self.settings.echoes_control() && byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t')
    }

    /// Shows a byte that was typed.
    fn echo(&self, byte: u8) {
        if byte == b'\n' {
            if self.settings.echoes_newline() {
                console::write_program_output(b"\n");
            }
            return;
        }
        if !self.settings.echoes() {
            return;
        }
        if self.is_shown_as_control(byte) {
            console::write_program_output(&[b'^', byte ^ 0x40]);
        } else {
            console::write_program_output(&[byte]);
        }
    }
}

#[cfg(ktest)]
mod tests {
    use alloc::vec::Vec;

    use nucleus::prelude::*;

    use super::{Discipline, Typed};
    use crate::fs::terminal::settings::{SETTINGS_SIZE, Settings};

    /// A discipline that shows nothing, so that tests do not garble their report.
    fn discipline(has_lines: bool) -> Discipline {
        let mut bytes = Settings::new().to_bytes();
        let local = if has_lines { 0o3_u32 } else { 0 };
        bytes[12..16].copy_from_slice(&local.to_le_bytes());
        let mut discipline = Discipline::new();
        discipline.set_settings(&Settings::from_bytes(&bytes));
        discipline
    }

    fn type_all(discipline: &mut Discipline, text: &[u8]) -> Typed {
        let typed = text.iter().map(|byte| discipline.type_byte(*byte));
        typed.last().unwrap_or(Typed::Nothing)
    }

    fn read(discipline: &mut Discipline, len: usize) -> Option<Vec<u8>> {
        let mut buffer = [0; 64];
        let (count, _) = discipline.read(&mut buffer[..len])?;
        Some(buffer[..count].to_vec())
    }

    #[ktest]
    fn line_is_edited_until_it_ends() {
        let mut line = discipline(true);
        assert_eq!(type_all(&mut line, b"ab\x7fc one two\x17"), Typed::Nothing);
        assert!(!line.has_input());
        assert_eq!(type_all(&mut line, b"3\r"), Typed::Readable);
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b"ac one 3\n"[..]));
        assert_eq!(read(&mut line, 64), None);
        type_all(&mut line, b"gone\x15stays\n");
        assert_eq!(read(&mut line, 3).as_deref(), Some(&b"sta"[..]));
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b"ys\n"[..]));
    }

    #[ktest]
    fn end_of_input_ends_a_line_or_everything() {
        let mut line = discipline(true);
        assert_eq!(type_all(&mut line, b"abc\x04"), Typed::Readable);
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b"abc"[..]));
        assert_eq!(read(&mut line, 64), None);
        type_all(&mut line, b"\x04next\n");
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b""[..]));
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b"next\n"[..]));
    }

    #[ktest]
    fn erasing_stops_at_the_line_before() {
        let mut line = discipline(true);
        type_all(&mut line, b"one\n\x7f\x7f\x15\x17two\n");
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b"one\n"[..]));
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b"two\n"[..]));
    }

    #[ktest]
    fn whole_characters_are_erased() {
        let mut line = discipline(true);
        type_all(&mut line, "aü€\x7f\x7fb\n".as_bytes());
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b"ab\n"[..]));
    }

    #[ktest]
    fn interrupt_forgets_what_was_typed() {
        let mut line = discipline(true);
        assert_eq!(type_all(&mut line, b"abc\x03"), Typed::Signal(2));
        type_all(&mut line, b"x\n");
        assert_eq!(read(&mut line, 64).as_deref(), Some(&b"x\n"[..]));
    }

    #[ktest]
    fn raw_bytes_are_read_one_by_one() {
        let mut line = discipline(false);
        assert_eq!(type_all(&mut line, b"a\x03"), Typed::Readable);
        assert_eq!(read(&mut line, 1).as_deref(), Some(&b"a"[..]));
        assert_eq!(read(&mut line, 9).as_deref(), Some(&b"\x03"[..]));
        assert_eq!(read(&mut line, 9), None);
    }

    #[ktest]
    fn settings_survive_the_way_to_a_program_and_back() {
        let settings = Settings::new();
        let bytes: [u8; SETTINGS_SIZE] = settings.to_bytes();
        assert_eq!(Settings::from_bytes(&bytes), settings);
    }
}
