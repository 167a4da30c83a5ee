//! The geometry of paging: how many levels, how many entries, how wide.
//!
//! Everything about a geometry follows from a few constants
//! ([`PagingConstsTrait`]). The machine's own is [`PagingConsts`]; tests and
//! model checkers use tiny ones through the very same code.
//!
//! ```text
//!  63        48 47    39 38    30 29    21 20    12 11         0
//! | sign       | level4 | level3 | level2 | level1 | offset     |
//! ```

use super::{Paddr, Vaddr};

/// A level of paging: 1 for the tables whose entries map pages of the base
/// size, and the highest for the root.
pub type PagingLevel = u8;

/// The constants of a geometry.
///
/// [`paging_laws`] says what must hold between them; every
/// [`PageTableConfig`](super::page_table::PageTableConfig) is checked against it
/// at compile time.
pub trait PagingConstsTrait: Clone + Copy + core::fmt::Debug + Send + Sync + 'static {
    /// Bytes of a page of level 1, and of a node.
    const BASE_PAGE_SIZE: usize;
    /// Levels of tables; the root's level.
    const NR_LEVELS: PagingLevel;
    /// Highest level whose entries may be leaves.
    const HIGHEST_TRANSLATION_LEVEL: PagingLevel;
    /// Bytes of an entry.
    const PTE_SIZE: usize;
    /// Bits of an address that are translated.
    const ADDRESS_WIDTH: usize;
    /// Whether the bits above the width repeat the highest translated bit; if
    /// not, they are zero.
    const VA_SIGN_EXT: bool;
    /// Entries of a node. A geometry for tests may use fewer than fit.
    const NR_ENTRIES: usize = Self::BASE_PAGE_SIZE / Self::PTE_SIZE;
}

/// x86-64 with four levels of tables (SDM vol. 3A, 4.5).
#[derive(Clone, Copy, Debug)]
pub struct PagingConsts;

impl PagingConstsTrait for PagingConsts {
    const BASE_PAGE_SIZE: usize = 4096;
    const NR_LEVELS: PagingLevel = 4;
    const HIGHEST_TRANSLATION_LEVEL: PagingLevel = 3;
    const PTE_SIZE: usize = 8;
    const ADDRESS_WIDTH: usize = 48;
    const VA_SIGN_EXT: bool = true;
}

/// Checks a geometry; for use in constants.
///
/// # Panics
///
/// Panics, at compile time, when a law is broken.
pub const fn paging_laws<C: PagingConstsTrait>() {
    assert!(
        C::BASE_PAGE_SIZE.is_power_of_two(),
        "pages are powers of two"
    );
    assert!(
        C::PTE_SIZE.is_power_of_two() && C::PTE_SIZE <= C::BASE_PAGE_SIZE,
        "entries are powers of two and fit into a page"
    );
    assert!(
        C::PTE_SIZE == size_of::<usize>(),
        "an entry is a machine word"
    );
    assert!(
        C::NR_ENTRIES.is_power_of_two() && C::NR_ENTRIES > 1,
        "indices are whole bits"
    );
    assert!(
        C::NR_ENTRIES * C::PTE_SIZE <= C::BASE_PAGE_SIZE,
        "a node fits into a page"
    );
    assert!(
        1 <= C::HIGHEST_TRANSLATION_LEVEL && C::HIGHEST_TRANSLATION_LEVEL < C::NR_LEVELS,
        "leaves are below the root"
    );
    assert!(
        0 < C::ADDRESS_WIDTH && C::ADDRESS_WIDTH < usize::BITS as usize,
        "addresses have spare bits"
    );
    assert!(
        page_shift::<C>(C::NR_LEVELS) + index_bits::<C>() <= C::ADDRESS_WIDTH,
        "levels translate no more bits than there are"
    );
}

const fn index_bits<C: PagingConstsTrait>() -> usize {
    C::NR_ENTRIES.trailing_zeros() as usize
}

/// Returns the lowest bit of the index into a node of a level, which is one at
/// least.
#[inline(always)]
pub const fn page_shift<C: PagingConstsTrait>(level: PagingLevel) -> usize {
    debug_assert!(level > 0, "levels are counted from one");
    // Less than a word's bits, by the laws of geometries.
    let above = (level as usize).wrapping_sub(1);
    (C::BASE_PAGE_SIZE.trailing_zeros() as usize)
        .wrapping_add(index_bits::<C>().wrapping_mul(above))
}

/// Returns how many bytes an entry of a node of a level covers.
///
/// # Panics
///
/// Panics when there is no such level. One above the root is a legal question:
/// it is the size of the whole tree.
pub const fn page_size<C: PagingConstsTrait>(level: PagingLevel) -> usize {
    assert!(
        1 <= level && level <= C::NR_LEVELS + 1,
        "no such level of paging"
    );
    1 << page_shift::<C>(level)
}

/// Returns how many entries a node has: the pages that a huge one splits into.
pub const fn nr_subpage_per_huge<C: PagingConstsTrait>() -> usize {
    C::NR_ENTRIES
}

/// Returns the index of the entry that covers an address in a node of a level.
pub const fn pte_index<C: PagingConstsTrait>(vaddr: Vaddr, level: PagingLevel) -> usize {
    vaddr >> page_shift::<C>(level) & (C::NR_ENTRIES - 1)
}

