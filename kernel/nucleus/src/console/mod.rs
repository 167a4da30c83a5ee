//! The console: everything that the kernel says, on serial and on the screen, and what
//! somebody types.
//!
//! One lock covers both, so that lines do not mix. The screen is optional, the
//! serial port too; a machine with neither is silent and works.

pub mod framebuffer;
pub(crate) mod input;
pub mod marks;
pub mod text;

use core::fmt::{self, Write};

use self::framebuffer::Framebuffer;
pub use self::framebuffer::{Color, FramebufferInfo, PixelFormat};
pub use self::input::{input_len, input_queue, nr_dropped_input, read_input, read_key};
use self::text::TextConsole;
use crate::arch::serial;
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

static CONSOLE: SpinLock<Console> = SpinLock::ranked(
    Console {
        screen: None,
        text: TextConsole::new(),
        at_line_start: true,
    },
    Rank::Console,
);

struct Console {
    screen: Option<Framebuffer>,
    text: TextConsole,
    at_line_start: bool,
}

impl Console {
    /// Writes bytes to serial, with carriage returns, and to the screen.
    fn write(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.split_last() {
                Some((b'\n', text)) => {
                    serial::write(text);
                    serial::write(b"\r\n");
                }
                _ => serial::write(line),
            }
        }
        if let Some(screen) = &mut self.screen {
            self.text.write(screen, bytes);
        }
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
        }
    }
}

/// The screen without the serial port.
#[cfg(ktest)]
struct OnScreen<'a> {
    screen: &'a mut Framebuffer,
    text: &'a mut TextConsole,
}

#[cfg(ktest)]
impl Write for OnScreen<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.write(self.screen, text.as_bytes());
        Ok(())
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

/// Shows the console on a screen from now on, with what it holds of the text.
pub fn set_screen(screen: Framebuffer) {
    let mut console = CONSOLE.lock();
    let console = &mut *console;
    let screen = console.screen.insert(screen);
    console.text.attach(screen);
}

/// Forgets the screen: its memory is about to be mapped elsewhere.
pub fn remove_screen() {
    CONSOLE.lock().screen = None;
}

/// Prints a text.
pub fn write_str(text: &str) {
    CONSOLE.lock().write(text.as_bytes());
}

/// Prints formatted text, as a whole: nothing of others gets in between.
pub fn write_fmt(arguments: fmt::Arguments<'_>) {
    // The console's writer never fails; a failing `Display` just ends early.
    let _ = CONSOLE.lock().write_fmt(arguments);
}

/// Prints formatted text in a colour of the screen.
pub(crate) fn write_colored(color: Color, arguments: fmt::Arguments<'_>) {
    let mut console = CONSOLE.lock();
    let previous = console.text.set_color(color);
    // As in `write_fmt`.
    let _ = console.write_fmt(arguments);
    console.text.set_color(previous);
}

/// Prints formatted text on serial alone, as a whole.
#[cfg(ktest)]
pub(crate) fn write_to_serial(arguments: fmt::Arguments<'_>) {
    let mut console = CONSOLE.lock();
    let screen = console.screen.take();
    // As in `write_fmt`.
    let _ = console.write_fmt(arguments);
    console.screen = screen;
}

/// Prints formatted text on the screen alone, as a whole.
#[cfg(ktest)]
pub(crate) fn write_to_screen(arguments: fmt::Arguments<'_>) {
    let mut console = CONSOLE.lock();
    let Console { screen, text, .. } = &mut *console;
    if let Some(screen) = screen {
        // As in `write_fmt`.
        let _ = OnScreen { screen, text }.write_fmt(arguments);
    }
}

/// Returns the columns and rows of the screen, if there is one.
pub fn screen_size() -> Option<(usize, usize)> {
    let console = CONSOLE.lock();
    console.screen.as_ref().map(|_| console.text.size())
}

/// Returns whether the console's lock is held, by whomever.
pub fn is_locked() -> bool {
    CONSOLE.is_locked()
}

/// Marks the start of a program's output, for whoever reads the serial line.
pub fn start_program_output(name: &str) {
    write_fmt(format_args!("vostok: start {name}\n"));
}

/// Prints what a program wrote, as it is.
pub fn write_program_output(bytes: &[u8]) {
    CONSOLE.lock().write(bytes);
}

/// Marks the end of a program's output, with its exit status.
pub fn finish_program_output(status: u8) {
    let mut console = CONSOLE.lock();
    // As in `write_fmt`.
    let _ = if console.at_line_start {
        console.write_fmt(format_args!("vostok: exit status {status}\n"))
    } else {
        console.write_fmt(format_args!(
            "\nvostok: exit status {status} (no newline)\n"
        ))
    };
}

/// Sleeps until the next interrupt, at most a tick of the timer.
///
/// May not be called with a lock held.
#[cfg(target_os = "none")]
pub fn wait_for_input() {
    crate::arch::irq::wait_for_interrupt();
}

/// Makes the screen show that what follows is a panic.
pub(crate) fn panic_screen() {
    let mut console = CONSOLE.lock();
    let console = &mut *console;
    console.text.set_color(Color::PANIC);
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
