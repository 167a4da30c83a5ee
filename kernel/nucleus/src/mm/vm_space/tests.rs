//! Do user mappings, and accesses through them, do what was asked?

mod copy;
mod faults;
mod huge;
mod write;

use alloc::sync::Arc;
use core::ops::Range;

use super::{CursorMut, VmSpace};
use crate::cpu::{DisabledPreemptGuard, disable_preempt};
use crate::mm::frame::frame_counts;
use crate::mm::io_mem::{IoMem, range_without_device};
use crate::mm::kspace::KVirtArea;
use crate::mm::page_table::MappedItem;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, PrivilegedPageFlags,
    UFrame, USER_END, USegment, UntypedMem, VmReader, VmWriter,
};
use crate::prelude::*;

const BASE: usize = 0x40_0000;
const M2: usize = 2 << 20;

fn space() -> Arc<VmSpace> {
    Arc::new(VmSpace::new().expect("enough memory"))
}

fn frame() -> UFrame {
    FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory")
        .into()
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

fn open<'a>(
    space: &'a VmSpace,
    guard: &'a DisabledPreemptGuard,
    range: Range<Vaddr>,
) -> CursorMut<'a> {
    space.cursor_mut(guard, &range).expect("a legal range")
}

fn map(space: &VmSpace, vaddr: Vaddr, frame: &UFrame, flags: PageFlags) {
    let guard = disable_preempt();
    let mut cursor = open(space, &guard, vaddr..vaddr + PAGE_SIZE);
    cursor
        .map(frame.clone(), prop(flags))
        .expect("enough memory");
}

/// Runs with a space active, and leaves it after.
fn with_active(space: &Arc<VmSpace>, body: impl FnOnce()) {
    space.activate();
    body();
    VmSpace::deactivate_current();
}

fn read(space: &VmSpace, va: Vaddr) -> Result<u8> {
    space.reader(va, 1).expect("a legal range").read_val()
}

#[ktest]
fn claim_70_every_error_of_opening_is_access_denied() {
    // peer_001, peer_002, peer_013
    let (space, guard) = (space(), disable_preempt());
    for (start, end) in [
        (0, 0),
        (BASE, BASE),
        (2, 0),
        (BASE + 1, BASE + PAGE_SIZE),
        (BASE, BASE + PAGE_SIZE + 1),
        (0, usize::MAX & !0xfff),
        (USER_END, USER_END + 2 * PAGE_SIZE),
        (0xffff_8000_0000_0000, 0xffff_8000_0000_1000),
    ] {
        let range = Range { start, end };
        assert_eq!(
            space.cursor(&guard, &range).err(),
            Some(Error::AccessDenied)
        );
        assert_eq!(
            space.cursor_mut(&guard, &range).err(),
            Some(Error::AccessDenied)
        );
    }
    assert!(space.cursor(&guard, &(0..USER_END + PAGE_SIZE)).is_ok());
}

#[ktest]
fn claim_6_accesses_end_a_page_before_the_ranges() {
    assert_eq!(crate::mm::MAX_USERSPACE_VADDR, (1 << 47) - PAGE_SIZE);
    assert_eq!(USER_END, (1 << 47) - PAGE_SIZE);
    let (space, guard) = (space(), disable_preempt());
    map(&space, USER_END, &frame(), PageFlags::RW);
    let mut cursor = open(&space, &guard, USER_END..USER_END + PAGE_SIZE);
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
    drop(cursor);
    drop(guard);
    with_active(&space, || assert!(space.reader(USER_END, 1).is_err()));
}

#[ktest]
fn claim_153_new_space_maps_nothing() {
    let (space, guard) = (space(), disable_preempt());
    let cursor = space.cursor(&guard, &(0..1 << 47)).expect("a legal range");
    assert_eq!(cursor.find_next(1 << 47), None);
}

