//! The bytes of one key, as xterm sends them.

use core::fmt;

use pc_keyboard::KeyCode;

const ESCAPE: char = '\x1b';
/// The longest: `ESC [ 2 4 ; 8 ~`.
const CAPACITY: usize = 8;

/// A few bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sequence {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Sequence {
    /// Returns a character's, after an escape if `is_alt`.
    pub(super) fn character(character: char, is_alt: bool) -> Self {
        let mut sequence = Self::default();
        if is_alt {
            sequence.push(ESCAPE);
        }
        sequence.push(character);
        sequence
    }

    /// Returns that of a key that ends in a letter.
    pub(super) fn of_letter(letter: u8, modifiers: u8) -> Self {
        let mut sequence = Self::introduced();
        if modifiers > 1 {
            sequence.push('1');
            sequence.push_modifiers(modifiers);
        }
        sequence.push(char::from(letter));
        sequence
    }

    /// Returns that of a key that has a number.
    fn of_number(number: u8, modifiers: u8) -> Self {
        let mut sequence = Self::introduced();
        if number >= 10 {
            sequence.push(char::from(b'0' + number / 10));
        }
        sequence.push(char::from(b'0' + number % 10));
        sequence.push_modifiers(modifiers);
        sequence.push('~');
        sequence
    }

    /// Returns that of a key without a character; nothing for one that means nothing.
    pub(super) fn of_key(code: KeyCode, modifiers: u8) -> Self {
        match code {
            KeyCode::ArrowUp => Self::of_letter(b'A', modifiers),
            KeyCode::ArrowDown => Self::of_letter(b'B', modifiers),
            KeyCode::ArrowRight => Self::of_letter(b'C', modifiers),
            KeyCode::ArrowLeft => Self::of_letter(b'D', modifiers),
            KeyCode::Home => Self::of_letter(b'H', modifiers),
            KeyCode::End => Self::of_letter(b'F', modifiers),
            KeyCode::F1 => Self::of_first_four(b'P', modifiers),
            KeyCode::F2 => Self::of_first_four(b'Q', modifiers),
            KeyCode::F3 => Self::of_first_four(b'R', modifiers),
            KeyCode::F4 => Self::of_first_four(b'S', modifiers),
            KeyCode::Insert => Self::of_number(2, modifiers),
            KeyCode::Delete => Self::of_number(3, modifiers),
            KeyCode::PageUp => Self::of_number(5, modifiers),
            KeyCode::PageDown => Self::of_number(6, modifiers),
            KeyCode::F5 => Self::of_number(15, modifiers),
            KeyCode::F6 => Self::of_number(17, modifiers),
            KeyCode::F7 => Self::of_number(18, modifiers),
            KeyCode::F8 => Self::of_number(19, modifiers),
            KeyCode::F9 => Self::of_number(20, modifiers),
            KeyCode::F10 => Self::of_number(21, modifiers),
            KeyCode::F11 => Self::of_number(23, modifiers),
            KeyCode::F12 => Self::of_number(24, modifiers),
            _ => Self::default(),
        }
    }

    /// F1 to F4, which a VT100 had: `ESC O P`, and with modifiers as others.
    fn of_first_four(letter: u8, modifiers: u8) -> Self {
        if modifiers > 1 {
            return Self::of_letter(letter, modifiers);
        }
        let mut sequence = Self::character('O', true);
        sequence.push(char::from(letter));
        sequence
    }

    fn introduced() -> Self {
        Self::character('[', true)
    }

    fn push_modifiers(&mut self, modifiers: u8) {
        if modifiers > 1 {
            self.push(';');
            self.push(char::from(b'0' + modifiers));
        }
    }

    fn push(&mut self, character: char) {
        let rest = &mut self.bytes[self.len..];
        if character.len_utf8() <= rest.len() {
            self.len += character.encode_utf8(rest).len();
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// Returns xterm's number for modifiers: 1 for none of them.
pub(super) fn modifiers(is_shift: bool, is_alt: bool, is_ctrl: bool) -> u8 {
    1 + u8::from(is_shift) + 2 * u8::from(is_alt) + 4 * u8::from(is_ctrl)
}

/// Returns the control character that Ctrl makes of a character, as terminals have it.
pub(super) fn control(character: char) -> Option<char> {
    let code = match character {
        'a'..='z' | '@'..='_' => character as u8 & 0x1f,
        ' ' | '2' => 0,
        '3'..='7' => character as u8 - b'3' + 0x1b,
        '/' => 0x1f,
        '8' | '?' => 0x7f,
        _ => return None,
    };
    Some(char::from(code))
}
