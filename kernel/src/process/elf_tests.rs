//! Are good ELF files accepted, and bad ones refused for the right reason?

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use nucleus::mm::page_table::MappedItem;
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, PageFlags, UFrame, UntypedMem, VmReader};
use nucleus::prelude::*;

use super::{LoadedProgram, PIE_BASE, Refusal, Segment, check, load};
use crate::errno::Errno;
use crate::vm::{Access, AddressSpace, MemoryObject};

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// A program header: type, flags, offset, address, file size, memory size.
type Header = [u64; 6];

const CODE: Header = [1, 5, 0, 0x40_0000, 0x1000, 0x1000];
const DATA: Header = [1, 6, 0x1000, 0x40_1000, 0x10, 0x3000];

/// Makes an ELF file of 8 KiB with these headers and this entry.
fn file(kind: u16, entry: u64, headers: &[Header]) -> Vec<u8> {
    let mut file = vec![0; 0x2000];
    file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    let mut put = |offset: usize, bytes: &[u8]| {
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(16, &kind.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(20, &1_u32.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(32, &(HEADER as u64).to_le_bytes());
    put(52, &(HEADER as u16).to_le_bytes());
    put(54, &(PROGRAM_HEADER as u16).to_le_bytes());
    put(56, &(headers.len() as u16).to_le_bytes());
    for (index, [kind, flags, offset, vaddr, file_size, memory_size]) in headers.iter().enumerate()
    {
        let start = HEADER + index * PROGRAM_HEADER;
        put(start, &(*kind as u32).to_le_bytes());
        put(start + 4, &(*flags as u32).to_le_bytes());
        put(start + 8, &offset.to_le_bytes());
        put(start + 16, &vaddr.to_le_bytes());
        put(start + 32, &file_size.to_le_bytes());
        put(start + 40, &memory_size.to_le_bytes());
        put(start + 48, &0x1000_u64.to_le_bytes());
    }
    file
}

fn check_all(file: &[u8]) -> Result<(LoadedProgram, Vec<Segment>), Refusal> {
    check(file, file.len(), PIE_BASE)
}

#[track_caller]
fn assert_refused(file: &[u8], reason: &str) {
    let refusal = check(file, file.len(), PIE_BASE).expect_err("the file is bad");
    assert!(refusal.contains(reason), "refused because {refusal}");
}

#[ktest]
fn static_program_is_accepted() {
    let (program, segments) = check_all(&file(2, 0x40_0100, &[DATA, CODE])).expect("a good file");
    assert_eq!((program.entry, program.headers), (0x40_0100, 0x40_0040));
    assert_eq!((program.header_count, program.header_size), (2, 56));
    assert_eq!(segments[0].flags, PageFlags::RX);
    assert_eq!(
        (segments[1].pages.start(), segments[1].pages.len()),
        (0x40_1000, 0x3000)
    );
}

#[ktest]
fn position_independent_program_is_moved() {
    let code = [1, 5, 0, 0, 0x1000, 0x1000];
    let (program, _) = check_all(&file(3, 0x100, &[code])).expect("a good file");
    assert_eq!(
        (program.entry, program.headers),
        (PIE_BASE + 0x100, PIE_BASE + 0x40)
    );
}

#[ktest]
fn files_that_are_no_programs_are_refused() {
    let good = file(2, 0x40_0100, &[CODE]);
    assert_refused(b"", "no ELF file");
    assert_refused(b"#!/bin/sh\n", "no ELF file");
    assert_refused(&file(1, 0x40_0100, &[CODE]), "not executable");
    for (offset, value, reason) in [(4, 1, ""), (5, 2, "no ELF"), (18, 3, "not for 64-bit x86")] {
        let mut bad = good.clone();
        bad[offset] = value;
        assert_refused(&bad, reason);
    }
}

#[ktest]
fn writable_and_executable_segment_is_refused() {
    let both = [1, 7, 0, 0x40_0000, 0x1000, 0x1000];
    assert_refused(&file(2, 0x40_0100, &[both]), "writable and executable");
}

#[ktest]
fn dynamic_program_is_refused() {
    let interpreter = [3, 4, 0, 0x40_0000, 0x10, 0x10];
    assert_refused(&file(2, 0x40_0100, &[CODE, interpreter]), "dynamically");
}

#[ktest]
fn segments_out_of_range_are_refused() {
    let top = 0x7fff_ffff_f000;
    for (vaddr, memory_size) in [
        (0, 0x1000),
        (top, 0x1000),
        (0xffff_8000_0000_0000, 0x1000),
        (0x40_0000, u64::MAX),
        (0x40_0000, 1 << 47),
        (!0xfff, 0x2000),
    ] {
        let segment = [1, 5, 0, vaddr, 0x100, memory_size];
        assert_refused(&file(2, 0x40_0100, &[segment]), "out of range");
    }
}

#[ktest]
fn segments_beyond_the_file_are_refused() {
    let beyond = "beyond the end";
    assert_refused(
        &file(2, 0x40_0100, &[[1, 5, 0x1000, 0x40_0000, 0x1001, 0x2000]]),
        beyond,
    );
    assert_refused(
        &file(2, 0x40_0100, &[[1, 5, !0xfff, 0x40_0000, 0x1000, 0x1000]]),
        beyond,
    );
    let truncated = &file(2, 0x40_0100, &[CODE])[..0xfff];
    assert_refused(truncated, beyond);
}

#[ktest]
fn segments_that_contradict_themselves_are_refused() {
    assert_refused(
        &file(2, 0x40_0100, &[[1, 5, 0, 0x40_0000, 0x1000, 0x10]]),
        "larger in the file",
    );
    assert_refused(
        &file(2, 0x40_0100, &[[1, 5, 8, 0x40_0000, 0x100, 0x100]]),
        "aligned differently",
    );
    let overlapping = [1, 6, 0x800, 0x40_0800, 0x10, 0x10];
    assert_refused(&file(2, 0x40_0100, &[CODE, overlapping]), "share a page");
}

#[ktest]
fn entry_outside_of_code_is_refused() {
    for entry in [0, 0x40_1000, 0x3f_ffff, u64::MAX] {
        assert_refused(&file(2, entry, &[CODE, DATA]), "entry");
    }
}

#[ktest]
fn every_truncation_is_refused_or_accepted_without_harm() {
    let good = file(2, 0x40_0100, &[CODE, DATA]);
    for len in 0..0x200 {
        assert!(check(&good[..len], len, PIE_BASE).is_err());
    }
}

/// A file's pages.
#[derive(Debug)]
struct Pages(Vec<u8>);

impl MemoryObject for Pages {
    fn page(&self, index: usize) -> Result<UFrame, Errno> {
        let frame = FrameAllocOptions::new().alloc_frame()?;
        let rest = &self.0[index * PAGE_SIZE..];
        frame.writer().write(&mut VmReader::from(rest));
        Ok(frame.into())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self) -> Vec<u8> {
        Vec::new()
    }
}

fn object(file: &[u8]) -> Arc<dyn MemoryObject> {
    Arc::new(Pages(file.to_vec()))
}

#[ktest]
fn refused_file_leaves_the_memory_as_it_was() {
    let memory = AddressSpace::new().expect("enough memory");
    let bad = file(2, 0, &[CODE]);
    assert_eq!(
        load(&bad, &object(&bad), PIE_BASE, &memory),
        Err(Errno::NoExec)
    );
    assert!(frame_at(&memory, 0x40_0000).is_none());
}

fn frame_at(memory: &AddressSpace, page: usize) -> Option<UFrame> {
    match memory.page_at(page).expect("a legal address")? {
        MappedItem::MappedRam { frame, .. } => Some(frame),
        other => panic!("{other:?} is no page of RAM"),
    }
}

#[ktest]
fn loaded_segments_hold_the_file_and_then_zeros() {
    let memory = AddressSpace::new().expect("enough memory");
    let mut good = file(2, 0x40_0100, &[CODE, DATA]);
    good[0x1000..0x1010].copy_from_slice(b"sixteen bytes...");
    load(&good, &object(&good), PIE_BASE, &memory).expect("a good file");
    let frame = frame_at(&memory, 0x40_1000).expect("a page");
    let mut bytes = [0xff; 0x20];
    frame
        .reader()
        .read(&mut nucleus::mm::VmWriter::from(&mut bytes[..]));
    assert_eq!(&bytes[..16], b"sixteen bytes...");
    assert_eq!(bytes[16..], [0; 16]);
    assert!(
        frame_at(&memory, 0x40_2000).is_none(),
        "pages of zeros appear when touched"
    );
    assert!(frame_at(&memory, 0x40_0000).is_none(), "so do the file's");
    assert_eq!(memory.handle_fault(0x40_0000, Access::Execute), Ok(()));
    assert_eq!(memory.regions().map(|regions| regions.len()), Ok(2));
}
