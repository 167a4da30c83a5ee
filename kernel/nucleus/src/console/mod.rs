//! The console: everything that the kernel says, on serial and on the screen, and what
//! somebody types.
//!
//! One lock covers both, so that lines do not mix. The screen is optional, the
//! serial port too; a machine with neither is silent and works.
//!
//! ```text
//!  print!, log ──┬──▶ serial
//!                └──▶ escape (vte) ──▶ terminal ──▶ grid ──▶ paint ──▶ framebuffer
//!  programs ─────┘                    cursor       lines    cells      pixels
//! ```
//!
//! **When text is seen.** What the kernel says is on the screen before the call returns:
//! the machine may die of what comes next, and nobody would know why. What programs write
//! is drawn at the next tick of the boot processor, at most so many cells at each
//! that it takes a bounded time, however much they write; before there are ticks, at once.
//! Whatever ends the machine shows the rest: a panic does, and `show_rest`.
//!
//! **A panic** takes the console from whoever holds it, perhaps in the middle of a change.
//! All that a change may have left half done are numbers, which are made sense of, and
//! cells, of which every value can be shown; the text goes on below what there is. What
//! is replaced as a whole (screen, memory) is so during start-up, when nobody else runs.

mod cell;
mod early;
mod escape;
pub mod framebuffer;
mod glyph;
mod grid;
pub(crate) mod input;
mod keyboard;
#[cfg(ktest)]
mod machine_tests;
pub mod marks;
mod paint;
#[cfg(target_os = "none")]
pub(crate) mod requests;
mod shapes;
mod terminal;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use core::fmt::{self, Write};

use self::early::Early;
use self::framebuffer::Framebuffer;
pub use self::framebuffer::{Color, FramebufferInfo, PixelFormat};
#[cfg(target_os = "none")]
pub(crate) use self::input::set_keymap;
pub use self::input::{input_len, input_queue, nr_dropped_input, read_input, read_key};
pub use self::keyboard::Keymap;
use self::text::{FixedMemory, Speaker, TextConsole, TextMemory};
use crate::arch::serial;
use crate::mm::frame::memory_counts;
use crate::sync::{Rank, SpinLock};
pub use crate::{print, println};

/// Prints to the console; as `std`'s.
#[macro_export]
macro_rules! print {
    ($($arguments:tt)*) => {
        $crate::console::write_fmt(format_args!($($arguments)*))
    };
}

/// Prints a line to the console; as `std`'s.
#[macro_export]
macro_rules! println {
    () => { $crate::console::write_str("\n") };
    ($($arguments:tt)*) => {
        $crate::console::write_fmt(format_args!("{}\n", format_args!($($arguments)*)))
    };
}

/// Cells that fit into the memory that is there without an allocator: those of 1280 by
/// 800 pixels.
const FIXED_CELLS: usize = 9000;
/// Most cells of programs' text that are drawn at a tick, which are those of a small
/// screen: some 4 MB of pixels.
const CELLS_A_TICK: usize = 8192;
/// Most lines that are kept, with those of the screen.
const MAX_LINES: usize = 4000;
/// The part of all memory that they may take: one in so many.
const SHARE_OF_MEMORY: usize = 64;

/// The memory for text until there is an allocator; taken once and for ever.
static FIXED_MEMORY: ::spin::Mutex<FixedMemory<FIXED_CELLS>> =
    ::spin::Mutex::new(FixedMemory::new());

/// The first text; used under the console's lock alone, and so never waited for. After a
/// panic that left it locked nothing is kept.
static EARLY: ::spin::Mutex<Early> = ::spin::Mutex::new(Early::new());

static CONSOLE: SpinLock<Console> = SpinLock::ranked(
    Console {
        screen: None,
        text: None,
        at_line_start: true,
        has_ticks: false,
    },
    Rank::Console,
);

struct Console {
    screen: Option<Framebuffer<'static>>,
    /// The screen's text, which outlives it.
    text: Option<TextConsole<'static>>,
    at_line_start: bool,
    /// Somebody calls [`on_tick`].
    has_ticks: bool,
}

impl Console {
    /// Writes bytes to serial, with carriage returns, and to the screen's text.
    fn write(&mut self, speaker: Speaker, bytes: &[u8]) {
        write_lines_to_serial(bytes);
        if let Some(text) = &mut self.text {
            text.write(speaker, bytes);
        }
        if let Some(mut early) = EARLY.try_lock() {
            early.keep(bytes);
        }
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
        }
    }

    /// Sets the colour of what the kernel writes; None for that of all text.
    fn set_color(&mut self, color: Option<Color>) {
        if let Some(text) = &mut self.text {
            text.set_color(color);
        }
        if let Some(mut early) = EARLY.try_lock() {
            early.keep_color(color);
        }
    }

    /// Writes what the kernel says, and shows it.
    fn say(&mut self, arguments: fmt::Arguments<'_>) {
        // The console's writer never fails; a failing `Display` just ends early.
        let _ = self.write_fmt(arguments);
        self.show();
    }

    /// Brings the screen up to date.
    fn show(&mut self) {
        if let (Some(screen), Some(text)) = (&mut self.screen, &mut self.text) {
            text.show(screen);
        }
    }
}

