//! Backing the array of metadata slots with memory, at start-up.
//!
//! The array covers every frame below the end of RAM. Whatever covers RAM gets
//! memory of its own; whatever covers only holes is shared:
//!
//! ```text
//! level 3   [ own ][ own ][ void ][ void ][ own ]      64 TiB of frames a node
//! level 2     |             └──────┴── one node, all of whose entries lead to
//! level 1     |                        one node, all of whose entries lead to
//! page      slots                      one page of zeros, read only
//! ```

use core::ops::Range;

use super::early_alloc::EarlyAllocator;
use super::memory_map::MemoryMap;
use crate::arch::memory::{self, paddr_to_vaddr};
use crate::arch::paging::PageTableEntry;
use crate::error::Result;
use crate::mm::frame::meta::{MetaSlot, SLOT_SIZE};
use crate::mm::kspace::layout::META_BASE;
use crate::mm::page_table::boot::{Node, NodeSource, Tree};
use crate::mm::page_table::{PageTableEntryTrait, PtFlags};
use crate::mm::paging::{PagingConsts, page_size, pte_index};
use crate::mm::prop::{CachePolicy, PageFlags, PageProperty};
use crate::mm::{NR_ENTRIES, PAGE_SIZE, Paddr, PagingLevel};

/// The level of the entry that covers the whole array, 64 TiB of frames.
const TOP: PagingLevel = 4;

/// Returns how many bytes of frames an entry of a level covers by its slots.
const fn covered(level: PagingLevel) -> usize {
    page_size::<PagingConsts>(level) / SLOT_SIZE * PAGE_SIZE
}

struct Builder<'a, 'm> {
    map: &'a MemoryMap,
    early: &'a mut EarlyAllocator<'m>,
    max_paddr: Paddr,
    /// The shared entry for holes, by the level of the node that it stands in.
    void: [Option<PageTableEntry>; TOP as usize],
    slot_bytes: usize,
}

/// Maps the array into the kernel's tree, and initialises a slot for each frame:
/// RAM counts as reserved, everything else as no RAM. Returns the bytes
/// that the slots take.
///
/// # Errors
///
/// [`Error::NoMemory`](crate::Error::NoMemory).
pub(crate) fn build(tree: Tree, map: &MemoryMap, early: &mut EarlyAllocator<'_>) -> Result<usize> {
    let mut builder = Builder {
        map,
        early,
        max_paddr: map.end_of_ram() as Paddr,
        void: [None; TOP as usize],
        slot_bytes: 0,
    };
    let node = tree.node_for(META_BASE, TOP - 1, builder.early)?;
    builder.fill(
        node,
        TOP - 1,
        pte_index::<PagingConsts>(META_BASE, TOP - 1),
        0,
    )?;
    Ok(builder.slot_bytes)
}

/// Declares the array usable, once the tree that maps it is active.
pub(crate) fn publish(map: &MemoryMap) {
    memory::publish_max_paddr(map.end_of_ram() as Paddr);
}

impl Builder<'_, '_> {
    /// Fills a node whose entry `first` covers the frames from `start` on.
    fn fill(&mut self, node: Node, level: PagingLevel, first: usize, start: Paddr) -> Result<()> {
        for (position, index) in (first..NR_ENTRIES).enumerate() {
            let start = start + position * covered(level);
            if start >= self.max_paddr {
                break;
            }
            let entry = self.entry(level, start)?;
            node.write(index, entry);
        }
        Ok(())
    }

    /// Returns the entry of a node of `level` for the frames from `start` on.
    fn entry(&mut self, level: PagingLevel, start: Paddr) -> Result<PageTableEntry> {
        let frames = start..start + covered(level);
        let ram = self.ram_bytes(&frames);
        if ram == 0 {
            return self.void_entry(level);
        }
        let whole = level == 2 && ram == frames.len();
        if level == 1 || whole {
            let size = page_size::<PagingConsts>(level);
            if let Some(page) = self.early.alloc(size, size) {
                self.init_slots(page, &frames);
                return Ok(leaf(page, level, PageFlags::RW));
            }
            if level == 1 {
                return Err(crate::Error::NoMemory);
            }
        }
        let child = self.early.new_node()?;
        // SAFETY: The frame was just made a node.
        let node = unsafe { Node::from_paddr(child) };
        self.fill(node, level - 1, 0, start)?;
        Ok(PageTableEntry::new_pt(child, PtFlags::empty()))
    }

    /// Returns the shared entry for frames that are all absent.
    fn void_entry(&mut self, level: PagingLevel) -> Result<PageTableEntry> {
        if let Some(entry) = self.void[usize::from(level)] {
            return Ok(entry);
        }
        let page = self.early.new_node()?;
        let entry = if level == 1 {
            leaf(page, level, PageFlags::R)
        } else {
            let below = self.void_entry(level - 1)?;
            // SAFETY: The frame was just made a node.
            let node = unsafe { Node::from_paddr(page) };
            (0..NR_ENTRIES).for_each(|index| node.write(index, below));
            PageTableEntry::new_pt(page, PtFlags::empty())
        };
        self.void[usize::from(level)] = Some(entry);
        Ok(entry)
    }

    fn ram_bytes(&self, frames: &Range<Paddr>) -> usize {
        ram_within(self.map, frames).map(|range| range.len()).sum()
    }

    /// Zeroes memory for slots, and marks the frames that are RAM.
    fn init_slots(&mut self, page: Paddr, frames: &Range<Paddr>) {
        let bytes = frames.len() / PAGE_SIZE * SLOT_SIZE;
        let base = paddr_to_vaddr(page);
        // SAFETY: The early allocator just gave this memory away, and the
        // linear map holds it.
        unsafe { core::ptr::write_bytes(base as *mut u8, 0, bytes) };
        for range in ram_within(self.map, frames) {
            for paddr in range.step_by(PAGE_SIZE) {
                let offset = (paddr - frames.start) / PAGE_SIZE * SLOT_SIZE;
                // SAFETY: The offset is within the memory just zeroed, and all
                // zeros are a valid slot.
                let slot = unsafe { &*((base + offset) as *const MetaSlot) };
                slot.init_reserved();
            }
        }
        self.slot_bytes += bytes;
    }
}

/// Returns the parts of a range that are RAM.
fn ram_within(map: &MemoryMap, range: &Range<Paddr>) -> impl Iterator<Item = Range<Paddr>> {
    let (start, end) = (range.start, range.end);
    map.ram_regions()
        .map(move |ram| start.max(ram.start as Paddr)..end.min(ram.end as Paddr))
        .filter(|part| part.start < part.end)
}

fn leaf(page: Paddr, level: PagingLevel, flags: PageFlags) -> PageTableEntry {
    let prop = PageProperty::new_kernel(flags, CachePolicy::Writeback);
    PageTableEntry::new_page(page, level, prop)
}
