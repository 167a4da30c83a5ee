//! Files and symbolic links of a filesystem in memory.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use nucleus::mm::{PAGE_SIZE, UFrame};
use nucleus::sync::{Mutex, SpinLock};

use super::{Record, TmpDirectory, Tmpfs};
use crate::errno::Errno;
use crate::fs::buffer::{First, Sink, Source};
use crate::fs::node::{Change, Directory, Inode, Kind, Link, Metadata, RegularFile};
use crate::fs::pages::Pages;
use crate::fs::path::path_of;
use crate::vm::{Mappers, MemoryObject, Taken};

/// Bytes of the longest file: what a position can tell.
const MAX_LEN: u64 = i64::MAX as u64;
/// The permissions of symbolic links, which nobody looks at.
const LINK_PERMISSIONS: u16 = 0o777;

/// A file.
#[derive(Debug)]
pub(crate) struct TmpFile {
    pub(super) record: Record,
    pages: Pages,
    /// Changed under the lock of the writers; pages beyond are not there.
    len: AtomicU64,
    /// Held by those who write, change the length, or punch holes.
    writers: Mutex<()>,
    mappers: Mappers,
    /// The name that it got last, for those who ask for a path; none if it never had one.
    home: SpinLock<Option<Home>>,
}

/// A directory and a name in it.
type Home = (Weak<TmpDirectory>, Arc<[u8]>);

impl TmpFile {
    pub(super) fn new(filesystem: &Arc<Tmpfs>, permissions: u16) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self {
            record: Record::new(filesystem, Kind::File, permissions)?,
            pages: Pages::new(Arc::clone(&filesystem.frames)),
            len: AtomicU64::new(0),
            writers: Mutex::new(()),
            mappers: Mappers::new(),
            home: SpinLock::new(None),
        }))
    }

    /// Notes the name that the file has got.
    pub(super) fn set_home(&self, directory: &Weak<TmpDirectory>, name: &Arc<[u8]>) {
        let new = Some((Weak::clone(directory), Arc::clone(name)));
        let old = core::mem::replace(&mut *self.home.lock(), new);
        // Without the lock: it may be the last handle.
        drop(old);
    }

    /// Writes, as one of the writers.
    fn write_locked(&self, offset: u64, from: &mut dyn Source) -> Result<usize, Errno> {
        if from.left() == 0 {
            return Ok(0);
        }
        if offset >= MAX_LEN || from.left() as u64 > MAX_LEN - offset {
            return Err(Errno::FileTooBig);
        }
        let count = self.pages.write(offset, from)?;
        // Relaxed: changed under the writers' lock; readers may see it early or late.
        self.len.fetch_max(offset + count as u64, Ordering::Relaxed);
        self.record.set_modified();
        Ok(count)
    }
}

impl Inode for TmpFile {
    fn metadata(&self) -> Metadata {
        self.record
            .metadata(RegularFile::len(self), self.pages.nr_frames())
    }

    fn made_up_name(&self) -> Vec<u8> {
        b"/memfd: (deleted)".to_vec()
    }

    fn change(&self, change: &Change) -> Result<(), Errno> {
        self.record.change(change);
        Ok(())
    }
}

impl RegularFile for TmpFile {
    fn len(&self) -> u64 {
        // Relaxed: as where it is written.
        self.len.load(Ordering::Relaxed)
    }

    fn read_at(&self, offset: u64, to: &mut dyn Sink) -> Result<usize, Errno> {
        let len = RegularFile::len(self).saturating_sub(offset);
        self.pages.read(offset, len, to)
    }

    fn write_at(&self, offset: u64, from: &mut dyn Source) -> Result<usize, Errno> {
        let _writer = self.writers.lock();
        self.write_locked(offset, from)
    }

    fn append(&self, from: &mut dyn Source, limit: u64) -> Result<(usize, u64), Errno> {
        let _writer = self.writers.lock();
        let end = RegularFile::len(self);
        let room = limit.saturating_sub(end);
        if room == 0 && from.left() > 0 {
            return Err(Errno::FileTooBig);
        }
        let count = self.write_locked(end, &mut First::new(from, room))?;
        Ok((count, end + count as u64))
    }

