//! What a process has open, as links: `/proc/PID/fd`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::process::ProcessDirectory;
use super::{metadata, parse_number};
use crate::errno::Errno;
use crate::fs::node::{Destination, Directory, Inode, Kind, Link, Listed, Metadata, Node, Place};
use crate::fs::{FileTable, OpenFile};
use crate::process::Process;

/// Numbers of the links come after this part of the process's.
const LINKS: u64 = 0x1_0000;

/// The directory.
#[derive(Debug)]
pub(super) struct Descriptors {
    process: Arc<Process>,
    number: u64,
}

impl Descriptors {
    pub(super) const fn new(process: Arc<Process>, number: u64) -> Self {
        Self { process, number }
    }

    fn table(&self) -> Result<Arc<FileTable>, Errno> {
        let resources = self.process.resources().ok_or(Errno::NoProcess)?;
        Ok(resources.files)
    }

    const fn number_of(&self, descriptor: usize) -> u64 {
        self.number + LINKS + descriptor as u64
    }
}

impl Inode for Descriptors {
    fn metadata(&self) -> Metadata {
        Metadata {
            permissions: 0o500,
            ..metadata(self.number, Kind::Directory)
        }
    }
}

impl Directory for Descriptors {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        let Some(descriptor) = parse_number(name) else {
            return Ok(None);
        };
        let file = self.table()?.get_any(descriptor).ok();
        Ok(file.map(|file| {
            Node::Link(Arc::new(DescriptorLink {
                file,
                number: self.number_of(descriptor),
            }))
        }))
    }

    fn place(&self) -> Place {
        let above = ProcessDirectory::new(Arc::clone(&self.process));
        Place::Named(Arc::new(above), b"fd"[..].into())
    }

    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        let table = self.table()?;
        let mut next = usize::try_from(from).unwrap_or(usize::MAX);
        while let Some(descriptor) = table.next(next) {
            next = descriptor + 1;
            let name = alloc::format!("{descriptor}");
            let listed = Listed {
                name: name.as_bytes(),
                number: self.number_of(descriptor),
                kind: Kind::Link,
                next: next as u64,
            };
            if !visit(listed) {
                break;
            }
        }
        Ok(())
    }
}

/// A link to what a descriptor stands for, which need not have a path.
#[derive(Debug)]
struct DescriptorLink {
    file: Arc<OpenFile>,
    number: u64,
}

impl Inode for DescriptorLink {
    fn metadata(&self) -> Metadata {
        let access = self.file.access();
        let reads = if access.reads { 0o500 } else { 0o100 };
        let writes = if access.writes { 0o300 } else { 0o100 };
        Metadata {
            permissions: reads | writes,
            size: 64,
            ..metadata(self.number, Kind::Link)
        }
    }
}

impl Link for DescriptorLink {
    fn text(&self) -> Result<Vec<u8>, Errno> {
        self.file.location().path()
    }

    fn destination(&self) -> Result<Destination, Errno> {
        Ok(Destination::Node(self.file.location().clone()))
    }
}
