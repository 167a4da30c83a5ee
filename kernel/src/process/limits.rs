//! What a process may have at most: `getrlimit(2)`.
//!
//! The limits are the process's, which hands those that concern its memory and its
//! descriptors to them. Some are kept for programs to read, and restrict nothing:
//! there is no file that is locked in memory, nor a class of tasks beside the ordinary.

use super::Pid;
use crate::errno::Errno;
use crate::vm;

/// What is limited, by Linux's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Resource {
    FileSize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Processes = 6,
    Files = 7,
    LockedMemory = 8,
    AddressSpace = 9,
    PendingSignals = 11,
    MessageQueues = 12,
    Nice = 13,
    RealTimePriority = 14,
}

/// How many resources have limits.
pub(crate) const NR_RESOURCES: usize = 16;

/// Without a limit.
pub(crate) const UNLIMITED: u64 = u64::MAX;

/// The highest limit of open files that is accepted, as in Linux.
const MOST_FILES: u64 = 1 << 20;

/// Bytes that a stack may have unless somebody says otherwise.
const DEFAULT_STACK: u64 = 8 << 20;

/// A limit, and how high the process may set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

impl Limit {
    const NONE: Self = Self::new(UNLIMITED, UNLIMITED);

    const fn new(soft: u64, hard: u64) -> Self {
        Self { soft, hard }
    }
}

/// The limits of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits([Limit; NR_RESOURCES]);

impl Default for Limits {
    fn default() -> Self {
        const NR_THREADS: u64 = Pid::MAX as u64 / 2;
        let mut limits = [Limit::NONE; NR_RESOURCES];
        let mut set = |resource: Resource, soft, hard| {
            limits[resource as usize] = Limit::new(soft, hard);
        };
        set(Resource::Stack, DEFAULT_STACK, UNLIMITED);
        set(Resource::Core, 0, UNLIMITED);
        set(Resource::Processes, NR_THREADS, NR_THREADS);
        set(Resource::Files, 1024, 4096);
        set(Resource::LockedMemory, 8 << 20, 8 << 20);
        set(Resource::PendingSignals, NR_THREADS, NR_THREADS);
        set(Resource::MessageQueues, 819_200, 819_200);
        set(Resource::Nice, 0, 0);
        set(Resource::RealTimePriority, 0, 0);
        Self(limits)
    }
}

impl Limits {
    /// Returns the limit of a resource that is known to exist.
    pub(crate) const fn soft(&self, resource: Resource) -> u64 {
        self.0[resource as usize].soft
    }

    /// Returns those that concern memory.
    pub(crate) fn of_memory(&self) -> vm::Limits {
        let bytes = |resource| usize::try_from(self.soft(resource)).unwrap_or(usize::MAX);
        vm::Limits {
            address_space: bytes(Resource::AddressSpace),
            data: bytes(Resource::Data),
            stack: bytes(Resource::Stack),
        }
    }

    /// Returns the limit of a resource by its number.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] when there is no such resource.
    pub(crate) fn get(&self, resource: usize) -> Result<Limit, Errno> {
        self.0.get(resource).copied().ok_or(Errno::Invalid)
    }

    /// Sets the limit of a resource by its number; returns the one before.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] when there is no such resource, or the limit is higher than it
    /// may be set; [`Errno::NotPermitted`] when it is to be higher than before how high
    /// it may be set.
    pub(crate) fn set(&mut self, resource: usize, limit: Limit) -> Result<Limit, Errno> {
        let old = self.0.get_mut(resource).ok_or(Errno::Invalid)?;
        if limit.soft > limit.hard {
            return Err(Errno::Invalid);
        }
        let too_many_files = resource == Resource::Files as usize && limit.hard > MOST_FILES;
        if limit.hard > old.hard || too_many_files {
            return Err(Errno::NotPermitted);
        }
        Ok(core::mem::replace(old, limit))
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{Errno, Limit, Limits, NR_RESOURCES, Resource, UNLIMITED};

    const FILES: usize = Resource::Files as usize;

    #[ktest]
    fn limit_can_be_lowered_for_good_and_raised_up_to_that() {
        let mut limits = Limits::default();
        let lower = Limit::new(10, 100);
        assert_eq!(limits.set(FILES, lower), Ok(Limit::new(1024, 4096)));
        assert_eq!(limits.set(FILES, Limit::new(100, 100)), Ok(lower));
        let higher = Limit::new(100, 101);
        assert_eq!(limits.set(FILES, higher), Err(Errno::NotPermitted));
        assert_eq!(limits.soft(Resource::Files), 100);
    }

    #[ktest]
    fn limits_that_make_no_sense_are_refused() {
        let mut limits = Limits::default();
        let before = limits.clone();
        let odd = Limit::new(2, 1);
        assert_eq!(limits.set(FILES, odd), Err(Errno::Invalid));
        assert_eq!(limits.set(NR_RESOURCES, odd), Err(Errno::Invalid));
        assert_eq!(limits.get(usize::MAX), Err(Errno::Invalid));
        assert_eq!(limits, before);
        assert_eq!(limits.get(0), Ok(Limit::new(UNLIMITED, UNLIMITED)));
    }
}
