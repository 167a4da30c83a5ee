//! Looking at page tables from outside: what the hardware would find.
//!
//! Cursors and [`PageTable`](super::page_table::PageTable) see a table as the kernel means
//! it. Here the live entries are read as the processor reads them, from a root's physical
//! address on, with a decoder of its own (`arch::raw_entry`).
//!
//! * `walk`: reads all entries of a part of a table, parents first, by ascending address.
//! * `rights`: may anything be written *and* executed, in whatever way?
//! * [`listing`]: a table as people read it, equal neighbours folded.
//!
//! **Locks and context.** None takes a lock, and all may be called anywhere, in handlers
//! of interrupts too: a read section (`sync::rcu`) keeps nodes that are cut off
//! meanwhile, and an entry that leads to what is no memory is not followed. What changes
//! while it is looked at is seen as it was before, or as it is after.
//!
//! The caller keeps the root: it is the kernel's, or that of a space that is borrowed.

pub mod listing;
pub(crate) mod rights;
mod walk;

#[cfg(test)]
mod tests;
