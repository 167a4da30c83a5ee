//! Directories, and names in them.

use alloc::vec;
use alloc::vec::Vec;

use super::user::{read_path, read_path_or_nothing, walk};
use super::{AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, CURRENT_DIRECTORY, SyscallResult};
use crate::errno::Errno;
use crate::fs::node::{Directory, Link, Listed, New, Node};
use crate::fs::open::Seek;
use crate::fs::path::{Found, Last, Parent, path_of_directory};
use crate::process::Current;

/// The most bytes of a directory that one call lists.
const MAX_LISTING: usize = 32 << 10;

/// Checks that nothing keeps a directory from being changed.
fn check_changeable(directory: &dyn Directory) -> Result<(), Errno> {
    if directory.metadata().filesystem.is_read_only() {
        return Err(Errno::ReadOnly);
    }
    Ok(())
}

/// Finds where something is to be created.
fn find_place(
    current: &mut Current,
    directory: usize,
    path: usize,
    may_have_slash: bool,
) -> Result<Parent, Errno> {
    let path = read_path(current, path)?;
    let parent = walk(current, directory, &path)?.parent()?;
    let Last::Name(name) = &parent.last else {
        return Err(Errno::Exists);
    };
    if parent.directory.lookup(name)?.is_some() {
        return Err(Errno::Exists);
    }
    if parent.has_slash && !may_have_slash {
        return Err(Errno::NoEntry);
    }
    check_changeable(&*parent.directory)?;
    Ok(parent)
}

/// Creates something in the place that was found for it.
fn create(parent: &Parent, new: New<'_>) -> SyscallResult {
    if let Last::Name(name) = &parent.last {
        parent.directory.create(name, new)?;
    }
    Ok(0)
}

pub(super) fn mkdir(
    current: &mut Current,
    directory: usize,
    path: usize,
    mode: usize,
) -> SyscallResult {
    let parent = find_place(current, directory, path, true)?;
    let permissions = mode as u16 & 0o1777 & !current.fs.umask();
    create(&parent, New::Directory { permissions })
}

pub(super) fn symlink(
    current: &mut Current,
    target: usize,
    directory: usize,
    path: usize,
) -> SyscallResult {
    let target = read_path(current, target)?;
    let parent = find_place(current, directory, path, false)?;
    create(&parent, New::Link { target: &target })
}

pub(super) fn link(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    let [old_directory, old_path, directory, path, flags] = arguments;
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::Invalid);
    }
    let old_path = read_path_or_nothing(current, old_path)?;
    let old = match (old_path.is_empty(), flags & AT_EMPTY_PATH != 0) {
        (true, false) => return Err(Errno::NoEntry),
        (true, true) => current.files.get_any(old_directory)?.location().clone(),
        _ => {
            let walk = walk(current, old_directory, &old_path)?;
            walk.find(flags & AT_SYMLINK_FOLLOW != 0)?.something()?
        }
    };
    let parent = find_place(current, directory, path, false)?;
    let same_filesystem =
        old.node.inode().metadata().filesystem == parent.directory.metadata().filesystem;
    if !same_filesystem {
        return Err(Errno::CrossDevice);
    }
    if let Last::Name(name) = &parent.last {
        parent.directory.link(name, &old.node)?;
    }
    Ok(0)
}

pub(super) fn unlink(
    current: &mut Current,
    directory: usize,
    path: usize,
    flags: usize,
) -> SyscallResult {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::Invalid);
    }
    let is_directory = flags & AT_REMOVEDIR != 0;
    let path = read_path(current, path)?;
    let parent = walk(current, directory, &path)?.parent()?;
    let name = match &parent.last {
        Last::Name(name) => name,
        _ if !is_directory => return Err(Errno::IsDirectory),
        Last::Here => return Err(Errno::Invalid),
        Last::Up => return Err(Errno::NotEmpty),
        Last::Root => return Err(Errno::Busy),
    };
    check_changeable(&*parent.directory)?;
    if is_directory {
        parent.directory.remove_directory(name)?;
        return Ok(0);
    }
    if parent.has_slash {
        let node = parent.directory.lookup(name)?.ok_or(Errno::NoEntry)?;
        return Err(match node {
            Node::Directory(_) => Errno::IsDirectory,
            _ => Errno::NotDirectory,
        });
    }
    parent.directory.unlink(name)?;
    Ok(0)
}

