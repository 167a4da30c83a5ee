//! The entry of a node of paging (SDM vol. 3A, tables 4-15 to 4-20).
//!
//! ```text
//!   63  62...52  51......12  11  10  9    8   7    6   5   4   3   2   1   0
//! | NX | unused | address  |AV2|AV1|LEAF| G |PAT/| D | A |PCD|PWT| U | W | P |
//! |    |        |          |   |   |    |   | PS |   |   |   |   |   |   |   |
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

use crate::mm::page_table::{PageTableEntryTrait, PtFlags, PteScalar};
use crate::mm::prop::{CachePolicy, PageFlags, PageProperty, PrivilegedPageFlags};
use crate::mm::{Paddr, PagingLevel};
use crate::sync::atomic::{AtomicUsize, Ordering};

const PRESENT: usize = 1 << 0;
const WRITABLE: usize = 1 << 1;
const USER: usize = 1 << 2;
const WRITE_THROUGH: usize = 1 << 3;
const CACHE_DISABLE: usize = 1 << 4;
const ACCESSED: usize = 1 << 5;
const DIRTY: usize = 1 << 6;
const PAGE_SIZE_BIT: usize = 1 << 7;
const PAT_LEVEL_1: usize = 1 << 7;
const GLOBAL: usize = 1 << 8;
const LEAF: usize = 1 << 9;
const AVAILABLE: usize = 0b11 << 10;
const PAT_HUGE: usize = 1 << 12;
const NO_EXECUTE: usize = 1 << 63;
const ADDRESS: usize = 0x000f_ffff_ffff_f000;

/// End of the addresses that a processor can have: 52 bits (SDM vol. 3A, 4.1.4).
pub(crate) const PHYSICAL_LIMIT: Paddr = 1 << 52;
const _: () = assert!(ADDRESS == (PHYSICAL_LIMIT - 1) & !0xfff);

/// The 64 bits of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PageTableEntry(usize);

impl PageTableEntry {
    /// Returns an entry as the loader's tables have it, in a node of `level`:
    /// without the mark of leaves.
    pub(crate) fn of_loader(self, level: PagingLevel) -> Self {
        let is_leaf = self.0 & PRESENT != 0 && (level == 1 || self.0 & PAGE_SIZE_BIT != 0);
        if is_leaf { Self(self.0 | LEAF) } else { self }
    }

    /// Returns the bits of a leaf that a property stands for.
    ///
    /// Most of them are where the property has them; see [`PageFlags`].
    #[inline]
    const fn property_bits(prop: PageProperty, level: PagingLevel) -> usize {
        let flags = prop.flags.bits() as usize;
        let privileged = prop.priv_flags.bits() as usize;
        let cache = prop.cache as usize;
        let cache = if level == 1 {
            cache
        } else {
            (cache & POLICY) | (cache & PAT_LEVEL_1) << PAT_MOVES
        };
        (flags & DIRECT) | (!flags & EXECUTE) << NO_EXECUTE_MOVES | privileged | cache
    }
}

/// Flags that are where the hardware has them.
const DIRECT: usize = PRESENT | WRITABLE | ACCESSED | DIRTY | AVAILABLE;
/// The flag that is turned round, and how far it moves up.
const EXECUTE: usize = PageFlags::X.bits() as usize;
const NO_EXECUTE_MOVES: usize = 61;
/// The bits of a cache policy that do not depend on the level, and how far the
/// other one moves up in huge leaves.
const POLICY: usize = WRITE_THROUGH | CACHE_DISABLE;
const PAT_MOVES: usize = 5;

const _: () = {
    assert!(PageFlags::R.bits() as usize == PRESENT && PageFlags::W.bits() as usize == WRITABLE);
    assert!(PageFlags::ACCESSED.bits() as usize == ACCESSED);
    assert!(PageFlags::DIRTY.bits() as usize == DIRTY);
    assert!(PageFlags::AVAIL1.bits() as usize | PageFlags::AVAIL2.bits() as usize == AVAILABLE);
    assert!(EXECUTE << NO_EXECUTE_MOVES == NO_EXECUTE);
    assert!(PrivilegedPageFlags::USER.bits() as usize == USER);
    assert!(PrivilegedPageFlags::GLOBAL.bits() as usize == GLOBAL);
    assert!(PAT_LEVEL_1 << PAT_MOVES == PAT_HUGE);
    assert!(CachePolicy::Uncacheable as usize == POLICY);
    assert!(CachePolicy::WriteProtected as usize == PAT_LEVEL_1);
};

