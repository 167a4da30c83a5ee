//! Painting: from cells to pixels.
//!
//! The painter remembers what each place of the screen shows, so that of a grid that
//! changed in any way it draws what differs, and each of it once. A row's difference is
//! one span of cells; it is composed in ordinary memory, and each of its lines is then
//! copied to video memory in one run (of at most [`BAND`] cells).
//!
//! A glyph is intensities, and two colours make a table from intensities to pixels: a
//! pixel takes one look into a table, whatever the screen's format is.

use super::cell::Cell;
use super::framebuffer::{Color, Framebuffer};
use super::glyph::{CELL_HEIGHT, CELL_WIDTH, Raster};
use super::grid::Grid;
use super::marks;

/// The top of the screen is the marks'.
pub(super) const TOP: usize = marks::SIZE + 4;
/// Cells that are composed together.
const BAND: usize = 64;
/// Pairs of colours whose tables are at hand.
const NR_TABLES: usize = 8;
/// The line that underlines.
const UNDERLINE: usize = CELL_HEIGHT - 2;

/// Where pixels are composed; of zeros at first.
pub(super) struct Easel {
    band: [[[u32; CELL_WIDTH]; BAND]; CELL_HEIGHT],
    tables: [Table; NR_TABLES],
    /// The table that is made anew next.
    next: usize,
}

/// The pixel of each intensity, for two colours. That of zeros is right for black on
/// black.
#[derive(Clone, Copy)]
struct Table {
    colors: u64,
    pixels: [u32; 256],
}

impl Easel {
    pub(super) const fn new() -> Self {
        const EMPTY: Table = Table {
            colors: 0,
            pixels: [0; 256],
        };
        Self {
            band: [[[0; CELL_WIDTH]; BAND]; CELL_HEIGHT],
            tables: [EMPTY; NR_TABLES],
            next: 0,
        }
    }

    /// Returns the number of the table for a cell's colours.
    fn table_for(&mut self, screen: &Framebuffer<'_>, cell: Cell) -> usize {
        let colors = cell.colors();
        let found = self.tables.iter().position(|table| table.colors == colors);
        found.unwrap_or_else(|| {
            let number = self.next % NR_TABLES;
            self.next = (number + 1) % NR_TABLES;
            let table = &mut self.tables[number];
            table.colors = colors;
            let (over, under) = (cell.foreground(), cell.background());
            for (intensity, pixel) in (0..=u8::MAX).zip(&mut table.pixels) {
                *pixel = screen.encode(over.over(under, intensity));
            }
            number
        })
    }

    /// Composes a cell at a place of the band.
    fn compose(&mut self, place: usize, cell: Cell, table: usize) {
        let bold;
        let mut raster = cell.glyph().raster();
        if cell.is_bold() {
            bold = bolder(raster);
            raster = &bold;
        }
        let pixels = &self.tables[table % NR_TABLES].pixels;
        for (intensities, line) in raster.iter().zip(&mut self.band) {
            let to = &mut line[place];
            if *intensities == [0; CELL_WIDTH] {
                *to = [pixels[0]; CELL_WIDTH];
                continue;
            }
            for (pixel, intensity) in to.iter_mut().zip(intensities) {
                *pixel = pixels[usize::from(*intensity)];
            }
        }
        if cell.is_underlined() {
            self.band[UNDERLINE][place] = [pixels[255]; CELL_WIDTH];
        }
    }
}

/// Returns a glyph as bold text has it: each pixel spreads to its right.
fn bolder(raster: &Raster) -> Raster {
    raster.map(|line| {
        let mut left = 0;
        line.map(|intensity| {
            let spread = (left / 4 * 3).max(intensity);
            left = intensity;
            spread
        })
    })
}

/// What the screen is to show.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a, 'b> {
    pub(super) grid: &'a Grid<'b>,
    /// As it was so many lines ago.
    pub(super) nr_lines_back: usize,
    /// Row and column of the cursor, if it shows.
    pub(super) cursor: Option<(usize, usize)>,
}

/// Brings the screen up to date with a grid.
pub(super) struct Painter<'a> {
    /// What each place of the screen shows.
    shown: &'a mut [Cell],
    easel: &'a mut Easel,
    /// The row at which an update goes on.
    next_row: usize,
}

