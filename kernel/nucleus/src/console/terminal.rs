//! The terminal: a cursor on a grid, and what can be done with it.
//!
//! It does all that terminfo's `linux` lists but blinking, palettes that change, and tab
//! stops of one's own; so `TERM=linux` is what programs are told (and not `xterm`, whose
//! second screen is missing). Two things are different, which makes the editing of long
//! lines look right: a backspace behind the last column goes to the
//! last column, and one in the first column goes to the end of the row above, if the
//! text came from there by itself.
//!
//! Whatever the arguments are, nothing here panics; rows and columns count from zero.

use core::ops::Range;

use super::cell::{Cell, Pen};
use super::glyph::Glyph;
use super::grid::Grid;

/// Columns from one tab stop to the next.
const TAB: usize = 8;

/// A part of a line or of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// From the cursor to the end.
    After,
    /// From the beginning to the cursor, with its cell.
    Before,
    All,
}

/// Where text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) row: usize,
    /// At most one behind the last column: the next character goes to the next row.
    pub(super) column: usize,
}

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Modes {
    /// Text goes on in the next row when a row is full.
    pub(super) wraps: bool,
    /// Characters move those behind them.
    pub(super) inserts: bool,
    /// Rows are counted from the scroll region's first.
    pub(super) is_relative: bool,
    pub(super) shows_cursor: bool,
}

impl Modes {
    const USUAL: Self = Self {
        wraps: true,
        inserts: false,
        is_relative: false,
        shows_cursor: true,
    };
}

/// A grid, a cursor, and the state that escape sequences set.
#[derive(Debug)]
pub(super) struct Terminal<'a> {
    pub(super) grid: Grid<'a>,
    pub(super) cursor: Cursor,
    pub(super) modes: Modes,
    saved: (Cursor, Pen),
    /// The rows that scroll; not empty.
    region: Range<usize>,
}

impl<'a> Terminal<'a> {
    pub(super) fn new(grid: Grid<'a>) -> Self {
        Self {
            cursor: Cursor { row: 0, column: 0 },
            modes: Modes::USUAL,
            saved: (Cursor { row: 0, column: 0 }, Pen::PLAIN),
            region: 0..grid.nr_rows(),
            grid,
        }
    }

    /// Goes on with another grid, that is as large at least and has taken over the lines.
    pub(super) fn set_grid(&mut self, grid: Grid<'a>) {
        let was_whole = self.region == (0..self.grid.nr_rows());
        self.grid = grid;
        if was_whole {
            self.region = 0..self.grid.nr_rows();
        }
        self.recover();
    }

    /// Makes sense of whatever a change that never ended has left.
    pub(super) fn recover(&mut self) {
        self.grid.recover();
        self.cursor = self.clamped(self.cursor);
        self.saved.0 = self.clamped(self.saved.0);
        let is_sound = self.region.start < self.region.end && self.region.end <= self.nr_rows();
        if !is_sound {
            self.region = 0..self.nr_rows();
        }
    }

    /// Brings everything into its first state but the lines above the screen.
    pub(super) fn reset(&mut self) {
        self.grid.clear_rows(0..self.nr_rows(), Cell::BLANK);
        self.soft_reset();
        self.cursor = Cursor { row: 0, column: 0 };
    }

    /// Brings everything into its first state but what is seen.
    pub(super) fn soft_reset(&mut self) {
        self.modes = Modes::USUAL;
        self.region = 0..self.nr_rows();
        self.saved = (Cursor { row: 0, column: 0 }, Pen::PLAIN);
    }

    /// Goes to the beginning of a row below everything that was written.
    pub(super) fn go_below_text(&mut self) {
        let has_text = |row: &usize| self.grid.row(*row).iter().any(|cell| !cell.is_space());
        if let Some(last) = (0..self.nr_rows()).rev().find(has_text) {
            self.cursor.row = last;
            self.line_feed(Cell::BLANK);
        }
        self.go_to_column(0);
    }

    fn nr_rows(&self) -> usize {
        self.grid.nr_rows()
    }

