//! Memory: addresses, frames, page tables, address spaces.
//!
//! Vocabulary, one word for one thing: a **frame** is physical, a **page**
//! virtual; a **node** is a frame that serves as a table of paging, an
//! **entry** one of its 512 slots; a **level** counts from 1, the tables whose
//! entries map 4 KiB, to 4, the root. Ranges are half open.
//!
//! * [`prop`]: what a mapping allows and how it is cached.
//! * [`frame`]: physical memory, who owns which frame, and the allocator.
//! * [`page_table`]: trees of nodes.
//! * [`kspace`]: the kernel's half of every address space.
//! * [`vm_space`]: a user address space.
//! * [`io`]: readers and writers of memory that may belong to a user.
//! * `heap`: the kernel's own small objects.

#[cfg(target_os = "none")]
pub mod frame;
#[cfg(target_os = "none")]
pub(crate) mod heap;
#[cfg(target_os = "none")]
pub mod io;
pub mod kspace;
#[cfg(target_os = "none")]
pub mod page_table;
pub mod prop;
#[cfg(target_os = "none")]
pub mod vm_space;

#[cfg(target_os = "none")]
pub use self::frame::{FrameAllocOptions, UFrame};
#[cfg(target_os = "none")]
pub use self::io::{Fallible, Infallible, VmReader, VmWriter};
pub use self::kspace::layout::USER_END;
pub use self::prop::{CachePolicy, PageFlags, PageProperty};
#[cfg(target_os = "none")]
pub use self::vm_space::VmSpace;

/// A virtual address.
pub type Vaddr = usize;
/// A physical address.
pub type Paddr = usize;
/// A level of paging: 1 for the tables whose entries map pages, 4 for the root.
pub type PagingLevel = u8;

/// Bytes of a page and of a frame.
pub const PAGE_SIZE: usize = 4096;
/// Entries of a node.
pub const NR_ENTRIES: usize = 512;
/// Levels of paging.
pub const NR_LEVELS: PagingLevel = 4;

/// Returns how many bytes an entry of a level covers.
///
/// # Panics
///
/// Panics unless `level` is from 1 to 4.
pub const fn page_size(level: PagingLevel) -> usize {
    assert!(1 <= level && level <= NR_LEVELS, "no such level of paging");
    PAGE_SIZE << (9 * (level as u32 - 1))
}

/// Returns the index of the entry that covers an address in a node of a level.
///
/// ```text
///  63        48 47    39 38    30 29    21 20    12 11         0
/// | sign       | level4 | level3 | level2 | level1 | offset     |
/// ```
pub const fn pte_index(vaddr: Vaddr, level: PagingLevel) -> usize {
    vaddr / page_size(level) % NR_ENTRIES
}

/// Returns whether a number of bytes or an address is a multiple of a page.
pub const fn is_page_aligned(value: usize) -> bool {
    value.is_multiple_of(PAGE_SIZE)
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{page_size, pte_index};
    use crate::prelude::*;

    #[ktest]
    fn levels_cover_4k_2m_1g_512g() {
        assert_eq!(
            [1, 2, 3, 4].map(page_size),
            [1 << 12, 1 << 21, 1 << 30, 1 << 39]
        );
    }

    #[ktest]
    fn indices_and_offset_recombine_to_the_address() {
        for vaddr in [
            0,
            0x7fff_ffff_f123,
            0x1234_5678_9abc,
            0xffff_8000_0000_0fff_usize,
        ] {
            let index = |level| pte_index(vaddr, level) * page_size(level);
            let low = index(4) + index(3) + index(2) + index(1) + vaddr % 4096;
            assert_eq!(low, vaddr & 0xffff_ffff_ffff);
        }
    }

    #[ktest]
    #[should_panic(expected = "no such level")]
    fn level_zero_has_no_size() {
        page_size(core::hint::black_box(0));
    }
}
