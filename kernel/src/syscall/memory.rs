//! Memory calls: `mmap(2)`, `mprotect(2)`, `munmap(2)`, `madvise(2)`.

use nucleus::mm::{PAGE_SIZE, PageFlags};

use super::{Arguments, SyscallResult};
use crate::errno::Errno;
use crate::process::Current;
use crate::vm::{RegionKind, UserRange};

const PROT_WRITE: usize = 2;
const PROT_EXEC: usize = 4;
const PROT_ALL: usize = 7;

const MAP_SHARED: usize = 0x01;
const MAP_PRIVATE: usize = 0x02;
const MAP_FIXED: usize = 0x10;
const MAP_ANONYMOUS: usize = 0x20;
const MAP_FIXED_NOREPLACE: usize = 0x10_0000;

const MADV_DONTNEED: usize = 4;
/// The largest advice that Linux 6.1 knows.
const MADV_MAX: usize = 25;

/// Anonymous private memory; a shared mapping of a single process is the same.
pub(super) fn mmap(current: &mut Current, arguments: Arguments) -> SyscallResult {
    let [address, len, protection, flags, _file, _offset] = arguments;
    let protection = page_flags(protection)?;
    if len == 0 || flags & (MAP_SHARED | MAP_PRIVATE) == 0 {
        return Err(Errno::Invalid);
    }
    if flags & MAP_ANONYMOUS == 0 {
        return Err(Errno::Access);
    }
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) == 0 {
        return current.memory.map_anywhere(address, len, protection);
    }
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::Invalid);
    }
    let range = UserRange::new(address, len).ok_or(Errno::NoMemory)?;
    if flags & MAP_FIXED_NOREPLACE == 0 {
        current.memory.unmap(&range)?;
    }
    current
        .memory
        .map_at(&range, protection, RegionKind::Anonymous)?;
    Ok(range.start())
}

pub(super) fn mprotect(
    current: &mut Current,
    address: usize,
    len: usize,
    protection: usize,
) -> SyscallResult {
    let flags = page_flags(protection)?;
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::Invalid);
    }
    if len == 0 {
        return Ok(0);
    }
    let range = UserRange::new(address, len).ok_or(Errno::NoMemory)?;
    current.memory.protect(&range, flags)?;
    Ok(0)
}

pub(super) fn munmap(current: &mut Current, address: usize, len: usize) -> SyscallResult {
    let range = UserRange::new(address, len).ok_or(Errno::Invalid)?;
    current.memory.unmap(&range)?;
    Ok(0)
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
    if !current.memory.is_mapped(&old) {
        return Err(Errno::Fault);
    }
    if flags & !MAY_MOVE != 0 || new.end() > old.end() {
        return Err(Errno::NoMemory);
    }
    if let Some(tail) = UserRange::new(new.end(), old.end() - new.end()) {
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

/// Translates a protection. The hardware cannot forbid reading what may be
/// written or executed, and a mapping that is both is refused.
fn page_flags(protection: usize) -> Result<PageFlags, Errno> {
    if protection & !PROT_ALL != 0 {
        return Err(Errno::Invalid);
    }
    let mut flags = PageFlags::empty();
    flags.set(PageFlags::W, protection & PROT_WRITE != 0);
    flags.set(PageFlags::X, protection & PROT_EXEC != 0);
    flags.set(PageFlags::R, protection != 0);
    if flags.contains(PageFlags::W | PageFlags::X) {
        return Err(Errno::Access);
    }
    Ok(flags)
}

#[cfg(ktest)]
mod tests {
    use nucleus::mm::PageFlags;
    use nucleus::prelude::*;

    use super::page_flags;
    use crate::errno::Errno;

    #[ktest]
    fn every_access_implies_reading() {
        assert_eq!(page_flags(0), Ok(PageFlags::empty()));
        assert_eq!(page_flags(2), Ok(PageFlags::RW));
        assert_eq!(page_flags(4), Ok(PageFlags::RX));
    }

    #[ktest]
    fn writable_code_and_unknown_bits_are_refused() {
        assert_eq!(page_flags(7), Err(Errno::Access));
        assert_eq!(page_flags(8), Err(Errno::Invalid));
    }
}
