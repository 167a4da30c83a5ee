//! Readers and writers of memory that others may change meanwhile.
//!
//! A [`VmReader`] or [`VmWriter`] is a range of addresses and a position in it.
//! [`Infallible`] ones cover kernel memory that is mapped for sure; [`Fallible`]
//! ones may cover memory of a user, where any access may fault: their copies
//! stop at the first byte that faults and say how far they came. Bytes are
//! copied in ascending order, and may tear; the `_once` and `atomic_` operations
//! are single accesses.
//!
//! A fallible access may run a page-fault handler, and so may sleep: it must not
//! be made in atomic mode.
//!
//! * `fallible`: copies that may fault, and atomic operations on user memory.
//! * `vm_io`: objects that are read and written at offsets.

use core::marker::PhantomData;

mod fallible;
mod vm_io;

pub use self::vm_io::{VmIo, VmIoOnce};
use crate::arch::memory::is_kernel_range;
use crate::error::{Error, Result};
use crate::mm::{USER_END, Vaddr};

/// Values that any bytes are legal for, and that have no padding and no
/// references: plain old data.
pub trait Pod: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy {}

impl<T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy> Pod for T {}

/// Accesses cannot fault: kernel memory.
#[derive(Debug)]
pub enum Infallible {}

/// Accesses may fault: user memory.
#[derive(Debug)]
pub enum Fallible {}

/// Whose memory a reader or writer covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// The kernel's.
    Kernel,
    /// That of the user whose space is active.
    User,
}

/// Reads a range of memory from front to back.
#[derive(Debug)]
pub struct VmReader<'a, Fallibility = Infallible> {
    cursor: *const u8,
    end: *const u8,
    half: Half,
    _memory: PhantomData<(&'a [u8], Fallibility)>,
}

/// Writes a range of memory from front to back.
#[derive(Debug)]
pub struct VmWriter<'a, Fallibility = Infallible> {
    cursor: *mut u8,
    end: *mut u8,
    half: Half,
    _memory: PhantomData<(&'a mut [u8], Fallibility)>,
}

macro_rules! position_in_range {
    ($type:ident, $pointer:ty, $left:ident, $has_left:ident) => {
        impl<'a, Fallibility> $type<'a, Fallibility> {
            fn new(start: $pointer, len: usize, half: Half) -> Self {
                Self {
                    cursor: start,
                    end: start.wrapping_add(len),
                    half,
                    _memory: PhantomData,
                }
            }

            /// Returns the address of the next byte.
            pub fn cursor(&self) -> $pointer {
                self.cursor
            }

            /// Returns the number of bytes that are left.
            pub fn $left(&self) -> usize {
                self.end.addr() - self.cursor.addr()
            }

            /// Returns whether any bytes are left.
            pub fn $has_left(&self) -> bool {
                self.cursor != self.end
            }

            /// Ends the range after at most `max` more bytes; never enlarges it.
            pub fn limit(&mut self, max: usize) -> &mut Self {
                self.end = self.cursor.wrapping_add(max.min(self.$left()));
                self
            }

            /// Leaves out the next `count` bytes.
            ///
            /// # Panics
            ///
            /// Panics when fewer are left.
            pub fn skip(&mut self, count: usize) -> &mut Self {
                assert!(count <= self.$left(), "skip beyond the end");
                self.advance(count);
                self
            }

            fn advance(&mut self, count: usize) {
                self.cursor = self.cursor.wrapping_add(count);
            }

            /// Returns the same with another fallibility.
            fn convert<Other>(self) -> $type<'a, Other> {
                $type {
                    cursor: self.cursor,
                    end: self.end,
                    half: self.half,
                    _memory: PhantomData,
                }
            }

            /// Checks that a value of `size` bytes is left.
            fn check_left(&self, size: usize) -> Result<()> {
                if self.$left() < size {
                    return Err(Error::InvalidArgs);
                }
                Ok(())
            }

            /// Checks that a value is left and the position fit for it.
            fn check_once<T>(&self) -> Result<()> {
                const {
                    assert!(
                        matches!(size_of::<T>(), 1 | 2 | 4 | 8),
                        "a single access has 1, 2, 4 or 8 bytes"
                    )
                };
                self.check_left(size_of::<T>())?;
                assert!(
                    self.cursor.addr().is_multiple_of(size_of::<T>()),
                    "a single access at {:#x} is misaligned",
                    self.cursor.addr()
                );
                Ok(())
            }
        }

        impl<'a> $type<'a, Infallible> {
            /// Covers kernel memory.
            ///
            /// # Panics
            ///
            /// Panics when the range, not being empty, is not the kernel's.
            ///
            /// # Safety
            ///
            /// The range is mapped for the access while this lives, and whoever
            /// else uses it does so by readers and writers, or in ring 3.
            pub unsafe fn from_kernel_space(start: $pointer, len: usize) -> Self {
                assert!(
                    len == 0 || is_kernel_range(start.addr(), len),
                    "{len:#x} bytes at {:#x} are not kernel memory",
                    start.addr()
                );
                Self::new(start, len, Half::Kernel)
            }

            /// Returns the same as one whose accesses are treated as if they could
            /// fault.
            pub fn to_fallible(self) -> $type<'a, Fallible> {
                self.convert()
            }
        }

        impl $type<'_, Fallible> {
            /// Covers memory of whatever user space is active at each access: of
            /// another user's, when that changes meanwhile, and never the kernel's.
            ///
            /// # Panics
            ///
            /// Panics when the range leaves user space.
            pub fn from_user_space(start: $pointer, len: usize) -> Self {
                assert!(
                    is_user_range(start.addr(), len),
                    "{len:#x} bytes at {:#x} are not user memory",
                    start.addr()
                );
                Self::new(start, len, Half::User)
            }
        }
    };
}