pub(super) fn rename(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    const KEEP: usize = 1;
    let [old_directory, old_path, directory, path, flags] = arguments;
    if flags & !KEEP != 0 {
        return Err(Errno::Invalid);
    }
    let old_path = read_path(current, old_path)?;
    let path = read_path(current, path)?;
    let old = walk(current, old_directory, &old_path)?.parent()?;
    let new = walk(current, directory, &path)?.parent()?;
    if old.directory.metadata().filesystem != new.directory.metadata().filesystem {
        return Err(Errno::CrossDevice);
    }
    let (Last::Name(old_name), Last::Name(new_name)) = (&old.last, &new.last) else {
        return Err(Errno::Busy);
    };
    check_changeable(&*old.directory)?;
    let node = old.directory.lookup(old_name)?.ok_or(Errno::NoEntry)?;
    let is_directory = matches!(node, Node::Directory(_));
    if !is_directory && (old.has_slash || new.has_slash) {
        return Err(Errno::NotDirectory);
    }
    old.directory
        .rename(old_name, &new.directory, new_name, flags & KEEP != 0)?;
    Ok(0)
}

pub(super) fn readlink(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    let [directory, path, to, len] = arguments;
    if len as i32 <= 0 {
        return Err(Errno::Invalid);
    }
    let path = read_path_or_nothing(current, path)?;
    let location = if path.is_empty() {
        current.files.get_any(directory)?.location().clone()
    } else {
        walk(current, directory, &path)?.find(false)?.something()?
    };
    let Node::Link(link) = &location.node else {
        return Err(if path.is_empty() {
            Errno::NoEntry
        } else {
            Errno::Invalid
        });
    };
    let text = text_of(&**link)?;
    let part = &text[..text.len().min(len as u32 as usize)];
    current.memory.write_bytes(to, part)?;
    Ok(part.len())
}

fn text_of(link: &dyn Link) -> Result<Vec<u8>, Errno> {
    link.text()
}

pub(super) fn getcwd(current: &mut Current, to: usize, len: usize) -> SyscallResult {
    let mut path = path_of_directory(&current.fs.directory())?;
    path.push(0);
    if len < path.len() {
        return Err(Errno::Range);
    }
    current.memory.write_bytes(to, &path)?;
    Ok(path.len())
}

pub(super) fn chdir(current: &mut Current, path: usize) -> SyscallResult {
    let path = read_path(current, path)?;
    let found = walk(current, CURRENT_DIRECTORY, &path)?.find(true)?;
    match found {
        Found::Something(location) => match location.node {
            Node::Directory(directory) => current.fs.set_directory(directory),
            _ => return Err(Errno::NotDirectory),
        },
        Found::Nothing(_) => return Err(Errno::NoEntry),
    }
    Ok(0)
}

pub(super) fn fchdir(current: &mut Current, file: usize) -> SyscallResult {
    let file = current.files.get_any(file)?;
    let directory = file.directory().ok_or(Errno::NotDirectory)?;
    current.fs.set_directory(directory.clone());
    Ok(0)
}

pub(super) fn getdents(current: &mut Current, file: usize, to: usize, len: usize) -> SyscallResult {
    let file = current.files.get(file)?;
    let mut listing = vec![0; (len as u32 as usize).min(MAX_LISTING)];
    let mut used = 0;
    let mut is_too_small = false;
    let before = file.seek(0, Seek::Current);
    file.list(
        &mut |listed| match put_entry(&mut listing[used..], &listed) {
            Some(size) => {
                used += size;
                true
            }
            None => {
                is_too_small = used == 0;
                false
            }
        },
    )?;
    if is_too_small {
        return Err(Errno::Invalid);
    }
    if let Err(error) = current.memory.write_bytes(to, &listing[..used]) {
        // What nobody has got is listed again.
        file.seek(before? as i64, Seek::Start)?;
        return Err(error);
    }
    Ok(used)
}

/// Writes a `struct linux_dirent64`; returns its size, or none if it does not fit.
fn put_entry(to: &mut [u8], listed: &Listed<'_>) -> Option<usize> {
    const HEADER: usize = 19;
    let size = (HEADER + listed.name.len() + 1).next_multiple_of(8);
    let entry = to.get_mut(..size)?;
    entry[..8].copy_from_slice(&listed.number.to_le_bytes());
    entry[8..16].copy_from_slice(&listed.next.to_le_bytes());
    entry[16..18].copy_from_slice(&(size as u16).to_le_bytes());
    entry[18] = listed.kind.directory_entry_type();
    entry[HEADER..HEADER + listed.name.len()].copy_from_slice(listed.name);
    Some(size)
}