#[ktest]
fn query_returns_what_was_mapped() {
    let (space, guard, frame) = (space(), disable_preempt(), frame());
    map(&space, BASE, &frame, PageFlags::RX);
    let cursor = open(&space, &guard, BASE..BASE + 2 * PAGE_SIZE);
    let expected = Some(ram(&frame, PageFlags::RX));
    assert_eq!(cursor.query(), Ok((BASE..BASE + PAGE_SIZE, expected)));
    cursor.jump(BASE + PAGE_SIZE).expect("within the range");
    assert_eq!(cursor.query().expect("within the range").1, None);
}

#[ktest]
fn claim_97_choice_l1_mapping_over_a_mapping_replaces_it() {
    let (space, old, new) = (space(), frame(), frame());
    map(&space, BASE, &old, PageFlags::RW);
    assert_eq!(old.reference_count(), 2);
    map(&space, BASE, &new, PageFlags::R);
    assert_eq!((old.reference_count(), new.reference_count()), (1, 2));
}

#[ktest]
fn peer_054_replaced_page_is_seen_at_once() {
    let (space, old, new) = (space(), frame(), frame());
    VmReader::from(&[1_u8][..]).read(&mut old.writer());
    VmReader::from(&[2_u8][..]).read(&mut new.writer());
    with_active(&space, || {
        for (frame, expected) in [(&old, 1), (&new, 2), (&old, 1)] {
            map(&space, BASE, frame, PageFlags::RW);
            assert_eq!(read(&space, BASE), Ok(expected));
        }
    });
}

#[ktest]
fn claims_101_104_105_112_unmap_counts_moves_and_gives_frames_back() {
    let (space, guard, frame) = (space(), disable_preempt(), frame());
    for page in [0, 1, 511, 512, 513, 262_144] {
        map(&space, BASE + page * PAGE_SIZE, &frame, PageFlags::R);
    }
    assert_eq!(frame.reference_count(), 7);
    let len = 262_145 * PAGE_SIZE;
    let mut cursor = open(&space, &guard, BASE..BASE + len);
    assert_eq!(cursor.unmap(512 * PAGE_SIZE), Ok(3));
    assert_eq!(cursor.virt_addr(), BASE + 512 * PAGE_SIZE);
    assert_eq!(cursor.unmap(len - 512 * PAGE_SIZE), Ok(3));
    assert_eq!(cursor.virt_addr(), BASE + len);
    drop(cursor);
    assert_eq!(
        frame.reference_count(),
        1,
        "each lost its mapping's reference"
    );
}

