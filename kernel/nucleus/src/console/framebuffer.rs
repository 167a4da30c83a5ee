//! Pixels: colours in whatever format the firmware left the screen in.
//!
//! The memory is written and never read: reading from video memory is slow.

use core::fmt;

/// How a pixel's bytes hold its colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Red, green, blue, a byte each.
    Rgb,
    /// Blue, green, red, a byte each.
    Bgr,
    /// One byte of brightness.
    U8,
    /// Eight bits a colour at these bit positions.
    Unknown {
        /// First bit of red.
        red_position: u8,
        /// First bit of green.
        green_position: u8,
        /// First bit of blue.
        blue_position: u8,
    },
}

/// The shape of a framebuffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramebufferInfo {
    /// Bytes in all.
    pub byte_len: usize,
    /// Pixels that show in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Pixels from one line to the next.
    pub stride: usize,
    /// Bytes of a pixel.
    pub bytes_per_pixel: usize,
    /// How a pixel holds its colours.
    pub pixel_format: PixelFormat,
}

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    /// Amount of red.
    pub red: u8,
    /// Amount of green.
    pub green: u8,
    /// Amount of blue.
    pub blue: u8,
}

impl Color {
    /// The background.
    pub const BACKGROUND: Self = Self::new(12, 16, 24);
    /// Ordinary text.
    pub const TEXT: Self = Self::new(208, 212, 220);
    /// Warnings.
    pub const WARNING: Self = Self::new(240, 196, 80);
    /// Errors.
    pub const ERROR: Self = Self::new(250, 110, 90);
    /// What matters less.
    pub const FAINT: Self = Self::new(130, 140, 150);
    /// The report of a panic.
    pub const PANIC: Self = Self::new(255, 80, 80);

    /// Returns a colour by its parts.
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue }
    }

    /// Returns this colour over the background, where 255 is all of it.
    pub fn with_intensity(self, intensity: u8) -> Self {
        let mix = |over: u8, under: u8| {
            let (i, o, u) = (u32::from(intensity), u32::from(over), u32::from(under));
            ((o * i + u * (255 - i)) / 255) as u8
        };
        Self {
            red: mix(self.red, Self::BACKGROUND.red),
            green: mix(self.green, Self::BACKGROUND.green),
            blue: mix(self.blue, Self::BACKGROUND.blue),
        }
    }
}

/// A framebuffer that can be drawn on.
pub struct Framebuffer {
    bytes: &'static mut [u8],
    info: FramebufferInfo,
}

impl Framebuffer {
    /// Accepts a framebuffer whose shape fits its memory.
    pub fn new(bytes: &'static mut [u8], info: FramebufferInfo) -> Option<Self> {
        let needed = info
            .stride
            .checked_mul(info.height)?
            .checked_mul(info.bytes_per_pixel)?;
        let pixels_fit = info.width <= info.stride && (1..=4).contains(&info.bytes_per_pixel);
        let colors_fit = match info.pixel_format {
            PixelFormat::U8 => true,
            PixelFormat::Rgb | PixelFormat::Bgr => info.bytes_per_pixel >= 3,
            PixelFormat::Unknown {
                red_position,
                green_position,
                blue_position,
            } => [red_position, green_position, blue_position]
                .iter()
                .all(|bit| *bit <= 24),
        };
        let usable = pixels_fit && colors_fit && needed <= bytes.len() && info.width > 0;
        usable.then_some(Self { bytes, info })
    }

    /// Returns the pixels of a line.
    pub fn width(&self) -> usize {
        self.info.width
    }

    /// Returns the number of lines.
    pub fn height(&self) -> usize {
        self.info.height
    }

