//! Tests of the screen as a whole: bytes in, text and pixels out.

mod growing;
mod random;

extern crate std;
use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::cell::{Cell, Pen};
use super::framebuffer::{Color, Framebuffer, FramebufferInfo, PixelFormat};
use super::glyph::{CELL_HEIGHT, CELL_WIDTH};
use super::paint::TOP;
use super::text::{FixedMemory, Speaker, TextConsole, TextMemory, grid_size};

const COLUMNS: usize = 12;
const ROWS: usize = 4;
/// Cells of the fixed memory: two lines more than the screen has.
const CELLS: usize = COLUMNS * (ROWS + 2);

/// A screen whose pixels can be looked at from outside.
struct Screen {
    text: TextConsole<'static>,
    info: FramebufferInfo,
    pixels: Vec<u8>,
}

fn info(width: usize, height: usize) -> FramebufferInfo {
    FramebufferInfo {
        byte_len: width * height * 4,
        width,
        height,
        stride: width,
        bytes_per_pixel: 4,
        pixel_format: PixelFormat::Rgb,
    }
}

impl Screen {
    fn new() -> Self {
        let info = info(COLUMNS * CELL_WIDTH + 3, TOP + ROWS * CELL_HEIGHT + 5);
        Self::with(info).expect("there is room for text")
    }

    fn with(info: FramebufferInfo) -> Option<Self> {
        let mut pixels = vec![0; info.byte_len];
        let mut framebuffer = Framebuffer::new(&mut pixels, info)?;
        let memory = Box::leak(Box::new(FixedMemory::<CELLS>::new()));
        let mut text = TextConsole::new(memory, &mut framebuffer)?;
        text.show(&mut framebuffer);
        Some(Self { text, info, pixels })
    }

    /// Does something with the text and the framebuffer.
    fn on<R>(
        &mut self,
        run: impl FnOnce(&mut TextConsole<'static>, &mut Framebuffer<'_>) -> R,
    ) -> R {
        let mut framebuffer = Framebuffer::new(&mut self.pixels, self.info).expect("it fits");
        run(&mut self.text, &mut framebuffer)
    }

    fn write(&mut self, text: impl AsRef<[u8]>) {
        self.text.write(Speaker::Program, text.as_ref());
    }

    /// Shows what has changed, and compares with everything drawn again.
    #[track_caller]
    fn check_pixels(&mut self) {
        self.on(|text, screen| text.show(screen));
        assert!(!self.text.is_stale());
        let incremental = self.pixels.clone();
        self.pixels.fill(0);
        self.on(|text, screen| text.redraw(screen));
        let top = TOP * self.info.stride * self.info.bytes_per_pixel;
        assert!(incremental[top..] == self.pixels[top..], "pixels differ");
    }

    fn lines(&self) -> Vec<String> {
        let grid = &self.text.terminal.grid;
        let rows = (0..grid.nr_rows()).map(|row| grid.row_back(row, self.text.nr_lines_back));
        rows.map(text_of).collect()
    }

    fn grow(&mut self, nr_lines: usize) {
        let (columns, rows) = self.on(|_, screen| grid_size(screen));
        let memory = TextMemory::allocate(columns, rows, nr_lines).expect("enough memory");
        self.on(|text, screen| text.grow(memory, screen, None));
    }

    fn cursor(&self) -> (usize, usize) {
        let cursor = self.text.terminal.cursor;
        (cursor.row, cursor.column)
    }
}

fn text_of(row: &[Cell]) -> String {
    let text: String = row.iter().map(|cell| cell.glyph().character()).collect();
    String::from(text.trim_end())
}

#[test]
fn grid_fits_the_screen() {
    assert_eq!(Screen::new().text.size(), (COLUMNS, ROWS));
}

