//! Loading a program: a static ELF file for x86-64, by the crate `elf`.
//!
//! Only `PT_LOAD` segments count. Everything about the file is checked before
//! anything is mapped, and what does not make sense is refused with a reason. What is
//! checked is in the file's first page, of which the caller has a copy: the file may
//! change meanwhile. Its sections do not matter, and need not be there.

use alloc::sync::Arc;
use alloc::vec::Vec;

use elf::abi::{EI_NIDENT, EM_X86_64, ET_DYN, ET_EXEC, PF_W, PF_X, PT_INTERP, PT_LOAD, PT_PHDR};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, PageFlags, UntypedMem, Vaddr};
use nucleus::planted::{Bug, is_planted};

use crate::errno::Errno;
use crate::vm::{
    AddressSpace, Anonymous, Backing, LOWEST_ADDRESS, MapRequest, MemoryObject, RegionFlags,
    UserRange,
};

/// Where a position-independent program is put at the lowest.
pub(crate) const PIE_BASE: Vaddr = 0x5555_5555_4000;

/// Bytes of a program header.
const HEADER_SIZE: usize = 56;

/// What a program needs to know of itself, and the kernel to start it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadedProgram {
    pub(crate) entry: Vaddr,
    /// Where its program headers are in memory.
    pub(crate) headers: Vaddr,
    pub(crate) header_count: usize,
    pub(crate) header_size: usize,
}

/// Why a file is refused.
type Refusal = &'static str;

/// A segment that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    pages: UserRange,
    /// Where its bytes start in memory, and in the file.
    vaddr: Vaddr,
    offset: usize,
    file_size: usize,
    /// More of it is in memory than in the file.
    has_zeros: bool,
    flags: PageFlags,
}

/// Loads a program into an address space, at `pie_base` if it can be anywhere; the heap
/// starts behind it.
///
/// `object` has the file's pages, which the program maps: all that run it share those
/// that they do not write. `beginning` is what the first one holds of the file.
pub(crate) fn load(
    beginning: &[u8],
    object: &Arc<dyn MemoryObject>,
    pie_base: Vaddr,
    memory: &AddressSpace,
) -> Result<LoadedProgram, Errno> {
    let (program, segments) = check(beginning, object.len(), pie_base).map_err(|reason| {
        log::debug!("the program is refused: {reason}");
        Errno::NoExec
    })?;
    for segment in &segments {
        map_file_part(segment, object, memory)?;
        map_own_part(segment, object, memory)?;
    }
    let end = segments.iter().map(|segment| segment.pages.end()).max();
    memory.set_heap_start(end.unwrap_or(PIE_BASE));
    Ok(program)
}

/// Maps the pages of a segment that are the file's.
fn map_file_part(
    segment: &Segment,
    object: &Arc<dyn MemoryObject>,
    memory: &AddressSpace,
) -> Result<(), Errno> {
    let start = segment.pages.start();
    let Some(range) = UserRange::between(start, segment.own_start()) else {
        return Ok(());
    };
    let mut request = MapRequest::anonymous(range.len(), segment.flags);
    request.backing = Backing::Object {
        object: Arc::clone(object),
        // Both are as far into their pages.
        offset: segment.offset - (segment.vaddr - start),
    };
    memory.map(&request.at(start)).map(drop)
}

/// Maps the pages of a segment that end with zeros, or are nothing else. The first may
/// hold the end of the file's part; the others appear when they are touched.
fn map_own_part(
    segment: &Segment,
    object: &Arc<dyn MemoryObject>,
    memory: &AddressSpace,
) -> Result<(), Errno> {
    let start = segment.own_start();
    let Some(range) = UserRange::between(start, segment.pages.end()) else {
        return Ok(());
    };
    let mut request = MapRequest::anonymous(range.len(), segment.flags);
    request.flags |= RegionFlags::HAS_OWN_PAGES;
    memory.map(&request.at(start))?;
    let (from, end) = (segment.vaddr.max(start), segment.vaddr + segment.file_size);
    if from < end {
        let mut options = FrameAllocOptions::new();
        let frame = options.for_user(true).alloc_frame_with(Anonymous)?;
        let offset = segment.offset + (from - segment.vaddr);
        // As far into its page as in memory.
        let page = object.page(offset / PAGE_SIZE)?;
        let (mut reader, mut writer) = (page.reader(), frame.writer());
        reader.skip(from - start).limit(end - from);
        writer.skip(from - start).write(&mut reader);
        memory.put_page(start, frame.into())?;
    }
    Ok(())
}

impl Segment {
    /// Returns where the pages start that are not the file's as they are.
    fn own_start(&self) -> Vaddr {
        if self.has_zeros {
            (self.vaddr + self.file_size) / PAGE_SIZE * PAGE_SIZE
        } else {
            self.pages.end()
        }
    }
}

