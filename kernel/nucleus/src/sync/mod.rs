//! Mutual exclusion, and waiting for readers.
//!
//! The [`SpinLock`] keeps interrupts off on its processor while it is held; each
//! node of a page table has a lock of one byte of its own; `rcu` lets page
//! tables be walked without either. **Lock order**: whoever needs two of the
//! nucleus' locks takes them in the order of this list.
//!
//! 1. nodes of a user's page table: ancestors first, then by address
//! 2. nodes of the kernel's page table, likewise
//! 3. a processor's active space; the list of a space's device memory
//! 4. the addresses of kernel virtual areas
//! 5. a processor's queue of flushes
//! 6. the heap
//! 7. the pool of frames
//! 8. the console
//!
//! A log message takes the console's lock, so it may be written under any of
//! the others. Nothing waits for anything but a lock while it holds one; in
//! particular, nobody waits for another processor's flush.

pub mod atomic;
pub(crate) mod byte_lock;
pub(crate) mod rcu;
mod section;
mod spin;

pub use self::spin::{SpinLock, SpinLockGuard};
pub use ::spin::Once;
