//! The page walker, with a decoder of its own (SDM vol. 3A, 4.5).
//!
//! It shares no line with the encoder in `arch::paging`, so that an error there
//! shows here.

extern crate std;

use core::sync::atomic::{AtomicU64, Ordering};

use super::memory::paddr_to_vaddr;
use crate::mm::{Paddr, Vaddr};

/// What an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) write: bool,
    pub(super) user: bool,
}

/// A translation as a TLB holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Translation {
    pub(super) vaddr: Vaddr,
    pub(super) paddr: Paddr,
    pub(super) size: usize,
    pub(super) writable: bool,
    pub(super) user: bool,
    pub(super) global: bool,
}

impl Translation {
    pub(super) fn covers(&self, vaddr: Vaddr) -> bool {
        vaddr.wrapping_sub(self.vaddr) < self.size
    }

    pub(super) fn allows(&self, access: Access) -> bool {
        (!access.write || self.writable) && (!access.user || self.user)
    }
}

/// One entry, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    NotPresent,
    Node(Paddr),
    Page(Translation),
}

const NX_AND_AVAILABLE: u64 = 0xfff0_0000_0000_0000;

/// Decodes an entry of a node of a level, by which `vaddr` is translated.
pub(super) fn decode(bits: u64, level: u8, vaddr: Vaddr) -> Decoded {
    if bits & 1 == 0 {
        return Decoded::NotPresent;
    }
    let is_page = match level {
        1 => true,
        2 | 3 => bits & 0x80 != 0,
        _ => {
            assert_eq!(
                bits & 0x80,
                0,
                "a reserved bit is set in an entry of the root"
            );
            false
        }
    };
    let address = (bits & !NX_AND_AVAILABLE) as usize;
    if !is_page {
        return Decoded::Node(address / 4096 * 4096);
    }
    let size = [0x1000, 0x20_0000, 0x4000_0000][usize::from(level) - 1];
    // Bit 12 of a large page is the attribute table's; those above must be zero.
    let reserved = if level == 1 { 0 } else { (size - 1) & !0x1fff };
    assert_eq!(
        address & reserved,
        0,
        "a reserved bit is set in a large page's entry"
    );
    Decoded::Page(Translation {
        vaddr: vaddr / size * size,
        paddr: address / size * size,
        size,
        writable: bits & 2 != 0,
        user: bits & 4 != 0,
        global: bits & 0x100 != 0,
    })
}

/// Returns an entry of a node.
pub(super) fn entry_at(node: Paddr, index: usize) -> &'static AtomicU64 {
    let address = paddr_to_vaddr(node) + index * 8;
    // SAFETY: The node is memory of the machine, and entries are atomic words.
    unsafe { &*(address as *const AtomicU64) }
}

/// Walks the tables for an access as the hardware does: rights are those that
/// every level grants, and the used entries are marked accessed, or dirty.
pub(super) fn walk(root: Paddr, vaddr: Vaddr, access: Access) -> Option<Translation> {
    let (mut node, mut writable, mut user) = (root, true, true);
    for level in (1..=4_u8).rev() {
        let index = vaddr >> (12 + 9 * (usize::from(level) - 1)) & 511;
        let entry = entry_at(node, index);
        // Acquire: a node that is seen is seen filled.
        let bits = entry.load(Ordering::Acquire);
        writable &= bits & 2 != 0;
        user &= bits & 4 != 0;
        match decode(bits, level, vaddr) {
            Decoded::NotPresent => return None,
            Decoded::Node(child) => node = child,
            Decoded::Page(page) => {
                let found = Translation {
                    writable,
                    user,
                    ..page
                };
                if !found.allows(access) {
                    return None;
                }
                let marks = if access.write { 0x60 } else { 0x20 };
                // AcqRel: a locked operation, as the hardware's.
                let marked =
                    entry.compare_exchange(bits, bits | marks, Ordering::AcqRel, Ordering::Relaxed);
                // Somebody changed the entry meanwhile: as if the access came later.
                return marked.map_or_else(|_| walk(root, vaddr, access), |_| Some(found));
            }
        }
    }
    None
}