/// Writes bytes to serial, with carriage returns.
fn write_lines_to_serial(bytes: &[u8]) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.split_last() {
            Some((b'\n', text)) => {
                serial::write(text);
                serial::write(b"\r\n");
            }
            _ => serial::write(line),
        }
    }
}

/// The serial line without the screen.
#[cfg(ktest)]
struct OnSerial;

#[cfg(ktest)]
impl Write for OnSerial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_lines_to_serial(text.as_bytes());
        Ok(())
    }
}

/// The screen without the serial line.
#[cfg(ktest)]
struct OnScreen<'a>(&'a mut TextConsole<'static>);

#[cfg(ktest)]
impl Write for OnScreen<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(Speaker::Kernel, text.as_bytes());
        Ok(())
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(Speaker::Kernel, text.as_bytes());
        Ok(())
    }
}

/// Shows the console on a screen from now on, with what it holds of the text.
pub fn set_screen(screen: Framebuffer<'static>) {
    let mut console = CONSOLE.lock();
    let console = &mut *console;
    let screen = console.screen.insert(screen);
    let is_first = console.text.is_none();
    if is_first {
        screen.fill(0, 0, usize::MAX, usize::MAX, Color::BACKGROUND);
    }
    if is_first && let Some(memory) = FIXED_MEMORY.try_lock() {
        console.text = TextConsole::new(::spin::MutexGuard::leak(memory), screen);
        if let (Some(text), Some(early)) = (&mut console.text, EARLY.try_lock()) {
            for part in early.parts() {
                text.write(Speaker::Kernel, part);
            }
        }
    }
    if let Some(text) = &mut console.text {
        text.redraw(screen);
    }
}

/// Forgets the screen: its memory is about to be mapped elsewhere.
pub fn remove_screen() {
    CONSOLE.lock().screen = None;
}

/// Lets the text have all of the screen, and lines to look back at, now that there is a
/// heap. With too little memory all stays as it is. Text is not kept for that any more.
pub(crate) fn grow() {
    // Allocated without the console's lock, which comes after the heap's.
    let memory = larger_memory();
    let mut console = CONSOLE.lock();
    let console = &mut *console;
    let mut early = EARLY.try_lock();
    if let (Some(memory), Some(screen), Some(text)) =
        (memory, &mut console.screen, &mut console.text)
    {
        let parts = early.as_ref().map(|early| early.parts());
        text.grow(memory, screen, parts.as_ref().map(|parts| &parts[..]));
        text.show(screen);
    }
    if let Some(early) = &mut early {
        early.finish();
    }
}

/// Allocates memory for all of the screen, and lines above it; None without a screen, or
/// enough memory.
fn larger_memory() -> Option<TextMemory<'static>> {
    let (nr_columns, nr_rows) = CONSOLE.lock().screen.as_ref().map(text::grid_size)?;
    let nr_cells = memory_counts().total / SHARE_OF_MEMORY / text::CELL_SIZE;
    let nr_lines = (nr_cells / nr_columns.max(1)).min(MAX_LINES).max(nr_rows);
    let memory = TextMemory::allocate(nr_columns, nr_rows, nr_lines);
    if memory.is_none() {
        log::warn!("console: too little memory for {nr_lines} lines of {nr_columns} columns");
    }
    memory
}

/// Returns how many columns and rows of text the screen has; None without one.
pub fn screen_size() -> Option<(usize, usize)> {
    CONSOLE.lock().text.as_ref().map(TextConsole::size)
}

/// Shows text that went off the screen's top: so many lines further back, or forth where
/// they are negative. Whatever is written goes back to the end.
///
/// Callable in any context; does nothing while somebody writes.
pub fn scroll(nr_lines: isize) {
    let Some(mut console) = CONSOLE.try_lock() else {
        return;
    };
    if let Some(text) = &mut console.text {
        text.scroll(nr_lines);
    }
    console.show();
}

/// Shows half a screen further back, or forth, as [`scroll`].
#[cfg(target_os = "none")]
pub(crate) fn scroll_half(is_back: bool) {
    let rows = CONSOLE
        .try_lock()
        .and_then(|console| console.text.as_ref().map(|text| text.size().1));
    let half = rows.map_or(0, |rows| (rows / 2).cast_signed());
    scroll(if is_back { half } else { -half });
}

/// Draws some of what programs have written; at each tick of the boot processor.
pub(crate) fn on_tick() {
    input::on_tick();
    // Whoever writes now will be looked at at the next tick.
    let Some(mut console) = CONSOLE.try_lock() else {
        return;
    };
    let console = &mut *console;
    console.has_ticks = true;
    if let (Some(screen), Some(text)) = (&mut console.screen, &mut console.text) {
        text.show_some(screen, CELLS_A_TICK);
    }
}

