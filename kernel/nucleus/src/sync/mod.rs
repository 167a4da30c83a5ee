//! Mutual exclusion, and waiting for readers.
//!
//! The [`SpinLock`] keeps interrupts off on its processor while it is held; the
//! [`Mutex`], the [`RwMutex`] and the [`WaitQueue`] have tasks sleep; each
//! node of a page table has a lock of one byte of its own; `rcu` lets page
//! tables be walked without either. **Lock order**: whoever needs two of the
//! nucleus' locks takes them in the order of this list.
//!
//! 1. nodes of a user's page table: ancestors first, then by address
//! 2. nodes of the kernel's page table, likewise
//! 3. a processor's active space; the list of a space's device memory
//! 4. the addresses of kernel virtual areas
//! 5. a processor's queue of flushes
//! 6. tasks that wait for something
//! 7. tasks that a processor wakes at some time
//! 8. tasks that are over, and then a processor's ready tasks
//! 9. the heap
//! 10. the pool of frames
//! 11. what was typed on the console
//! 12. the console
//! 13. the serial port
//!
//! A log message takes the last two, so it may be written under any of the
//! others. The tables of the processor and of the interrupt controllers have
//! locks that are taken by themselves. Where assertions are on, the order of the spin
//! locks among them is checked, too.
//!
//! A [`Mutex`] or [`RwMutex`] is taken by tasks alone, in no atomic mode, and so before
//! all of these.
//!
//! **Waiting for other processors' flushes** is no lock, and goes by a rule of its
//! own: it may be done under locks of nodes, since whoever waits for a node or for
//! a flush serves the queue of its own processor meanwhile (`cpu::relax`), but never
//! under a [`SpinLock`], whose other takers have interrupts off and serve nothing.

pub mod atomic;
pub(crate) mod byte_lock;
mod mutex;
mod rank;
pub(crate) mod rcu;
mod rw_mutex;
mod section;
mod spin;
mod wait;

pub use self::mutex::{Mutex, MutexGuard};
pub(crate) use self::rank::{HeldRanks, Rank};
pub use self::rw_mutex::{RwMutex, RwMutexReadGuard, RwMutexWriteGuard};
pub use self::spin::{SpinLock, SpinLockGuard};
pub use self::wait::WaitQueue;
pub use ::spin::Once;
