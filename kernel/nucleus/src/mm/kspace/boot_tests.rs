//! Is the kernel's half of memory what the map of it says, as start-up made it?

use super::layout::{LINEAR_MAP_BASE, META_BASE};
use super::{KVirtArea, kernel_page_table};
use crate::arch::x86_64::uaccess;
use crate::boot::{image, protection};
use crate::cpu::disable_preempt;
use crate::mm::frame::meta::{Mark, slot_of};
use crate::mm::inspect::rights::inspect;
use crate::mm::{CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty};
use crate::prelude::*;

fn property_at(vaddr: Vaddr) -> Option<PageProperty> {
    let walk = kernel_page_table().page_walk(&disable_preempt(), vaddr);
    walk.map(|(_, prop)| prop)
}

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
fn text_and_constants_cannot_be_written_by_way_of_the_linear_map() {
    let is_constant = |segment: &image::Segment| !segment.flags.contains(PageFlags::W);
    for segment in image::segments().filter(is_constant) {
        for page in segment.pages.clone().step_by(PAGE_SIZE) {
            let walk = kernel_page_table().page_walk(&disable_preempt(), page);
            let (paddr, _) = walk.expect("the image is mapped");
            let flags = property_at(LINEAR_MAP_BASE + paddr)
                .expect("RAM is mapped")
                .flags;
            assert_eq!(flags & PageFlags::RWX, PageFlags::R, "for {page:#x}");
        }
    }
}

#[ktest]
fn live_tables_have_no_hole_and_one_that_is_made_is_found() {
    let constants = protection::constants().expect("enough memory");
    let root = kernel_page_table().root_paddr();
    let holes = || inspect(root, &constants).nr_violations;
    assert_eq!(holes(), 0);
    let frame = FrameAllocOptions::new().alloc_frame();
    let frame = frame.expect("enough memory");
    let prop = PageProperty::new_kernel(PageFlags::RWX, CachePolicy::Writeback);
    let area = KVirtArea::map_frames(PAGE_SIZE, 0, [frame].into_iter(), prop);
    let area = area.expect("enough memory");
    assert_eq!(holes(), 2, "writable and executable, and not the text");
    drop(area);
    assert_eq!(holes(), 0);
    // A second way to the first page of the text, on which nobody writes.
    let text = constants.frames[0].start;
    let prop = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback);
    // SAFETY: Nothing is written through the area.
    let area =
        unsafe { KVirtArea::map_untracked_frames(PAGE_SIZE, 0, text..text + PAGE_SIZE, prop) };
    let area = area.expect("enough memory");
    assert_eq!(holes(), 1);
    drop(area);
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
fn claims_183_184_metadata_knows_what_a_frame_is_for() {
    let mark = |paddr| slot_of(paddr).map(|slot| slot.mark());
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    assert_eq!(mark(frame.start_paddr()), Ok(Some(Mark::Managed)));
    assert_eq!(mark(0), Ok(Some(Mark::Reserved)));
    assert_eq!(mark(0xa_0000), Ok(Some(Mark::NotRam)));
    // The metadata itself is memory that is never given out.
    let slots = kernel_page_table().page_walk(&disable_preempt(), META_BASE);
    let (paddr, _) = slots.expect("the metadata is mapped");
    assert_eq!(
        mark(paddr / PAGE_SIZE * PAGE_SIZE),
        Ok(Some(Mark::Reserved))
    );
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
fn choice_l9_loaders_memory_is_given_back() {
    // The loader has its own page tables, stack and information at the least.
    assert!(crate::boot::reclaimed_bytes() >= 16 * PAGE_SIZE);
}

#[ktest]
fn peer_090_low_memory_and_the_image_are_never_given_out() {
    let is_managed = |paddr| slot_of(paddr).map(|slot| slot.mark()) == Ok(Some(Mark::Managed));
    let low = (0..1 << 20).step_by(PAGE_SIZE);
    assert_eq!(low.filter(|paddr| is_managed(*paddr)).count(), 0);
    for page in image::segments().flat_map(|segment| segment.pages.step_by(PAGE_SIZE)) {
        let walk = kernel_page_table().page_walk(&disable_preempt(), page);
        let (paddr, _) = walk.expect("the image is mapped");
        let frame = paddr / PAGE_SIZE * PAGE_SIZE;
        assert!(!is_managed(frame), "{frame:#x}, which is {page:#x}");
    }
}
