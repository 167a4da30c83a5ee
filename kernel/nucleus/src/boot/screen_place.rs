//! Where the screen is: what the loader says of the framebuffer, checked before
//! anything of it is believed, drawn on or mapped.
//!
//! A framebuffer may be anywhere below 2^52, in RAM too: the memory map takes it out of
//! what is RAM, and the kernel's tree maps it in an area of its own, so neither address
//! nor length is bound by the linear map. What is *not* taken is a length that is too
//! short for the lines, and more than the lines need: some firmware gives the
//! length of all video memory.

use core::ops::Range;

use crate::arch::paging::PHYSICAL_LIMIT;
use crate::console::FramebufferInfo;
use crate::mm::{PAGE_SIZE, Paddr, Vaddr};

/// A screen whose shape, length and place fit each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScreenPlace {
    /// As long as its lines.
    pub(super) info: FramebufferInfo,
    pub(super) frames: Range<Paddr>,
}

impl ScreenPlace {
    /// Checks a framebuffer that the loader mapped at an address, where `translate` says
    /// what is behind each page.
    ///
    /// Returns nothing if its lines do not fit, or a page of them is not mapped, lies
    /// elsewhere than the one before it promises, or is no address of memory.
    pub(super) fn check(
        mut info: FramebufferInfo,
        vaddr: Vaddr,
        translate: impl Fn(Vaddr) -> Option<Paddr>,
    ) -> Option<Self> {
        let lines = info.stride.checked_mul(info.height)?;
        let len = lines.checked_mul(info.bytes_per_pixel)?;
        if len == 0 || len > info.byte_len || info.width > info.stride {
            return None;
        }
        info.byte_len = len;
        let start = translate(vaddr)?;
        let frames = start..start.checked_add(len)?;
        let first_page = PAGE_SIZE - vaddr % PAGE_SIZE;
        let is_contiguous = (first_page..len)
            .step_by(PAGE_SIZE)
            .all(|offset| translate(vaddr + offset) == Some(start + offset));
        (frames.end <= PHYSICAL_LIMIT && is_contiguous).then_some(Self { info, frames })
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::ScreenPlace;
    use crate::console::{FramebufferInfo, PixelFormat};
    use crate::mm::{PAGE_SIZE, Paddr, Vaddr};
    use crate::prelude::*;

    const AT: Vaddr = 0x1000_0000_0000;
    const INFO: FramebufferInfo = FramebufferInfo {
        byte_len: 1088 * 768 * 4,
        width: 1024,
        height: 768,
        stride: 1088,
        bytes_per_pixel: 4,
        pixel_format: PixelFormat::Bgr,
    };

    /// Checks a framebuffer that is mapped as a whole.
    fn check(info: FramebufferInfo, start: Paddr) -> Option<ScreenPlace> {
        let offset = start % PAGE_SIZE;
        ScreenPlace::check(info, AT + offset, |vaddr| Some(vaddr - AT - offset + start))
    }

    #[ktest]
    fn peer_104_screen_may_be_high_and_have_a_stride() {
        for start in [0xfd00_0000, 1 << 32, (1 << 52) - INFO.byte_len] {
            let place = check(INFO, start).expect("it fits");
            assert_eq!(place.frames, start..start + INFO.byte_len);
            assert_eq!(place.info, INFO);
        }
    }

    #[ktest]
    fn peer_110_screen_may_be_behind_any_entry_of_the_root() {
        // 512 GiB are what an entry spans.
        for entry in [1, 2, 511] {
            assert!(check(INFO, entry << 39).is_some());
        }
        // It may even lie across the border of two.
        assert!(check(INFO, (1 << 39) - 5 * PAGE_SIZE).is_some());
    }

    #[ktest]
    fn peer_104_only_the_lines_are_taken_of_a_large_video_memory() {
        let large = FramebufferInfo {
            byte_len: 1 << 32,
            ..INFO
        };
        let place = check(large, 0xfd00_0000).expect("it fits");
        assert_eq!(place.info, INFO);
        assert_eq!(place.frames.len(), INFO.byte_len);
    }

    #[ktest]
    fn screen_need_not_start_with_a_page() {
        let place = check(INFO, 0xfd00_0100).expect("it fits");
        assert_eq!(place.frames.start, 0xfd00_0100);
    }

    #[ktest]
    fn shape_that_does_not_fit_is_refused() {
        for bad in [
            FramebufferInfo {
                byte_len: INFO.byte_len - 1,
                ..INFO
            },
            FramebufferInfo {
                stride: 1000,
                ..INFO
            },
            FramebufferInfo { height: 0, ..INFO },
            FramebufferInfo {
                height: usize::MAX,
                ..INFO
            },
        ] {
            assert_eq!(check(bad, 0xfd00_0000), None, "{bad:?}");
        }
    }

    #[ktest]
    fn screen_that_is_in_pieces_or_nowhere_is_refused() {
        assert_eq!(check(INFO, (1 << 52) - PAGE_SIZE), None);
        assert_eq!(ScreenPlace::check(INFO, AT, |_| None), None);
        let hole = AT + 5 * PAGE_SIZE;
        let with_a_hole = |vaddr| (vaddr != hole).then_some(vaddr - AT);
        assert_eq!(ScreenPlace::check(INFO, AT, with_a_hole), None);
        let moved = |vaddr| Some(if vaddr == hole { 0 } else { vaddr - AT });
        assert_eq!(ScreenPlace::check(INFO, AT, moved), None);
    }
}
