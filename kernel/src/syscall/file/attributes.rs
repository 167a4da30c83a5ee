//! `stat` and its kin.

use core::time::Duration;

use nucleus::mm::PAGE_SIZE;

use super::user::{Structure, read_path, read_path_or_nothing, read_words, walk};
use super::{
    AT_EACCESS, AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, CURRENT_DIRECTORY,
    SyscallResult,
};
use crate::errno::Errno;
use crate::fs::node::{Change, Filesystem, Kind, Location, Metadata};
use crate::fs::path::MAX_NAME;
use crate::fs::{self, now};
use crate::process::Current;

/// Bytes that sizes in blocks count in.
const BLOCK: u64 = 512;

/// Finds what a descriptor and a path mean: if the path is empty, and may be, what the
/// descriptor stands for.
fn find(
    current: &mut Current,
    directory: usize,
    path: usize,
    flags: usize,
) -> Result<Location, Errno> {
    let path = read_path_or_nothing(current, path)?;
    find_by_path(current, directory, &path, flags)
}

/// Finds what a path, which was read, leads to.
pub(in crate::syscall) fn find_by_path(
    current: &Current,
    directory: usize,
    path: &[u8],
    flags: usize,
) -> Result<Location, Errno> {
    if path.is_empty() {
        if flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::NoEntry);
        }
        if super::user::is_current_directory(directory) {
            return current.fs.walk(b".").find(true)?.something();
        }
        return Ok(current.files.get_any(directory)?.location().clone());
    }
    let follows = flags & AT_SYMLINK_NOFOLLOW == 0;
    walk(current, directory, path)?.find(follows)?.something()
}

pub(super) fn fstat(current: &mut Current, file: usize, to: usize) -> SyscallResult {
    let metadata = current.files.get_any(file)?.inode().metadata();
    write_stat(current, to, &metadata)
}

pub(super) fn newfstatat(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const FLAGS: usize = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT;
    let [directory, path, to, flags] = arguments;
    if flags & !FLAGS != 0 {
        return Err(Errno::Invalid);
    }
    let location = find(current, directory, path, flags)?;
    write_stat(current, to, &location.node.inode().metadata())
}

/// Writes a `struct stat`.
fn write_stat(current: &mut Current, to: usize, metadata: &Metadata) -> SyscallResult {
    const SIZE: usize = 144;
    let mut stat = Structure::<SIZE>::new();
    stat.set_u64(0, device_number(filesystem_device(metadata.filesystem)));
    stat.set_u64(8, metadata.number);
    stat.set_u64(16, u64::from(metadata.links));
    stat.set_u32(24, mode(metadata));
    stat.set_u32(28, metadata.user);
    stat.set_u32(32, metadata.group);
    stat.set_u64(40, device_number(metadata.device));
    stat.set_u64(48, metadata.size);
    stat.set_u64(56, block_size(metadata));
    stat.set_u64(64, metadata.frames * (PAGE_SIZE as u64 / BLOCK));
    let times = &metadata.times;
    for (offset, time) in [
        (72, times.accessed),
        (88, times.modified),
        (104, times.changed),
    ] {
        stat.set_u64(offset, time.as_secs());
        stat.set_u64(offset + 8, u64::from(time.subsec_nanos()));
    }
    stat.write(current, to)?;
    Ok(0)
}

/// Returns type and permissions.
const fn mode(metadata: &Metadata) -> u32 {
    metadata.kind.mode_bits() | metadata.permissions as u32
}

/// Returns the number of bytes that are best read at once.
const fn block_size(metadata: &Metadata) -> u64 {
    match metadata.filesystem {
        Filesystem::Processes if matches!(metadata.kind, Kind::File) => 1024,
        _ => PAGE_SIZE as u64,
    }
}

/// Returns the device that a filesystem pretends to be on.
const fn filesystem_device(filesystem: Filesystem) -> (u32, u32) {
    (0, filesystem as u32)
}

