//! Fuzzing: bytes become operation scripts, allocator scripts, memory maps,
//! programs and archives, and whatever they are, no promise may break.
//!
//! Each of the [`targets`] is a function of a byte string that panics on a broken
//! promise. Two engines call them:
//!
//! * the binary `fuzz`, which needs nothing but stable Rust, and which CI runs:
//!   it replays `corpus/` and `crashes/`, and then mutates the corpus, a fixed
//!   number of times and from a fixed seed, so that a run can be repeated;
//! * the binary `guided`, libFuzzer, which follows the code's coverage. It made
//!   the corpus, and is run by hand to make more of it. It needs a C++ compiler,
//!   which Rust's own installation does not, and so is no part of CI.
//!
//! The corpus carries what the guided runs found out to the unguided ones. Where
//! a target tests code of the policy, whose crate builds for the bare machine
//! alone, this crate includes that very file.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod engine;
mod input;
mod machine;
pub mod mutate;
pub mod targets;

// The policy's files and the image builder's, under the names by which they know
// each other.
#[expect(dead_code, reason = "the kernel uses more of it")]
#[path = "../../src/fs/archive.rs"]
mod archive;
#[path = "../../src/process/elf.rs"]
mod elf_loader;
#[expect(dead_code, reason = "the kernel uses more of it")]
#[path = "../../src/errno.rs"]
mod errno;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the image builder uses more of it")
)]
#[path = "../../../boot/src/initramfs.rs"]
mod initramfs;
#[expect(dead_code, unused_imports, reason = "the kernel uses more of it")]
#[path = "../../src/vm/mod.rs"]
mod vm;
