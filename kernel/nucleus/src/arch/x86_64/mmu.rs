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

/// Returns the bits of a physical address that entries may have, and the highest level
/// of a leaf.
pub(crate) fn paging_limits() -> (u32, PagingLevel) {
    (features::physical_bits(), highest_leaf_level())
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

#[cfg(ktest)]
mod tests {
    use alloc::sync::Arc;

    use super::{Cr3, has_identifiers};
    use crate::cpu::disable_preempt;
    use crate::mm::{
        CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, Vaddr, VmIo, VmSpace,
    };
    use crate::prelude::*;

    const VA: Vaddr = 0x40_0000;

    /// Makes a space that has one page, which starts with a byte.
    fn space_of(byte: u8) -> Arc<VmSpace> {
        let space = Arc::new(VmSpace::new().expect("enough memory"));
        map(&space, byte);
        space
    }

    fn map(space: &VmSpace, byte: u8) {
        let frame = FrameAllocOptions::new().alloc_frame();
        let frame = frame.expect("enough memory");
        frame.write_val(0, &byte).expect("it fits");
        let guard = disable_preempt();
        let mut cursor = space
            .cursor_mut(&guard, &(VA..VA + PAGE_SIZE))
            .expect("a legal range");
        let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
        cursor.map(frame.into(), prop).expect("enough memory");
    }

    fn read(space: &Arc<VmSpace>) -> u8 {
        space.activate();
        let reader = space.reader(VA, 1);
        let mut reader = reader.expect("it is active");
        reader.read_val().expect("the page is mapped")
    }

    #[ktest]
    fn peer_073_identifiers_keep_spaces_apart_and_changes_are_seen() {
        if !has_identifiers() {
            crate::ktest::skip("the processor has no identifiers of address spaces");
        }
        let (first, second) = (space_of(1), space_of(2));
        let mut identifiers = [0; 2];
        for _ in 0..3 {
            for (space, byte, identifier) in [(&first, 1, 0), (&second, 2, 1)] {
                assert_eq!(read(space), byte);
                identifiers[identifier] = Cr3::read_raw().1;
            }
        }
        assert!(identifiers[0] != 0 && identifiers[1] != 0);
        assert_ne!(identifiers[0], identifiers[1]);
        // Its page is replaced while it is not loaded, and cached perhaps.
        map(&first, 3);
        assert_eq!(read(&second), 2);
        assert_eq!(read(&first), 3);
        VmSpace::deactivate_current();
        assert_eq!(Cr3::read_raw().1, 0, "the kernel's own has none");
    }
}
