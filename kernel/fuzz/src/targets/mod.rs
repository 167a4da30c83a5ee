//! What is fuzzed: functions of a byte string that panic on a broken promise.

mod acpi;
mod allocator;
mod cpio;
mod elf;
mod memory_map;
mod scripts;

use nucleus::planted::Bug;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its corpus too.
    pub name: &'static str,
    /// What it promises.
    pub claim: &'static str,
    /// Tries an input.
    pub run: fn(&[u8]),
    /// Length of the longest input worth trying.
    pub max_len: usize,
    /// Inputs of a short run.
    pub inputs: usize,
    /// Bugs that it must find when they are planted, in words too.
    pub bugs: &'static [(Bug, &'static str)],
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    scripts::TARGET,
    allocator::TARGET,
    memory_map::TARGET,
    elf::TARGET,
    cpio::TARGET,
    acpi::TARGET,
];
