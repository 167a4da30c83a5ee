//! Against a model: each live block is filled with a byte of its own, so that
//! blocks that overlap show.

use alloc::alloc::{alloc, dealloc, realloc};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};

use super::class::Class;
use super::{HEAP, large, nr_frames, used_bytes};
use crate::mm::PAGE_SIZE;
use crate::mm::frame::frame_counts;
use crate::prelude::*;

/// Sizes around those of words, of classes, of the arena's own notes, and of pages.
const SIZES: [usize; 14] = [
    1, 2, 7, 8, 9, 15, 16, 17, 33, 1000, 2047, 4096, 5000, 70_001,
];
const MAX_LIVE: usize = 48;

struct Block {
    start: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Block {
    fn new(layout: Layout, mark: u8) -> Option<Self> {
        // SAFETY: The layout has a size.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            return None;
        }
        // SAFETY: The block was just made, and has this size.
        unsafe { start.write_bytes(mark, layout.size()) };
        Some(Self {
            start,
            layout,
            mark,
        })
    }

    fn check(&self, len: usize) {
        // SAFETY: The block is this one's, at least so long, and was written.
        let bytes = unsafe { core::slice::from_raw_parts(self.start, len) };
        assert!(bytes.iter().all(|byte| *byte == self.mark), "overlap");
    }

    /// Gives the block another size.
    fn resize(&mut self, size: usize) {
        let kept = size.min(self.layout.size());
        // SAFETY: From `alloc` with this layout; the size is legal.
        let start = unsafe { realloc(self.start, self.layout, size) };
        assert!(!start.is_null(), "there is room");
        self.start = start;
        self.layout = layout(size, self.layout.align());
        self.check(kept);
        // SAFETY: The block has this size now.
        unsafe { start.write_bytes(self.mark, size) };
    }

    fn end(self) {
        self.check(self.layout.size());
        // SAFETY: From `alloc` with this layout, and used no more.
        unsafe { dealloc(self.start, self.layout) };
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a legal layout")
}

/// Returns numbers that look random, each below what is asked for.
fn random() -> impl FnMut(usize) -> usize {
    let mut state = 1_usize;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    }
}

#[ktest]
fn peer_034_heap_blocks_are_disjoint_and_aligned_and_all_comes_back() {
    let mut live: Vec<Block> = Vec::with_capacity(MAX_LIVE);
    let before = used_bytes();
    let mut random = random();
    for round in 0..9000 {
        let action = random(4);
        if live.len() == MAX_LIVE || (!live.is_empty() && action == 0) {
            live.swap_remove(random(live.len())).end();
            continue;
        }
        let size = SIZES[random(SIZES.len())] + random(3);
        if !live.is_empty() && action == 1 {
            let index = random(live.len());
            live[index].resize(size);
            continue;
        }
        let layout = layout(size, 1 << random(14));
        let block = Block::new(layout, round as u8).expect("there is room");
        assert!(block.start.addr().is_multiple_of(layout.align()));
        live.push(block);
    }
    while let Some(block) = live.pop() {
        block.end();
    }
    assert_eq!(used_bytes(), before, "nothing is lost");
}

#[ktest]
fn heap_gives_the_frames_of_small_blocks_back() {
    const FRAMES: usize = 40;
    for class in Class::all() {
        let count = class.blocks_of_a_frame() * FRAMES;
        let mut blocks = Vec::with_capacity(count);
        let before = nr_frames();
        for number in 0..count {
            let block = Block::new(class.layout(), number as u8);
            blocks.push(block.expect("there is room"));
        }
        // In an order in which no frame is free until late.
        for start in 0..7 {
            let of_seven = blocks.extract_if(.., |block| usize::from(block.mark) % 7 == start);
            of_seven.for_each(Block::end);
        }
        blocks.into_iter().for_each(Block::end);
        // What is at hand stays, and what the magazine holds, each block perhaps of
        // another frame.
        let kept = nr_frames().saturating_sub(before);
        assert!(kept < 65, "{kept} frames are kept for blocks of {class:?}");
    }
}

#[ktest]
fn heap_blocks_may_be_freed_on_another_processor() {
    use crate::cpu::CpuSet;
    use crate::task::{TaskOptions, settle};
    for cpu in CpuSet::new_full().iter() {
        let before = used_bytes();
        let mut numbers: Vec<Box<usize>> = (0..500).map(Box::new).collect();
        let check = move || {
            for (index, number) in numbers.drain(..).enumerate() {
                assert_eq!(*number, index);
            }
        };
        let task = TaskOptions::new(check).affinity(CpuSet::from(cpu)).spawn();
        task.expect("enough memory").join();
        // The record of the task outlives its stack.
        settle();
        assert_eq!(used_bytes(), before);
    }
}

#[ktest]
fn heap_without_frames_returns_null_and_goes_on() {
    const LARGE: usize = 2 << 20;
    let before = (frame_counts().free + nr_frames(), used_bytes());
    let mut taken: Vec<Block> = Vec::with_capacity(frame_counts().free * PAGE_SIZE / LARGE);
    while let Some(block) = Block::new(layout(LARGE * 2, 1), 1) {
        taken.push(block);
    }
    // Until neither depot nor arena have any: every size fails, and none panics.
    let mut rest: Vec<Block> = Vec::with_capacity(taken.capacity());
    for size in [1 << 20, 1 << 16, PAGE_SIZE] {
        while rest.len() < rest.capacity()
            && let Some(block) = Block::new(layout(size, 1), 2)
        {
            rest.push(block);
        }
    }
    rest.into_iter().for_each(Block::end);
    taken.into_iter().for_each(Block::end);
    let after = (frame_counts().free + nr_frames(), used_bytes());
    assert_eq!(after, before);
}

#[ktest]
fn heap_of_odd_sizes_needs_no_frames() {
    let before = frame_counts();
    let block = Block::new(layout(5000, 8), 1).expect("there is room");
    assert!(large::is_in_arena(block.start.addr()));
    assert_eq!(frame_counts(), before);
    block.end();
}

/// Allocates a block and frees it, in a way that the compiler does not see through.
fn free_block(layout: Layout) -> *mut u8 {
    // SAFETY: The layout has a size.
    let block = unsafe { HEAP.alloc(layout) };
    // SAFETY: From `alloc` with this layout.
    unsafe { HEAP.dealloc(block, layout) };
    block
}

#[ktest]
#[should_panic(expected = "is freed twice")]
fn heap_block_that_is_freed_twice_is_found_where_assertions_are_on() {
    let layout = layout(100, 8);
    let block = free_block(layout);
    // SAFETY: It is not sound, and so it is found before anything is done.
    unsafe { HEAP.dealloc(block, layout) };
}

#[ktest]
#[should_panic(expected = "was written after it was freed")]
fn heap_block_that_is_written_after_it_was_freed_is_found_where_assertions_are_on() {
    let layout = layout(100, 8);
    let block = free_block(layout);
    // SAFETY: The memory is the heap's, of which nobody else uses the block yet.
    unsafe { block.wrapping_add(50).write(1) };
    // SAFETY: The layout has a size.
    unsafe { HEAP.alloc(layout) };
}