/// Sequences, and what four rows of twelve columns show after them.
const SEQUENCES: [(&str, &str, [&str; ROWS]); 44] = [
    ("wrap", "abcdefghijklmn", ["abcdefghijkl", "mn", "", ""]),
    (
        "no wrap",
        "\x1b[?7labcdefghijklmn",
        ["abcdefghijkn", "", "", ""],
    ),
    (
        "full row, then a new line",
        "abcdefghijkl\nm",
        ["abcdefghijkl", "m", "", ""],
    ),
    ("scroll", "1\n2\n3\n4\n5", ["2", "3", "4", "5"]),
    ("carriage return", "abc\rX", ["Xbc", "", "", ""]),
    ("backspace", "abc\x08\x08X", ["aXc", "", "", ""]),
    (
        "erase a character",
        "abc\x08 \x08\x08 \x08X",
        ["aX", "", "", ""],
    ),
    (
        "erase in the last column",
        "abcdefghijkl\x08 \x08X",
        ["abcdefghijkX", "", "", ""],
    ),
    (
        "erase over a wrap",
        "abcdefghijklm\x08 \x08\x08 \x08X",
        ["abcdefghijkX", "", "", ""],
    ),
    (
        "no erase over a line",
        "abc\nd\x08\x08\x08X",
        ["abc", "X", "", ""],
    ),
    ("tab", "a\tb", ["a       b", "", "", ""]),
    ("tab at the end", "a\t\t\tb", ["a          b", "", "", ""]),
    (
        "tab back",
        "abcdefghij\x1b[ZX\x1b[2ZY",
        ["YbcdefghXj", "", "", ""],
    ),
    (
        "tab moves and does not write",
        "abc\r\tX",
        ["abc     X", "", "", ""],
    ),
    (
        "up and left",
        "\n\nab\x1b[A\x1b[DX\x1b[2AY",
        ["  Y", " X", "ab", ""],
    ),
    (
        "down and right",
        "\x1b[2B\x1b[3CX\x1b[B\x1b[CY",
        ["", "", "   X", "     Y"],
    ),
    (
        "not beyond the borders",
        "\x1b[99B\x1b[99CX\x1b[99A\x1b[99DY",
        ["Y", "", "", "           X"],
    ),
    (
        "position",
        "\x1b[2;3HX\x1b[4;1fY\x1b[HZ",
        ["Z", "  X", "", "Y"],
    ),
    (
        "position, out of range",
        "\x1b[999;999HX\x1b[0;0HY",
        ["Y", "", "", "           X"],
    ),
    (
        "column and row",
        "\x1b[5GX\x1b[3dY\x1b[2`Z",
        ["    X", "", " Z   Y", ""],
    ),
    (
        "next and previous line",
        "ab\x1b[2EX\x1b[FY",
        ["ab", "Y", "X", ""],
    ),
    (
        "save and restore",
        "ab\x1b7\x1b[3;5HX\x1b8Y",
        ["abY", "", "    X", ""],
    ),
    (
        "save and restore, otherwise",
        "ab\x1b[s\nX\x1b[uY",
        ["abY", "X", "", ""],
    ),
    (
        "erase to the end of the line",
        "abcdef\x1b[3D\x1b[K",
        ["abc", "", "", ""],
    ),
    (
        "erase from its beginning",
        "abcdef\x1b[3D\x1b[1K",
        ["    ef", "", "", ""],
    ),
    (
        "erase the line",
        "abc\ndef\x1b[2KX",
        ["abc", "   X", "", ""],
    ),
    (
        "erase the rest of the screen",
        "a\nb\nc\nd\x1b[2H\x1b[J",
        ["a", "", "", ""],
    ),
    (
        "erase the screen so far",
        "a\nb\nc\nd\x1b[3H\x1b[1J",
        ["", "", "", "d"],
    ),
    ("erase the screen", "a\nb\nc\x1b[2JX", ["", "", " X", ""]),
    (
        "insert cells",
        "abcd\x1b[3D\x1b[2@X",
        ["aX bcd", "", "", ""],
    ),
    ("delete cells", "abcdef\x1b[4D\x1b[2P", ["abef", "", "", ""]),
    (
        "erase cells",
        "abcdef\x1b[4D\x1b[2X",
        ["ab  ef", "", "", ""],
    ),
    (
        "insert lines",
        "a\nb\nc\x1b[2;2H\x1b[LX",
        ["a", "X", "b", "c"],
    ),
    (
        "delete lines",
        "a\nb\nc\nd\x1b[2H\x1b[2M",
        ["a", "d", "", ""],
    ),
    (
        "delete all lines",
        "a\nb\nc\nd\x1b[H\x1b[99M",
        ["", "", "", ""],
    ),
    (
        "scroll region",
        "\x1b[2;3ra\x1b[2Hb\nc\nd\ne",
        ["a", "d", "e", ""],
    ),
    (
        "below the region",
        "\x1b[1;2r\x1b[4Ha\nb",
        ["", "", "", "b"],
    ),
    ("reverse line feed", "a\nb\x1b[H\x1bMX", ["X", "a", "b", ""]),
    (
        "scroll up and down",
        "a\nb\nc\nd\x1b[2S\x1b[T",
        ["", "c", "d", ""],
    ),
    (
        "rows of the region",
        "\x1b[2;3r\x1b[?6hA\x1b[9;1HB",
        ["", "A", "B", ""],
    ),
    (
        "insert mode",
        "abc\r\x1b[4hXY\x1b[4lZ",
        ["XYZbc", "", "", ""],
    ),
    (
        "lines of boxes",
        "\x1b)0\x0elqk\x0flqk\x1b(0x\x1b(Bx",
        ["┌─┐lqk│x", "", "", ""],
    ),
    (
        "characters of several bytes",
        "äß€Ł│汉e\u{301}",
        ["äß\u{fffd}Ł│\u{fffd}e", "", "", ""],
    ),
    (
        "titles and answers",
        "\x1b]0;title\x07a\x1b[6n\x1b[>cb\x1bPq\x1b\\c",
        ["abc", "", "", ""],
    ),
];

