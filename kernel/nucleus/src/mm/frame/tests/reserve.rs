//! Does the kernel keep what it needs, and is all memory found?

use super::{Frame, FrameAllocOptions, Hog, frame_counts};
use crate::cpu::disable_preempt;
use crate::mm::frame::{
    ensure_reserve, has_reserve, memory_counts, reserve as frames_kept, set_reserve,
};
use crate::mm::{CachePolicy, PAGE_SIZE, PageFlags, PageProperty, USegment, VmSpace};
use crate::prelude::*;

const M2: usize = 2 << 20;
const BASE: Vaddr = 0x40_0000;

/// Keeps so many frames for the kernel, and as many as before in the end.
struct Kept(usize);

impl Kept {
    fn new(frames: usize) -> Self {
        #[cfg(ktest)]
        if crate::cpu::num_cpus() > 1 {
            crate::ktest::skip("other processors have frames in their caches");
        }
        let before = frames_kept();
        set_reserve(frames);
        Self(before)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        set_reserve(self.0);
    }
}

fn alloc(for_user: bool) -> Result<Frame<()>> {
    let mut options = FrameAllocOptions::new();
    options.zeroed(false).for_user(for_user).alloc_frame()
}

#[ktest]
fn choice_l27_users_get_all_but_the_reserve_and_the_kernel_the_rest() {
    let _kept = Kept::new(300);
    let mut users = Hog::until_refused(true);
    assert_eq!(frame_counts().free, 300);
    assert!(!has_reserve());
    assert_eq!(ensure_reserve(), Err(Error::NoMemory));
    let segment = FrameAllocOptions::new().for_user(true).alloc_segment(1);
    assert_eq!(segment.err(), Some(Error::NoMemory));
    // What the kernel takes and gives back does not become a user's.
    let kernels = alloc(false).expect("it has a reserve");
    assert_eq!(alloc(true).err(), Some(Error::NoMemory));
    drop(kernels);
    assert_eq!(alloc(true).err(), Some(Error::NoMemory));
    // What a user gives back does.
    assert!(users.give_back_one().is_some());
    assert!(has_reserve());
    let again = alloc(true).expect("one was given back");
    assert_eq!(alloc(true).err(), Some(Error::NoMemory));
    assert!(!has_reserve());
    drop(again);
    let rest = Hog::until_refused(false);
    assert_eq!(frame_counts().free, 0);
    drop(rest);
    drop(users);
    assert!(has_reserve() && ensure_reserve().is_ok());
}

#[ktest]
fn users_segments_leave_the_reserve_alone() {
    let all = frame_counts().free;
    let _kept = Kept::new(all - 100);
    let mut options = FrameAllocOptions::new();
    options.zeroed(false).for_user(true);
    assert!(options.alloc_segment(50).is_ok());
    let refused = options.alloc_segment(101);
    assert_eq!(refused.err(), Some(Error::NoMemory));
    assert!(options.for_user(false).alloc_segment(101).is_ok());
}

#[ktest]
fn choice_l27_users_tables_are_a_users_memory_but_for_splitting() {
    let _kept = Kept::new(300);
    let space = VmSpace::new().expect("enough memory");
    let frames = FrameAllocOptions::new()
        .zeroed(false)
        .align(M2)
        .alloc_segment(512);
    let frames: USegment = frames.expect("enough memory").into();
    let prop = PageProperty::new_user(PageFlags::R, CachePolicy::Writeback);
    let guard = disable_preempt();
    let mut cursor = space
        .cursor_mut(&guard, &(BASE..BASE + 2 * M2))
        .expect("a legal range");
    cursor.map_segment(frames, prop).expect("enough memory");
    let users = Hog::until_refused(true);
    let page = alloc(false).expect("it has a reserve");
    assert_eq!(cursor.map(page.into(), prop), Err(Error::NoMemory));
    assert_eq!(VmSpace::new().err(), Some(Error::NoMemory));
    cursor.jump(BASE).expect("in the range");
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1), "memory can be given back");
    drop(users);
    drop(cursor);
}

