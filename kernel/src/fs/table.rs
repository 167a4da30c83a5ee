//! The descriptors of a process.
//!
//! A descriptor is a number that stands for an open file description. The table is
//! shared by the threads of a process, copied by `fork`, and cleared by `exec` of those
//! that are marked. **Lock order**: its lock is held for nothing but looking at and
//! changing the table. Descriptions are dropped without it: the last handle of a pipe's
//! end wakes others, and that of a removed file frees its memory.

use alloc::sync::Arc;
use alloc::vec::Vec;

use nucleus::sync::Mutex;

use super::open::OpenFile;
use crate::errno::Errno;

/// Descriptors that a process may have at first, and at most.
pub(crate) const DEFAULT_LIMIT: usize = 1024;
pub(crate) const MAX_LIMIT: usize = 4096;

/// A descriptor: what is open, and whether `exec` closes it.
#[derive(Clone, Debug)]
struct Descriptor {
    file: Arc<OpenFile>,
    closes_on_exec: bool,
}

/// The slots of a table, under its lock.
#[derive(Clone, Debug)]
struct Slots {
    slots: Vec<Option<Descriptor>>,
    /// All below it are taken.
    first_free: usize,
    /// Numbers from here on are not given out.
    limit: usize,
}

/// The descriptors of a process.
#[derive(Debug)]
pub(crate) struct FileTable {
    slots: Mutex<Slots>,
}

impl FileTable {
    /// Returns a table of no descriptors.
    pub(crate) const fn new() -> Self {
        Self {
            slots: Mutex::new(Slots {
                slots: Vec::new(),
                first_free: 0,
                limit: DEFAULT_LIMIT,
            }),
        }
    }

    /// Returns another table of the same descriptors, which share what they stand for.
    pub(crate) fn fork(&self) -> Self {
        Self {
            slots: Mutex::new(self.slots.lock().clone()),
        }
    }

