//! The entry of a node of paging (SDM vol. 3A, tables 4-15 to 4-20).
//!
//! ```text
//!   63  62...52  51......12 11 10  9   8   7    6   5   4   3   2   1   0
//! | NX | unused | address  |  |  |LEAF| G |PAT/| D | A |PCD|PWT| U | W | P |
//! |    |        |          |  |  |    |   | PS |   |   |   |   |   |   |   |
//! ```
//!
//! Bit 7 is the page-attribute bit of a level-1 leaf and marks a leaf at the
//! levels above, whose own attribute bit is bit 12. Bits 9 to 11 are free for
//! software; bit 9 marks every leaf, so that a mapping without any access
//! right, which is not present to the hardware, keeps its frame and differs
//! from an absent entry even when all its other bits are zero.
//!
//! This file is pure and serves both machines; the simulated one walks entries
//! with a decoder of its own, so that an error here cannot cancel out.

use crate::mm::prop::{CachePolicy, PageFlags, PageProperty, PrivilegedPageFlags};
use crate::mm::{Paddr, PagingLevel, page_size};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE_SIZE_BIT: u64 = 1 << 7;
const PAT_LEVEL_1: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const LEAF: u64 = 1 << 9;
const PAT_HUGE: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What one entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PteState {
    /// Nothing.
    Absent,
    /// The node of the next level down.
    Table(Paddr),
    /// A mapping of the size of this level's pages.
    Leaf(Paddr, PageProperty),
}

/// The 64 bits of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PageTableEntry(u64);

impl PageTableEntry {
    /// Returns the entry with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the bits of the entry.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the entry that leads to a child node.
    ///
    /// Child entries forbid nothing but, in the kernel half, ring 3: rights are
    /// the leaves' business.
    ///
    /// # Panics
    ///
    /// Panics when `child` is not the address of a frame.
    pub fn new_table(child: Paddr, user: bool) -> Self {
        let address = child as u64;
        assert_eq!(address & !ADDRESS, 0, "{child:#x} is not a node's address");
        let user = if user { USER } else { 0 };
        Self(address | PRESENT | WRITABLE | user)
    }

