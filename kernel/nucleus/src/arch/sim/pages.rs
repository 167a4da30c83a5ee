//! Zeroing and copying whole pages, word by word.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::mm::PAGE_SIZE;

/// Zeroes a page.
///
/// # Safety
///
/// The page is the caller's.
pub(crate) unsafe fn zero_page(page: *mut u8) {
    // SAFETY: As the caller promises.
    unsafe { page.write_bytes(0, PAGE_SIZE) };
}

/// Copies a page.
///
/// # Safety
///
/// Both pages are aligned; the source may be read, and the target overwritten. Others
/// may change either meanwhile.
pub(crate) unsafe fn copy_page(target: *mut u8, source: *const u8) {
    for offset in (0..PAGE_SIZE).step_by(size_of::<usize>()) {
        // SAFETY: As the caller promises; the word is aligned, as the page is.
        let source = unsafe { &*source.wrapping_add(offset).cast::<AtomicUsize>() };
        // SAFETY: As above.
        let target = unsafe { &*target.wrapping_add(offset).cast::<AtomicUsize>() };
        // Relaxed: single words, in no order that anybody else sees.
        target.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
