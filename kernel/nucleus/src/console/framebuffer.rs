//! Pixels: colours in whatever format the firmware left the screen in.
//!
//! What is drawn is composed elsewhere, in words of which each is a pixel, and comes here
//! in runs: a run is packed to the size of the screen's pixels in its own memory, and then
//! copied to video memory in one go. Video memory is written and never read: reading it
//! is slow, and writing it is fast in long runs alone, which is how the kernel maps it
//! (write-combining).

use core::fmt;

use zerocopy::IntoBytes;

/// How a pixel's bytes hold its colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Red, green, blue, a byte each.
    Rgb,
    /// Blue, green, red, a byte each.
    Bgr,
    /// One byte of brightness.
    U8,
    /// A colour at each of these bit positions, in a little-endian word. How many bits
    /// each has is not told: see `Packing`.
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

    /// Returns this colour over another one, where 255 is all of it.
    pub const fn over(self, under: Self, intensity: u8) -> Self {
        const fn mix(over: u8, under: u8, intensity: u8) -> u8 {
            let (i, o, u) = (intensity as u32, over as u32, under as u32);
            ((o * i + u * (255 - i)) / 255) as u8
        }
        Self {
            red: mix(self.red, under.red, intensity),
            green: mix(self.green, under.green, intensity),
            blue: mix(self.blue, under.blue, intensity),
        }
    }

    /// Returns the colour as 24 bits: red, green, blue, from the highest.
    pub(super) const fn to_bits(self) -> u32 {
        (self.red as u32) << 16 | (self.green as u32) << 8 | self.blue as u32
    }

    /// Returns the colour of 24 bits; those above are ignored.
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self::new((bits >> 16) as u8, (bits >> 8) as u8, bits as u8)
    }
}

/// Where a colour's bits are in a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    position: u8,
    /// At most 16.
    bits: u8,
}

impl Field {
    /// Returns an amount of the colour as bits of the pixel.
    const fn place(self, amount: u8) -> u32 {
        // The amount twice is 16 bits whose first ones scale it to any size.
        let scaled = (amount as u32 * 0x101) >> (16 - self.bits as u32);
        scaled << self.position
    }
}

/// How colours are packed into a pixel.
///
/// Loaders tell where each colour begins and not where it ends. A colour ends where the
/// next one begins; the highest has as many bits as the lowest, which holds for
/// 5-5-5, 5-6-5, 8-8-8 and 10-10-10 in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gray,
    Fields([Field; 3]),
}

impl Packing {
    /// Returns the packing of a format; None if its colours do not fit the pixel.
    fn of(format: PixelFormat, bytes_per_pixel: usize) -> Option<Self> {
        let bits_per_pixel = 8 * u8::try_from(bytes_per_pixel).ok()?;
        match format {
            PixelFormat::U8 => Some(Self::Gray),
            PixelFormat::Rgb if bytes_per_pixel >= 3 => Some(Self::bytes(0, 8, 16)),
            PixelFormat::Bgr if bytes_per_pixel >= 3 => Some(Self::bytes(16, 8, 0)),
            PixelFormat::Rgb | PixelFormat::Bgr => None,
            PixelFormat::Unknown {
                red_position,
                green_position,
                blue_position,
            } => Self::at(
                [red_position, green_position, blue_position],
                bits_per_pixel,
            ),
        }
    }

    const fn bytes(red: u8, green: u8, blue: u8) -> Self {
        const fn byte(position: u8) -> Field {
            Field { position, bits: 8 }
        }
        Self::Fields([byte(red), byte(green), byte(blue)])
    }

    fn at(positions: [u8; 3], bits_per_pixel: u8) -> Option<Self> {
        let mut sorted = positions;
        sorted.sort_unstable();
        let [low, middle, high] = sorted;
        let low_bits = middle.checked_sub(low)?;
        let high_bits = bits_per_pixel.checked_sub(high)?.min(low_bits);
        let sizes = [low_bits, high - middle, high_bits];
        if sizes.iter().any(|bits| !(1..=16).contains(bits)) {
            return None;
        }
        Some(Self::Fields(positions.map(|position| {
            let place = sorted.iter().position(|other| *other == position);
            Field {
                position,
                bits: sizes[place.unwrap_or(0)],
            }
        })))
    }

