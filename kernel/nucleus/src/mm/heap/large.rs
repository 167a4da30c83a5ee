//! Large blocks: from the arena, or frames side by side.
//!
//! Which of the two a block is from, its address says.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use linked_list_allocator::Heap;

use crate::arch::{cpu, memory};
use crate::error::Result;
use crate::impl_frame_meta_for;
use crate::mm::frame::Segment;
use crate::mm::kspace;
use crate::mm::kspace::layout::LINEAR_MAP_BASE;
use crate::mm::{FrameAllocOptions, PAGE_SIZE};
use crate::sync::{Rank, SpinLock};

/// Bytes of the arena. Tests want to see none of the heap's traffic with the frame
/// allocator.
pub(super) const ARENA_SIZE: usize = if cfg!(ktest) { 8 << 20 } else { 1 << 20 };
/// Bytes of the largest block that comes from the arena.
const ARENA_MAX: usize = ARENA_SIZE / 4;

/// The type of a frame of a large block.
#[derive(Debug)]
struct HeapFrame;

impl_frame_meta_for!(HeapFrame => "heap-blocks");

static ARENA: SpinLock<Heap> = SpinLock::ranked(Heap::empty(), Rank::Heap);
/// Where the arena begins; written once.
static ARENA_START: AtomicUsize = AtomicUsize::new(0);

/// Bytes of large blocks that are in use.
static USED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Blocks of frames that a handler has freed where it must not call the frame allocator.
static LATE: SpinLock<Late> = SpinLock::ranked(Late { first: None }, Rank::Heap);

struct Late {
    first: Option<NonNull<LateBlock>>,
}

/// A block that is to be freed later.
struct LateBlock {
    size: usize,
    next: Option<NonNull<LateBlock>>,
}

// SAFETY: The blocks are nobody else's.
unsafe impl Send for Late {}

/// Maps the arena.
///
/// # Errors
///
/// [`Error::NoMemory`](crate::Error::NoMemory).
pub(super) fn init() -> Result<()> {
    let start = kspace::map_memory(ARENA_SIZE)?;
    // SAFETY: The area was just mapped, is nobody else's and stays for ever.
    unsafe { ARENA.lock().init(start as *mut u8, ARENA_SIZE) };
    // Relaxed: there is one processor.
    ARENA_START.store(start, Ordering::Relaxed);
    Ok(())
}

/// Returns whether an address is the arena's.
#[inline]
pub(super) fn is_in_arena(address: usize) -> bool {
    // Relaxed: written at start-up.
    address.wrapping_sub(ARENA_START.load(Ordering::Relaxed)) < ARENA_SIZE
}

/// Allocates a block.
pub(super) fn alloc(layout: Layout) -> Option<NonNull<u8>> {
    let block = if layout.size() <= ARENA_MAX {
        alloc_from_arena(layout).or_else(|| alloc_frames(layout))
    } else {
        alloc_frames(layout)
    }?;
    // Relaxed: a count.
    USED_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
    Some(block)
}

/// Frees a block.
///
/// # Safety
///
/// The block is from [`alloc()`] with this layout, and the caller gives it up.
pub(super) unsafe fn dealloc(block: NonNull<u8>, layout: Layout) {
    // Relaxed: a count.
    USED_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
    if is_in_arena(block.addr().get()) {
        // SAFETY: As the caller promises.
        unsafe { dealloc_to_arena(block, layout) };
    } else if cpu::is_brief() {
        let late = block.cast::<LateBlock>();
        let mut list = LATE.lock();
        let value = LateBlock {
            size: size_in_frames(layout),
            next: list.first,
        };
        // SAFETY: The block is the caller's, and a frame at least.
        unsafe { late.write(value) };
        list.first = Some(late);
    } else {
        // SAFETY: As the caller promises.
        unsafe { free_frames(block, size_in_frames(layout)) };
        free_late_ones();
    }
}

/// Returns whether a block has room for another layout without a change, of which the
/// alignment is the same.
pub(super) fn is_of_same_size(block: usize, layout: Layout, new_layout: Layout) -> bool {
    let is_same = size_in_frames(layout) == size_in_frames(new_layout);
    if is_in_arena(block) || !is_same {
        return false;
    }
    // Relaxed, here and below: a count.
    USED_BYTES.fetch_add(new_layout.size(), Ordering::Relaxed);
    USED_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
    true
}

pub(super) fn alloc_from_arena(layout: Layout) -> Option<NonNull<u8>> {
    ARENA.lock().allocate_first_fit(layout).ok()
}

/// # Safety
///
/// The block is from [`alloc_from_arena`] with this layout, and the caller gives it up.
pub(super) unsafe fn dealloc_to_arena(block: NonNull<u8>, layout: Layout) {
    // SAFETY: As the caller promises.
    unsafe { ARENA.lock().deallocate(block, layout) };
}

/// Returns the bytes of the frames that a layout takes.
fn size_in_frames(layout: Layout) -> usize {
    // A layout is at most half of all addresses.
    layout.size().next_multiple_of(PAGE_SIZE)
}

fn alloc_frames(layout: Layout) -> Option<NonNull<u8>> {
    if cpu::is_brief() {
        return None;
    }
    free_late_ones();
    let frames = FrameAllocOptions::new()
        .zeroed(false)
        .align(layout.align().max(PAGE_SIZE))
        .alloc_segment_with(size_in_frames(layout) / PAGE_SIZE, |_| HeapFrame)
        .ok()?;
    NonNull::new(memory::paddr_to_vaddr(frames.into_raw().start) as *mut u8)
}

/// # Safety
///
/// The block is from [`alloc_frames`] for so many bytes, and the caller gives it up.
unsafe fn free_frames(block: NonNull<u8>, size: usize) {
    let start = block.addr().get() - LINEAR_MAP_BASE;
    // SAFETY: `alloc_frames` gave these references up.
    drop(unsafe { Segment::<HeapFrame>::from_raw(start..start + size) });
}

/// Frees what could not be freed when it was to be.
fn free_late_ones() {
    loop {
        let (block, size) = {
            let mut list = LATE.lock();
            let Some(block) = list.first else {
                return;
            };
            // SAFETY: What is in the list was written by `dealloc`, and is nobody's.
            let late = unsafe { block.read() };
            list.first = late.next;
            (block, late.size)
        };
        // SAFETY: The block was given up, and is in the list no more.
        unsafe { free_frames(block.cast(), size) };
    }
}

pub(super) fn used_bytes() -> usize {
    // Relaxed: a count.
    USED_BYTES.load(Ordering::Relaxed)
}

#[cfg(ktest)]
pub(super) fn is_locked() -> bool {
    ARENA.is_locked() || LATE.is_locked()
}
