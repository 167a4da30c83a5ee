//! Pictures: read as QEMU writes them (PPM), written as people want them (PNG).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A colour: red, green, blue.
pub(crate) type Pixel = [u8; 3];

/// Colours that a palette can hold.
const MAX_COLORS: usize = 256;

/// A rectangle of pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    width: usize,
    /// Line after line.
    pixels: Vec<Pixel>,
}

impl Picture {
    /// Makes a picture of pixels, line after line.
    ///
    /// # Panics
    ///
    /// Panics unless the pixels are whole lines.
    pub(crate) fn new(width: usize, pixels: Vec<Pixel>) -> Self {
        assert!(width > 0 && pixels.len().is_multiple_of(width));
        Self { width, pixels }
    }

    /// Reads a picture in the binary form of PPM, eight bits a colour.
    pub(crate) fn from_ppm(bytes: &[u8]) -> Result<Self> {
        let mut rest = bytes;
        ensure!(word(&mut rest) == b"P6", "this is no PPM picture");
        let width = number(&mut rest).context("the picture has no width")?;
        let height = number(&mut rest).context("the picture has no height")?;
        ensure!(
            number(&mut rest) == Some(255),
            "the picture has not eight bits a colour"
        );
        let (pixels, remainder) = rest.as_chunks::<3>();
        let is_whole = width.checked_mul(height) == Some(pixels.len());
        ensure!(
            width > 0 && is_whole && remainder.is_empty(),
            "the picture is not {width} by {height} pixels"
        );
        Ok(Self::new(width, pixels.to_vec()))
    }

    /// Returns the pixels of a line.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Returns the number of lines.
    pub(crate) fn height(&self) -> usize {
        self.pixels.len() / self.width
    }

    /// Returns a pixel.
    ///
    /// # Panics
    ///
    /// Panics outside of the picture.
    pub(crate) fn pixel(&self, x: usize, y: usize) -> Pixel {
        assert!(x < self.width);
        self.pixels[y * self.width + x]
    }

    /// Changes a pixel.
    #[cfg(test)]
    pub(super) fn set_for_test(&mut self, x: usize, y: usize, pixel: Pixel) {
        self.pixels[y * self.width + x] = pixel;
    }

    /// Writes the picture as PNG with a palette.
    ///
    /// Of more than 256 colours the rarest become the most similar of the others: they are
    /// steps of anti-aliasing, and nobody sees the difference.
    pub(crate) fn write_png(&self, path: &Path) -> Result<()> {
        let (palette, indices) = self.by_palette();
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let (width, height) = (u32::try_from(self.width)?, u32::try_from(self.height())?);
        let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette.concat());
        encoder.set_compression(png::Compression::High);
        // Indices are no amounts: differences of neighbours say nothing.
        encoder.set_filter(png::Filter::NoFilter);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&indices)?;
        writer.finish().context("cannot finish the picture")
    }

    /// Returns at most 256 colours, and for each pixel which one it is.
    fn by_palette(&self) -> (Vec<Pixel>, Vec<u8>) {
        let mut counts: BTreeMap<Pixel, usize> = BTreeMap::new();
        for pixel in &self.pixels {
            *counts.entry(*pixel).or_default() += 1;
        }
        let mut palette: Vec<Pixel> = counts.keys().copied().collect();
        palette.sort_by_key(|color| Reverse(counts[color]));
        palette.truncate(MAX_COLORS);
        let nearest = |color: &Pixel| {
            let known = (0..=u8::MAX).zip(&palette);
            let nearest = known.min_by_key(|(_, other)| distance(*color, **other));
            (*color, nearest.map_or(0, |(index, _)| index))
        };
        let indices: BTreeMap<Pixel, u8> = counts.keys().map(nearest).collect();
        let of_pixels = self.pixels.iter().map(|pixel| indices[pixel]).collect();
        (palette, of_pixels)
    }
}

/// Returns the square of how far two colours are apart.
fn distance(a: Pixel, b: Pixel) -> u32 {
    let parts = a.iter().zip(b);
    parts.map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

/// Takes a word and the one white space behind it off a header.
fn word<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(u8::is_ascii_whitespace);
    let end = end.unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    word
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    std::str::from_utf8(word(rest)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::BufReader;

    use super::{Picture, Pixel, distance};

    #[test]
    fn ppm_is_read_line_by_line() {
        let picture = Picture::from_ppm(b"P6\n2 3\n255\nabcdefghijklmnopqr").unwrap();
        assert_eq!((picture.width(), picture.height()), (2, 3));
        assert_eq!(picture.pixel(0, 0), *b"abc");
        assert_eq!(picture.pixel(1, 2), *b"pqr");
    }

    #[test]
    fn damaged_ppm_is_refused() {
        for bad in [
            &b""[..],
            b"P5\n1 1\n255\nabc",
            b"P6\n1 1\n65535\nabcabc",
            b"P6\n1 2\n255\nabc",
            b"P6\n1 1\n255\nabcd",
            b"P6\n0 0\n255\n",
            b"P6\n99999999999999999999 1\n255\nabc",
            b"P6\n1",
        ] {
            assert!(Picture::from_ppm(bad).is_err(), "{bad:?}");
        }
    }

    fn through_png(picture: &Picture) -> Vec<Pixel> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("picture.png");
        picture.write_png(&path).unwrap();
        let file = BufReader::new(File::open(path).unwrap());
        let mut decoder = png::Decoder::new(file);
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut bytes).unwrap();
        bytes.as_chunks().0.to_vec()
    }

    #[test]
    fn png_of_few_colours_is_the_picture() {
        let pixels: Vec<Pixel> = (0..=255).map(|i| [i, 255 - i, 7]).collect();
        let picture = Picture::new(16, pixels.clone());
        assert_eq!(through_png(&picture), pixels);
    }

    #[test]
    fn png_of_many_colours_has_the_frequent_ones_and_almost_the_others() {
        let rare =
            (0..=255).flat_map(|level| [[level, level, 9], [level, level, 9], [level, level, 12]]);
        let pixels: Vec<Pixel> = rare.chain([[1, 200, 3]; 232]).collect();
        let written = through_png(&Picture::new(100, pixels.clone()));
        assert_eq!(written.len(), pixels.len());
        assert_eq!(written[768..], pixels[768..]);
        let worst = written.iter().zip(&pixels).map(|(a, b)| distance(*a, *b));
        assert_eq!(
            worst.max(),
            Some(11),
            "a step of each colour and three of blue"
        );
    }
}
