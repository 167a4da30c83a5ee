//! Directories of a filesystem in memory, and all that changes the tree.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::mem;

use nucleus::sync::{Mutex, MutexGuard};

use super::file::{TmpFile, TmpLink};
use super::{Record, Tmpfs, Usage};
use crate::errno::Errno;
use crate::fs::node::{
    Change, Directory, Inode, Kind, Listed, Location, Metadata, New, Node, Place,
};
use crate::fs::path::{Found, Walk};
use crate::fs::root;

/// What `stat` says of how much a name takes.
const BYTES_OF_A_NAME: u64 = 20;

/// A directory.
#[derive(Debug)]
pub(crate) struct TmpDirectory {
    this: Weak<Self>,
    record: Record,
    names: Mutex<Names>,
    /// Changed only while the filesystem's `tree` is locked, too.
    place: Mutex<TmpPlace>,
}

/// Where a directory is.
#[derive(Clone, Debug)]
enum TmpPlace {
    /// It is the filesystem's root, and has this path.
    Top(&'static str),
    Inside(Weak<TmpDirectory>, Arc<[u8]>),
    Removed,
}

/// The names in a directory, sorted, and in the order in which they were made.
#[derive(Debug, Default)]
struct Names {
    sorted: BTreeMap<Arc<[u8]>, Entry>,
    in_order: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
    /// Nothing can be made in it any more.
    is_removed: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    position: u64,
    node: Node,
}

impl Names {
    fn get(&self, name: &[u8]) -> Option<&Node> {
        self.sorted.get(name).map(|entry| &entry.node)
    }

    fn insert(&mut self, name: Arc<[u8]>, node: Node) {
        let position = self.next;
        self.next += 1;
        self.in_order.insert(position, Arc::clone(&name));
        self.sorted.insert(name, Entry { position, node });
    }

    fn remove(&mut self, name: &[u8]) -> Option<Node> {
        let entry = self.sorted.remove(name)?;
        self.in_order.remove(&entry.position);
        Some(entry.node)
    }

    fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

impl TmpDirectory {
    pub(super) fn new_root(
        filesystem: &Arc<Tmpfs>,
        path: &'static str,
        permissions: u16,
    ) -> Result<Arc<Self>, Errno> {
        Self::new(filesystem, permissions, TmpPlace::Top(path))
    }

    fn new(filesystem: &Arc<Tmpfs>, permissions: u16, place: TmpPlace) -> Result<Arc<Self>, Errno> {
        let record = Record::new(filesystem, Kind::Directory, permissions)?;
        Ok(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            record,
            names: Mutex::new(Names::default()),
            place: Mutex::new(place),
        }))
    }

    /// Returns how full the filesystem is.
    pub(crate) fn usage(&self) -> Usage {
        self.record.filesystem.usage()
    }

    /// Makes a file that has no name, and is gone when nobody has it open.
    pub(crate) fn create_nameless(&self, permissions: u16) -> Result<Node, Errno> {
        let file = TmpFile::new(&self.record.filesystem, permissions)?;
        file.record.add_links(-1);
        Ok(Node::File(file))
    }

    fn make(&self, name: &Arc<[u8]>, new: New<'_>) -> Result<Node, Errno> {
        let filesystem = &self.record.filesystem;
        Ok(match new {
            New::File { permissions } => {
                let file = TmpFile::new(filesystem, permissions)?;
                file.set_home(&self.this, name);
                Node::File(file)
            }
            New::Link { target } => Node::Link(TmpLink::new(filesystem, target)?),
            New::Directory { permissions } => {
                let place = TmpPlace::Inside(Weak::clone(&self.this), Arc::clone(name));
                Node::Directory(Self::new(filesystem, permissions, place)?)
            }
        })
    }

    /// Adds to the links of a node, each of which is of this filesystem.
    fn add_links(node: &Node, count: i32) {
        if let Some(file) = as_file(node) {
            file.record.add_links(count);
        } else if let Node::Link(link) = node
            && let Some(link) = (&**link as &dyn Any).downcast_ref::<TmpLink>()
        {
            link.record.add_links(count);
        }
    }

