//! The simulated machine: the nucleus on a host.
//!
//! A [`Machine`] has physical memory, processors with TLBs, and a checker that is
//! always on. The very code that boots runs on it: its page tables are walked by
//! a page walker with a decoder of its own, its flushes empty the TLBs, its
//! interrupts arrive at yield points. A thread is a processor while it runs in
//! [`Machine::on`]; one thread may play several processors in turn, which makes
//! every interleaving of whole operations a plain, repeatable test.
//!
//! **The TLBs are adversarial.** A real one may cache any translation that was
//! reachable since it was last flushed, or cache nothing. These do the worst:
//! when an entry changes that a processor could have used, the old translation
//! *is* in its TLB, until a flush that the architecture says removes it. So a
//! flush that is missing, too early, or for the wrong address shows at once.
//!
//! **What the checker fails on**: a frame that is given back while a processor
//! can reach it by a cached translation or as a node; an entry that is written
//! without its node's lock; frames that are missing in the end.
//!
//! What is not simulated: caches and their policies, the order in which other
//! processors see plain stores (the host's own order is what threads get),
//! segmentation, and instruction fetches.

mod checker;
pub(crate) mod cpu;
mod host_memory;
pub mod interleave;
pub(crate) mod irq;
mod machine;
pub(crate) mod memory;
pub(crate) mod mmu;
pub(crate) mod serial;
mod tlb;
pub(crate) mod uaccess;
mod walker;
pub(crate) mod watch;

pub use self::machine::{Config, Machine};
