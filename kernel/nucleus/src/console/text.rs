//! Text on the screen: the terminal, and what of it is seen.
//!
//! Text changes the grid, and pixels follow when they are asked to: [`TextConsole::show`]
//! draws what has changed since, however much was written, so that a burst of lines costs
//! one drawing. Video memory is never read.
//!
//! Memory comes from outside, and nothing is allocated here: a fixed piece at first, which
//! may be smaller than the screen and is then used in its upper part; later one that has
//! the whole screen, and lines above it to look back at.

use alloc::vec::Vec;
use core::fmt;

use super::cell::{Cell, Pen};
use super::escape::Voice;
use super::framebuffer::{Color, Framebuffer};
use super::glyph::{CELL_HEIGHT, CELL_WIDTH};
use super::grid::Grid;
use super::paint::{Easel, Painter, TOP, View};
use super::terminal::Terminal;

/// Most columns of a screen for which there is too little memory.
const MAX_NARROW: usize = 256;

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The kernel.
    Kernel,
    /// Programs.
    Program,
}

/// Memory for the text of a screen.
pub(super) struct TextMemory<'a> {
    /// The lines.
    cells: &'a mut [Cell],
    /// What the screen shows.
    shown: &'a mut [Cell],
}

/// Bytes of a cell.
pub(super) const CELL_SIZE: usize = size_of::<Cell>();

impl TextMemory<'static> {
    /// Allocates memory for a screen and lines above it, for ever; None if there is none.
    pub(super) fn allocate(nr_columns: usize, nr_rows: usize, nr_lines: usize) -> Option<Self> {
        Some(Self {
            cells: allocate(nr_columns.checked_mul(nr_lines)?)?,
            shown: allocate(nr_columns.checked_mul(nr_rows)?)?,
        })
    }
}

fn allocate(nr_cells: usize) -> Option<&'static mut [Cell]> {
    let mut cells = Vec::new();
    cells.try_reserve_exact(nr_cells).ok()?;
    cells.resize(nr_cells, Cell::UNSET);
    Some(cells.leak())
}

/// A piece of memory for text that is there without an allocator.
pub(crate) struct FixedMemory<const SIZE: usize> {
    cells: [Cell; SIZE],
    shown: [Cell; SIZE],
    easel: Easel,
}

impl<const SIZE: usize> FixedMemory<SIZE> {
    pub(crate) const fn new() -> Self {
        Self {
            cells: [Cell::UNSET; SIZE],
            shown: [Cell::UNSET; SIZE],
            easel: Easel::new(),
        }
    }
}

/// Returns columns and rows of a screen; either may be zero.
pub(super) fn grid_size(screen: &Framebuffer<'_>) -> (usize, usize) {
    let height = screen.height().saturating_sub(TOP);
    (screen.width() / CELL_WIDTH, height / CELL_HEIGHT)
}

/// A terminal on a screen.
pub(crate) struct TextConsole<'a> {
    pub(super) terminal: Terminal<'a>,
    pub(super) painter: Painter<'a>,
    kernel: Voice,
    program: Voice,
    /// How many lines back somebody looks.
    pub(super) nr_lines_back: usize,
    /// The screen may show something else than it is to.
    is_stale: bool,
}

impl<'a> TextConsole<'a> {
    /// Makes a console for a screen; None for one without room for a character.
    pub(crate) fn new<const SIZE: usize>(
        memory: &'a mut FixedMemory<SIZE>,
        screen: &mut Framebuffer<'_>,
    ) -> Option<Self> {
        let (mut nr_columns, mut nr_rows) = grid_size(screen);
        if nr_columns.saturating_mul(nr_rows) > SIZE {
            nr_columns = nr_columns.min(MAX_NARROW).min(SIZE);
            nr_rows = nr_rows.min(SIZE / nr_columns);
        }
        let mut console = Self {
            terminal: Terminal::new(Grid::new(&mut memory.cells, nr_columns, nr_rows)?),
            painter: Painter::new(&mut memory.shown, &mut memory.easel),
            kernel: Voice::new(Pen::PLAIN),
            program: Voice::new(Pen::PLAIN),
            nr_lines_back: 0,
            is_stale: true,
        };
        console.painter.clear(screen);
        Some(console)
    }

