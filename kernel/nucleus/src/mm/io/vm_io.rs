//! Objects that are read and written at offsets: frames, segments.
//!
//! Transfers are complete or refused: an offset that wraps is
//! [`Error::Overflow`], a range that leaves the object [`Error::InvalidArgs`],
//! and nothing is transferred then. Zeroing alone goes as far as the object does.

use zerocopy::IntoBytes;

use super::{Infallible, Pod, VmReader, VmWriter};
use crate::error::{Error, Result};
use crate::mm::frame::{AnyUFrameMeta, Frame, Segment, UntypedMem};

/// Reads and writes at offsets, in bytes.
pub trait VmIo: Send + Sync {
    /// Fills a writer from an offset on.
    ///
    /// # Errors
    ///
    /// [`Error::Overflow`], [`Error::InvalidArgs`].
    fn read(&self, offset: usize, writer: &mut VmWriter<'_, Infallible>) -> Result<()>;

    /// Empties a reader to an offset on.
    ///
    /// # Errors
    ///
    /// [`Error::Overflow`], [`Error::InvalidArgs`].
    fn write(&self, offset: usize, reader: &mut VmReader<'_, Infallible>) -> Result<()>;

    /// Zeroes `len` bytes from an offset on; returns how many, which is `len`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the object ends before, with the number of bytes up
    /// to its end, which were zeroed: none when it ends before the offset.
    fn fill_zeros(&self, offset: usize, len: usize) -> Result<usize, (Error, usize)>;

    /// Reads bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    fn read_bytes(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.read(offset, &mut VmWriter::from(bytes))
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    fn read_val<T: Pod>(&self, offset: usize) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read_bytes(offset, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads values side by side.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    fn read_slice<T: Pod>(&self, offset: usize, values: &mut [T]) -> Result<()> {
        self.read_bytes(offset, values.as_mut_bytes())
    }

    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    fn write_bytes(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.write(offset, &mut VmReader::from(bytes))
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    fn write_val<T: Pod>(&self, offset: usize, value: &T) -> Result<()> {
        self.write_bytes(offset, value.as_bytes())
    }

    /// Writes values side by side.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    fn write_slice<T: Pod>(&self, offset: usize, values: &[T]) -> Result<()> {
        self.write_bytes(offset, values.as_bytes())
    }

    /// Writes values one after the other, each at a multiple of `align` if that is
    /// not zero; returns how many.
    ///
    /// # Errors
    ///
    /// What refused the first value; once one is written, what refuses another
    /// ends the operation.
    fn write_vals<'a, T: Pod + 'a>(
        &self,
        offset: usize,
        values: impl Iterator<Item = &'a T>,
        align: usize,
    ) -> Result<usize> {
        let mut next = offset;
        let mut count = 0;
        for value in values {
            let start = if align == 0 {
                Some(next)
            } else {
                next.checked_next_multiple_of(align)
            };
            let written = start
                .ok_or(Error::Overflow)
                .and_then(|start| self.write_val(start, value).map(|()| start));
            match written {
                Ok(start) => next = start + size_of::<T>(),
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
            count += 1;
        }
        Ok(count)
    }
}

/// Reads and writes values of 1, 2, 4 or 8 bytes in one access.
pub trait VmIoOnce {
    /// Reads a value in one access.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the object ends before.
    ///
    /// # Panics
    ///
    /// Panics when the offset is beyond the object, or misaligned.
    fn read_once<T: Pod>(&self, offset: usize) -> Result<T>;

    /// Writes a value in one access.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the object ends before.
    ///
    /// # Panics
    ///
    /// Panics when the offset is beyond the object, or misaligned.
    fn write_once<T: Pod>(&self, offset: usize, value: &T) -> Result<()>;
}

/// Checks that `len` bytes at an offset lie in an object of `size` bytes.
fn check(offset: usize, len: usize, size: usize) -> Result<()> {
    let end = offset.checked_add(len).ok_or(Error::Overflow)?;
    if end > size {
        return Err(Error::InvalidArgs);
    }
    Ok(())
}

macro_rules! impl_vm_io {
    ($type:ident) => {
        impl<M: AnyUFrameMeta + ?Sized> VmIo for $type<M> {
            fn read(&self, offset: usize, writer: &mut VmWriter<'_, Infallible>) -> Result<()> {
                check(offset, writer.avail(), self.size())?;
                self.reader().skip(offset).read(writer);
                Ok(())
            }

            fn write(&self, offset: usize, reader: &mut VmReader<'_, Infallible>) -> Result<()> {
                check(offset, reader.remain(), self.size())?;
                self.writer().skip(offset).write(reader);
                Ok(())
            }

            fn fill_zeros(&self, offset: usize, len: usize) -> Result<usize, (Error, usize)> {
                if offset > self.size() {
                    return Err((Error::InvalidArgs, 0));
                }
                match self.writer().skip(offset).fill_zeros(len) {
                    done if done == len => Ok(len),
                    done => Err((Error::InvalidArgs, done)),
                }
            }
        }

        impl<M: AnyUFrameMeta + ?Sized> VmIoOnce for $type<M> {
            fn read_once<T: Pod>(&self, offset: usize) -> Result<T> {
                self.reader().skip(offset).read_once()
            }

            fn write_once<T: Pod>(&self, offset: usize, value: &T) -> Result<()> {
                self.writer().skip(offset).write_once(value)
            }
        }
    };
}

impl_vm_io!(Frame);
impl_vm_io!(Segment);
