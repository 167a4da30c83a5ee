//! A storm of unmaps: may what waits for other processors exhaust memory?

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::{CpuId, disable_preempt, num_cpus};
use crate::mm::tlb::{MAX_HELD, held_back};
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, Vaddr, VmSpace,
};
use crate::prelude::*;
use crate::task::TaskOptions;

/// Pages of each unmap of a storm, a table full, and how many unmaps there are: all
/// of them together are more than the machine's memory.
const STORM_PAGES: usize = 512;
const STORM_UNMAPS: usize = 400;
const STORM_START: Vaddr = 1 << 39;

/// Has the space used on a processor until the storm is over.
fn use_until_over(space: &Arc<VmSpace>, is_over: &AtomicBool) {
    space.activate();
    // Relaxed: a hint.
    while !is_over.load(Ordering::Relaxed) {
        core::hint::spin_loop();
    }
}

#[ktest]
fn storm_of_unmaps_holds_a_bounded_part_of_memory_back() {
    let space = Arc::new(VmSpace::new().expect("enough memory"));
    let is_over = Arc::new(AtomicBool::new(false));
    let spawn = |cpu: usize| {
        let (space, is_over) = (Arc::clone(&space), Arc::clone(&is_over));
        let home = CpuId::new(cpu).into();
        let user = TaskOptions::new(move || use_until_over(&space, &is_over)).affinity(home);
        user.spawn().expect("enough memory")
    };
    let users: Vec<_> = (1..num_cpus()).map(spawn).collect();
    let range = STORM_START..STORM_START + STORM_PAGES * PAGE_SIZE;
    let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
    for _ in 0..STORM_UNMAPS {
        let guard = disable_preempt();
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        for _ in 0..STORM_PAGES {
            let frame = FrameAllocOptions::new().zeroed(false).alloc_frame();
            let frame = frame.expect("what waits is bounded");
            cursor
                .map(frame.into(), prop)
                .expect("what waits is bounded");
        }
        cursor.jump(range.start).expect("it is in the range");
        assert_eq!(cursor.unmap(range.len()), Ok(STORM_PAGES));
    }
    // Relaxed: as above.
    is_over.store(true, Ordering::Relaxed);
    users.iter().for_each(|user| user.join());
    // Of pages and of nodes, each with what one cursor may take out beyond it.
    let bound = 2 * (MAX_HELD + STORM_PAGES * PAGE_SIZE) * num_cpus();
    let worst = held_back().1;
    log::info!("held back at the worst moment: {worst} bytes");
    assert!(worst <= bound, "{worst} of {bound} bytes");
}
