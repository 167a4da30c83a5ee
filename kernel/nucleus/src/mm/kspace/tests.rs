//! Are kernel virtual areas disjoint, guarded, and gone when they are gone?

#[cfg(test)]
mod host;

use alloc::vec::Vec;
use core::iter;

use super::layout::{
    IMAGE_BASE, IMAGE_RANGE, KVIRT_RANGE, LINEAR_MAP_BASE, LINEAR_MAP_SIZE, META_BASE, META_SIZE,
};
use super::{KVirtArea, KernelStack, MappedItem, kernel_page_table};
use crate::arch::{memory, uaccess};
use crate::cpu::disable_preempt;
use crate::mm::frame::{Frame, frame_counts};
use crate::mm::io_mem::range_without_device;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, VmIo, tlb,
};
use crate::prelude::*;
use crate::sync::rcu;

fn frame() -> UFrame {
    FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory")
        .into()
}

/// Waits until nothing that was unmapped waits any more.
fn settle() {
    let _stays = disable_preempt();
    tlb::wait_for_requests();
    rcu::poll();
}

fn prop() -> PageProperty {
    PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback)
}

fn area_of(frames: &[UFrame], size: usize, offset: usize) -> KVirtArea {
    KVirtArea::map_frames(size, offset, frames.iter().cloned(), prop()).expect("enough memory")
}

fn is_mapped(va: Vaddr) -> bool {
    kernel_page_table()
        .page_walk(&disable_preempt(), va)
        .is_some()
}

#[ktest]
fn claim_174_ranges_of_the_kernels_half_are_disjoint() {
    let ranges = [
        LINEAR_MAP_BASE..LINEAR_MAP_BASE + LINEAR_MAP_SIZE,
        KVIRT_RANGE,
        META_BASE..META_BASE + META_SIZE,
        IMAGE_RANGE,
        IMAGE_BASE..usize::MAX,
    ];
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[ktest]
fn claim_175_memory_is_seen_at_its_place_in_the_linear_map() {
    let frame = frame();
    frame.write_val(8, &0x1234_u64).expect("it fits");
    let seen = memory::paddr_to_vaddr(frame.start_paddr() + 8);
    // SAFETY: The frame is this test's, and its memory is mapped there.
    assert_eq!(unsafe { (seen as *const u64).read_volatile() }, 0x1234);
}

#[ktest]
fn claim_177_live_areas_never_overlap() {
    let areas: Vec<_> = (1..12)
        .map(|pages| area_of(&[], pages * PAGE_SIZE, 0))
        .collect();
    for (index, area) in areas.iter().enumerate() {
        assert!(KVIRT_RANGE.start <= area.start() && area.end() <= KVIRT_RANGE.end);
        let is_apart =
            |other: &KVirtArea| other.end() <= area.start() || area.end() <= other.start();
        assert!(areas[..index].iter().all(is_apart));
    }
}

#[ktest]
fn claim_178_pages_around_the_frames_are_not_mapped() {
    let frames = [frame(), frame()];
    let area = area_of(&frames, 8 * PAGE_SIZE, 3 * PAGE_SIZE);
    for page in 0..8 {
        let va = area.start() + page * PAGE_SIZE;
        let inside = (3..5).contains(&page);
        assert_eq!(is_mapped(va), inside, "page {page}");
        assert_eq!(area.query(va + 7).is_some(), inside);
        assert_eq!(uaccess::read_kernel_word(va), inside.then_some(0));
    }
    let Some(MappedItem::Tracked(second, _)) = area.query(area.start() + 4 * PAGE_SIZE) else {
        panic!("a frame is mapped there");
    };
    assert_eq!(second.start_paddr(), frames[1].start_paddr());
}

#[ktest]
fn area_shows_what_its_frames_hold() {
    let frame = frame();
    frame.write_val(16, &77_u64).expect("it fits");
    let area = area_of(&[frame], PAGE_SIZE, 0);
    assert_eq!(uaccess::read_kernel_word(area.start() + 16), Some(77));
}

#[ktest]
fn claim_179_dropping_an_area_gives_its_frames_back() {
    let frame = frame();
    let before = frame.reference_count();
    let area = area_of(&[frame.clone(), frame.clone()], 4 * PAGE_SIZE, PAGE_SIZE);
    assert_eq!(frame.reference_count(), before + 2);
    let range = area.range();
    drop(area);
    settle();
    assert_eq!(frame.reference_count(), before);
    assert!(range.step_by(PAGE_SIZE).all(|va| !is_mapped(va)));
}

#[ktest]
fn claim_180_peer_029_untracked_area_touches_no_count() {
    let frame = frame();
    let start = frame.start_paddr();
    // SAFETY: The frame outlives the area, and nobody minds.
    let area = unsafe {
        KVirtArea::map_untracked_frames(2 * PAGE_SIZE, 0, start..start + PAGE_SIZE, prop())
    };
    let area = area.expect("enough memory");
    assert_eq!(frame.reference_count(), 1);
    assert_eq!(
        area.query(area.start()),
        Some(MappedItem::Untracked(start, 1, prop()))
    );
    drop(area);
    assert_eq!(frame.reference_count(), 1);
}

#[ktest]
fn untracked_area_of_nothing_is_legal() {
    // SAFETY: Nothing is mapped.
    let area = unsafe { KVirtArea::map_untracked_frames(PAGE_SIZE, PAGE_SIZE, 0..0, prop()) };
    let area = area.expect("enough memory");
    assert_eq!((area.len(), is_mapped(area.start())), (PAGE_SIZE, false));
}

#[ktest]
fn choice_l17_device_memory_is_mapped_uncached_by_large_pages() {
    let uncached = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Uncacheable);
    let size = 4 << 20;
    let device = range_without_device(size);
    // SAFETY: Nobody touches what is not there.
    let area = unsafe { KVirtArea::map_untracked_frames(size, 0, device, uncached) };
    let area = area.expect("enough memory");
    let page = area.start().next_multiple_of(2 << 20);
    assert!(matches!(area.query(page), Some(MappedItem::Untracked(_, _, how)) if how == uncached));
}

