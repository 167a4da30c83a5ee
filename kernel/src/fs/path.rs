//! Finding what a path leads to.
//!
//! A path is walked name by name, from the root or from a directory that the caller
//! gives. At a symbolic link, what the link says takes the place of its name in the rest
//! of the path; after [`MAX_LINKS`] of them the walk gives up. So its memory is bounded,
//! whatever the links say, and it does not recurse.
//!
//! A walk ends at the *last* name, which need not exist: [`Walk::parent`] returns the
//! directory and that name, for whoever creates, removes or renames something, and
//! [`Walk::find`] looks it up, too. A slash at the end demands a directory.
//!
//! No lock is held between two names. What is found may be gone when it is used, as
//! everywhere in Unix; whoever then changes a directory looks again, under its lock.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::node::{Destination, Directory, Inode, Link, Location, Node, Place, is_same};
use crate::errno::Errno;

/// Bytes of the longest path, with the zero at its end.
pub(crate) const MAX_PATH: usize = 4096;
/// Bytes of the longest name.
pub(crate) const MAX_NAME: usize = 255;
/// Links in one walk.
const MAX_LINKS: usize = 40;

/// The last part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// The path has no names at all.
    Root,
    /// `.`
    Here,
    /// `..`
    Up,
    Name(Box<[u8]>),
}

/// Where the last name of a path is, or would be.
#[derive(Debug)]
pub(crate) struct Parent {
    /// The directory to look the last name up in.
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) last: Last,
    /// Whether a slash at the end says that it is a directory.
    pub(crate) has_slash: bool,
}

/// What a walk came to.
#[derive(Debug)]
pub(crate) enum Found {
    Something(Location),
    /// There is nothing of the last name.
    Nothing(Parent),
}

impl Found {
    /// Returns what was found.
    ///
    /// # Errors
    ///
    /// [`Errno::NoEntry`] if nothing was.
    pub(crate) fn something(self) -> Result<Location, Errno> {
        match self {
            Self::Something(location) => Ok(location),
            Self::Nothing(_) => Err(Errno::NoEntry),
        }
    }
}

/// A walk along a path.
#[derive(Debug)]
pub(crate) struct Walk {
    root: Arc<dyn Directory>,
    directory: Arc<dyn Directory>,
    /// The path, with links replaced, and how much of it was walked.
    path: Vec<u8>,
    position: usize,
    nr_links: usize,
}

impl Walk {
    /// Begins a walk at the root if the path says so, else at a directory.
    pub(crate) fn new(root: Arc<dyn Directory>, start: Arc<dyn Directory>, path: &[u8]) -> Self {
        let is_absolute = path.first() == Some(&b'/');
        Self {
            directory: if is_absolute {
                Arc::clone(&root)
            } else {
                start
            },
            root,
            path: path.to_vec(),
            position: 0,
            nr_links: 0,
        }
    }

    /// Goes to the directory of the last name, which is not looked up.
    ///
    /// # Errors
    ///
    /// [`Errno::NoEntry`] also for an empty path, [`Errno::NotDirectory`],
    /// [`Errno::NameTooLong`], [`Errno::TooManyLinks`].
    pub(crate) fn parent(mut self) -> Result<Parent, Errno> {
        self.walk_to_last()
    }

    /// Goes to the end of the path. A link there is followed if `follows` says so, or a
    /// slash after it.
    ///
    /// # Errors
    ///
    /// As [`Self::parent`].
    pub(crate) fn find(mut self, follows: bool) -> Result<Found, Errno> {
        loop {
            let parent = self.walk_to_last()?;
            let Last::Name(name) = &parent.last else {
                return self.found_without_name(&parent.last);
            };
            let node = match parent.directory.lookup(name)? {
                None => return Ok(Found::Nothing(parent)),
                Some(Node::Link(link)) if follows || parent.has_slash => {
                    match self.follow(&*link)? {
                        None => continue,
                        Some(location) => return check_directory(location, parent.has_slash),
                    }
                }
                Some(node) => node,
            };
            let location = Location {
                node,
                name: Some((parent.directory, Arc::from(&**name))),
            };
            return check_directory(location, parent.has_slash);
        }
    }

    /// Returns the directory that a last part without a name means.
    fn found_without_name(&self, last: &Last) -> Result<Found, Errno> {
        let directory = match last {
            Last::Up => self.above()?,
            _ => Arc::clone(&self.directory),
        };
        Ok(Found::Something(Location {
            node: Node::Directory(directory),
            name: None,
        }))
    }

    /// Enters all parts of the path but the last one.
    fn walk_to_last(&mut self) -> Result<Parent, Errno> {
        if self.path.is_empty() {
            return Err(Errno::NoEntry);
        }
        loop {
            let (part, has_slash, is_last) = self.next_part()?;
            if is_last {
                return Ok(Parent {
                    directory: Arc::clone(&self.directory),
                    last: part,
                    has_slash,
                });
            }
            self.enter(&part)?;
        }
    }