#[test]
fn sequences_do_what_they_say() {
    for (name, bytes, expected) in SEQUENCES {
        let mut screen = Screen::new();
        screen.write(bytes);
        assert_eq!(screen.lines(), expected, "{name}");
        screen.check_pixels();
        // The same, byte by byte.
        let mut screen = Screen::new();
        for byte in bytes.as_bytes() {
            screen.write([*byte]);
        }
        assert_eq!(screen.lines(), expected, "{name}, byte by byte");
    }
}

/// Returns foreground and background of the last character that was written.
fn colors_after(bytes: &str) -> (Color, Color) {
    let mut screen = Screen::new();
    screen.write(bytes);
    screen.check_pixels();
    let cell = screen.text.terminal.grid.row(0)[0];
    (cell.foreground(), cell.background())
}

#[test]
fn colours_are_those_that_were_selected() {
    let plain = (Color::TEXT, Color::BACKGROUND);
    let (red, blue) = (Color::new(255, 0, 0), Color::new(0, 0, 255));
    for (bytes, expected) in [
        ("X", plain),
        ("\x1b[38;5;196mX", (red, Color::BACKGROUND)),
        ("\x1b[38:5:196mX", (red, Color::BACKGROUND)),
        ("\x1b[48;2;0;0;255;38;2;255;0;0mX", (red, blue)),
        ("\x1b[38:2::255:0:0mX", (red, Color::BACKGROUND)),
        ("\x1b[38:2:255:0:0mX", (red, Color::BACKGROUND)),
        ("\x1b[38;2;255;0;0;7mX", (Color::BACKGROUND, red)),
        ("\x1b[38;2;255;0;0m\x1b[0mX", plain),
        ("\x1b[31;44;39;49mX", plain),
        ("\x1b[31;1mX", colors_after("\x1b[91mX")),
        ("\x1b[31;1;22mX", colors_after("\x1b[31mX")),
        ("\x1b[38;5mX", plain),
        ("\x1b[38;2;999;0;0mX", plain),
        ("\x1b[31m\x1bcX", plain),
        ("\x1b[31m\x1b7\x1b[32m\x1b8X", colors_after("\x1b[31mX")),
        (
            "\x1b[44m\x1b[2K",
            (Color::TEXT, colors_after("\x1b[44mX").1),
        ),
    ] {
        assert_eq!(colors_after(bytes), expected, "{bytes:?}");
    }
    assert_ne!(colors_after("\x1b[31mX"), colors_after("\x1b[32mX"));
}

#[test]
fn message_of_the_kernel_does_not_mix_with_a_sequence_of_a_program() {
    let mut screen = Screen::new();
    screen.write("\x1b[31mA\x1b[3");
    screen.text.write(Speaker::Kernel, b"2mB");
    screen.write("2mC");
    assert_eq!(screen.lines()[0], "A2mBC");
    let row = screen.text.terminal.grid.row(0);
    let colors: Vec<Color> = row[..5].iter().map(|cell| cell.foreground()).collect();
    assert_eq!(colors[1..4], [Color::TEXT; 3]);
    assert!(colors[0] != Color::TEXT && colors[4] != Color::TEXT && colors[0] != colors[4]);
}

