//! What was written before the screen had its memory.
//!
//! The first lines come before there is a screen, and the next ones while only a part of
//! a large one can be used. They are kept as bytes, with their colours as escape sequences,
//! and are written again when there is more room, so that nothing is lost or broken into
//! shorter rows. There is room for the longest log that a start-up is known to write, that
//! of a map of memory with hundreds of entries; of more, the end is kept.

use core::fmt::{self, Write};

use super::framebuffer::Color;

/// Bytes that are kept.
const CAPACITY: usize = 64 << 10;

/// Stands for lines that are lost.
const LOST: &[u8] = b"(there were more lines than could be kept)\n";

/// The first text of all: a ring, of zeros before anything is written.
pub(super) struct Early {
    bytes: [u8; CAPACITY],
    /// Bytes that were ever kept; the place of the next one, modulo the capacity.
    nr_kept: usize,
    /// Nobody needs it any more.
    is_over: bool,
}

impl Early {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            nr_kept: 0,
            is_over: false,
        }
    }

    /// Keeps bytes, in place of the oldest.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        for byte in bytes {
            self.bytes[self.nr_kept % CAPACITY] = *byte;
            self.nr_kept += 1;
        }
    }

    /// Keeps a change of the colour; None for that of all text.
    pub(super) fn keep_color(&mut self, color: Option<Color>) {
        // It never fails.
        let _ = match color {
            Some(Color { red, green, blue }) => write!(self, "\x1b[38;2;{red};{green};{blue}m"),
            None => write!(self, "\x1b[m"),
        };
    }

    /// Returns what was written, in parts: all of it, or whole lines of its end.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        if self.is_over {
            return [&[]; 3];
        }
        if self.nr_kept <= CAPACITY {
            return [&self.bytes[..self.nr_kept], &[], &[]];
        }
        let (end, start) = self.bytes.split_at(self.nr_kept % CAPACITY);
        let is_end_of_line = |byte: &u8| *byte == b'\n';
        match start.iter().position(is_end_of_line) {
            Some(cut) => [LOST, &start[cut + 1..], end],
            None => {
                let cut = end.iter().position(is_end_of_line);
                [LOST, &[], cut.map_or(end, |cut| &end[cut + 1..])]
            }
        }
    }

    /// Keeps nothing any more.
    pub(super) const fn finish(&mut self) {
        self.is_over = true;
    }
}

impl Write for Early {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.keep(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::string::String;

    use super::{CAPACITY, Color, Early, LOST};

    fn text(early: &Early) -> String {
        String::from_utf8(early.parts().concat()).expect("no character is cut")
    }

    #[test]
    fn text_is_kept_with_its_colours_until_it_is_over() {
        let mut early = Early::new();
        early.keep_color(Some(Color::new(1, 20, 255)));
        early.keep(b"text\n");
        early.keep_color(None);
        assert_eq!(text(&early), "\x1b[38;2;1;20;255mtext\n\x1b[m");
        early.finish();
        early.keep(b"y");
        assert_eq!(text(&early), "");
    }

    #[test]
    fn all_of_the_room_can_be_used() {
        let mut early = Early::new();
        early.keep(&[b'x'; CAPACITY]);
        assert_eq!(text(&early).len(), CAPACITY);
    }

    #[test]
    fn of_too_much_text_the_last_lines_are_kept_whole() {
        let mut early = Early::new();
        for number in 0..CAPACITY {
            early.keep(format!("line {number}\n").as_bytes());
            if number % 997 != 0 {
                continue;
            }
            let text = text(&early);
            let kept = text.strip_prefix(str::from_utf8(LOST).expect("text"));
            let lines = kept.unwrap_or(&text);
            let first = lines
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("line "));
            let first: usize = first.expect("a line").parse().expect("whole");
            assert_eq!(kept.is_some(), first > 0);
            let expected: String = (first..=number).map(|n| format!("line {n}\n")).collect();
            assert_eq!(lines, expected);
            assert!(first == 0 || lines.len() > CAPACITY - "line 65535\n".len());
        }
    }

    #[test]
    fn line_that_is_longer_than_the_room_is_lost_but_for_what_follows() {
        let mut early = Early::new();
        early.keep(&[b'x'; CAPACITY + 10]);
        assert_eq!(text(&early).len(), LOST.len() + 10);
        early.keep(b"\nlast\n");
        assert!(text(&early).ends_with(")\nlast\n"));
    }
}
