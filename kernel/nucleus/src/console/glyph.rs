//! Glyphs: which characters can be shown, by which numbers, and how they look.
//!
//! Letters are the font's, which has a byte of intensity for each pixel; boxes and blocks,
//! which it does not have, are drawn from what they are made of. A number of a glyph may
//! be anything: one that means nothing shows as a blank.
//!
//! ```text
//!  0x020..0x180  characters of Latin scripts, by their code points
//!  0x180..0x220  boxes and blocks: U+2500 to U+259F
//!  0x220         whatever cannot be shown
//! ```

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::shapes::{NR_SHAPES, SHAPES};

const WEIGHT: FontWeight = FontWeight::Regular;
const HEIGHT: RasterHeight = RasterHeight::Size16;
/// Pixels of a cell.
pub(super) const CELL_WIDTH: usize = get_raster_width(WEIGHT, HEIGHT);
/// Lines of a cell.
pub(super) const CELL_HEIGHT: usize = HEIGHT as usize;

/// The intensities of a cell's pixels.
pub(super) type Raster = [[u8; CELL_WIDTH]; CELL_HEIGHT];

/// The number of a glyph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glyph(u16);

/// First number of boxes and blocks.
const FIRST_SHAPE: u16 = 0x180;

impl Glyph {
    pub(super) const SPACE: Self = Self(b' ' as u16);
    /// What stands for characters that cannot be shown.
    pub(super) const UNKNOWN: Self = Self(FIRST_SHAPE + NR_SHAPES as u16);
    /// Bits of a number.
    pub(super) const BITS: u32 = 10;

    pub(super) const fn from_number(number: u16) -> Self {
        Self(number & ((1 << Self::BITS) - 1))
    }

    pub(super) const fn number(self) -> u16 {
        self.0
    }

    /// Returns the glyph of a character; None for one that takes no place.
    pub(super) const fn of(character: char) -> Option<Self> {
        let glyph = match character {
            ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{17f}' => Self(character as u16),
            '\u{a0}' => Self::SPACE,
            '╱' => Self(b'/' as u16),
            '╲' => Self(b'\\' as u16),
            '╳' => Self(b'X' as u16),
            '\u{2500}'..='\u{259f}' => Self(character as u16 - 0x2500 + FIRST_SHAPE),
            '‐'..='―' | '−' => Self(b'-' as u16),
            '‘' | '’' => Self(b'\'' as u16),
            '“' | '”' => Self(b'"' as u16),
            '•' => Self('·' as u16),
            '←' => Self(b'<' as u16),
            '→' => Self(b'>' as u16),
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{300}'..='\u{36f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' => return None,
            _ => Self::UNKNOWN,
        };
        Some(glyph)
    }

    /// Returns the character that the glyph shows.
    #[cfg(test)]
    pub(super) fn character(self) -> char {
        let code = match self.0 {
            number @ FIRST_SHAPE..0x220 => u32::from(number - FIRST_SHAPE) + 0x2500,
            0x220.. => 0xfffd,
            number => u32::from(number),
        };
        char::from_u32(code).unwrap_or(' ')
    }

    /// Returns how the glyph looks.
    pub(super) fn raster(self) -> &'static Raster {
        const BLANK: Raster = [[0; CELL_WIDTH]; CELL_HEIGHT];
        match self.0 {
            FIRST_SHAPE.. => {
                let number = usize::from(self.0 - FIRST_SHAPE);
                SHAPES.get(number).unwrap_or(&BLANK)
            }
            number => of_font(number).unwrap_or(&BLANK),
        }
    }
}

fn of_font(number: u16) -> Option<&'static Raster> {
    let character = char::from_u32(u32::from(number))?;
    let raster = get_raster(character, WEIGHT, HEIGHT)?;
    let (rows, _) = raster.pixels().as_chunks();
    rows.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Glyph, Raster};

    fn ink(raster: &Raster) -> usize {
        let pixels = raster.as_flattened().iter();
        pixels.filter(|intensity| **intensity > 0).count()
    }

    #[test]
    fn every_character_but_spaces_looks_like_something_and_keeps_its_number() {
        let shown = ('!'..='~')
            .chain('\u{a1}'..='\u{ac}')
            .chain('\u{ae}'..='\u{17f}')
            .chain('\u{2500}'..='\u{259f}')
            .filter(|character| !('╱'..='╳').contains(character));
        for character in shown {
            let glyph = Glyph::of(character).expect("it takes a place");
            assert_ne!(glyph, Glyph::UNKNOWN, "{character:?}");
            assert_eq!(Glyph::from_number(glyph.number()), glyph);
            assert_eq!(glyph.character(), character);
            assert!(ink(glyph.raster()) > 0, "{character:?}");
        }
    }

    #[test]
    fn other_characters_are_boxes_or_take_no_place() {
        for character in ['汉', '🦀', '\u{fffd}', char::MAX, 'я'] {
            assert_eq!(Glyph::of(character), Some(Glyph::UNKNOWN), "{character:?}");
        }
        for character in ['\0', '\x1b', '\x7f', '\u{301}', '\u{200d}', '\u{feff}'] {
            assert_eq!(Glyph::of(character), None, "{character:?}");
        }
        assert!(ink(Glyph::UNKNOWN.raster()) > 0);
    }

    #[test]
    fn any_number_has_a_raster() {
        let glyphs = (0..=u16::MAX).map(Glyph::from_number);
        assert!(glyphs.map(|glyph| ink(glyph.raster())).any(|ink| ink == 0));
    }
}
