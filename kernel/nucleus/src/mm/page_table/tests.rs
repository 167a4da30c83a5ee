//! Do page tables and their cursors do what the contract says?

mod cursor;
mod huge;
mod nodes;

#[cfg(test)]
mod host;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod model;

use alloc::vec::Vec;
use core::ops::Range;

use super::node::Node;
use super::{
    CursorMut, MappedItem, PageTable, PageTableConfig, PageTableEntryTrait, PageTableError,
    PageTableFrag, PtFlags, UserPtConfig, vaddr_range,
};
use crate::arch::paging::PageTableEntry;
use crate::cpu::{DisabledPreemptGuard, disable_preempt};
use crate::mm::frame::{AnyFrameMeta, Frame, Segment};
use crate::mm::kspace::{self, KernelPtConfig, kernel_page_table};
use crate::mm::paging::page_size as size_of_page;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, Paddr, PageFlags, PageProperty, PagingConsts,
    UFrame, USegment,
};
use crate::prelude::*;

/// Where the tests map things.
const BASE: Vaddr = 0x40_0000_0000;
const M2: usize = 2 << 20;
const G1: usize = 1 << 30;

fn user_table() -> PageTable<UserPtConfig> {
    kernel_page_table()
        .create_user_page_table()
        .expect("enough memory")
}

/// Looks at the node in a frame.
fn node_at<C: PageTableConfig>(paddr: Paddr) -> Node<C> {
    // SAFETY: The tests look at nodes that they have, or that nobody takes away.
    unsafe { Node::at(paddr) }
}

fn frame() -> UFrame {
    FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory")
        .into()
}

/// Returns the frames of a page of 2 MiB.
fn huge_frames() -> USegment {
    let mut options = FrameAllocOptions::new();
    let frames = options.zeroed(false).align(M2).alloc_segment(512);
    frames.expect("enough memory").into()
}

fn prop(flags: PageFlags) -> PageProperty {
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

fn ram(frame: &UFrame, flags: PageFlags) -> MappedItem {
    MappedItem::MappedRam {
        frame: frame.clone(),
        prop: prop(flags),
    }
}

fn huge(frames: &USegment, flags: PageFlags) -> MappedItem {
    MappedItem::MappedHuge {
        frames: frames.clone(),
        prop: prop(flags),
    }
}

/// Maps an item at an address of a table that no processor has loaded.
#[track_caller]
fn map(table: &PageTable<UserPtConfig>, va: Vaddr, item: MappedItem) {
    let size = size_of_page::<PagingConsts>(UserPtConfig::item_level(&item));
    let guard = disable_preempt();
    let mut cursor = table
        .cursor_mut(&guard, &(va..va + size))
        .expect("a legal range");
    drop(map_at(&mut cursor, item).expect("enough memory"));
}

/// Maps an item at a cursor of a table that no processor has loaded, so that
/// what it returns need not be flushed.
fn map_at(
    cursor: &mut CursorMut<'_, UserPtConfig>,
    item: MappedItem,
) -> Result<Option<PageTableFrag<UserPtConfig>>, PageTableError> {
    // SAFETY: 1., 2. no processor uses the table.
    unsafe { cursor.map(item) }
}

/// Takes the next fragment out of a table that no processor has loaded.
fn take(
    cursor: &mut CursorMut<'_, UserPtConfig>,
    len: usize,
) -> Result<Option<PageTableFrag<UserPtConfig>>, PageTableError> {
    // SAFETY: 1., 2. no processor uses the table.
    unsafe { cursor.take_next(len) }
}

/// Changes the next property in a table that no processor has loaded.
fn protect(
    cursor: &mut CursorMut<'_, UserPtConfig>,
    len: usize,
    flags: PageFlags,
) -> Result<Option<Range<Vaddr>>, PageTableError> {
    // SAFETY: No processor uses the table.
    unsafe { cursor.protect_next(len, |old| PageProperty { flags, ..old }) }
}

fn open<'a>(
    table: &'a PageTable<UserPtConfig>,
    guard: &'a DisabledPreemptGuard,
    range: Range<Vaddr>,
) -> CursorMut<'a, UserPtConfig> {
    table.cursor_mut(guard, &range).expect("a legal range")
}

