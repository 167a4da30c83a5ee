//! Making the kernel's tree at start-up, from the early allocator's memory.

use core::ops::Range;

use super::addresses;
use super::kvirt::KVirtArea;
use super::layout::{KERNEL_ROOT_INDEX, LINEAR_MAP_BASE};
use crate::arch::mmu;
use crate::arch::paging::PageTableEntry;
use crate::boot::early_alloc::EarlyAllocator;
use crate::boot::image::{self, Segment};
use crate::boot::memory_map::MemoryMap;
use crate::boot::metadata;
use crate::error::{Error, Result};
use crate::impl_frame_meta_for;
use crate::mm::frame::FrameAllocOptions;
use crate::mm::page_table::boot::{NodeSource, Tree};
use crate::mm::page_table::{PageTableEntryTrait, PtFlags};
use crate::mm::prop::{CachePolicy, PageFlags, PageProperty};
use crate::mm::{NR_ENTRIES, NR_LEVELS, PAGE_SIZE, Paddr, Vaddr, is_page_aligned};

/// Bytes of the stack on which start-up goes on.
const BOOT_STACK_SIZE: usize = 128 * 1024;

/// What must be mapped besides RAM and the image.
#[derive(Clone, Debug)]
pub(crate) struct Extras {
    /// Where the framebuffer is.
    pub(crate) framebuffer: Option<Range<Paddr>>,
    /// Where the loader put the initramfs in *its* address space.
    pub(crate) initramfs: Range<Vaddr>,
}

/// The kernel's tree, not active yet, and what start-up needs to go on in it.
#[derive(Debug)]
pub(crate) struct BootSpace {
    pub(crate) tree: Tree,
    /// The stack to go on, between guard pages.
    pub(crate) stack: Range<Vaddr>,
    pub(crate) framebuffer: Option<Vaddr>,
    pub(crate) initramfs: Range<Vaddr>,
    /// Bytes of metadata slots.
    pub(crate) metadata_bytes: usize,
}

/// Makes the kernel's tree: linear map, metadata, image, a stack, and `extras`.
///
/// `loader` is the loader's tree, which tells where the image's pages lie.
///
/// # Errors
///
/// [`Error::NoMemory`] on a machine with too little memory.
pub(crate) fn build(
    map: &MemoryMap,
    early: &mut EarlyAllocator<'_>,
    loader: Tree,
    extras: &Extras,
) -> Result<BootSpace> {
    let root = early.new_node()?;
    // SAFETY: The frame was just made a node, and is never taken down.
    let tree = unsafe { Tree::from_root(root) };
    for index in KERNEL_ROOT_INDEX..NR_ENTRIES {
        let child = early.new_node()?;
        tree.root()
            .write(index, PageTableEntry::new_pt(child, PtFlags::empty()));
    }
    map_ram(tree, map, early)?;
    let metadata_bytes = metadata::build(tree, map, early)?;
    for segment in image::segments() {
        map_segment(tree, &segment, loader, early)?;
    }
    let stack = reserve(BOOT_STACK_SIZE + PAGE_SIZE)?;
    for vaddr in (stack..stack + BOOT_STACK_SIZE).step_by(PAGE_SIZE) {
        let frame = early.new_node()?;
        map_page(tree, vaddr, frame, PageFlags::RW, early)?;
    }
    Ok(BootSpace {
        tree,
        stack: stack..stack + BOOT_STACK_SIZE,
        framebuffer: map_framebuffer(tree, extras.framebuffer.clone(), early)?,
        initramfs: map_initramfs(tree, &extras.initramfs, loader, early)?,
        metadata_bytes,
    })
}

/// Maps RAM, and only RAM: device memory must not be cached by accident. The frames
/// of the image's text and constants cannot be written here either: else the linear map
/// would be a way round what the image's own pages forbid.
fn map_ram(tree: Tree, map: &MemoryMap, early: &mut EarlyAllocator<'_>) -> Result<()> {
    let highest = mmu::highest_leaf_level();
    for (ram, is_writable) in map.ram_by_writability() {
        let flags = if is_writable {
            PageFlags::RW
        } else {
            PageFlags::R
        };
        let prop = PageProperty::new_kernel(flags, CachePolicy::Writeback);
        let start = ram.start as Paddr;
        let len = (ram.end - ram.start) as usize;
        tree.map_range(LINEAR_MAP_BASE + start, start, len, (prop, highest), early)?;
    }
    Ok(())
}