    fn resize(&self, len: u64) -> Result<(), Errno> {
        if len > MAX_LEN {
            return Err(Errno::FileTooBig);
        }
        let _writer = self.writers.lock();
        // Relaxed: as in `write_locked`, and the mappers' locks order it for those who
        // map the file. Before the pages go, so that nobody gets them again.
        let old = self.len.swap(len, Ordering::Relaxed);
        if len < old {
            let gone = len.div_ceil(PAGE_SIZE as u64) as usize..usize::MAX;
            if let Err(error) = self.mappers.take_out(&gone, Taken::All) {
                // Relaxed: as above.
                self.len.store(old, Ordering::Relaxed);
                return Err(error);
            }
        }
        self.pages.truncate(len);
        self.record.set_modified();
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64, keeps_len: bool) -> Result<(), Errno> {
        let end = offset.checked_add(len).filter(|end| *end <= MAX_LEN);
        let end = end.ok_or(Errno::FileTooBig)?;
        let _writer = self.writers.lock();
        let pages = offset / PAGE_SIZE as u64..end.div_ceil(PAGE_SIZE as u64);
        self.pages
            .make_all(pages.start as usize..pages.end as usize)?;
        if !keeps_len {
            // Relaxed: as in `write_locked`.
            self.len.fetch_max(end, Ordering::Relaxed);
        }
        Ok(())
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let end = offset.checked_add(len).filter(|end| *end <= MAX_LEN);
        MemoryObject::punch_hole(self, offset..end.ok_or(Errno::FileTooBig)?)
    }

    fn memory_object(self: Arc<Self>) -> Result<Arc<dyn MemoryObject>, Errno> {
        Ok(self)
    }
}

impl MemoryObject for TmpFile {
    fn page(&self, index: usize) -> Result<UFrame, Errno> {
        if index >= MemoryObject::len(self).div_ceil(PAGE_SIZE) {
            return Err(Errno::Fault);
        }
        self.pages.get_or_make(index)
    }

    fn page_at_hand(&self, index: usize) -> Option<UFrame> {
        let is_inside = index < MemoryObject::len(self).div_ceil(PAGE_SIZE);
        is_inside.then(|| self.pages.at_hand(index)).flatten()
    }

    fn mappers(&self) -> Option<&Mappers> {
        Some(&self.mappers)
    }

    fn punch_hole(&self, bytes: Range<u64>) -> Result<(), Errno> {
        let _writer = self.writers.lock();
        let whole = self.pages.zero(&bytes);
        self.mappers.take_out(&whole, Taken::Objects)?;
        self.pages.drop_unused(&whole);
        self.record.set_modified();
        Ok(())
    }

    fn len(&self) -> usize {
        RegularFile::len(self) as usize
    }

    fn inode(&self) -> u64 {
        self.record.number
    }

    fn name(&self) -> Vec<u8> {
        let home = self.home.lock().clone();
        let found = home.and_then(|(directory, name)| Some((directory.upgrade()?, name)));
        let Some((directory, name)) = found else {
            return self.made_up_name();
        };
        let directory: Arc<dyn Directory> = directory;
        path_of(&directory, &name, self).unwrap_or_default()
    }
}

/// A symbolic link.
#[derive(Debug)]
pub(crate) struct TmpLink {
    pub(super) record: Record,
    target: Box<[u8]>,
}

impl TmpLink {
    pub(super) fn new(filesystem: &Arc<Tmpfs>, target: &[u8]) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self {
            record: Record::new(filesystem, Kind::Link, LINK_PERMISSIONS)?,
            target: target.into(),
        }))
    }
}

impl Inode for TmpLink {
    fn metadata(&self) -> Metadata {
        self.record.metadata(self.target.len() as u64, 0)
    }

    fn change(&self, change: &Change) -> Result<(), Errno> {
        self.record.change(change);
        Ok(())
    }
}

impl Link for TmpLink {
    fn text(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.target.to_vec())
    }
}
