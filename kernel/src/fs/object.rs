//! What memory can be mapped from.

use alloc::vec::Vec;
use core::fmt::Debug;

use nucleus::mm::UFrame;

use crate::errno::Errno;

/// Something with pages that programs can map: a file, or memory that they share.
pub(crate) trait MemoryObject: Send + Sync + Debug {
    /// Returns the frame of a page, which is made if it is not there.
    fn page(&self, index: usize) -> Result<UFrame, Errno>;

    /// Returns how many bytes there are; pages beyond are none.
    fn len(&self) -> usize;

    /// Returns the path, for those who look at what is mapped.
    fn name(&self) -> Vec<u8>;
}