/// Checks a file of so many bytes by its beginning.
fn check(
    beginning: &[u8],
    len: usize,
    pie_base: Vaddr,
) -> Result<(LoadedProgram, Vec<Segment>), Refusal> {
    let header = file_header(beginning)?;
    if header.class != Class::ELF64 || header.e_machine != EM_X86_64 {
        return Err("it is not for 64-bit x86");
    }
    let base = match header.e_type {
        ET_EXEC => 0,
        ET_DYN => pie_base,
        _ => return Err("it is not executable"),
    };
    let headers = program_headers(beginning, &header)?;
    if headers.iter().any(|header| header.p_type == PT_INTERP) {
        return Err("it is linked dynamically");
    }
    let mut segments = Vec::new();
    for header in headers
        .iter()
        .filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0)
    {
        segments.push(check_segment(header, base, len)?);
    }
    segments.sort_by_key(|segment| segment.pages.start());
    if segments
        .windows(2)
        .any(|pair| pair[0].pages.end() > pair[1].pages.start())
    {
        return Err("two of its segments share a page");
    }
    let entry = address(header.e_entry, base).ok_or("its entry is out of range")?;
    let is_code = |segment: &Segment| {
        segment.flags.contains(PageFlags::X) && segment.pages.as_range().contains(&entry)
    };
    if !segments.iter().any(is_code) && !is_planted(Bug::UncheckedEntry) {
        return Err("its entry is not in an executable segment");
    }
    let program = LoadedProgram {
        entry,
        headers: headers_in_memory(&headers, &segments, header.e_phoff, base),
        header_count: headers.len(),
        header_size: usize::from(header.e_phentsize),
    };
    Ok((program, segments))
}

/// Returns the header of the whole file.
fn file_header(beginning: &[u8]) -> Result<FileHeader<LittleEndian>, Refusal> {
    const REFUSAL: Refusal = "it is no ELF file of little-endian order";
    let (ident, tail) = beginning.split_at_checked(EI_NIDENT).ok_or(REFUSAL)?;
    let ident = parse_ident(ident).map_err(|_| REFUSAL)?;
    FileHeader::parse_tail(ident, tail).map_err(|_| REFUSAL)
}

/// Returns the headers of the segments, which have to be in the first page.
fn program_headers(
    beginning: &[u8],
    header: &FileHeader<LittleEndian>,
) -> Result<Vec<ProgramHeader>, Refusal> {
    if usize::from(header.e_phentsize) != HEADER_SIZE {
        return Err("its program headers have another size");
    }
    let start = usize::try_from(header.e_phoff).unwrap_or(usize::MAX);
    let end = start.checked_add(usize::from(header.e_phnum) * HEADER_SIZE);
    let table = end.and_then(|end| beginning.get(start..end));
    let table = table.ok_or("its program headers are not in its first page")?;
    Ok(SegmentTable::new(LittleEndian, Class::ELF64, table)
        .iter()
        .collect())
}

fn check_segment(header: &ProgramHeader, base: Vaddr, file_len: usize) -> Result<Segment, Refusal> {
    const OUT_OF_RANGE: Refusal = "a segment is out of range";
    let flags = match (header.p_flags & PF_W != 0, header.p_flags & PF_X != 0) {
        (true, true) => return Err("a segment is writable and executable"),
        (true, false) => PageFlags::RW,
        (false, true) => PageFlags::RX,
        (false, false) => PageFlags::R,
    };
    if header.p_filesz > header.p_memsz {
        return Err("a segment is larger in the file than in memory");
    }
    let vaddr = address(header.p_vaddr, base).ok_or(OUT_OF_RANGE)?;
    let size = usize::try_from(header.p_memsz).map_err(|_| OUT_OF_RANGE)?;
    let offset = usize::try_from(header.p_offset).map_err(|_| OUT_OF_RANGE)?;
    let file_size = usize::try_from(header.p_filesz).map_err(|_| OUT_OF_RANGE)?;
    if offset
        .checked_add(file_size)
        .is_none_or(|end| end > file_len)
    {
        return Err("a segment lies beyond the end of the file");
    }
    if offset % PAGE_SIZE != vaddr % PAGE_SIZE {
        return Err("a segment is aligned differently in the file and in memory");
    }
    let start = vaddr / PAGE_SIZE * PAGE_SIZE;
    let len = size.checked_add(vaddr - start).ok_or(OUT_OF_RANGE)?;
    Ok(Segment {
        pages: UserRange::new(start, len)
            .filter(|pages| pages.start() >= LOWEST_ADDRESS)
            .ok_or(OUT_OF_RANGE)?,
        vaddr,
        offset,
        file_size,
        has_zeros: header.p_memsz > header.p_filesz,
        flags,
    })
}

fn address(value: u64, base: Vaddr) -> Option<Vaddr> {
    usize::try_from(value).ok()?.checked_add(base)
}

/// Returns where the program headers are in memory: where they say, or in the
/// segment that holds that part of the file; zero if nowhere.
fn headers_in_memory(
    headers: &[ProgramHeader],
    segments: &[Segment],
    offset: u64,
    base: Vaddr,
) -> Vaddr {
    if let Some(own) = headers.iter().find(|header| header.p_type == PT_PHDR) {
        return address(own.p_vaddr, base).unwrap_or(0);
    }
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let holds = |segment: &&Segment| {
        offset
            .checked_sub(segment.offset)
            .is_some_and(|inside| inside < segment.file_size)
    };
    segments
        .iter()
        .find(holds)
        .map_or(0, |segment| segment.vaddr + (offset - segment.offset))
}

#[cfg(ktest)]
#[path = "elf_tests.rs"]
mod tests;