#[ktest]
fn choice_l14_freed_addresses_are_used_again_and_show_the_new_frames() {
    // peer_058
    let (old, new) = (frame(), frame());
    old.write_val(0, &1_u64).expect("it fits");
    new.write_val(0, &2_u64).expect("it fits");
    let area = area_of(&[old], PAGE_SIZE, 0);
    let range = area.range();
    assert_eq!(uaccess::read_kernel_word(range.start), Some(1));
    drop(area);
    settle();
    let area = area_of(&[new], PAGE_SIZE, 0);
    assert_eq!(area.range(), range, "the first that fits");
    assert_eq!(uaccess::read_kernel_word(range.start), Some(2));
}

#[ktest]
fn freed_ranges_join_with_their_neighbours() {
    let sizes = [3, 1, 2, 5];
    let mut areas: Vec<_> = sizes
        .iter()
        .map(|pages| Some(area_of(&[], pages * PAGE_SIZE, 0)))
        .collect();
    let lost = memory::memory().kvirt.lock().lost_and_waiting().0;
    for index in [1, 3, 0, 2] {
        areas[index] = None;
    }
    let area = area_of(&[], 11 * PAGE_SIZE, 0);
    assert_eq!(memory::memory().kvirt.lock().lost_and_waiting().0, lost);
    drop(area);
}

#[ktest]
fn peer_072_kernel_ranges_of_31_32_and_33_pages_are_flushed() {
    let frame = frame();
    for pages in 31..=33 {
        let frames: Vec<_> = iter::repeat_n(frame.clone(), pages).collect();
        let area = area_of(&frames, pages * PAGE_SIZE, 0);
        let range = area.range();
        for va in range.clone().step_by(PAGE_SIZE) {
            assert_eq!(uaccess::read_kernel_word(va), Some(0));
        }
        drop((area, frames));
        settle();
        assert_eq!(frame.reference_count(), 1);
        for va in range.step_by(PAGE_SIZE) {
            assert_eq!(uaccess::read_kernel_word(va), None);
        }
    }
}

#[ktest]
fn claim_181_peer_111_stack_has_guards_at_both_ends() {
    let stack = KernelStack::new(8 * PAGE_SIZE).expect("enough memory");
    assert_eq!(stack.top() - stack.bottom(), 8 * PAGE_SIZE);
    for guard in [
        stack.bottom() - 8,
        stack.bottom() - 2 * PAGE_SIZE,
        stack.top(),
        stack.top() + PAGE_SIZE,
    ] {
        assert_eq!(uaccess::read_kernel_word(guard), None);
    }
    for mapped in [stack.bottom(), stack.top() - 8] {
        assert!(uaccess::read_kernel_word(mapped).is_some());
    }
}

#[ktest]
fn peer_057_stacks_are_made_and_given_back() {
    let before = || {
        settle();
        frame_counts().free
            + memory::memory()
                .nr_kernel_nodes
                .load(core::sync::atomic::Ordering::Relaxed)
    };
    drop(KernelStack::new(KernelStack::DEFAULT_SIZE).expect("enough memory"));
    let count = before();
    for _ in 0..50 {
        drop(KernelStack::new(KernelStack::DEFAULT_SIZE).expect("enough memory"));
    }
    assert_eq!(before(), count);
}

#[ktest]
fn area_without_memory_is_an_error_and_leaves_nothing() {
    let before = frame_counts();
    let too_large = (KVIRT_RANGE.end - KVIRT_RANGE.start) + PAGE_SIZE;
    let refused = KVirtArea::map_frames(too_large, 0, iter::empty::<Frame<()>>(), prop());
    assert_eq!(refused.err(), Some(Error::NoMemory));
    assert_eq!(frame_counts(), before);
}

#[ktest]
#[should_panic(expected = "do not fit into an area")]
fn more_frames_than_fit_panic() {
    area_of(&[frame(), frame()], 2 * PAGE_SIZE, PAGE_SIZE);
}

#[ktest]
#[should_panic(expected = "is not whole pages")]
fn unaligned_area_panics() {
    area_of(&[], 100, 0);
}