/// Returns the largest pages, with their levels, that tile a range of addresses
/// which is mapped to `paddr` and on, up to leaves of level `highest`.
///
/// # Panics
///
/// Panics when an argument is not a multiple of a page, or a range wraps.
pub fn largest_pages<C: PagingConstsTrait>(
    vaddr: Vaddr,
    paddr: Paddr,
    len: usize,
    highest: PagingLevel,
) -> impl Iterator<Item = (Vaddr, Paddr, PagingLevel)> {
    assert!(
        (vaddr | paddr | len).is_multiple_of(C::BASE_PAGE_SIZE),
        "{len:#x} bytes at {vaddr:#x} to {paddr:#x} are not whole pages"
    );
    assert!(
        vaddr.checked_add(len).is_some() && paddr.checked_add(len).is_some(),
        "{len:#x} bytes at {vaddr:#x} to {paddr:#x} wrap"
    );
    let mut done = 0;
    core::iter::from_fn(move || {
        let (va, pa, rest) = (vaddr + done, paddr + done, len - done);
        if rest == 0 {
            return None;
        }
        let fits = |level: &PagingLevel| {
            let size = page_size::<C>(*level);
            (va | pa).is_multiple_of(size) && rest >= size
        };
        let level = (2..=highest).rev().find(fits).unwrap_or(1);
        done += page_size::<C>(level);
        Some((va, pa, level))
    })
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{
        PagingConsts, PagingConstsTrait, largest_pages, nr_subpage_per_huge, page_size,
        paging_laws, pte_index,
    };
    use crate::prelude::*;

    const M2: usize = 2 << 20;
    const G1: usize = 1 << 30;

    #[ktest]
    fn claims_1_11_12_node_has_512_entries_of_a_word() {
        const { paging_laws::<PagingConsts>() };
        assert_eq!(nr_subpage_per_huge::<PagingConsts>(), 512);
        assert_eq!(PagingConsts::PTE_SIZE, size_of::<usize>());
        assert_eq!(PagingConsts::PTE_SIZE * 512, PagingConsts::BASE_PAGE_SIZE);
        assert_eq!(12 + 9 * 4, PagingConsts::ADDRESS_WIDTH);
    }

    #[ktest]
    fn claim_2_levels_cover_4k_2m_1g_512g() {
        assert_eq!(PagingConsts::NR_LEVELS, 4);
        assert_eq!(
            [1, 2, 3, 4].map(page_size::<PagingConsts>),
            [1 << 12, 1 << 21, 1 << 30, 1 << 39]
        );
    }

    #[ktest]
    fn claim_5_indices_and_offset_recombine_to_the_address() {
        for vaddr in [
            0,
            0x7fff_ffff_f123,
            0x1234_5678_9abc,
            0xffff_8000_0000_0fff_usize,
        ] {
            let part =
                |level| pte_index::<PagingConsts>(vaddr, level) * page_size::<PagingConsts>(level);
            let low = part(4) + part(3) + part(2) + part(1) + vaddr % 4096;
            assert_eq!(low + (vaddr >> 48 << 48), vaddr);
        }
    }

    #[ktest]
    #[should_panic(expected = "no such level")]
    fn level_zero_has_no_size() {
        page_size::<PagingConsts>(core::hint::black_box(0));
    }

    #[ktest]
    fn claim_176_largest_pages_tile_the_range_exactly() {
        for (vaddr, paddr, len) in [
            (G1 - 4096, G1 - 4096, 2 * G1 + 8192),
            (M2, 0, G1),
            (0, 4096, 3 * M2),
            (M2 - 8192, M2 - 8192, 8192),
        ] {
            for highest in 1..=3 {
                let mut expected = (vaddr, paddr);
                for (va, pa, level) in largest_pages::<PagingConsts>(vaddr, paddr, len, highest) {
                    assert_eq!((va, pa), expected);
                    assert!(level <= highest);
                    let size = page_size::<PagingConsts>(level);
                    assert!(va.is_multiple_of(size) && pa.is_multiple_of(size));
                    expected = (va + size, pa + size);
                }
                assert_eq!(expected, (vaddr + len, paddr + len));
            }
        }
    }

    #[ktest]
    fn largest_pages_are_as_large_as_can_be() {
        let count =
            |va, pa, len, highest| largest_pages::<PagingConsts>(va, pa, len, highest).count();
        assert_eq!(count(G1, 0, G1, 3), 1);
        assert_eq!(count(G1, 0, G1, 2), 512);
        assert_eq!(count(G1, 4096, M2, 3), 512);
        assert_eq!(count(0, 0, 0, 3), 0);
    }

    #[ktest]
    #[should_panic(expected = "wrap")]
    fn peer_009_largest_pages_of_a_wrapping_range_panic() {
        drop(largest_pages::<PagingConsts>(
            usize::MAX & !0xfff,
            0,
            8192,
            1,
        ));
    }

    #[ktest]
    #[should_panic(expected = "not whole pages")]
    fn largest_pages_of_an_unaligned_range_panic() {
        drop(largest_pages::<PagingConsts>(0, 0, 1, 1));
    }
}
