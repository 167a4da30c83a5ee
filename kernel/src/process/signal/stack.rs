//! The alternate stack of a thread's handlers (`sigaltstack(2)`).

use crate::errno::Errno;

/// Bytes of a `stack_t`: address, flags, size.
pub(crate) const STACK_SIZE: usize = 24;
/// The smallest stack that Linux takes.
const MIN_SIZE: usize = 2048;

/// A handler runs on it now.
const ON_STACK: u32 = 1;
/// There is none.
const DISABLED: u32 = 2;
/// It is forgotten while a handler runs on it.
const AUTODISARM: u32 = 1 << 31;

/// Where handlers run that want a stack of their own; none if its size is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AlternateStack {
    start: usize,
    size: usize,
    is_disarmed_by_use: bool,
}

impl AlternateStack {
    /// Accepts a stack as a program describes it, which runs at `stack_pointer`.
    ///
    /// # Errors
    ///
    /// [`Errno::NotPermitted`] while this stack is in use; [`Errno::Invalid`] for
    /// unknown flags; [`Errno::NoMemory`] for one that is too small.
    pub(crate) fn replaced_by(
        &self,
        bytes: &[u8; STACK_SIZE],
        stack_pointer: usize,
    ) -> Result<Self, Errno> {
        let (words, _) = bytes.as_chunks::<8>();
        let [start, flags, size] = [0, 1, 2].map(|at| usize::from_le_bytes(words[at]));
        let flags = flags as u32;
        if self.is_in_use(stack_pointer) {
            return Err(Errno::NotPermitted);
        }
        match flags & !AUTODISARM {
            DISABLED => Ok(Self::default()),
            0 | ON_STACK if size < MIN_SIZE => Err(Errno::NoMemory),
            0 | ON_STACK => Ok(Self {
                start,
                size,
                is_disarmed_by_use: flags & AUTODISARM != 0,
            }),
            _ => Err(Errno::Invalid),
        }
    }

    /// Returns the description that a program gets, which runs at `stack_pointer`.
    pub(crate) fn to_bytes(self, stack_pointer: usize) -> [u8; STACK_SIZE] {
        let mut flags = match () {
            () if self.size == 0 => DISABLED,
            () if self.is_in_use(stack_pointer) => ON_STACK,
            () => 0,
        };
        if self.is_disarmed_by_use {
            flags |= AUTODISARM;
        }
        let words = [self.start, flags as usize, self.size].map(usize::to_le_bytes);
        let mut bytes = [0; STACK_SIZE];
        bytes.copy_from_slice(words.as_flattened());
        bytes
    }

    /// Returns whether a program that runs at `stack_pointer` runs on this stack.
    fn is_in_use(&self, stack_pointer: usize) -> bool {
        // One that is forgotten by being used never is in use.
        !self.is_disarmed_by_use
            && stack_pointer > self.start
            && stack_pointer - self.start <= self.size
    }

    /// Returns where a handler's stack starts that wants this one; nothing if there is
    /// none, or the program is on it already.
    pub(super) fn top_for(&self, stack_pointer: usize) -> Option<usize> {
        let is_free = self.size > 0 && !self.is_in_use(stack_pointer);
        is_free.then(|| self.start.wrapping_add(self.size))
    }

    /// Returns whether an address lies on this stack.
    pub(super) fn contains(&self, address: usize) -> bool {
        address >= self.start && address - self.start < self.size
    }

    /// Forgets a stack that is to be forgotten when it is used.
    pub(super) fn use_up(&mut self) {
        if self.is_disarmed_by_use {
            *self = Self::default();
        }
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{AlternateStack, DISABLED, Errno, MIN_SIZE, ON_STACK, STACK_SIZE};

    fn described(start: usize, flags: u32, size: usize) -> [u8; STACK_SIZE] {
        let words = [start, flags as usize, size].map(usize::to_le_bytes);
        words.as_flattened().try_into().expect("three words")
    }

    #[ktest]
    fn stack_in_use_cannot_be_replaced() {
        let none = AlternateStack::default();
        let stack = none.replaced_by(&described(0x1000, 0, 0x2000), 0x9000);
        let stack = stack.expect("a stack");
        let other = described(0x8000, 0, 0x2000);
        assert_eq!(stack.replaced_by(&other, 0x2000), Err(Errno::NotPermitted));
        assert!(stack.replaced_by(&other, 0x1000).is_ok());
        assert_eq!(stack.top_for(0x9000), Some(0x3000));
        assert_eq!(stack.top_for(0x3000), None);
        assert_eq!(stack.to_bytes(0x3000), described(0x1000, ON_STACK, 0x2000));
    }

    #[ktest]
    fn small_stacks_and_unknown_flags_are_refused() {
        let none = AlternateStack::default();
        let small = described(0x1000, 0, MIN_SIZE - 1);
        assert_eq!(none.replaced_by(&small, 0), Err(Errno::NoMemory));
        let odd = described(0x1000, 4, MIN_SIZE);
        assert_eq!(none.replaced_by(&odd, 0), Err(Errno::Invalid));
        assert_eq!(none.replaced_by(&described(1, DISABLED, 1), 0), Ok(none));
        assert_eq!(none.to_bytes(0), described(0, DISABLED, 0));
    }

    #[ktest]
    fn stack_at_the_end_of_addresses_does_not_overflow() {
        let none = AlternateStack::default();
        let last = described(usize::MAX - 10, 0, usize::MAX);
        let stack = none.replaced_by(&last, 0).expect("Linux takes it, too");
        assert!(stack.top_for(0).is_some() && !stack.contains(0));
    }
}
