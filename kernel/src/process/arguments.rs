//! What a program is told when it starts: its arguments and its environment.
//!
//! They are read from the memory of the program that is there before, which goes away,
//! so they are kept in between. A list of strings is one block of bytes, each string
//! with a zero behind it, as it will be on the new stack.

use alloc::vec::Vec;

use nucleus::mm::Vaddr;

use super::limits::{Limits, Resource};
use crate::errno::Errno;
use crate::vm::AddressSpace;

/// Most bytes of one string, with its zero.
const MAX_STRING: usize = 128 << 10;
/// Bytes that all strings and the pointers to them may have: a quarter of the limit of
/// stacks, but between these.
const LEAST_TOTAL: usize = 128 << 10;
const MOST_TOTAL: usize = 6 << 20;

/// A list of strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strings {
    bytes: Vec<u8>,
    count: usize,
}

/// What a program is told when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(super) arguments: Strings,
    pub(super) environment: Strings,
    /// Bytes that there may be of them.
    limit: usize,
}

impl Strings {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Returns the strings with their zeros.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split_inclusive(|byte| *byte == 0)
    }

    /// Bytes on a stack: those of the strings, and of the pointers to them.
    const fn size(&self) -> usize {
        self.bytes.len() + self.count * size_of::<Vaddr>()
    }

    fn push(&mut self, string: &[u8]) -> Result<(), Errno> {
        let reserved = self.bytes.try_reserve(string.len() + 1);
        reserved.map_err(|_| Errno::NoMemory)?;
        self.bytes.extend_from_slice(string);
        self.bytes.push(0);
        self.count += 1;
        Ok(())
    }

    /// Puts strings in the place of the first one.
    fn replace_first(&mut self, strings: &[&[u8]]) -> Result<(), Errno> {
        let mut new = Self::default();
        for string in strings {
            new.push(string)?;
        }
        let old_len = self.iter().next().map_or(0, <[u8]>::len);
        let rest = &self.bytes[old_len..];
        let reserved = new.bytes.try_reserve(rest.len());
        reserved.map_err(|_| Errno::NoMemory)?;
        new.bytes.extend_from_slice(rest);
        new.count += self.count.saturating_sub(1);
        *self = new;
        Ok(())
    }
}

impl Arguments {
    fn with_limits(limits: &Limits) -> Self {
        let stack = usize::try_from(limits.soft(Resource::Stack)).unwrap_or(usize::MAX);
        Self {
            limit: (stack / 4).clamp(LEAST_TOTAL, MOST_TOTAL),
            ..Self::default()
        }
    }

    /// Returns what the kernel tells the first program.
    pub(super) fn from_kernel(
        arguments: &[&str],
        environment: &[&str],
        limits: &Limits,
    ) -> Result<Self, Errno> {
        let mut all = Self::with_limits(limits);
        for argument in arguments {
            all.arguments.push(argument.as_bytes())?;
        }
        for variable in environment {
            all.environment.push(variable.as_bytes())?;
        }
        all.check_size()?;
        Ok(all)
    }

    /// Reads two lists of pointers to strings, each of which ends with a zero, from the
    /// memory of a program.
    ///
    /// # Errors
    ///
    /// [`Errno::Fault`]; [`Errno::TooBig`]; [`Errno::NoMemory`].
    pub(crate) fn read(
        memory: &AddressSpace,
        arguments: Vaddr,
        environment: Vaddr,
        limits: &Limits,
    ) -> Result<Self, Errno> {
        let mut all = Self::with_limits(limits);
        let most = all.limit / size_of::<Vaddr>();
        let nr_arguments = count(memory, arguments, most)?;
        let nr_variables = count(memory, environment, most)?;
        let pointers = (nr_arguments.max(1) + nr_variables) * size_of::<Vaddr>();
        let room = all.limit.checked_sub(pointers).ok_or(Errno::TooBig)?;
        read_strings(
            memory,
            environment,
            nr_variables,
            room,
            &mut all.environment,
        )?;
        let room = room - all.environment.bytes.len();
        read_strings(memory, arguments, nr_arguments, room, &mut all.arguments)?;
        if nr_arguments == 0 {
            // As in Linux, no program has to do without its name.
            all.arguments.push(b"")?;
        }
        all.check_size()?;
        Ok(all)
    }

