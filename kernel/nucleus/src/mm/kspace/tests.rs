//! Is the kernel's half of memory what the map of it says?

use super::kvirt::{property_at, reserve};
use super::layout::{LINEAR_MAP_BASE, META_BASE};
use crate::arch::x86_64::uaccess;
use crate::boot::image;
use crate::mm::frame::meta::{FrameUsage, usage_of};
use crate::mm::frame::{FrameAllocOptions, frame_counts};
use crate::mm::{PAGE_SIZE, PageFlags};
use crate::prelude::*;

#[ktest]
fn image_is_mapped_as_its_segments_say() {
    for segment in image::segments() {
        for page in segment.pages.clone().step_by(PAGE_SIZE) {
            let flags = property_at(page).expect("the image is mapped").flags;
            assert_eq!(flags & PageFlags::RWX, segment.flags, "at {page:#x}");
        }
    }
}

#[ktest]
fn no_page_of_the_image_is_writable_and_executable() {
    let both = PageFlags::W | PageFlags::X;
    assert!(image::segments().count() >= 4);
    assert!(image::segments().all(|segment| !segment.flags.contains(both)));
}

#[ktest]
fn constants_cannot_be_written() {
    static CONSTANT: u64 = 42;
    let page = &raw const CONSTANT as usize;
    let flags = property_at(page).expect("the image is mapped").flags;
    assert!(!flags.contains(PageFlags::W));
}

#[ktest]
fn linear_map_holds_every_frame_and_is_no_code() {
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    let prop = property_at(LINEAR_MAP_BASE + frame.start_paddr()).expect("RAM is mapped");
    assert!(prop.flags.contains(PageFlags::RW) && !prop.flags.contains(PageFlags::X));
}

#[ktest]
fn addresses_that_nobody_mapped_are_not_mapped() {
    for vaddr in [0, 0x1000, LINEAR_MAP_BASE - 1, LINEAR_MAP_BASE + (1 << 45)] {
        assert_eq!(uaccess::read_kernel_word(vaddr), None, "at {vaddr:#x}");
    }
}

#[ktest]
fn page_below_a_stack_is_a_guard() {
    // peer_111
    let stack = crate::task::test_stack();
    assert_eq!(property_at(stack.bottom() - 1), None);
    assert_eq!(uaccess::read_kernel_word(stack.bottom() - 8), None);
    assert!(uaccess::read_kernel_word(stack.bottom()).is_some());
    assert!(uaccess::read_kernel_word(stack.top() - 8).is_some());
}

#[ktest]
fn areas_have_a_page_between_them() {
    let first = reserve(PAGE_SIZE).expect("there are 32 TiB");
    let second = reserve(PAGE_SIZE).expect("there are 32 TiB");
    assert!(second >= first + 2 * PAGE_SIZE);
}

#[ktest]
fn metadata_knows_what_a_frame_is_for() {
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    assert_eq!(usage_of(frame.start_paddr()), FrameUsage::User);
    assert_eq!(usage_of(0), FrameUsage::Boot);
    assert_eq!(usage_of(0xa_0000), FrameUsage::Absent);
    assert_eq!(usage_of(usize::MAX), FrameUsage::Absent);
    let paddr = frame.start_paddr();
    drop(frame);
    assert_eq!(usage_of(paddr), FrameUsage::Free);
}

#[ktest]
fn metadata_of_holes_cannot_be_written() {
    // Below 4 GiB there is a hole for devices, whose slots all share a page.
    let slot = META_BASE + 0xe000_0000 / PAGE_SIZE * 32;
    match property_at(slot) {
        Some(prop) => assert!(!prop.flags.contains(PageFlags::W)),
        None => crate::ktest::skip("this machine's RAM ends below the devices"),
    }
}

#[ktest]
fn frames_are_accounted_for() {
    let before = frame_counts();
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    let clone = frame.clone();
    assert_eq!(frame.reference_count(), 2);
    assert_eq!(frame_counts().free, before.free - 1);
    drop(frame);
    assert_eq!(
        (clone.reference_count(), frame_counts().free),
        (1, before.free - 1)
    );
    drop(clone);
    assert_eq!(frame_counts(), before);
}

#[ktest]
fn fresh_frame_is_zeroed_whoever_had_it_before() {
    // peer_101
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    let paddr = frame.start_paddr();
    let mut writer = frame.writer();
    crate::mm::VmReader::from(&[0xa5; PAGE_SIZE][..]).read(&mut writer);
    drop(frame);
    let again = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    assert_eq!(
        again.start_paddr(),
        paddr,
        "the last frame freed is the next one given out"
    );
    let mut bytes = [0xff; PAGE_SIZE];
    again
        .reader()
        .read(&mut crate::mm::VmWriter::from(&mut bytes[..]));
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[ktest]
fn frames_in_use_are_distinct() {
    let frames = [(); 64].map(|()| {
        FrameAllocOptions::new()
            .alloc_frame()
            .expect("enough memory")
    });
    for (index, frame) in frames.iter().enumerate() {
        assert!(frames[..index].iter().all(|other| other != frame));
    }
}
