//! Cells: a character with its colours, in a word.
//!
//! ```text
//!  63        40 39        16 15   14   13   12..10  9       0
//! +------------+------------+----+----+----+-------+---------+
//! | background | foreground |bold|line|wrap|       |  glyph  |
//! +------------+------------+----+----+----+-------+---------+
//! ```
//!
//! **Every word is a cell**: whatever a panic finds in the middle of a change can be
//! shown. Colours are what is seen in the end: inverse and faint text have theirs
//! exchanged or mixed when it is written.

use bitflags::bitflags;

use super::framebuffer::Color;
use super::glyph::Glyph;

/// A character on the screen, with its colours.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Cell(u64);

const FOREGROUND: u32 = 16;
const BACKGROUND: u32 = 40;

impl Cell {
    /// What memory holds that nobody has used yet: zeros.
    pub(super) const UNSET: Self = Self(0);
    /// What nothing looks like that was ever written.
    pub(super) const NEVER: Self = Self(u64::MAX);
    /// A place where nothing was written.
    pub(super) const BLANK: Self = Self::new(Glyph::SPACE, Color::TEXT, Color::BACKGROUND);

    const BOLD: u64 = 1 << 15;
    const UNDERLINED: u64 = 1 << 14;
    /// The line goes on in the next one; in the last cell of a line.
    const WRAPPED: u64 = 1 << 13;

    const fn new(glyph: Glyph, foreground: Color, background: Color) -> Self {
        Self(
            glyph.number() as u64
                | (foreground.to_bits() as u64) << FOREGROUND
                | (background.to_bits() as u64) << BACKGROUND,
        )
    }

    /// Returns any word as a cell.
    #[cfg(test)]
    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Returns a cell with another glyph, and no other change.
    pub(super) const fn with_glyph(self, glyph: Glyph) -> Self {
        const BITS: u64 = (1 << Glyph::BITS) - 1;
        Self(self.0 & !BITS | glyph.number() as u64)
    }

    pub(super) const fn glyph(self) -> Glyph {
        Glyph::from_number(self.0 as u16)
    }

    pub(super) const fn is_space(self) -> bool {
        self.glyph().number() == Glyph::SPACE.number()
    }

    pub(super) const fn foreground(self) -> Color {
        Color::from_bits((self.0 >> FOREGROUND) as u32)
    }

    pub(super) const fn background(self) -> Color {
        Color::from_bits((self.0 >> BACKGROUND) as u32)
    }

    /// Returns what is the same for cells of the same two colours.
    pub(super) const fn colors(self) -> u64 {
        self.0 >> FOREGROUND
    }

    pub(super) const fn is_bold(self) -> bool {
        self.0 & Self::BOLD != 0
    }

    pub(super) const fn is_underlined(self) -> bool {
        self.0 & Self::UNDERLINED != 0
    }

    pub(super) const fn is_wrapped(self) -> bool {
        self.0 & Self::WRAPPED != 0
    }

    pub(super) const fn wrapped(self) -> Self {
        Self(self.0 | Self::WRAPPED)
    }

    /// Returns the cell with its colours exchanged, as the cursor shows.
    pub(super) const fn inverted(self) -> Self {
        let rest = self.0 & ((1 << FOREGROUND) - 1);
        let (foreground, background) = (self.foreground(), self.background());
        Self(Self::new(Glyph::from_number(0), background, foreground).0 | rest)
    }
}

impl core::fmt::Debug for Cell {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Cell({:#018x})", self.0)
    }
}

bitflags! {
    /// How text is shown, beside its colours.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Style: u8 {
        const BOLD = 1;
        const FAINT = 2;
        const UNDERLINED = 4;
        const INVERSE = 8;
        const HIDDEN = 16;
    }
}

/// A colour, as escape sequences name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Whatever text has that says nothing.
    Default,
    /// One of 256.
    Indexed(u8),
    /// Itself.
    Direct(Color),
}

/// What text is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pen {
    pub(super) foreground: Ink,
    pub(super) background: Ink,
    pub(super) style: Style,
}

impl Pen {
    /// The pen of text that says nothing.
    pub(super) const PLAIN: Self = Self {
        foreground: Ink::Default,
        background: Ink::Default,
        style: Style::empty(),
    };

    pub(super) const fn of(color: Color) -> Self {
        Self {
            foreground: Ink::Direct(color),
            ..Self::PLAIN
        }
    }

