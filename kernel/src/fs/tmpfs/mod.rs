//! A filesystem in memory: what programs create lives here.
//!
//! Contents are in frames ([`Pages`](super::pages::Pages)); names, directories and the files' records are on
//! the heap. Both are bounded: a filesystem has no more frames than half of those that
//! there are, and no more files than an eighth of that, each of which takes less than
//! 1 KiB of the heap, its longest possible name included.
//!
//! * `directory`: directories, and all that changes the tree.
//! * `file`: files and symbolic links.
//!
//! **Locks.** A directory's names have a lock of their own. Whoever takes two of these
//! holds the filesystem's `tree` lock, and then the order does not matter; it also makes
//! the places of all directories stand still. A file's `writers` come before anything
//! that a copy from user memory may need; its pages and its attributes are innermost.
//! Nodes are dropped when no lock is held.

mod directory;
mod file;
#[cfg(ktest)]
mod tests;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use nucleus::mm::frame::frame_counts;
use nucleus::sync::{Mutex, SpinLock};

pub(crate) use self::directory::TmpDirectory;
use super::node::{Change, Filesystem, Kind, Metadata, Times};
use super::now;
use super::pages::Budget;
use crate::errno::Errno;
use crate::vm::ensure_reserve;

/// A filesystem in memory.
#[derive(Debug)]
pub(crate) struct Tmpfs {
    frames: Arc<Budget>,
    files: Budget,
    /// Held while two directories are locked, or places looked at that must not change.
    tree: Mutex<()>,
}

impl Tmpfs {
    /// Makes a filesystem that has a path for ever; returns its root.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory even for that.
    pub(crate) fn open(path: &'static str, permissions: u16) -> Arc<TmpDirectory> {
        let limit = frame_counts().managed / 2;
        match Self::with_limits(path, permissions, limit, limit / 8) {
            Ok(root) => root,
            Err(error) => panic!("{path} cannot be made: {error:?}"),
        }
    }

    /// Makes a filesystem of at most so many frames and files.
    fn with_limits(
        path: &'static str,
        permissions: u16,
        frames: usize,
        files: usize,
    ) -> Result<Arc<TmpDirectory>, Errno> {
        let filesystem = Arc::new(Self {
            frames: Arc::new(Budget::new(frames)),
            files: Budget::new(files),
            tree: Mutex::new(()),
        });
        TmpDirectory::new_root(&filesystem, path, permissions)
    }

    /// Returns how many frames and files there may be, and are.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            max_frames: self.frames.limit(),
            frames: self.frames.used(),
            max_files: self.files.limit(),
            files: self.files.used(),
        }
    }
}

/// How full a filesystem is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) max_frames: usize,
    pub(crate) frames: usize,
    pub(crate) max_files: usize,
    pub(crate) files: usize,
}

/// What all files of the filesystem have. As long as it lives, the file counts.
#[derive(Debug)]
struct Record {
    filesystem: Arc<Tmpfs>,
    number: u64,
    kind: Kind,
    attributes: SpinLock<Attributes>,
}

/// What `chmod` and others change.
#[derive(Clone, Copy, Debug)]
struct Attributes {
    permissions: u16,
    user: u32,
    group: u32,
    /// Names that lead to it.
    links: u32,
    times: Times,
}

impl Record {
    fn new(filesystem: &Arc<Tmpfs>, kind: Kind, permissions: u16) -> Result<Self, Errno> {
        /// Of all such filesystems, which tell programs that they are one device.
        static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);
        ensure_reserve()?;
        filesystem.files.take()?;
        let now = now();
        // Relaxed: it only has to be another one each time.
        let number = LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Self {
            filesystem: Arc::clone(filesystem),
            number,
            kind,
            attributes: SpinLock::new(Attributes {
                permissions: permissions & 0o7777,
                user: 0,
                group: 0,
                links: if kind == Kind::Directory { 2 } else { 1 },
                times: Times {
                    accessed: now,
                    modified: now,
                    changed: now,
                },
            }),
        })
    }

    fn metadata(&self, size: u64, frames: usize) -> Metadata {
        let attributes = *self.attributes.lock();
        Metadata {
            permissions: attributes.permissions,
            links: attributes.links,
            user: attributes.user,
            group: attributes.group,
            size,
            frames: frames as u64,
            times: attributes.times,
            ..Metadata::new(Filesystem::Memory, self.number, self.kind)
        }
    }

    fn change(&self, change: &Change) {
        let mut attributes = self.attributes.lock();
        let attributes = &mut *attributes;
        if let Some(permissions) = change.permissions {
            attributes.permissions = permissions & 0o7777;
        }
        attributes.user = change.user.unwrap_or(attributes.user);
        attributes.group = change.group.unwrap_or(attributes.group);
        let times = &mut attributes.times;
        times.accessed = change.accessed.unwrap_or(times.accessed);
        times.modified = change.modified.unwrap_or(times.modified);
        times.changed = now();
    }

    /// Notes that the contents have changed.
    fn set_modified(&self) {
        let now = now();
        let times = &mut self.attributes.lock().times;
        times.modified = now;
        times.changed = now;
    }

    /// Counts names that lead to it.
    fn add_links(&self, count: i32) {
        let mut attributes = self.attributes.lock();
        attributes.links = attributes.links.saturating_add_signed(count);
        attributes.times.changed = now();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.filesystem.files.give_back(1);
    }
}