    /// Fills a rectangle, as far as it is on the screen.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, color: Color) {
        for line in y..(y + height).min(self.info.height) {
            for column in x..(x + width).min(self.info.width) {
                self.put(column, line, color);
            }
        }
    }

    /// Sets a pixel. Those outside of the screen are ignored.
    pub fn put(&mut self, x: usize, y: usize, color: Color) {
        if x >= self.info.width || y >= self.info.height {
            return;
        }
        let size = self.info.bytes_per_pixel;
        let offset = (y * self.info.stride + x) * size;
        let pixel = self.encode(color);
        self.bytes[offset..offset + size].copy_from_slice(&pixel[..size]);
    }

    fn encode(&self, color: Color) -> [u8; 4] {
        let Color { red, green, blue } = color;
        match self.info.pixel_format {
            PixelFormat::Rgb => [red, green, blue, 0],
            PixelFormat::Bgr => [blue, green, red, 0],
            PixelFormat::U8 => {
                let sum = u16::from(red) + u16::from(green) + u16::from(blue);
                [(sum / 3) as u8, 0, 0, 0]
            }
            PixelFormat::Unknown {
                red_position,
                green_position,
                blue_position,
            } => {
                let part = |value: u8, position: u8| u32::from(value) << position;
                let word = part(red, red_position)
                    | part(green, green_position)
                    | part(blue, blue_position);
                word.to_le_bytes()
            }
        }
    }
}

impl fmt::Debug for Framebuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Framebuffer").field(&self.info).finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::boxed::Box;
    use std::vec;

    use super::{Color, Framebuffer, FramebufferInfo, PixelFormat};

    const RED: Color = Color::new(250, 20, 30);

    fn info(pixel_format: PixelFormat, bytes_per_pixel: usize) -> FramebufferInfo {
        FramebufferInfo {
            byte_len: 5 * 2 * bytes_per_pixel,
            width: 3,
            height: 2,
            stride: 5,
            bytes_per_pixel,
            pixel_format,
        }
    }

    fn screen(info: FramebufferInfo) -> Framebuffer {
        let bytes = Box::leak(vec![0; info.byte_len].into_boxed_slice());
        Framebuffer::new(bytes, info).expect("the shape fits")
    }

    #[test]
    fn each_format_puts_colours_where_it_says() {
        let other = PixelFormat::Unknown {
            red_position: 8,
            green_position: 0,
            blue_position: 16,
        };
        for (format, size, expected) in [
            (PixelFormat::Rgb, 3, &[250, 20, 30][..]),
            (PixelFormat::Bgr, 4, &[30, 20, 250, 0]),
            (PixelFormat::U8, 1, &[100]),
            (other, 4, &[20, 250, 30, 0]),
        ] {
            let mut screen = screen(info(format, size));
            screen.put(1, 1, RED);
            let offset = (5 + 1) * size;
            assert_eq!(&screen.bytes[offset..offset + size], expected);
            let others = screen.bytes.iter().enumerate();
            let mut others = others.filter(|(i, _)| !(offset..offset + size).contains(i));
            assert!(others.all(|(_, byte)| *byte == 0));
        }
    }

    #[test]
    fn nothing_is_drawn_beyond_the_visible_width() {
        // peer_104: a stride larger than the width.
        let mut screen = screen(info(PixelFormat::U8, 1));
        screen.fill(0, 0, 100, 100, RED);
        screen.put(3, 0, RED);
        screen.put(0, 2, RED);
        assert_eq!(screen.bytes, [100, 100, 100, 0, 0, 100, 100, 100, 0, 0]);
    }

    #[test]
    fn shape_that_does_not_fit_its_memory_is_refused() {
        let good = info(PixelFormat::Rgb, 3);
        let bytes = || Box::leak(vec![0; 30].into_boxed_slice());
        assert!(Framebuffer::new(bytes(), good).is_some());
        for bad in [
            FramebufferInfo { height: 3, ..good },
            FramebufferInfo { width: 6, ..good },
            FramebufferInfo { width: 0, ..good },
            FramebufferInfo {
                stride: usize::MAX,
                ..good
            },
            FramebufferInfo {
                bytes_per_pixel: 0,
                ..good
            },
            FramebufferInfo {
                bytes_per_pixel: 2,
                ..good
            },
        ] {
            assert!(Framebuffer::new(bytes(), bad).is_none(), "{bad:?}");
        }
    }
}
