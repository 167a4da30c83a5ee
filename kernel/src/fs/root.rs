//! The root directory: that of the initramfs, with the other filesystems in it.
//!
//! There are no mount points but these, and none can be added. So a directory of the
//! root's that has the name of a filesystem is that filesystem, wherever it is asked for,
//! and walking a path needs to know nothing of it.

use alloc::sync::Arc;

use nucleus::boot;
use nucleus::sync::Once;

use super::devices;
use super::initramfs::{Entry, Initramfs};
use super::node::{Directory, Filesystem, Inode, Kind, Listed, Metadata, Node, Place};
use super::proc;
use super::tmpfs::{TmpDirectory, Tmpfs};
use crate::errno::Errno;

/// The permissions of `/tmp`: everybody may write, and remove what is theirs.
const TMP_PERMISSIONS: u16 = 0o1777;

static ROOT: Once<Arc<Root>> = Once::new();

/// The root directory.
#[derive(Debug)]
struct Root {
    archive: Entry,
    memory: Arc<TmpDirectory>,
    mounted: [(&'static str, Arc<dyn Directory>); 3],
}

/// Returns the root directory.
pub(crate) fn root() -> Arc<dyn Directory> {
    Arc::clone(get()) as Arc<dyn Directory>
}

/// Returns the directory of the filesystem in memory.
pub(super) fn memory() -> &'static TmpDirectory {
    &get().memory
}

fn get() -> &'static Arc<Root> {
    ROOT.call_once(|| {
        let memory = Tmpfs::open("/tmp", TMP_PERMISSIONS);
        Arc::new(Root {
            archive: Initramfs::open(boot::initramfs()),
            memory: Arc::clone(&memory),
            mounted: [
                ("dev", devices::open()),
                ("proc", proc::open()),
                ("tmp", memory),
            ],
        })
    })
}

/// Returns what is mounted where, with the kind of each.
pub(super) fn mounts() -> impl Iterator<Item = (&'static str, Filesystem)> {
    const MOUNTS: [(&str, Filesystem); 4] = [
        ("/", Filesystem::Initramfs),
        ("/dev", Filesystem::Devices),
        ("/proc", Filesystem::Processes),
        ("/tmp", Filesystem::Memory),
    ];
    MOUNTS.into_iter()
}

impl Root {
    fn mounted(&self, name: &[u8]) -> Option<&Arc<dyn Directory>> {
        let mut mounted = self.mounted.iter();
        let found = mounted.find(|(other, _)| other.as_bytes() == name);
        found.map(|(_, directory)| directory)
    }
}

impl Inode for Root {
    fn metadata(&self) -> Metadata {
        self.archive.metadata()
    }
}

impl Directory for Root {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        match self.mounted(name) {
            Some(directory) => Ok(Some(Node::Directory(Arc::clone(directory)))),
            None => self.archive.lookup(name),
        }
    }

    fn place(&self) -> Place {
        Place::Root
    }

    /// Lists what is mounted, and then what the archive has besides.
    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        let nr_mounted = self.mounted.len() as u64;
        for (position, (name, directory)) in (1..).zip(&self.mounted) {
            let listed = Listed {
                name: name.as_bytes(),
                number: directory.metadata().number,
                kind: Kind::Directory,
                next: position,
            };
            if from < position && !visit(listed) {
                return Ok(());
            }
        }
        self.archive
            .list(from.saturating_sub(nr_mounted), &mut |listed| {
                let next = listed.next.saturating_add(nr_mounted);
                self.mounted(listed.name).is_some() || visit(Listed { next, ..listed })
            })
    }
}
