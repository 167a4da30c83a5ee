//! Memory calls: `mmap(2)` and what belongs to it.
//!
//! Arguments are checked here, in Linux's order, which programs can tell by the error;
//! what depends on the regions is [`AddressSpace`](crate::vm::AddressSpace)'s.

use bitflags::bitflags;
use nucleus::mm::{PAGE_SIZE, PageFlags};

use super::{Arguments, SyscallResult};
use crate::errno::Errno;
use crate::process::Current;
use crate::vm::{Backing, MapRequest, Placement, RegionFlags, SharedMemory, UserRange};

const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const PROT_EXEC: usize = 4;
/// Atomic operations: without a meaning here.
const PROT_SEM: usize = 8;
const PROT_ALL: usize = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM;
/// The change is to reach the end, or the start, of a region that grows.
const PROT_GROWSDOWN: usize = 0x0100_0000;
const PROT_GROWSUP: usize = 0x0200_0000;

const MAP_TYPE: usize = 0x0f;
const MAP_SHARED: usize = 1;
const MAP_PRIVATE: usize = 2;
const MAP_SHARED_VALIDATE: usize = 3;

bitflags! {
    /// Flags of `mmap` beside the type.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct MapFlags: usize {
        const FIXED = 0x10;
        const ANONYMOUS = 0x20;
        const LOW_32_BIT = 0x40;
        const GROWSDOWN = 0x100;
        const DENYWRITE = 0x800;
        const EXECUTABLE = 0x1000;
        const LOCKED = 0x2000;
        const NORESERVE = 0x4000;
        const POPULATE = 0x8000;
        const NONBLOCK = 0x1_0000;
        const STACK = 0x2_0000;
        const HUGETLB = 0x4_0000;
        const FIXED_NOREPLACE = 0x10_0000;
    }
}

const MADV_DONTNEED: usize = 4;
/// The largest advice that Linux 6.1 knows.
const MADV_MAX: usize = 25;

pub(super) fn mmap(current: &mut Current, arguments: Arguments) -> SyscallResult {
    let [address, len, protection, flags, file, offset] = arguments;
    let (kind, flags) = (flags & MAP_TYPE, MapFlags::from_bits_truncate(flags));
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::Invalid);
    }
    let backing = if flags.contains(MapFlags::ANONYMOUS) {
        anonymous(kind, len)
    } else {
        of_file(current, kind, protection, file, offset)
    };
    if len == 0 {
        return backing.and(Err(Errno::Invalid));
    }
    let (backing, mut region) = backing?;
    region.set(RegionFlags::GROWS_DOWN, flags.contains(MapFlags::GROWSDOWN));
    if flags.contains(MapFlags::GROWSDOWN) && region.contains(RegionFlags::SHARED) {
        return Err(Errno::Invalid);
    }
    region.set(RegionFlags::LOCKED, flags.contains(MapFlags::LOCKED));
    region.set(RegionFlags::NO_RESERVE, flags.contains(MapFlags::NORESERVE));
    let placement = if flags.contains(MapFlags::FIXED_NOREPLACE) {
        Placement::FixedNoReplace
    } else if flags.contains(MapFlags::FIXED) {
        Placement::Fixed
    } else {
        Placement::Anywhere
    };
    let is_wanted = flags.intersects(MapFlags::POPULATE | MapFlags::LOCKED);
    current.memory.map(&MapRequest {
        address,
        len,
        placement,
        protection: page_flags(protection),
        backing,
        flags: region,
        populate: is_wanted && !flags.contains(MapFlags::NONBLOCK),
    })
}

/// Returns what a mapping without a file maps.
fn anonymous(kind: usize, len: usize) -> Result<(Backing, RegionFlags), Errno> {
    match kind {
        MAP_PRIVATE => Ok((Backing::Anonymous, RegionFlags::MAY_WRITE)),
        MAP_SHARED => {
            let object = SharedMemory::new(len);
            let flags = RegionFlags::SHARED | RegionFlags::MAY_WRITE;
            Ok((Backing::Object { object, offset: 0 }, flags))
        }
        _ => Err(Errno::Invalid),
    }
}

/// Returns what a mapping of a file maps.
fn of_file(
    _current: &Current,
    kind: usize,
    _protection: usize,
    _file: usize,
    _offset: usize,
) -> Result<(Backing, RegionFlags), Errno> {
    match kind {
        MAP_SHARED | MAP_PRIVATE | MAP_SHARED_VALIDATE => Err(Errno::NoDevice),
        _ => Err(Errno::Invalid),
    }
}

pub(super) fn munmap(current: &mut Current, address: usize, len: usize) -> SyscallResult {
    let range = UserRange::new(address, len).ok_or(Errno::Invalid)?;
    current.memory.unmap(&range)?;
    Ok(0)
}

pub(super) fn mprotect(
    current: &mut Current,
    address: usize,
    len: usize,
    protection: usize,
) -> SyscallResult {
    const GROWS: usize = PROT_GROWSDOWN | PROT_GROWSUP;
    let grows = protection & GROWS;
    let protection = protection & !GROWS;
    if grows == GROWS || !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::Invalid);
    }
    if len == 0 {
        return Ok(0);
    }
    let Some(range) = range_or_overflow(address, len)? else {
        return Err(Errno::NoMemory);
    };
    if protection & !PROT_ALL != 0 {
        return Err(Errno::Invalid);
    }
    current.memory.protect(&range, page_flags(protection))?;
    Ok(0)
}

/// Returns the range of an aligned address and a length; nothing where it wraps or
/// leaves user space, of which no part is mapped.
fn range_or_overflow(address: usize, len: usize) -> Result<Option<UserRange>, Errno> {
    Ok(UserRange::new(address, len))
}

/// A mapping can shrink where it is. It does not grow or move: a program that
/// hears `ENOMEM` allocates and copies.
pub(super) fn mremap(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const MAY_MOVE: usize = 1;
    const ALL_FLAGS: usize = 7;
    let [address, old_len, new_len, flags] = arguments;
    if !address.is_multiple_of(PAGE_SIZE) || new_len == 0 || flags & !ALL_FLAGS != 0 {
        return Err(Errno::Invalid);
    }
    let old = UserRange::new(address, old_len).ok_or(Errno::Invalid)?;
    let new = UserRange::new(address, new_len).ok_or(Errno::NoMemory)?;
    if flags & !MAY_MOVE != 0 || new.end() > old.end() {
        return Err(Errno::NoMemory);
    }
    if let Some(tail) = UserRange::between(new.end(), old.end()) {
        current.memory.unmap(&tail)?;
    }
    Ok(address)
}

pub(super) fn madvise(
    current: &mut Current,
    address: usize,
    len: usize,
    advice: usize,
) -> SyscallResult {
    if !address.is_multiple_of(PAGE_SIZE) || advice > MADV_MAX {
        return Err(Errno::Invalid);
    }
    if len == 0 {
        return Ok(0);
    }
    let range = UserRange::new(address, len).ok_or(Errno::NoMemory)?;
    if advice == MADV_DONTNEED {
        current.memory.discard(&range)?;
    }
    Ok(0)
}

/// Translates a protection; bits that say nothing are ignored.
fn page_flags(protection: usize) -> PageFlags {
    let mut flags = PageFlags::empty();
    flags.set(PageFlags::R, protection & PROT_READ != 0);
    flags.set(PageFlags::W, protection & PROT_WRITE != 0);
    flags.set(PageFlags::X, protection & PROT_EXEC != 0);
    flags
}