    fn nr_columns(&self) -> usize {
        self.grid.nr_columns()
    }

    fn clamped(&self, cursor: Cursor) -> Cursor {
        Cursor {
            row: cursor.row.min(self.nr_rows() - 1),
            column: cursor.column.min(self.nr_columns()),
        }
    }

    /// Returns the column of the cell that the cursor is at.
    pub(super) fn column(&self) -> usize {
        self.cursor.column.min(self.nr_columns() - 1)
    }

    /// Writes a character.
    pub(super) fn put(&mut self, glyph: Glyph, brush: Cell, blank: Cell) {
        if self.cursor.column >= self.nr_columns() {
            self.cursor.column = self.nr_columns() - 1;
            if self.modes.wraps {
                let row = self.grid.row_mut(self.cursor.row);
                if let Some(last) = row.last_mut() {
                    *last = last.wrapped();
                }
                self.line_feed(blank);
                self.cursor.column = 0;
            }
        }
        if self.modes.inserts {
            self.insert_cells(1, blank);
        }
        let column = self.cursor.column;
        self.grid.row_mut(self.cursor.row)[column] = brush.with_glyph(glyph);
        self.cursor.column += 1;
    }

    /// Goes to the next row, and scrolls at the end of the region.
    pub(super) fn line_feed(&mut self, blank: Cell) {
        if self.cursor.row + 1 == self.region.end {
            self.scroll_up(1, blank);
        } else if self.cursor.row + 1 < self.nr_rows() {
            self.cursor.row += 1;
        }
    }

    /// Goes to the row above, and scrolls at the beginning of the region.
    pub(super) fn reverse_line_feed(&mut self, blank: Cell) {
        if self.cursor.row == self.region.start {
            self.scroll_down(1, blank);
        } else {
            self.cursor.row = self.cursor.row.saturating_sub(1);
        }
    }

    pub(super) fn backspace(&mut self) {
        if self.cursor.column > 0 {
            self.cursor.column -= 1;
            return;
        }
        let above = self.cursor.row.checked_sub(1);
        let comes_from = |row: &usize| self.grid.row(*row).last().is_some_and(|c| c.is_wrapped());
        if let Some(row) = above.filter(comes_from) {
            self.cursor = Cursor {
                row,
                column: self.nr_columns() - 1,
            };
        }
    }

    /// Goes some tab stops forward.
    pub(super) fn tab(&mut self, count: usize) {
        let stop = (self.column() / TAB).saturating_add(count);
        self.cursor.column = stop.saturating_mul(TAB).min(self.nr_columns() - 1);
    }

    /// Goes some tab stops back.
    pub(super) fn tab_back(&mut self, count: usize) {
        let stop = self.column().div_ceil(TAB).saturating_sub(count);
        self.cursor.column = stop * TAB;
    }

    /// Goes to a column.
    pub(super) fn go_to_column(&mut self, column: usize) {
        self.cursor.column = column.min(self.nr_columns() - 1);
    }

    /// Goes to a row, of the region where rows are relative.
    pub(super) fn go_to_row(&mut self, row: usize) {
        let (first, end) = if self.modes.is_relative {
            (self.region.start, self.region.end)
        } else {
            (0, self.nr_rows())
        };
        self.cursor.row = first.saturating_add(row).min(end - 1);
        self.go_to_column(self.cursor.column);
    }

    /// Goes some rows up, not out of the region.
    pub(super) fn up(&mut self, count: usize) {
        let is_inside = self.cursor.row >= self.region.start;
        let first = if is_inside { self.region.start } else { 0 };
        self.cursor.row = self.cursor.row.saturating_sub(count).max(first);
        self.go_to_column(self.cursor.column);
    }

    /// Goes some rows down, not out of the region.
    pub(super) fn down(&mut self, count: usize) {
        let is_inside = self.cursor.row < self.region.end;
        let end = if is_inside {
            self.region.end
        } else {
            self.nr_rows()
        };
        self.cursor.row = self.cursor.row.saturating_add(count).min(end - 1);
        self.go_to_column(self.cursor.column);
    }