/// Returns a device's major and minor number as one.
fn device_number((major, minor): (u32, u32)) -> u64 {
    u64::from(minor & 0xff) | u64::from(major) << 8 | u64::from(minor & !0xff) << 12
}

pub(super) fn statx(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    const SIZE: usize = 256;
    const SYNC: usize = 0x6000;
    const FLAGS: usize = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | SYNC;
    const RESERVED: usize = 0x8000_0000;
    const BASIC: u32 = 0x7ff;
    let [directory, path, flags, mask, to] = arguments;
    if mask & RESERVED != 0 || flags & SYNC == SYNC || flags & !FLAGS != 0 {
        return Err(Errno::Invalid);
    }
    let location = find(current, directory, path, flags)?;
    let metadata = location.node.inode().metadata();
    let mut stat = Structure::<SIZE>::new();
    stat.set_u32(0, BASIC);
    stat.set_u32(4, block_size(&metadata) as u32);
    stat.set_u32(16, metadata.links);
    stat.set_u32(20, metadata.user);
    stat.set_u32(24, metadata.group);
    stat.set_u16(28, mode(&metadata) as u16);
    stat.set_u64(32, metadata.number);
    stat.set_u64(40, metadata.size);
    stat.set_u64(48, metadata.frames * (PAGE_SIZE as u64 / BLOCK));
    let times = &metadata.times;
    for (offset, time) in [
        (64, times.accessed),
        (96, times.changed),
        (112, times.modified),
    ] {
        stat.set_u64(offset, time.as_secs());
        stat.set_u32(offset + 8, time.subsec_nanos());
    }
    let (major, minor) = metadata.device;
    stat.set_u32(128, major);
    stat.set_u32(132, minor);
    let (major, minor) = filesystem_device(metadata.filesystem);
    stat.set_u32(136, major);
    stat.set_u32(140, minor);
    stat.write(current, to)?;
    Ok(0)
}

pub(super) fn access(
    current: &mut Current,
    directory: usize,
    path: usize,
    mode: usize,
    flags: usize,
) -> SyscallResult {
    const EXECUTE: usize = 1;
    const WRITE: usize = 2;
    const ALL: usize = 7;
    const FLAGS: usize = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
    if mode & !ALL != 0 || flags & !FLAGS != 0 {
        return Err(Errno::Invalid);
    }
    let metadata = find(current, directory, path, flags)?
        .node
        .inode()
        .metadata();
    // Everybody is root, whom no permission keeps from anything but from running what
    // nobody may.
    let is_executable = metadata.kind != Kind::File || metadata.permissions & 0o111 != 0;
    if mode & EXECUTE != 0 && !is_executable {
        return Err(Errno::Access);
    }
    if mode & WRITE != 0 && metadata.filesystem.is_read_only() {
        return Err(Errno::ReadOnly);
    }
    Ok(0)
}

fn change(location: &Location, change: &Change) -> SyscallResult {
    let inode = location.node.inode();
    if inode.metadata().filesystem.is_read_only() {
        return Err(Errno::ReadOnly);
    }
    inode.change(change)?;
    Ok(0)
}

fn new_permissions(mode: usize) -> Change {
    Change {
        permissions: Some(mode as u16 & 0o7777),
        ..Change::default()
    }
}

pub(super) fn chmod(
    current: &mut Current,
    directory: usize,
    path: usize,
    mode: usize,
) -> SyscallResult {
    let location = find(current, directory, path, 0)?;
    change(&location, &new_permissions(mode))
}

pub(super) fn fchmod(current: &mut Current, file: usize, mode: usize) -> SyscallResult {
    let file = current.files.get(file)?;
    change(file.location(), &new_permissions(mode))
}

/// Minus one leaves the user or the group as it is.
fn new_owner(user: usize, group: usize) -> Change {
    const SAME: u32 = u32::MAX;
    let given = |id: usize| Some(id as u32).filter(|id| *id != SAME);
    Change {
        user: given(user),
        group: given(group),
        ..Change::default()
    }
}