#[test]
fn cursor_shows_as_a_block_and_can_be_hidden() {
    let mut screen = Screen::new();
    let pixel = |screen: &mut Screen, column: usize| {
        screen.on(|text, framebuffer| text.show(framebuffer));
        let start = (TOP * screen.info.stride + column * CELL_WIDTH) * 4;
        Color::new(
            screen.pixels[start],
            screen.pixels[start + 1],
            screen.pixels[start + 2],
        )
    };
    screen.write("  ");
    assert_eq!(pixel(&mut screen, 1), Color::BACKGROUND);
    assert_eq!(pixel(&mut screen, 2), Color::TEXT);
    screen.write("\x1b[?25l");
    assert_eq!(pixel(&mut screen, 2), Color::BACKGROUND);
    screen.write("\x1b[?25h\r");
    assert_eq!(pixel(&mut screen, 0), Color::TEXT);
    // Behind the last column, it is in it.
    screen.write(" ".repeat(COLUMNS));
    assert_eq!(pixel(&mut screen, COLUMNS - 1), Color::TEXT);
}

#[test]
fn nothing_is_drawn_until_it_is_shown_and_then_once() {
    let mut screen = Screen::new();
    let before = screen.pixels.clone();
    screen.write("text\n".repeat(100));
    assert!(screen.pixels == before && screen.text.is_stale());
    screen.check_pixels();
    assert!(screen.pixels != before);
}

#[test]
fn drawing_in_parts_ends_with_the_whole() {
    let mut screen = Screen::new();
    screen.write("0123456789\nabcdefghij\nklmnopqrst\nu");
    for _ in 1..ROWS {
        screen.on(|text, framebuffer| text.show_some(framebuffer, 1));
        assert!(screen.text.is_stale());
    }
    screen.on(|text, framebuffer| text.show_some(framebuffer, COLUMNS));
    screen.check_pixels();
}

#[test]
fn looking_back_shows_what_scrolled_off_and_output_returns_to_the_end() {
    let mut screen = Screen::new();
    for number in 0..9 {
        screen.write(format!("\n{number}"));
    }
    assert_eq!(screen.lines(), ["5", "6", "7", "8"]);
    screen.text.scroll(1);
    assert_eq!(screen.lines(), ["4", "5", "6", "7"]);
    screen.check_pixels();
    screen.text.scroll(isize::MAX);
    assert_eq!(screen.lines(), ["3", "4", "5", "6"]);
    screen.check_pixels();
    screen.text.scroll(-1);
    assert_eq!(screen.lines(), ["4", "5", "6", "7"]);
    screen.text.scroll(isize::MIN);
    assert_eq!(screen.lines(), ["5", "6", "7", "8"]);
    screen.text.scroll(2);
    screen.write("X");
    assert_eq!(screen.lines(), ["5", "6", "7", "8X"]);
    screen.check_pixels();
}

#[test]
fn programs_can_have_the_lines_above_forgotten() {
    let mut screen = Screen::new();
    screen.write("1\n2\n3\n4\n5");
    assert_eq!(screen.text.nr_old_lines(), 1);
    screen.write("\x1b[H\x1b[2J\x1b[3J");
    assert_eq!(screen.text.nr_old_lines(), 0);
    screen.text.scroll(5);
    assert_eq!(screen.lines(), ["", "", "", ""]);
}

#[test]
fn text_goes_on_in_larger_memory() {
    let mut screen = Screen::new();
    for number in 0..9 {
        screen.write(format!("\n{number}"));
    }
    screen.grow(ROWS + 1000);
    assert_eq!(screen.lines(), ["5", "6", "7", "8"]);
    screen.text.scroll(isize::MAX);
    assert_eq!(screen.lines(), ["3", "4", "5", "6"]);
    for number in 9..3000 {
        screen.write(format!("\n{number}"));
    }
    screen.check_pixels();
    screen.text.scroll(isize::MAX);
    assert_eq!(screen.text.nr_old_lines(), 1000);
    assert_eq!(screen.lines(), ["1996", "1997", "1998", "1999"]);
    screen.check_pixels();
}

