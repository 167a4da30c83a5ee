//! Where bytes go that are read, and come from that are written.
//!
//! Files know nothing of whose memory that is. It is a program's in system calls
//! ([`UserBuffers`]): parts of it may turn out not to be there, and so any copy may end
//! early. It is the kernel's own in tests, and where one file is copied to another.
//!
//! A copy to or from a program's memory may fault, and a fault may need the pages of a
//! file. So nobody holds the lock of a file's pages while it copies.

use nucleus::mm::{VmReader, VmWriter};

use crate::errno::Errno;
use crate::vm::AddressSpace;

/// Where bytes go that are read from a file.
pub(crate) trait Sink {
    /// Returns how many bytes it still takes.
    fn room(&self) -> usize;

    /// Takes bytes, as many as there is room for; returns how many. They are fewer only
    /// where memory turned out not to be there.
    ///
    /// # Errors
    ///
    /// [`Errno::Fault`] if not even one byte could be stored, though there is room.
    fn put(&mut self, bytes: VmReader<'_>) -> Result<usize, Errno>;
}

/// Where bytes come from that are written to a file.
pub(crate) trait Source {
    /// Returns how many bytes are left.
    fn left(&self) -> usize;

    /// Gives bytes, as many as there are and fit; returns how many. They are fewer only
    /// where memory turned out not to be there.
    ///
    /// # Errors
    ///
    /// [`Errno::Fault`] if not even one byte could be read, though some are left.
    fn take(&mut self, room: VmWriter<'_>) -> Result<usize, Errno>;
}

impl Sink for VmWriter<'_> {
    fn room(&self) -> usize {
        self.avail()
    }

    fn put(&mut self, mut bytes: VmReader<'_>) -> Result<usize, Errno> {
        Ok(self.write(&mut bytes))
    }
}

impl Source for VmReader<'_> {
    fn left(&self) -> usize {
        self.remain()
    }

    fn take(&mut self, mut room: VmWriter<'_>) -> Result<usize, Errno> {
        Ok(self.read(&mut room))
    }
}

/// The first bytes of a source.
pub(crate) struct First<'a> {
    source: &'a mut dyn Source,
    left: usize,
}

impl<'a> First<'a> {
    pub(crate) fn new(source: &'a mut dyn Source, len: u64) -> Self {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let left = source.left().min(len);
        Self { source, left }
    }
}

impl Source for First<'_> {
    fn left(&self) -> usize {
        self.left
    }

    fn take(&mut self, mut room: VmWriter<'_>) -> Result<usize, Errno> {
        room.limit(self.left);
        let taken = self.source.take(room)?;
        self.left -= taken;
        Ok(taken)
    }
}

/// A range of a program's addresses, as the program says: nothing about it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserVector {
    pub(crate) address: usize,
    pub(crate) len: usize,
}

/// Ranges of a program's memory, one after the other, as a sink or a source.
#[derive(Debug)]
pub(crate) struct UserBuffers<'a> {
    memory: &'a AddressSpace,
    vectors: &'a [UserVector],
    /// Bytes of the first of these that are done.
    offset: usize,
    /// Bytes of all of these that are left.
    left: usize,
}

impl<'a> UserBuffers<'a> {
    /// Returns ranges of a program's memory. No more than the first `limit` bytes
    /// count, which is also the most that can be counted.
    pub(crate) fn new(memory: &'a AddressSpace, vectors: &'a [UserVector], limit: usize) -> Self {
        let sum = vectors
            .iter()
            .fold(0_usize, |sum, vector| sum.saturating_add(vector.len));
        Self {
            memory,
            vectors,
            offset: 0,
            left: sum.min(limit),
        }
    }

    /// Leaves bytes out, at most as many as there are.
    pub(crate) fn skip(&mut self, count: usize) {
        // Nothing is copied, so nothing can go wrong.
        let _ = self.advance(count, |_, _, len| Ok(len));
    }

    /// Copies `len` bytes, at most as many as are left, part by part; `copy` says for
    /// each address and length how many bytes it copied.
    fn advance(
        &mut self,
        len: usize,
        mut copy: impl FnMut(&AddressSpace, usize, usize) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let wanted = len.min(self.left);
        let mut done = 0;
        while done < wanted {
            let Some(vector) = self.vectors.first() else {
                break;
            };
            let part = (vector.len - self.offset).min(wanted - done);
            if part == 0 {
                self.vectors = &self.vectors[1..];
                self.offset = 0;
                continue;
            }
            let start = vector.address.wrapping_add(self.offset);
            let copied = match copy(self.memory, start, part) {
                Err(_) if done > 0 => break,
                other => other?,
            };
            done += copied;
            self.offset += copied;
            self.left -= copied;
            if copied < part {
                break;
            }
        }
        Ok(done)
    }
}

impl Sink for UserBuffers<'_> {
    fn room(&self) -> usize {
        self.left
    }

    fn put(&mut self, mut bytes: VmReader<'_>) -> Result<usize, Errno> {
        self.advance(bytes.remain(), |memory, address, len| {
            let mut part = bytes.clone();
            let copied = memory.write_from(address, part.limit(len))?;
            bytes.skip(copied);
            Ok(copied)
        })
    }
}

impl Source for UserBuffers<'_> {
    fn left(&self) -> usize {
        self.left
    }

    fn take(&mut self, mut room: VmWriter<'_>) -> Result<usize, Errno> {
        self.advance(room.avail(), |memory, address, len| {
            let mut part = room.clone_exclusive();
            let copied = memory.read_to(address, part.limit(len))?;
            room.skip(copied);
            Ok(copied)
        })
    }
}
