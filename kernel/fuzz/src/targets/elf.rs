//! Programs: whatever the file, it is refused, or loaded as it says and with no
//! more rights than it may have.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use nucleus::arch::sim::Config;
use nucleus::mm::frame::frame_counts;
use nucleus::mm::page_table::MappedItem;
use nucleus::mm::{
    FrameAllocOptions, PAGE_SIZE, UFrame, USER_END, UntypedMem, Vaddr, VmReader, VmWriter,
};
use nucleus::planted::Bug;

use super::Target;
use crate::elf_loader::{LoadedProgram, PIE_BASE, load};
use crate::errno::Errno;
use crate::machine::{self, Kept};
use crate::vm::{Access, AccessError, AddressSpace, MemoryObject};

pub(super) const TARGET: Target = Target {
    name: "elf",
    claim: "a program is refused, or loaded as its file says and never writable code",
    run,
    max_len: 4096,
    inputs: 3_000_000,
    bugs: &[(Bug::UncheckedEntry, "finds: a program that starts anywhere")],
};

/// Bytes of memory of the machine.
const RAM: usize = 4 << 20;
/// The lowest address that a program may have.
const USER_START: Vaddr = 0x1_0000;
const HEADER_SIZE: usize = 56;

thread_local! {
    static MACHINE: Kept = const { Kept::new(None) };
}

fn run(file: &[u8]) {
    let config = Config {
        ram: RAM,
        cpus: 1,
        checked: false,
        identifiers: true,
        ..Config::default()
    };
    machine::with(&MACHINE, config, |machine| {
        machine.on(0, || {
            let free = frame_counts().free;
            let memory = AddressSpace::new().expect("there is memory at first");
            let memory = ManuallyDrop::new(memory);
            let empty = frame_counts().free;
            let object: Arc<dyn MemoryObject> = Arc::new(Pages(file.to_vec()));
            match load(file, &object, PIE_BASE, &memory) {
                Ok(program) => check(file, &program, &memory),
                Err(Errno::NoExec) => assert_eq!(frame_counts().free, empty, "refused too late"),
                // More than the machine has is not promised.
                Err(Errno::NoMemory) => {
                    let sizes = segments(file, PIE_BASE).into_iter().map(|one| one.size);
                    assert!(sizes.sum::<usize>() > RAM, "there is memory for so little");
                }
                Err(other) => panic!("a file of {} bytes gave {other:?}", file.len()),
            }
            drop(ManuallyDrop::into_inner(memory));
            assert_eq!(frame_counts().free, free, "frames did not come back");
        });
    });
}

/// A file's pages, each made when it is asked for.
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

/// A loadable segment, as the file has it.
#[derive(Debug)]
struct Segment<'a> {
    contents: &'a [u8],
    /// What precedes and follows the contents in the file.
    around: (&'a [u8], &'a [u8]),
    start: Vaddr,
    size: usize,
    is_writable: bool,
    is_executable: bool,
}

impl Segment<'_> {
    fn first_page(&self) -> Vaddr {
        self.start / PAGE_SIZE * PAGE_SIZE
    }

    fn end_of_pages(&self) -> Vaddr {
        (self.start + self.size).next_multiple_of(PAGE_SIZE)
    }
}

fn number(bytes: &[u8], offset: usize, len: usize) -> usize {
    let bytes = &bytes[offset..offset + len];
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Reads the loadable segments, which the loader has found to make sense.
fn segments(file: &[u8], base: Vaddr) -> Vec<Segment<'_>> {
    let (table, count) = (number(file, 32, 8), number(file, 56, 2));
    let headers = file[table..].chunks_exact(HEADER_SIZE).take(count);
    let loadable = headers.filter(|header| number(header, 0, 4) == 1 && number(header, 40, 8) > 0);
    loadable
        .map(|header| {
            let (offset, file_size) = (number(header, 8, 8), number(header, 32, 8));
            let flags = number(header, 4, 4);
            Segment {
                contents: &file[offset..offset + file_size],
                around: (&file[..offset], &file[offset + file_size..]),
                start: base + number(header, 16, 8),
                size: number(header, 40, 8),
                is_writable: flags & 2 != 0,
                is_executable: flags & 1 != 0,
            }
        })
        .collect()
}