    fn encode(self, color: Color) -> u32 {
        match self {
            Self::Gray => {
                let sum = u32::from(color.red) + u32::from(color.green) + u32::from(color.blue);
                sum / 3
            }
            Self::Fields([red, green, blue]) => {
                red.place(color.red) | green.place(color.green) | blue.place(color.blue)
            }
        }
    }
}

/// A framebuffer that can be drawn on.
pub struct Framebuffer<'a> {
    bytes: &'a mut [u8],
    info: FramebufferInfo,
    packing: Packing,
}

impl<'a> Framebuffer<'a> {
    /// Accepts a framebuffer whose shape fits its memory.
    pub fn new(bytes: &'a mut [u8], info: FramebufferInfo) -> Option<Self> {
        let needed = info
            .stride
            .checked_mul(info.height)?
            .checked_mul(info.bytes_per_pixel)?;
        let pixels_fit = info.width <= info.stride && (1..=4).contains(&info.bytes_per_pixel);
        if !pixels_fit || needed > bytes.len() || info.width == 0 || info.height == 0 {
            return None;
        }
        let packing = Packing::of(info.pixel_format, info.bytes_per_pixel)?;
        Some(Self {
            bytes,
            info,
            packing,
        })
    }

    /// Returns the pixels of a line.
    pub fn width(&self) -> usize {
        self.info.width
    }

    /// Returns the number of lines.
    pub fn height(&self) -> usize {
        self.info.height
    }

    /// Returns where its memory is.
    #[cfg(ktest)]
    pub(super) fn addresses(&self) -> core::ops::Range<usize> {
        let range = self.bytes.as_ptr_range();
        range.start as usize..range.end as usize
    }

    /// Returns a colour as the word of a pixel.
    pub fn encode(&self, color: Color) -> u32 {
        self.packing.encode(color)
    }

    /// Shows a run of pixels in a line, as far as it is on the screen. The run's own
    /// memory is overwritten.
    pub fn show(&mut self, x: usize, y: usize, run: &mut [u32]) {
        if x >= self.info.width || y >= self.info.height {
            return;
        }
        let count = run.len().min(self.info.width - x);
        let size = self.info.bytes_per_pixel;
        let packed = pack(&mut run[..count], size);
        let start = (y * self.info.stride + x) * size;
        self.bytes[start..start + packed.len()].copy_from_slice(packed);
    }

    /// Fills a rectangle, as far as it is on the screen.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, color: Color) {
        const RUN: usize = 64;
        let pixel = self.encode(color);
        let right = x.saturating_add(width).min(self.info.width);
        for line in y..y.saturating_add(height).min(self.info.height) {
            for start in (x..right).step_by(RUN) {
                let mut run = [pixel; RUN];
                self.show(start, line, &mut run[..RUN.min(right - start)]);
            }
        }
    }
}

/// Packs pixels to so many bytes each, in their own memory.
fn pack(run: &mut [u32], size: usize) -> &[u8] {
    const WORD: usize = size_of::<u32>();
    let len = run.len() * size;
    if size < WORD {
        for place in 0..run.len() {
            // What is overwritten is of this pixel or one before.
            let pixel = run[place].to_le_bytes();
            run.as_mut_bytes()[place * size..][..size].copy_from_slice(&pixel[..size]);
        }
    }
    &run.as_bytes()[..len]
}