    /// Returns the entry that maps `paddr` at a level.
    ///
    /// A property without the right to read cannot be expressed for writes or
    /// fetches alone: without `R` the hardware is given nothing.
    ///
    /// # Panics
    ///
    /// Panics when `paddr` is not aligned to the level's page size.
    pub fn new_leaf(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> Self {
        assert!(
            paddr.is_multiple_of(page_size(level)) && paddr as u64 & !ADDRESS == 0,
            "{paddr:#x} cannot be mapped at level {level}"
        );
        let PageProperty {
            flags,
            cache,
            priv_flags,
        } = prop;
        let mut bits = paddr as u64 | LEAF | cache_bits(cache, level);
        for (set, bit) in [
            (flags.contains(PageFlags::R), PRESENT),
            (flags.contains(PageFlags::W), WRITABLE),
            (!flags.contains(PageFlags::X), NO_EXECUTE),
            (flags.contains(PageFlags::ACCESSED), ACCESSED),
            (flags.contains(PageFlags::DIRTY), DIRTY),
            (priv_flags.contains(PrivilegedPageFlags::USER), USER),
            (priv_flags.contains(PrivilegedPageFlags::GLOBAL), GLOBAL),
            (level > 1, PAGE_SIZE_BIT),
        ] {
            if set {
                bits |= bit;
            }
        }
        Self(bits)
    }

    /// Returns what the entry says in a node of `level`.
    ///
    /// An entry that another author wrote (the loader's) decodes as well, as
    /// long as it is present.
    pub fn state(self, level: PagingLevel) -> PteState {
        let bits = self.0;
        if bits & (PRESENT | LEAF) == 0 {
            return PteState::Absent;
        }
        let is_leaf = bits & LEAF != 0 || level == 1 || bits & PAGE_SIZE_BIT != 0;
        if !is_leaf {
            return PteState::Table((bits & ADDRESS) as Paddr);
        }
        // The attribute bit of a huge leaf lies among its address bits.
        let low = if level > 1 { PAT_HUGE } else { 0 };
        PteState::Leaf((bits & ADDRESS & !low) as Paddr, self.property(level))
    }

    fn property(self, level: PagingLevel) -> PageProperty {
        let mut flags = PageFlags::empty();
        flags.set(PageFlags::R, self.0 & PRESENT != 0);
        flags.set(PageFlags::W, self.0 & WRITABLE != 0);
        flags.set(PageFlags::X, self.0 & NO_EXECUTE == 0);
        flags.set(PageFlags::ACCESSED, self.0 & ACCESSED != 0);
        flags.set(PageFlags::DIRTY, self.0 & DIRTY != 0);
        let mut priv_flags = PrivilegedPageFlags::empty();
        priv_flags.set(PrivilegedPageFlags::USER, self.0 & USER != 0);
        priv_flags.set(PrivilegedPageFlags::GLOBAL, self.0 & GLOBAL != 0);
        PageProperty {
            flags,
            cache: cache_policy(self.0, level),
            priv_flags,
        }
    }
}

/// Returns the attribute bit of a leaf of a level.
const fn pat_bit(level: PagingLevel) -> u64 {
    if level == 1 { PAT_LEVEL_1 } else { PAT_HUGE }
}

/// Returns the bits of a cache policy: an index into the page-attribute table,
/// as the processor is given it at start-up.
const fn cache_bits(cache: CachePolicy, level: PagingLevel) -> u64 {
    match cache {
        CachePolicy::Writeback => 0,
        CachePolicy::Writethrough => WRITE_THROUGH,
        CachePolicy::WriteCombining => CACHE_DISABLE,
        CachePolicy::Uncacheable => CACHE_DISABLE | WRITE_THROUGH,
        CachePolicy::WriteProtected => pat_bit(level),
    }
}

const fn cache_policy(bits: u64, level: PagingLevel) -> CachePolicy {
    let pat = bits & pat_bit(level) != 0;
    match (pat, bits & CACHE_DISABLE != 0, bits & WRITE_THROUGH != 0) {
        (true, false, false) => CachePolicy::WriteProtected,
        (false, false, false) => CachePolicy::Writeback,
        (_, false, true) => CachePolicy::Writethrough,
        (_, true, false) => CachePolicy::WriteCombining,
        (_, true, true) => CachePolicy::Uncacheable,
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{PageTableEntry, PteState};
    use crate::mm::page_size;
    use crate::mm::prop::{CachePolicy, PageFlags, PageProperty, PrivilegedPageFlags};
    use crate::prelude::*;

    const CACHES: [CachePolicy; 5] = [
        CachePolicy::Uncacheable,
        CachePolicy::WriteCombining,
        CachePolicy::WriteProtected,
        CachePolicy::Writethrough,
        CachePolicy::Writeback,
    ];

    #[ktest]
    fn every_leaf_reads_back_as_it_was_built() {
        // peer_045: all levels, properties and cache policies.
        for level in 1..=3 {
            for paddr in [
                0,
                page_size(level),
                0xf_ffff_ffff_f000 & !(page_size(level) - 1),
            ] {
                for bits in 0..=PageFlags::all().bits() {
                    for priv_bits in 0..=PrivilegedPageFlags::all().bits() {
                        for cache in CACHES {
                            let prop = PageProperty {
                                flags: PageFlags::from_bits_truncate(bits),
                                cache,
                                priv_flags: PrivilegedPageFlags::from_bits_truncate(priv_bits),
                            };
                            let entry = PageTableEntry::new_leaf(paddr, level, prop);
                            assert_eq!(entry.state(level), PteState::Leaf(paddr, prop));
                        }
                    }
                }
            }
        }
    }

    #[ktest]
    fn table_entry_reads_back_and_is_not_a_leaf() {
        for user in [false, true] {
            let entry = PageTableEntry::new_table(0x1234_5000, user);
            for level in 2..=4 {
                assert_eq!(entry.state(level), PteState::Table(0x1234_5000));
            }
        }
    }

    #[ktest]
    fn zero_is_absent_and_a_leaf_without_rights_is_not() {
        for level in 1..=4 {
            assert_eq!(PageTableEntry::default().state(level), PteState::Absent);
        }
        let none = PageProperty::new_user(PageFlags::empty(), CachePolicy::Writeback);
        let entry = PageTableEntry::new_leaf(0, 1, none);
        assert_eq!(entry.bits() & 1, 0, "the hardware must not see it");
        assert_eq!(entry.state(1), PteState::Leaf(0, none));
    }

    #[ktest]
    #[should_panic(expected = "cannot be mapped at level 2")]
    fn unaligned_huge_leaf_is_refused() {
        let prop = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback);
        PageTableEntry::new_leaf(0x1000, 2, prop);
    }
}
