//! The initramfs: files that can be read, and none that can be written.
//!
//! What is read comes straight from the archive. Pages that are mapped are copied once
//! into a frame, which all mappings share, and which stays: so the text of a program is
//! in memory once, however many processes run it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use nucleus::impl_untyped_frame_meta_for;
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, UFrame, UntypedMem, VmReader};
use nucleus::sync::Mutex;

use super::archive::{self, File, Tree};
use super::buffer::Sink;
use super::node::{
    Directory, Filesystem, Inode, Kind, Link, Listed, Metadata, Node, Place, RegularFile,
};
use crate::errno::Errno;
use crate::vm::MemoryObject;

/// Frames of a file of the initramfs, kept since it was mapped first.
#[derive(Debug)]
struct Cached;
impl_untyped_frame_meta_for!(Cached => "file-cache");

/// An archive as a tree of files, and the pages of these that were mapped.
#[derive(Debug)]
pub(crate) struct Initramfs {
    tree: Tree<'static>,
    /// For each file of the tree; empty until a page is asked for.
    cached: Vec<Mutex<Vec<Option<UFrame>>>>,
}

/// A file or directory of the archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    archive: Arc<Initramfs>,
    index: usize,
}

impl Initramfs {
    /// Reads an archive; returns its root.
    pub(crate) fn open(archive: &'static [u8]) -> Entry {
        let tree = Tree::new(archive);
        let cached = tree
            .files()
            .iter()
            .map(|_| Mutex::new(Vec::new()))
            .collect();
        Entry {
            archive: Arc::new(Self { tree, cached }),
            index: 0,
        }
    }
}

impl Entry {
    fn file(&self) -> &File<'static> {
        &self.archive.tree.files()[self.index]
    }

    fn at(&self, index: usize) -> Self {
        Self {
            archive: Arc::clone(&self.archive),
            index,
        }
    }

    fn kind(&self) -> Kind {
        match self.file().mode & archive::TYPE_MASK {
            archive::DIRECTORY => Kind::Directory,
            archive::LINK => Kind::Link,
            // Nothing else means anything here but as a file that is empty.
            _ => Kind::File,
        }
    }

    fn into_node(self) -> Node {
        match self.kind() {
            Kind::Directory => Node::Directory(Arc::new(self)),
            Kind::Link => Node::Link(Arc::new(self)),
            _ => Node::File(Arc::new(self)),
        }
    }

    /// Returns the bytes; those of what is no regular file do not count.
    fn bytes(&self) -> &'static [u8] {
        match self.file().mode & archive::TYPE_MASK {
            archive::REGULAR | archive::LINK => self.file().contents,
            _ => &[],
        }
    }
}

impl Inode for Entry {
    fn metadata(&self) -> Metadata {
        let kind = self.kind();
        let size = self.bytes().len() as u64;
        let links = match kind {
            Kind::Directory => 2,
            _ => 1,
        };
        Metadata {
            permissions: (self.file().mode & 0o7777) as u16,
            links,
            size,
            frames: size.div_ceil(PAGE_SIZE as u64),
            ..Metadata::new(Filesystem::Initramfs, self.index as u64 + 1, kind)
        }
    }
}

impl Directory for Entry {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        // Names of the archive are text, so one that is none is not there.
        let index = core::str::from_utf8(name)
            .ok()
            .and_then(|name| self.archive.tree.lookup(self.index, name));
        Ok(index.map(|index| self.at(index).into_node()))
    }

    fn place(&self) -> Place {
        match self.index {
            0 => Place::Root,
            _ => {
                let file = self.file();
                let parent = match file.parent {
                    0 => super::root(),
                    parent => Arc::new(self.at(parent)),
                };
                Place::Named(parent, file.name.as_bytes().into())
            }
        }
    }

    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        let children = self.file().children.values();
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (position, index) in children.enumerate().skip(from) {
            let child = self.at(*index);
            let listed = Listed {
                name: child.file().name.as_bytes(),
                number: *index as u64 + 1,
                kind: child.kind(),
                next: position as u64 + 1,
            };
            if !visit(listed) {
                break;
            }
        }
        Ok(())
    }
}

impl Link for Entry {
    fn text(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.bytes().to_vec())
    }
}

impl RegularFile for Entry {
    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read_at(&self, offset: u64, to: &mut dyn Sink) -> Result<usize, Errno> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.bytes().get(start..).unwrap_or(&[]);
        let part = &rest[..rest.len().min(to.room())];
        if part.is_empty() {
            return Ok(0);
        }
        to.put(VmReader::from(part))
    }

    fn memory_object(self: Arc<Self>) -> Result<Arc<dyn MemoryObject>, Errno> {
        Ok(self)
    }
}

impl MemoryObject for Entry {
    fn page(&self, index: usize) -> Result<UFrame, Errno> {
        let contents = self.bytes();
        let start = index.checked_mul(PAGE_SIZE).ok_or(Errno::Fault)?;
        let rest = contents.get(start..).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or(Errno::Fault)?;
        let mut cached = self.archive.cached[self.index].lock();
        if cached.is_empty() {
            let nr_pages = contents.len().div_ceil(PAGE_SIZE);
            let reserved = cached.try_reserve_exact(nr_pages);
            reserved.map_err(|_| Errno::NoMemory)?;
            cached.resize(nr_pages, None);
        }
        if let Some(frame) = &cached[index] {
            return Ok(frame.clone());
        }
        let mut options = FrameAllocOptions::new();
        let frame = options.for_user(true).alloc_frame_with(Cached)?;
        let part = &rest[..rest.len().min(PAGE_SIZE)];
        frame.writer().write(&mut VmReader::from(part));
        let frame = UFrame::from(frame);
        cached[index] = Some(frame.clone());
        Ok(frame)
    }

    fn page_at_hand(&self, index: usize) -> Option<UFrame> {
        self.archive.cached[self.index]
            .try_lock()?
            .get(index)?
            .clone()
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    fn inode(&self) -> u64 {
        self.index as u64 + 1
    }

    fn name(&self) -> Vec<u8> {
        let parent: Arc<dyn Directory> = Arc::new(self.at(self.file().parent));
        let mut path = super::path::path_of_directory(&parent).unwrap_or_default();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(self.file().name.as_bytes());
        path
    }
}
