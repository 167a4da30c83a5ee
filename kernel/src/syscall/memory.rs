//! Memory calls: `mmap(2)` and what belongs to it.
//!
//! Arguments are checked here, in Linux's order, which programs can tell by the error;
//! what depends on the regions is [`AddressSpace`](crate::vm::AddressSpace)'s.

use alloc::sync::Arc;

use bitflags::bitflags;
use nucleus::mm::{PAGE_SIZE, PageFlags, USER_END};

use super::{Arguments, SyscallResult};
use crate::errno::Errno;
use crate::fs::OpenFile;
use crate::process::Current;
use crate::vm::{
    Access, Advice, Backing, MapRequest, Place, Placement, RegionFlags, RemapRequest, SharedMemory,
    UserRange,
};

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

pub(super) fn mmap(current: &mut Current, arguments: Arguments) -> SyscallResult {
    let [address, len, protection, flags, file, offset] = arguments;
    let (kind, known) = (flags & MAP_TYPE, MapFlags::from_bits_truncate(flags));
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::Invalid);
    }
    let file = if known.contains(MapFlags::ANONYMOUS) {
        if known.contains(MapFlags::HUGETLB) {
            // None are set aside.
            return Err(Errno::NoMemory);
        }
        None
    } else {
        let file = current.files.get(file)?;
        if file.is_path() {
            return Err(Errno::BadFile);
        }
        Some(file)
    };
    let place = Place {
        address,
        len,
        placement: if known.contains(MapFlags::FIXED_NOREPLACE) {
            Placement::FixedNoReplace
        } else if known.contains(MapFlags::FIXED) {
            Placement::Fixed
        } else if known.contains(MapFlags::LOW_32_BIT) {
            Placement::Low
        } else {
            Placement::Anywhere
        },
    };
    let backing = match file {
        None => anonymous(kind, len),
        Some(file) => of_file(&file, kind, (protection, flags), (len, offset)),
    };
    let (backing, mut region) = match backing {
        Ok(found) => found,
        // What is wrong with the place is told first.
        Err(error) => return current.memory.check_place(&place).and(Err(error)),
    };
    let is_anonymous = matches!(backing, Backing::Anonymous);
    if known.contains(MapFlags::GROWSDOWN) && !is_anonymous {
        return current.memory.check_place(&place).and(Err(Errno::Invalid));
    }
    region.set(RegionFlags::GROWS_DOWN, known.contains(MapFlags::GROWSDOWN));
    region.set(RegionFlags::LOCKED, known.contains(MapFlags::LOCKED));
    region.set(RegionFlags::NO_RESERVE, known.contains(MapFlags::NORESERVE));
    let is_wanted = known.intersects(MapFlags::POPULATE | MapFlags::LOCKED);
    current.memory.map(&MapRequest {
        place,
        protection: page_flags(protection),
        backing,
        flags: region,
        populate: is_wanted && !known.contains(MapFlags::NONBLOCK),
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
    file: &OpenFile,
    kind: usize,
    (protection, flags): (usize, usize),
    (len, offset): (usize, usize),
) -> Result<(Backing, RegionFlags), Errno> {
    let access = file.access();
    let mut region = match kind {
        MAP_PRIVATE => RegionFlags::MAY_WRITE,
        MAP_SHARED => RegionFlags::SHARED,
        MAP_SHARED_VALIDATE if flags & !(MAP_TYPE | MapFlags::all().bits()) == 0 => {
            RegionFlags::SHARED
        }
        MAP_SHARED_VALIDATE => return Err(Errno::NotSupported),
        _ => return Err(Errno::Invalid),
    };
    if region.contains(RegionFlags::SHARED) {
        if protection & PROT_WRITE != 0 && !access.writes {
            return Err(Errno::Access);
        }
        region.set(RegionFlags::MAY_WRITE, access.writes);
    }
    if !access.reads {
        return Err(Errno::Access);
    }
    if file.stream().is_some_and(|stream| stream.is_zeros()) {
        let kind = match region.contains(RegionFlags::SHARED) {
            true => MAP_SHARED,
            false => MAP_PRIVATE,
        };
        return Ok((anonymous(kind, len)?.0, region));
    }
    let object = match file.file() {
        Some(file) => Arc::clone(file).memory_object()?,
        None => return Err(Errno::NoDevice),
    };
    Ok((Backing::Object { object, offset }, region))
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
    let range = UserRange::new(address, len).ok_or(Errno::NoMemory)?;
    if protection & !PROT_ALL != 0 {
        return Err(Errno::Invalid);
    }
    let range = match grows {
        0 => range,
        PROT_GROWSDOWN => current.memory.with_start_of_growing(&range)?,
        _ => return Err(Errno::Invalid),
    };
    current.memory.protect(&range, page_flags(protection))?;
    Ok(0)
}

pub(super) fn mremap(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    const MAY_MOVE: usize = 1;
    const FIXED: usize = 2;
    const DONT_UNMAP: usize = 4;
    let [address, old_len, new_len, flags, target] = arguments;
    let has = |flag| flags & flag != 0;
    if flags & !(MAY_MOVE | FIXED | DONT_UNMAP) != 0
        || flags != 0 && !has(MAY_MOVE)
        || has(DONT_UNMAP) && old_len != new_len
        || !address.is_multiple_of(PAGE_SIZE)
    {
        return Err(Errno::Invalid);
    }
    let (old_len, new_len) = (round_up(old_len), round_up(new_len));
    if new_len == 0 {
        return Err(Errno::Invalid);
    }
    current.memory.remap(&RemapRequest {
        address,
        old_len,
        new_len,
        may_move: has(MAY_MOVE),
        target: has(FIXED).then_some(target),
        keeps_old: has(DONT_UNMAP),
    })
}

pub(super) fn madvise(
    current: &mut Current,
    address: usize,
    len: usize,
    advice: usize,
) -> SyscallResult {
    let advice = decode_advice(advice).ok_or(Errno::Invalid)?;
    if address.is_multiple_of(PAGE_SIZE) && isize::try_from(len).is_err() {
        return Err(Errno::Invalid);
    }
    match checked_range(address, len, Errno::Invalid)? {
        Some(range) => current.memory.advise(&range, advice)?,
        None => return Ok(0),
    }
    Ok(0)
}

/// Translates the number of an advice (`madvise(2)`).
fn decode_advice(number: usize) -> Option<Advice> {
    let none = RegionFlags::empty();
    let mark = |set, clear| Advice::Mark { set, clear };
    Some(match number {
        // NORMAL, RANDOM, SEQUENTIAL, WILLNEED; MERGEABLE, UNMERGEABLE.
        0..=3 | 12 | 13 => Advice::Hint,
        4 => Advice::DontNeed { locked_too: false },
        8 => Advice::Free,
        9 => Advice::Remove,
        10 => mark(RegionFlags::NOT_FORKED, none),
        11 => mark(none, RegionFlags::NOT_FORKED),
        14 => mark(RegionFlags::HUGE, RegionFlags::NOT_HUGE),
        15 => mark(RegionFlags::NOT_HUGE, RegionFlags::HUGE),
        16 => mark(RegionFlags::NOT_DUMPED, none),
        17 => mark(none, RegionFlags::NOT_DUMPED),
        18 => mark(RegionFlags::FORGOTTEN_IN_FORK, none),
        19 => mark(none, RegionFlags::FORGOTTEN_IN_FORK),
        // COLD, PAGEOUT
        20 | 21 => Advice::ColdHint,
        22 => Advice::Populate(Access::Read),
        23 => Advice::Populate(Access::Write),
        24 => Advice::DontNeed { locked_too: true },
        _ => return None,
    })
}

/// Says which pages are in memory, a byte for each.
pub(super) fn mincore(
    current: &mut Current,
    address: usize,
    len: usize,
    to: usize,
) -> SyscallResult {
    /// Pages that are asked about at once.
    const PART: usize = 1024;
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::Invalid);
    }
    let is_user =
        |start: usize, len: usize| start.checked_add(len).is_some_and(|end| end <= USER_END);
    if !is_user(address, len) {
        return Err(Errno::NoMemory);
    }
    if !is_user(to, len.div_ceil(PAGE_SIZE)) {
        return Err(Errno::Fault);
    }
    if len == 0 {
        return Ok(0);
    }
    let range = UserRange::new(address, len).ok_or(Errno::NoMemory)?;
    let mut bytes = [0; PART];
    for (index, start) in (range.start()..range.end())
        .step_by(PART * PAGE_SIZE)
        .enumerate()
    {
        let end = range.end().min(start + PART * PAGE_SIZE);
        let part = UserRange::between(start, end).ok_or(Errno::NoMemory)?;
        current.memory.residency(&part, &mut bytes)?;
        let to = to.checked_add(index * PART).ok_or(Errno::Fault)?;
        current.memory.write_bytes(to, &bytes[..part.pages()])?;
    }
    Ok(0)
}

