//! Memory that the processor and a device use at the same time.
//!
//! A device reads and writes physical memory by itself once it has been told an address.
//! [`DmaCoherent`] is untyped memory for that: zeroed, side by side, and seen alike by
//! both sides without any flush, as x86's devices snoop the processors' caches (SDM 3A,
//! 12.3.2).
//!
//! What it does not do: keep a device from memory that it was not given. Whoever tells a
//! device an address is trusted, unlike other safe code; so drivers live in the nucleus,
//! and memory that a device may still use is not to be dropped.

use super::{Infallible, PAGE_SIZE, Paddr, Pod, Segment, VmIo, VmIoOnce, VmReader, VmWriter};
use crate::error::Result;
use crate::mm::FrameAllocOptions;

/// Memory for a processor and a device.
#[derive(Debug)]
pub(crate) struct DmaCoherent(Segment<()>);

impl DmaCoherent {
    /// Allocates zeroed memory.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`](crate::Error::InvalidArgs) for no frames,
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub(crate) fn alloc(nr_frames: usize) -> Result<Self> {
        FrameAllocOptions::new().alloc_segment(nr_frames).map(Self)
    }

    /// Returns the address that a device has it at: the physical one.
    pub(crate) fn daddr(&self) -> Paddr {
        self.0.start_paddr()
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.0.size()
    }
}

impl VmIo for DmaCoherent {
    fn read(&self, offset: usize, writer: &mut VmWriter<'_, Infallible>) -> Result<()> {
        self.0.read(offset, writer)
    }

    fn write(&self, offset: usize, reader: &mut VmReader<'_, Infallible>) -> Result<()> {
        self.0.write(offset, reader)
    }

    fn fill_zeros(&self, offset: usize, len: usize) -> Result<usize, (crate::Error, usize)> {
        self.0.fill_zeros(offset, len)
    }
}

impl VmIoOnce for DmaCoherent {
    fn read_once<T: Pod>(&self, offset: usize) -> Result<T> {
        self.0.read_once(offset)
    }

    fn write_once<T: Pod>(&self, offset: usize, value: &T) -> Result<()> {
        self.0.write_once(offset, value)
    }
}

const _: () = assert!(PAGE_SIZE == 4096, "what devices are told of pages is that");

#[cfg(any(test, ktest))]
mod tests {
    use super::DmaCoherent;
    use crate::mm::{PAGE_SIZE, VmIo, VmIoOnce};
    use crate::prelude::*;

    #[ktest]
    fn memory_for_devices_is_zeroed_and_whole_pages() {
        let memory = DmaCoherent::alloc(2).expect("enough memory");
        assert_eq!(memory.size(), 2 * PAGE_SIZE);
        assert!(memory.daddr().is_multiple_of(PAGE_SIZE));
        let mut bytes = [1; 16];
        memory.read_bytes(PAGE_SIZE - 8, &mut bytes).expect("in it");
        assert_eq!(bytes, [0; 16]);
        memory.write_once(8, &7_u32).expect("in it");
        assert_eq!(memory.read_once::<u32>(8), Ok(7));
        assert!(DmaCoherent::alloc(0).is_err());
    }
}
