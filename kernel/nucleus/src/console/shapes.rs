//! Boxes and blocks, U+2500 to U+259F, drawn from what they are made of.
//!
//! A line of a box is up to four arms from the middle of the cell to its borders. Heavy
//! and double lines are two pixels wide, those with arms of several kinds are light,
//! dashes are whole, and round corners are square.

use core::ops::Range;

use super::glyph::{CELL_HEIGHT, CELL_WIDTH, Raster};

/// Boxes and blocks.
pub(super) const NR_SHAPES: usize = 0xa0;
/// The first of the blocks.
const FIRST_BLOCK: usize = 0x80;

const LEFT: u8 = 1;
const RIGHT: u8 = 2;
const UP: u8 = 4;
const DOWN: u8 = 8;

const BLANK: Raster = [[0; CELL_WIDTH]; CELL_HEIGHT];
/// Where the middle is.
const X: usize = CELL_WIDTH / 2;
const Y: usize = CELL_HEIGHT / 2;

/// How boxes and blocks look, and then what stands for whatever cannot be shown.
pub(super) static SHAPES: [Raster; NR_SHAPES + 1] = {
    let mut shapes = [BLANK; NR_SHAPES + 1];
    let mut number = 0;
    while number < NR_SHAPES {
        shapes[number] = if number < FIRST_BLOCK {
            lines(arms(number), if is_heavy(number) { 2 } else { 1 })
        } else {
            block(number)
        };
        number += 1;
    }
    let frame = filled(BLANK, 1..CELL_WIDTH - 1, 3..CELL_HEIGHT - 3, 170);
    shapes[NR_SHAPES] = filled(frame, 2..CELL_WIDTH - 2, 4..CELL_HEIGHT - 4, 0);
    shapes
};

/// Returns which arms a line of a box has.
const fn arms(number: usize) -> u8 {
    match number {
        0x00 | 0x01 | 0x04 | 0x05 | 0x08 | 0x09 | 0x4c | 0x4d | 0x50 | 0x7c | 0x7e => LEFT | RIGHT,
        0x02 | 0x03 | 0x06 | 0x07 | 0x0a | 0x0b | 0x4e | 0x4f | 0x51 | 0x7d | 0x7f => UP | DOWN,
        0x0c..=0x0f | 0x52..=0x54 | 0x6d => RIGHT | DOWN,
        0x10..=0x13 | 0x55..=0x57 | 0x6e => LEFT | DOWN,
        0x14..=0x17 | 0x58..=0x5a | 0x70 => RIGHT | UP,
        0x18..=0x1b | 0x5b..=0x5d | 0x6f => LEFT | UP,
        0x1c..=0x23 | 0x5e..=0x60 => RIGHT | UP | DOWN,
        0x24..=0x2b | 0x61..=0x63 => LEFT | UP | DOWN,
        0x2c..=0x33 | 0x64..=0x66 => LEFT | RIGHT | DOWN,
        0x34..=0x3b | 0x67..=0x69 => LEFT | RIGHT | UP,
        0x3c..=0x4b | 0x6a..=0x6c => LEFT | RIGHT | UP | DOWN,
        0x74 | 0x78 => LEFT,
        0x75 | 0x79 => UP,
        0x76 | 0x7a => RIGHT,
        0x77 | 0x7b => DOWN,
        _ => 0,
    }
}

const fn is_heavy(number: usize) -> bool {
    match number {
        0x00..=0x0b | 0x4c..=0x4f => number % 2 == 1,
        0x0f | 0x13 | 0x17 | 0x1b | 0x23 | 0x2b | 0x33 | 0x3b | 0x4b => true,
        0x50..=0x6c | 0x78..=0x7b => true,
        _ => false,
    }
}

