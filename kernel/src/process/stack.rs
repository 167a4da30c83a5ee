//! The stack that a program starts with (System V ABI for x86-64, 3.4.1).
//!
//! ```text
//! high  strings: arguments, environment, platform, 16 random bytes
//!       auxiliary vector: pairs of words, ending with AT_NULL
//!       pointers to the environment, and a zero
//!       pointers to the arguments, and a zero
//! rsp → number of arguments            aligned to 16 bytes
//! ```

use alloc::vec::Vec;

use nucleus::mm::{PAGE_SIZE, Vaddr};
use nucleus::random;

use super::elf::LoadedProgram;
use crate::errno::Errno;
use crate::vm::AddressSpace;

/// Most bytes of arguments and environment together.
const MAX_BYTES: usize = 128 * 1024;

/// Keys of the auxiliary vector (`getauxval(3)`).
mod key {
    pub(super) const NULL: usize = 0;
    pub(super) const HEADERS: usize = 3;
    pub(super) const HEADER_SIZE: usize = 4;
    pub(super) const HEADER_COUNT: usize = 5;
    pub(super) const PAGE_SIZE: usize = 6;
    pub(super) const BASE: usize = 7;
    pub(super) const FLAGS: usize = 8;
    pub(super) const ENTRY: usize = 9;
    pub(super) const UID: usize = 11;
    pub(super) const EUID: usize = 12;
    pub(super) const GID: usize = 13;
    pub(super) const EGID: usize = 14;
    pub(super) const PLATFORM: usize = 15;
    pub(super) const CLOCK_TICKS: usize = 17;
    pub(super) const SECURE: usize = 23;
    pub(super) const RANDOM: usize = 25;
    pub(super) const PROGRAM_NAME: usize = 31;
    pub(super) const MIN_SIGNAL_STACK: usize = 51;
}

/// Writes a program's stack; returns the stack pointer to start with.
pub(crate) fn build(
    memory: &AddressSpace,
    program: &LoadedProgram,
    arguments: &[&str],
    environment: &[&str],
) -> Result<Vaddr, Errno> {
    let text = arguments.iter().chain(environment);
    if text
        .map(|string| string.len() + 1 + size_of::<Vaddr>())
        .sum::<usize>()
        > MAX_BYTES
    {
        return Err(Errno::TooBig);
    }
    let mut top = memory.map_stack()?;
    let mut push = |memory: &AddressSpace, bytes: &[u8]| {
        top -= bytes.len();
        memory.write_bytes(top, bytes).map(|()| top)
    };
    let mut push_string = |memory: &AddressSpace, string: &str| {
        push(memory, &[0])?;
        push(memory, string.as_bytes())
    };

    let mut argument_pointers = Vec::new();
    for argument in arguments {
        argument_pointers.push(push_string(memory, argument)?);
    }
    let mut environment_pointers = Vec::new();
    for variable in environment {
        environment_pointers.push(push_string(memory, variable)?);
    }
    let platform = push_string(memory, "x86_64")?;
    let mut random_bytes = [0; 16];
    random::fill(&mut random_bytes);
    let random_pointer = push(memory, &random_bytes)?;

    let name = argument_pointers.first().copied().unwrap_or(0);
    let auxiliary = [
        (key::HEADERS, program.headers),
        (key::HEADER_SIZE, program.header_size),
        (key::HEADER_COUNT, program.header_count),
        (key::PAGE_SIZE, PAGE_SIZE),
        (key::BASE, 0),
        (key::FLAGS, 0),
        (key::ENTRY, program.entry),
        (key::UID, 0),
        (key::EUID, 0),
        (key::GID, 0),
        (key::EGID, 0),
        (key::SECURE, 0),
        (key::CLOCK_TICKS, 100),
        (key::MIN_SIGNAL_STACK, 2048),
        (key::RANDOM, random_pointer),
        (key::PLATFORM, platform),
        (key::PROGRAM_NAME, name),
        (key::NULL, 0),
    ];
    let mut words = Vec::new();
    words.push(arguments.len());
    words.extend(argument_pointers);
    words.push(0);
    words.extend(environment_pointers);
    words.push(0);
    words.extend(auxiliary.into_iter().flat_map(|(key, value)| [key, value]));
    let bytes: Vec<u8> = words.into_iter().flat_map(usize::to_le_bytes).collect();
    let stack_pointer = (top - bytes.len()) / 16 * 16;
    memory.write_bytes(stack_pointer, &bytes)?;
    Ok(stack_pointer)
}