    /// Takes the next part off the path; says also whether a slash is after it, and
    /// whether nothing but slashes is.
    fn next_part(&mut self) -> Result<(Last, bool, bool), Errno> {
        let rest = &self.path[self.position..];
        let nr_slashes = rest.iter().take_while(|byte| **byte == b'/').count();
        let rest = &rest[nr_slashes..];
        let len = rest.iter().take_while(|byte| **byte != b'/').count();
        let (part, after) = rest.split_at(len);
        let last = match part {
            b"" => Last::Root,
            b"." => Last::Here,
            b".." => Last::Up,
            _ if len > MAX_NAME => return Err(Errno::NameTooLong),
            name => Last::Name(name.into()),
        };
        self.position += nr_slashes + len;
        let is_last = after.iter().all(|byte| *byte == b'/');
        Ok((last, !after.is_empty(), is_last))
    }

    /// Enters a directory, or a link to one.
    fn enter(&mut self, part: &Last) -> Result<(), Errno> {
        let name = match part {
            Last::Root | Last::Here => return Ok(()),
            Last::Up => {
                self.directory = self.above()?;
                return Ok(());
            }
            Last::Name(name) => name,
        };
        let node = match self.directory.lookup(name)?.ok_or(Errno::NoEntry)? {
            Node::Link(link) => match self.follow(&*link)? {
                None => return Ok(()),
                Some(location) => location.node,
            },
            node => node,
        };
        let Node::Directory(directory) = node else {
            return Err(Errno::NotDirectory);
        };
        self.directory = directory;
        Ok(())
    }

    /// Returns the directory that the directory is in; the root is in itself.
    fn above(&self) -> Result<Arc<dyn Directory>, Errno> {
        let is_root = is_same(&*self.directory, &*self.root);
        match self.directory.place() {
            Place::Named(parent, _) if !is_root => Ok(parent),
            Place::Nowhere => Err(Errno::NoEntry),
            _ => Ok(Arc::clone(&self.directory)),
        }
    }

    /// Puts what a link says in its place in the path, or returns what it leads to
    /// without a path.
    fn follow(&mut self, link: &dyn Link) -> Result<Option<Location>, Errno> {
        self.nr_links += 1;
        if self.nr_links > MAX_LINKS {
            return Err(Errno::TooManyLinks);
        }
        let mut path = match link.destination()? {
            Destination::Node(location) => return Ok(Some(location)),
            Destination::Path(path) => path,
        };
        if path.is_empty() {
            return Err(Errno::NoEntry);
        }
        if path.first() == Some(&b'/') {
            self.directory = Arc::clone(&self.root);
        }
        path.extend_from_slice(&self.path[self.position..]);
        self.path = path;
        self.position = 0;
        Ok(None)
    }
}

fn check_directory(location: Location, must_be: bool) -> Result<Found, Errno> {
    match location.node {
        Node::Directory(_) => Ok(Found::Something(location)),
        _ if must_be => Err(Errno::NotDirectory),
        _ => Ok(Found::Something(location)),
    }
}

/// Returns the path of a directory from the root.
///
/// # Errors
///
/// [`Errno::NoEntry`] if it has been removed, [`Errno::NameTooLong`].
pub(crate) fn path_of_directory(directory: &Arc<dyn Directory>) -> Result<Vec<u8>, Errno> {
    let mut parts = Vec::new();
    let mut len = 0;
    let mut next = Arc::clone(directory);
    loop {
        match next.place() {
            Place::Root => break,
            Place::Nowhere => return Err(Errno::NoEntry),
            Place::Named(parent, name) => {
                len += name.len() + 1;
                if len >= MAX_PATH {
                    return Err(Errno::NameTooLong);
                }
                parts.push(name);
                next = parent;
            }
        }
    }
    if parts.is_empty() {
        return Ok(b"/".to_vec());
    }
    let mut path = Vec::with_capacity(len);
    for part in parts.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    Ok(path)
}

/// Returns the path of something in a directory, as `/proc` tells it: with a remark if
/// something else has the name now, or nothing.
///
/// # Errors
///
/// Those of looking the name up.
pub(crate) fn path_of(
    directory: &Arc<dyn Directory>,
    name: &[u8],
    inode: &dyn Inode,
) -> Result<Vec<u8>, Errno> {
    let mut path = path_of_directory(directory).unwrap_or_default();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    let now = directory.lookup(name)?;
    if !now.is_some_and(|now| is_same(now.inode(), inode)) {
        path.extend_from_slice(DELETED);
    }
    Ok(path)
}

/// What is said of paths that lead nowhere any more.
const DELETED: &[u8] = b" (deleted)";

impl Location {
    /// Returns its path from the root, as `/proc` tells it: with a remark if it is not
    /// there any more, and a made-up name if it never had one.
    pub(crate) fn path(&self) -> Result<Vec<u8>, Errno> {
        match (&self.node, &self.name) {
            (Node::Directory(directory), _) => match path_of_directory(directory) {
                Err(Errno::NoEntry) => Ok(DELETED.to_vec()),
                other => other,
            },
            (node, Some((directory, name))) => path_of(directory, name, node.inode()),
            (node, None) => Ok(node.inode().made_up_name()),
        }
    }
}
