//! Images of the floating-point and vector registers, for forks and signals.
//!
//! An image is what `xsave` writes in its standard format, or `fxsave` where there is
//! no `xsave` (SDM vol. 1, 10.5.1 and 13.4). Programs get images in the frames of
//! signals and hand them in again, changed as they like. `xrstor` refuses some images
//! by an exception, which in the kernel would be fatal. So a value of the type proves
//! that its image is one of those that are taken: [`FpuContext::from_user_bytes`] lets
//! in no other (peer 93).

use core::fmt;
use core::ops::Range;

use crate::arch::x86_64::fpu::{self, Area, HEADER, LEGACY_SIZE, MXCSR};
use crate::error::{Error, Result};

/// The components that the header names: in its first word.
const PRESENT: Range<usize> = HEADER.start..HEADER.start + 8;
/// The rest of the header, zero in the standard format: the bits of a compacted image,
/// and what is reserved.
const REST: Range<usize> = PRESENT.end..HEADER.end;
/// The two components that `fxsave` saves as well.
const LEGACY_COMPONENTS: u64 = 0b11;

/// What a program has in its floating-point and vector registers.
#[derive(Clone)]
pub struct FpuContext(Area);

impl FpuContext {
    /// Returns what programs start with.
    pub fn new() -> Self {
        Self::from_image(Area::INITIAL)
    }

    /// Takes an image that the processor has saved.
    pub(super) fn from_image(mut image: Area) -> Self {
        // An image leaves components out that are as they were initially, though their
        // bytes are there. The old ones are named always, so that a program that changes
        // the bytes changes the registers.
        if let Some(present) = word(&image, PRESENT.start)
            && fpu::format().components != 0
        {
            let present = present | LEGACY_COMPONENTS;
            image.0[PRESENT].copy_from_slice(&present.to_le_bytes());
        }
        Self(image)
    }

    /// Takes an image that a program made: one of [`size`](Self::size) bytes or more, of
    /// which the rest is ignored, or one of `fxsave`, of 512.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the length is another, or the processor would refuse
    /// the image: it names components that are not switched on, is compacted, has
    /// reserved bits set in its header, or flags in MXCSR that do not exist.
    pub fn from_user_bytes(bytes: &[u8]) -> Result<Self> {
        let format = fpu::format();
        let mut image = Area::INITIAL;
        if bytes.len() >= format.size {
            image.0[..format.size].copy_from_slice(&bytes[..format.size]);
        } else if bytes.len() == LEGACY_SIZE {
            image.0[..LEGACY_SIZE].copy_from_slice(bytes);
            image.0[PRESENT].copy_from_slice(&LEGACY_COMPONENTS.to_le_bytes());
        } else {
            return Err(Error::InvalidArgs);
        }
        let mxcsr = word(&image, MXCSR).ok_or(Error::InvalidArgs)? as u32;
        let present = word(&image, PRESENT.start).ok_or(Error::InvalidArgs)?;
        // Without `xsave` the header is not looked at, and is not the program's.
        let are_known = format.components == 0 || present & !format.components == 0;
        let has_rest = image.0[REST].iter().any(|byte| *byte != 0);
        if mxcsr & !format.mxcsr_mask != 0 || !are_known || has_rest {
            return Err(Error::InvalidArgs);
        }
        Ok(Self(image))
    }

    /// Returns the image.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.0[..Self::size()]
    }

    /// Returns the bytes of an image on this machine.
    pub fn size() -> usize {
        fpu::format().size
    }

    /// Returns the components of an image on this machine, as XCR0 numbers them; zero if
    /// it is an image of `fxsave`.
    pub fn components() -> u64 {
        fpu::format().components
    }

    pub(super) fn image(&self) -> &Area {
        &self.0
    }
}

/// Returns eight bytes of an image as a number.
fn word(image: &Area, offset: usize) -> Option<u64> {
    let bytes = image.0.get(offset..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

impl Default for FpuContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FpuContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FpuContext")
            .field("components", &word(&self.0, PRESENT.start))
            .finish_non_exhaustive()
    }
}

#[cfg(ktest)]
mod tests {
    use alloc::vec::Vec;

    use super::{FpuContext, HEADER, LEGACY_SIZE, MXCSR, fpu};
    use crate::prelude::*;

    /// Returns an image that is accepted, changed.
    fn image_with(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = FpuContext::new().as_bytes().to_vec();
        change(&mut bytes);
        bytes
    }

    fn is_refused(bytes: &[u8]) -> bool {
        FpuContext::from_user_bytes(bytes).is_err()
    }

    #[ktest]
    fn fpu_image_is_taken_as_it_was_given() {
        let bytes = image_with(|bytes| bytes[160..176].fill(0x5a));
        let context = FpuContext::from_user_bytes(&bytes).expect("a legal image");
        assert_eq!(context.as_bytes(), bytes);
        assert_eq!(FpuContext::size(), bytes.len());
        // As Linux appends a word to the image.
        let longer = [bytes.as_slice(), &[0xff; 4]].concat();
        let context = FpuContext::from_user_bytes(&longer).expect("a legal image");
        assert_eq!(context.as_bytes(), bytes);
    }

    #[ktest]
    fn fpu_image_of_the_old_registers_alone_is_enough() {
        let bytes = image_with(|bytes| bytes[160..176].fill(0x5a));
        let old = FpuContext::from_user_bytes(&bytes[..LEGACY_SIZE]).expect("a legal image");
        assert_eq!(old.as_bytes()[..LEGACY_SIZE], bytes[..LEGACY_SIZE]);
    }

    #[ktest]
    fn fpu_image_of_another_length_is_refused() {
        let bytes = image_with(|_| ());
        for len in [0, 1, LEGACY_SIZE - 1, bytes.len() - 1] {
            assert!(is_refused(&bytes[..len]), "{len} bytes");
        }
    }

    #[ktest]
    fn peer_093_flags_of_mxcsr_that_do_not_exist_are_refused() {
        for bit in 0..u32::BITS {
            let flags = 0x1f80_u32 | 1 << bit;
            let place = MXCSR..MXCSR + 4;
            let image = image_with(|bytes| bytes[place].copy_from_slice(&flags.to_le_bytes()));
            let exists = fpu::format().mxcsr_mask >> bit & 1 == 1;
            assert_eq!(is_refused(&image), !exists, "bit {bit}");
        }
    }

    #[ktest]
    fn peer_093_headers_that_the_processor_would_refuse_are_refused() {
        let components = FpuContext::components();
        if components == 0 {
            crate::ktest::skip("the processor has no xsave");
        }
        let words = HEADER.len() * 8;
        for bit in 0..words {
            let place = HEADER.start + bit / 8;
            let image = image_with(|bytes| bytes[place] |= 1 << (bit % 8));
            let is_component = bit < 64 && components >> bit & 1 == 1;
            assert_eq!(is_refused(&image), !is_component, "bit {bit} of the header");
        }
    }
}
