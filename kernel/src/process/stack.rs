//! The stack that a program starts with (System V ABI for x86-64, 3.4.1).
//!
//! ```text
//! high  a word of zeros
//!       strings: path, environment, arguments, platform; 16 random bytes
//!       a gap of random size
//!       auxiliary vector: pairs of words, ending with AT_NULL
//!       pointers to the environment, and a zero
//!       pointers to the arguments, and a zero
//! rsp → number of arguments            aligned to 16 bytes
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use nucleus::mm::{PAGE_SIZE, Vaddr};
use nucleus::random;
use nucleus::user::processor_capabilities;

use super::arguments::{Arguments, Strings};
use super::elf::LoadedProgram;
use crate::errno::Errno;
use crate::vm::AddressSpace;

/// The gap has fewer bytes than this, a multiple of the alignment.
const MOST_GAP: usize = 8192;
/// Of the stack pointer.
const ALIGNMENT: usize = 16;
const PLATFORM: &[u8] = b"x86_64\0";
/// Bytes that the frame of a handler needs, at most.
const MIN_SIGNAL_STACK: usize = 4096;
/// The program runs with the rights of whoever started it.
const NOT_SECURE: usize = 0;

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
    pub(super) const CAPABILITIES: usize = 16;
    pub(super) const CLOCK_TICKS: usize = 17;
    pub(super) const SECURE: usize = 23;
    pub(super) const RANDOM: usize = 25;
    pub(super) const MORE_CAPABILITIES: usize = 26;
    pub(super) const PROGRAM_NAME: usize = 31;
    pub(super) const MIN_SIGNAL_STACK: usize = 51;
}

/// A stack that is ready.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    pub(super) pointer: Vaddr,
    /// Where the strings are, each with a zero at its end.
    pub(super) arguments: Range<Vaddr>,
    pub(super) environment: Range<Vaddr>,
}

/// Writes a program's stack into the active space.
///
/// # Errors
///
/// [`Errno::TooBig`] when the stack may not be so large; [`Errno::NoMemory`].
pub(super) fn build(
    memory: &AddressSpace,
    program: &LoadedProgram,
    path: &[u8],
    arguments: &Arguments,
) -> Result<Stack, Errno> {
    let end = memory.map_stack()?;
    let mut random_bytes = [0; 16];
    random::fill(&mut random_bytes);
    let parts = [
        &random_bytes,
        PLATFORM,
        arguments.arguments.as_bytes(),
        arguments.environment.as_bytes(),
        path,
        &[0; 1 + size_of::<Vaddr>()],
    ];
    let text = concat(&parts)?;
    let start = end - text.len();
    // Where each part is; the lengths add up to less than the stack's address.
    let mut address = start;
    let [random_bytes, platform, first, variables, path, _] = parts.map(|part| {
        let at = address;
        address += part.len();
        at
    });
    let auxiliary = auxiliary(program, random_bytes, platform, path);
    let words = words(arguments, first, variables, &auxiliary)?;
    let below = start - random_gap() - words.len() * size_of::<Vaddr>();
    let stack_pointer = below / ALIGNMENT * ALIGNMENT;
    let too_big = |_| Errno::TooBig;
    memory.write_bytes(start, &text).map_err(too_big)?;
    let words: Vec<[u8; size_of::<usize>()]> = words.into_iter().map(usize::to_le_bytes).collect();
    memory
        .write_bytes(stack_pointer, words.as_flattened())
        .map_err(too_big)?;
    Ok(Stack {
        pointer: stack_pointer,
        arguments: first..variables,
        environment: variables..path,
    })
}

fn concat(parts: &[&[u8]]) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let len = parts.iter().map(|part| part.len()).sum();
    bytes.try_reserve_exact(len).map_err(|_| Errno::NoMemory)?;
    for part in parts {
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// Returns the number of arguments, the pointers to them and to the environment, whose
/// strings begin at `first` and `variables`, and the auxiliary vector.
fn words(
    arguments: &Arguments,
    first: Vaddr,
    variables: Vaddr,
    auxiliary: &[(usize, usize)],
) -> Result<Vec<usize>, Errno> {
    let mut words = Vec::new();
    let nr_strings = arguments.arguments.count() + arguments.environment.count();
    let reserved = words.try_reserve_exact(nr_strings + 3 + 2 * auxiliary.len());
    reserved.map_err(|_| Errno::NoMemory)?;
    words.push(arguments.arguments.count());
    push_pointers(&mut words, first, &arguments.arguments);
    push_pointers(&mut words, variables, &arguments.environment);
    words.extend(auxiliary.iter().flat_map(|(key, value)| [*key, *value]));
    Ok(words)
}

/// Adds pointers to strings, of which the first one is at an address, and a zero.
fn push_pointers(words: &mut Vec<usize>, mut address: Vaddr, strings: &Strings) {
    for string in strings.iter() {
        words.push(address);
        address += string.len();
    }
    words.push(0);
}

/// Returns the size of the gap: what is on a stack is not found at the same address in
/// each run, nor at the same place in its page.
fn random_gap() -> usize {
    let mut bytes = [0; size_of::<usize>()];
    random::fill(&mut bytes);
    usize::from_le_bytes(bytes) % MOST_GAP / ALIGNMENT * ALIGNMENT
}

fn auxiliary(
    program: &LoadedProgram,
    random_bytes: Vaddr,
    platform: Vaddr,
    path: Vaddr,
) -> [(usize, usize); 20] {
    let [capabilities, more_capabilities] = processor_capabilities();
    [
        (key::CAPABILITIES, capabilities),
        (key::MORE_CAPABILITIES, more_capabilities),
        (key::MIN_SIGNAL_STACK, MIN_SIGNAL_STACK),
        (key::PAGE_SIZE, PAGE_SIZE),
        (key::CLOCK_TICKS, 100),
        (key::HEADERS, program.headers),
        (key::HEADER_SIZE, program.header_size),
        (key::HEADER_COUNT, program.header_count),
        (key::BASE, 0),
        (key::FLAGS, 0),
        (key::ENTRY, program.entry),
        (key::UID, 0),
        (key::EUID, 0),
        (key::GID, 0),
        (key::EGID, 0),
        (key::SECURE, NOT_SECURE),
        (key::RANDOM, random_bytes),
        (key::PROGRAM_NAME, path),
        (key::PLATFORM, platform),
        (key::NULL, 0),
    ]
}
