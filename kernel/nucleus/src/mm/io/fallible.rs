//! Accesses that may fault.

use alloc::vec::Vec;

use super::{Fallible, Infallible, Pod, VmReader, VmWriter};
use crate::arch::uaccess;
use crate::error::{Error, Result};
use crate::planted::{Bug, is_planted};

/// How far an access came that may fault.
type Progress = Result<usize, (Error, usize)>;

/// Copies as many bytes as both sides have.
fn copy<R, W>(reader: &mut VmReader<'_, R>, writer: &mut VmWriter<'_, W>) -> Progress {
    let len = reader.remain().min(writer.avail());
    // SAFETY: Each side is kernel memory that its constructor was promised, or
    // lies in user space, and has `len` bytes.
    let copied = unsafe {
        uaccess::copy(
            (writer.cursor, writer.half),
            (reader.cursor, reader.half),
            len,
        )
    };
    reader.advance(if is_planted(Bug::LostPlace) {
        len
    } else {
        copied
    });
    writer.advance(copied);
    finished(copied, len)
}

fn finished(done: usize, len: usize) -> Progress {
    if done == len {
        Ok(len)
    } else {
        Err((Error::PageFault, done))
    }
}

impl VmReader<'_, Fallible> {
    /// Copies as many bytes as both sides have; returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::PageFault`] with the number of bytes copied before the byte that
    /// faulted; both positions are then at that byte.
    pub fn read_fallible<W>(&mut self, writer: &mut VmWriter<'_, W>) -> Progress {
        copy(self, writer)
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when less is left, [`Error::PageFault`]; the
    /// position stays.
    pub fn read_val<T: Pod>(&mut self) -> Result<T> {
        self.check_left(size_of::<T>())?;
        let mut value = T::new_zeroed();
        let start = self.cursor;
        if let Err((error, _)) = copy(self, &mut VmWriter::from(value.as_mut_bytes())) {
            self.cursor = start;
            return Err(error);
        }
        Ok(value)
    }

    /// Reads all that is left into a vector.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], [`Error::PageFault`]; the position stays.
    pub fn collect(&mut self) -> Result<Vec<u8>> {
        let len = self.remain();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Error::NoMemory)?;
        bytes.resize(len, 0);
        let start = self.cursor;
        if let Err((error, _)) = copy(self, &mut VmWriter::from(&mut bytes[..])) {
            self.cursor = start;
            return Err(error);
        }
        Ok(bytes)
    }

    /// Reads a word of user memory at the position, which stays, in one access of
    /// relaxed order.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when less is left, [`Error::PageFault`].
    ///
    /// # Panics
    ///
    /// Panics when the position is not a multiple of 4.
    pub fn atomic_load(&self) -> Result<u32> {
        self.check_once::<u32>()?;
        // SAFETY: The position is aligned and of the half that is said.
        unsafe { uaccess::load_u32((self.cursor.cast(), self.half)) }.ok_or(Error::PageFault)
    }
}

impl VmReader<'_, Infallible> {
    /// Copies to memory that may fault; see [`VmReader::<Fallible>::read_fallible`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_fallible(&mut self, writer: &mut VmWriter<'_, Fallible>) -> Progress {
        copy(self, writer)
    }
}

impl VmWriter<'_, Fallible> {
    /// Copies as many bytes as both sides have; returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::PageFault`] with the number of bytes copied before the byte that
    /// faulted; both positions are then at that byte.
    pub fn write_fallible<R>(&mut self, reader: &mut VmReader<'_, R>) -> Progress {
        copy(reader, self)
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when less is left, [`Error::PageFault`]; the
    /// position stays, and some bytes may have been written.
    pub fn write_val<T: Pod>(&mut self, value: &T) -> Result<()> {
        self.check_left(size_of::<T>())?;
        let start = self.cursor;
        if let Err((error, _)) = copy(&mut VmReader::from(value.as_bytes()), self) {
            self.cursor = start;
            return Err(error);
        }
        Ok(())
    }

    /// Writes zeros to at most `len` bytes; returns to how many.
    ///
    /// # Errors
    ///
    /// [`Error::PageFault`] with the number of bytes zeroed before the byte that
    /// faulted, where the position then is.
    pub fn fill_zeros(&mut self, len: usize) -> Progress {
        let len = self.avail().min(len);
        // SAFETY: The range is of the half that is said, and has `len` bytes.
        let done = unsafe { uaccess::zero((self.cursor, self.half), len) };
        self.advance(done);
        finished(done, len)
    }

    /// Replaces the word at the position, which stays, if it is `old`; in one
    /// access of relaxed order. Returns what it was, and whether it was replaced.
    ///
    /// `reader` covers the same memory: replacing needs both rights.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when less is left on either side,
    /// [`Error::PageFault`].
    ///
    /// # Panics
    ///
    /// Panics when the position is not a multiple of 4, or `reader` is elsewhere.
    pub fn atomic_compare_exchange(
        &self,
        reader: &VmReader<'_, Fallible>,
        old: u32,
        new: u32,
    ) -> Result<(u32, bool)> {
        reader.check_once::<u32>()?;
        self.check_once::<u32>()?;
        assert_eq!(
            self.cursor.cast_const(),
            reader.cursor,
            "a word is replaced where it is read"
        );
        // SAFETY: The position is aligned and of the half that is said.
        let seen =
            unsafe { uaccess::compare_exchange_u32((self.cursor.cast(), self.half), old, new) };
        let seen = seen.ok_or(Error::PageFault)?;
        Ok((seen, seen == old))
    }
}
