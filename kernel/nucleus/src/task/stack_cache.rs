//! Stacks at hand, for tasks that are made and end all the time.
//!
//! To make a stack takes addresses, frames and entries of the kernel's table, and to
//! free it a flush on every processor. A stack that stays mapped costs none of that: the
//! next task finds it as the last one left it. What it finds there is no secret to keep
//! from it: both are the kernel, which reads no memory that it has not written, and no
//! program ever sees a stack of the kernel's. The end of it, where a program's vector
//! registers are saved and copied from, is zeroed for each task.
//!
//! The cache is bounded, and for all processors: a stack is taken and brought once in
//! the life of a task, on whatever processor its parent and the reaper run.

use crate::error::Result;
use crate::mm::kspace::KernelStack;
use crate::sync::SpinLock;

/// Stacks that are kept at most.
const CAPACITY: usize = 32;

static CACHE: SpinLock<Cache> = SpinLock::new(Cache {
    stacks: [const { None }; CAPACITY],
    len: 0,
});

struct Cache {
    stacks: [Option<KernelStack>; CAPACITY],
    len: usize,
}

/// Returns a stack of this size, a used one if there is one; its contents are
/// anything.
///
/// # Errors
///
/// [`Error::NoMemory`](crate::Error::NoMemory).
///
/// # Panics
///
/// Panics when the size is not whole pages.
pub(super) fn take(size: usize) -> Result<KernelStack> {
    if size == KernelStack::DEFAULT_SIZE {
        let mut cache = CACHE.lock();
        if let Some(last) = cache.len.checked_sub(1) {
            cache.len = last;
            if let Some(stack) = cache.stacks[last].take() {
                return Ok(stack);
            }
        }
    }
    KernelStack::new(size)
}

/// Takes a stack back that nobody stands on any more.
pub(super) fn give(stack: KernelStack) {
    if stack.size() != KernelStack::DEFAULT_SIZE {
        return;
    }
    let mut cache = CACHE.lock();
    let len = cache.len;
    if len < CAPACITY {
        cache.stacks[len] = Some(stack);
        cache.len = len + 1;
        return;
    }
    drop(cache);
    // Without the lock, since it is unmapped.
    drop(stack);
}

/// Has some stacks at hand for a test, so that what it sees of the frame allocator is
/// its own doing.
#[cfg(ktest)]
pub(crate) fn prepare_test() {
    const STACKS: usize = 8;
    while CACHE.lock().len < STACKS
        && let Ok(stack) = KernelStack::new(KernelStack::DEFAULT_SIZE)
    {
        give(stack);
    }
}

/// Returns how many frames are in the stacks that are kept.
#[cfg(ktest)]
pub(crate) fn nr_frames() -> usize {
    CACHE.lock().len * (KernelStack::DEFAULT_SIZE / crate::mm::PAGE_SIZE)
}

#[cfg(ktest)]
mod tests {
    use alloc::vec::Vec;

    use super::{CACHE, CAPACITY, give, take};
    use crate::mm::PAGE_SIZE;
    use crate::mm::kspace::KernelStack;
    use crate::prelude::*;

    #[ktest]
    fn stack_that_was_given_back_is_the_next_one_to_be_taken() {
        let stack = take(KernelStack::DEFAULT_SIZE).expect("enough memory");
        let top = stack.top();
        give(stack);
        let again = take(KernelStack::DEFAULT_SIZE).expect("enough memory");
        assert_eq!(again.top(), top);
        give(again);
    }

    #[ktest]
    fn stacks_of_other_sizes_are_not_kept_and_those_that_are_are_bounded() {
        let other = take(KernelStack::DEFAULT_SIZE + PAGE_SIZE).expect("enough memory");
        let before = CACHE.lock().len;
        give(other);
        assert_eq!(CACHE.lock().len, before);
        let new = || KernelStack::new(KernelStack::DEFAULT_SIZE).expect("enough memory");
        let many: Vec<_> = (0..=CAPACITY).map(|_| new()).collect();
        many.into_iter().for_each(give);
        assert_eq!(CACHE.lock().len, CAPACITY);
    }
}