fn check(file: &[u8], program: &LoadedProgram, memory: &AddressSpace) {
    assert_eq!(
        &file[..6],
        b"\x7fELF\x02\x01",
        "a 64-bit file in little-endian order"
    );
    assert_eq!(number(file, 18, 2), 62, "for x86-64");
    let base = program.entry.wrapping_sub(number(file, 24, 8));
    let is_fixed = number(file, 16, 2) == 2;
    assert!(
        !is_fixed || base == 0,
        "moved by {base:#x}, though not independent of it"
    );
    assert_eq!(program.header_size, HEADER_SIZE);

    let segments = segments(file, base);
    for segment in &segments {
        check_segment(segment, memory);
    }
    for (index, one) in segments.iter().enumerate() {
        for other in &segments[index + 1..] {
            let is_apart = one.end_of_pages() <= other.first_page()
                || other.end_of_pages() <= one.first_page();
            assert!(is_apart, "{one:x?} and {other:x?} share a page");
        }
        for outside in [one.first_page() - 1, one.end_of_pages()] {
            let is_within = |segment: &Segment<'_>| {
                (segment.first_page()..segment.end_of_pages()).contains(&outside)
            };
            let answer = memory.handle_fault(outside, Access::Read);
            let is_unmapped = answer == Err(AccessError::Unmapped);
            assert!(
                is_unmapped != segments.iter().any(is_within),
                "{outside:#x}: {answer:?}"
            );
        }
    }
    let entry = memory.handle_fault(program.entry, Access::Execute);
    assert_eq!(entry, Ok(()), "the entry is no code");
    let end = segments.iter().map(Segment::end_of_pages).max();
    assert_eq!(Some(memory.set_heap_end(0)), end, "the heap is elsewhere");
}

fn check_segment(segment: &Segment<'_>, memory: &AddressSpace) {
    let is_user = USER_START <= segment.first_page() && segment.end_of_pages() <= USER_END;
    assert!(is_user, "{segment:x?} is not for a program");
    assert!(
        !(segment.is_writable && segment.is_executable),
        "{segment:x?}"
    );
    for (access, is_allowed) in [
        (Access::Read, true),
        (Access::Write, segment.is_writable),
        (Access::Execute, segment.is_executable),
    ] {
        for vaddr in [segment.start, segment.start + segment.size - 1] {
            let answer = memory.handle_fault(vaddr, access);
            let expected = match is_allowed {
                true => Ok(()),
                false => Err(AccessError::Forbidden),
            };
            assert_eq!(answer, expected, "{access:?} at {vaddr:#x} of {segment:x?}");
        }
    }
    if segment.contents.is_empty() {
        return;
    }
    // The pages that hold contents: around these is what the file has there, or zeros.
    let start = segment.first_page();
    let contents_end = segment.start + segment.contents.len();
    let mut bytes = Vec::new();
    for page in (start..contents_end).step_by(PAGE_SIZE) {
        let there = memory.handle_fault(page, Access::Read);
        assert_eq!(there, Ok(()), "no page where there are contents");
        let mut buffer = [0xff; PAGE_SIZE];
        let item = memory.page_at(page).expect("it is an address of a program");
        let Some(MappedItem::MappedRam { frame, .. }) = item else {
            panic!("{item:?} where the page has contents");
        };
        frame.reader().read(&mut VmWriter::from(&mut buffer[..]));
        bytes.extend(buffer);
    }
    let (head, rest) = bytes.split_at(segment.start - start);
    let (middle, tail) = rest.split_at(segment.contents.len());
    assert!(
        middle == segment.contents,
        "other contents than the file's at {start:#x}"
    );
    let (before, after) = segment.around;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    assert!(
        is_zero(head) || before.ends_with(head),
        "neither zeros nor the file's at {start:#x}"
    );
    let has_zeros = segment.size > segment.contents.len();
    let (of_file, beyond) = tail.split_at(if has_zeros {
        0
    } else {
        tail.len().min(after.len())
    });
    assert!(
        after.starts_with(of_file) && is_zero(beyond),
        "neither zeros nor the file's behind {contents_end:#x}"
    );
}
