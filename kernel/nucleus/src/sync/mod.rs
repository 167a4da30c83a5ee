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
//! 9. the serial port
//!
//! A log message takes the last two, so it may be written under any of the
//! others. The tables of the processor and of the interrupt controllers have
//! locks that are taken by themselves.
//!
//! **Waiting for other processors' flushes** is no lock, and goes by a rule of its
//! own: it may be done under locks of nodes, since whoever waits for a node or for
//! a flush serves the queue of its own processor meanwhile (`cpu::relax`), but never
//! under a [`SpinLock`], whose other takers have interrupts off and serve nothing.

pub mod atomic;
pub(crate) mod byte_lock;
mod mutex;
pub(crate) mod rcu;
mod section;
mod spin;
mod wait;

pub use self::mutex::{Mutex, MutexGuard};
pub use self::spin::{SpinLock, SpinLockGuard};
pub use self::wait::WaitQueue;
pub use ::spin::Once;