#[ktest]
fn memory_is_counted_by_what_it_is_used_for() {
    let _kept = Kept::new(200);
    let before = memory_counts();
    assert_eq!(before.reserve, 200 * PAGE_SIZE);
    assert_eq!(before.free, frame_counts().free * PAGE_SIZE);
    let space = VmSpace::new().expect("enough memory");
    let guard = disable_preempt();
    let range = BASE..BASE + PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    let frame = alloc(true).expect("enough memory");
    let prop = PageProperty::new_user(PageFlags::R, CachePolicy::Writeback);
    cursor.map(frame.into(), prop).expect("enough memory");
    drop(cursor);
    let now = memory_counts();
    assert_eq!(now.page_tables - before.page_tables, 3 * PAGE_SIZE);
    // The nodes, their root, and the page.
    assert_eq!(before.free - now.free, 5 * PAGE_SIZE);
    assert_eq!(now.total, before.total);
    drop(guard);
    drop(space);
    let after = memory_counts();
    assert_eq!(after.page_tables, before.page_tables);
    assert_eq!(after.free + after.held, before.free + before.held);
}

#[cfg(test)]
mod host {
    use super::{Hog, alloc, frame_counts};
    use crate::arch::memory;
    use crate::arch::sim::{Config, Machine};
    use crate::irq;
    use crate::mm::PAGE_SIZE;
    use crate::mm::frame::allocator::deputy::Deputy;
    use crate::mm::frame::set_reserve;

    fn machine() -> Machine {
        Machine::new(Config {
            cpus: 3,
            ..Config::default()
        })
    }

    /// Leaves frames in the caches of two processors.
    fn use_others(machine: &Machine) {
        for cpu in [1, 2] {
            machine.on(cpu, || drop(alloc(false).expect("enough memory")));
        }
    }

    #[test]
    fn choice_l28_frames_in_the_caches_of_other_processors_are_found() {
        let machine = machine();
        for for_user in [false, true] {
            use_others(&machine);
            machine.on(0, || {
                let hog = Hog::until_refused(for_user);
                assert_eq!(frame_counts().free, 0);
                drop(hog);
            });
        }
    }

    #[test]
    fn nobody_is_waited_for_with_interrupts_off() {
        let machine = machine();
        use_others(&machine);
        machine.on(0, || {
            let irq_off = irq::disable_local();
            let hog = Hog::until_refused(false);
            assert_ne!(frame_counts().free, 0);
            drop(hog);
            drop(irq_off);
        });
    }

    #[test]
    fn processor_that_takes_no_interrupts_is_given_up() {
        let machine = machine();
        use_others(&machine);
        let irq_off = machine.on(1, irq::disable_local);
        machine.on(0, || {
            let hog = Hog::until_refused(false);
            assert_eq!(frame_counts().free, 64, "those of one");
            drop(hog);
        });
        machine.on(1, || drop(irq_off));
    }

    #[test]
    fn pool_of_somebody_else_has_a_reserve() {
        Machine::default().on(0, || {
            memory::memory().pool.call_once(|| &Deputy);
            set_reserve(20);
            let hog = Hog::until_refused(true);
            assert_eq!(frame_counts().free, 20);
            drop((alloc(false).expect("it has a reserve"), hog));
        });
    }

    #[test]
    fn contiguous_frames_of_a_pool_of_somebody_else_leave_the_reserve() {
        Machine::default().on(0, || {
            memory::memory().pool.call_once(|| &Deputy);
            set_reserve(frame_counts().free - 10);
            let mut options = crate::mm::FrameAllocOptions::new();
            options.for_user(true);
            assert!(options.alloc_segment(11).is_err());
            assert_eq!(
                options.alloc_segment(10).map(|it| it.size()),
                Ok(10 * PAGE_SIZE)
            );
        });
    }
}
