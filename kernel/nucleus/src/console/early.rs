//! What was written before the screen had its memory.
//!
//! The first lines come before there is a screen, and the next ones while only a part of
//! a large one can be used. They are kept as bytes, with their colours as escape sequences,
//! and are written again when there is more room, so that nothing is lost or broken into
//! shorter rows. If they become too many, the text goes on with what is on the screen.

use core::fmt::{self, Write};

use super::framebuffer::Color;

/// Bytes that are kept.
const CAPACITY: usize = 16 << 10;

/// The first text of all; of zeros before anything is written.
pub(super) struct Early {
    bytes: [u8; CAPACITY],
    len: usize,
    /// Text was lost, or is not needed any more.
    is_over: bool,
}

impl Early {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            len: 0,
            is_over: false,
        }
    }

    /// Keeps bytes, unless they are too many.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        match self.bytes.get_mut(self.len..end) {
            Some(to) if !self.is_over => {
                to.copy_from_slice(bytes);
                self.len = end;
            }
            _ => self.is_over = true,
        }
    }

    /// Keeps a change of the colour; None for that of all text.
    pub(super) fn keep_color(&mut self, color: Option<Color>) {
        // It never fails: what is too much is noted.
        let _ = match color {
            Some(Color { red, green, blue }) => write!(self, "\x1b[38;2;{red};{green};{blue}m"),
            None => write!(self, "\x1b[m"),
        };
    }

    /// Returns all that was written, unless some of it was lost.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        (!self.is_over).then(|| &self.bytes[..self.len])
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
    use super::{CAPACITY, Color, Early};

    #[test]
    fn text_is_kept_with_its_colours_until_it_is_too_much() {
        let mut early = Early::new();
        early.keep_color(Some(Color::new(1, 20, 255)));
        early.keep(b"text\n");
        early.keep_color(None);
        assert_eq!(early.bytes(), Some(&b"\x1b[38;2;1;20;255mtext\n\x1b[m"[..]));
        early.keep(&[b'x'; CAPACITY]);
        assert_eq!(early.bytes(), None);
        early.keep(b"y");
        assert_eq!(early.bytes(), None);
    }

    #[test]
    fn all_of_the_room_can_be_used() {
        let mut early = Early::new();
        early.keep(&[b'x'; CAPACITY]);
        assert_eq!(early.bytes().map(<[u8]>::len), Some(CAPACITY));
        early.finish();
        assert_eq!(early.bytes(), None);
    }
}
