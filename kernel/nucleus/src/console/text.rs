//! Text on the screen: a grid of cells that remembers what it shows.
//!
//! The grid is the truth, and pixels follow it: scrolling moves cells in memory
//! and draws those again that differ, without ever reading video memory. The
//! grid has a fixed capacity, since it comes before any allocator; a larger
//! screen is used in part. Escape sequences are skipped.

use core::fmt;

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::framebuffer::{Color, Framebuffer};
use super::marks;

const WEIGHT: FontWeight = FontWeight::Regular;
const HEIGHT: RasterHeight = RasterHeight::Size16;
/// Pixels of a cell.
const CELL_WIDTH: usize = get_raster_width(WEIGHT, HEIGHT);
/// Lines of a cell.
const CELL_HEIGHT: usize = HEIGHT as usize;
/// The top of the screen is the marks'.
const TOP: usize = marks::SIZE + 4;

/// Cells of a line that can be remembered.
pub const MAX_COLUMNS: usize = 256;
/// Lines that can be remembered.
pub const MAX_ROWS: usize = 96;

/// One character on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    character: u8,
    color: Color,
}

const BLANK: Cell = Cell {
    character: b' ',
    color: Color::TEXT,
};

/// Where the reader of escape sequences is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Started,
    Control,
}

/// A grid of cells, and a place to write.
pub struct TextConsole {
    cells: [[Cell; MAX_COLUMNS]; MAX_ROWS],
    columns: usize,
    rows: usize,
    column: usize,
    row: usize,
    color: Color,
    escape: Escape,
}

impl TextConsole {
    /// Returns an empty grid for a screen yet to come.
    pub const fn new() -> Self {
        Self {
            cells: [[BLANK; MAX_COLUMNS]; MAX_ROWS],
            columns: 0,
            rows: 0,
            column: 0,
            row: 0,
            color: Color::TEXT,
            escape: Escape::None,
        }
    }

    /// Fits the grid to a screen, and draws all of it.
    pub fn attach(&mut self, screen: &mut Framebuffer) {
        self.columns = (screen.width() / CELL_WIDTH).min(MAX_COLUMNS);
        self.rows = (screen.height().saturating_sub(TOP) / CELL_HEIGHT).min(MAX_ROWS);
        self.row = self.row.min(self.rows.saturating_sub(1));
        let (width, height) = (screen.width(), screen.height());
        screen.fill(0, TOP, width, height, Color::BACKGROUND);
        self.draw_all(screen);
    }

    /// Returns columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// Sets the colour of what follows; returns what it was.
    pub fn set_color(&mut self, color: Color) -> Color {
        core::mem::replace(&mut self.color, color)
    }

    /// Writes text: characters, line feeds, carriage returns, tabs, backspaces.
    pub fn write(&mut self, screen: &mut Framebuffer, bytes: &[u8]) {
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        for byte in bytes {
            self.write_byte(screen, *byte);
        }
    }

    fn write_byte(&mut self, screen: &mut Framebuffer, byte: u8) {
        self.escape = match (self.escape, byte) {
            (Escape::Started, b'[') => Escape::Control,
            (Escape::Control, 0x20..=0x3f) => Escape::Control,
            (Escape::Started | Escape::Control, _) => Escape::None,
            (Escape::None, 0x1b) => Escape::Started,
            (Escape::None, _) => {
                self.write_plain(screen, byte);
                Escape::None
            }
        };
    }

    fn write_plain(&mut self, screen: &mut Framebuffer, byte: u8) {
        match byte {
            b'\n' => self.new_line(screen),
            b'\r' => self.column = 0,
            b'\t' => {
                for _ in self.column % 8..8 {
                    self.put(screen, b' ');
                }
            }
            0x08 => self.column = self.column.saturating_sub(1),
            0x20..=0x7e => self.put(screen, byte),
            // A character of several bytes shows as one box.
            0xc0..=0xff => self.put(screen, b'?'),
            _ => {}
        }
    }

    fn put(&mut self, screen: &mut Framebuffer, character: u8) {
        if self.column == self.columns {
            self.new_line(screen);
        }
        let cell = Cell {
            character,
            color: self.color,
        };
        let (row, column) = (self.row, self.column);
        self.show(screen, row, column, cell);
        self.column += 1;
    }

    fn new_line(&mut self, screen: &mut Framebuffer) {
        self.column = 0;
        if self.row + 1 < self.rows {
            self.row += 1;
            return;
        }
        for row in 0..self.rows {
            for column in 0..self.columns {
                let below = if row + 1 < self.rows {
                    self.cells[row + 1][column]
                } else {
                    BLANK
                };
                self.show(screen, row, column, below);
            }
        }
    }

