//! Benchmarks of the console's screen: 1280 by 800 pixels of 32 bits, full of text, in
//! ordinary memory. They count what the processor does, not how long video memory takes.

use alloc::vec;

use spin::Mutex;

use super::Meter;
use super::rows::ENOUGH;
use crate::console::framebuffer::{Framebuffer, FramebufferInfo, PixelFormat};
use crate::console::text::{FixedMemory, Speaker, TextConsole};

const WIDTH: usize = 1280;
const HEIGHT: usize = 800;
/// Characters of a line.
const LINE: usize = 80;
/// More lines than the screen has.
const MANY: usize = 60;

static MEMORY: Mutex<FixedMemory<9000>> = Mutex::new(FixedMemory::new());

/// Returns a line of text of which no two neighbours are equal.
fn line(number: usize) -> [u8; LINE + 1] {
    let mut line = [b'\n'; LINE + 1];
    for (place, byte) in line[..LINE].iter_mut().enumerate() {
        *byte = b'!' + ((number * 7 + place) % 94) as u8;
    }
    line
}

/// Calls something with a screen that is full of text.
fn on_full_screen(run: impl FnOnce(&mut Framebuffer<'_>, &mut TextConsole<'_>)) {
    let info = FramebufferInfo {
        byte_len: WIDTH * HEIGHT * 4,
        width: WIDTH,
        height: HEIGHT,
        stride: WIDTH,
        bytes_per_pixel: 4,
        pixel_format: PixelFormat::Bgr,
    };
    let mut pixels = vec![0; info.byte_len];
    let mut screen = Framebuffer::new(&mut pixels, info).expect(ENOUGH);
    let mut memory = MEMORY.lock();
    let mut text = TextConsole::new(&mut *memory, &mut screen).expect(ENOUGH);
    for number in 0..MANY {
        text.write(Speaker::Program, &line(number));
    }
    text.show(&mut screen);
    run(&mut screen, &mut text);
}

/// A line that scrolls, and is shown.
pub(super) fn write_line(meter: &mut dyn Meter) {
    on_full_screen(|screen, text| {
        meter.measure(&mut || {
            text.write(Speaker::Kernel, &line(MANY));
            text.show(screen);
        });
    });
}

/// Many lines that scroll, and are shown together.
pub(super) fn write_burst(meter: &mut dyn Meter) {
    on_full_screen(|screen, text| {
        meter.measure(&mut || {
            for number in 0..BURST {
                text.write(Speaker::Program, &line(MANY + number));
            }
            text.show(screen);
        });
    });
}

/// Everything, from nothing.
pub(super) fn redraw(meter: &mut dyn Meter) {
    on_full_screen(|screen, text| meter.measure(&mut || text.redraw(screen)));
}

/// Lines of a burst.
pub(super) const BURST: usize = 1000;