fn map_segment(
    tree: Tree,
    segment: &Segment,
    loader: Tree,
    early: &mut EarlyAllocator<'_>,
) -> Result<()> {
    for vaddr in segment.pages.clone().step_by(PAGE_SIZE) {
        let frame = loader.translate(vaddr).ok_or(Error::InvalidArgs)?;
        map_page(tree, vaddr, frame, segment.flags, early)?;
    }
    Ok(())
}

fn map_initramfs(
    tree: Tree,
    source: &Range<Vaddr>,
    loader: Tree,
    early: &mut EarlyAllocator<'_>,
) -> Result<Range<Vaddr>> {
    let offset = source.start % PAGE_SIZE;
    let len = (offset + source.len()).next_multiple_of(PAGE_SIZE);
    let area = reserve(len)?;
    for done in (0..len).step_by(PAGE_SIZE) {
        let from = source.start - offset + done;
        let frame = loader.translate(from).ok_or(Error::InvalidArgs)?;
        map_page(tree, area + done, frame, PageFlags::R, early)?;
    }
    Ok(area + offset..area + offset + source.len())
}

fn map_framebuffer(
    tree: Tree,
    framebuffer: Option<Range<Paddr>>,
    early: &mut EarlyAllocator<'_>,
) -> Result<Option<Vaddr>> {
    let Some(range) = framebuffer else {
        return Ok(None);
    };
    let offset = range.start % PAGE_SIZE;
    let start = range.start - offset;
    let len = (range.end - start).next_multiple_of(PAGE_SIZE);
    let area = reserve(len)?;
    let prop = PageProperty::new_kernel(PageFlags::RW, CachePolicy::WriteCombining);
    tree.map_range(area, start, len, (prop, 1), early)?;
    Ok(Some(area + offset))
}

/// Takes addresses for an area, with an unmapped page below it.
fn reserve(len: usize) -> Result<Vaddr> {
    assert!(is_page_aligned(len));
    Ok(addresses::take(PAGE_SIZE + len)?.start + PAGE_SIZE)
}

/// The type of a frame of the kernel's own memory.
#[derive(Debug)]
struct KernelMemory;

impl_frame_meta_for!(KernelMemory => "kernel-areas");

/// Maps fresh zeroed memory at an area of its own, for ever; returns where.
///
/// # Errors
///
/// [`Error::NoMemory`].
pub(crate) fn map_memory(len: usize) -> Result<Vaddr> {
    let frames =
        (0..len / PAGE_SIZE).map(|_| FrameAllocOptions::new().alloc_frame_with(KernelMemory));
    let prop = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback);
    let area = KVirtArea::map_new_frames(len + PAGE_SIZE, PAGE_SIZE, frames, prop)?;
    Ok(area.leak().start + PAGE_SIZE)
}

/// Puts a value into memory of its own, for ever.
///
/// # Errors
///
/// [`Error::NoMemory`].
pub(crate) fn new_static<T: 'static>(value: T) -> Result<&'static T> {
    const { assert!(align_of::<T>() <= PAGE_SIZE) };
    let place = map_memory(size_of::<T>().next_multiple_of(PAGE_SIZE))? as *mut T;
    // SAFETY: The memory was just mapped, is nobody else's and large enough.
    unsafe { place.write(value) };
    // SAFETY: It was just initialised, and stays for ever.
    Ok(unsafe { &*place })
}

fn map_page(
    tree: Tree,
    vaddr: Vaddr,
    frame: Paddr,
    flags: PageFlags,
    early: &mut EarlyAllocator<'_>,
) -> Result<()> {
    let prop = PageProperty::new_kernel(flags, CachePolicy::Writeback);
    tree.map_range(vaddr, frame, PAGE_SIZE, (prop, 1), early)
}

const _: () = assert!(
    NR_LEVELS == 4,
    "the root's children are the nodes of 512 GiB each"
);