position_in_range!(VmReader, *const u8, remain, has_remain);
position_in_range!(VmWriter, *mut u8, avail, has_avail);

/// Returns whether a range lies below the end of what users may access.
pub(crate) fn is_user_range(start: Vaddr, len: usize) -> bool {
    start <= USER_END && len <= USER_END - start
}

impl<Fallibility> Clone for VmReader<'_, Fallibility> {
    fn clone(&self) -> Self {
        Self {
            cursor: self.cursor,
            end: self.end,
            half: self.half,
            _memory: PhantomData,
        }
    }
}

impl<Fallibility> VmWriter<'_, Fallibility> {
    /// Returns another writer of the rest, whose progress does not move this one.
    pub fn clone_exclusive(&mut self) -> VmWriter<'_, Fallibility> {
        VmWriter {
            cursor: self.cursor,
            end: self.end,
            half: self.half,
            _memory: PhantomData,
        }
    }
}

impl VmReader<'_, Infallible> {
    /// Copies as many bytes as both sides have; returns how many.
    ///
    /// The ranges may overlap; what is written there is then unspecified.
    pub fn read(&mut self, writer: &mut VmWriter<'_, Infallible>) -> usize {
        let len = self.remain().min(writer.avail());
        // SAFETY: Both ranges are mapped for `len` bytes, as their constructors
        // were promised; they may overlap.
        unsafe { core::ptr::copy(self.cursor, writer.cursor, len) };
        self.advance(len);
        writer.advance(len);
        len
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when less is left; the position stays.
    pub fn read_val<T: Pod>(&mut self) -> Result<T> {
        self.check_left(size_of::<T>())?;
        let mut value = T::new_zeroed();
        self.read(&mut VmWriter::from(value.as_mut_bytes()));
        Ok(value)
    }

    /// Reads a value of 1, 2, 4 or 8 bytes in one access.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when less is left; the position stays.
    ///
    /// # Panics
    ///
    /// Panics when the position is not a multiple of the size.
    pub fn read_once<T: Pod>(&mut self) -> Result<T> {
        self.check_once::<T>()?;
        // SAFETY: The range is mapped, and the position was checked.
        let value = unsafe { self.cursor.cast::<T>().read_volatile() };
        self.advance(size_of::<T>());
        Ok(value)
    }
}

impl VmWriter<'_, Infallible> {
    /// Copies as many bytes as both sides have; returns how many.
    pub fn write(&mut self, reader: &mut VmReader<'_, Infallible>) -> usize {
        reader.read(self)
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when less is left; the position stays.
    pub fn write_val<T: Pod>(&mut self, value: &T) -> Result<()> {
        self.check_left(size_of::<T>())?;
        self.write(&mut VmReader::from(value.as_bytes()));
        Ok(())
    }

    /// Writes a value of 1, 2, 4 or 8 bytes in one access.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when less is left; the position stays.
    ///
    /// # Panics
    ///
    /// Panics when the position is not a multiple of the size.
    pub fn write_once<T: Pod>(&mut self, value: &T) -> Result<()> {
        self.check_once::<T>()?;
        // SAFETY: The range is mapped, and the position was checked.
        unsafe { self.cursor.cast::<T>().write_volatile(*value) };
        self.advance(size_of::<T>());
        Ok(())
    }

    /// Writes zeros to at most `len` bytes; returns to how many.
    pub fn fill_zeros(&mut self, len: usize) -> usize {
        let len = self.avail().min(len);
        // SAFETY: The range is mapped for `len` bytes.
        unsafe { core::ptr::write_bytes(self.cursor, 0, len) };
        self.advance(len);
        len
    }

    /// Writes a value over and over to the end; returns how often.
    ///
    /// # Panics
    ///
    /// Panics when the position is misaligned for the value, or what is left is
    /// not a whole number of them.
    pub fn fill<T: Pod>(&mut self, value: T) -> usize {
        assert!(
            self.cursor.cast::<T>().is_aligned(),
            "filling from {:#x} is misaligned",
            self.cursor.addr()
        );
        assert!(
            size_of::<T>() > 0 && self.avail().is_multiple_of(size_of::<T>()),
            "{:#x} bytes are no whole number of values",
            self.avail()
        );
        let count = self.avail() / size_of::<T>();
        for _ in 0..count {
            // SAFETY: The range is mapped, aligned, and long enough.
            unsafe { self.cursor.cast::<T>().write_volatile(value) };
            self.advance(size_of::<T>());
        }
        count
    }
}

impl<'a> From<&'a [u8]> for VmReader<'a, Infallible> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes.as_ptr(), bytes.len(), Half::Kernel)
    }
}

impl<'a> From<&'a mut [u8]> for VmWriter<'a, Infallible> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self::new(bytes.as_mut_ptr(), bytes.len(), Half::Kernel)
    }
}

#[cfg(any(test, ktest))]
mod tests;