    pub(super) fn left(&mut self, count: usize) {
        self.cursor.column = self.column().saturating_sub(count);
    }

    pub(super) fn right(&mut self, count: usize) {
        self.go_to_column(self.column().saturating_add(count));
    }

    /// Makes the rows from one up to another the ones that scroll, unless they are fewer
    /// than two, and goes to the first place.
    pub(super) fn set_region(&mut self, first: usize, end: usize) {
        let end = end.min(self.nr_rows());
        if first.saturating_add(1) < end {
            self.region = first..end;
            self.go_to_column(0);
            self.go_to_row(0);
        }
    }

    /// Moves the region's text up; what leaves the whole screen is kept.
    pub(super) fn scroll_up(&mut self, count: usize, blank: Cell) {
        if self.region == (0..self.nr_rows()) {
            self.grid.advance(count, blank);
        } else {
            self.grid.scroll_up(self.region.clone(), count, blank);
        }
    }

    /// Moves the region's text down.
    pub(super) fn scroll_down(&mut self, count: usize, blank: Cell) {
        self.grid.scroll_down(self.region.clone(), count, blank);
    }

    /// Makes room for rows at the cursor, or takes them out; in the region alone.
    pub(super) fn change_rows(&mut self, count: usize, inserts: bool, blank: Cell) {
        if !self.region.contains(&self.cursor.row) {
            return;
        }
        let rows = self.cursor.row..self.region.end;
        if inserts {
            self.grid.scroll_down(rows, count, blank);
        } else {
            self.grid.scroll_up(rows, count, blank);
        }
        self.cursor.column = 0;
    }

    /// Makes room for cells at the cursor.
    pub(super) fn insert_cells(&mut self, count: usize, blank: Cell) {
        let column = self.column();
        let rest = &mut self.grid.row_mut(self.cursor.row)[column..];
        let count = count.min(rest.len());
        rest.copy_within(..rest.len() - count, count);
        rest[..count].fill(blank);
    }

    /// Takes cells out at the cursor.
    pub(super) fn delete_cells(&mut self, count: usize, blank: Cell) {
        let column = self.column();
        let rest = &mut self.grid.row_mut(self.cursor.row)[column..];
        let count = count.min(rest.len());
        rest.copy_within(count.., 0);
        let end = rest.len() - count;
        rest[end..].fill(blank);
    }

    /// Erases cells from the cursor on.
    pub(super) fn erase_cells(&mut self, count: usize, blank: Cell) {
        let column = self.column();
        let rest = &mut self.grid.row_mut(self.cursor.row)[column..];
        let count = count.min(rest.len());
        rest[..count].fill(blank);
    }

    pub(super) fn erase_in_line(&mut self, part: Part, blank: Cell) {
        let column = self.column();
        let row = self.grid.row_mut(self.cursor.row);
        match part {
            Part::After => row[column..].fill(blank),
            Part::Before => row[..=column].fill(blank),
            Part::All => row.fill(blank),
        }
    }

    pub(super) fn erase_in_screen(&mut self, part: Part, blank: Cell) {
        let rows = match part {
            Part::After => self.cursor.row + 1..self.nr_rows(),
            Part::Before => 0..self.cursor.row,
            Part::All => 0..self.nr_rows(),
        };
        self.grid.clear_rows(rows, blank);
        self.erase_in_line(part, blank);
    }

    pub(super) fn save(&mut self, pen: Pen) {
        self.saved = (self.cursor, pen);
    }

    /// Goes back to where the cursor was saved; returns the pen of then.
    pub(super) fn restore(&mut self) -> Pen {
        self.cursor = self.clamped(self.saved.0);
        self.saved.1
    }
}

#[cfg(test)]
impl Terminal<'_> {
    /// Puts anything where a change that never ended may leave something.
    pub(super) fn garble(&mut self, seed: usize) {
        self.cursor = Cursor {
            row: seed.rotate_left(7),
            column: seed.rotate_left(11),
        };
        self.saved.0 = self.cursor;
        self.region = seed % 7..seed % 5;
        self.grid.garble(seed);
    }
}
