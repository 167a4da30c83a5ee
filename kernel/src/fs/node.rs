//! What paths lead to.
//!
//! A [`Node`] is one of a few kinds of things, each with its own trait, so that nobody
//! can read a directory or look a name up in a pipe. All of them are [`Inode`]s: they
//! have metadata. Nodes are counted handles; a file that has no name any more lives
//! until the last handle is gone.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt::Debug;
use core::time::Duration;

use nucleus::sync::WaitQueue;

use super::buffer::{Sink, Source};
use super::poll::{Edges, Readiness};
use crate::errno::Errno;
use crate::vm::MemoryObject;

/// What a path leads to.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Directory(Arc<dyn Directory>),
    File(Arc<dyn RegularFile>),
    Link(Arc<dyn Link>),
    /// A device, or an end of a pipe that is reached by way of `/proc`.
    Stream(Arc<dyn Stream>),
}

impl Node {
    pub(crate) fn inode(&self) -> &dyn Inode {
        match self {
            Self::Directory(directory) => &**directory,
            Self::File(file) => &**file,
            Self::Link(link) => &**link,
            Self::Stream(stream) => &**stream,
        }
    }
}

/// Returns whether both are the same thing.
pub(crate) fn is_same(one: &dyn Inode, other: &dyn Inode) -> bool {
    let (one, other) = (one.metadata(), other.metadata());
    (one.filesystem, one.number) == (other.filesystem, other.number)
}

/// Types of nodes, as they are told to programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What Linux gives no type.
    Nothing,
    Pipe,
    CharacterDevice,
    Directory,
    File,
    Link,
}

impl Kind {
    /// Returns the type among the bits of a mode.
    pub(crate) const fn mode_bits(self) -> u32 {
        (self.directory_entry_type() as u32) << 12
    }

    /// Returns the type as an entry of a directory has it.
    pub(crate) const fn directory_entry_type(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Pipe => 1,
            Self::CharacterDevice => 2,
            Self::Directory => 4,
            Self::File => 8,
            Self::Link => 10,
        }
    }
}

/// The filesystems that there are. Their numbers are those of devices in `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Filesystem {
    Initramfs = 1,
    Memory = 2,
    Devices = 3,
    Processes = 4,
    Pipes = 5,
    /// Where things are that are descriptors alone.
    Nameless = 6,
}

impl Filesystem {
    /// Returns whether nothing in it can be changed.
    pub(crate) const fn is_read_only(self) -> bool {
        matches!(self, Self::Initramfs)
    }
}

/// When something was last read, written and changed, since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) accessed: Duration,
    pub(crate) modified: Duration,
    pub(crate) changed: Duration,
}

/// What `stat` tells of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) filesystem: Filesystem,
    /// The number of the inode, unique in its filesystem.
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    /// The lower twelve bits of the mode.
    pub(crate) permissions: u16,
    pub(crate) links: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) size: u64,
    /// Frames that hold its contents.
    pub(crate) frames: u64,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    pub(crate) times: Times,
}

impl Metadata {
    /// Returns the metadata of something empty that the kernel owns.
    pub(crate) const fn new(filesystem: Filesystem, number: u64, kind: Kind) -> Self {
        Self {
            filesystem,
            number,
            kind,
            permissions: 0o644,
            links: 1,
            user: 0,
            group: 0,
            size: 0,
            frames: 0,
            device: (0, 0),
            times: Times {
                accessed: Duration::ZERO,
                modified: Duration::ZERO,
                changed: Duration::ZERO,
            },
        }
    }
}

/// A change of metadata; what is `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    pub(crate) permissions: Option<u16>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) accessed: Option<Duration>,
    pub(crate) modified: Option<Duration>,
}

/// What all nodes have.
pub(crate) trait Inode: Any + Send + Sync + Debug {
    fn metadata(&self) -> Metadata;

    /// Returns what `/proc` calls it if it never had a name.
    fn made_up_name(&self) -> Vec<u8> {
        format!("anonymous:[{}]", self.metadata().number).into_bytes()
    }

    /// Changes metadata.
    ///
    /// # Errors
    ///
    /// [`Errno::ReadOnly`] or [`Errno::NotPermitted`] where that cannot be.
    fn change(&self, _change: &Change) -> Result<(), Errno> {
        Err(match self.metadata().filesystem {
            Filesystem::Initramfs => Errno::ReadOnly,
            _ => Errno::NotPermitted,
        })
    }
}

/// Where a directory is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// It is the root of everything.
    Root,
    Named(Arc<dyn Directory>, Arc<[u8]>),
    /// It was removed.
    Nowhere,
}

/// A name in a directory, as it is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    /// Where to go on after it.
    pub(crate) next: u64,
}

/// What is to be created under a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum New<'a> {
    File { permissions: u16 },
    Directory { permissions: u16 },
    Link { target: &'a [u8] },
}

/// A directory. Names are bytes other than `/` and zero, at most
/// [`MAX_NAME`](super::path::MAX_NAME) of them, and neither `.` nor `..`.
pub(crate) trait Directory: Inode {
    /// Finds what has a name.
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno>;

    fn place(&self) -> Place;

    /// Calls `visit` with each name from a position on, in a stable order, until that
    /// returns false. The position of the first name is zero, and positions stay right
    /// whatever is created and removed meanwhile.
    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno>;

    /// Creates something.
    ///
    /// # Errors
    ///
    /// [`Errno::Exists`] if the name is taken, and others.
    fn create(&self, _name: &[u8], _new: New<'_>) -> Result<Node, Errno> {
        Err(self.refusal())
    }