    /// Says from which number on none is given out (`RLIMIT_NOFILE`). Those that are
    /// there stay.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.slots.lock().limit = limit.min(MAX_LIMIT);
    }

    pub(crate) fn limit(&self) -> usize {
        self.slots.lock().limit
    }

    /// Checks that a number may be given out.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`].
    pub(crate) fn check_number(&self, number: usize) -> Result<(), Errno> {
        let may = number < self.limit();
        may.then_some(()).ok_or(Errno::BadFile)
    }

    /// Finds what a descriptor stands for, for somebody who wants to use it: not one
    /// that is there for its way alone (`O_PATH`). Descriptors are 32 bits wide: the
    /// rest of the register does not count.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`].
    pub(crate) fn get(&self, number: usize) -> Result<Arc<OpenFile>, Errno> {
        let file = self.get_any(number)?;
        if file.is_path() {
            return Err(Errno::BadFile);
        }
        Ok(file)
    }

    /// Finds what a descriptor stands for, whatever that is.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`].
    pub(crate) fn get_any(&self, number: usize) -> Result<Arc<OpenFile>, Errno> {
        self.with(number, |descriptor| Arc::clone(&descriptor.file))
    }

    /// Returns whether `exec` closes a descriptor.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`].
    pub(crate) fn closes_on_exec(&self, number: usize) -> Result<bool, Errno> {
        self.with(number, |descriptor| descriptor.closes_on_exec)
    }

    /// Says whether `exec` closes a descriptor.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`].
    pub(crate) fn set_closes_on_exec(&self, number: usize, closes: bool) -> Result<(), Errno> {
        self.with(number, |descriptor| descriptor.closes_on_exec = closes)
    }

    fn with<R>(
        &self,
        number: usize,
        use_it: impl FnOnce(&mut Descriptor) -> R,
    ) -> Result<R, Errno> {
        let mut table = self.slots.lock();
        let slot = table.slots.get_mut(number as u32 as usize);
        let descriptor = slot.and_then(Option::as_mut).ok_or(Errno::BadFile)?;
        Ok(use_it(descriptor))
    }

    /// Gives a description the lowest number that is free and not below `lowest`.
    ///
    /// # Errors
    ///
    /// [`Errno::TooManyFiles`]; [`Errno::NoMemory`].
    pub(crate) fn add(
        &self,
        file: Arc<OpenFile>,
        closes_on_exec: bool,
        lowest: usize,
    ) -> Result<usize, Errno> {
        let mut table = self.slots.lock();
        let number = table.find_free(lowest)?;
        table.put(number, file, closes_on_exec);
        Ok(number)
    }

    /// Gives two descriptions numbers, or neither of them.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub(crate) fn add_pair(
        &self,
        files: [Arc<OpenFile>; 2],
        closes_on_exec: bool,
    ) -> Result<[usize; 2], Errno> {
        let mut table = self.slots.lock();
        let first = table.find_free(0)?;
        let second = table.find_free(first + 1)?;
        let [one, other] = files;
        table.put(first, one, closes_on_exec);
        table.put(second, other, closes_on_exec);
        Ok([first, second])
    }

    /// Gives a description a number, from which what it stood for is taken.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`] for a number that cannot be; [`Errno::NoMemory`].
    pub(crate) fn replace(
        &self,
        number: usize,
        file: Arc<OpenFile>,
        closes_on_exec: bool,
    ) -> Result<(), Errno> {
        let mut table = self.slots.lock();
        if number >= table.limit {
            return Err(Errno::BadFile);
        }
        table.grow_to(number)?;
        let old = table.put(number, file, closes_on_exec);
        drop(table);
        drop(old);
        Ok(())
    }

    /// Closes a descriptor.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`].
    pub(crate) fn close(&self, number: usize) -> Result<(), Errno> {
        let old = self.slots.lock().take(number as u32 as usize);
        old.map(drop).ok_or(Errno::BadFile)
    }

    /// Closes all descriptors of a range, or marks them to be closed by `exec`.
    pub(crate) fn close_range(&self, first: usize, last: usize, marks_only: bool) {
        let len = self.slots.lock().slots.len();
        for number in first..len.min(last.saturating_add(1)) {
            // Descriptors that are not there are no error here.
            let _ = if marks_only {
                self.set_closes_on_exec(number, true)
            } else {
                self.close(number)
            };
        }
    }

    /// Closes what `exec` is to close.
    pub(crate) fn close_for_exec(&self) {
        let len = self.slots.lock().slots.len();
        for number in 0..len {
            let mut table = self.slots.lock();
            let closes = table.slots[number]
                .as_ref()
                .is_some_and(|descriptor| descriptor.closes_on_exec);
            let old = closes.then(|| table.take(number));
            drop(table);
            drop(old);
        }
    }

    /// Returns the lowest descriptor that is there from a number on.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let table = self.slots.lock();
        let mut taken = (from..table.slots.len()).filter(|number| table.slots[*number].is_some());
        taken.next()
    }

    /// Returns how many slots the table has.
    pub(crate) fn size(&self) -> usize {
        self.slots.lock().slots.len()
    }
}

impl Slots {
    /// Returns the lowest free number that is not below `lowest`; its slot is there.
    fn find_free(&mut self, lowest: usize) -> Result<usize, Errno> {
        let start = lowest.max(self.first_free);
        let is_free = |number: &usize| self.slots.get(*number).is_none_or(Option::is_none);
        let number = (start..self.limit)
            .find(is_free)
            .ok_or(Errno::TooManyFiles)?;
        self.grow_to(number)?;
        if lowest <= self.first_free {
            self.first_free = number;
        }
        Ok(number)
    }

    /// Makes a slot for a number.
    fn grow_to(&mut self, number: usize) -> Result<(), Errno> {
        let missing = (number + 1).saturating_sub(self.slots.len());
        let reserved = self.slots.try_reserve(missing);
        reserved.map_err(|_| Errno::NoMemory)?;
        let len = self.slots.len() + missing;
        self.slots.resize(len, None);
        Ok(())
    }