/// Returns the mappings of a range by an independent walk: addresses, physical
/// addresses and properties of each page.
fn pages(
    table: &PageTable<UserPtConfig>,
    range: Range<Vaddr>,
) -> Vec<(Vaddr, Paddr, PageProperty)> {
    let guard = disable_preempt();
    let walk = |va| {
        table
            .page_walk(&guard, va)
            .map(|(paddr, prop)| (va, paddr, prop))
    };
    range.step_by(PAGE_SIZE).filter_map(walk).collect()
}

#[ktest]
fn claims_3_4_14_tables_manage_their_halves() {
    assert_eq!(vaddr_range::<UserPtConfig>(), 0..=0x7fff_ffff_ffff);
    assert_eq!(
        vaddr_range::<KernelPtConfig>(),
        0xffff_8000_0000_0000..=usize::MAX
    );
    for va in [*vaddr_range::<KernelPtConfig>().start(), usize::MAX] {
        assert_eq!(va >> 48, KernelPtConfig::LEADING_BITS);
    }
    assert_eq!(
        vaddr_range::<UserPtConfig>().end() >> 48,
        UserPtConfig::LEADING_BITS
    );
}

#[ktest]
fn claims_13_15_root_ranges_are_legal_and_signs_are_leading_bits() {
    // The laws are constants; here are their instances.
    const { super::config_laws::<UserPtConfig>() };
    const { super::config_laws::<KernelPtConfig>() };
    const { super::config_laws::<super::tiny::TinyPtConfig>() };
    assert_eq!(
        (UserPtConfig::LEADING_BITS, KernelPtConfig::LEADING_BITS),
        (0, 0xffff)
    );
    assert_eq!(UserPtConfig::TOP_LEVEL_INDEX_RANGE, 0..256);
    assert_eq!(KernelPtConfig::TOP_LEVEL_INDEX_RANGE, 256..512);
}

#[ktest]
fn claim_16_users_may_remove_root_entries_and_the_kernel_not() {
    const { assert!(UserPtConfig::TOP_LEVEL_CAN_UNMAP) };
    const { assert!(!KernelPtConfig::TOP_LEVEL_CAN_UNMAP) };
}

#[ktest]
fn claims_17_18_19_encoding_an_item_and_back_is_the_item() {
    let (frame, frames) = (frame(), huge_frames());
    for flags in [
        PageFlags::R,
        PageFlags::RW,
        PageFlags::RX | PageFlags::AVAIL2,
    ] {
        let device = MappedItem::MappedIoMem {
            paddr: 1 << 45,
            level: 1,
            prop: prop(flags),
        };
        for item in [ram(&frame, flags), huge(&frames, flags), device] {
            let counts = || (frame.reference_count(), frames.reference_count());
            let same = item.clone();
            let held = counts();
            let (paddr, level, raw_prop) = UserPtConfig::item_into_raw(item);
            assert_eq!(counts(), held, "taking apart changes no count");
            assert!(paddr.is_multiple_of(size_of_page::<PagingConsts>(level)));
            // SAFETY: 1., 2. the raw form is the item's, and used once.
            let back = unsafe { UserPtConfig::item_from_raw(paddr, level, raw_prop) };
            assert_eq!(
                (&back, counts()),
                (&same, held),
                "nor does putting together"
            );
        }
    }
}

#[ktest]
fn claims_18_27_choice_l7_kernel_items_round_trip_and_never_show_the_tag() {
    let prop = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback);
    let frame: Frame<dyn AnyFrameMeta> = frame().into();
    let frames: Segment<dyn AnyFrameMeta> = huge_frames().into();
    for item in [
        kspace::MappedItem::Tracked(frame, prop),
        kspace::MappedItem::TrackedHuge(frames, prop),
        kspace::MappedItem::Untracked(G1, 3, prop),
    ] {
        let same = item.clone();
        let (paddr, level, raw) = KernelPtConfig::item_into_raw(item);
        let is_tracked = KernelPtConfig::tracked(&same);
        assert_eq!(raw.flags.contains(PageFlags::AVAIL1), is_tracked);
        // SAFETY: 1., 2. the raw form is the item's, and used once.
        let back = unsafe { KernelPtConfig::item_from_raw(paddr, level, raw) };
        assert_eq!(back, same, "with the property as it was given");
    }
}