#[ktest]
fn claims_83_105_where_nothing_is_mapped_a_cursor_moves_to_the_end_of_the_absent_slot() {
    type Scan = fn(&mut CursorMut<'_>);
    let scans: [Scan; 4] = [
        |cursor| assert_eq!(cursor.unmap(PAGE_SIZE), Ok(0)),
        |cursor| assert_eq!(cursor.protect(PAGE_SIZE, |prop| prop), Ok(0)),
        |cursor| assert_eq!(cursor.protect_next(PAGE_SIZE, |prop| prop), Ok(None)),
        |cursor| assert_eq!(cursor.find_next(PAGE_SIZE), None),
    ];
    let (space, guard) = (space(), disable_preempt());
    for scan in scans {
        // A table is missing: two megabytes have no page.
        let mut cursor = open(&space, &guard, BASE..BASE + M2 + 3 * PAGE_SIZE);
        scan(&mut cursor);
        assert_eq!(cursor.virt_addr(), BASE + M2);
        // Nor have the next two, but the range ends before.
        scan(&mut cursor);
        assert_eq!(cursor.virt_addr(), BASE + M2 + 3 * PAGE_SIZE);
        drop(cursor);
    }
    // With a table there, it is the window's end.
    map(&space, BASE + M2 - PAGE_SIZE, &frame(), PageFlags::R);
    for scan in scans {
        let mut cursor = open(&space, &guard, BASE..BASE + M2 + 3 * PAGE_SIZE);
        scan(&mut cursor);
        assert_eq!(cursor.virt_addr(), BASE + PAGE_SIZE);
    }
}

#[ktest]
fn claim_47_count_is_handles_segments_mappings_and_flushes() {
    let (one, two, guard) = (space(), space(), disable_preempt());
    let frames = FrameAllocOptions::new().alloc_segment(3);
    let segment: USegment = frames.expect("enough memory").into();
    let slice = segment.slice(&(0..2 * PAGE_SIZE));
    let handle = segment.clone().next().expect("it has three");
    // The segment, the slice, the handle.
    assert_eq!(handle.reference_count(), 3);
    map(&one, BASE, &handle, PageFlags::R);
    map(&one, BASE + PAGE_SIZE, &handle, PageFlags::R);
    map(&two, BASE, &handle, PageFlags::R);
    assert_eq!(handle.reference_count(), 6);
    let mut cursor = open(&one, &guard, BASE..BASE + PAGE_SIZE);
    let op = crate::mm::tlb::TlbFlushOp::Address(BASE);
    cursor
        .flusher()
        .issue_tlb_flush_with(op, handle.clone().into());
    assert_eq!(handle.reference_count(), 7, "a flush keeps it");
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
    assert_eq!(
        handle.reference_count(),
        5,
        "the flush and a mapping are gone"
    );
    drop(cursor);
    drop((slice, one, two, segment));
    assert_eq!(handle.reference_count(), 1);
}

#[ktest]
fn claims_102_103_106_unmap_of_nothing_changes_nothing() {
    let (space, guard, frame) = (space(), disable_preempt(), frame());
    map(&space, BASE, &frame, PageFlags::R);
    let mut cursor = open(&space, &guard, BASE..BASE + 4 * M2);
    assert_eq!(cursor.unmap(0), Ok(0));
    assert_eq!(cursor.virt_addr(), BASE);
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    assert_eq!(cursor.unmap(M2), Ok(0));
    cursor.jump(BASE).expect("in the range");
    assert_eq!(
        cursor.query().expect("in the range").1,
        Some(ram(&frame, PageFlags::R))
    );
}

#[ktest]
#[should_panic(expected = "leave the cursor's range")]
fn claim_85_seeds_overflow_of_unmap_is_a_panic() {
    let (space, guard) = (space(), disable_preempt());
    let mut cursor = open(&space, &guard, BASE..BASE + PAGE_SIZE);
    let _ = cursor.unmap(0_usize.wrapping_sub(BASE));
}

#[ktest]
fn seeds_assumption_of_unmaps_end_is_no_assumption() {
    // The range ends above the end of accesses, at the end of the table.
    let (space, guard) = (space(), disable_preempt());
    map(&space, USER_END, &frame(), PageFlags::R);
    let mut cursor = open(&space, &guard, USER_END - PAGE_SIZE..1 << 47);
    assert_eq!(cursor.unmap(2 * PAGE_SIZE), Ok(1));
    assert_eq!(cursor.virt_addr(), 1 << 47);
}

#[ktest]
fn choice_l21_protection_changes_the_one_page_and_never_its_privilege() {
    let (space, guard, frame) = (space(), disable_preempt(), frame());
    map(&space, BASE, &frame, PageFlags::RW);
    map(&space, BASE + PAGE_SIZE, &frame, PageFlags::RW);
    let mut cursor = open(&space, &guard, BASE..BASE + 2 * PAGE_SIZE);
    let changed = cursor.protect_next(2 * PAGE_SIZE, |old| {
        assert_eq!(old, prop(PageFlags::RW));
        PageProperty {
            flags: PageFlags::R | PageFlags::AVAIL1,
            cache: CachePolicy::Uncacheable,
            priv_flags: PrivilegedPageFlags::GLOBAL,
        }
    });
    assert_eq!(changed, Ok(Some(BASE..BASE + PAGE_SIZE)));
    let second = cursor.query().expect("in the range").1;
    assert_eq!(second, Some(ram(&frame, PageFlags::RW)));
    cursor.jump(BASE).expect("in the range");
    let first = cursor
        .query()
        .expect("in the range")
        .1
        .expect("it is mapped");
    let expected = PageProperty::new_user(PageFlags::R, CachePolicy::Uncacheable);
    assert_eq!(first.prop(), expected, "neither the tag nor the privilege");
}

#[ktest]
fn privileges_given_to_map_do_not_count() {
    let (space, guard, frame) = (space(), disable_preempt(), frame());
    let mut cursor = open(&space, &guard, BASE..BASE + PAGE_SIZE);
    let kernels =
        PageProperty::new_kernel(PageFlags::R | PageFlags::AVAIL1, CachePolicy::Writeback);
    cursor.map(frame.clone(), kernels).expect("enough memory");
    cursor.jump(BASE).expect("in the range");
    assert_eq!(
        cursor.query().expect("in the range").1,
        Some(ram(&frame, PageFlags::R))
    );
}

#[ktest]
fn claim_154_spaces_share_the_kernels_half_and_nothing_else() {
    // peer_028
    let (first, second, frame) = (space(), space(), frame());
    map(&first, BASE, &frame, PageFlags::R);
    let guard = disable_preempt();
    let cursor = second
        .cursor(&guard, &(BASE..BASE + PAGE_SIZE))
        .expect("a legal range");
    assert_eq!(cursor.query().expect("in the range").1, None);
    drop(cursor);
    // An area that is made now is in both.
    let kernels = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback);
    let area = KVirtArea::map_frames(PAGE_SIZE, 0, core::iter::once(frame.clone()), kernels);
    let area = area.expect("enough memory");
    for space in [&first, &second] {
        let walk = space.page_table().page_walk(&guard, area.start());
        assert_eq!(walk.map(|(paddr, _)| paddr), Some(frame.start_paddr()));
    }
}