/// Files are in memory: there is nothing to write back.
pub(super) fn msync(
    current: &mut Current,
    address: usize,
    len: usize,
    flags: usize,
) -> SyscallResult {
    const ASYNC: usize = 1;
    const INVALIDATE: usize = 2;
    const SYNC: usize = 4;
    let is_both = flags & ASYNC != 0 && flags & SYNC != 0;
    if flags & !(ASYNC | INVALIDATE | SYNC) != 0 || is_both {
        return Err(Errno::Invalid);
    }
    if let Some(range) = checked_range(address, round_up(len), Errno::NoMemory)? {
        let forbids_locked = flags & INVALIDATE != 0;
        current.memory.check_mapped(&range, forbids_locked)?;
    }
    Ok(0)
}

/// `mlock(2)` and `mlock2(2)`.
pub(super) fn mlock(
    current: &mut Current,
    address: usize,
    len: usize,
    flags: usize,
) -> SyscallResult {
    const ON_FAULT: usize = 1;
    if flags & !ON_FAULT != 0 {
        return Err(Errno::Invalid);
    }
    set_locked(current, address, len, true)
}

pub(super) fn munlock(current: &mut Current, address: usize, len: usize) -> SyscallResult {
    set_locked(current, address, len, false)
}

/// Locks or unlocks the pages that a range of bytes has a part in.
fn set_locked(current: &Current, address: usize, len: usize, is_locked: bool) -> SyscallResult {
    let in_page = address % PAGE_SIZE;
    let len = round_up(len.wrapping_add(in_page));
    if let Some(range) = checked_range(address - in_page, len, Errno::Invalid)? {
        current.memory.set_locked(&range, is_locked)?;
    }
    Ok(0)
}

