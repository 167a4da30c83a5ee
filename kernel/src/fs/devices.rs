//! `/dev`: the devices that programs expect.

use alloc::sync::Arc;
use alloc::vec::Vec;

use nucleus::mm::{PAGE_SIZE, VmReader, VmWriter};
use nucleus::random;

use super::buffer::{Sink, Source};
use super::node::{
    Directory, Filesystem, Inode, Kind, Link, Listed, Metadata, Node, Place, Stream,
};
use super::poll::Readiness;
use super::root;
use super::terminal::Terminal;
use super::tmpfs::Tmpfs;
use crate::errno::Errno;

/// The permissions of `/dev/shm`, as those of `/tmp`.
const SHARED_PERMISSIONS: u16 = 0o1777;
/// Number of the directory itself; those of what is in it follow.
const DIRECTORY_NUMBER: u64 = 1;

/// A device without state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Simple {
    Null,
    Zero,
    Full,
    Random,
}

/// What is in the directory.
#[derive(Clone, Copy, Debug)]
enum Device {
    Simple(Simple),
    Terminal,
    Link(&'static str),
    Shared,
}

/// All there is, by name.
const DEVICES: [(&str, Device); 13] = [
    ("console", Device::Terminal),
    ("fd", Device::Link("/proc/self/fd")),
    ("full", Device::Simple(Simple::Full)),
    ("null", Device::Simple(Simple::Null)),
    ("random", Device::Simple(Simple::Random)),
    ("shm", Device::Shared),
    ("stderr", Device::Link("/proc/self/fd/2")),
    ("stdin", Device::Link("/proc/self/fd/0")),
    ("stdout", Device::Link("/proc/self/fd/1")),
    ("tty", Device::Terminal),
    ("ttyS0", Device::Terminal),
    ("urandom", Device::Simple(Simple::Random)),
    ("zero", Device::Simple(Simple::Zero)),
];

/// The directory.
#[derive(Debug)]
struct Devices {
    shared: Arc<dyn Directory>,
}

/// Makes the directory.
pub(super) fn open() -> Arc<dyn Directory> {
    Arc::new(Devices {
        shared: Tmpfs::open("/dev/shm", SHARED_PERMISSIONS),
    })
}

impl Inode for Devices {
    fn metadata(&self) -> Metadata {
        Metadata {
            permissions: 0o755,
            links: 3,
            ..Metadata::new(Filesystem::Devices, DIRECTORY_NUMBER, Kind::Directory)
        }
    }
}

/// Returns the number of what has a position in the directory.
const fn number_of(position: usize) -> u64 {
    DIRECTORY_NUMBER + 1 + position as u64
}

impl Directory for Devices {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        let mut devices = DEVICES.iter().enumerate();
        let found = devices.find(|(_, (other, _))| other.as_bytes() == name);
        Ok(found.map(|(position, (_, device))| match device {
            Device::Simple(device) => Node::Stream(Arc::new(*device)),
            Device::Terminal => Node::Stream(Terminal::get()),
            Device::Shared => Node::Directory(Arc::clone(&self.shared)),
            Device::Link(target) => Node::Link(Arc::new(FixedLink {
                filesystem: Filesystem::Devices,
                number: number_of(position),
                target,
            })),
        }))
    }

    fn place(&self) -> Place {
        Place::Named(root(), b"dev"[..].into())
    }

    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (position, (name, device)) in DEVICES.iter().enumerate().skip(from) {
            let kind = match device {
                Device::Simple(_) | Device::Terminal => Kind::CharacterDevice,
                Device::Link(_) => Kind::Link,
                Device::Shared => Kind::Directory,
            };
            let listed = Listed {
                name: name.as_bytes(),
                number: number_of(position),
                kind,
                next: position as u64 + 1,
            };
            if !visit(listed) {
                break;
            }
        }
        Ok(())
    }
}

/// A link that always says the same.
#[derive(Debug)]
pub(super) struct FixedLink {
    pub(super) filesystem: Filesystem,
    pub(super) number: u64,
    pub(super) target: &'static str,
}

impl Inode for FixedLink {
    fn metadata(&self) -> Metadata {
        Metadata {
            permissions: 0o777,
            size: self.target.len() as u64,
            ..Metadata::new(self.filesystem, self.number, Kind::Link)
        }
    }
}

impl Link for FixedLink {
    fn text(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.target.as_bytes().to_vec())
    }
}

impl Inode for Simple {
    fn metadata(&self) -> Metadata {
        /// The major number of memory's devices.
        const MEMORY: u32 = 1;
        let minor = match self {
            Self::Null => 3,
            Self::Zero => 5,
            Self::Full => 7,
            Self::Random => 9,
        };
        let number = number_of(DEVICES.len()) + u64::from(minor);
        Metadata {
            permissions: 0o666,
            device: (MEMORY, minor),
            ..Metadata::new(Filesystem::Devices, number, Kind::CharacterDevice)
        }
    }

    fn change(&self, _change: &super::node::Change) -> Result<(), Errno> {
        // Nobody's shell is to fail because of a time that it cannot set.
        Ok(())
    }
}

impl Stream for Simple {
    fn is_zeros(&self) -> bool {
        *self == Self::Zero
    }

    fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno> {
        const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        match self {
            Self::Null => Ok(0),
            Self::Zero | Self::Full => put_all(to, |to, len| {
                to.put(VmReader::from(&ZEROS[..len.min(ZEROS.len())]))
            }),
            Self::Random => put_all(to, |to, len| {
                let mut bytes = [0; 256];
                let part = &mut bytes[..len.min(256)];
                random::fill(part);
                to.put(VmReader::from(&*part))
            }),
        }
    }

    /// What is written to the source of random bytes is not used: it has better ones.
    fn write(&self, from: &mut dyn Source) -> Result<usize, Errno> {
        match self {
            Self::Full => Err(Errno::NoSpace),
            // Nothing is looked at.
            Self::Null | Self::Zero => Ok(from.left()),
            Self::Random => {
                let mut done = 0;
                while from.left() > 0 {
                    let mut ignored = [0; 256];
                    match from.take(VmWriter::from(&mut ignored[..])) {
                        Ok(count) => done += count,
                        Err(_) if done > 0 => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(done)
            }
        }
    }

    fn readiness(&self) -> Readiness {
        Readiness::ALWAYS
    }

    fn ignores_positions(&self) -> bool {
        true
    }
}

/// Fills all room that there is; `put` puts some of the bytes that are left.
fn put_all(
    to: &mut dyn Sink,
    mut put: impl FnMut(&mut dyn Sink, usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut done = 0;
    while to.room() > 0 {
        let room = to.room();
        match put(to, room) {
            Ok(count) => done += count,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