    /// Returns a space as it is written with the pen; other characters are it with
    /// another glyph.
    pub(super) fn brush(self) -> Cell {
        let has = |style| self.style.contains(style);
        let mut foreground = match self.foreground {
            Ink::Default => Color::TEXT,
            // The eight colours are bright where text is bold.
            Ink::Indexed(index @ 0..8) if has(Style::BOLD) => indexed(index + 8),
            Ink::Indexed(index) => indexed(index),
            Ink::Direct(color) => color,
        };
        let mut background = self.background();
        if has(Style::FAINT) {
            foreground = foreground.over(background, 150);
        }
        if has(Style::INVERSE) {
            core::mem::swap(&mut foreground, &mut background);
        }
        if has(Style::HIDDEN) {
            foreground = background;
        }
        let mut cell = Cell::new(Glyph::SPACE, foreground, background);
        if has(Style::BOLD) {
            cell.0 |= Cell::BOLD;
        }
        if has(Style::UNDERLINED) {
            cell.0 |= Cell::UNDERLINED;
        }
        cell
    }

    /// Returns what the pen leaves where something is erased: its background.
    pub(super) fn blank(self) -> Cell {
        Cell::new(Glyph::SPACE, Color::TEXT, self.background())
    }

    fn background(self) -> Color {
        match self.background {
            Ink::Default => Color::BACKGROUND,
            Ink::Indexed(index) => indexed(index),
            Ink::Direct(color) => color,
        }
    }
}

/// The first 16 of the indexed colours: eight and their bright ones.
const BASIC: [Color; 16] = [
    Color::new(0, 0, 0),
    Color::new(205, 70, 60),
    Color::new(70, 180, 90),
    Color::new(205, 160, 60),
    Color::new(75, 125, 225),
    Color::new(180, 95, 200),
    Color::new(60, 175, 190),
    Color::new(200, 204, 210),
    Color::new(110, 118, 128),
    Color::new(255, 110, 95),
    Color::new(110, 225, 125),
    Color::new(250, 210, 95),
    Color::new(125, 170, 255),
    Color::new(225, 140, 245),
    Color::new(105, 220, 235),
    Color::new(255, 255, 255),
];

/// Returns one of 256 colours: 16, then a cube of six steps a colour, then greys.
fn indexed(index: u8) -> Color {
    match index {
        0..16 => BASIC[usize::from(index)],
        16..232 => {
            let step = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
            let place = index - 16;
            Color::new(step(place / 36), step(place / 6 % 6), step(place % 6))
        }
        232.. => {
            let level = 8 + 10 * (index - 232);
            Color::new(level, level, level)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Glyph, Ink, Pen, Style, indexed};
    use crate::console::framebuffer::Color;

    const A: Color = Color::new(1, 2, 3);
    const B: Color = Color::new(250, 251, 252);

    #[test]
    fn cell_holds_what_it_was_made_of() {
        let pen = Pen {
            foreground: Ink::Direct(A),
            background: Ink::Direct(B),
            style: Style::BOLD | Style::UNDERLINED,
        };
        let glyph = Glyph::of('ſ').expect("it is shown");
        let cell = pen.brush().with_glyph(glyph);
        assert_eq!((cell.foreground(), cell.background()), (A, B));
        assert_eq!(cell.glyph(), glyph);
        assert!(cell.is_bold() && cell.is_underlined() && !cell.is_wrapped());
        let other = cell.wrapped().inverted();
        assert_eq!((other.foreground(), other.background()), (B, A));
        assert_eq!(other.glyph(), glyph);
        assert!(other.is_bold() && other.is_underlined() && other.is_wrapped());
        assert_eq!(other.inverted(), cell.wrapped());
        assert_eq!(Pen::PLAIN.brush(), Cell::BLANK);
    }

    #[test]
    fn styles_change_colours() {
        let with = |style| {
            let pen = Pen {
                background: Ink::Direct(B),
                style,
                ..Pen::of(A)
            };
            (pen.brush().foreground(), pen.brush().background())
        };
        assert_eq!(with(Style::INVERSE), (B, A));
        assert_eq!(with(Style::HIDDEN), (B, B));
        assert_eq!(with(Style::INVERSE | Style::HIDDEN), (A, A));
        assert_eq!(with(Style::FAINT), (A.over(B, 150), B));
        let bright = Pen {
            foreground: Ink::Indexed(1),
            style: Style::BOLD,
            ..Pen::PLAIN
        };
        assert_eq!(bright.brush().foreground(), indexed(9));
    }

    #[test]
    fn indexed_colours_are_the_usual_ones() {
        for (index, parts) in [
            (16, (0, 0, 0)),
            (21, (0, 0, 255)),
            (196, (255, 0, 0)),
            (231, (255, 255, 255)),
            (232, (8, 8, 8)),
            (255, (238, 238, 238)),
            (67, (95, 135, 175)),
        ] {
            assert_eq!(indexed(index), Color::new(parts.0, parts.1, parts.2));
        }
    }
}
