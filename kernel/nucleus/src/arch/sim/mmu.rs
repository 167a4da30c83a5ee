//! The root register and the TLB of a simulated processor (SDM vol. 3A, 4.10.4).

use std::sync::atomic::Ordering;

use super::interleave;
use super::machine::current;
use crate::mm::tlb::{Cached, Identifier};
use crate::mm::{Paddr, PagingLevel, Vaddr};

extern crate std;

/// Returns the highest level at which the processor accepts a leaf.
pub(crate) fn highest_leaf_level() -> PagingLevel {
    3
}

/// Returns the bits of a physical address that entries may have, and the highest level
/// of a leaf.
pub(crate) fn paging_limits() -> (u32, PagingLevel) {
    (current().machine().physical_bits, highest_leaf_level())
}

/// Returns the physical address of the active root table.
#[inline]
pub(crate) fn active_root() -> Paddr {
    // Relaxed: the processor's own register.
    current().root.load(Ordering::Relaxed)
}

/// Returns whether translations are cached under identifiers.
pub(crate) fn has_identifiers() -> bool {
    current().has_identifiers
}

/// Makes `root` the active root table, and has its translations cached under an
/// identifier: the kernel's where there is no other.
///
/// # Safety
///
/// 1. `root` is a root table that outlives its time in the register.
/// 2. What is cached under the identifier, if it is kept, are translations by this
///    root, and none that a frame was freed of.
pub(crate) unsafe fn switch(root: Paddr, identifier: Identifier, cached: Cached) {
    let cpu = current();
    let keep = cached == Cached::Keep;
    with_tlb(|tlb| tlb.load(root, identifier.number(), keep));
    // SeqCst: other processors' changes are walked after this.
    cpu.root.store(root, Ordering::SeqCst);
}

/// Drops this processor's translation of one page, global or not.
pub(crate) fn flush_page(vaddr: Vaddr) {
    with_tlb(|tlb| tlb.flush_page(vaddr));
}

/// Drops all of this processor's translations but global ones.
pub(crate) fn flush_all_excluding_global() {
    with_tlb(|tlb| tlb.flush_all(false));
}

/// Drops all of this processor's translations.
pub(crate) fn flush_all_including_global() {
    with_tlb(|tlb| tlb.flush_all(true));
}

fn with_tlb(body: impl FnOnce(&mut super::tlb::Tlb)) {
    interleave::switch();
    let cpu = current();
    if let Some(checker) = &cpu.machine().checker {
        let mut checker = checker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        body(&mut checker.tlbs[cpu.id.as_usize()]);
    }
}
