//! Do user mappings, and accesses through them, do what was asked?

use alloc::sync::Arc;
use core::ops::Range;

use super::VmSpace;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, USER_END, VmReader,
    VmWriter,
};
use crate::prelude::*;

const BASE: usize = 0x40_0000;

fn space() -> Arc<VmSpace> {
    VmSpace::new().expect("enough memory")
}

fn frame() -> UFrame {
    FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory")
}

fn prop(flags: PageFlags) -> PageProperty {
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

fn map(space: &VmSpace, vaddr: Vaddr, frame: &UFrame, flags: PageFlags) {
    let mut cursor = space
        .cursor_mut(&(vaddr..vaddr + PAGE_SIZE))
        .expect("a legal range");
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

#[ktest]
fn illegal_ranges_get_no_cursor() {
    // peer_001, peer_002, peer_013
    let space = space();
    for range in [
        0..0,
        BASE..BASE,
        Range {
            start: 2 * PAGE_SIZE,
            end: 0,
        },
        BASE + 1..BASE + PAGE_SIZE,
        BASE..BASE + PAGE_SIZE + 1,
        0..usize::MAX & !0xfff,
        USER_END..USER_END + 2 * PAGE_SIZE,
        0xffff_8000_0000_0000..0xffff_8000_0000_1000,
    ] {
        assert!(space.cursor(&range).is_err(), "{range:x?}");
        assert!(space.cursor_mut(&range).is_err(), "{range:x?}");
    }
    assert!(space.cursor(&(0..USER_END + PAGE_SIZE)).is_ok());
}

#[ktest]
fn query_returns_what_was_mapped() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::RX);
    let mut cursor = space
        .cursor(&(BASE..BASE + 2 * PAGE_SIZE))
        .expect("a legal range");
    let (range, item) = cursor.query().expect("within the range");
    assert_eq!(
        (range, item),
        (BASE..BASE + PAGE_SIZE, Some((frame, prop(PageFlags::RX))))
    );
    cursor.jump(BASE + PAGE_SIZE).expect("within the range");
    assert_eq!(cursor.query().expect("within the range").1, None);
}

#[ktest]
fn mapping_over_a_mapping_replaces_it() {
    // peer_048
    let (space, old, new) = (space(), frame(), frame());
    map(&space, BASE, &old, PageFlags::RW);
    assert_eq!(old.reference_count(), 2);
    map(&space, BASE, &new, PageFlags::R);
    assert_eq!((old.reference_count(), new.reference_count()), (1, 2));
}

#[ktest]
fn replaced_page_is_seen_at_once() {
    // peer_054: the old translation must not linger.
    let (space, old, new) = (space(), frame(), frame());
    VmReader::from(&[1_u8][..]).read(&mut old.writer());
    VmReader::from(&[2_u8][..]).read(&mut new.writer());
    with_active(&space, || {
        for (frame, expected) in [(&old, 1), (&new, 2), (&old, 1)] {
            map(&space, BASE, frame, PageFlags::RW);
            let mut byte = [0];
            let mut reader = space.reader(BASE, 1).expect("a legal range");
            let copied = reader.read_fallible(&mut VmWriter::from(&mut byte[..]));
            assert_eq!((copied, byte), (Ok(1), [expected]));
        }
    });
}

#[ktest]
fn unmap_counts_pages_and_gives_frames_back() {
    let (space, frame) = (space(), frame());
    for page in [0, 1, 511, 512, 513, 262_144] {
        map(&space, BASE + page * PAGE_SIZE, &frame, PageFlags::R);
    }
    assert_eq!(frame.reference_count(), 7);
    let len = 262_145 * PAGE_SIZE;
    let mut cursor = space
        .cursor_mut(&(BASE..BASE + len))
        .expect("a legal range");
    assert_eq!(cursor.unmap(512 * PAGE_SIZE), 3);
    assert_eq!(cursor.virt_addr(), BASE + 512 * PAGE_SIZE);
    assert_eq!(cursor.unmap(len - 512 * PAGE_SIZE), 3);
    drop(cursor);
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn find_next_stops_at_the_first_mapping_and_not_beyond() {
    let (space, frame) = (space(), frame());
    let far = BASE + (1 << 30);
    map(&space, far, &frame, PageFlags::R);
    let mut cursor = space
        .cursor(&(BASE..far + PAGE_SIZE))
        .expect("a legal range");
    assert_eq!(cursor.find_next(far - BASE), None);
    assert_eq!(cursor.virt_addr(), far);
    assert_eq!(cursor.find_next(PAGE_SIZE), Some(far));
    assert_eq!(cursor.find_next(PAGE_SIZE), Some(far));
}

#[ktest]
fn protection_changes_the_one_page_and_never_its_privilege() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::RW);
    map(&space, BASE + PAGE_SIZE, &frame, PageFlags::RW);
    let range = BASE..BASE + 2 * PAGE_SIZE;
    let mut cursor = space.cursor_mut(&range).expect("a legal range");
    let changed = cursor.protect_next(2 * PAGE_SIZE, |prop| {
        prop.flags = PageFlags::R;
        prop.priv_flags = crate::mm::prop::PrivilegedPageFlags::GLOBAL;
    });
    assert_eq!(changed, Some(BASE..BASE + PAGE_SIZE));
    let second = cursor.query().expect("within the range").1;
    assert_eq!(second, Some((frame.clone(), prop(PageFlags::RW))));
    cursor.jump(BASE).expect("within the range");
    assert_eq!(
        cursor.query().expect("within the range").1,
        Some((frame.clone(), prop(PageFlags::R)))
    );
}

