//! The checkers: they run the nucleus beside its specification, and try to break
//! it. `cargo xtask verify` calls them.
//!
//! * [`pair`]: a real page table beside the [`model`], compared after each step.
//! * [`random`]: long random scripts, shrunk when the two disagree.
//! * [`exhaustive`]: every state of a tiny table, under every operation.
//! * [`faults`]: every allocation of every operation fails once.
//! * [`frames`]: the lives of frames.
//! * [`spaces`]: address spaces and TLBs, on several processors.
//! * [`access`]: readers and writers of user memory.
//! * [`planted`]: bugs on purpose, each of which a checker has to find.
//! * [`search`]: searching random scripts for one that shows a bug.
//! * [`script`]: running scripts, and those that are kept.
//! * [`report`]: the lines in which they say what they found.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod access;
mod copies;
pub mod exhaustive;
pub mod faults;
pub mod frames;
pub mod pair;
pub mod planted;
pub mod random;
pub mod report;
pub mod script;
pub mod search;
mod sharing;
pub mod spaces;

/// How much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For each change: some tens of seconds.
    Short,
    /// By hand: minutes.
    Deep,
}