const fn lines(arms: u8, width: usize) -> Raster {
    let mut raster = BLANK;
    if arms & LEFT != 0 {
        raster = filled(raster, 0..X + width, Y..Y + width, 255);
    }
    if arms & RIGHT != 0 {
        raster = filled(raster, X..CELL_WIDTH, Y..Y + width, 255);
    }
    if arms & UP != 0 {
        raster = filled(raster, X..X + width, 0..Y + width, 255);
    }
    if arms & DOWN != 0 {
        raster = filled(raster, X..X + width, Y..CELL_HEIGHT, 255);
    }
    raster
}

const fn block(number: usize) -> Raster {
    const W: usize = CELL_WIDTH;
    const H: usize = CELL_HEIGHT;
    match number {
        0x80 => filled(BLANK, 0..W, 0..Y, 255),
        0x81..=0x88 => filled(BLANK, 0..W, H - H * (number - 0x80) / 8..H, 255),
        0x89..=0x8f => filled(BLANK, 0..(W * (0x90 - number)).div_ceil(8), 0..H, 255),
        0x90 => filled(BLANK, X..W, 0..H, 255),
        0x91..=0x93 => filled(BLANK, 0..W, 0..H, 64 * (number - 0x90) as u8),
        0x94 => filled(BLANK, 0..W, 0..H / 8, 255),
        0x95 => filled(BLANK, W - 1..W, 0..H, 255),
        _ => quarters(QUARTERS[number - 0x96]),
    }
}

/// Which quarters a block has: upper left, upper right, lower left, lower right, from the
/// lowest bit.
const QUARTERS: [u8; 10] = [
    0b0100, 0b1000, 0b0001, 0b1101, 0b1001, 0b0111, 0b1011, 0b0010, 0b0110, 0b1110,
];

const fn quarters(quarters: u8) -> Raster {
    let mut raster = BLANK;
    let mut number = 0;
    while number < 4 {
        if quarters >> number & 1 == 1 {
            let columns = if number % 2 == 0 { 0..X } else { X..CELL_WIDTH };
            let rows = if number < 2 { 0..Y } else { Y..CELL_HEIGHT };
            raster = filled(raster, columns, rows, 255);
        }
        number += 1;
    }
    raster
}

const fn filled(
    mut raster: Raster,
    columns: Range<usize>,
    rows: Range<usize>,
    intensity: u8,
) -> Raster {
    let mut row = rows.start;
    while row < rows.end {
        let mut column = columns.start;
        while column < columns.end {
            raster[row][column] = intensity;
            column += 1;
        }
        row += 1;
    }
    raster
}

#[cfg(test)]
mod tests {
    use super::{CELL_HEIGHT, CELL_WIDTH, Raster, SHAPES};

    fn shape(character: char) -> &'static Raster {
        &SHAPES[character as usize - 0x2500]
    }

    #[test]
    fn lines_of_neighbours_meet() {
        for (left, right) in [('─', '┐'), ('┌', '┤'), ('═', '╗'), ('╭', '╯')] {
            for (from, to) in shape(left).iter().zip(shape(right)) {
                assert_eq!(from[CELL_WIDTH - 1], to[0], "{left}{right}");
            }
        }
        for (above, below) in [('│', '└'), ('┌', '┴'), ('║', '╝'), ('┏', '┻')] {
            assert_eq!(shape(above)[CELL_HEIGHT - 1], shape(below)[0]);
        }
    }

    #[test]
    fn blocks_fill_what_they_say() {
        let ink = |character| {
            let pixels = shape(character).as_flattened().iter();
            pixels
                .map(|intensity| usize::from(*intensity))
                .sum::<usize>()
                / 255
        };
        let all = CELL_WIDTH * CELL_HEIGHT;
        assert_eq!((ink('█'), ink('▀'), ink('▄')), (all, all / 2, all / 2));
        assert_eq!(ink('▌') + ink('▐'), all + CELL_HEIGHT);
        assert_eq!(ink('▙') + ink('▝'), all);
        assert_eq!(ink('▜') + ink('▖'), all);
        assert!(ink('░') < ink('▒') && ink('▒') < ink('▓'));
    }
}
