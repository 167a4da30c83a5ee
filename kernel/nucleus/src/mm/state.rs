//! All state of the memory system: one value a machine, one a processor.
//!
//! On the bare machine these are statics. A simulated machine has its own, so
//! that many machines can live in one process and their tests run in parallel.
//! Both are found through [`arch`](crate::arch).

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use spin::Once;

use super::frame::allocator::{BuddyAllocator, FrameAllocator, FrameCache};
use super::kspace::{KernelPtConfig, KvirtAllocator};
use super::page_table::PageTable;
use super::tlb::held::{HeldBytes, HeldFrames};
use super::tlb::{FlushBuffers, FlushQueue, LocalTlb};
use super::vm_space::{ActiveSpace, FaultHandler};
use crate::cpu::PreemptState;
use crate::sync::rcu::RcuState;
use crate::sync::{HeldRanks, Rank, SpinLock};
use crate::trace::Ring;

/// What the processors of a machine share.
pub(crate) struct Memory {
    /// The pool of frames, unless another one is set.
    pub(crate) buddy: BuddyAllocator,
    /// The pool that stands in for it.
    pub(crate) pool: Once<&'static dyn FrameAllocator>,
    /// Frames that were ever given to the allocator, and start-up's nodes of the kernel's
    /// table, which would go to it.
    pub(crate) nr_managed: AtomicUsize,
    /// The number of the next list of frames.
    pub(crate) next_list_id: AtomicU32,
    /// The number of the last user's table.
    pub(crate) next_table: AtomicU64,
    /// Memory that waits for processors to forget it.
    pub(crate) held: HeldBytes,
    /// The kernel's page table.
    pub(crate) kernel_page_table: Once<PageTable<KernelPtConfig>>,
    /// Nodes of it that were made since start-up, and are still there.
    pub(crate) nr_kernel_nodes: AtomicUsize,
    /// Nodes of users' tables, besides roots.
    pub(crate) nr_user_nodes: AtomicUsize,
    /// The addresses of kernel virtual areas.
    pub(crate) kvirt: SpinLock<KvirtAllocator>,
    /// What handles page faults of spaces that have no handler of their own.
    pub(crate) fault_handler: Once<FaultHandler>,
}

impl Memory {
    pub(crate) const fn new() -> Self {
        Self {
            buddy: BuddyAllocator::new(),
            pool: Once::new(),
            nr_managed: AtomicUsize::new(0),
            next_list_id: AtomicU32::new(1),
            next_table: AtomicU64::new(0),
            held: HeldBytes::new(),
            kernel_page_table: Once::new(),
            nr_kernel_nodes: AtomicUsize::new(0),
            nr_user_nodes: AtomicUsize::new(0),
            kvirt: SpinLock::ranked(KvirtAllocator::new(), Rank::KernelAddresses),
            fault_handler: Once::new(),
        }
    }
}

impl Memory {
    /// Returns the number of nodes of page tables that were made since start-up and are
    /// still there, besides roots.
    pub(crate) fn nr_nodes(&self) -> usize {
        // Relaxed: counts.
        self.nr_kernel_nodes.load(Relaxed) + self.nr_user_nodes.load(Relaxed)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// What one processor has for itself. Others touch only what says so.
#[derive(Debug)]
pub(crate) struct CpuMemory {
    /// What keeps the processor's task from leaving it.
    pub(crate) preempt: PreemptState,
    /// The locks that the processor holds, where their order is checked.
    pub(crate) locks: HeldRanks,
    /// Free frames.
    pub(crate) frames: FrameCache,
    /// Read sections, which others look at, and what waits for those of others.
    pub(crate) rcu: RcuState,
    /// Flushes that others ask for.
    pub(crate) flushes: FlushQueue,
    /// Where a flusher collects what is to be flushed.
    pub(crate) flush_buffers: FlushBuffers,
    /// Frames that wait for others to flush.
    pub(crate) held: HeldFrames,
    /// What the processor knows of its TLB.
    pub(crate) tlb: LocalTlb,
    /// The user space that is loaded.
    pub(crate) active_space: ActiveSpace,
    /// What happened here last, which others read.
    pub(crate) events: Ring,
}

impl CpuMemory {
    pub(crate) const fn new() -> Self {
        Self {
            preempt: PreemptState::new(),
            locks: HeldRanks::new(),
            frames: FrameCache::new(),
            rcu: RcuState::new(),
            flushes: FlushQueue::new(),
            flush_buffers: FlushBuffers::new(),
            held: HeldFrames::new(),
            tlb: LocalTlb::new(),
            active_space: ActiveSpace::new(),
            events: Ring::new(),
        }
    }
}

impl CpuMemory {
    /// Makes room for what the processor will collect; on the processor itself, when
    /// there is a heap.
    pub(crate) fn init(&self) {
        self.flush_buffers.init();
        self.held.init();
    }
}

// SAFETY: Other processors touch only what is atomic or behind a lock: the
// counters of `rcu` and `frames`, the queue of `flushes`, `active_space` and `events`. The
// rest is used by its own processor alone, as each field's type says.
unsafe impl Sync for CpuMemory {}