    /// Returns a directory of this filesystem as what it is.
    fn own<'a>(&self, directory: &'a dyn Directory) -> Option<&'a Self> {
        let own = (directory as &dyn Any).downcast_ref::<Self>()?;
        Arc::ptr_eq(&own.record.filesystem, &self.record.filesystem).then_some(own)
    }

    /// Returns whether this directory is another one, or somewhere in it; for someone
    /// who has the tree locked.
    fn is_inside(&self, other: &Self) -> bool {
        let mut next = self.this.upgrade();
        while let Some(directory) = next {
            if core::ptr::eq(&raw const *directory, other) {
                return true;
            }
            next = match &*directory.place.lock() {
                TmpPlace::Inside(parent, _) => parent.upgrade(),
                _ => None,
            };
        }
        false
    }

    /// Checks that what has a name can be replaced by something else, and marks it as
    /// removed if it is a directory; for someone who has the tree locked.
    fn check_replaceable(&self, old: &Node, new: &Node) -> Result<(), Errno> {
        match (old, new) {
            (Node::Directory(old), Node::Directory(_)) => {
                let old = self.own(&**old).ok_or(Errno::Busy)?;
                old.mark_removed()
            }
            (Node::Directory(_), _) => Err(Errno::IsDirectory),
            (_, Node::Directory(_)) => Err(Errno::NotDirectory),
            _ => Ok(()),
        }
    }

    /// Marks it as removed, if it is empty; for someone who has the tree locked.
    fn mark_removed(&self) -> Result<(), Errno> {
        let mut names = self.names.lock();
        if !names.is_empty() {
            return Err(Errno::NotEmpty);
        }
        names.is_removed = true;
        *self.place.lock() = TmpPlace::Removed;
        self.record.add_links(-2);
        Ok(())
    }
}

impl Inode for TmpDirectory {
    fn metadata(&self) -> Metadata {
        let nr_names = self.names.lock().sorted.len() as u64;
        let size = (nr_names + 2) * BYTES_OF_A_NAME;
        self.record.metadata(size, 0)
    }

    fn change(&self, change: &Change) -> Result<(), Errno> {
        self.record.change(change);
        Ok(())
    }
}

impl Directory for TmpDirectory {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        Ok(self.names.lock().get(name).cloned())
    }

    fn place(&self) -> Place {
        match &*self.place.lock() {
            TmpPlace::Top(path) => place_of(path),
            TmpPlace::Inside(parent, name) => match parent.upgrade() {
                Some(parent) => Place::Named(parent, Arc::clone(name)),
                None => Place::Nowhere,
            },
            TmpPlace::Removed => Place::Nowhere,
        }
    }

    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        let names = self.names.lock();
        for (position, name) in names.in_order.range(from..) {
            let Some(node) = names.get(name) else {
                continue;
            };
            // The number alone, since metadata may need a lock like this one.
            let (number, kind) = identity(node);
            let listed = Listed {
                name,
                number,
                kind,
                next: position + 1,
            };
            if !visit(listed) {
                break;
            }
        }
        Ok(())
    }

    fn create(&self, name: &[u8], new: New<'_>) -> Result<Node, Errno> {
        let mut names = self.names.lock();
        if names.get(name).is_some() {
            return Err(Errno::Exists);
        }
        if names.is_removed {
            return Err(Errno::NoEntry);
        }
        let name = Arc::from(name);
        let node = self.make(&name, new)?;
        names.insert(name, node.clone());
        drop(names);
        if let Node::Directory(_) = node {
            self.record.add_links(1);
        }
        self.record.set_modified();
        Ok(node)
    }

    fn link(&self, name: &[u8], node: &Node) -> Result<(), Errno> {
        let any: &dyn Any = match node {
            Node::File(file) => &**file,
            Node::Link(link) => &**link,
            Node::Directory(_) => return Err(Errno::NotPermitted),
            Node::Stream(_) => return Err(Errno::CrossDevice),
        };
        let file = any.downcast_ref::<TmpFile>().map(|file| &file.record);
        let link = any.downcast_ref::<TmpLink>().map(|link| &link.record);
        let record = file.or(link).ok_or(Errno::CrossDevice)?;
        if !Arc::ptr_eq(&record.filesystem, &self.record.filesystem) {
            return Err(Errno::CrossDevice);
        }
        let mut names = self.names.lock();
        if names.get(name).is_some() {
            return Err(Errno::Exists);
        }
        // What lost its last name gets no other one.
        if names.is_removed || record.attributes.lock().links == 0 {
            return Err(Errno::NoEntry);
        }
        names.insert(name.into(), node.clone());
        record.add_links(1);
        drop(names);
        self.record.set_modified();
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        let mut names = self.names.lock();
        if let Node::Directory(_) = names.get(name).ok_or(Errno::NoEntry)? {
            return Err(Errno::IsDirectory);
        }
        let node = names.remove(name);
        drop(names);
        if let Some(node) = node {
            Self::add_links(&node, -1);
        }
        self.record.set_modified();
        Ok(())
    }

    fn remove_directory(&self, name: &[u8]) -> Result<(), Errno> {
        let tree = self.record.filesystem.tree.lock();
        let mut names = self.names.lock();
        let Node::Directory(directory) = names.get(name).ok_or(Errno::NoEntry)? else {
            return Err(Errno::NotDirectory);
        };
        let directory = self.own(&**directory).ok_or(Errno::Busy)?;
        directory.mark_removed()?;
        let node = names.remove(name);
        drop(names);
        drop(tree);
        drop(node);
        self.record.add_links(-1);
        self.record.set_modified();
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        to: &Arc<dyn Directory>,
        new_name: &[u8],
        keep: bool,
    ) -> Result<(), Errno> {
        let to = self.own(&**to).ok_or(Errno::CrossDevice)?;
        let tree = self.record.filesystem.tree.lock();
        let mut here = self.names.lock();
        let is_same = core::ptr::eq(self, to);
        let mut there = (!is_same).then(|| to.names.lock());

        let node = here.get(name).ok_or(Errno::NoEntry)?.clone();
        let target = there.as_deref().unwrap_or(&here);
        let old = target.get(new_name).cloned();
        if old.is_some() && keep {
            return Err(Errno::Exists);
        }
        if target.is_removed {
            return Err(Errno::NoEntry);
        }
        if old
            .as_ref()
            .is_some_and(|old| identity(old) == identity(&node))
        {
            return Ok(());
        }
        let moved = match &node {
            Node::Directory(directory) => Some(self.own(&**directory).ok_or(Errno::Busy)?),
            _ => None,
        };
        if moved.is_some_and(|moved| to.is_inside(moved)) {
            return Err(Errno::Invalid);
        }
        if let Some(old) = &old {
            let is_above = matches!(old, Node::Directory(old)
                if self.own(&**old).is_some_and(|old| self.is_inside(old)));
            if is_above {
                return Err(Errno::NotEmpty);
            }
            to.check_replaceable(old, &node)?;
        }
        let new_name: Arc<[u8]> = new_name.into();
        exchange(&mut here, there.as_mut(), name, &new_name, &node);
        if let Some(file) = as_file(&node) {
            file.set_home(&to.this, &new_name);
        }
        if let Some(moved) = moved {
            *moved.place.lock() = TmpPlace::Inside(Weak::clone(&to.this), new_name);
            self.record.add_links(-1);
            to.record.add_links(1);
        }
        drop(there);
        drop(here);
        drop(tree);
        if let Some(old) = old {
            match old {
                Node::Directory(_) => to.record.add_links(-1),
                _ => Self::add_links(&old, -1),
            }
        }
        self.record.set_modified();
        to.record.set_modified();
        Ok(())
    }
}