#[ktest]
#[should_panic(expected = "leave the cursor's range")]
fn unmapping_beyond_the_range_panics() {
    let space = space();
    let mut cursor = space
        .cursor_mut(&(BASE..BASE + PAGE_SIZE))
        .expect("a legal range");
    cursor.unmap(2 * PAGE_SIZE);
}

#[ktest]
#[should_panic(expected = "leave the cursor's range")]
fn length_that_would_wrap_panics() {
    // peer_003
    let space = space();
    let mut cursor = space
        .cursor(&(BASE..BASE + PAGE_SIZE))
        .expect("a legal range");
    cursor.find_next(usize::MAX & !0xfff);
}

#[ktest]
fn jumps_out_of_the_range_are_refused() {
    // peer_005, peer_006, peer_007
    let space = space();
    let end = USER_END + PAGE_SIZE;
    let mut cursor = space
        .cursor_mut(&(end - 2 * PAGE_SIZE..end))
        .expect("a legal range");
    assert_eq!(cursor.jump(end), Err(Error::InvalidArgs));
    assert_eq!(cursor.jump(end - 3 * PAGE_SIZE), Err(Error::InvalidArgs));
    cursor.jump(end - PAGE_SIZE).expect("within the range");
    cursor
        .map(frame(), prop(PageFlags::R))
        .expect("enough memory");
    assert_eq!(cursor.virt_addr(), end);
    assert!(cursor.query().is_err());
    cursor.jump(end - 2 * PAGE_SIZE).expect("within the range");
    assert_eq!(cursor.unmap(2 * PAGE_SIZE), 1);
}

#[ktest]
fn spaces_share_the_kernels_half_and_nothing_else() {
    // peer_028
    let (first, second, frame) = (space(), space(), frame());
    map(&first, BASE, &frame, PageFlags::R);
    let item = second
        .cursor(&(BASE..BASE + PAGE_SIZE))
        .expect("a legal range")
        .query();
    assert_eq!(item.expect("within the range").1, None);
    let (a, b) = (first.tree.lock(), second.tree.lock());
    for index in 256..512 {
        assert_eq!(a.root().read(index), b.root().read(index));
    }
}

#[ktest]
fn reader_and_writer_need_the_space_active_and_a_legal_range() {
    // peer_094
    let space = space();
    assert!(space.reader(BASE, 1).is_err());
    with_active(&space, || {
        assert!(space.reader(BASE, 1).is_ok() && space.writer(0, 0).is_ok());
        assert!(space.reader(USER_END - 1, 1).is_ok());
        for (vaddr, len) in [
            (USER_END - 1, 2),
            (USER_END, 1),
            (usize::MAX, 2),
            (BASE, usize::MAX),
            (BASE, 1 << 63),
            (0xffff_8000_0000_0000, 1),
        ] {
            assert!(space.reader(vaddr, len).is_err() && space.writer(vaddr, len).is_err());
        }
    });
}

#[ktest]
fn copies_stop_at_the_first_byte_that_faults() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::RW);
    with_active(&space, || {
        let mut buffer = [0; 64];
        let start = BASE + PAGE_SIZE - 10;
        let mut writer = space.writer(start, 64).expect("a legal range");
        let result = writer.write_fallible(&mut VmReader::from(&[7_u8; 64][..]));
        assert_eq!(
            (result, writer.cursor()),
            (Err((Error::PageFault, 10)), BASE + PAGE_SIZE)
        );
        let mut reader = space.reader(start, 64).expect("a legal range");
        let result = reader.read_fallible(&mut VmWriter::from(&mut buffer[..]));
        assert_eq!(result, Err((Error::PageFault, 10)));
        assert_eq!((buffer[9], buffer[10]), (7, 0));
    });
}

#[ktest]
fn write_to_a_read_only_page_faults() {
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::R);
    with_active(&space, || {
        let mut writer = space.writer(BASE, 1).expect("a legal range");
        let result = writer.write_fallible(&mut VmReader::from(&[1_u8][..]));
        assert_eq!(result, Err((Error::PageFault, 0)));
    });
}

#[ktest]
fn page_without_rights_keeps_its_frame() {
    // peer_044, peer_045
    let (space, frame) = (space(), frame());
    map(&space, BASE, &frame, PageFlags::empty());
    with_active(&space, || {
        let mut byte = [0];
        let mut reader = space.reader(BASE, 1).expect("a legal range");
        let result = reader.read_fallible(&mut VmWriter::from(&mut byte[..]));
        assert_eq!(result, Err((Error::PageFault, 0)));
    });
    assert_eq!(frame.reference_count(), 2);
    let mut cursor = space
        .cursor_mut(&(BASE..BASE + PAGE_SIZE))
        .expect("a legal range");
    assert_eq!(cursor.unmap(PAGE_SIZE), 1);
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn active_space_outlives_its_last_handle() {
    // peer_070
    let before = crate::mm::frame::frame_counts();
    let space = space();
    space.activate();
    drop(space);
    assert!(crate::mm::frame::frame_counts().free < before.free);
    VmSpace::deactivate_current();
    assert_eq!(crate::mm::frame::frame_counts(), before);
}

#[ktest]
fn thousand_spaces_leave_nothing_behind() {
    // peer_027, peer_028
    let before = crate::mm::frame::frame_counts();
    for _ in 0..1000 {
        let space = space();
        map(&space, BASE, &frame(), PageFlags::RW);
        map(&space, USER_END - PAGE_SIZE, &frame(), PageFlags::RW);
    }
    assert_eq!(crate::mm::frame::frame_counts(), before);
}
