//! Which graphics mode the console gets, and whether it can be drawn on.
//!
//! The loader takes the *last* mode of the firmware's list that is large enough, which
//! is often the largest: slow to draw on, and tiny to read. Here the mode that the
//! firmware has chosen is kept if it is of a sensible size, since it is the display's own
//! as a rule; or else the largest sensible one is taken.

use uefi_raw::protocol::console::{
    GraphicsOutputModeInformation, GraphicsPixelFormat, PixelBitmask,
};

/// Smallest and largest size that is sensible, in pixels.
const SMALLEST: (u32, u32) = (1024, 768);
const LARGEST: (u32, u32) = (1920, 1200);

/// Bytes of a pixel in all formats but masks, which are made one of the others here.
const PIXEL_BYTES: u64 = 4;
/// The loader finds the screen where firmware maps it, in the lower half.
const LOWER_HALF: u64 = 1 << 47;

const RGB: GraphicsPixelFormat = GraphicsPixelFormat::PIXEL_RED_GREEN_BLUE_RESERVED_8_BIT_PER_COLOR;
const BGR: GraphicsPixelFormat = GraphicsPixelFormat::PIXEL_BLUE_GREEN_RED_RESERVED_8_BIT_PER_COLOR;

/// Returns the number of the mode to use, of modes and their numbers.
///
/// The best is a sensible size, the current one first, then the largest; then the current
/// mode, whatever it is; then the largest of those that are too small, and at last the
/// smallest of those that are too large. Modes that cannot be drawn on do not count.
pub fn choose(
    current: u32,
    modes: impl Iterator<Item = (u32, GraphicsOutputModeInformation)>,
) -> Option<u32> {
    let rank = |(number, mode): &(u32, GraphicsOutputModeInformation)| {
        let (width, height) = (mode.horizontal_resolution, mode.vertical_resolution);
        let is_current = *number == current;
        let area = u64::from(width) * u64::from(height);
        if width > LARGEST.0 || height > LARGEST.1 {
            (if is_current { 2 } else { 0 }, is_current, u64::MAX - area)
        } else if width < SMALLEST.0 || height < SMALLEST.1 {
            (if is_current { 2 } else { 1 }, is_current, area)
        } else {
            (3, is_current, area)
        }
    };
    let usable = modes.filter(|(_, mode)| format(mode).is_some());
    usable.max_by_key(rank).map(|(number, _)| number)
}

/// Returns a mode's format as one that the loader knows, if it is such.
fn format(mode: &GraphicsOutputModeInformation) -> Option<GraphicsPixelFormat> {
    let PixelBitmask {
        red, green, blue, ..
    } = mode.pixel_information;
    match mode.pixel_format {
        RGB | BGR => Some(mode.pixel_format),
        GraphicsPixelFormat::PIXEL_BIT_MASK => match (red, green, blue) {
            (0xff, 0xff00, 0x00ff_0000) => Some(RGB),
            (0x00ff_0000, 0xff00, 0xff) => Some(BGR),
            _ => None,
        },
        _ => None,
    }
}

/// Returns a mode as the loader may see it, and the length of its screen in bytes,
/// if the screen makes sense.
///
/// The length that firmware names may be that of the whole video memory; all of it would
/// be mapped.
pub fn shown(
    mode: &GraphicsOutputModeInformation,
    base: u64,
    len: u64,
) -> Option<(GraphicsOutputModeInformation, u64)> {
    let pixel_format = format(mode)?;
    let (width, height) = (mode.horizontal_resolution, mode.vertical_resolution);
    let stride = mode.pixels_per_scan_line;
    let line = u64::from(stride) * PIXEL_BYTES;
    let needed = line.checked_mul(u64::from(height))?;
    let end = base.checked_add(needed)?;
    let is_sane = width > 0 && stride >= width && needed > 0 && needed <= len;
    let shown = GraphicsOutputModeInformation {
        pixel_format,
        ..*mode
    };
    (is_sane && base != 0 && end <= LOWER_HALF).then_some((shown, needed))
}

#[cfg(test)]
mod tests {
    use uefi_raw::protocol::console::{
        GraphicsOutputModeInformation, GraphicsPixelFormat, PixelBitmask,
    };

    use super::{BGR, RGB, choose, shown};