/// Returns the place of a directory that has a path from the root for ever.
fn place_of(path: &str) -> Place {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let above = if above.is_empty() { "/" } else { above };
    let found = Walk::new(root(), root(), above.as_bytes()).find(true);
    match found.and_then(Found::something) {
        Ok(Location {
            node: Node::Directory(above),
            ..
        }) => Place::Named(above, name.as_bytes().into()),
        _ => Place::Nowhere,
    }
}

/// Takes a name away and puts another one in, in the same directory or in another one.
fn exchange(
    here: &mut MutexGuard<'_, Names>,
    there: Option<&mut MutexGuard<'_, Names>>,
    name: &[u8],
    new_name: &Arc<[u8]>,
    node: &Node,
) {
    // The caller has handles of both nodes, so none is dropped here.
    mem::drop(here.remove(name));
    let there = match there {
        Some(there) => &mut **there,
        None => &mut **here,
    };
    mem::drop(there.remove(new_name));
    there.insert(Arc::clone(new_name), node.clone());
}

/// Returns a file of a filesystem in memory as what it is.
fn as_file(node: &Node) -> Option<&TmpFile> {
    let Node::File(file) = node else {
        return None;
    };
    (&**file as &dyn Any).downcast_ref()
}

/// Returns the number and the kind of a node of this filesystem. No lock is taken.
fn identity(node: &Node) -> (u64, Kind) {
    let any: &dyn Any = match node {
        Node::Directory(directory) => &**directory,
        Node::File(file) => &**file,
        Node::Link(link) => &**link,
        Node::Stream(stream) => &**stream,
    };
    let directory = any.downcast_ref().map(|node: &TmpDirectory| &node.record);
    let file = any.downcast_ref().map(|node: &TmpFile| &node.record);
    let link = any.downcast_ref().map(|node: &TmpLink| &node.record);
    match directory.or(file).or(link) {
        Some(record) => (record.number, record.kind),
        None => (0, Kind::File),
    }
}