pub(super) fn chown(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    let [directory, path, user, group, flags] = arguments;
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::Invalid);
    }
    let location = find(current, directory, path, flags)?;
    change(&location, &new_owner(user, group))
}

pub(super) fn fchown(
    current: &mut Current,
    file: usize,
    user: usize,
    group: usize,
) -> SyscallResult {
    let file = current.files.get(file)?;
    change(file.location(), &new_owner(user, group))
}

pub(super) fn utimensat(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    let [directory, path, times, flags] = arguments;
    let mut new = Change {
        accessed: Some(now()),
        modified: Some(now()),
        ..Change::default()
    };
    if times != 0 {
        let [seconds, nanos, modified_seconds, modified_nanos] = read_words(current, times)?;
        new.accessed = new_time(seconds, nanos)?;
        new.modified = new_time(modified_seconds, modified_nanos)?;
        if new.accessed.is_none() && new.modified.is_none() {
            return Ok(0);
        }
    }
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::Invalid);
    }
    let location = if path == 0 && !super::user::is_current_directory(directory) {
        if flags != 0 {
            return Err(Errno::Invalid);
        }
        current.files.get(directory)?.location().clone()
    } else {
        find(current, directory, path, flags)?
    };
    change(&location, &new)
}

/// Returns the time that two words mean; none if it is to stay.
fn new_time(seconds: u64, nanos: u64) -> Result<Option<Duration>, Errno> {
    const NOW: u32 = 0x3fff_ffff;
    const SAME: u32 = 0x3fff_fffe;
    match u32::try_from(nanos).map_err(|_| Errno::Invalid)? {
        NOW => Ok(Some(now())),
        SAME => Ok(None),
        // Times before 1970 become that year's start.
        nanos @ 0..1_000_000_000 => Ok(Some(match i64::try_from(seconds) {
            Ok(_) => Duration::new(seconds, nanos),
            Err(_) => Duration::ZERO,
        })),
        _ => Err(Errno::Invalid),
    }
}

pub(super) fn statfs(current: &mut Current, path: usize, to: usize) -> SyscallResult {
    let path = read_path(current, path)?;
    let location = walk(current, CURRENT_DIRECTORY, &path)?
        .find(true)?
        .something()?;
    write_statfs(current, to, &location)
}

pub(super) fn fstatfs(current: &mut Current, file: usize, to: usize) -> SyscallResult {
    let location = current.files.get_any(file)?.location().clone();
    write_statfs(current, to, &location)
}

/// Writes a `struct statfs`.
fn write_statfs(current: &mut Current, to: usize, location: &Location) -> SyscallResult {
    const SIZE: usize = 120;
    const READ_ONLY: u64 = 1;
    /// Says that the flags mean anything.
    const VALID: u64 = 0x20;
    let filesystem = location.node.inode().metadata().filesystem;
    let magic: u64 = match filesystem {
        Filesystem::Initramfs => 0x8584_58f6,
        Filesystem::Memory | Filesystem::Devices => 0x0102_1994,
        Filesystem::Processes => 0x9fa0,
        Filesystem::Pipes => 0x5049_5045,
        Filesystem::Nameless => 0x0904_1934,
    };
    let usage = fs::usage(filesystem);
    let free_frames = (usage.max_frames - usage.frames) as u64;
    let flags = if filesystem.is_read_only() {
        VALID | READ_ONLY
    } else {
        VALID
    };
    let words = [
        magic,
        PAGE_SIZE as u64,
        usage.max_frames as u64,
        free_frames,
        free_frames,
        usage.max_files as u64,
        (usage.max_files - usage.files) as u64,
        filesystem as u64,
        MAX_NAME as u64,
        PAGE_SIZE as u64,
        flags,
    ];
    let mut structure = Structure::<SIZE>::new();
    for (index, word) in words.into_iter().enumerate() {
        structure.set_u64(index * 8, word);
    }
    structure.write(current, to)?;
    Ok(0)
}
