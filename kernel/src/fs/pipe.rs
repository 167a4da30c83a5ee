//! Pipes.
//!
//! A pipe is a ring of bytes in frames, of which there are only as many as have bytes in
//! them. What is written at once and is not longer than [`ATOMIC`] stays together.
//!
//! **Locks and order.** The transfer lock is held by whoever moves bytes, while these are
//! copied from or to a program's memory, which may fault; a fault needs no pipe. The
//! number of bytes and those of the ends are atomic words, so that whoever waits for them
//! needs no lock. They are changed *before* the queue counts a wake-up, and looked at
//! *after* its count was read: the [queue](nucleus::sync::WaitQueue) orders them.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use nucleus::impl_untyped_frame_meta_for;
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, UFrame, UntypedMem};
use nucleus::sync::{Mutex, WaitQueue};

use super::buffer::{Sink, Source};
use super::node::{Filesystem, Inode, Kind, Metadata, Stream};
use super::now;
use super::poll::{self, EdgeCounter, Edges, Readiness};
use crate::errno::Errno;

/// Frames of what is on its way through a pipe.
#[derive(Debug)]
struct PipePage;
impl_untyped_frame_meta_for!(PipePage => "pipes");

/// Frames of a full pipe, and its bytes.
const FRAMES: usize = 16;
pub(crate) const CAPACITY: usize = FRAMES * PAGE_SIZE;
/// Bytes that are written all at once or not at all (`PIPE_BUF`).
const ATOMIC: usize = 4096;

/// The bytes of a pipe, under the lock of the transfer.
#[derive(Debug, Default)]
struct Ring {
    frames: [Option<UFrame>; FRAMES],
    /// Where the next byte is read, below the capacity.
    start: usize,
}

/// A pipe, which both of its ends have in common.
#[derive(Debug)]
struct Pipe {
    number: u64,
    created: core::time::Duration,
    ring: Mutex<Ring>,
    /// Bytes in the ring; changed under its lock.
    len: AtomicUsize,
    nr_readers: AtomicUsize,
    nr_writers: AtomicUsize,
    edges: EdgeCounter,
    queue: WaitQueue,
}

/// The end of a pipe to read from.
#[derive(Debug)]
pub(crate) struct PipeReader(Arc<Pipe>);

/// The end of a pipe to write to.
#[derive(Debug)]
pub(crate) struct PipeWriter(Arc<Pipe>);

/// Makes a pipe; returns its ends.
pub(crate) fn open() -> (Arc<PipeReader>, Arc<PipeWriter>) {
    static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);
    let pipe = Arc::new(Pipe {
        // Relaxed: it only has to be another one each time.
        number: LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1,
        created: now(),
        ring: Mutex::new(Ring::default()),
        len: AtomicUsize::new(0),
        nr_readers: AtomicUsize::new(1),
        nr_writers: AtomicUsize::new(1),
        edges: EdgeCounter::new(),
        queue: WaitQueue::new(),
    });
    (
        Arc::new(PipeReader(Arc::clone(&pipe))),
        Arc::new(PipeWriter(pipe)),
    )
}

impl Ring {
    /// Moves bytes out, of the `len` that are there; returns how many. Frames that are
    /// read to their end are freed.
    fn read(&mut self, len: usize, to: &mut dyn Sink) -> Result<usize, Errno> {
        let wanted = len.min(to.room());
        let mut done = 0;
        while done < wanted {
            let (index, offset) = (self.start / PAGE_SIZE, self.start % PAGE_SIZE);
            let part = (PAGE_SIZE - offset).min(wanted - done);
            let frame = self.frames[index].as_ref().ok_or(Errno::NoMemory)?;
            let mut bytes = frame.reader();
            bytes.skip(offset).limit(part);
            let count = match to.put(bytes) {
                Err(_) if done > 0 => break,
                other => other?,
            };
            done += count;
            self.start = (self.start + count) % CAPACITY;
            // The last bytes of a full ring may be in front of those that were read.
            let is_used_again = len - done > CAPACITY - PAGE_SIZE;
            if offset + count == PAGE_SIZE && !is_used_again {
                self.frames[index] = None;
            }
            if count < part {
                break;
            }
        }
        Ok(done)
    }