    /// Changes a cell, and its pixels if they change with it.
    fn show(&mut self, screen: &mut Framebuffer, row: usize, column: usize, cell: Cell) {
        let old = core::mem::replace(&mut self.cells[row][column], cell);
        let both_blank = old.character == b' ' && cell.character == b' ';
        if old != cell && !both_blank {
            draw(screen, row, column, cell);
        }
    }

    fn draw_all(&self, screen: &mut Framebuffer) {
        for row in 0..self.rows {
            for column in 0..self.columns {
                draw(screen, row, column, self.cells[row][column]);
            }
        }
    }
}

/// Draws a cell with its background.
fn draw(screen: &mut Framebuffer, row: usize, column: usize, cell: Cell) {
    let (x, y) = (column * CELL_WIDTH, TOP + row * CELL_HEIGHT);
    let Some(glyph) = get_raster(char::from(cell.character), WEIGHT, HEIGHT) else {
        return;
    };
    for (line, pixels) in glyph.rows().enumerate() {
        for (offset, intensity) in pixels.iter().enumerate() {
            screen.put(x + offset, y + line, cell.color.with_intensity(*intensity));
        }
    }
}

impl Default for TextConsole {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TextConsole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextConsole({} by {})", self.columns, self.rows)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::boxed::Box;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    use super::{CELL_HEIGHT, CELL_WIDTH, TOP, TextConsole};
    use crate::console::framebuffer::{Framebuffer, FramebufferInfo, PixelFormat};

    const COLUMNS: usize = 12;
    const ROWS: usize = 4;

    /// A screen whose pixels can be looked at from outside.
    struct Screen {
        text: Box<TextConsole>,
        framebuffer: Framebuffer,
        pixels: *const [u8],
    }

    fn screen() -> Screen {
        let (width, height) = (COLUMNS * CELL_WIDTH + 3, TOP + ROWS * CELL_HEIGHT + 5);
        let info = FramebufferInfo {
            byte_len: width * height,
            width,
            height,
            stride: width,
            bytes_per_pixel: 1,
            pixel_format: PixelFormat::U8,
        };
        let bytes: &'static mut [u8] = Box::leak(vec![0; info.byte_len].into_boxed_slice());
        let pixels: *const [u8] = bytes;
        let mut framebuffer = Framebuffer::new(bytes, info).expect("the shape fits");
        let mut text = Box::new(TextConsole::new());
        text.attach(&mut framebuffer);
        Screen {
            text,
            framebuffer,
            pixels,
        }
    }

    impl Screen {
        fn write(&mut self, text: &str) {
            self.text.write(&mut self.framebuffer, text.as_bytes());
        }

        fn lines(&self) -> Vec<String> {
            let line = |row: &[super::Cell]| {
                let text: String = row[..COLUMNS]
                    .iter()
                    .map(|c| char::from(c.character))
                    .collect();
                String::from(text.trim_end())
            };
            self.text.cells[..ROWS]
                .iter()
                .map(|row| line(row))
                .collect()
        }

        fn pixels(&self) -> Vec<u8> {
            // SAFETY: The leaked memory lives for ever, and nothing is being
            // drawn while it is copied.
            unsafe { &*self.pixels }.to_vec()
        }
    }

    #[test]
    fn grid_fits_the_screen() {
        let screen = screen();
        assert_eq!((screen.text.columns, screen.text.rows), (COLUMNS, ROWS));
    }

    #[test]
    fn text_wraps_and_scrolls() {
        let mut screen = screen();
        screen.write("first\nabcdefghijklmn\nfourth\nfifth");
        assert_eq!(screen.lines(), ["abcdefghijkl", "mn", "fourth", "fifth"]);
    }

    #[test]
    fn control_characters_and_escapes_do_what_they_say() {
        let mut screen = screen();
        screen.write("abc\rX\tY\x08Z\n\x1b[1;31mred\x1b[0m\nä");
        assert_eq!(screen.lines(), ["X       Z", "red", "?", ""]);
    }

    #[test]
    fn pixels_follow_the_grid() {
        let mut screen = screen();
        let mut seed = 7_u32;
        for _ in 0..400 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (seed >> 24) as u8 & 0x7f;
            let byte = if byte == 0x1b { b'\n' } else { byte };
            screen.text.write(&mut screen.framebuffer, &[byte]);
        }
        let incremental = screen.pixels();
        screen.text.draw_all(&mut screen.framebuffer);
        assert_eq!(incremental, screen.pixels());
    }
}
