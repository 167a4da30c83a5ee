//! The kernel's own accesses to user memory.
//!
//! What a program points to may change or go away at any time, and other threads may
//! write it meanwhile (time of check, time of use): so everything is copied once, and
//! only the copy is looked at. A copy that faults has the page made and goes on; where
//! that is not allowed, the error is `EFAULT`.
//!
//! None of this may be done with the layout of the space locked, nor with anything that
//! a fault takes.

use alloc::vec::Vec;

use nucleus::Error;
use nucleus::mm::{PAGE_SIZE, Pod, Vaddr, VmReader, VmWriter};

use super::{Access, AddressSpace};
use crate::errno::Errno;

/// How far a copy came before it faulted.
type Progress = Result<usize, (Error, usize)>;

impl AddressSpace {
    /// Copies from user memory into a buffer.
    pub(crate) fn read_bytes(&self, address: Vaddr, buffer: &mut [u8]) -> Result<(), Errno> {
        match self.read_partly(address, buffer)? {
            done if done == buffer.len() => Ok(()),
            _ => Err(Errno::Fault),
        }
    }

    /// Copies a buffer to user memory.
    pub(crate) fn write_bytes(&self, address: Vaddr, buffer: &[u8]) -> Result<(), Errno> {
        match self.write_partly(address, buffer)? {
            done if done == buffer.len() => Ok(()),
            _ => Err(Errno::Fault),
        }
    }

    /// Copies from user memory as far as it can be read; returns how far that is.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it is nothing, but for an empty buffer.
    pub(crate) fn read_partly(&self, address: Vaddr, buffer: &mut [u8]) -> Result<usize, Errno> {
        let len = buffer.len();
        self.copy(address, len, Access::Read, |start, done| {
            let rest = &mut buffer[done..];
            let mut reader = self.space.reader(start, rest.len())?;
            Ok(reader.read_fallible(&mut VmWriter::from(rest)))
        })
    }

    /// Copies to user memory as far as it can be written; returns how far that is.
    ///
    /// # Errors
    ///
    /// As [`Self::read_partly`].
    pub(crate) fn write_partly(&self, address: Vaddr, buffer: &[u8]) -> Result<usize, Errno> {
        self.copy(address, buffer.len(), Access::Write, |start, done| {
            let rest = &buffer[done..];
            let mut writer = self.space.writer(start, rest.len())?;
            Ok(writer.write_fallible(&mut VmReader::from(rest)))
        })
    }

    /// Copies from user memory to other memory, as far as it can be read and there is
    /// room; returns how far that is.
    ///
    /// # Errors
    ///
    /// As [`Self::read_partly`].
    pub(crate) fn read_to(&self, address: Vaddr, room: &mut VmWriter<'_>) -> Result<usize, Errno> {
        self.copy(address, room.avail(), Access::Read, |start, _| {
            let mut reader = self.space.reader(start, room.avail())?;
            Ok(reader.read_fallible(room))
        })
    }

    /// Copies from other memory to user memory, as far as that can be written; returns
    /// how far that is.
    ///
    /// # Errors
    ///
    /// As [`Self::read_partly`].
    pub(crate) fn write_from(
        &self,
        address: Vaddr,
        bytes: &mut VmReader<'_>,
    ) -> Result<usize, Errno> {
        self.copy(address, bytes.remain(), Access::Write, |start, _| {
            let mut writer = self.space.writer(start, bytes.remain())?;
            Ok(writer.write_fallible(bytes))
        })
    }

    /// Reads a value.
    pub(crate) fn read_value<T: Pod>(&self, address: Vaddr) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a value.
    pub(crate) fn write_value<T: Pod>(&self, address: Vaddr, value: &T) -> Result<(), Errno> {
        self.write_bytes(address, value.as_bytes())
    }

    /// Reads a string up to the zero that ends it, of `max` bytes with that at most.
    ///
    /// # Errors
    ///
    /// `EFAULT`; `ENAMETOOLONG` when there is no zero among so many bytes.
    pub(crate) fn read_string(&self, address: Vaddr, max: usize) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        while string.len() < max {
            let start = address.checked_add(string.len()).ok_or(Errno::Fault)?;
            // Not beyond the page: the next one need not be there.
            let to_page_end = PAGE_SIZE - start % PAGE_SIZE;
            let part = (max - string.len()).min(to_page_end).min(STRING_PART);
            let mut buffer = [0; STRING_PART];
            let buffer = &mut buffer[..part];
            self.read_bytes(start, buffer)?;
            let end = buffer.iter().position(|byte| *byte == 0);
            string.try_reserve(part).map_err(|_| Errno::NoMemory)?;
            string.extend_from_slice(&buffer[..end.unwrap_or(part)]);
            if end.is_some() {
                return Ok(string);
            }
        }
        Err(Errno::NameTooLong)
    }

    /// Reads a word in one access.
    ///
    /// # Errors
    ///
    /// `EFAULT`; `EINVAL` for an address that is not a multiple of 4.
    pub(crate) fn load_u32(&self, address: Vaddr) -> Result<u32, Errno> {
        check_word(address)?;
        self.retry(address, Access::Read, || {
            self.space.reader(address, size_of::<u32>())?.atomic_load()
        })
    }

    /// Replaces a word, if it is `old`, in one access; returns what it was.
    ///
    /// # Errors
    ///
    /// As [`Self::load_u32`].
    pub(crate) fn compare_exchange_u32(
        &self,
        address: Vaddr,
        old: u32,
        new: u32,
    ) -> Result<u32, Errno> {
        check_word(address)?;
        self.retry(address, Access::Write, || {
            let (reader, writer) = self.space.reader_writer(address, size_of::<u32>())?;
            let (seen, _) = writer.atomic_compare_exchange(&reader, old, new)?;
            Ok(seen)
        })
    }

    /// Repeats a copy, which goes on where it is told to, until it is done or a page
    /// cannot be had.
    fn copy(
        &self,
        address: Vaddr,
        len: usize,
        access: Access,
        mut copy_from: impl FnMut(Vaddr, usize) -> Result<Progress, Error>,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        while done < len {
            let start = address.checked_add(done).ok_or(Errno::Fault)?;
            match copy_from(start, done)? {
                Ok(copied) => done += copied,
                Err((_, copied)) => {
                    done += copied;
                    if self.handle_fault(start + copied, access).is_err() {
                        break;
                    }
                }
            }
        }
        if done == 0 && len > 0 {
            return Err(Errno::Fault);
        }
        Ok(done)
    }

    /// Repeats an access to one page until it does not fault or the page cannot be had.
    fn retry<T>(
        &self,
        address: Vaddr,
        kind: Access,
        access: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Errno> {
        loop {
            match access() {
                Err(Error::PageFault) => {
                    self.handle_fault(address, kind).map_err(|_| Errno::Fault)?
                }
                other => return Ok(other?),
            }
        }
    }
}

/// Bytes of a string that are read at once.
const STRING_PART: usize = 256;

pub(super) fn check_word(address: Vaddr) -> Result<(), Errno> {
    if address.is_multiple_of(size_of::<u32>()) {
        Ok(())
    } else {
        Err(Errno::Invalid)
    }
}