    /// Puts a description into a slot that is there; returns what was in it.
    fn put(
        &mut self,
        number: usize,
        file: Arc<OpenFile>,
        closes_on_exec: bool,
    ) -> Option<Descriptor> {
        self.slots[number].replace(Descriptor {
            file,
            closes_on_exec,
        })
    }

    fn take(&mut self, number: usize) -> Option<Descriptor> {
        let old = self.slots.get_mut(number)?.take()?;
        self.first_free = self.first_free.min(number);
        Some(old)
    }
}

#[cfg(ktest)]
mod tests {
    use alloc::sync::Arc;

    use nucleus::prelude::*;

    use super::{FileTable, MAX_LIMIT};
    use crate::errno::Errno;
    use crate::fs::open::{Access, OpenFile};
    use crate::fs::pipe::{self, PipeReader};
    use crate::fs::poll::Readiness;

    fn file() -> Arc<OpenFile> {
        let (reader, _) = pipe::open();
        Arc::new(OpenFile::from_stream(reader, Access::READ, 0))
    }

    #[ktest]
    fn lowest_free_number_is_given_out() {
        let table = FileTable::new();
        for number in 0..4 {
            assert_eq!(table.add(file(), false, 0), Ok(number));
        }
        assert_eq!(table.close(2), Ok(()));
        assert_eq!(table.close(1), Ok(()));
        assert_eq!(table.add(file(), false, 2), Ok(2));
        assert_eq!(table.add(file(), false, 0), Ok(1));
        assert_eq!(table.add(file(), false, 10), Ok(10));
        assert_eq!(table.add(file(), false, 0), Ok(4));
        assert_eq!(table.close(9), Err(Errno::BadFile));
        assert_eq!(table.close(usize::MAX), Err(Errno::BadFile));
    }

    #[ktest]
    fn limit_is_kept_and_what_is_above_it_stays() {
        let table = FileTable::new();
        table.set_limit(usize::MAX);
        assert_eq!(table.limit(), MAX_LIMIT);
        assert_eq!(table.add(file(), false, 5), Ok(5));
        table.set_limit(2);
        assert_eq!(table.add_pair([file(), file()], false), Ok([0, 1]));
        assert_eq!(table.add(file(), false, 0), Err(Errno::TooManyFiles));
        assert_eq!(table.replace(5, file(), false), Err(Errno::BadFile));
        assert_eq!(table.close(0), Ok(()));
        let pair = table.add_pair([file(), file()], false);
        assert_eq!(pair, Err(Errno::TooManyFiles));
        assert_eq!(table.add(file(), false, 0), Ok(0));
        assert!(table.get(5).is_ok());
    }

    #[ktest]
    fn program_that_starts_keeps_what_is_not_marked() {
        let table = FileTable::new();
        assert_eq!(table.add(file(), true, 0), Ok(0));
        assert_eq!(table.add(file(), false, 0), Ok(1));
        assert_eq!(table.add(file(), false, 0), Ok(2));
        assert_eq!(table.set_closes_on_exec(2, true), Ok(()));
        let other = table.fork();
        table.close_for_exec();
        assert_eq!(table.next(0), Some(1));
        assert_eq!(table.next(2), None);
        assert!(other.get(0).is_ok() && other.get(2).is_ok());
        other.close_range(0, 1, false);
        other.close_range(2, usize::MAX, true);
        assert_eq!(
            (other.next(0), other.closes_on_exec(2)),
            (Some(2), Ok(true))
        );
    }

    #[ktest]
    fn pipe_ends_with_its_last_descriptor() {
        let table = FileTable::new();
        let (reader, writer): (Arc<PipeReader>, _) = pipe::open();
        let writer = Arc::new(OpenFile::from_stream(writer, Access::WRITE, 0));
        let reader = OpenFile::from_stream(reader, Access::READ, 0);
        assert_eq!(table.add(writer, false, 0), Ok(0));
        let child = table.fork();
        assert_eq!(table.close(0), Ok(()));
        assert_eq!(reader.readiness(), Readiness::NONE);
        drop(child);
        assert_eq!(reader.readiness(), Readiness::HANG_UP);
    }
}