#[ktest]
fn claims_157_158_159_reader_and_writer_need_the_space_active_and_a_legal_range() {
    // peer_094
    let space = space();
    assert_eq!(space.reader(BASE, 1).err(), Some(Error::AccessDenied));
    assert!(space.reader_writer(BASE, 1).is_err());
    with_active(&space, || {
        assert!(space.reader(BASE, 1).is_ok() && space.writer(0, 0).is_ok());
        assert!(space.reader(USER_END - 1, 1).is_ok() && space.reader(USER_END, 0).is_ok());
        for (vaddr, len) in [
            (USER_END - 1, 2),
            (USER_END, 1),
            (usize::MAX, 2),
            (BASE, usize::MAX),
            (BASE, 1 << 63),
            (0xffff_8000_0000_0000, 1),
        ] {
            assert_eq!(space.reader(vaddr, len).err(), Some(Error::AccessDenied));
            assert_eq!(space.writer(vaddr, len).err(), Some(Error::AccessDenied));
        }
    });
}

#[ktest]
fn claim_167_copies_stop_at_the_first_byte_that_faults() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::RW);
    with_active(&space, || {
        let mut buffer = [0; 64];
        let start = BASE + PAGE_SIZE - 10;
        let mut writer = space.writer(start, 64).expect("a legal range");
        let mut source = VmReader::from(&[7_u8; 64][..]);
        let result = writer.write_fallible(&mut source);
        assert_eq!(result, Err((Error::PageFault, 10)));
        assert_eq!(
            (writer.cursor().addr(), source.remain()),
            (BASE + PAGE_SIZE, 54)
        );
        let mut reader = space.reader(start, 64).expect("a legal range");
        let result = reader.read_fallible(&mut VmWriter::from(&mut buffer[..]));
        assert_eq!(result, Err((Error::PageFault, 10)));
        assert_eq!((buffer[9], buffer[10]), (7, 0));
        let mut writer = space.writer(start, 64).expect("a legal range");
        assert_eq!(writer.fill_zeros(64), Err((Error::PageFault, 10)));
        assert_eq!(writer.cursor().addr(), BASE + PAGE_SIZE);
    });
}