impl fmt::Debug for Framebuffer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Framebuffer").field(&self.info).finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

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

    /// Returns the bytes of a screen after something was drawn.
    fn after(info: FramebufferInfo, draw: impl FnOnce(&mut Framebuffer<'_>)) -> Vec<u8> {
        let mut bytes = vec![0; info.byte_len];
        let mut screen = Framebuffer::new(&mut bytes, info).expect("the shape fits");
        draw(&mut screen);
        bytes
    }

    fn at(red_position: u8, green_position: u8, blue_position: u8) -> PixelFormat {
        PixelFormat::Unknown {
            red_position,
            green_position,
            blue_position,
        }
    }

    #[test]
    fn peer_104_each_format_puts_colours_where_it_says() {
        // 250, 20, 30 in five bits: 31, 2, 3; in six: 62, 5, 7; in ten: 1003, 80, 120.
        let (word_565, word_555) = (31 << 11 | 5 << 5 | 3_u16, 31 << 10 | 2 << 5 | 3_u16);
        let (word_565_bgr, word_10) = (31 | 5 << 5 | 3_u16 << 11, 1003 << 20 | 80 << 10 | 120_u32);
        for (format, size, expected) in [
            (PixelFormat::Rgb, 3, &[250, 20, 30][..]),
            (PixelFormat::Rgb, 4, &[250, 20, 30, 0]),
            (PixelFormat::Bgr, 3, &[30, 20, 250]),
            (PixelFormat::Bgr, 4, &[30, 20, 250, 0]),
            (PixelFormat::U8, 1, &[100]),
            (PixelFormat::U8, 4, &[100, 0, 0, 0]),
            (at(8, 0, 16), 4, &[20, 250, 30, 0]),
            (at(24, 16, 8), 4, &[0, 30, 20, 250]),
            (at(16, 8, 0), 3, &[30, 20, 250]),
            (at(11, 5, 0), 2, &word_565.to_le_bytes()),
            (at(0, 5, 11), 2, &word_565_bgr.to_le_bytes()),
            (at(10, 5, 0), 2, &word_555.to_le_bytes()),
            (at(20, 10, 0), 4, &word_10.to_le_bytes()),
        ] {
            let info = info(format, size);
            let bytes = after(info, |screen| screen.fill(1, 1, 1, 1, RED));
            let offset = (5 + 1) * size;
            assert_eq!(&bytes[offset..offset + size], expected, "{format:?}");
            let others = bytes.iter().enumerate();
            let mut others = others.filter(|(i, _)| !(offset..offset + size).contains(i));
            assert!(others.all(|(_, byte)| *byte == 0), "{format:?}");
        }
    }

    #[test]
    fn peer_104_nothing_is_drawn_beyond_the_visible_width() {
        let bytes = after(info(PixelFormat::U8, 1), |screen| {
            screen.fill(0, 0, 100, 100, RED);
            screen.fill(2, 1, usize::MAX, usize::MAX, RED);
            screen.show(3, 0, &mut [7; 9]);
            screen.show(0, 2, &mut [7; 9]);
            screen.show(usize::MAX, usize::MAX, &mut [7; 9]);
        });
        assert_eq!(bytes, [100, 100, 100, 0, 0, 100, 100, 100, 0, 0]);
    }

    #[test]
    fn runs_of_every_size_of_pixel_arrive_whole() {
        for size in 1..=4 {
            let format = if size < 3 {
                PixelFormat::U8
            } else {
                PixelFormat::Rgb
            };
            let bytes = after(info(format, size), |screen| {
                screen.show(0, 0, &mut [0x0403_0201, 0x1413_1211, 0x2423_2221, 9]);
            });
            for (pixel, first) in [1, 0x11, 0x21].into_iter().enumerate() {
                let expected: Vec<u8> = (first..first + size as u8).collect();
                assert_eq!(bytes[pixel * size..][..size], expected);
            }
            assert!(bytes[3 * size..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn peer_104_shape_that_does_not_fit_its_memory_is_refused() {
        let good = info(PixelFormat::Rgb, 3);
        let is_accepted = |info| Framebuffer::new(&mut [0; 30], info).is_some();
        assert!(is_accepted(good));
        let with = |change: fn(&mut FramebufferInfo)| {
            let mut info = good;
            change(&mut info);
            info
        };
        for bad in [
            with(|info| info.height = 3),
            with(|info| info.height = 0),
            with(|info| info.width = 6),
            with(|info| info.width = 0),
            with(|info| info.stride = usize::MAX),
            with(|info| info.bytes_per_pixel = 0),
            with(|info| info.bytes_per_pixel = 2),
            with(|info| info.bytes_per_pixel = usize::MAX),
            with(|info| info.pixel_format = at(0, 0, 8)),
            with(|info| info.pixel_format = at(0, 8, 24)),
            with(|info| info.pixel_format = at(0, 8, u8::MAX)),
        ] {
            assert!(!is_accepted(bad), "{bad:?}");
        }
    }

    #[test]
    fn extremes_of_colours_stay_extreme_in_every_size() {
        for bits in 1..=16 {
            let field = super::Field { position: 3, bits };
            assert_eq!(field.place(0), 0);
            assert_eq!(field.place(255), ((1 << bits) - 1) << 3);
        }
    }
}
