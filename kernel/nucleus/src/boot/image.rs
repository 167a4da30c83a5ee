//! The kernel's own image in memory, by its program headers (System V gABI, 5).
//!
//! The linker puts the ELF header at the start of the first segment, so the
//! image describes itself, wherever the loader put it.

use core::ops::Range;

use elf::abi::{PF_W, PF_X, PT_GNU_RELRO, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::{FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};

use crate::mm::prop::PageFlags;
use crate::mm::{PAGE_SIZE, Vaddr};

unsafe extern "C" {
    /// The ELF header, made by the linker.
    static __ehdr_start: [u8; PAGE_SIZE];
}

/// Pages of the image with equal rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) pages: Range<Vaddr>,
    pub(crate) flags: PageFlags,
}

/// Returns the address that the image is loaded at.
pub(crate) fn base() -> Vaddr {
    &raw const __ehdr_start as usize
}

/// Returns the segments of the image. What was relocated at load time and is
/// constant since then (RELRO) comes as a read-only piece of its own.
pub(crate) fn segments() -> impl Iterator<Item = Segment> {
    let relro = headers()
        .find(|header| header.p_type == PT_GNU_RELRO)
        .map_or(0..0, |header| {
            let start = base() + header.p_vaddr as usize;
            start..(start + header.p_memsz as usize) / PAGE_SIZE * PAGE_SIZE
        });
    headers()
        .filter(|header| header.p_type == PT_LOAD)
        .flat_map(move |header| split_by_relro(&header, &relro).into_iter().flatten())
}

/// Returns the piece of a segment that RELRO makes constant, and the rest.
fn split_by_relro(header: &ProgramHeader, relro: &Range<Vaddr>) -> [Option<Segment>; 2] {
    let start = base() + header.p_vaddr as usize;
    let pages = start / PAGE_SIZE * PAGE_SIZE
        ..(start + header.p_memsz as usize).next_multiple_of(PAGE_SIZE);
    let flags = match (header.p_flags & PF_W != 0, header.p_flags & PF_X != 0) {
        (true, true) => panic!("the kernel's image has a segment that is writable and executable"),
        (true, false) => PageFlags::RW,
        (false, true) => PageFlags::RX,
        (false, false) => PageFlags::R,
    };
    let has_relro = flags.contains(PageFlags::W) && relro.contains(&pages.start);
    let split = if has_relro {
        relro.end.min(pages.end)
    } else {
        pages.start
    };
    let piece =
        |pages: Range<Vaddr>, flags| (pages.start < pages.end).then_some(Segment { pages, flags });
    [
        piece(pages.start..split, flags - PageFlags::W),
        piece(split..pages.end, flags),
    ]
}

fn headers() -> impl Iterator<Item = ProgramHeader> {
    // SAFETY: The header's page is mapped read-only for ever.
    let bytes: &'static [u8] = unsafe { &__ehdr_start };
    let table = segment_table(bytes).expect("the loader accepted the image");
    table.iter()
}

fn segment_table(bytes: &[u8]) -> Option<SegmentTable<'_, LittleEndian>> {
    let ident = parse_ident::<LittleEndian>(bytes).ok()?;
    let header = FileHeader::parse_tail(ident, bytes.get(elf::abi::EI_NIDENT..)?).ok()?;
    let start = usize::try_from(header.e_phoff).ok()?;
    let len = usize::from(header.e_phnum) * usize::from(header.e_phentsize);
    let table = bytes.get(start..start.checked_add(len)?)?;
    Some(SegmentTable::new(header.endianness, header.class, table))
}
