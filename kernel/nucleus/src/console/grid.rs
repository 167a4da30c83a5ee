//! The grid: the lines on the screen, and those that went off its top.
//!
//! The lines are in a ring, of which the screen is the last part: text that scrolls off
//! stays where it is until the ring comes round. Lines that are neither on the screen nor
//! above it hold anything.
//!
//! ```text
//!        oldest                 top
//!  +-------+---------------------+------------------+-------+
//!  |       | nr_old              | nr_rows          |       |
//!  +-------+---------------------+------------------+-------+
//! ```

use core::ops::Range;

use super::cell::Cell;

/// Lines of cells in somebody's memory; there is one row and one column at least.
#[derive(Debug)]
pub(super) struct Grid<'a> {
    cells: &'a mut [Cell],
    nr_columns: usize,
    nr_rows: usize,
    /// The ring's line that is the first of the screen.
    top: usize,
    /// Lines above the screen.
    nr_old: usize,
}

impl<'a> Grid<'a> {
    /// Makes a blank grid; None if the memory has not so many rows, or there are none.
    pub(super) fn new(cells: &'a mut [Cell], nr_columns: usize, nr_rows: usize) -> Option<Self> {
        let nr_lines = cells.len().checked_div(nr_columns)?;
        if nr_rows == 0 || nr_lines < nr_rows {
            return None;
        }
        let mut grid = Self {
            cells,
            nr_columns,
            nr_rows,
            top: 0,
            nr_old: 0,
        };
        grid.clear_rows(0..nr_rows, Cell::BLANK);
        Some(grid)
    }

    /// Takes over the lines of a smaller grid.
    pub(super) fn adopt(&mut self, other: &Grid<'_>) {
        self.nr_old = other.nr_old.min(self.max_old());
        self.top = self.nr_old;
        self.clear_rows(0..self.nr_rows, Cell::BLANK);
        let skipped = other.nr_old - self.nr_old;
        for line in 0..self.nr_old + other.nr_rows.min(self.nr_rows) {
            let from = other.line(other.top + other.nr_lines() - other.nr_old + skipped + line);
            let width = other.nr_columns.min(self.nr_columns);
            let start = self.start(line);
            let to = &mut self.cells[start..start + self.nr_columns];
            to.fill(Cell::BLANK);
            to[..width].copy_from_slice(&from[..width]);
        }
    }

    pub(super) const fn nr_columns(&self) -> usize {
        self.nr_columns
    }

    pub(super) const fn nr_rows(&self) -> usize {
        self.nr_rows
    }

    /// Returns how many lines there are above the screen.
    pub(super) const fn nr_old(&self) -> usize {
        self.nr_old
    }

    /// Returns how many lines above the screen are kept at most.
    pub(super) fn max_old(&self) -> usize {
        self.nr_lines() - self.nr_rows
    }

    fn nr_lines(&self) -> usize {
        self.cells.len() / self.nr_columns
    }

    /// Returns where a line of the ring begins.
    fn start(&self, line: usize) -> usize {
        line % self.nr_lines() * self.nr_columns
    }

    fn line(&self, line: usize) -> &[Cell] {
        let start = self.start(line);
        &self.cells[start..start + self.nr_columns]
    }

    /// Returns a row of the screen as it was some lines ago.
    pub(super) fn row_back(&self, row: usize, nr_lines_back: usize) -> &[Cell] {
        self.line(self.top + self.nr_lines() - nr_lines_back + row)
    }

