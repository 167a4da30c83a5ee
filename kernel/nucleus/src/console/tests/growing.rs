//! What was written before the screen had its memory is there when it has.

use super::super::early::Early;
use super::super::glyph::{CELL_HEIGHT, CELL_WIDTH};
use super::super::paint::TOP;
use super::super::text::{Speaker, TextMemory, grid_size};
use super::{Screen, String, format, info, text_of};

#[test]
fn early_text_is_written_again_where_there_is_more_room() {
    let (columns, rows) = (300, 20);
    let mut screen = Screen::with(info(columns * CELL_WIDTH, TOP + rows * CELL_HEIGHT))
        .expect("there is room for text");
    let early = format!("first\n\x1b[31m{}\x1b[m\nlast\n", "x".repeat(columns - 1));
    screen.text.write(Speaker::Kernel, early.as_bytes());
    assert!(!screen.lines().contains(&String::from("first")));
    let memory = TextMemory::allocate(columns, rows, rows + 5).expect("enough memory");
    screen.on(|text, framebuffer| text.grow(memory, framebuffer, Some(&[early.as_bytes()])));
    assert_eq!(screen.lines()[..1], ["first"]);
    assert_eq!(screen.lines()[2..4], ["last", ""]);
    assert_eq!(screen.cursor(), (3, 0));
    screen.check_pixels();
}

#[test]
fn long_log_of_before_the_heap_is_whole_on_the_largest_screen() {
    const NR_LINES: usize = 500;
    let mut screen = Screen::with(info(2560, 1600)).expect("there is room for text");
    let mut early = Early::new();
    for number in 0..NR_LINES {
        // As long as those of a map of memory.
        let line = format!(
            "{number}: 0x000000000000..0x000000000000 Reclaimable {:60}.\n",
            ""
        );
        early.keep(line.as_bytes());
        screen.text.write(Speaker::Kernel, line.as_bytes());
    }
    let (columns, rows) = screen.on(|_, framebuffer| grid_size(framebuffer));
    let memory = TextMemory::allocate(columns, rows, NR_LINES + rows).expect("enough memory");
    screen.on(|text, framebuffer| text.grow(memory, framebuffer, Some(&early.parts())));
    let nr_old = screen.text.nr_old_lines();
    // The cursor is in a row of its own.
    assert_eq!(nr_old + rows, NR_LINES + 1);
    let grid = &screen.text.terminal.grid;
    for number in 0..NR_LINES {
        let (row, back) = (number.saturating_sub(nr_old), nr_old.saturating_sub(number));
        let text = text_of(grid.row_back(row, back));
        assert!(text.starts_with(&format!("{number}: ")), "{number}: {text}");
    }
}
