//! Reading text off a picture of the console.
//!
//! The console draws each character in a cell of its own, every pixel of which is a mix
//! of the cell's two colours by the amount of ink that the font gives there. So the
//! picture's distances from the background are proportional to the font's amounts,
//! whatever the colours are: a cell shows the character to whose amounts they are most
//! nearly parallel. The background is the colour that more of a cell's pixels have than
//! any other; a cell of one colour is a space.
//!
//! Boxes and blocks, which are not the font's, and underlined text are not read.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::picture::{Picture, Pixel};

/// How the kernel's console draws: as in `nucleus::console`, `glyph.rs` and `paint.rs`.
mod console {
    use noto_sans_mono_bitmap::{FontWeight, RasterHeight};

    pub(super) const WEIGHT: FontWeight = FontWeight::Regular;
    pub(super) const HEIGHT: RasterHeight = RasterHeight::Size16;
    /// Lines above the text: the marks of start-up.
    pub(super) const TOP: usize = 16;

    /// Returns the ink that bold text has, of a line of pixels: each spreads to its right.
    pub(super) fn bolder(line: &[u8]) -> Vec<u8> {
        let left = [0].iter().chain(line);
        let pairs = line.iter().zip(left);
        pairs.map(|(ink, left)| (left / 4 * 3).max(*ink)).collect()
    }
}

const CELL_WIDTH: usize = noto_sans_mono_bitmap::get_raster_width(console::WEIGHT, console::HEIGHT);
const CELL_HEIGHT: usize = console::HEIGHT as usize;
/// Columns between the tabulator's stops.
const TAB: usize = 8;

/// What stands for a cell that shows no character of the font.
pub(crate) const UNKNOWN: char = '\u{fffd}';
/// What the console shows for a character that it has no picture of.
const NOT_IN_FONT: char = UNKNOWN;
/// How parallel a cell has to be to a character, at the least: the square of the
/// cosine. Colours are whole numbers, so that it is never quite one.
const LIKENESS: f64 = 0.98;

/// A character, and how much ink it has in each pixel of its cell.
struct Glyph {
    character: char,
    ink: Vec<f64>,
}

/// Those of the font, and then their bold forms.
static GLYPHS: LazyLock<Vec<Glyph>> = LazyLock::new(|| {
    let plain = characters().filter_map(|character| glyph(character, <[u8]>::to_vec));
    let bold = characters().filter_map(|character| glyph(character, console::bolder));
    plain.chain(bold).collect()
});

/// Returns the characters that the console takes from the font, but for the space.
fn characters() -> impl Iterator<Item = char> {
    ('!'..='\u{17f}').filter(|character| is_shown(*character))
}

/// Returns whether the console shows a character by itself.
fn is_shown(character: char) -> bool {
    matches!(character, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{17f}')
}

/// Returns a character's glyph, of whose lines each has become another one.
fn glyph(character: char, style: fn(&[u8]) -> Vec<u8>) -> Option<Glyph> {
    let raster = noto_sans_mono_bitmap::get_raster(character, console::WEIGHT, console::HEIGHT)?;
    let ink = raster.rows().flat_map(style).map(f64::from).collect();
    Some(Glyph { character, ink })
}

/// The text of a screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScreenText {
    /// Characters of a row.
    pub(crate) columns: usize,
    /// All rows, without the spaces at their ends.
    pub(crate) rows: Vec<String>,
}

impl ScreenText {
    /// Reads a picture.
    pub(crate) fn read(picture: &Picture) -> Self {
        let columns = picture.width() / CELL_WIDTH;
        let lines = picture.height().saturating_sub(console::TOP);
        let nr_rows = lines / CELL_HEIGHT;
        // Most cells look like others.
        let mut known = HashMap::new();
        let mut rows = Vec::new();
        for row in 0..nr_rows {
            let mut text = String::new();
            for column in 0..columns {
                let cell = cell(picture, row, column);
                let character = known.entry(cell).or_insert_with_key(|cell| recognise(cell));
                text.push(*character);
            }
            rows.push(text.trim_end().to_owned());
        }
        Self { columns, rows }
    }