    pub(super) fn row(&self, row: usize) -> &[Cell] {
        self.row_back(row, 0)
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut [Cell] {
        let start = self.start(self.top + row);
        &mut self.cells[start..start + self.nr_columns]
    }

    pub(super) fn clear_rows(&mut self, rows: Range<usize>, blank: Cell) {
        for row in rows {
            self.row_mut(row).fill(blank);
        }
    }

    /// Moves the whole screen up, at most by itself; the lines that leave it are kept.
    pub(super) fn advance(&mut self, count: usize, blank: Cell) {
        for _ in 0..count.min(self.nr_rows) {
            self.top = (self.top + 1) % self.nr_lines();
            self.nr_old = (self.nr_old + 1).min(self.max_old());
            self.row_mut(self.nr_rows - 1).fill(blank);
        }
    }

    /// Moves rows up, at most all of them.
    pub(super) fn scroll_up(&mut self, rows: Range<usize>, count: usize, blank: Cell) {
        let count = count.min(rows.len());
        for row in rows.start..rows.end - count {
            self.copy_row(row + count, row);
        }
        self.clear_rows(rows.end - count..rows.end, blank);
    }

    /// Moves rows down, at most all of them.
    pub(super) fn scroll_down(&mut self, rows: Range<usize>, count: usize, blank: Cell) {
        let count = count.min(rows.len());
        for row in (rows.start + count..rows.end).rev() {
            self.copy_row(row - count, row);
        }
        self.clear_rows(rows.start..rows.start + count, blank);
    }

    fn copy_row(&mut self, from: usize, to: usize) {
        let (from, to) = (self.start(self.top + from), self.start(self.top + to));
        self.cells.copy_within(from..from + self.nr_columns, to);
    }

    /// Forgets the lines above the screen.
    pub(super) const fn forget_old(&mut self) {
        self.nr_old = 0;
    }

    /// Makes sense of whatever a change that never ended has left.
    pub(super) fn recover(&mut self) {
        self.top %= self.nr_lines();
        self.nr_old = self.nr_old.min(self.max_old());
    }
}

#[cfg(test)]
impl Grid<'_> {
    /// Puts anything where a change that never ended may leave something.
    pub(super) fn garble(&mut self, seed: usize) {
        self.top = seed.rotate_left(19);
        self.nr_old = seed.rotate_left(23);
        for (place, cell) in self.cells.iter_mut().enumerate().step_by(3) {
            *cell = Cell::from_word((seed as u64).wrapping_mul(place as u64 | 1));
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    use super::{Cell, Grid};
    use crate::console::glyph::Glyph;

    fn write(grid: &mut Grid<'_>, row: usize, text: &str) {
        for (cell, character) in grid.row_mut(row).iter_mut().zip(text.chars()) {
            *cell = Cell::BLANK.with_glyph(Glyph::of(character).expect("it is shown"));
        }
    }

    /// All lines, oldest first.
    fn lines(grid: &Grid<'_>) -> Vec<String> {
        let back = (1..=grid.nr_old()).rev().map(|back| (0, back));
        back.chain((0..grid.nr_rows()).map(|row| (row, 0)))
            .map(|(row, back)| {
                let cells = grid.row_back(row, back).iter();
                let text: String = cells.map(|cell| cell.glyph().character()).collect();
                String::from(text.trim_end())
            })
            .collect()
    }

    #[test]
    fn lines_that_scroll_off_are_kept_as_far_as_there_is_room() {
        let mut memory = vec![Cell::NEVER; 4 * 5];
        let mut grid = Grid::new(&mut memory, 4, 2).expect("it fits");
        for number in 0..9 {
            grid.advance(1, Cell::BLANK);
            write(&mut grid, 1, &std::format!("n{number}"));
        }
        assert_eq!(lines(&grid), ["n4", "n5", "n6", "n7", "n8"]);
    }

    #[test]
    fn parts_of_the_screen_scroll_without_the_rest() {
        let mut memory = vec![Cell::NEVER; 3 * 6];
        let mut grid = Grid::new(&mut memory, 3, 5).expect("it fits");
        for (row, text) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            write(&mut grid, row, text);
        }
        grid.scroll_up(1..4, 1, Cell::BLANK);
        assert_eq!(lines(&grid), ["a", "c", "d", "", "e"]);
        grid.scroll_down(0..3, 2, Cell::BLANK);
        assert_eq!(lines(&grid), ["", "", "a", "", "e"]);
        grid.scroll_up(2..5, 99, Cell::BLANK);
        grid.scroll_down(4..5, 99, Cell::BLANK);
        assert_eq!(lines(&grid), ["", "", "", "", ""]);
    }

    #[test]
    fn larger_grid_takes_over_what_a_smaller_one_holds() {
        let (mut small, mut large) = (vec![Cell::NEVER; 3 * 4], vec![Cell::NEVER; 5 * 9]);
        let mut grid = Grid::new(&mut small, 3, 2).expect("it fits");
        for text in ["one", "two", "3", "4", "5"] {
            grid.advance(1, Cell::BLANK);
            write(&mut grid, 1, text);
        }
        let mut larger = Grid::new(&mut large, 5, 3).expect("it fits");
        larger.adopt(&grid);
        assert_eq!(lines(&larger), ["two", "3", "4", "5", ""]);
        let mut tiny = [Cell::NEVER; 3];
        let mut smaller = Grid::new(&mut tiny, 1, 2).expect("it fits");
        smaller.adopt(&grid);
        assert_eq!(lines(&smaller), ["3", "4", "5"]);
    }

    #[test]
    fn grid_without_room_is_refused() {
        let mut memory = [Cell::NEVER; 6];
        for (columns, rows) in [(0, 1), (1, 0), (0, 0), (3, 3), (7, 1), (1, usize::MAX)] {
            assert!(Grid::new(&mut memory, columns, rows).is_none());
        }
        assert!(Grid::new(&mut memory, 3, 2).is_some());
    }
}