    /// Has an interpreter run instead of a script: its arguments are its own path, what
    /// the script says, the script's path, and the script's arguments.
    pub(super) fn interpret(
        &mut self,
        interpreter: &[u8],
        argument: Option<&[u8]>,
        script: &[u8],
    ) -> Result<(), Errno> {
        match argument {
            Some(argument) => self
                .arguments
                .replace_first(&[interpreter, argument, script])?,
            None => self.arguments.replace_first(&[interpreter, script])?,
        }
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Errno> {
        if self.arguments.size() + self.environment.size() > self.limit {
            return Err(Errno::TooBig);
        }
        Ok(())
    }
}

/// Counts the pointers of a list, up to the zero that ends it.
fn count(memory: &AddressSpace, list: Vaddr, most: usize) -> Result<usize, Errno> {
    if list == 0 {
        return Ok(0);
    }
    for index in 0..=most {
        if read_pointer(memory, list, index)? == 0 {
            return Ok(index);
        }
    }
    Err(Errno::TooBig)
}

fn read_pointer(memory: &AddressSpace, list: Vaddr, index: usize) -> Result<Vaddr, Errno> {
    let address = list.checked_add(index * size_of::<Vaddr>());
    memory.read_value(address.ok_or(Errno::Fault)?)
}

/// Reads strings of so many bytes at most. The pointers are read again: where they have
/// become others, others are read, and where one has become zero, it leads nowhere.
fn read_strings(
    memory: &AddressSpace,
    list: Vaddr,
    count: usize,
    mut room: usize,
    strings: &mut Strings,
) -> Result<(), Errno> {
    for index in 0..count {
        let pointer = read_pointer(memory, list, index)?;
        let string = memory.read_string(pointer, MAX_STRING.min(room));
        let string = string.map_err(|error| match error {
            Errno::NameTooLong => Errno::TooBig,
            other => other,
        })?;
        room -= string.len() + 1;
        strings.push(&string)?;
    }
    Ok(())
}

#[cfg(ktest)]
mod tests {
    use alloc::vec::Vec;

    use nucleus::prelude::*;

    use super::{Arguments, Errno, LEAST_TOTAL, Limits};

    fn arguments(strings: &[&str]) -> Result<Arguments, Errno> {
        Arguments::from_kernel(strings, &[], &Limits::default())
    }

    fn strings(arguments: &Arguments) -> Vec<&[u8]> {
        arguments.arguments.iter().collect()
    }

    #[ktest]
    fn interpreter_takes_the_place_of_the_script() {
        let mut all = arguments(&["script", "one", ""]).expect("they are few");
        all.interpret(b"/bin/sh", Some(b"-e x"), b"./script")
            .expect("they are few");
        let expected: [&[u8]; 5] = [b"/bin/sh\0", b"-e x\0", b"./script\0", b"one\0", b"\0"];
        assert_eq!(strings(&all), expected);
        assert_eq!(all.arguments.count(), 5);
    }

    #[ktest]
    fn arguments_beyond_the_limit_are_refused() {
        let mut limits = Limits::default();
        let few = super::super::limits::Limit { soft: 0, hard: 0 };
        limits
            .set(super::Resource::Stack as usize, few)
            .expect("it may be lowered");
        let long = [b'x'; LEAST_TOTAL / 4];
        let long = core::str::from_utf8(&long).expect("letters");
        let try_with = |count| Arguments::from_kernel(&[long].repeat(count), &[], &limits);
        assert!(try_with(3).is_ok());
        assert_eq!(try_with(4), Err(Errno::TooBig));
    }
}
