//! What `/proc` tells of a process's memory.
//!
//! Numbers of pages are those of the page table at the moment when a region is looked
//! at, so regions of one text may be of different moments.

use core::fmt::{self, Write as _};
use core::ops::Range;

use nucleus::mm::page_table::MappedItem;
use nucleus::mm::{PAGE_SIZE, PageFlags, UntypedMem, Vaddr, VmWriter};

use super::text::Text;
use crate::process::Process;
use crate::vm::{RegionFlags, RegionReport};

const KIB: usize = 1024;

/// Bytes of a program's strings that are copied at once.
const PUSHED_AT_ONCE: usize = 256;

/// Column of a region's name.
const NAME_COLUMN: usize = 73;

pub(super) fn maps(process: &Process, text: &mut Text) -> fmt::Result {
    let Some(memory) = process.memory() else {
        return Ok(());
    };
    let regions = memory.regions().map_err(|_| fmt::Error)?;
    regions.iter().try_for_each(|region| map(region, text))
}

/// Shows what the page table has, as the hardware finds it.
pub(super) fn page_table(process: &Process, text: &mut Text) -> fmt::Result {
    let memory = process.memory();
    memory.map_or(Ok(()), |memory| memory.write_page_table(text))
}

pub(super) fn smaps(process: &Process, text: &mut Text) -> fmt::Result {
    let Some(memory) = process.memory() else {
        return Ok(());
    };
    for region in memory.regions().map_err(|_| fmt::Error)? {
        let usage = memory.usage(&region);
        map(&region, text)?;
        let is_locked = region.flags.contains(RegionFlags::LOCKED);
        let anonymous_huge = if region.inode == 0 { usage.huge } else { 0 };
        for (name, bytes) in [
            ("Size:", region.range.len()),
            ("KernelPageSize:", PAGE_SIZE),
            ("MMUPageSize:", PAGE_SIZE),
            ("Rss:", usage.resident),
            ("Pss:", usage.proportional),
            ("Shared_Clean:", usage.shared_clean),
            ("Shared_Dirty:", usage.shared_dirty),
            ("Private_Clean:", usage.private_clean),
            ("Private_Dirty:", usage.private_dirty),
            ("Referenced:", usage.referenced),
            ("Anonymous:", usage.anonymous),
            ("AnonHugePages:", anonymous_huge),
            ("FilePmdMapped:", usage.huge - anonymous_huge),
            ("Swap:", 0),
            ("Locked:", if is_locked { usage.resident } else { 0 }),
        ] {
            writeln!(text, "{name:<16}{:>8} kB", bytes / KIB)?;
        }
        writeln!(text, "VmFlags:{}", Flags(&region))?;
    }
    Ok(())
}

/// Writes the line of a region.
fn map(region: &RegionReport, text: &mut Text) -> fmt::Result {
    let bit = |flag, letter| {
        if region.protection.contains(flag) {
            letter
        } else {
            '-'
        }
    };
    let start = alloc::format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} 00:{:02x} {} ",
        region.range.start,
        region.range.end,
        bit(PageFlags::R, 'r'),
        bit(PageFlags::W, 'w'),
        bit(PageFlags::X, 'x'),
        if region.is_shared { 's' } else { 'p' },
        region.offset,
        u8::from(region.inode != 0),
        region.inode,
    );
    if region.name.is_empty() {
        return writeln!(text, "{start}");
    }
    write!(text, "{start:<NAME_COLUMN$}")?;
    push_escaped(&region.name, text)?;
    writeln!(text)
}

/// Writes a name; a line's end in it is written as a number.
fn push_escaped(name: &[u8], text: &mut Text) -> fmt::Result {
    for part in name.split_inclusive(|byte| *byte == b'\n') {
        match part.split_last() {
            Some((b'\n', rest)) => {
                text.push_bytes(rest);
                write!(text, "\\012")?;
            }
            _ => text.push_bytes(part),
        }
    }
    Ok(())
}

/// What a region allows, by Linux's two-letter names.
struct Flags<'a>(&'a RegionReport);

impl fmt::Display for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.0;
        let allows = |flag| region.protection.contains(flag);
        let is = |flag| region.flags.contains(flag);
        for (holds, name) in [
            (allows(PageFlags::R), "rd"),
            (allows(PageFlags::W), "wr"),
            (allows(PageFlags::X), "ex"),
            (region.is_shared, "sh"),
            (true, "mr"),
            (is(RegionFlags::MAY_WRITE), "mw"),
            (true, "me"),
            (is(RegionFlags::GROWS_DOWN), "gd"),
            (is(RegionFlags::LOCKED), "lo"),
            (is(RegionFlags::NO_RESERVE), "nr"),
            (is(RegionFlags::NOT_FORKED), "dc"),
            (is(RegionFlags::NOT_DUMPED), "dd"),
            (is(RegionFlags::HUGE), "hg"),
            (is(RegionFlags::NOT_HUGE), "nh"),
            (is(RegionFlags::FORGOTTEN_IN_FORK), "wf"),
        ] {
            if holds {
                write!(f, " {name}")?;
            }
        }
        Ok(())
    }
}

/// Writes what is in a process's memory in a range of addresses, up to the first page
/// that is not there. The memory need not be the active one, and nothing faults.
pub(super) fn push_range(process: &Process, range: &Range<Vaddr>, text: &mut Text) {
    let Some(memory) = process.memory() else {
        return;
    };
    let mut next = range.start;
    while next < range.end {
        let offset = next % PAGE_SIZE;
        let item = memory.page_at(next - offset);
        let Ok(Some(MappedItem::MappedRam { frame, .. })) = item else {
            return;
        };
        let mut bytes = [0; PUSHED_AT_ONCE];
        let part = (PAGE_SIZE - offset)
            .min(range.end - next)
            .min(PUSHED_AT_ONCE);
        let mut reader = frame.reader();
        reader.skip(offset).limit(part);
        reader.read(&mut VmWriter::from(&mut bytes[..part]));
        text.push_bytes(&bytes[..part]);
        next += part;
    }
}

/// Writes the lines of `status` that are about memory.
pub(super) fn sizes(process: &Process, text: &mut Text) -> fmt::Result {
    let Some(memory) = process.memory() else {
        return Ok(());
    };
    let sizes = memory.sizes();
    for (name, bytes) in [
        ("VmPeak:", sizes.peak_mapped),
        ("VmSize:", sizes.mapped),
        ("VmLck:", sizes.locked),
        ("VmPin:", 0),
        ("VmHWM:", sizes.peak_resident),
        ("VmRSS:", sizes.resident),
        ("VmData:", sizes.data),
        ("VmStk:", sizes.stack),
        ("VmExe:", sizes.code),
        ("VmLib:", 0),
        ("VmSwap:", 0),
    ] {
        writeln!(text, "{name}\t{:>8} kB", bytes / KIB)?;
    }
    Ok(())
}

pub(super) fn statm(process: &Process, text: &mut Text) -> fmt::Result {
    let sizes = process.memory().map(|memory| memory.sizes());
    let sizes = sizes.unwrap_or_default();
    let pages = |bytes| bytes / PAGE_SIZE;
    writeln!(
        text,
        "{} {} 0 {} 0 {} 0",
        pages(sizes.mapped),
        pages(sizes.resident),
        pages(sizes.code),
        pages(sizes.data + sizes.stack),
    )
}