    fn mode(width: u32, height: u32) -> GraphicsOutputModeInformation {
        GraphicsOutputModeInformation {
            horizontal_resolution: width,
            vertical_resolution: height,
            pixel_format: BGR,
            pixels_per_scan_line: width,
            ..Default::default()
        }
    }

    fn masks(red: u32, green: u32, blue: u32) -> GraphicsOutputModeInformation {
        GraphicsOutputModeInformation {
            pixel_format: GraphicsPixelFormat::PIXEL_BIT_MASK,
            pixel_information: PixelBitmask {
                red,
                green,
                blue,
                reserved: 0,
            },
            ..mode(1024, 768)
        }
    }

    #[track_caller]
    fn assert_chosen(current: u32, sizes: &[(u32, u32)], expected: u32) {
        let modes = (0..).zip(sizes.iter().map(|(width, height)| mode(*width, *height)));
        assert_eq!(choose(current, modes), Some(expected), "{sizes:?}");
    }

    #[test]
    fn sensible_mode_that_is_current_is_kept() {
        assert_chosen(0, &[(1024, 768), (1920, 1080), (3840, 2160)], 0);
        assert_chosen(1, &[(640, 480), (1920, 1200)], 1);
    }

    #[test]
    fn largest_sensible_mode_is_taken_otherwise() {
        assert_chosen(0, &[(640, 480), (1280, 800), (1920, 1080), (2560, 1600)], 2);
        assert_chosen(3, &[(640, 480), (1280, 800), (1024, 768), (2560, 1600)], 1);
    }

    #[test]
    fn without_a_sensible_mode_the_current_one_stays() {
        assert_chosen(1, &[(640, 480), (3840, 2160)], 1);
        assert_chosen(0, &[(640, 480), (800, 600)], 0);
    }

    #[test]
    fn mode_that_cannot_be_drawn_on_is_not_chosen() {
        let blt_only = GraphicsOutputModeInformation {
            pixel_format: GraphicsPixelFormat::PIXEL_BLT_ONLY,
            ..mode(1280, 1024)
        };
        let modes = [blt_only, mode(2560, 1600), mode(640, 480), mode(800, 600)];
        assert_eq!(choose(0, (0..).zip(modes)), Some(3));
        assert_eq!(choose(0, (0..).zip([blt_only, mode(2560, 1600)])), Some(1));
        assert_eq!(choose(0, (0..).zip([blt_only])), None);
        assert_eq!(choose(0, core::iter::empty()), None);
    }

    #[test]
    fn masks_are_the_format_that_they_spell() {
        let format = |mode| Some(shown(&mode, 0x1000, 1 << 30)?.0.pixel_format);
        assert_eq!(format(masks(0xff, 0xff00, 0xff_0000)), Some(RGB));
        assert_eq!(format(masks(0xff_0000, 0xff00, 0xff)), Some(BGR));
        assert_eq!(format(masks(0xf800, 0x7e0, 0x1f)), None);
    }

    #[test]
    fn peer_104_screen_with_a_stride_is_as_long_as_its_lines() {
        let wide = GraphicsOutputModeInformation {
            pixels_per_scan_line: 1088,
            ..mode(1024, 768)
        };
        let (_, len) = shown(&wide, 1 << 39, 1 << 28).expect("it makes sense");
        assert_eq!(len, 1088 * 768 * 4);
        assert!(shown(&wide, 1 << 39, len).is_some());
        assert!(shown(&wide, 1 << 39, len - 1).is_none());
    }

    #[test]
    fn screen_that_makes_no_sense_is_not_shown() {
        let len = 1 << 30;
        assert!(shown(&mode(1024, 768), 0, len).is_none());
        assert!(shown(&mode(0, 768), 0x1000, len).is_none());
        assert!(shown(&mode(1024, 0), 0x1000, len).is_none());
        assert!(shown(&mode(u32::MAX, u32::MAX), 0x1000, u64::MAX).is_none());
        assert!(shown(&mode(1024, 768), (1 << 47) - 4096, len).is_none());
        assert!(shown(&mode(1024, 768), u64::MAX, len).is_none());
        let narrow = GraphicsOutputModeInformation {
            pixels_per_scan_line: 1000,
            ..mode(1024, 768)
        };
        assert!(shown(&narrow, 0x1000, len).is_none());
    }
}