    /// Gives a file another name.
    fn link(&self, _name: &[u8], _node: &Node) -> Result<(), Errno> {
        Err(self.refusal())
    }

    /// Takes the name from something that is no directory.
    fn unlink(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(self.refusal())
    }

    /// Removes a directory that is empty.
    fn remove_directory(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(self.refusal())
    }

    /// Moves what has a name to another directory and name. What is there is replaced,
    /// unless `keep` says that this is an error.
    fn rename(
        &self,
        _name: &[u8],
        _to: &Arc<dyn Directory>,
        _new_name: &[u8],
        _keep: bool,
    ) -> Result<(), Errno> {
        Err(self.refusal())
    }

    /// Returns why nothing in it can be changed, if it is of such a kind.
    fn refusal(&self) -> Errno {
        match self.metadata().filesystem {
            Filesystem::Initramfs => Errno::ReadOnly,
            _ => Errno::NotPermitted,
        }
    }
}

/// A file with contents at positions.
pub(crate) trait RegularFile: Inode {
    /// Returns the file that is read in place of this one from now on, if its contents
    /// are made when it is opened.
    fn make(&self) -> Option<Result<Arc<dyn RegularFile>, Errno>> {
        None
    }

    fn len(&self) -> u64;

    /// Reads as much as there is and fits; returns how much.
    fn read_at(&self, offset: u64, to: &mut dyn Sink) -> Result<usize, Errno>;

    /// Writes as much as is left; less only where memory ran out or was not there.
    ///
    /// # Errors
    ///
    /// [`Errno::ReadOnly`], [`Errno::NoSpace`], [`Errno::FileTooBig`],
    /// [`Errno::Fault`], when nothing was written.
    fn write_at(&self, _offset: u64, _from: &mut dyn Source) -> Result<usize, Errno> {
        Err(Errno::ReadOnly)
    }

    /// Writes at the end, wherever that is when nobody else writes, and nothing from
    /// `limit` on; returns how much, and the position after it.
    fn append(&self, _from: &mut dyn Source, _limit: u64) -> Result<(usize, u64), Errno> {
        Err(Errno::ReadOnly)
    }

    /// Makes the file longer, with zeros, or shorter.
    fn resize(&self, _len: u64) -> Result<(), Errno> {
        Err(Errno::Invalid)
    }

    /// Has memory for a range ready, and makes the file longer unless told otherwise.
    fn allocate(&self, _offset: u64, _len: u64, _keeps_len: bool) -> Result<(), Errno> {
        Err(Errno::NotSupported)
    }

    /// Forgets a range of bytes, which are zeros then; the length stays.
    fn punch_hole(&self, _offset: u64, _len: u64) -> Result<(), Errno> {
        Err(Errno::NotSupported)
    }

    /// Returns the file as something whose pages can be mapped.
    ///
    /// # Errors
    ///
    /// [`Errno::NoDevice`] if it has no pages.
    fn memory_object(self: Arc<Self>) -> Result<Arc<dyn MemoryObject>, Errno> {
        Err(Errno::NoDevice)
    }
}

/// Where a link leads.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// To what has this path, from the directory of the link.
    Path(Vec<u8>),
    /// To something that need not have a path.
    Node(Location),
}

/// Something, and the name by which it was reached, for those who want to know.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) node: Node,
    pub(crate) name: Option<NameIn>,
}

/// A name in a directory.
pub(crate) type NameIn = (Arc<dyn Directory>, Arc<[u8]>);

/// A symbolic link.
pub(crate) trait Link: Inode {
    /// Returns what the link says.
    fn text(&self) -> Result<Vec<u8>, Errno>;

    /// Returns where the link leads, which may be elsewhere than what it says.
    fn destination(&self) -> Result<Destination, Errno> {
        self.text().map(Destination::Path)
    }
}

/// Something without positions: a device or an end of a pipe.
///
/// Nothing here waits. What would have to is refused with [`Errno::Again`], and the
/// caller waits in [`Stream::queue`] until [`Stream::readiness`] says more.
pub(crate) trait Stream: Inode {
    /// Reads as much as there is and fits; returns how much, zero at the end.
    fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno>;

    /// Writes as much as is possible at once; returns how much.
    fn write(&self, from: &mut dyn Source) -> Result<usize, Errno>;

    /// Returns what is possible at once. Callable where nothing may sleep.
    fn readiness(&self) -> Readiness;

    /// Returns how often something has become possible.
    fn edges(&self) -> Edges {
        Edges::default()
    }

    /// Returns who is woken when more becomes possible, if it ever does.
    fn queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// Returns whether mapping it makes memory of zeros, as without a file.
    fn is_zeros(&self) -> bool {
        false
    }

    /// Returns the terminal, if it is one.
    fn as_terminal(&self) -> Option<&super::terminal::Terminal> {
        None
    }

    /// Returns the set of files that are waited for, if it is one.
    fn as_epoll(&self) -> Option<&super::epoll::Epoll> {
        None
    }

    /// Returns the timer, if it is one.
    fn as_timer(&self) -> Option<&super::timer::TimerFile> {
        None
    }

    /// Returns whether a call writes but once, however much it has.
    fn writes_once(&self) -> bool {
        false
    }

    /// Returns how many bytes can be read at once, as far as that is known.
    fn nr_readable(&self) -> Option<usize> {
        None
    }

    /// Returns whether it may be opened again for this.
    fn allows(&self, _read: bool, _write: bool) -> bool {
        true
    }

    /// Returns whether a position means nothing, and asking for one is no error.
    fn ignores_positions(&self) -> bool {
        false
    }
}
