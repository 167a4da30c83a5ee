//! The root register of paging and the TLB (SDM vol. 3A, 4.10.4).

use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr3, Cr3Flags, Cr4, Cr4Flags};
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

use super::features;
use crate::mm::{Paddr, PagingLevel, Vaddr};

/// Returns the highest level at which the processor accepts a leaf.
pub(crate) fn highest_leaf_level() -> PagingLevel {
    if features::get().huge_1g { 3 } else { 2 }
}

/// Returns the physical address of the active root table.
pub(crate) fn active_root() -> Paddr {
    Cr3::read().0.start_address().as_u64() as Paddr
}

/// Makes `root` the active root table; flushes all but global translations.
///
/// # Safety
///
/// 1. `root` is a root table that outlives its time in the register.
/// 2. It maps the kernel's code, data and current stack where they are.
pub(crate) unsafe fn activate(root: Paddr) {
    let frame = PhysFrame::containing_address(PhysAddr::new(root as u64));
    // SAFETY: As the caller promises.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}

/// Drops this processor's translation of one page, global or not.
pub(crate) fn flush_page(vaddr: Vaddr) {
    tlb::flush(VirtAddr::new(vaddr as u64));
}

/// Drops all of this processor's translations but global ones.
pub(crate) fn flush_all_excluding_global() {
    tlb::flush_all();
}

/// Drops all of this processor's translations.
pub(crate) fn flush_all_including_global() {
    if !features::get().global_pages {
        return tlb::flush_all();
    }
    // SAFETY: Switching global pages off and on again changes nothing but that
    // everything is flushed (SDM vol. 3A, 4.10.4.1).
    unsafe { Cr4::update(|cr4| cr4.remove(Cr4Flags::PAGE_GLOBAL)) };
    // SAFETY: As above; start-up had switched them on.
    unsafe { Cr4::update(|cr4| cr4.insert(Cr4Flags::PAGE_GLOBAL)) };
}
