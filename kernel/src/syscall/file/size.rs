//! Calls about how much of a file there is: its length, and its memory.

use super::transfer::{check_offset, max_file_size};
use super::user::{read_path, walk};
use super::{CURRENT_DIRECTORY, SyscallResult};
use crate::errno::Errno;
use crate::fs::node::{Node, RegularFile};
use crate::process::Current;

pub(super) fn truncate(current: &mut Current, path: usize, len: usize) -> SyscallResult {
    let len = check_offset(len)?;
    let path = read_path(current, path)?;
    let location = walk(current, CURRENT_DIRECTORY, &path)?
        .find(true)?
        .something()?;
    let file = match &location.node {
        Node::Directory(_) => return Err(Errno::IsDirectory),
        Node::File(file) => file,
        _ => return Err(Errno::Invalid),
    };
    if file.metadata().filesystem.is_read_only() {
        return Err(Errno::ReadOnly);
    }
    check_new_size(current, &**file, len)?;
    file.resize(len)?;
    Ok(0)
}

pub(super) fn ftruncate(current: &mut Current, file: usize, len: usize) -> SyscallResult {
    let len = check_offset(len)?;
    let file = current.files.get(file)?;
    let contents = file.file().ok_or(Errno::Invalid)?;
    if !file.access().writes {
        return Err(Errno::Invalid);
    }
    check_new_size(current, &**contents, len)?;
    contents.resize(len)?;
    Ok(0)
}

/// Checks that a file may become so long, if that is longer than it is.
fn check_new_size(current: &Current, file: &dyn RegularFile, len: u64) -> Result<(), Errno> {
    if len > file.len() && len > max_file_size(current) {
        crate::fs::hooks::raise_file_too_big(current);
        return Err(Errno::FileTooBig);
    }
    Ok(())
}

/// Bits of a mode of `fallocate` (`fallocate(2)`).
mod mode {
    pub(super) const KEEP_SIZE: u32 = 1;
    pub(super) const PUNCH_HOLE: u32 = 2;
    pub(super) const COLLAPSE_RANGE: u32 = 8;
    pub(super) const ZERO_RANGE: u32 = 0x10;
    pub(super) const INSERT_RANGE: u32 = 0x20;
    pub(super) const UNSHARE_RANGE: u32 = 0x40;
    /// Those that mean something, to some filesystem at least.
    pub(super) const ALL: u32 =
        KEEP_SIZE | PUNCH_HOLE | COLLAPSE_RANGE | ZERO_RANGE | INSERT_RANGE | UNSHARE_RANGE;
}

/// Has memory ready for a part of a file, or gives that of a part back.
pub(super) fn fallocate(
    current: &mut Current,
    file: usize,
    mode: usize,
    offset: usize,
    len: usize,
) -> SyscallResult {
    let file = current.files.get(file)?;
    let offset = check_offset(offset)?;
    let len = check_offset(len)?;
    if len == 0 {
        return Err(Errno::Invalid);
    }
    let mode = mode as u32;
    check_mode(mode)?;
    file.check_writable()?;
    let contents = match file.file() {
        Some(contents) => contents,
        None if file.directory().is_some() => return Err(Errno::IsDirectory),
        None if file.check_positions().is_err() => return Err(Errno::NotSeekable),
        None => return Err(Errno::NoDevice),
    };
    if i64::try_from(offset + len).is_err() {
        return Err(Errno::FileTooBig);
    }
    match mode {
        0 | mode::KEEP_SIZE => {
            check_new_size(current, &**contents, offset + len)?;
            contents.allocate(offset, len, mode == mode::KEEP_SIZE)?;
        }
        _ if mode == mode::KEEP_SIZE | mode::PUNCH_HOLE => contents.punch_hole(offset, len)?,
        _ => return Err(Errno::NotSupported),
    }
    Ok(0)
}

/// Checks in Linux's order that a mode makes sense, to some filesystem at least.
fn check_mode(mode: u32) -> Result<(), Errno> {
    let is_there = |bits: u32| mode & bits == bits;
    if mode & !mode::ALL != 0
        || is_there(mode::PUNCH_HOLE | mode::ZERO_RANGE)
        || is_there(mode::PUNCH_HOLE) && !is_there(mode::KEEP_SIZE)
    {
        return Err(Errno::NotSupported);
    }
    let is_mixed = |bits: u32, with: u32| is_there(bits) && mode & !(bits | with) != 0;
    if is_mixed(mode::COLLAPSE_RANGE, 0)
        || is_mixed(mode::INSERT_RANGE, 0)
        || is_mixed(mode::UNSHARE_RANGE, mode::KEEP_SIZE)
    {
        return Err(Errno::Invalid);
    }
    Ok(())
}

/// There is nothing that files could be written back to.
pub(super) fn fsync(current: &mut Current, file: usize) -> SyscallResult {
    let file = current.files.get(file)?;
    if file.stream().is_some() {
        return Err(Errno::Invalid);
    }
    Ok(0)
}
