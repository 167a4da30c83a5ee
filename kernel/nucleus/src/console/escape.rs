//! Escape sequences: what bytes mean to the terminal.
//!
//! The crate `vte` takes the bytes apart, with their UTF-8; here is what the parts do.
//! There is what the terminal type `linux` of terminfo lists, and what `xterm` adds for
//! colours and movement. Sequences that are not known, and those that ask for an answer,
//! do nothing.
//!
//! The kernel and the programs speak with a [`Voice`] each, so that a message of the kernel
//! that falls into the middle of a program's sequence is neither swallowed nor coloured.

use vte::{Params, Parser, Perform};

use super::cell::{Cell, Ink, Pen, Style};
use super::framebuffer::Color;
use super::glyph::Glyph;
use super::terminal::{Part, Terminal};

/// Bytes of a title or the like that are looked at: none.
const MAX_TITLE: usize = 1;

/// Somebody who writes: where in a sequence, and with which pen.
pub(super) struct Voice {
    parser: Parser<MAX_TITLE>,
    style: Writing,
}

/// How a voice writes.
#[derive(Clone, Copy, Debug)]
struct Writing {
    pen: Pen,
    /// A space by the pen.
    brush: Cell,
    /// What the pen erases with.
    blank: Cell,
    /// Which of two character sets is in use, and which of them are lines.
    charset: usize,
    has_lines: [bool; 2],
}

impl Writing {
    fn with(pen: Pen) -> Self {
        Self {
            pen,
            brush: pen.brush(),
            blank: pen.blank(),
            charset: 0,
            has_lines: [false; 2],
        }
    }

    fn set_pen(&mut self, pen: Pen) {
        self.pen = pen;
        self.brush = pen.brush();
        self.blank = pen.blank();
    }
}

impl Voice {
    pub(super) fn new(pen: Pen) -> Self {
        Self {
            parser: Parser::new_with_size(),
            style: Writing::with(pen),
        }
    }

    /// Changes the pen; returns what it was.
    pub(super) fn set_pen(&mut self, pen: Pen) -> Pen {
        let previous = self.style.pen;
        self.style.set_pen(pen);
        previous
    }

    /// Has the terminal do what bytes mean.
    pub(super) fn write(&mut self, terminal: &mut Terminal<'_>, bytes: &[u8]) {
        let mut writer = Writer {
            terminal,
            style: &mut self.style,
        };
        self.parser.advance(&mut writer, bytes);
    }
}

/// What `vte` calls.
struct Writer<'a, 'b> {
    terminal: &'a mut Terminal<'b>,
    style: &'a mut Writing,
}

