//! Accesses that may fault: by the simulated TLB and page walker.

extern crate std;

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use core::sync::atomic::{AtomicU8, AtomicU32};

use super::interleave;
use super::machine::current;
use super::memory::paddr_to_vaddr;
use super::walker::{Access, Translation, walk};
use crate::mm::io::Half;
use crate::mm::vm_space::{PageFaultInfo, handle_user_fault};
use crate::mm::{PAGE_SIZE, Vaddr};
use crate::trap_decode::PageFaultCode;

/// Translates an address for an access of this processor: by a cached
/// translation, however old, or else by a walk.
fn translate(vaddr: Vaddr, access: Access) -> Option<*mut u8> {
    interleave::switch();
    let cpu = current();
    let cached = cpu.machine().checker.as_ref().and_then(|checker| {
        let checker = checker.lock().unwrap_or_else(PoisonError::into_inner);
        let tlb = &checker.tlbs[cpu.id.as_usize()];
        assert!(
            !(access.user && tlb.is_lazy()),
            "user memory was accessed by a lazy processor"
        );
        let found = tlb.find(vaddr);
        found.filter(|entry: &Translation| entry.allows(access))
    });
    // Relaxed: the processor's own register.
    let root = cpu.root.load(Ordering::Relaxed);
    let page = cached.or_else(|| walk(root, vaddr, access))?;
    Some(paddr_to_vaddr(page.paddr + (vaddr - page.vaddr)) as *mut u8)
}

/// As [`translate`] for an address of a user, asking the page-fault handler.
fn translate_user(vaddr: Vaddr, write: bool) -> Option<*mut u8> {
    let access = Access { write, user: true };
    translate(vaddr, access).or_else(|| {
        let mut code = PageFaultCode::empty();
        code.set(PageFaultCode::WRITE, write);
        let info = PageFaultInfo {
            address: vaddr,
            code,
        };
        handle_user_fault(&info)
            .then(|| translate(vaddr, access))
            .flatten()
    })
}

/// Returns the host's address of an address, and how far it is good.
fn reach(address: Vaddr, half: Half, write: bool) -> Option<(*mut u8, usize)> {
    match half {
        Half::Kernel => Some((address as *mut u8, usize::MAX)),
        Half::User => {
            let rest = PAGE_SIZE - address % PAGE_SIZE;
            translate_user(address, write).map(|pointer| (pointer, rest))
        }
    }
}

/// Copies bytes, one by one, in ascending order; returns how many were copied
/// before the first fault.
///
/// # Safety
///
/// Each side is valid for the access for `len` bytes if it is the kernel's.
pub(crate) unsafe fn copy(
    (destination, to): (*mut u8, Half),
    (source, from): (*const u8, Half),
    len: usize,
) -> usize {
    let mut done = 0;
    while done < len {
        let Some((source, readable)) = reach(source.addr() + done, from, false) else {
            break;
        };
        let Some((target, writable)) = reach(destination.addr() + done, to, true) else {
            break;
        };
        let part = (len - done).min(readable).min(writable);
        for byte in 0..part {
            let (source, target) = (source.wrapping_add(byte), target.wrapping_add(byte));
            // SAFETY: The caller vouches for the kernel's side, and the other is
            // memory of the machine up to the end of the page.
            let source = unsafe { AtomicU8::from_ptr(source) };
            // SAFETY: As above.
            let target = unsafe { AtomicU8::from_ptr(target) };
            // Relaxed: single bytes, in no order that anybody else sees.
            target.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        done += part;
    }
    done
}

/// Writes zeros; returns how many before the first fault.
///
/// # Safety
///
/// As for the destination of [`copy`].
pub(crate) unsafe fn zero((destination, half): (*mut u8, Half), len: usize) -> usize {
    let mut done = 0;
    while done < len {
        let Some((target, writable)) = reach(destination.addr() + done, half, true) else {
            break;
        };
        let part = (len - done).min(writable);
        // SAFETY: As in `copy`.
        unsafe { target.write_bytes(0, part) };
        done += part;
    }
    done
}

/// Reads an aligned word in one access; nothing if that faults.
///
/// # Safety
///
/// As for the source of [`copy`].
pub(crate) unsafe fn load_u32((source, half): (*const u32, Half)) -> Option<u32> {
    let (word, _) = reach(source.addr(), half, false)?;
    // SAFETY: As in `copy`; the word is aligned, so it lies in one page.
    let word = unsafe { &*word.cast::<AtomicU32>() };
    // Relaxed: as the caller is told.
    Some(word.load(Ordering::Relaxed))
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
    let (word, _) = reach(target.addr(), half, true)?;
    // SAFETY: As in `load_u32`.
    let word = unsafe { &*word.cast::<AtomicU32>() };
    // Relaxed: as the caller is told.
    let result = word.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
    Some(result.unwrap_or_else(|seen| seen))
}

/// Reads a word of kernel memory that may not be mapped, as the simulated
/// processor sees it.
#[cfg(test)]
pub(crate) fn read_kernel_word(address: Vaddr) -> Option<usize> {
    let access = Access {
        write: false,
        user: false,
    };
    let word = translate(address, access)?;
    // SAFETY: It is memory of the machine, and the word does not leave its page.
    Some(unsafe { word.cast::<usize>().read_unaligned() })
}