#[ktest]
fn claim_168_faulting_value_leaves_the_position() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::RW);
    with_active(&space, || {
        let start = BASE + PAGE_SIZE - 4;
        let mut reader = space.reader(start, 8).expect("a legal range");
        assert_eq!(reader.read_val::<u64>(), Err(Error::PageFault));
        assert_eq!(reader.cursor().addr(), start);
        assert_eq!(reader.collect().err(), Some(Error::PageFault));
        assert_eq!(
            (reader.cursor().addr(), reader.read_val::<u32>()),
            (start, Ok(0))
        );
        let mut writer = space.writer(start, 8).expect("a legal range");
        assert_eq!(writer.write_val(&1_u64), Err(Error::PageFault));
        assert_eq!(writer.cursor().addr(), start);
    });
}

#[ktest]
fn write_to_a_read_only_page_faults() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::R);
    with_active(&space, || {
        let mut writer = space.writer(BASE, 1).expect("a legal range");
        assert_eq!(writer.write_val(&1_u8), Err(Error::PageFault));
    });
}

#[ktest]
fn choice_l16_peer_044_page_without_rights_keeps_its_frame() {
    let (space, guard, frame) = (space(), disable_preempt(), frame());
    map(&space, BASE, &frame, PageFlags::empty());
    with_active(&space, || {
        assert_eq!(read(&space, BASE), Err(Error::PageFault))
    });
    assert_eq!(frame.reference_count(), 2);
    let mut cursor = open(&space, &guard, BASE..BASE + PAGE_SIZE);
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
    drop(cursor);
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn claim_170_words_of_users_are_exchanged_in_one_access() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::RW);
    with_active(&space, || {
        let (reader, writer) = space.reader_writer(BASE, 8).expect("a legal range");
        assert_eq!(reader.atomic_load(), Ok(0));
        assert_eq!(writer.atomic_compare_exchange(&reader, 0, 5), Ok((0, true)));
        assert_eq!(
            writer.atomic_compare_exchange(&reader, 0, 6),
            Ok((5, false))
        );
        assert_eq!((reader.atomic_load(), reader.remain()), (Ok(5), 8));
        let (reader, writer) = space.reader_writer(BASE, 2).expect("a legal range");
        assert_eq!(reader.atomic_load(), Err(Error::InvalidArgs));
        assert_eq!(
            writer.atomic_compare_exchange(&reader, 0, 1),
            Err(Error::InvalidArgs)
        );
        let (reader, writer) = space
            .reader_writer(BASE + PAGE_SIZE, 4)
            .expect("a legal range");
        assert_eq!(reader.atomic_load(), Err(Error::PageFault));
        assert_eq!(
            writer.atomic_compare_exchange(&reader, 0, 1),
            Err(Error::PageFault)
        );
    });
}

#[ktest]
#[should_panic(expected = "where it is read")]
fn claim_170_exchange_at_two_places_panics() {
    let space = space();
    space.activate();
    let reader = space.reader(BASE, 4).expect("a legal range");
    let writer = space.writer(BASE + 4, 4).expect("a legal range");
    VmSpace::deactivate_current();
    let _ = writer.atomic_compare_exchange(&reader, 0, 1);
}

#[ktest]
fn claims_155_156_peer_070_active_space_outlives_its_last_handle() {
    let before = frame_counts();
    let space = space();
    space.activate();
    space.activate();
    // Held here, by the processor, and by the task.
    assert_eq!((Arc::strong_count(&space), space.cpus().count()), (3, 1));
    drop(space);
    assert!(frame_counts().free < before.free);
    VmSpace::deactivate_current();
    assert_eq!(frame_counts(), before);
}

#[ktest]
fn switching_spaces_leaves_the_first() {
    // peer_071
    let (first, second, one, two) = (space(), space(), frame(), frame());
    VmReader::from(&[1_u8][..]).read(&mut one.writer());
    VmReader::from(&[2_u8][..]).read(&mut two.writer());
    map(&first, BASE, &one, PageFlags::R);
    map(&second, BASE, &two, PageFlags::R);
    with_active(&first, || {
        assert_eq!(read(&first, BASE), Ok(1));
        second.activate();
        assert_eq!(read(&second, BASE), Ok(2));
        assert!(first.reader(BASE, 1).is_err());
        assert_eq!((first.cpus().count(), second.cpus().count()), (0, 1));
    });
    assert_eq!(second.cpus().count(), 0);
}