    /// Goes on in larger memory, with all of the screen; does nothing if it is too small.
    /// If what was ever written is known, all of it or its last lines in parts, it is
    /// written again.
    pub(super) fn grow(
        &mut self,
        memory: TextMemory<'a>,
        screen: &Framebuffer<'_>,
        early: Option<&[&[u8]]>,
    ) {
        let (nr_columns, nr_rows) = grid_size(screen);
        let has_room = memory.shown.len() >= nr_columns.saturating_mul(nr_rows);
        let Some(mut grid) = Grid::new(memory.cells, nr_columns, nr_rows).filter(|_| has_room)
        else {
            return;
        };
        if let Some(parts) = early {
            self.terminal = Terminal::new(grid);
            self.kernel = Voice::new(Pen::PLAIN);
            for part in parts {
                self.write(Speaker::Kernel, part);
            }
        } else {
            grid.adopt(&self.terminal.grid);
            self.terminal.set_grid(grid);
        }
        self.painter.set_memory(memory.shown);
        self.is_stale = true;
    }

    /// Returns how many columns and rows of text there are.
    pub(super) const fn size(&self) -> (usize, usize) {
        let grid = &self.terminal.grid;
        (grid.nr_columns(), grid.nr_rows())
    }

    /// Returns how many lines above the screen can be looked at.
    pub(super) const fn nr_old_lines(&self) -> usize {
        self.terminal.grid.nr_old()
    }

    /// Returns how many lines above the screen are kept at most.
    #[cfg(ktest)]
    pub(super) fn max_old_lines(&self) -> usize {
        self.terminal.grid.max_old()
    }

    /// Returns whether somebody looks at lines above the screen.
    #[cfg(ktest)]
    pub(super) const fn is_looking_back(&self) -> bool {
        self.nr_lines_back > 0
    }

    /// Sets the colour of what the kernel writes; None for that of all text.
    pub(super) fn set_color(&mut self, color: Option<Color>) {
        self.kernel.set_pen(color.map_or(Pen::PLAIN, Pen::of));
    }

    /// Writes text; nothing of it is seen until it is shown.
    pub(crate) fn write(&mut self, speaker: Speaker, bytes: &[u8]) {
        let voice = match speaker {
            Speaker::Kernel => &mut self.kernel,
            Speaker::Program => &mut self.program,
        };
        voice.write(&mut self.terminal, bytes);
        self.nr_lines_back = 0;
        self.is_stale = true;
    }

    /// Looks so many lines further back, or forth.
    pub(super) fn scroll(&mut self, nr_lines: isize) {
        let wanted = self.nr_lines_back.saturating_add_signed(nr_lines);
        self.nr_lines_back = wanted.min(self.nr_old_lines());
        self.is_stale = true;
    }

    /// Brings the screen up to date.
    pub(crate) fn show(&mut self, screen: &mut Framebuffer<'_>) {
        self.show_some(screen, usize::MAX);
    }

    /// Draws so many cells of what is to be drawn, and a row more at most.
    pub(super) fn show_some(&mut self, screen: &mut Framebuffer<'_>, nr_cells: usize) {
        if !self.is_stale {
            return;
        }
        let terminal = &self.terminal;
        let has_cursor = terminal.modes.shows_cursor && self.nr_lines_back == 0;
        let view = View {
            grid: &terminal.grid,
            nr_lines_back: self.nr_lines_back,
            cursor: has_cursor.then(|| (terminal.cursor.row, terminal.column())),
        };
        self.is_stale = !self.painter.update(screen, view, nr_cells);
    }

    /// Returns whether the screen may show something else than it is to.
    #[cfg(any(test, ktest))]
    pub(super) const fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Draws everything again, for example on a screen that was mapped anew.
    pub(crate) fn redraw(&mut self, screen: &mut Framebuffer<'_>) {
        self.painter.clear(screen);
        self.is_stale = true;
        self.show(screen);
    }

    /// Prepares for a last report after whoever wrote was stopped, perhaps in the middle
    /// of a change: it begins below all text.
    pub(super) fn recover(&mut self, color: Color) {
        self.kernel = Voice::new(Pen::of(color));
        self.program = Voice::new(Pen::PLAIN);
        self.terminal.recover();
        self.terminal.soft_reset();
        self.terminal.go_below_text();
        self.nr_lines_back = 0;
        self.painter.forget();
        self.is_stale = true;
    }
}

impl fmt::Debug for TextConsole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (columns, rows) = self.size();
        write!(f, "TextConsole({columns} by {rows})")
    }
}
