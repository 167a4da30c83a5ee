//! The simulated machine: the nucleus on a host.
//!
//! A [`Machine`] has physical memory, processors with TLBs, and a checker that is
//! on unless a benchmark switches it off. The very code that boots runs on it: its page tables are walked by
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
//! Translations are cached under identifiers of address spaces (PCID), unless a test
//! makes a machine without. What was cached under one stays there while another is
//! in use, and changes with its table as if the root were loaded.
//!
//! **What the checker fails on**: a frame that is given back while a processor
//! can reach it by a cached translation, or by cached knowledge of a node, or has it
//! as its root (entries that still stand in the tables are the model's business);
//! an identifier loaded without a flush that has anything cached that leads to a frame
//! that was given back, or by another root; a lazy processor that accesses user
//! memory, or that stops being lazy with such a thing cached. While it is lazy it may
//! keep translations of frames that are gone, but not nodes, since it may walk;
//! an entry that is written while nobody holds its node's lock (whether it is the
//! writer who does is not checked); frames, locks, sections and guards that are left
//! over in the end.
//!
//! **What is not simulated**: accesses to kernel memory, which go to the host's
//! memory and past tables and TLBs (but for the tests' `read_kernel_word`); caches
//! and their policies; the order in which other processors see stores (the host's
//! own order is what threads get); segmentation; instruction fetches, so that the
//! right to execute is not checked; protection keys. Interrupts arrive at yield points
//! alone, of which there are few. Whoever waits with interrupts off by other means than
//! `cpu::relax` and locks serves no flushes. Nothing runs between two instructions of
//! an operation but what other threads do, by chance.

mod checker;
pub(crate) mod cpu;
mod host_memory;
pub mod interleave;
pub(crate) mod irq;
pub(crate) mod keyboard;
mod machine;
pub(crate) mod memory;
pub(crate) mod mmu;
pub(crate) mod pages;
pub(crate) mod serial;
pub(crate) mod tasks;
pub(crate) mod timer;
mod tlb;
pub(crate) mod uaccess;
mod walker;
pub(crate) mod watch;

pub use self::machine::{Config, Machine};