#[ktest]
fn thousand_spaces_leave_nothing_behind() {
    // peer_027, peer_028
    let before = frame_counts();
    for _ in 0..1000 {
        let space = space();
        map(&space, BASE, &frame(), PageFlags::RW);
        map(&space, USER_END - PAGE_SIZE, &frame(), PageFlags::RW);
    }
    assert_eq!(frame_counts(), before);
}

#[ktest]
fn segment_is_mapped_by_the_largest_pages_that_fit() {
    let (space, guard) = (space(), disable_preempt());
    let frames = FrameAllocOptions::new()
        .zeroed(false)
        .align(M2)
        .alloc_segment(512 + 3);
    let frames: USegment = frames.expect("enough memory").into();
    let mut cursor = open(&space, &guard, BASE..BASE + 4 * M2);
    cursor
        .map_segment(frames.clone(), prop(PageFlags::RW))
        .expect("enough memory");
    assert_eq!(cursor.virt_addr(), BASE + M2 + 3 * PAGE_SIZE);
    cursor.jump(BASE).expect("in the range");
    assert_eq!(cursor.query().expect("in the range").0, BASE..BASE + M2);
    assert_eq!(frames.reference_count(), 2);
    assert_eq!(
        cursor.unmap(4 * M2),
        Ok(4),
        "one huge page and three others"
    );
    assert_eq!(frames.reference_count(), 1);
    cursor.jump(BASE + PAGE_SIZE).expect("in the range");
    cursor
        .map_segment(frames.clone(), prop(PageFlags::RW))
        .expect("enough memory");
    cursor.jump(BASE).expect("in the range");
    assert_eq!(cursor.unmap(4 * M2), Ok(515), "misaligned, so one by one");
}

#[ktest]
fn claims_123_device_memory_is_mapped_as_far_as_it_goes_and_not_counted_by_frames() {
    let (space, guard) = (space(), disable_preempt());
    let range = range_without_device(3 * PAGE_SIZE);
    let start = range.start;
    let io = IoMem::acquire(range, CachePolicy::Uncacheable);
    let io = io.expect("it is no RAM");
    let mut cursor = open(&space, &guard, BASE..BASE + M2);
    cursor
        .map_iomem(&io, prop(PageFlags::RW), M2, 3 * PAGE_SIZE)
        .expect("nothing to do");
    assert_eq!(cursor.virt_addr(), BASE);
    cursor
        .map_iomem(&io, prop(PageFlags::RW), M2, PAGE_SIZE)
        .expect("enough memory");
    assert_eq!(cursor.virt_addr(), BASE + 2 * PAGE_SIZE);
    cursor.jump(BASE).expect("in the range");
    let expected = MappedItem::MappedIoMem {
        paddr: start + PAGE_SIZE,
        level: 1,
        prop: PageProperty::new_user(PageFlags::RW, CachePolicy::Uncacheable),
    };
    assert_eq!(cursor.query().expect("in the range").1, Some(expected));
    assert_eq!(cursor.unmap(M2), Ok(2));
    drop(cursor);
    let found = space.find_iomem_by_paddr(start + PAGE_SIZE + 4);
    assert_eq!(found, Some((io, PAGE_SIZE + 4)));
    assert_eq!(space.find_iomem_by_paddr(start - 1), None);
}

#[ktest]
#[should_panic(expected = "offset 0x8 is not whole pages")]
fn claim_124_unaligned_device_offset_panics() {
    let (space, guard) = (space(), disable_preempt());
    let io = IoMem::acquire(range_without_device(PAGE_SIZE), CachePolicy::Uncacheable);
    let mut cursor = open(&space, &guard, BASE..BASE + M2);
    let _ = cursor.map_iomem(&io.expect("it is no RAM"), prop(PageFlags::R), PAGE_SIZE, 8);
}
