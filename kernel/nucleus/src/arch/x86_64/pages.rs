//! Zeroing and copying whole pages.
//!
//! By the widest registers that the kernel switches on, those of AVX, where the
//! processor has them: 128 stores of 32 bytes zero a page, and as many loads and
//! stores copy one. Without AVX it is 512 words, by string instructions.
//!
//! A register that is used is a program's, whose state may not be saved at the moment.
//! It is put back at once, in a *brief section*, since a task that left the processor
//! half-way would leave the register of another one's program changed. Its upper parts
//! would be lost if registers wider than AVX's were ever switched on: then this is to
//! use those.

use core::arch::naked_asm;

use super::features;
use crate::cpu::brief;
use crate::mm::PAGE_SIZE;

/// Zeroes a page.
///
/// # Safety
///
/// The page is the caller's, mapped and aligned.
#[inline]
pub(crate) unsafe fn zero_page(page: *mut u8) {
    if features::has_avx() {
        // SAFETY: As the caller promises; start-up switched the registers on.
        brief(|| unsafe { zero_page_by_wide_stores(page) });
    } else {
        // SAFETY: As the caller promises.
        unsafe { zero_page_by_words(page) };
    }
}

/// Copies a page.
///
/// # Safety
///
/// Both pages are mapped and aligned; the source may be read, and the target
/// overwritten. Others may change either meanwhile.
#[inline]
pub(crate) unsafe fn copy_page(target: *mut u8, source: *const u8) {
    if features::has_avx() {
        // SAFETY: As the caller promises; start-up switched the registers on.
        brief(|| unsafe { copy_page_by_wide_moves(target, source) });
    } else {
        // SAFETY: As the caller promises.
        unsafe { copy_page_by_words(target, source) };
    }
}

/// Runs an instruction or two for each 32 bytes of the next KiB: it names the offset
/// `\\at`.
macro_rules! for_each_32_bytes_of_a_kib {
    ($($instruction:literal),+) => {
        concat!(
            ".irp at, 0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, \
             480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800, 832, 864, 896, 928, 960, \
             992\n",
            $($instruction, "\n",)+
            ".endr"
        )
    };
}

/// Zeroes a page by stores of 32 bytes.
///
/// # Safety
///
/// 1. As for [`zero_page`].
/// 2. The processor has the wide registers, and they are switched on.
#[unsafe(naked)]
unsafe extern "C" fn zero_page_by_wide_stores(page: *mut u8) {
    naked_asm!(
        "sub rsp, 40",
        "vmovdqu [rsp], ymm0",
        "vpxor xmm0, xmm0, xmm0",
        "lea rax, [rdi + {size}]",
        "2:",
        for_each_32_bytes_of_a_kib!("vmovdqa [rdi + \\at], ymm0"),
        "add rdi, 1024",
        "cmp rdi, rax",
        "jne 2b",
        "vmovdqu ymm0, [rsp]",
        "add rsp, 40",
        "ret",
        size = const PAGE_SIZE,
    )
}

/// Copies a page by moves of 32 bytes.
///
/// # Safety
///
/// 1. As for [`copy_page`].
/// 2. The processor has the wide registers, and they are switched on.
#[unsafe(naked)]
unsafe extern "C" fn copy_page_by_wide_moves(target: *mut u8, source: *const u8) {
    naked_asm!(
        "sub rsp, 40",
        "vmovdqu [rsp], ymm0",
        "lea rax, [rdi + {size}]",
        "2:",
        for_each_32_bytes_of_a_kib!("vmovdqa ymm0, [rsi + \\at]", "vmovdqa [rdi + \\at], ymm0"),
        "add rsi, 1024",
        "add rdi, 1024",
        "cmp rdi, rax",
        "jne 2b",
        "vmovdqu ymm0, [rsp]",
        "add rsp, 40",
        "ret",
        size = const PAGE_SIZE,
    )
}

/// Zeroes a page by stores of 8 bytes.
///
/// # Safety
///
/// As for [`zero_page`].
#[unsafe(naked)]
unsafe extern "C" fn zero_page_by_words(page: *mut u8) {
    naked_asm!(
        "mov ecx, {words}",
        "xor eax, eax",
        "rep stosq",
        "ret",
        words = const PAGE_SIZE / 8,
    )
}

/// Copies a page by moves of 8 bytes.
///
/// # Safety
///
/// As for [`copy_page`].
#[unsafe(naked)]
unsafe extern "C" fn copy_page_by_words(target: *mut u8, source: *const u8) {
    naked_asm!(
        "mov ecx, {words}",
        "rep movsq",
        "ret",
        words = const PAGE_SIZE / 8,
    )
}

#[cfg(ktest)]
mod tests {
    use super::{
        copy_page_by_wide_moves, copy_page_by_words, features, zero_page_by_wide_stores,
        zero_page_by_words,
    };
    use crate::mm::PAGE_SIZE;
    use crate::prelude::*;

    #[repr(align(4096))]
    struct Page([u8; PAGE_SIZE]);

    type Zero = unsafe extern "C" fn(*mut u8);
    type Copy = unsafe extern "C" fn(*mut u8, *const u8);

    fn filled() -> alloc::boxed::Box<[Page; 3]> {
        let byte = |index: usize| (index * 7 + index / 256) as u8 | 1;
        alloc::boxed::Box::new(core::array::from_fn(|_| Page(core::array::from_fn(byte))))
    }

    #[ktest]
    fn pages_are_zeroed_as_a_whole_and_nothing_else() {
        let wide: Option<Zero> = features::has_avx().then_some(zero_page_by_wide_stores);
        for zero in wide.into_iter().chain([zero_page_by_words as Zero]) {
            let (before, mut pages) = (filled(), filled());
            // SAFETY: 1. it is a page of the test's. 2. the processor was asked.
            unsafe { zero(pages[1].0.as_mut_ptr()) };
            assert!(pages[1].0.iter().all(|byte| *byte == 0));
            assert!(pages[0].0 == before[0].0 && pages[2].0 == before[2].0);
        }
    }

    #[ktest]
    fn pages_are_copied_as_a_whole_and_nothing_else() {
        let wide: Option<Copy> = features::has_avx().then_some(copy_page_by_wide_moves);
        for copy in wide.into_iter().chain([copy_page_by_words as Copy]) {
            let source = filled();
            let mut pages = filled();
            pages.iter_mut().for_each(|page| page.0.fill(0));
            // SAFETY: 1. both are pages of the test's. 2. the processor was asked.
            unsafe { copy(pages[1].0.as_mut_ptr(), source[0].0.as_ptr()) };
            assert!(pages[1].0 == source[0].0);
            assert!(
                [&pages[0], &pages[2]]
                    .iter()
                    .all(|page| page.0.iter().all(|b| *b == 0))
            );
        }
    }
}