    /// Returns whether a text can be read on one row, or from the end of a row on to the
    /// next ones.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let padded = self
            .rows
            .iter()
            .map(|row| format!("{row:0$}", self.columns));
        padded.collect::<String>().contains(text) || self.rows.iter().any(|row| row.contains(text))
    }

    /// Returns the rows down to the last one that is not empty.
    pub(crate) fn used(&self) -> &[String] {
        let last = self.rows.iter().rposition(|row| !row.is_empty());
        &self.rows[..last.map_or(0, |last| last + 1)]
    }

    /// Returns all that is used as one text.
    pub(crate) fn text(&self) -> String {
        self.used().join("\n")
    }
}

/// Copies the pixels of a cell.
fn cell(picture: &Picture, row: usize, column: usize) -> Vec<Pixel> {
    let (left, top) = (column * CELL_WIDTH, console::TOP + row * CELL_HEIGHT);
    let lines = top..top + CELL_HEIGHT;
    let pixels = lines.flat_map(|y| (left..left + CELL_WIDTH).map(move |x| (x, y)));
    pixels.map(|(x, y)| picture.pixel(x, y)).collect()
}

/// Returns the character that a cell shows.
fn recognise(cell: &[Pixel]) -> char {
    let background = most_frequent(cell);
    let distance = |pixel: &Pixel| {
        let parts = pixel.iter().zip(background);
        parts
            .map(|(part, under)| f64::from(part.abs_diff(under)))
            .sum()
    };
    let ink: Vec<f64> = cell.iter().map(distance).collect();
    if ink.iter().all(|amount| *amount == 0.0) {
        return ' ';
    }
    let likenesses = GLYPHS
        .iter()
        .map(|glyph| (likeness(&ink, &glyph.ink), glyph));
    // Of characters that look the same, the first one.
    let best = likenesses.rev().max_by(|(a, _), (b, _)| a.total_cmp(b));
    match best {
        Some((likeness, glyph)) if likeness >= LIKENESS => glyph.character,
        _ => UNKNOWN,
    }
}

fn most_frequent(cell: &[Pixel]) -> Pixel {
    let mut counts: HashMap<Pixel, usize> = HashMap::new();
    for pixel in cell {
        *counts.entry(*pixel).or_default() += 1;
    }
    // By the colour where two are as frequent, so that the answer is always the same.
    let most = counts
        .into_iter()
        .max_by_key(|(pixel, count)| (*count, *pixel));
    most.map_or([0; 3], |(pixel, _)| pixel)
}

/// Returns the square of the cosine between two amounts of ink.
fn likeness(a: &[f64], b: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let both = product(a, b);
    both * both / (product(a, a) * product(b, b))
}

/// Returns the rows that the console makes of lines, from the first one on.
///
/// Escape sequences are left out, so that what they move is not moved.
pub(crate) fn rows_of<'a>(lines: impl IntoIterator<Item = &'a str>, columns: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in lines {
        let (mut row, mut len) = (String::new(), 0);
        for character in without_escapes(line).chars() {
            let shown = match character {
                '\t' => {
                    let gap = TAB - len % TAB;
                    row.extend(std::iter::repeat_n(' ', gap));
                    len += gap;
                    continue;
                }
                _ if is_shown(character) => character,
                _ if character.is_control() => continue,
                _ => NOT_IN_FONT,
            };
            if len == columns {
                rows.push(std::mem::take(&mut row).trim_end().to_owned());
                len = 0;
            }
            row.push(shown);
            len += 1;
        }
        rows.push(row.trim_end().to_owned());
    }
    rows
}