impl Perform for Writer<'_, '_> {
    fn print(&mut self, character: char) {
        let has_lines = self.style.has_lines[self.style.charset];
        let character = if has_lines {
            line_drawing(character)
        } else {
            character
        };
        if let Some(glyph) = Glyph::of(character) {
            let Writing { brush, blank, .. } = *self.style;
            self.terminal.put(glyph, brush, blank);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            0x08 => self.terminal.backspace(),
            b'\t' => self.terminal.tab(1),
            // Nobody has turned new lines into these two on the way to the screen.
            b'\n' | 0x0b | 0x0c | 0x85 => self.new_line(),
            b'\r' => self.terminal.go_to_column(0),
            0x0e => self.style.charset = 1,
            0x0f => self.style.charset = 0,
            0x84 => self.terminal.line_feed(self.style.blank),
            0x8d => self.terminal.reverse_line_feed(self.style.blank),
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _ignore: bool, byte: u8) {
        let blank = self.style.blank;
        match (intermediates, byte) {
            ([], b'7') => self.terminal.save(self.style.pen),
            ([], b'8') => {
                let pen = self.terminal.restore();
                self.style.set_pen(pen);
            }
            ([], b'D') => self.terminal.line_feed(blank),
            ([], b'E') => self.new_line(),
            ([], b'M') => self.terminal.reverse_line_feed(blank),
            ([], b'c') => {
                *self.style = Writing::with(Pen::PLAIN);
                self.terminal.reset();
            }
            ([b'('], set) => self.style.has_lines[0] = set == b'0',
            ([b')'], set) => self.style.has_lines[1] = set == b'0',
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if ignore {
            return;
        }
        match intermediates {
            [] => self.control(params, action),
            [b'?'] if matches!(action, 'h' | 'l') => {
                for param in params {
                    self.set_private_mode(param[0], action == 'h');
                }
            }
            [b'!'] if action == 'p' => {
                *self.style = Writing::with(Pen::PLAIN);
                self.terminal.soft_reset();
            }
            _ => {}
        }
    }
}

impl Writer<'_, '_> {
    fn new_line(&mut self) {
        self.terminal.line_feed(self.style.blank);
        self.terminal.go_to_column(0);
    }

    /// Does what a control sequence without a mark says.
    fn control(&mut self, params: &Params, action: char) {
        let blank = self.style.blank;
        let terminal = &mut *self.terminal;
        // Counts and places are 1 where they are left out or 0.
        let number = |place| nth(params, place).max(1);
        let count = number(0);
        match action {
            'A' => terminal.up(count),
            'B' | 'e' => terminal.down(count),
            'C' | 'a' => terminal.right(count),
            'D' => terminal.left(count),
            'E' => {
                terminal.down(count);
                terminal.go_to_column(0);
            }
            'F' => {
                terminal.up(count);
                terminal.go_to_column(0);
            }
            'G' | '`' => terminal.go_to_column(count - 1),
            'H' | 'f' => {
                terminal.go_to_row(count - 1);
                terminal.go_to_column(number(1) - 1);
            }
            'I' => terminal.tab(count),
            'Z' => terminal.tab_back(count),
            'd' => terminal.go_to_row(count - 1),
            'J' if nth(params, 0) == 3 => terminal.grid.forget_old(),
            'J' => on_part(params, |part| terminal.erase_in_screen(part, blank)),
            'K' => on_part(params, |part| terminal.erase_in_line(part, blank)),
            'L' => terminal.change_rows(count, true, blank),
            'M' => terminal.change_rows(count, false, blank),
            '@' => terminal.insert_cells(count, blank),
            'P' => terminal.delete_cells(count, blank),
            'X' => terminal.erase_cells(count, blank),
            'S' => terminal.scroll_up(count, blank),
            'T' => terminal.scroll_down(count, blank),
            'r' => {
                let end = nth(params, 1);
                terminal.set_region(count - 1, if end == 0 { usize::MAX } else { end });
            }
            's' => terminal.save(self.style.pen),
            'u' => {
                let pen = terminal.restore();
                self.style.set_pen(pen);
            }
            'h' | 'l' if nth(params, 0) == 4 => terminal.modes.inserts = action == 'h',
            'm' => {
                let pen = rendition(self.style.pen, params);
                self.style.set_pen(pen);
            }
            _ => {}
        }
    }

    fn set_private_mode(&mut self, mode: u16, is_on: bool) {
        let terminal = &mut *self.terminal;
        match mode {
            6 => {
                terminal.modes.is_relative = is_on;
                terminal.go_to_row(0);
                terminal.go_to_column(0);
            }
            7 => terminal.modes.wraps = is_on,
            25 => terminal.modes.shows_cursor = is_on,
            _ => {}
        }
    }
}

/// Returns a parameter, zero where it was left out.
fn nth(params: &Params, place: usize) -> usize {
    let param = params.iter().nth(place);
    param.map_or(0, |values| usize::from(values[0]))
}

fn on_part(params: &Params, erase: impl FnOnce(Part)) {
    match nth(params, 0) {
        0 => erase(Part::After),
        1 => erase(Part::Before),
        2 => erase(Part::All),
        _ => {}
    }
}

/// Returns a pen after it was changed by SGR parameters ("select graphic rendition").
fn rendition(mut pen: Pen, params: &Params) -> Pen {
    let mut params = params.iter();
    while let Some(values) = params.next() {
        match values[0] {
            0 => pen = Pen::PLAIN,
            1 => pen.style.insert(Style::BOLD),
            2 => pen.style.insert(Style::FAINT),
            // An underline of kind 0 is none.
            4 if values.get(1) == Some(&0) => pen.style.remove(Style::UNDERLINED),
            4 | 21 => pen.style.insert(Style::UNDERLINED),
            7 => pen.style.insert(Style::INVERSE),
            8 => pen.style.insert(Style::HIDDEN),
            22 => pen.style.remove(Style::BOLD | Style::FAINT),
            24 => pen.style.remove(Style::UNDERLINED),
            27 => pen.style.remove(Style::INVERSE),
            28 => pen.style.remove(Style::HIDDEN),
            number @ 30..=37 => pen.foreground = Ink::Indexed(number as u8 - 30),
            number @ 90..=97 => pen.foreground = Ink::Indexed(number as u8 - 90 + 8),
            number @ 40..=47 => pen.background = Ink::Indexed(number as u8 - 40),
            number @ 100..=107 => pen.background = Ink::Indexed(number as u8 - 100 + 8),
            39 => pen.foreground = Ink::Default,
            49 => pen.background = Ink::Default,
            number @ (38 | 48) => {
                let ink = if let [_, 2, _, parts @ ..] = values
                    && parts.len() >= 3
                {
                    ink_of([2].into_iter().chain(parts.iter().copied()))
                } else if values.len() > 1 {
                    ink_of(values[1..].iter().copied())
                } else {
                    ink_of(params.by_ref().map(|values| values[0]))
                };
                match ink {
                    Some(ink) if number == 38 => pen.foreground = ink,
                    Some(ink) => pen.background = ink,
                    None => {}
                }
            }
            _ => {}
        }
    }
    pen
}

/// Reads a colour: `5` and its number, or `2` and its parts. Between colons, the name of
/// a colour space may stand before the parts.
fn ink_of(mut values: impl Iterator<Item = u16>) -> Option<Ink> {
    let kind = values.next()?;
    let mut part = || u8::try_from(values.next()?).ok();
    match kind {
        5 => Some(Ink::Indexed(part()?)),
        2 => Some(Ink::Direct(Color::new(part()?, part()?, part()?))),
        _ => None,
    }
}

/// Returns what a character shows in the set of lines, which VT100s have.
const fn line_drawing(character: char) -> char {
    match character {
        '`' => '•',
        'a' => '▒',
        'f' => '°',
        'g' => '±',
        'j' => '┘',
        'k' => '┐',
        'l' => '┌',
        'm' => '└',
        'n' => '┼',
        'o' => '▔',
        'p' | 'q' | 'r' => '─',
        's' => '▁',
        't' => '├',
        'u' => '┤',
        'v' => '┴',
        'w' => '┬',
        'x' => '│',
        '~' => '·',
        other => other,
    }
}
