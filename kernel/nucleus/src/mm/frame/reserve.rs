//! When memory is short: what is kept for the kernel, and frames that others have.
//!
//! **The reserve** is a number of frames in the pool. Allocations *for users*
//! ([`FrameAllocOptions::for_user`](super::FrameAllocOptions::for_user)) fail when no
//! more than these are left, so that the kernel goes on: what it needs to run, and to
//! end programs with, it still gets. Nodes of users' tables are allocated for users;
//! but a huge page is split on the reserve, so that memory can be given back then. A
//! system call that has the kernel make objects for a program asks first
//! ([`ensure_reserve`]).
//!
//! While more is left, nobody looks at the reserve but who fills a cache. Once the pool
//! is *low*, the caches fill no more than frame by frame, and users' allocations go past
//! them to the pool.
//!
//! **Frames of other processors**: before an allocation fails, the other processors are
//! asked to give back what their caches hold, by the interrupt that has them flush. That
//! is waited for a while, and not at all with interrupts off: who holds a spin lock must
//! not wait for others. So an allocation with interrupts off may fail although other
//! caches hold frames. Those side by side are not looked for there either.

use super::allocator::{drain_local_cache, fill_and_alloc, frame_counts};
use super::meta::MetaSlot;
use crate::arch::{cpu, memory};
use crate::cpu::{CpuSet, InAtomicMode, disable_preempt, num_cpus};
use crate::error::{Error, Result};
use crate::irq;
use crate::mm::PAGE_SIZE;

/// How large a part of memory is kept for the kernel, and how many frames at least and
/// at most.
const PART: usize = 64;
const LEAST: usize = 128;
const MOST: usize = 4096;

/// Keeps a part of all memory for the kernel.
pub(crate) fn keep_usual_reserve() {
    let managed = frame_counts().managed;
    set_reserve((managed / PART).clamp(LEAST, MOST));
}

/// Keeps so many frames for the kernel, in place of those that were kept so far.
pub fn set_reserve(frames: usize) {
    memory::memory().buddy.set_reserve(frames);
}

/// Returns how many frames are kept for the kernel.
pub fn reserve() -> usize {
    memory::memory().buddy.reserve()
}

/// Returns whether more than the reserve is free, so that the kernel may make objects
/// for a user.
pub fn has_reserve() -> bool {
    !memory::memory().buddy.is_low() || frame_counts().free > reserve()
}

/// Makes sure that more than the reserve is free.
///
/// # Errors
///
/// [`Error::NoMemory`].
pub fn ensure_reserve() -> Result<()> {
    has_reserve().then_some(()).ok_or(Error::NoMemory)
}

/// Takes a frame where the processor's cache and the pool have none for the asker: from
/// what other caches hold.
#[cold]
#[inline(never)]
pub(super) fn alloc_scarce(for_user: bool) -> Option<&'static MetaSlot> {
    let alloc = || {
        if for_user && memory::memory().pool.get().is_none() {
            drain_local_cache();
            return memory::memory().buddy.alloc_above_reserve();
        }
        fill_and_alloc(for_user)
    };
    if for_user && let Some(frame) = alloc() {
        return Some(frame);
    }
    collect_from_others().then(alloc)?
}

/// How often others are interrupted, and how often one looks for their answers each
/// time. A processor of a virtual machine may stand still for long while its host runs
/// others; and one that waits for what the asker has locked does not answer at all.
const ROUNDS: usize = 500;
const LOOKS: usize = 2000;

/// Has the other processors give back the frames in their caches. Returns whether any had
/// some, or it took too long to find out.
fn collect_from_others() -> bool {
    if num_cpus() == 1 || !irq::is_enabled() {
        return false;
    }
    let guard = disable_preempt();
    let mut silent = others_with_frames(&guard);
    let has_some = !silent.is_empty();
    silent.iter().for_each(|cpu| cpu::of(cpu).frames.want());
    for _ in 0..ROUNDS {
        silent.iter().for_each(cpu::interrupt_to_flush);
        for _ in 0..LOOKS {
            for cpu in silent.iter() {
                if !cpu::of(cpu).frames.is_wanted() {
                    silent.remove(cpu);
                }
            }
            if silent.is_empty() {
                return has_some;
            }
            cpu::relax();
        }
    }
    has_some
}

/// Returns the other processors whose caches hold frames.
fn others_with_frames(_stays_here: &dyn InAtomicMode) -> CpuSet {
    let mut others = CpuSet::new_full();
    others.remove(cpu::current_id());
    for cpu in others.iter() {
        if cpu::of(cpu).frames.nr_free() == 0 {
            others.remove(cpu);
        }
    }
    others
}

/// Gives back what this processor's cache holds, if another one wants it: in the handler
/// of the interrupt that asks for it. If it has interrupted the cache's use, the asker
/// will ask again.
pub(crate) fn serve() {
    let frames = &cpu::local().frames;
    if frames.is_wanted() && !cpu::is_brief() {
        drain_local_cache();
        frames.answer();
    }
}

/// What memory there is, and what it is used for. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCounts {
    /// Memory that is given out: RAM but for the kernel's image and metadata.
    pub total: usize,
    /// Memory that can be allocated, in the pool and in all processors' caches; the
    /// reserve is a part of it.
    pub free: usize,
    /// What is kept for the kernel.
    pub reserve: usize,
    /// Nodes of page tables below their roots: of users, and those of the kernel that
    /// were made since start-up.
    pub page_tables: usize,
    /// Memory that is nobody's any more, and waits for processors to forget it.
    pub held: usize,
}

/// Returns what memory there is, and what it is used for.
///
/// Each number is exact when nobody allocates or frees meanwhile.
pub fn memory_counts() -> MemoryCounts {
    let (memory, frames) = (memory::memory(), frame_counts());
    MemoryCounts {
        total: frames.managed * PAGE_SIZE,
        free: frames.free * PAGE_SIZE,
        reserve: reserve() * PAGE_SIZE,
        page_tables: memory.nr_nodes() * PAGE_SIZE,
        held: crate::mm::tlb::held_back().0,
    }
}
