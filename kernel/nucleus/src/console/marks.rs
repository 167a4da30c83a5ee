//! Marks of start-up: a coloured square for each stage, in the top row of the
//! screen, so that a machine without a serial port that stops shows where.

use super::framebuffer::{Color, Framebuffer};

/// Pixels of a mark's side.
pub const SIZE: usize = 12;

/// The stages of start-up that leave a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Traps are reported.
    Traps,
    /// The memory map is known.
    MemoryMap,
    /// The kernel's page table is made.
    PageTable,
    /// It is active.
    OwnSpace,
    /// Frame allocator and heap work.
    Memory,
    /// Interrupts arrive.
    Interrupts,
    /// The kernel's `main` runs.
    Main,
}

/// Draws the mark of a stage.
pub fn draw(screen: &mut Framebuffer, stage: Stage) {
    let position = stage as usize;
    let color = Color {
        red: 40 + 30 * position as u8,
        green: 220,
        blue: 250 - 30 * position as u8,
    };
    screen.fill(position * (SIZE + 4), 0, SIZE, SIZE, color);
}