impl PageTableEntryTrait for PageTableEntry {
    #[inline]
    fn new_page(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> Self {
        // The attribute bit of a huge leaf lies among its address bits, as do
        // those that its alignment keeps zero.
        let low = if level == 1 { 0 } else { PAT_HUGE };
        // Items are aligned, by the contract of configurations.
        debug_assert!(
            paddr & !(ADDRESS & !low) == 0,
            "{paddr:#x} cannot be mapped at level {level}"
        );
        let huge = if level == 1 { 0 } else { PAGE_SIZE_BIT };
        Self(paddr | LEAF | huge | Self::property_bits(prop, level))
    }

    fn from_repr(repr: &PteScalar, level: PagingLevel) -> Self {
        match *repr {
            PteScalar::Absent => Self(0),
            PteScalar::PageTable(child, flags) => {
                assert_eq!(child & !ADDRESS, 0, "{child:#x} is not a node's address");
                let user = if flags.contains(PtFlags::USER) {
                    USER
                } else {
                    0
                };
                Self(child | PRESENT | WRITABLE | user)
            }
            PteScalar::Mapped(paddr, prop) => Self::new_page(paddr, level, prop),
        }
    }

    fn to_repr(&self, level: PagingLevel) -> PteScalar {
        if !self.is_present() {
            PteScalar::Absent
        } else if self.is_last() {
            PteScalar::Mapped(self.paddr(level), self.prop(level))
        } else {
            let mut flags = PtFlags::empty();
            flags.set(PtFlags::USER, self.0 & USER != 0);
            PteScalar::PageTable(self.child(), flags)
        }
    }

    #[inline]
    fn is_present(&self) -> bool {
        self.0 & (PRESENT | LEAF) != 0
    }

    #[inline]
    fn is_table(&self) -> bool {
        self.0 & (PRESENT | LEAF) == PRESENT
    }

    #[inline]
    fn is_last(&self) -> bool {
        self.0 & LEAF != 0
    }

    #[inline]
    fn paddr(&self, level: PagingLevel) -> Paddr {
        let low = if level > 1 { PAT_HUGE } else { 0 };
        self.0 & ADDRESS & !low
    }

    #[inline]
    fn child(&self) -> Paddr {
        self.0 & ADDRESS
    }

    #[inline]
    fn prop(&self, level: PagingLevel) -> PageProperty {
        let bits = self.0;
        let flags = (bits & DIRECT) | (!bits >> NO_EXECUTE_MOVES & EXECUTE);
        let privileged = bits & (USER | GLOBAL);
        PageProperty {
            flags: PageFlags::from_bits_retain(flags as u16),
            cache: cache_policy(bits, level),
            priv_flags: PrivilegedPageFlags::from_bits_retain(privileged as u16),
        }
    }

    #[inline]
    fn load(slot: &AtomicUsize, ordering: Ordering) -> Self {
        Self(slot.load(ordering))
    }

    #[inline]
    fn store(self, slot: &AtomicUsize, ordering: Ordering) {
        slot.store(self.0, ordering);
    }

    #[inline]
    fn swap(self, slot: &AtomicUsize) -> Self {
        // AcqRel: the caller takes over what the old entry led to, and whoever
        // reads the new one sees what it leads to.
        Self(slot.swap(self.0, Ordering::AcqRel))
    }

    #[inline]
    fn compare_exchange(self, slot: &AtomicUsize, new: Self) -> Result<(), Self> {
        // AcqRel as in `swap`; a failure tells what the hardware changed, which
        // orders nothing.
        slot.compare_exchange(self.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
            .map(drop)
            .map_err(Self)
    }

    #[inline]
    fn differs_in_address_alone(self, other: Self) -> bool {
        (self.0 ^ other.0) & !ADDRESS == 0
    }

    #[inline]
    fn as_usize(self) -> usize {
        self.0
    }

    #[inline]
    fn from_usize(bits: usize) -> Self {
        Self(bits)
    }
}

/// Returns the policy of a leaf's bits. The four policies of the table's second
/// half that are not write-protected repeat those of the first.
#[inline]
fn cache_policy(bits: usize, level: PagingLevel) -> CachePolicy {
    let pat = if level == 1 { PAT_LEVEL_1 } else { PAT_HUGE };
    match bits & POLICY {
        0 if bits & pat != 0 => CachePolicy::WriteProtected,
        0 => CachePolicy::Writeback,
        0x08 => CachePolicy::Writethrough,
        0x10 => CachePolicy::WriteCombining,
        _ => CachePolicy::Uncacheable,
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::PageTableEntry;
    use crate::mm::page_table::{PageTableEntryTrait, PtFlags, PteScalar};
    use crate::mm::prop::{CachePolicy, PageFlags, PageProperty, PrivilegedPageFlags};
    use crate::mm::{PagingConsts, page_size};
    use crate::prelude::*;

    const CACHES: [CachePolicy; 5] = [
        CachePolicy::Uncacheable,
        CachePolicy::WriteCombining,
        CachePolicy::WriteProtected,
        CachePolicy::Writethrough,
        CachePolicy::Writeback,
    ];

    fn every_property() -> impl Iterator<Item = PageProperty> {
        let privileges = || (0..1 << 9).filter_map(PrivilegedPageFlags::from_bits);
        (0..1 << 12)
            .filter_map(PageFlags::from_bits)
            .flat_map(move |flags| {
                privileges().flat_map(move |priv_flags| {
                    CACHES.map(|cache| PageProperty {
                        flags,
                        cache,
                        priv_flags,
                    })
                })
            })
    }

    #[ktest]
    fn claims_24_29_every_leaf_reads_back_as_it_was_built() {
        // peer_045: all levels, properties and cache policies.
        for level in 1..=3 {
            let size = page_size::<PagingConsts>(level);
            for paddr in [0, size, 0xf_ffff_ffff_f000 & !(size - 1)] {
                for prop in every_property() {
                    let entry = PageTableEntry::new_page(paddr, level, prop);
                    assert!(entry.is_present() && entry.is_last());
                    assert_eq!((entry.paddr(level), entry.prop(level)), (paddr, prop));
                    assert_eq!(entry.to_repr(level), PteScalar::Mapped(paddr, prop));
                }
            }
        }
    }

    #[ktest]
    fn claims_25_28_table_entry_reads_back_and_forbids_nothing() {
        for flags in [PtFlags::empty(), PtFlags::USER] {
            let entry = PageTableEntry::new_pt(0x1234_5000, flags);
            for level in 2..=4 {
                assert!(entry.is_present() && !entry.is_last());
                assert_eq!(
                    entry.to_repr(level),
                    PteScalar::PageTable(0x1234_5000, flags)
                );
            }
            let rights = entry.as_usize() & 7;
            assert_eq!(rights, if flags.is_empty() { 0b011 } else { 0b111 });
            assert_eq!(
                entry.as_usize() >> 63,
                0,
                "execution is the leaves' business"
            );
        }
    }

    #[ktest]
    fn claim_10_zero_is_absent_and_choice_l16_a_leaf_without_rights_is_not() {
        for level in 1..=4 {
            let zero = PageTableEntry::from_usize(0);
            assert!(!zero.is_present());
            assert_eq!(zero.to_repr(level), PteScalar::Absent);
            assert_eq!(PageTableEntry::from_repr(&PteScalar::Absent, level), zero);
        }
        let none = PageProperty::new_user(PageFlags::empty(), CachePolicy::Writeback);
        let entry = PageTableEntry::new_page(0, 1, none);
        assert_eq!(entry.as_usize() & 1, 0, "the hardware must not see it");
        assert_eq!(entry.to_repr(1), PteScalar::Mapped(0, none));
    }

    #[ktest]
    fn claim_26_setting_a_property_changes_nothing_else() {
        let mut absent = PageTableEntry::new_absent();
        for prop in every_property() {
            absent.set_prop(1, prop);
            assert!(!absent.is_present());
            for level in 1..=3 {
                let old = PageProperty::new_kernel(PageFlags::RWX, CachePolicy::WriteProtected);
                let paddr = page_size::<PagingConsts>(level) * 3;
                let mut entry = PageTableEntry::new_page(paddr, level, old);
                entry.set_prop(level, prop);
                assert_eq!(entry.to_repr(level), PteScalar::Mapped(paddr, prop));
            }
        }
    }

    #[ktest]
    #[should_panic(expected = "cannot be mapped at level 2")]
    fn unaligned_huge_leaf_is_a_bug_that_tests_see() {
        let prop = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback);
        PageTableEntry::new_page(0x1000, 2, prop);
    }
}
