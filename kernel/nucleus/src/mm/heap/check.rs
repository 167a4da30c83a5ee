//! What a free block looks like, and finding out who does not leave it alone.
//!
//! The first word of a free block is the list's that it is in. In debug builds the
//! second one says that it is free, in a way that depends on its address, and the rest
//! is filled with a pattern.

use core::ptr::NonNull;

use super::class::Class;

/// A block that is free.
#[repr(C)]
pub(super) struct FreeBlock {
    pub(super) next: Option<NonNull<FreeBlock>>,
    mark: usize,
}

const _: () = assert!(size_of::<FreeBlock>() <= super::class::GRANULE);

/// What the rest of a free block is filled with: no address that is canonical.
const PATTERN: u8 = 0xdb;
/// What a free block's mark is, but for its address.
const MARK: usize = 0x0f4e_e0b1_0c50_f4ee;

/// Notes that a block is free from now on; nothing where assertions are off.
///
/// # Safety
///
/// The block is the caller's, and of this class.
///
/// # Panics
///
/// Panics when the block is free already.
#[inline]
pub(super) unsafe fn note_free(block: NonNull<FreeBlock>, class: Class) {
    if cfg!(debug_assertions) {
        // SAFETY: The block is the caller's, and two words at least.
        let mark = unsafe { &mut (*block.as_ptr()).mark };
        assert_ne!(
            *mark,
            MARK ^ block.addr().get(),
            "the block at {block:?} is freed twice"
        );
        // SAFETY: As the caller promises.
        unsafe { fill(block, class) };
    }
}

/// Makes a block look free; nothing where assertions are off.
///
/// # Safety
///
/// The block is the caller's, and of this class.
pub(super) unsafe fn fill(block: NonNull<FreeBlock>, class: Class) {
    if cfg!(debug_assertions) {
        // SAFETY: The block is the caller's, and two words at least.
        unsafe { (*block.as_ptr()).mark = MARK ^ block.addr().get() };
        let rest = class.size() - size_of::<FreeBlock>();
        let start = block.as_ptr().wrapping_add(1).cast::<u8>();
        // SAFETY: The block is the caller's, and of the class's size.
        unsafe { start.write_bytes(PATTERN, rest) };
    }
}

/// Notes that a block is in use from now on; nothing where assertions are off.
///
/// # Safety
///
/// The block was free, is the caller's now, and of this class.
///
/// # Panics
///
/// Panics when somebody has written to it since it was freed.
#[inline]
pub(super) unsafe fn note_used(block: NonNull<FreeBlock>, class: Class) {
    if cfg!(debug_assertions) {
        // SAFETY: The block is the caller's, and two words at least.
        let mark = unsafe { core::mem::replace(&mut (*block.as_ptr()).mark, 0) };
        let rest = class.size() - size_of::<FreeBlock>();
        let start = block.as_ptr().wrapping_add(1).cast::<u8>();
        // SAFETY: The block is the caller's, of the class's size, and was filled.
        let bytes = unsafe { core::slice::from_raw_parts(start, rest) };
        let is_left_alone =
            mark == MARK ^ block.addr().get() && bytes.iter().all(|byte| *byte == PATTERN);
        assert!(
            is_left_alone,
            "the block at {block:?} was written after it was freed"
        );
    }
}
