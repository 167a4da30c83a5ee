//! Kernel virtual areas, and the live kernel tree.
//!
//! Addresses are given out upwards and not reused: all that lives here so far,
//! stacks and the heap, lives as long as the machine.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::layout::{KERNEL_ROOT_INDEX, KVIRT_RANGE};
use crate::arch::paging::PageTableEntry;
use crate::arch::x86_64::mmu;
use crate::error::{Error, Result};
use crate::mm::frame::KernelFrame;
use crate::mm::page_table::{Node, NodeSource, Tree};
use crate::mm::prop::{CachePolicy, PageFlags, PageProperty};
use crate::mm::{NR_ENTRIES, PAGE_SIZE, Paddr, Vaddr, is_page_aligned, pte_index};
use crate::sync::SpinLock;

static NEXT_AREA: AtomicUsize = AtomicUsize::new(KVIRT_RANGE.start);
static KERNEL_TREE: SpinLock<Option<Tree>> = SpinLock::new(None);

/// Nodes from the frame allocator.
pub(crate) struct AllocatedNodes;

impl NodeSource for AllocatedNodes {
    fn new_node(&mut self) -> Result<Paddr> {
        KernelFrame::new_node().map(KernelFrame::into_raw)
    }
}

/// Reserves an area of the kernel's addresses, with an unmapped page below it.
///
/// # Errors
///
/// [`Error::NoMemory`] when the range of such areas is used up.
pub(super) fn reserve(len: usize) -> Result<Vaddr> {
    assert!(is_page_aligned(len));
    let take = |next: Vaddr| {
        next.checked_add(PAGE_SIZE)?
            .checked_add(len)
            .filter(|end| *end <= KVIRT_RANGE.end)
    };
    // Relaxed: areas are disjoint by the counter alone.
    let previous = NEXT_AREA
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .map_err(|_| Error::NoMemory)?;
    Ok(previous + PAGE_SIZE)
}

/// Returns whether the tree's lock is held, by whomever.
#[cfg(ktest)]
pub(crate) fn is_locked() -> bool {
    KERNEL_TREE.is_locked()
}

/// Makes a tree the one that this module changes. It is or will soon be active,
/// and is never taken down.
pub(crate) fn adopt(tree: Tree) {
    *KERNEL_TREE.lock() = Some(tree);
}

/// Makes the kernel's tree active, for a processor that leaves a user space.
pub(crate) fn activate_kernel_only() {
    let tree = KERNEL_TREE.lock().expect("start-up made the kernel's tree");
    // SAFETY: The kernel's tree is never taken down and maps the kernel.
    unsafe { mmu::activate(tree.root_paddr()) };
}

/// Copies the kernel's 256 entries into the root of a user space.
pub(crate) fn copy_top_half(root: Node) {
    let tree = KERNEL_TREE.lock().expect("start-up made the kernel's tree");
    for index in KERNEL_ROOT_INDEX..NR_ENTRIES {
        root.write(index, tree.root().read(index));
    }
}

/// Maps fresh zeroed memory at an area of its own; returns where.
///
/// The memory stays the kernel's for ever.
///
/// # Errors
///
/// [`Error::NoMemory`]; what was mapped before stays the kernel's.
pub(crate) fn map_memory(len: usize) -> Result<Vaddr> {
    let area = reserve(len)?;
    let tree = KERNEL_TREE.lock();
    let tree = tree.expect("start-up made the kernel's tree");
    for vaddr in (area..area + len).step_by(PAGE_SIZE) {
        let node = tree.node_for(vaddr, 1, false, &mut AllocatedNodes)?;
        let frame = KernelFrame::new_memory()?.into_raw();
        let prop = PageProperty::new_kernel(PageFlags::RW, CachePolicy::Writeback);
        let entry = PageTableEntry::new_leaf(frame, 1, prop);
        node.write(pte_index(vaddr, 1), entry);
    }
    Ok(area)
}

/// A stack of the kernel, with an unmapped page below it: an overflow faults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelStack {
    #[cfg(ktest)]
    bottom: Vaddr,
    top: Vaddr,
}

impl KernelStack {
    /// Bytes of a stack, unless somebody knows better.
    pub(crate) const DEFAULT_SIZE: usize = 64 * 1024;

    /// Allocates a stack that lives as long as the machine.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub(crate) fn new(size: usize) -> Result<Self> {
        let bottom = map_memory(size)?;
        Ok(Self {
            #[cfg(ktest)]
            bottom,
            top: bottom + size,
        })
    }

    /// Returns the address that the first push goes below.
    pub(crate) fn top(&self) -> Vaddr {
        self.top
    }

    /// Returns the address below which the guard page lies.
    #[cfg(ktest)]
    pub(crate) fn bottom(&self) -> Vaddr {
        self.bottom
    }
}

/// Returns how the kernel's tree maps an address.
#[cfg(ktest)]
pub(crate) fn property_at(vaddr: Vaddr) -> Option<PageProperty> {
    use crate::arch::paging::PteState;
    let tree = KERNEL_TREE.lock().expect("start-up made the kernel's tree");
    match tree.walk(vaddr).state {
        PteState::Leaf(_, prop) => Some(prop),
        PteState::Absent | PteState::Table(_) => None,
    }
}