/// Leaves sequences like `ESC [ 1 ; 31 m` out.
fn without_escapes(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let parameters = |c: char| matches!(c, '\x20'..='\x3f');
        let rest = piece.trim_start_matches(parameters);
        text.extend(rest.chars().skip(1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::console::{TOP, bolder};
    use super::{CELL_HEIGHT, CELL_WIDTH, Picture, Pixel, ScreenText, UNKNOWN, glyph, rows_of};

    fn draw(rows: &[&str], text: Pixel, background: Pixel) -> Picture {
        draw_styled(rows, <[u8]>::to_vec, text, background)
    }

    /// Draws rows of text as the console does.
    fn draw_styled(
        rows: &[&str],
        style: fn(&[u8]) -> Vec<u8>,
        text: Pixel,
        background: Pixel,
    ) -> Picture {
        let columns = rows
            .iter()
            .map(|row| row.chars().count())
            .max()
            .unwrap_or(0);
        let (width, height) = (columns * CELL_WIDTH + 3, TOP + rows.len() * CELL_HEIGHT + 5);
        let mut pixels = vec![background; width * height];
        for (row, line) in rows.iter().enumerate() {
            for (column, character) in line.chars().enumerate() {
                let ink = glyph(character, style).expect("the font has it").ink;
                for (place, ink) in ink.into_iter().enumerate() {
                    let x = column * CELL_WIDTH + place % CELL_WIDTH;
                    let y = TOP + row * CELL_HEIGHT + place / CELL_WIDTH;
                    let mix = |over: u8, under: u8| {
                        let (over, under) = (f64::from(over), f64::from(under));
                        (over * ink / 255.0 + under * (1.0 - ink / 255.0)) as u8
                    };
                    pixels[y * width + x] = [0, 1, 2].map(|i| mix(text[i], background[i]));
                }
            }
        }
        Picture::new(width, pixels)
    }

    #[test]
    fn every_character_is_read_in_any_colours() {
        let all: String = (' '..='~').collect();
        for (text, background) in [
            ([208, 212, 220], [12, 16, 24]),
            ([250, 110, 90], [12, 16, 24]),
            ([130, 140, 150], [12, 16, 24]),
            ([12, 16, 24], [208, 212, 220]),
            ([0, 0, 0], [170, 0, 0]),
            ([255, 255, 255], [200, 200, 200]),
        ] {
            let read = ScreenText::read(&draw(&[&all, "", "x"], text, background));
            assert_eq!(read.rows, [&all[..], "", "x"]);
            assert_eq!(read.used().len(), 3);
        }
    }

    #[test]
    fn bold_text_and_letters_with_marks_are_read() {
        let all: String = (' '..='~').collect();
        let bold = draw_styled(&[&all], bolder, [230, 80, 70], [12, 16, 24]);
        assert_eq!(ScreenText::read(&bold).rows, [&all[..]]);
        let marked = draw(&["äÖßçé", "x"], [200; 3], [0; 3]);
        assert_eq!(ScreenText::read(&marked).rows, ["äÖßçé", "x"]);
    }

    #[test]
    fn what_is_no_character_is_told_from_all() {
        let mut picture = draw(&["ab"], [200; 3], [0; 3]);
        let pixels = (0..CELL_HEIGHT).map(|i| (CELL_WIDTH + i % CELL_WIDTH, TOP + i));
        for (x, y) in pixels {
            picture.set_for_test(x, y, [255; 3]);
        }
        assert_eq!(ScreenText::read(&picture).rows, [format!("a{UNKNOWN}")]);
    }

    #[test]
    fn text_is_found_across_the_end_of_a_row() {
        let text = ScreenText {
            columns: 4,
            rows: ["a", "  ab", "cd e"].map(str::to_owned).into(),
        };
        assert!(text.contains("abcd") && text.contains("d e") && !text.contains("aab"));
    }

    #[test]
    fn lines_become_rows_as_on_the_console() {
        let rows = |line| rows_of([line], 4);
        assert_eq!(rows("abcd"), ["abcd"]);
        assert_eq!(rows("abcde"), ["abcd", "e"]);
        assert_eq!(rows(""), [""]);
        assert_eq!(rows("\x1b[1;31mab\x1b[0mc\r"), ["abc"]);
        assert_eq!(rows("ä…cdö"), ["ä\u{fffd}cd", "ö"]);
        assert_eq!(rows_of(["a\tb", "c"], 20), ["a       b", "c"]);
    }
}
