//! Tests that end badly on purpose, to show that the runner tells how and that
//! the others still run. They are selected only by a filter that names this
//! module; `xtask` knows what each verdict has to be.

use core::hint::{black_box, spin_loop};
use core::mem;
use core::ptr;

use crate::arch::memory;
use crate::impl_frame_meta_for;
use crate::irq;
use crate::mm::FrameAllocOptions;
use crate::prelude::*;
use crate::sync::WaitQueue;
use crate::task::TaskOptions;

#[ktest]
fn passes() {}

#[ktest]
fn panics() {
    panic!("on purpose");
}

#[ktest]
#[should_panic(expected = "on purpose")]
fn panics_as_it_should() {
    panic!("on purpose");
}

#[ktest]
#[should_panic]
fn does_not_panic() {}

#[ktest]
fn faults() {
    // SAFETY: Not sound, which is the point: page 0 is never mapped, so that the
    // processor refuses, and the test ends.
    black_box(unsafe { ptr::read_volatile(black_box(8 as *const u8)) });
}

#[ktest]
fn claim_162_kernel_fault_outside_of_user_space_ends_it() {
    let nowhere = crate::mm::kspace::layout::KVIRT_RANGE.end - 8;
    // SAFETY: Not sound, which is the point: the last address of the areas is
    // never used, so that the processor refuses, and the test ends.
    black_box(unsafe { ptr::read_volatile(black_box(nowhere as *const u8)) });
}

#[ktest]
fn overflows_its_stack() {
    #[expect(unconditional_recursion, reason = "it is to overflow the stack")]
    #[inline(never)]
    fn recurse(depth: u64) -> u64 {
        let padding = black_box([depth; 64]);
        recurse(depth + 1) + padding[0]
    }
    black_box(recurse(0));
}

#[ktest]
fn hangs() {
    loop {
        spin_loop();
    }
}

#[ktest]
fn hangs_without_interrupts() {
    let _irq_off = irq::disable_local();
    loop {
        spin_loop();
    }
}

#[ktest]
fn dies_with_a_lock_held() {
    memory::memory()
        .buddy
        .with_lock_held(|| panic!("on purpose"));
}

#[ktest]
fn leaks() {
    mem::forget(
        FrameAllocOptions::new()
            .alloc_frame()
            .expect("enough memory"),
    );
}

/// The type of a frame that nobody but the test below has.
#[derive(Debug)]
struct Lost;

impl_frame_meta_for!(Lost => "deliberately-lost");

#[ktest]
fn loses_frames_of_a_kind_of_their_own() {
    let mut options = FrameAllocOptions::new();
    let frames = options.zeroed(false).alloc_segment_with(3, |_| Lost);
    mem::forget(frames.expect("enough memory"));
}

#[ktest]
fn leaves_a_task_behind() {
    let spins = || {
        loop {
            spin_loop();
        }
    };
    TaskOptions::new(spins).spawn().expect("enough memory");
}

#[ktest]
fn times_out_asleep() {
    WaitQueue::new().wait_until(|| None::<()>);
}

#[ktest]
fn skips() {
    super::skip("on purpose")
}