#[ktest]
fn claims_20_21_cloning_counts_what_is_tracked_and_nothing_else() {
    let (frame, other) = (frame(), frame());
    let item = ram(&frame, PageFlags::R);
    let clone = item.clone();
    assert_eq!((frame.reference_count(), other.reference_count()), (3, 1));
    drop((item, clone));
    let device = MappedItem::MappedIoMem {
        paddr: frame.start_paddr(),
        level: 1,
        prop: prop(PageFlags::R),
    };
    assert!(!UserPtConfig::tracked(&device));
    assert_eq!((device.clone(), frame.reference_count()), (device, 1));
}

#[ktest]
fn claim_22_user_items_are_tracked_frames_or_devices() {
    let items = [
        ram(&frame(), PageFlags::R),
        huge(&huge_frames(), PageFlags::R),
    ];
    assert!(items.iter().all(UserPtConfig::tracked));
    assert_eq!(items.each_ref().map(UserPtConfig::item_level), [1, 2]);
}

#[ktest]
fn claim_67_empty_and_reversed_ranges_get_no_cursor() {
    // peer_001, peer_002
    let (table, guard) = (user_table(), disable_preempt());
    for (start, end) in [
        (0, 0),
        (BASE, BASE),
        (2, 0),
        (BASE, 0),
        (usize::MAX, 0),
        (BASE, BASE - 1),
    ] {
        let range = Range { start, end };
        let expected = Some(PageTableError::InvalidVaddrRange(start, end));
        assert_eq!(table.cursor(&guard, &range).err(), expected);
        assert_eq!(table.cursor_mut(&guard, &range).err(), expected);
    }
}

#[ktest]
fn claims_68_69_range_errors_come_before_alignment_errors() {
    // peer_013
    let (table, guard) = (user_table(), disable_preempt());
    let error = |start, end| table.cursor_mut(&guard, &(start..end)).err();
    for (start, end) in [(1, PAGE_SIZE), (0, PAGE_SIZE + 1), (BASE + 8, BASE + 16)] {
        assert_eq!(error(start, end), Some(PageTableError::UnalignedVaddr));
    }
    for (start, end) in [
        (1, (1 << 47) + 1),
        (0, usize::MAX),
        (1 << 47, (1 << 47) + PAGE_SIZE),
        (0xffff_8000_0000_0000, 0xffff_8000_0000_1000),
    ] {
        let expected = PageTableError::InvalidVaddrRange(start, end);
        assert_eq!(error(start, end), Some(expected));
    }
    assert!(
        table.cursor(&guard, &(0..1 << 47)).is_ok(),
        "all of the user's half"
    );
}

#[ktest]
fn kernel_ranges_are_the_upper_half() {
    let guard = crate::irq::disable_local();
    let error = |start, end| kernel_page_table().cursor(&guard, &(start..end)).err();
    let expected = PageTableError::InvalidVaddrRange(BASE, BASE + PAGE_SIZE);
    assert_eq!(error(BASE, BASE + PAGE_SIZE), Some(expected));
    assert_eq!(
        error(usize::MAX & !0xfff, 0),
        Some(PageTableError::InvalidVaddrRange(usize::MAX & !0xfff, 0))
    );
    let last = usize::MAX - 2 * PAGE_SIZE + 1;
    assert_eq!(error(last, last + PAGE_SIZE), None);
}

#[ktest]
fn peer_045_choice_l16_every_right_survives_in_the_table() {
    let (table, guard, frame) = (user_table(), disable_preempt(), frame());
    let mut cursor = open(&table, &guard, BASE..BASE + PAGE_SIZE);
    for bits in 0..8 {
        let item = ram(&frame, PageFlags::from_bits_truncate(bits));
        cursor.jump(BASE).expect("in the range");
        drop(map_at(&mut cursor, item.clone()).expect("enough memory"));
        cursor.jump(BASE).expect("in the range");
        assert_eq!(cursor.query(), Ok((BASE..BASE + PAGE_SIZE, Some(item))));
    }
}

#[ktest]
fn table_entries_of_users_and_of_the_kernel_differ_in_the_user_bit() {
    // peer_033
    let entry = |flags| PageTableEntry::new_pt(0x1000, flags).as_usize();
    assert_eq!(
        entry(UserPtConfig::PT_FLAGS) ^ entry(KernelPtConfig::PT_FLAGS),
        4
    );
    assert_eq!(KernelPtConfig::PT_FLAGS, PtFlags::empty());
}

#[ktest]
fn debug_of_a_table_names_its_root() {
    let table = user_table();
    let text = alloc::format!("{table:?}");
    assert_eq!(text, alloc::format!("PageTable({:#x})", table.root_paddr()));
}