#[test]
fn peer_104_large_screen_is_used_in_part_at_first_and_as_a_whole_with_more_memory() {
    let (columns, rows) = (300, 20);
    let mut screen = Screen::with(info(columns * CELL_WIDTH, TOP + rows * CELL_HEIGHT))
        .expect("there is room for text");
    let (narrow, low) = screen.text.size();
    assert!((1..columns).contains(&narrow) && (1..rows).contains(&low));
    screen.write("one\ntwo");
    screen.check_pixels();
    screen.grow(rows + 10);
    assert_eq!(screen.text.size(), (columns, rows));
    assert_eq!(screen.cursor(), if low > 1 { (1, 3) } else { (0, 3) });
    screen.write(format!("\x1b[99;99H{}", "x".repeat(columns)));
    screen.check_pixels();
    // Too little memory changes nothing.
    let memory = TextMemory::allocate(columns, rows, rows - 1).expect("enough memory");
    screen.on(|text, framebuffer| text.grow(memory, framebuffer, None));
    assert_eq!(screen.text.size(), (columns, rows));
}

#[test]
fn peer_104_screens_without_room_for_text_are_left_alone() {
    for (width, height) in [
        (1, 1),
        (CELL_WIDTH - 1, 1000),
        (1000, TOP + CELL_HEIGHT - 1),
        (1000, TOP - 1),
    ] {
        assert!(Screen::with(info(width, height)).is_none());
    }
    let mut screen = Screen::with(info(CELL_WIDTH, TOP + CELL_HEIGHT)).expect("one cell fits");
    assert_eq!(screen.text.size(), (1, 1));
    screen.write("abc");
    assert_eq!(screen.lines(), ["c"]);
    screen.check_pixels();
}

#[test]
fn peer_104_text_is_the_same_in_every_format_of_pixels() {
    let formats = [
        (PixelFormat::Rgb, 3),
        (PixelFormat::Bgr, 3),
        (PixelFormat::Bgr, 4),
        (PixelFormat::U8, 1),
        (
            PixelFormat::Unknown {
                red_position: 11,
                green_position: 5,
                blue_position: 0,
            },
            2,
        ),
    ];
    for (pixel_format, bytes_per_pixel) in formats {
        for padding in [0, 5] {
            let (width, height) = (COLUMNS * CELL_WIDTH + 3, TOP + ROWS * CELL_HEIGHT + 5);
            let info = FramebufferInfo {
                byte_len: (width + padding) * height * bytes_per_pixel,
                stride: width + padding,
                bytes_per_pixel,
                pixel_format,
                ..info(width, height)
            };
            let mut screen = Screen::with(info).expect("there is room for text");
            screen.write("ab\n\x1b[7mcd\x1b[0m\n\x1b[38;2;1;2;3me");
            screen.check_pixels();
            // The cell of `a` has as many different pixels as its glyph.
            let mut framebuffer = vec![0; info.byte_len];
            let drawn = Framebuffer::new(&mut framebuffer, info).expect("it fits");
            let raster = super::glyph::Glyph::of('a').expect("it is shown").raster();
            for (line, intensities) in raster.iter().enumerate() {
                for (column, intensity) in intensities.iter().enumerate() {
                    let color = Color::TEXT.over(Color::BACKGROUND, *intensity);
                    let expected = drawn.encode(color).to_le_bytes();
                    let start = ((TOP + line) * info.stride + column) * bytes_per_pixel;
                    assert_eq!(
                        screen.pixels[start..start + bytes_per_pixel],
                        expected[..bytes_per_pixel]
                    );
                }
            }
        }
    }
}

#[test]
fn report_begins_below_all_text_in_its_own_colour() {
    let mut screen = Screen::new();
    screen.write("\x1b[1;2r\x1b[?25l\x1b[4mone\n\x1b[3;4Htwo\x1b[H\x1b[3");
    screen.text.recover(Color::PANIC);
    screen.text.write(Speaker::Kernel, b"report");
    assert_eq!(screen.lines(), ["one", "", "   two", "report"]);
    let cell = screen.text.terminal.grid.row(3)[0];
    assert_eq!(cell, Pen::of(Color::PANIC).brush().with_glyph(cell.glyph()));
    screen.check_pixels();
}
