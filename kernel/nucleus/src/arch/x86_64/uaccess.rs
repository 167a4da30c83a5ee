//! Copies that may fault, and the table that says where they go on.
//!
//! The section `ex_table` holds pairs of relative addresses: an instruction
//! that may fault, and where to continue if it does. The page-fault handler
//! looks the interrupted RIP up ([`fixup`]) before it calls a fault a bug. With
//! SMAP, user memory is open to the kernel between `stac` and `clac` alone
//! (SDM vol. 3A, 4.6).
//!
//! **Another thread may change user memory meanwhile.** So each byte is read once, into
//! memory of the kernel's, which is what is checked and used; nothing here returns a
//! reference. An access that faults has not been made, and is made again from the byte
//! that faulted on.

use core::arch::{asm, naked_asm};

use super::features;
use crate::mm::Vaddr;
use crate::mm::io::Half;
use crate::mm::kspace::layout::is_kernel_address;

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

/// Notes in the table that one label may fault, and that another is where to go on.
macro_rules! may_fault {
    ($label:literal, $resume:literal) => {
        concat!(
            ".pushsection ex_table, \"a\"
            .balign 4
            .long ",
            $label,
            " - .
            .long ",
            $resume,
            " - .
            .popsection"
        )
    };
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
/// By words, as far as there are some. A word that faults is copied byte by byte as
/// far as that goes, which faults once more, at the first byte that cannot be copied.
///
/// # Safety
///
/// 1. Where `source` is mapped, it may be read.
/// 2. Where `destination` is mapped writable, it may be overwritten.
#[unsafe(naked)]
unsafe extern "C" fn copy_bytes(destination: *mut u8, source: *const u8, len: usize) -> usize {
    naked_asm!(
        "mov rcx, rdx",
        "shr rcx, 3",
        "and edx, 7",
        "2: rep movsq",
        "3: lea rcx, [rdx + rcx * 8]",
        "4: rep movsb",
        "5: mov rax, rcx",
        "ret",
        may_fault!("2b", "3b"),
        may_fault!("4b", "5b"),
    )
}

/// Writes zeros in ascending order and stops at the first byte that faults.
/// Returns how many were not written. Otherwise as [`copy_bytes`].
///
/// # Safety
///
/// Where `destination` is mapped writable, it may be overwritten.
#[unsafe(naked)]
unsafe extern "C" fn fill_zeros(destination: *mut u8, len: usize) -> usize {
    naked_asm!(
        "mov rcx, rsi",
        "shr rcx, 3",
        "and esi, 7",
        "xor eax, eax",
        "2: rep stosq",
        "3: lea rcx, [rsi + rcx * 8]",
        "4: rep stosb",
        "5: mov rax, rcx",
        "ret",
        may_fault!("2b", "3b"),
        may_fault!("4b", "5b"),
    )
}

/// Reads a word; returns it, or all ones in the upper half if that faults.
///
/// # Safety
///
/// Where `source` is mapped, it may be read.
#[unsafe(naked)]
unsafe extern "C" fn load(source: *const u32) -> u64 {
    naked_asm!(
        "mov rax, -1",
        "2: mov eax, [rdi]",
        "3: ret",
        may_fault!("2b", "3b"),
    )
}

/// Replaces a word if it is `old`; returns what it was, or all ones in the upper
/// half if that faults.
///
/// # Safety
///
/// Where `target` is mapped writable, it may be overwritten.
#[unsafe(naked)]
unsafe extern "C" fn compare_exchange(target: *mut u32, old: u32, new: u32) -> u64 {
    naked_asm!(
        "mov eax, esi",
        "2: lock cmpxchg [rdi], edx",
        "ret",
        "3: mov rax, -1",
        "ret",
        may_fault!("2b", "3b"),
    )
}

/// Runs with user memory open to the kernel, if it is to be.
fn with_user_memory<R>(is_user: bool, body: impl FnOnce() -> R) -> R {
    let smap = is_user && features::get().smap;
    if smap {
        // SAFETY: Sets AC, which opens user pages until `clac` below.
        unsafe { asm!("stac", options(nostack)) };
    }
    let result = body();
    if smap {
        // SAFETY: Clears AC, as it was.
        unsafe { asm!("clac", options(nostack)) };
    }
    result
}

/// Copies bytes, in ascending order; returns how many were copied before the
/// first fault.
///
/// # Safety
///
/// Each side is valid for the access for `len` bytes if it is the kernel's, and
/// lies in the user half entirely if it is a user's.
pub(crate) unsafe fn copy(
    (destination, to): (*mut u8, Half),
    (source, from): (*const u8, Half),
    len: usize,
) -> usize {
    let is_user = to == Half::User || from == Half::User;
    // SAFETY: The caller vouches for both sides.
    let left = with_user_memory(is_user, || unsafe { copy_bytes(destination, source, len) });
    len - left
}

/// Writes zeros; returns how many before the first fault.
///
/// # Safety
///
/// As for the destination of [`copy`].
pub(crate) unsafe fn zero((destination, half): (*mut u8, Half), len: usize) -> usize {
    // SAFETY: The caller vouches for the destination.
    let left = with_user_memory(half == Half::User, || unsafe {
        fill_zeros(destination, len)
    });
    len - left
}

/// Reads an aligned word in one access; nothing if that faults.
///
/// # Safety
///
/// As for the source of [`copy`].
pub(crate) unsafe fn load_u32((source, half): (*const u32, Half)) -> Option<u32> {
    // SAFETY: The caller vouches for the source.
    let word = with_user_memory(half == Half::User, || unsafe { load(source) });
    u32::try_from(word).ok()
}

/// Replaces an aligned word if it is `old`, in one access; returns what it was,
/// or nothing if that faults.
///
/// # Safety
///
/// As for the destination of [`copy`].
pub(crate) unsafe fn compare_exchange_u32(
    (target, half): (*mut u32, Half),
    old: u32,
    new: u32,
) -> Option<u32> {
    // SAFETY: The caller vouches for the target.
    let word = with_user_memory(half == Half::User, || unsafe {
        compare_exchange(target, old, new)
    });
    u32::try_from(word).ok()
}

/// Reads a word of kernel memory that may not be mapped, for reports, which follow
/// addresses that may be anything. What is no address of the kernel's reads as not
/// mapped.
pub(crate) fn read_kernel_word(address: Vaddr) -> Option<usize> {
    if !is_kernel_address(address) {
        return None;
    }
    let mut word = 0_usize;
    // SAFETY: 1. what is mapped at a kernel's address is memory, which a read leaves
    // as it is, or at worst a device's register, where a read may mean something to
    // the device, but to nobody's memory. 2. `word` takes all 8 bytes.
    let left = unsafe {
        copy_bytes(
            (&raw mut word).cast(),
            address as *const u8,
            size_of::<usize>(),
        )
    };
    (left == 0).then_some(word)
}

#[cfg(ktest)]
mod tests {
    use alloc::sync::Arc;
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::{features, read_kernel_word};
    use crate::cpu::disable_preempt;
    use crate::mm::vm_space::PageFaultInfo;
    use crate::mm::{
        CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, VmIo, VmSpace,
    };
    use crate::prelude::*;

    const PAGE: usize = 0x40_0000;

    static ASKED: AtomicUsize = AtomicUsize::new(0);

    /// Finds nothing to do, as a handler does of a page that is there.
    fn find_it_in_order(_: &VmSpace, _: &PageFaultInfo) -> core::result::Result<(), ()> {
        ASKED.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    #[ktest]
    fn peer_086_access_that_smap_refuses_is_an_error_and_not_tried_again() {
        if !features::get().smap {
            crate::ktest::skip("the processor has no SMAP");
        }
        let space = Arc::new(VmSpace::new().expect("enough memory"));
        let frame = FrameAllocOptions::new()
            .alloc_frame()
            .expect("enough memory");
        frame.write_val(0, &7_u64).expect("it fits");
        let guard = disable_preempt();
        let mut cursor = space
            .cursor_mut(&guard, &(PAGE..PAGE + PAGE_SIZE))
            .expect("a legal range");
        let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
        cursor.map(frame.into(), prop).expect("enough memory");
        drop(cursor);
        drop(guard);
        space.set_page_fault_handler(find_it_in_order);
        space.activate();
        // By the routine that opens user memory, and by one that does not.
        let mut reader = space.reader(PAGE, 8).expect("a legal range");
        assert_eq!(reader.read_val::<u64>(), Ok(7));
        assert_eq!(read_kernel_word(PAGE), None);
        assert_eq!(ASKED.load(Ordering::Relaxed), 0);
        VmSpace::deactivate_current();
    }
}