pub(super) fn mlockall(current: &mut Current, flags: usize) -> SyscallResult {
    const CURRENT: usize = 1;
    const FUTURE: usize = 2;
    const ON_FAULT: usize = 4;
    if flags & !(CURRENT | FUTURE | ON_FAULT) != 0 || flags & (CURRENT | FUTURE) == 0 {
        return Err(Errno::Invalid);
    }
    current.memory.lock_new_regions(flags & FUTURE != 0);
    if flags & CURRENT != 0 {
        current.memory.set_all_locked(true)?;
    }
    Ok(0)
}

pub(super) fn munlockall(current: &mut Current) -> SyscallResult {
    current.memory.lock_new_regions(false);
    current.memory.set_all_locked(false)?;
    Ok(0)
}

/// Rounds a length up to pages; as in Linux, one that wraps is none.
const fn round_up(len: usize) -> usize {
    len.wrapping_add(PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE
}

/// Checks an address and a length; nothing for no length. `wrapped` is the error where
/// the end wraps; what leaves user space is not mapped.
fn checked_range(address: usize, len: usize, wrapped: Errno) -> Result<Option<UserRange>, Errno> {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::Invalid);
    }
    let pages = len.checked_next_multiple_of(PAGE_SIZE).ok_or(wrapped)?;
    address.checked_add(pages).ok_or(wrapped)?;
    if len == 0 {
        return Ok(None);
    }
    UserRange::new(address, len)
        .map(Some)
        .ok_or(Errno::NoMemory)
}

/// Translates a protection; bits that say nothing are ignored.
fn page_flags(protection: usize) -> PageFlags {
    let mut flags = PageFlags::empty();
    flags.set(PageFlags::R, protection & PROT_READ != 0);
    flags.set(PageFlags::W, protection & PROT_WRITE != 0);
    flags.set(PageFlags::X, protection & PROT_EXEC != 0);
    flags
}
