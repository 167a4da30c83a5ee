//! Open file descriptions: what a descriptor stands for.
//!
//! A description is shared by the descriptors that `dup` and `fork` made of one, and
//! with it its position and its status flags. **Locks**: the position's lock is held
//! while a file or a directory is read or written, so that two who share it get
//! different parts; it comes before every lock of the file. Streams have no position,
//! and no lock here: one may wait for a stream while another uses it.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use nucleus::sync::{Mutex, WaitQueue};

use super::buffer::{First, Sink, Source};
use super::node::{
    Directory, Filesystem, Inode, Listed, Location, Node, Place, RegularFile, Stream,
};
use super::poll::{Edges, Readiness};
use crate::errno::Errno;

/// Flags of `open` that a description keeps (`fcntl(2)`).
pub(crate) mod status {
    pub(crate) const APPEND: u32 = 0o2000;
    pub(crate) const NONBLOCK: u32 = 0o4000;
    pub(crate) const ASYNC: u32 = 0o20_000;
    pub(crate) const DIRECT: u32 = 0o40_000;
    pub(crate) const LARGE_FILE: u32 = 0o100_000;
    pub(crate) const DIRECTORY: u32 = 0o200_000;
    pub(crate) const NO_FOLLOW: u32 = 0o400_000;
    pub(crate) const NO_ACCESS_TIME: u32 = 0o1_000_000;
    pub(crate) const PATH: u32 = 0o10_000_000;
    /// Those that `fcntl` can change.
    pub(crate) const CHANGEABLE: u32 = APPEND | NONBLOCK | ASYNC | DIRECT | NO_ACCESS_TIME;
    /// Those that are kept at all.
    pub(crate) const KEPT: u32 = CHANGEABLE | LARGE_FILE | DIRECTORY | NO_FOLLOW | PATH;
}

/// What may be done with an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) reads: bool,
    pub(crate) writes: bool,
}

impl Access {
    pub(crate) const READ: Self = Self {
        reads: true,
        writes: false,
    };
    pub(crate) const WRITE: Self = Self {
        reads: false,
        writes: true,
    };
    pub(crate) const BOTH: Self = Self {
        reads: true,
        writes: true,
    };

    /// Returns the access that the flags of `open` ask for; Linux takes three for both.
    pub(crate) const fn from_flags(flags: u32) -> Self {
        match flags & 3 {
            0 => Self::READ,
            1 => Self::WRITE,
            _ => Self::BOTH,
        }
    }
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seek {
    Start,
    Current,
    End,
    /// To the next byte that is there: all are.
    Data,
    /// To the next byte that is not there: the end.
    Hole,
}

/// What is open.
#[derive(Debug)]
enum Object {
    File(Arc<dyn RegularFile>),
    Directory(Arc<dyn Directory>),
    Stream(Arc<dyn Stream>),
    /// Nothing but the way to it.
    Path,
}

/// An open file description.
#[derive(Debug)]
pub(crate) struct OpenFile {
    object: Object,
    location: Location,
    access: Access,
    status: AtomicU32,
    position: Mutex<u64>,
}

impl OpenFile {
    /// Opens something that was found; nothing about the access is checked here.
    ///
    /// # Errors
    ///
    /// Those of making contents; [`Errno::TooManyLinks`] for a link.
    pub(crate) fn new(location: Location, flags: u32) -> Result<Self, Errno> {
        let object = match &location.node {
            _ if flags & status::PATH != 0 => Object::Path,
            Node::File(file) => Object::File(match file.make() {
                Some(made) => made?,
                None => Arc::clone(file),
            }),
            Node::Directory(directory) => Object::Directory(Arc::clone(directory)),
            Node::Stream(stream) => Object::Stream(Arc::clone(stream)),
            Node::Link(_) => return Err(Errno::TooManyLinks),
        };
        Ok(Self {
            object,
            location,
            access: Access::from_flags(flags),
            status: AtomicU32::new(flags & status::KEPT),
            position: Mutex::new(0),
        })
    }

    /// Opens an end of a pipe, or something else without a name.
    pub(crate) fn from_stream(stream: Arc<dyn Stream>, access: Access, flags: u32) -> Self {
        Self {
            object: Object::Stream(Arc::clone(&stream)),
            location: Location {
                node: Node::Stream(stream),
                name: None,
            },
            access,
            status: AtomicU32::new(flags & status::KEPT),
            position: Mutex::new(0),
        }
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    pub(crate) fn inode(&self) -> &dyn Inode {
        self.location.node.inode()
    }

    pub(crate) const fn access(&self) -> Access {
        self.access
    }

    /// Returns the status flags, without the access mode.
    pub(crate) fn status(&self) -> u32 {
        // Relaxed: nothing else depends on them.
        self.status.load(Ordering::Relaxed)
    }

    /// Replaces those status flags that can be changed.
    pub(crate) fn set_status(&self, flags: u32) {
        let flags = flags & status::CHANGEABLE;
        // Relaxed: as in `status`. The closure always says what to write.
        let _ = self
            .status
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                Some(old & !status::CHANGEABLE | flags)
            });
    }

