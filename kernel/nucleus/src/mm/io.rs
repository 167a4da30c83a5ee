//! Readers and writers of memory that others may change meanwhile.
//!
//! A [`VmReader`] or [`VmWriter`] is a range of addresses and a position in it.
//! `Infallible` ones cover kernel memory that is mapped for sure; `Fallible`
//! ones cover memory of a user, where any access may fault: those copies stop
//! at the first byte that faults and say how far they came.

use core::marker::PhantomData;

use crate::arch::x86_64::uaccess;
use crate::error::{Error, Result};
use crate::mm::Vaddr;

/// Accesses cannot fault: kernel memory.
#[derive(Debug)]
pub enum Infallible {}
/// Accesses may fault: user memory.
#[derive(Debug)]
pub enum Fallible {}

/// Reads a range of memory from front to back.
#[derive(Debug)]
pub struct VmReader<'a, Fallibility = Infallible> {
    cursor: Vaddr,
    end: Vaddr,
    _memory: PhantomData<(&'a [u8], Fallibility)>,
}

/// Writes a range of memory from front to back.
#[derive(Debug)]
pub struct VmWriter<'a, Fallibility = Infallible> {
    cursor: Vaddr,
    end: Vaddr,
    _memory: PhantomData<(&'a mut [u8], Fallibility)>,
}

macro_rules! position_in_range {
    ($type:ident, $left:ident) => {
        impl<'a, Fallibility> $type<'a, Fallibility> {
            fn new(start: Vaddr, len: usize) -> Self {
                Self {
                    cursor: start,
                    end: start + len,
                    _memory: PhantomData,
                }
            }

            /// Returns the address of the next byte.
            pub fn cursor(&self) -> Vaddr {
                self.cursor
            }

            /// Returns the number of bytes that are left.
            pub fn $left(&self) -> usize {
                self.end - self.cursor
            }

            /// Returns whether any bytes are left.
            pub fn is_empty(&self) -> bool {
                self.cursor == self.end
            }

            /// Ends the range after at most `max` more bytes.
            pub fn limit(&mut self, max: usize) -> &mut Self {
                self.end = self.cursor + max.min(self.end - self.cursor);
                self
            }

            /// Leaves out the next `count` bytes.
            ///
            /// # Panics
            ///
            /// Panics when fewer are left.
            pub fn skip(&mut self, count: usize) -> &mut Self {
                assert!(count <= self.end - self.cursor, "skip beyond the end");
                self.cursor += count;
                self
            }
        }
    };
}

position_in_range!(VmReader, remain);
position_in_range!(VmWriter, avail);

impl VmReader<'_, Infallible> {
    /// Returns a reader of kernel memory.
    ///
    /// # Safety
    ///
    /// The range is mapped and readable while the reader lives, and whoever
    /// else changes it does so by writers or in ring 3.
    pub(crate) unsafe fn from_kernel_space(start: Vaddr, len: usize) -> Self {
        Self::new(start, len)
    }

    /// Copies as many bytes as both sides have; returns how many.
    pub fn read(&mut self, writer: &mut VmWriter<'_, Infallible>) -> usize {
        let len = self.remain().min(writer.avail());
        // SAFETY: Both ranges are mapped for `len` bytes, as their constructors
        // were promised; they may overlap.
        unsafe { core::ptr::copy(self.cursor as *const u8, writer.cursor as *mut u8, len) };
        self.cursor += len;
        writer.cursor += len;
        len
    }
}

impl VmWriter<'_, Infallible> {
    /// Returns a writer of kernel memory.
    ///
    /// # Safety
    ///
    /// The range is mapped and writable while the writer lives, and whoever
    /// else uses it does so by readers and writers or in ring 3.
    pub(crate) unsafe fn from_kernel_space(start: Vaddr, len: usize) -> Self {
        Self::new(start, len)
    }

    /// Fills the rest of the range with zeros.
    pub fn fill_zeros(&mut self) -> usize {
        let len = self.avail();
        // SAFETY: The range is mapped for `len` bytes.
        unsafe { core::ptr::write_bytes(self.cursor as *mut u8, 0, len) };
        self.cursor += len;
        len
    }
}

impl VmReader<'_, Fallible> {
    /// Returns a reader of user memory.
    ///
    /// # Safety
    ///
    /// The range lies in the user half, whose active space stays the same.
    pub(crate) unsafe fn from_user_space(start: Vaddr, len: usize) -> Self {
        Self::new(start, len)
    }

    /// Copies as many bytes as both sides have; returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::PageFault`] with the number of bytes copied before the byte that
    /// faulted; both positions are then at that byte.
    pub fn read_fallible(
        &mut self,
        writer: &mut VmWriter<'_, Infallible>,
    ) -> Result<usize, (Error, usize)> {
        let len = self.remain().min(writer.avail());
        // SAFETY: 1. this side is in the user half; 2. the other is kernel
        // memory of at least `len` bytes.
        let copied =
            unsafe { uaccess::copy_user(writer.cursor as *mut u8, self.cursor as *const u8, len) };
        self.cursor += copied;
        writer.cursor += copied;
        finished(copied, len)
    }
}

impl VmWriter<'_, Fallible> {
    /// Returns a writer of user memory.
    ///
    /// # Safety
    ///
    /// The range lies in the user half, whose active space stays the same.
    pub(crate) unsafe fn from_user_space(start: Vaddr, len: usize) -> Self {
        Self::new(start, len)
    }

    /// Copies as many bytes as both sides have; returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::PageFault`] with the number of bytes copied before the byte that
    /// faulted; both positions are then at that byte.
    pub fn write_fallible(
        &mut self,
        reader: &mut VmReader<'_, Infallible>,
    ) -> Result<usize, (Error, usize)> {
        let len = self.avail().min(reader.remain());
        // SAFETY: 1. this side is in the user half; 2. the other is kernel
        // memory of at least `len` bytes.
        let copied =
            unsafe { uaccess::copy_user(self.cursor as *mut u8, reader.cursor as *const u8, len) };
        self.cursor += copied;
        reader.cursor += copied;
        finished(copied, len)
    }
}

fn finished(copied: usize, len: usize) -> Result<usize, (Error, usize)> {
    if copied == len {
        Ok(len)
    } else {
        Err((Error::PageFault, copied))
    }
}

impl<'a> From<&'a [u8]> for VmReader<'a, Infallible> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes.as_ptr() as Vaddr, bytes.len())
    }
}

impl<'a> From<&'a mut [u8]> for VmWriter<'a, Infallible> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self::new(bytes.as_mut_ptr() as Vaddr, bytes.len())
    }
}

#[cfg(ktest)]
mod tests {
    use super::{VmReader, VmWriter};
    use crate::prelude::*;

    #[ktest]
    fn read_copies_the_shorter_side_and_moves_both() {
        let mut target = [0_u8; 3];
        let mut reader = VmReader::from(&[1_u8, 2, 3, 4, 5][..]);
        let mut writer = VmWriter::from(&mut target[..]);
        assert_eq!(reader.read(&mut writer), 3);
        assert_eq!((reader.remain(), writer.avail()), (2, 0));
        assert_eq!(target, [1, 2, 3]);
    }

    #[ktest]
    fn limit_never_enlarges() {
        let mut reader = VmReader::from(&[0_u8; 8][..]);
        assert_eq!(reader.limit(4).limit(usize::MAX).remain(), 4);
    }

    #[ktest]
    #[should_panic(expected = "skip beyond the end")]
    fn skip_beyond_the_end_panics() {
        VmReader::from(&[0_u8; 8][..]).skip(9);
    }
}
