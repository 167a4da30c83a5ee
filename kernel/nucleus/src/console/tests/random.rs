//! Random bytes on screens of any size, and consoles in any state.

extern crate std;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::{CELL_HEIGHT, CELL_WIDTH, Color, Screen, Speaker, TOP, info};

/// Puts numbers and cells into any state that a change could have been stopped in.
fn garble(screen: &mut Screen, seed: usize) {
    let terminal = &mut screen.text.terminal;
    terminal.garble(seed);
    screen.text.nr_lines_back = seed;
    screen.text.painter.garble(seed);
}

proptest! {
    #[test]
    fn any_bytes_on_any_screen_are_survived_and_pixels_follow(
        (columns, rows) in (1..30_usize, 1..9_usize),
        pieces in proptest::collection::vec(piece(), 0..60),
        grows in any::<bool>(),
        lines_back in -20..40_isize,
    ) {
        let (width, height) = (columns * CELL_WIDTH + 2, TOP + rows * CELL_HEIGHT + 1);
        let mut screen = Screen::with(info(width, height)).expect("there is room for text");
        for (number, piece) in pieces.iter().enumerate() {
            if grows && number == pieces.len() / 2 {
                screen.grow(rows + 30);
            }
            screen.write(piece);
            if number % 3 == 0 {
                screen.on(|text, framebuffer| text.show_some(framebuffer, columns));
            }
        }
        screen.text.scroll(lines_back);
        screen.check_pixels();
    }

    #[test]
    fn report_appears_whatever_the_console_was_taken_from(
        seed in any::<usize>(),
        pieces in proptest::collection::vec(piece(), 0..20),
    ) {
        let mut screen = Screen::new();
        for piece in &pieces {
            screen.write(piece);
        }
        garble(&mut screen, seed);
        screen.text.recover(Color::PANIC);
        screen.text.write(Speaker::Kernel, b"report\n");
        prop_assert!(screen.lines().contains(&String::from("report")));
        screen.check_pixels();
    }
}

/// Bytes, sequences with any numbers, or text.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0..12_u32, Just(u32::MAX), Just(65_535)];
    let sequence = (
        prop_oneof![Just(""), Just("?"), Just("!"), Just(">")],
        proptest::collection::vec(number, 0..5),
        b'@'..=b'~',
    )
        .prop_map(|(mark, numbers, action)| {
            let numbers: Vec<String> = numbers.iter().map(|n| format!("{n}")).collect();
            let text = format!("\x1b[{mark}{}{}", numbers.join(";"), char::from(action));
            text.into_bytes()
        });
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12),
        sequence,
        "[a-zäß汉│ \n\r\t\x08]{0,20}".prop_map(String::into_bytes),
        (b'0'..=b'~').prop_map(|byte| vec![0x1b, byte]),
    ]
}
