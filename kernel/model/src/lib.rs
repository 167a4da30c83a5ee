//! What the memory core does, as small functions on plain values.
//!
//! This is the reference manual of Vostok's page tables, cursors, frames, TLBs and
//! user memory, in a form that runs. Nothing here is clever: a page table is a set of
//! mappings and a set of nodes, an operation is a function from one such value
//! to the next. No code is shared with the nucleus, so an error there cannot
//! cancel out here. The checkers run the real code beside these functions and
//! compare everything that can be seen, after every step.
//!
//! Where the contract leaves a choice, an operation returns *all* ends that are
//! allowed ([`Ends`]); the real code must come to one of them. A broken rule of
//! the caller is a [`Misuse`], which the real code answers by a panic, and bad
//! input a [`Refusal`], which it answers by an error; neither changes anything.
//!
//! * [`geometry`]: levels, entries, sizes.
//! * [`table`]: what is mapped, and by which nodes.
//! * [`cursor`]: opening a cursor, and what can be done with one.
//! * [`fork`]: copying what one table maps into another one.
//! * [`frame`]: the life of a frame and its reference count.
//! * [`tlb`]: what processors may still believe.
//! * [`access`]: reading and writing a user's memory.
//! * [`script`]: sequences of operations as text, to be kept and replayed.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod access;
pub mod cursor;
pub mod fork;
pub mod frame;
pub mod geometry;
pub mod script;
pub mod table;
pub mod tlb;

pub use self::cursor::{Cursor, Ends, Intent, Misuse, Refusal};
pub use self::geometry::{Geometry, Level};
pub use self::script::Op;
pub use self::table::{Leaf, Table};

/// A virtual or physical address, in bytes.
pub type Address = usize;

/// How something is mapped. What it means is no business of page tables, so it
/// is a number here.
pub type Property = u8;