    /// Moves bytes in behind the `len` that are there; returns how many. No more than
    /// there is room for may be asked for.
    fn write(&mut self, len: usize, count: usize, from: &mut dyn Source) -> Result<usize, Errno> {
        let mut done = 0;
        while done < count {
            let end = (self.start + len + done) % CAPACITY;
            let (index, offset) = (end / PAGE_SIZE, end % PAGE_SIZE);
            let part = (PAGE_SIZE - offset).min(count - done);
            match self.write_to(index, offset, part, from) {
                Ok(written) => {
                    done += written;
                    if written < part {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_to(
        &mut self,
        index: usize,
        offset: usize,
        len: usize,
        from: &mut dyn Source,
    ) -> Result<usize, Errno> {
        let frame = match &self.frames[index] {
            Some(frame) => frame.clone(),
            None => {
                let mut options = FrameAllocOptions::new();
                UFrame::from(options.for_user(true).alloc_frame_with(PipePage)?)
            }
        };
        let mut room = frame.writer();
        room.skip(offset).limit(len);
        let count = from.take(room)?;
        self.frames[index] = Some(frame);
        Ok(count)
    }
}

/// Returns whether a pipe with so many bytes takes short writes.
const fn has_room(len: usize) -> bool {
    CAPACITY - len >= ATOMIC
}

impl Pipe {
    fn len(&self) -> usize {
        // Relaxed: the queue's lock orders it for those who wait.
        self.len.load(Ordering::Relaxed)
    }

    fn has_readers(&self) -> bool {
        // Relaxed: as in `len`.
        self.nr_readers.load(Ordering::Relaxed) > 0
    }

    fn has_writers(&self) -> bool {
        // Relaxed: as in `len`.
        self.nr_writers.load(Ordering::Relaxed) > 0
    }

    fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno> {
        if to.room() == 0 {
            return Ok(0);
        }
        let mut ring = self.ring.lock();
        let len = self.len();
        if len == 0 {
            return if self.has_writers() {
                Err(Errno::Again)
            } else {
                Ok(0)
            };
        }
        let count = ring.read(len, to)?;
        // Relaxed: as in `len`.
        self.len.fetch_sub(count, Ordering::Relaxed);
        if !has_room(len) && has_room(len - count) {
            self.edges.add_write();
        }
        drop(ring);
        poll::wake(&self.queue);
        Ok(count)
    }

    fn write(&self, from: &mut dyn Source) -> Result<usize, Errno> {
        let wanted = from.left();
        if wanted == 0 {
            return Ok(0);
        }
        let mut ring = self.ring.lock();
        if !self.has_readers() {
            return Err(Errno::BrokenPipe);
        }
        let len = self.len();
        let room = CAPACITY - len;
        if room == 0 || (wanted <= ATOMIC && room < wanted) {
            return Err(Errno::Again);
        }
        let count = ring.write(len, wanted.min(room), from)?;
        // Relaxed: as in `len`.
        self.len.fetch_add(count, Ordering::Relaxed);
        self.edges.add_read();
        drop(ring);
        poll::wake(&self.queue);
        Ok(count)
    }

    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata {
            permissions: 0o600,
            ..Metadata::new(Filesystem::Pipes, self.number, Kind::Pipe)
        };
        let times = &mut metadata.times;
        times.accessed = self.created;
        times.modified = self.created;
        times.changed = self.created;
        metadata
    }
}

/// What both ends have in common as inodes.
macro_rules! impl_inode {
    ($end:ident) => {
        impl Inode for $end {
            fn metadata(&self) -> Metadata {
                self.0.metadata()
            }

            fn made_up_name(&self) -> Vec<u8> {
                format!("pipe:[{}]", self.0.number).into_bytes()
            }
        }
    };
}

impl_inode!(PipeReader);
impl_inode!(PipeWriter);

impl Stream for PipeReader {
    fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno> {
        self.0.read(to)
    }

    fn write(&self, _from: &mut dyn Source) -> Result<usize, Errno> {
        Err(Errno::BadFile)
    }

    fn readiness(&self) -> Readiness {
        Readiness::READ.when(self.0.len() > 0) | Readiness::HANG_UP.when(!self.0.has_writers())
    }

    fn edges(&self) -> Edges {
        self.0.edges.get()
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }

    fn nr_readable(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn allows(&self, _read: bool, write: bool) -> bool {
        !write
    }
}

impl Stream for PipeWriter {
    fn read(&self, _to: &mut dyn Sink) -> Result<usize, Errno> {
        Err(Errno::BadFile)
    }

    fn write(&self, from: &mut dyn Source) -> Result<usize, Errno> {
        self.0.write(from)
    }

    fn readiness(&self) -> Readiness {
        Readiness::WRITE.when(has_room(self.0.len())) | Readiness::ERROR.when(!self.0.has_readers())
    }

    fn edges(&self) -> Edges {
        self.0.edges.get()
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }

    fn nr_readable(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn allows(&self, read: bool, _write: bool) -> bool {
        !read
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        // Relaxed: as in `Pipe::len`.
        self.0.nr_readers.fetch_sub(1, Ordering::Relaxed);
        self.0.edges.add_write();
        poll::wake(&self.0.queue);
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        // Relaxed: as in `Pipe::len`.
        self.0.nr_writers.fetch_sub(1, Ordering::Relaxed);
        self.0.edges.add_read();
        poll::wake(&self.0.queue);
    }
}

#[cfg(ktest)]
mod tests {
    use alloc::vec;

    use nucleus::mm::{VmReader, VmWriter};
    use nucleus::prelude::*;

    use super::{ATOMIC, CAPACITY, open};
    use crate::errno::Errno;
    use crate::fs::node::Stream;
    use crate::fs::poll::Readiness;

    fn write(to: &dyn Stream, bytes: &[u8]) -> Result<usize, Errno> {
        to.write(&mut VmReader::from(bytes))
    }

    fn read(from: &dyn Stream, buffer: &mut [u8]) -> Result<usize, Errno> {
        from.read(&mut VmWriter::from(buffer))
    }

    #[ktest]
    fn bytes_come_out_in_order_around_the_ring() {
        let (reader, writer) = open();
        let mut next_in = 0_u8;
        let mut next_out = 0_u8;
        for len in [1, 4095, 4097, 30_000, 65_000, 2, 50_000] {
            let mut bytes = vec![0; len];
            bytes.fill_with(|| {
                next_in = next_in.wrapping_add(1);
                next_in
            });
            assert_eq!(write(&*writer, &bytes), Ok(len));
            let mut buffer = vec![0; len + 1];
            assert_eq!(read(&*reader, &mut buffer), Ok(len));
            for byte in &buffer[..len] {
                next_out = next_out.wrapping_add(1);
                assert_eq!(*byte, next_out);
            }
        }
    }

    #[ktest]
    fn empty_pipe_is_no_end_while_somebody_can_write() {
        let (reader, writer) = open();
        let mut buffer = [0; 4];
        assert_eq!(read(&*reader, &mut buffer), Err(Errno::Again));
        assert_eq!(reader.readiness(), Readiness::NONE);
        assert_eq!(write(&*writer, b"end"), Ok(3));
        drop(writer);
        assert_eq!(reader.readiness(), Readiness::READ | Readiness::HANG_UP);
        assert_eq!(read(&*reader, &mut buffer), Ok(3));
        assert_eq!(read(&*reader, &mut buffer), Ok(0));
    }

    #[ktest]
    fn nobody_reads_so_nobody_writes() {
        let (reader, writer) = open();
        drop(reader);
        assert_eq!(write(&*writer, b"x"), Err(Errno::BrokenPipe));
        assert!(writer.readiness().intersects(Readiness::ERROR));
    }

    #[ktest]
    fn short_writes_are_never_split() {
        let (reader, writer) = open();
        let bytes = vec![1; CAPACITY];
        assert_eq!(write(&*writer, &bytes[..CAPACITY - 10]), Ok(CAPACITY - 10));
        assert_eq!(write(&*writer, &bytes[..11]), Err(Errno::Again));
        assert_eq!(write(&*writer, &bytes[..ATOMIC + 1]), Ok(10));
        assert_eq!(writer.readiness(), Readiness::NONE);
        let mut buffer = [0; ATOMIC];
        assert_eq!(read(&*reader, &mut buffer), Ok(ATOMIC));
        assert_eq!(write(&*writer, &bytes[..ATOMIC]), Ok(ATOMIC));
    }
}