    /// Returns whether it is there for its way alone.
    pub(crate) const fn is_path(&self) -> bool {
        matches!(self.object, Object::Path)
    }

    /// Returns whether calls return [`Errno::Again`] instead of waiting.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.status() & status::NONBLOCK != 0
    }

    pub(crate) fn stream(&self) -> Option<&Arc<dyn Stream>> {
        match &self.object {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// Returns the file, if it is one that has positions.
    pub(crate) fn file(&self) -> Option<&Arc<dyn RegularFile>> {
        match &self.object {
            Object::File(file) => Some(file),
            _ => None,
        }
    }

    pub(crate) fn directory(&self) -> Option<&Arc<dyn Directory>> {
        match &self.location.node {
            Node::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Checks that it may be read.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`].
    pub(crate) fn check_readable(&self) -> Result<(), Errno> {
        self.access.reads.then_some(()).ok_or(Errno::BadFile)
    }

    /// Checks that it may be written.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`].
    pub(crate) fn check_writable(&self) -> Result<(), Errno> {
        self.access.writes.then_some(()).ok_or(Errno::BadFile)
    }

    /// Reads at the position, which moves; never waits for a stream.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`], [`Errno::IsDirectory`], [`Errno::Again`] where it would have
    /// to wait, and what the object says.
    pub(crate) fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno> {
        self.check_readable()?;
        match &self.object {
            Object::Stream(stream) => stream.read(to),
            Object::File(file) => {
                let mut position = self.position.lock();
                let count = file.read_at(*position, to)?;
                *position += count as u64;
                Ok(count)
            }
            Object::Directory(_) => Err(Errno::IsDirectory),
            Object::Path => Err(Errno::BadFile),
        }
    }

    /// Writes at the position, which moves, or at the end if it is open for that;
    /// never waits for a stream. A file gets nothing from the position `limit` on.
    ///
    /// # Errors
    ///
    /// [`Errno::BadFile`], [`Errno::Again`] where it would have to wait,
    /// [`Errno::FileTooBig`] where the limit allows nothing, and what the object says.
    pub(crate) fn write(&self, from: &mut dyn Source, limit: u64) -> Result<usize, Errno> {
        self.check_writable()?;
        match &self.object {
            Object::Stream(stream) => stream.write(from),
            Object::File(file) => {
                let mut position = self.position.lock();
                if self.status() & status::APPEND != 0 {
                    let (count, end) = file.append(from, limit)?;
                    *position = end;
                    return Ok(count);
                }
                let count = write_up_to(&**file, *position, from, limit)?;
                *position += count as u64;
                Ok(count)
            }
            Object::Directory(_) | Object::Path => Err(Errno::BadFile),
        }
    }

    /// Reads at an offset; the position stays.
    ///
    /// # Errors
    ///
    /// [`Errno::NotSeekable`] for a stream with no positions, and as [`Self::read`].
    pub(crate) fn read_at(&self, offset: u64, to: &mut dyn Sink) -> Result<usize, Errno> {
        self.check_positions()?;
        self.check_readable()?;
        match &self.object {
            Object::File(file) => file.read_at(offset, to),
            _ => self.read(to),
        }
    }

    /// Writes at an offset; the position stays. A file gets nothing from `limit` on.
    ///
    /// # Errors
    ///
    /// [`Errno::NotSeekable`] for a stream with no positions, and as [`Self::write`].
    pub(crate) fn write_at(
        &self,
        offset: u64,
        from: &mut dyn Source,
        limit: u64,
    ) -> Result<usize, Errno> {
        self.check_positions()?;
        self.check_writable()?;
        match &self.object {
            // Linux, unlike POSIX, looks at the flag here, too.
            Object::File(file) if self.status() & status::APPEND != 0 => {
                file.append(from, limit).map(|(count, _)| count)
            }
            Object::File(file) => write_up_to(&**file, offset, from, limit),
            _ => self.write(from, limit),
        }
    }

    /// Checks that it has positions.
    ///
    /// # Errors
    ///
    /// [`Errno::NotSeekable`]; [`Errno::BadFile`] if only its way is open.
    pub(crate) fn check_positions(&self) -> Result<(), Errno> {
        match &self.object {
            Object::Stream(stream) if !stream.ignores_positions() => Err(Errno::NotSeekable),
            Object::Path => Err(Errno::BadFile),
            _ => Ok(()),
        }
    }

    /// Moves the position; returns where it is now.
    ///
    /// # Errors
    ///
    /// [`Errno::NotSeekable`], [`Errno::Invalid`] for a position that is none,
    /// [`Errno::NoAddress`] for data behind the end.
    pub(crate) fn seek(&self, offset: i64, whence: Seek) -> Result<u64, Errno> {
        if let Object::Stream(stream) = &self.object
            && stream.metadata().filesystem == Filesystem::Nameless
        {
            // As on Linux, asking is no error there, though they have no positions.
            return Ok(0);
        }
        self.check_positions()?;
        let len = match &self.object {
            Object::File(file) => file.len(),
            Object::Stream(_) => return Ok(0),
            // Of a directory, nobody knows the end.
            _ if !matches!(whence, Seek::Start | Seek::Current) => return Err(Errno::Invalid),
            _ => 0,
        };
        let mut position = self.position.lock();
        let base = match whence {
            Seek::Start => 0,
            Seek::Current => *position,
            Seek::End => len,
            Seek::Data | Seek::Hole => {
                let start = u64::try_from(offset).map_err(|_| Errno::NoAddress)?;
                if start >= len {
                    return Err(Errno::NoAddress);
                }
                *position = if whence == Seek::Data { start } else { len };
                return Ok(*position);
            }
        };
        let target = base.checked_add_signed(offset).ok_or(Errno::Invalid)?;
        if i64::try_from(target).is_err() {
            return Err(Errno::Invalid);
        }
        *position = target;
        Ok(target)
    }

    /// Calls `visit` with each name of a directory from the position on, until that
    /// returns false; the position is behind the last one that it took.
    ///
    /// # Errors
    ///
    /// [`Errno::NotDirectory`]; [`Errno::NoEntry`] if the directory was removed.
    pub(crate) fn list(&self, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        let Object::Directory(directory) = &self.object else {
            return Err(match self.object {
                Object::Path => Errno::BadFile,
                _ => Errno::NotDirectory,
            });
        };
        let mut position = self.position.lock();
        list_all(directory, *position, &mut |listed| {
            let next = listed.next;
            let is_taken = visit(listed);
            if is_taken {
                *position = next;
            }
            is_taken
        })
    }

    /// Returns what is possible at once. Callable where nothing may sleep.
    pub(crate) fn readiness(&self) -> Readiness {
        match &self.object {
            Object::Stream(stream) => stream.readiness(),
            Object::Path => Readiness::INVALID,
            _ => Readiness::ALWAYS,
        }
    }

    /// Returns how often something has become possible.
    pub(crate) fn edges(&self) -> Edges {
        self.stream()
            .map_or(Edges::default(), |stream| stream.edges())
    }

    /// Returns who is woken when more becomes possible, if it ever does.
    pub(crate) fn queue(&self) -> Option<&WaitQueue> {
        self.stream().and_then(|stream| stream.queue())
    }
}

/// Writes at an offset of a file, and nothing from a limit on.
///
/// # Errors
///
/// [`Errno::FileTooBig`] where that allows nothing, and what the file says.
pub(super) fn write_up_to(
    file: &dyn RegularFile,
    offset: u64,
    from: &mut dyn Source,
    limit: u64,
) -> Result<usize, Errno> {
    let room = limit.saturating_sub(offset);
    if room == 0 && from.left() > 0 {
        return Err(Errno::FileTooBig);
    }
    file.write_at(offset, &mut First::new(from, room))
}

/// Positions in a listing of those names that every directory has; its own come after.
const SELF: u64 = 0;
const PARENT: u64 = 1;
const FIRST: u64 = 2;

/// Lists a directory with the two names that each one has.
fn list_all(
    directory: &Arc<dyn Directory>,
    from: u64,
    visit: &mut dyn FnMut(Listed<'_>) -> bool,
) -> Result<(), Errno> {
    let own = directory.metadata();
    let parent = match directory.place() {
        Place::Named(parent, _) => parent.metadata(),
        Place::Root => own,
        Place::Nowhere => return Err(Errno::NoEntry),
    };
    for (position, name, number) in [
        (SELF, &b"."[..], own.number),
        (PARENT, b"..", parent.number),
    ] {
        let listed = Listed {
            name,
            number,
            kind: own.kind,
            next: position + 1,
        };
        if from <= position && !visit(listed) {
            return Ok(());
        }
    }
    directory.list(from.saturating_sub(FIRST), &mut |listed| {
        visit(Listed {
            next: listed.next.saturating_add(FIRST),
            ..listed
        })
    })
}