impl<'a> Painter<'a> {
    pub(super) fn new(shown: &'a mut [Cell], easel: &'a mut Easel) -> Self {
        shown.fill(Cell::NEVER);
        Self {
            shown,
            easel,
            next_row: 0,
        }
    }

    /// Uses other memory to remember what the screen shows, and forgets it.
    pub(super) fn set_memory(&mut self, shown: &'a mut [Cell]) {
        self.shown = shown;
        self.forget();
    }

    /// Assumes nothing about what the screen shows, so that all is drawn again.
    pub(super) fn forget(&mut self) {
        self.shown.fill(Cell::NEVER);
        // A table may be half made.
        *self.easel = Easel::new();
    }

    /// Clears all of the screen that text may use, cells or not.
    pub(super) fn clear(&mut self, screen: &mut Framebuffer<'_>) {
        screen.fill(0, TOP, usize::MAX, usize::MAX, Color::BACKGROUND);
        self.forget();
    }

    /// Draws what differs, until so many cells were drawn; returns whether that was all.
    pub(super) fn update(
        &mut self,
        screen: &mut Framebuffer<'_>,
        view: View<'_, '_>,
        mut nr_cells: usize,
    ) -> bool {
        let nr_rows = view.grid.nr_rows();
        for _ in 0..nr_rows {
            if nr_cells == 0 {
                return false;
            }
            let row = self.next_row % nr_rows;
            self.next_row = (row + 1) % nr_rows;
            let nr_drawn = self.update_row(screen, view, row);
            nr_cells = nr_cells.saturating_sub(nr_drawn);
        }
        true
    }

    /// Draws what differs in a row; returns how many cells were drawn.
    fn update_row(
        &mut self,
        screen: &mut Framebuffer<'_>,
        view: View<'_, '_>,
        row: usize,
    ) -> usize {
        let cells = view.grid.row_back(row, view.nr_lines_back);
        let at_row = view.cursor.filter(|(cursor_row, _)| *cursor_row == row);
        let cursor = at_row.map(|(_, column)| column);
        let start = row * cells.len();
        let Some(shown) = self.shown.get_mut(start..start + cells.len()) else {
            return 0;
        };
        let (mut first, mut end) = (usize::MAX, 0);
        for (column, (shown, cell)) in shown.iter_mut().zip(cells).enumerate() {
            let cell = if cursor == Some(column) {
                cell.inverted()
            } else {
                *cell
            };
            if *shown != cell {
                *shown = cell;
                first = first.min(column);
                end = column + 1;
            }
        }
        for from in (first..end).step_by(BAND) {
            self.draw(screen, row, start, from..end.min(from + BAND));
        }
        end.saturating_sub(first)
    }

    /// Draws some of a row's cells, at most a band of them; `start` is where the row is.
    fn draw(
        &mut self,
        screen: &mut Framebuffer<'_>,
        row: usize,
        start: usize,
        columns: core::ops::Range<usize>,
    ) {
        let mut last = None;
        let cells = &self.shown[start + columns.start..start + columns.end];
        for (place, cell) in cells.iter().enumerate() {
            let colors = cell.colors();
            let table = match last {
                Some((table, of)) if of == colors => table,
                _ => self.easel.table_for(screen, *cell),
            };
            last = Some((table, colors));
            self.easel.compose(place, *cell, table);
        }
        let (x, y) = (columns.start * CELL_WIDTH, TOP + row * CELL_HEIGHT);
        for (line, pixels) in self.easel.band.iter_mut().enumerate() {
            let run = pixels[..columns.len()].as_flattened_mut();
            screen.show(x, y + line, run);
        }
    }
}

#[cfg(test)]
impl Painter<'_> {
    /// Puts anything where a change that never ended may leave something.
    pub(super) fn garble(&mut self, seed: usize) {
        self.next_row = seed;
        self.easel.next = seed;
        self.easel.tables[seed % NR_TABLES].colors = Cell::BLANK.colors();
        let len = self.shown.len();
        self.shown[seed % len] = Cell::BLANK;
    }
}
