//! The laws of configurations and entries, for whatever values.

extern crate std;

use proptest::prelude::*;

use super::super::{PageTableConfig, PageTableEntryTrait, PteScalar, UserPtConfig, tagged};
use super::{MappedItem, frame, huge_frames};
use crate::arch::paging::PageTableEntry;
use crate::arch::sim::Machine;
use crate::mm::kspace::{self, KernelPtConfig};
use crate::mm::page_table::level_of_size;
use crate::mm::{
    CachePolicy, Paddr, PageFlags, PageProperty, PagingConsts, PagingLevel, PrivilegedPageFlags,
    page_size,
};

fn property() -> impl Strategy<Value = PageProperty> {
    let cache = prop_oneof![
        Just(CachePolicy::Writeback),
        Just(CachePolicy::Writethrough),
        Just(CachePolicy::WriteCombining),
        Just(CachePolicy::Uncacheable),
        Just(CachePolicy::WriteProtected),
    ];
    (any::<u16>(), cache, any::<u16>()).prop_map(|(flags, cache, privileged)| PageProperty {
        flags: PageFlags::from_bits_truncate(flags) - PageFlags::AVAIL1,
        cache,
        priv_flags: PrivilegedPageFlags::from_bits_truncate(privileged),
    })
}

/// An address that can be mapped at a level.
fn place() -> impl Strategy<Value = (Paddr, PagingLevel)> {
    (1..=3_u8, 0..1_usize << 40).prop_map(|(level, page)| {
        let size = page_size::<PagingConsts>(level);
        ((page << 12) / size * size, level)
    })
}

proptest! {
    #[test]
    fn claims_24_26_entries_read_back_whatever_they_say(
        (paddr, level) in place(), old in property(), new in property()
    ) {
        let mut entry = PageTableEntry::new_page(paddr, level, old);
        prop_assert_eq!(entry.to_repr(level), PteScalar::Mapped(paddr, old));
        entry.set_prop(level, new);
        prop_assert_eq!(entry.to_repr(level), PteScalar::Mapped(paddr, new));
        prop_assert_eq!(PageTableEntry::from_repr(&entry.to_repr(level), level), entry);
    }

    #[test]
    fn claim_29_different_properties_have_different_bits(
        (paddr, level) in place(), one in property(), other in property()
    ) {
        let entry = |prop| PageTableEntry::new_page(paddr, level, prop);
        prop_assert_eq!(entry(one) == entry(other), one == other);
    }

    #[test]
    fn claims_17_18_untracked_items_round_trip(
        (paddr, level) in place(), prop in property()
    ) {
        let device = MappedItem::MappedIoMem { paddr, level, prop };
        let raw = UserPtConfig::item_into_raw(device.clone());
        prop_assert_eq!(raw, (paddr, level, tagged(prop)));
        // SAFETY: 1. the raw form is the item's. 2. nobody owns a device's memory.
        prop_assert_eq!(unsafe { UserPtConfig::item_from_raw(raw.0, raw.1, raw.2) }, device);
        let untracked = kspace::MappedItem::Untracked(paddr, level, prop);
        let raw = KernelPtConfig::item_into_raw(untracked.clone());
        prop_assert_eq!(raw, (paddr, level, prop));
        // SAFETY: As above.
        prop_assert_eq!(unsafe { KernelPtConfig::item_from_raw(raw.0, raw.1, raw.2) }, untracked);
    }

    #[test]
    fn claims_18_19_tracked_items_round_trip_and_count_the_same(
        huge in any::<bool>(), prop in property()
    ) {
        Machine::default().on(0, || {
            let (one, many) = (frame(), huge_frames());
            let item = if huge {
                MappedItem::MappedHuge { frames: many.clone(), prop }
            } else {
                MappedItem::MappedRam { frame: one.clone(), prop }
            };
            let counts = || (one.reference_count(), many.reference_count());
            let (same, before) = (item.clone(), counts());
            let (paddr, level, raw) = UserPtConfig::item_into_raw(item);
            assert_eq!((level, counts()), (if huge { level_of_size(many.size()) } else { 1 }, before));
            assert!(paddr.is_multiple_of(page_size::<PagingConsts>(level)));
            // SAFETY: 1., 2. the raw form is the item's, and used once.
            let back = unsafe { UserPtConfig::item_from_raw(paddr, level, raw) };
            assert_eq!((&back, counts()), (&same, before));
        });
    }
}