/// Shows all that was written, if nobody writes now, who may be stopped for ever: before
/// the machine ends.
pub(crate) fn show_rest() {
    if let Some(mut console) = CONSOLE.try_lock() {
        console.show();
    }
}

/// Prints a text.
pub fn write_str(text: &str) {
    write_fmt(format_args!("{text}"));
}

/// Prints formatted text, as a whole: nothing of others gets in between.
pub fn write_fmt(arguments: fmt::Arguments<'_>) {
    CONSOLE.lock().say(arguments);
}

/// The console as a writer. Each formatted text is printed as a whole, so that no message
/// gets into a line.
#[derive(Debug)]
pub(crate) struct Printer;

impl Write for Printer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_str(text);
        Ok(())
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> fmt::Result {
        write_fmt(arguments);
        Ok(())
    }
}

/// Prints formatted text in a colour of the screen.
pub(crate) fn write_colored(color: Color, arguments: fmt::Arguments<'_>) {
    let mut console = CONSOLE.lock();
    console.set_color(Some(color));
    console.say(arguments);
    console.set_color(None);
}

/// Prints formatted text on serial alone, as a whole.
#[cfg(ktest)]
pub(crate) fn write_to_serial(arguments: fmt::Arguments<'_>) {
    let _others_wait = CONSOLE.lock();
    // As in `Console::say`.
    let _ = OnSerial.write_fmt(arguments);
}

/// Prints formatted text on the screen alone, as a whole.
#[cfg(ktest)]
pub(crate) fn write_to_screen(arguments: fmt::Arguments<'_>) {
    let mut console = CONSOLE.lock();
    if let Some(text) = &mut console.text {
        // As in `Console::say`.
        let _ = OnScreen(text).write_fmt(arguments);
    }
    console.show();
}

/// Returns whether the console's lock is held, by whomever.
pub fn is_locked() -> bool {
    CONSOLE.is_locked()
}

/// The console, held for a report of several lines: see [`try_hold`].
#[cfg(target_os = "none")]
pub(crate) struct HeldConsole(crate::sync::SpinLockGuard<'static, Console>);

/// Takes the console if nobody has it, nor the serial port, which it writes to.
#[cfg(target_os = "none")]
pub(crate) fn try_hold() -> Option<HeldConsole> {
    let console = CONSOLE.try_lock()?;
    (!serial::is_locked()).then_some(HeldConsole(console))
}

#[cfg(target_os = "none")]
impl Write for HeldConsole {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

#[cfg(target_os = "none")]
impl Drop for HeldConsole {
    fn drop(&mut self) {
        self.0.show();
    }
}

/// Marks the start of a program's output, for whoever reads the serial line.
pub fn start_program_output(name: &str) {
    write_fmt(format_args!("vostok: start {name}\n"));
}

/// Prints what a program wrote, as it is.
pub fn write_program_output(bytes: &[u8]) {
    let mut console = CONSOLE.lock();
    console.write(Speaker::Program, bytes);
    if !console.has_ticks {
        console.show();
    }
}

/// Marks the end of a program's output, with its exit status.
pub fn finish_program_output(status: u8) {
    let mut console = CONSOLE.lock();
    if console.at_line_start {
        console.say(format_args!("vostok: exit status {status}\n"));
    } else {
        console.say(format_args!(
            "\nvostok: exit status {status} (no newline)\n"
        ));
    }
}

/// Makes sense of the screen's text, after the console was taken from whoever held it.
#[cfg(target_os = "none")]
pub(crate) fn recover_screen() {
    if let Some(text) = &mut CONSOLE.lock().text {
        text.recover(Color::WARNING);
    }
}

/// Makes the screen show that what follows is a panic, after the console was taken from
/// whoever held it.
pub(crate) fn panic_screen() {
    let mut console = CONSOLE.lock();
    let console = &mut *console;
    if !console.at_line_start {
        // On serial alone: the screen's text is not to be touched before it is sound.
        serial::write(b"\r\n");
        console.at_line_start = true;
    }
    if let Some(text) = &mut console.text {
        text.recover(Color::PANIC);
    }
    if let Some(screen) = &mut console.screen {
        let width = screen.width();
        screen.fill(0, 0, width, marks::SIZE, Color::PANIC);
    }
}

/// Takes the console from whoever holds it, for a last report.
///
/// # Safety
///
/// Whoever holds the console's lock, or the serial port's, never runs again.
#[cfg(target_os = "none")]
pub(crate) unsafe fn force_unlock_for_panic() {
    // SAFETY: As the caller promises.
    unsafe { CONSOLE.force_unlock() };
    // SAFETY: As the caller promises.
    unsafe { serial::force_unlock() };
}

/// Shows that start-up reached a stage.
pub(crate) fn mark(stage: marks::Stage) {
    if let Some(screen) = &mut CONSOLE.lock().screen {
        marks::draw(screen, stage);
    }
}
