//! The kernel's own image in memory, by its program headers (System V gABI, 5).
//!
//! The linker puts the ELF header at the start of the first segment, so the
//! image describes itself, wherever it is. All is computed from the place of that
//! header relative to the code that asks: asked before the image is moved
//! ([`super::kaslr`]), it is the loader's place that answers.

use core::arch::asm;
use core::ops::Range;
use core::slice;

use elf::abi::{PF_W, PF_X, PT_DYNAMIC, PT_GNU_RELRO, PT_LOAD};
use elf::dynamic::DynamicTable;
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};

use super::relocation::{self, Relative};
use crate::mm::prop::PageFlags;
use crate::mm::{PAGE_SIZE, Vaddr};

unsafe extern "C" {
    /// The ELF header, made by the linker.
    pub(super) static __ehdr_start: [u8; PAGE_SIZE];
}

/// Pages of the image with equal rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) pages: Range<Vaddr>,
    pub(crate) flags: PageFlags,
}

/// Returns the address that the image is at.
pub(crate) fn base() -> Vaddr {
    let base;
    // By the place of this very code: the table of addresses that the compiler might
    // ask instead changes while the image is moved.
    // SAFETY: Computes an address.
    unsafe {
        asm!(
            "lea {}, [rip + {}]",
            out(reg) base,
            sym __ehdr_start,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    base
}

/// Returns the bytes that the image takes from its base on, whole pages.
pub(crate) fn size() -> usize {
    let ends = segments().map(|segment| segment.pages.end - base());
    ends.max().unwrap_or(0)
}

/// Returns what a base of the image must be aligned to, at least a page.
pub(crate) fn alignment() -> usize {
    let loaded = headers().filter(|header| header.p_type == PT_LOAD);
    let aligns = loaded.map(|header| header.p_align as usize);
    aligns.fold(PAGE_SIZE, usize::max)
}

/// Returns the words of the image that depend on its base; `None` if there is one
/// that is not understood.
pub(crate) fn relocations() -> Option<impl Iterator<Item = Relative>> {
    let dynamic = headers().find(|header| header.p_type == PT_DYNAMIC)?;
    let start = dynamic.p_vaddr as usize;
    let dynamic = constant_bytes(start..start.checked_add(dynamic.p_memsz as usize)?)?;
    let dynamic = DynamicTable::new(LittleEndian, Class::ELF64, dynamic);
    let table = relocation::find_table(dynamic.iter().map(|entry| (entry.d_tag, entry.d_val())))?;
    relocation::words(constant_bytes(table)?, size())
}

/// Returns bytes of the image, by their offsets from the base, if they lie in one
/// segment that is read-only.
fn constant_bytes(offsets: Range<usize>) -> Option<&'static [u8]> {
    let range = base().checked_add(offsets.start)?..base().checked_add(offsets.end)?;
    let mut constant = segments().filter(|segment| !segment.flags.contains(PageFlags::W));
    constant
        .find(|segment| segment.pages.start <= range.start && range.end <= segment.pages.end)?;
    // SAFETY: The bytes are mapped as long as the image is where it is. Nobody writes
    // them, but for the words that `relocations` names when the image is moved, which
    // are no part of the tables that are read by this.
    Some(unsafe { slice::from_raw_parts(range.start as *const u8, range.len()) })
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
    // SAFETY: The header's page is mapped read-only as long as the image is there.
    let bytes = unsafe { slice::from_raw_parts(base() as *const u8, PAGE_SIZE) };
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
