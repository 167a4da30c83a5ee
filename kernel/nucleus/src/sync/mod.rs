//! Mutual exclusion.
//!
//! There is one kind of lock so far, the [`SpinLock`], which keeps interrupts
//! off on its processor while it is held. **Lock order**: whoever needs two of
//! the nucleus' locks takes them in the order of this list.
//!
//! 1. the page-table lock of a user address space
//! 2. the kernel page table
//! 3. the heap
//! 4. the frame allocator
//! 5. the console
//!
//! A log message takes the console's lock, so it may be written under any of
//! the others. Nothing waits for anything but a lock while it holds one.

mod spin;

pub use self::spin::{SpinLock, SpinLockGuard};
pub use ::spin::Once;
