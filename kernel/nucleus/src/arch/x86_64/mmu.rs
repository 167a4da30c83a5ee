//! The root register of paging and the TLB (SDM vol. 3A, 4.10).
//!
//! With identifiers (PCID), bits 0 to 11 of CR3 name the one in use, and bit 63 of
//! a value that is written says that what is cached under it stays. Whatever
//! flushes "all but global" flushes what is cached under the identifier in use.

use x86_64::instructions::tlb::{self, InvPcidCommand, Pcid};
use x86_64::registers::control::{Cr3, Cr3Flags, Cr4, Cr4Flags};
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

use super::features;
use crate::mm::tlb::{Cached, Identifier};
use crate::mm::{Paddr, PagingLevel, Vaddr};

/// Returns the highest level at which the processor accepts a leaf.
pub(crate) fn highest_leaf_level() -> PagingLevel {
    if features::get().huge_1g { 3 } else { 2 }
}

/// Returns whether translations are cached under identifiers: whether the processor
/// has them, and start-up has switched them on.
pub(crate) fn has_identifiers() -> bool {
    features::get().pcid
}

/// Returns the physical address of the active root table.
pub(crate) fn active_root() -> Paddr {
    Cr3::read().0.start_address().as_u64() as Paddr
}

/// Makes `root` the active root table, under the kernel's identifier; flushes all
/// but global translations under it.
///
/// # Safety
///
/// As for [`switch`].
pub(crate) unsafe fn activate(root: Paddr) {
    // SAFETY: As the caller promises.
    unsafe { switch(root, Identifier::KERNEL, Cached::Flush) };
}

/// Makes `root` the active root table, and has its translations cached under an
/// identifier: the kernel's where there is no other.
///
/// # Safety
///
/// 1. `root` is a root table that outlives its time in the register.
/// 2. It maps the kernel's code, data and current stack where they are.
/// 3. What is cached under the identifier, if it is kept, are translations by this
///    root, and none that a frame was freed of.
pub(crate) unsafe fn switch(root: Paddr, identifier: Identifier, cached: Cached) {
    let frame = PhysFrame::containing_address(PhysAddr::new(root as u64));
    if !has_identifiers() {
        // SAFETY: As the caller promises.
        return unsafe { Cr3::write(frame, Cr3Flags::empty()) };
    }
    let identifier = pcid(identifier);
    match cached {
        // SAFETY: As the caller promises.
        Cached::Flush => unsafe { Cr3::write_pcid(frame, identifier) },
        // SAFETY: As the caller promises.
        Cached::Keep => unsafe { Cr3::write_pcid_no_flush(frame, identifier) },
    }
}

fn pcid(identifier: Identifier) -> Pcid {
    Pcid::new(identifier.number()).expect("identifiers are below 4096")
}

/// Drops this processor's translation of one page, global or under the identifier
/// in use.
pub(crate) fn flush_page(vaddr: Vaddr) {
    tlb::flush(VirtAddr::new(vaddr as u64));
}

/// Drops all of this processor's translations under the identifier in use, but
/// global ones.
pub(crate) fn flush_all_excluding_global() {
    let (frame, low) = Cr3::read_raw();
    // SAFETY: It is what the register holds. Bit 63 is not set, so that it flushes.
    unsafe { Cr3::write_raw(frame, low) };
}

/// Drops all of this processor's translations, under every identifier.
pub(crate) fn flush_all_including_global() {
    let features = features::get();
    if features.invpcid {
        // SAFETY: The processor has the instruction.
        return unsafe { tlb::flush_pcid(InvPcidCommand::All) };
    }
    if !features.global_pages {
        // No processor has identifiers and no global pages.
        return flush_all_excluding_global();
    }
    // SAFETY: Switching global pages off and on again changes nothing but that
    // everything is flushed (SDM vol. 3A, 4.10.4.1).
    unsafe { Cr4::update(|cr4| cr4.remove(Cr4Flags::PAGE_GLOBAL)) };
    // SAFETY: As above; start-up had switched them on.
    unsafe { Cr4::update(|cr4| cr4.insert(Cr4Flags::PAGE_GLOBAL)) };
}
