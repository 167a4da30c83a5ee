//! Copies that may fault, and the table that says where they go on.
//!
//! The section `ex_table` holds pairs of relative addresses: an instruction
//! that may fault, and where to continue if it does. The page-fault handler
//! looks the interrupted RIP up ([`fixup`]) before it calls a fault a bug. With
//! SMAP, user memory is open to the kernel between `stac` and `clac` alone
//! (SDM vol. 3A, 4.6).

use core::arch::{asm, naked_asm};

use super::features;
use crate::mm::Vaddr;

/// One entry of the table; addresses are relative to the fields themselves.
#[repr(C)]
struct ExceptionEntry {
    instruction: i32,
    resume: i32,
}

unsafe extern "C" {
    static __start_ex_table: ExceptionEntry;
    static __stop_ex_table: ExceptionEntry;
}

/// Returns where to go on after a fault of the instruction at `rip`, if it is
/// one of those that may fault.
pub(crate) fn fixup(rip: Vaddr) -> Option<Vaddr> {
    let start = &raw const __start_ex_table;
    let bytes = &raw const __stop_ex_table as usize - start as usize;
    // SAFETY: The linker bounds the section by these two symbols, and it holds
    // nothing but entries, in read-only memory.
    let table = unsafe { core::slice::from_raw_parts(start, bytes / size_of::<ExceptionEntry>()) };
    table
        .iter()
        .find(|entry| absolute(&entry.instruction) == rip)
        .map(|entry| absolute(&entry.resume))
}

fn absolute(field: &i32) -> Vaddr {
    (&raw const *field as usize).wrapping_add_signed(*field as isize)
}

/// Copies bytes in ascending order and stops at the first that faults.
/// Returns how many were not copied.
///
/// # Safety
///
/// 1. Where `source` is mapped, it may be read.
/// 2. Where `destination` is mapped writable, it may be overwritten.
#[unsafe(naked)]
unsafe extern "C" fn copy(destination: *mut u8, source: *const u8, len: usize) -> usize {
    naked_asm!(
        "mov rcx, rdx",
        "2: rep movsb",
        "3: mov rax, rcx",
        "ret",
        ".pushsection ex_table, \"a\"",
        ".balign 4",
        ".long 2b - .",
        ".long 3b - .",
        ".popsection",
    )
}

/// Copies between kernel memory and memory of the active user space; returns
/// how many bytes were copied before the first fault.
///
/// # Safety
///
/// 1. The side that is user memory lies in the user half entirely.
/// 2. The kernel side is valid for the access, for `len` bytes.
pub(crate) unsafe fn copy_user(destination: *mut u8, source: *const u8, len: usize) -> usize {
    let smap = features::get().smap;
    if smap {
        // SAFETY: Sets AC, which opens user pages until `clac` below.
        unsafe { asm!("stac", options(nostack)) };
    }
    // SAFETY: The caller vouches for both sides.
    let left = unsafe { copy(destination, source, len) };
    if smap {
        // SAFETY: Clears AC, as it was.
        unsafe { asm!("clac", options(nostack)) };
    }
    len - left
}

/// Reads a word of kernel memory that may not be mapped, for reports.
pub(crate) fn read_kernel_word(address: Vaddr) -> Option<usize> {
    let mut word = 0_usize;
    // SAFETY: Reading ordinary memory has no effect, `word` takes all 8 bytes,
    // and the report only follows addresses in the kernel's stacks.
    let left = unsafe {
        copy(
            (&raw mut word).cast(),
            address as *const u8,
            size_of::<usize>(),
        )
    };
    (left == 0).then_some(word)
}
