//! Readers and writers of a user's memory beside their specification.
//!
//! Some pages lead to a few frames, with or without the right to write; several may
//! lead to one. Random scripts read, write, copy and zero through them, across
//! holes and their own traces. After each operation the two agree on what was
//! transferred, where both sides stand, and every byte of every frame.

use std::sync::Arc;

use model::access::{self, Memory, NotThere, Page, Progress, View};
use nucleus::Error;
use nucleus::cpu::disable_preempt;
use nucleus::mm::{
    CachePolicy, Fallible, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, VmIo,
    VmReader, VmSpace, VmWriter,
};
use proptest::prelude::*;

use crate::Effort;
use crate::report::Row;
use crate::script::Bench;
use crate::search::Scripts;

const PAGES: usize = 4;
const FRAMES: usize = 2;
const START: usize = 0x40_0000;
/// Bytes around the borders of pages, where scripts stay: copying byte by byte is
/// slow in the specification.
const NEAR: usize = 24;

/// A place and a length, both near the border of a page.
type Place = (usize, usize);

/// What can be done.
#[derive(Clone, Debug)]
enum Op {
    Read(Place, usize),
    Write(Place, Vec<u8>),
    Copy(Place, Place),
    Zero(Place, usize),
    ReadValue(Place),
    WriteValue(Place, u64),
    LimitAndSkip(Place, usize, usize),
}

fn place() -> impl Strategy<Value = Place> {
    (0..=PAGES, 0..2 * NEAR, 0..2 * NEAR).prop_map(|(border, offset, len)| {
        let start = START + border * PAGE_SIZE + offset - NEAR;
        (start, len)
    })
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || proptest::collection::vec(1..=255_u8, 0..2 * NEAR);
    prop_oneof![
        1 => (place(), 0..2 * NEAR).prop_map(|(place, room)| Op::Read(place, room)),
        1 => (place(), bytes()).prop_map(|(place, bytes)| Op::Write(place, bytes)),
        2 => (place(), place()).prop_map(|(from, to)| Op::Copy(from, to)),
        // As an overlap: the same place, moved by a little.
        1 => (place(), 0..8_usize, any::<bool>()).prop_map(|((start, len), by, up)| {
            let (low, high) = ((start, len), (start + by, len));
            if up { Op::Copy(low, high) } else { Op::Copy(high, low) }
        }),
        1 => (place(), 0..2 * NEAR).prop_map(|(place, len)| Op::Zero(place, len)),
        1 => place().prop_map(Op::ReadValue),
        1 => (place(), any::<u64>()).prop_map(|(place, value)| Op::WriteValue(place, value)),
        1 => (place(), 0..2 * NEAR, 0..2 * NEAR)
            .prop_map(|(place, most, count)| Op::LimitAndSkip(place, most, count)),
    ]
}

/// Which page leads where, and may be written.
type Layout = Vec<Option<(usize, bool)>>;

fn layout() -> impl Strategy<Value = Layout> {
    let page = proptest::option::weighted(0.8, (0..FRAMES, proptest::bool::weighted(0.7)));
    proptest::collection::vec(page, PAGES)
}

struct World {
    space: Arc<VmSpace>,
    frames: Vec<UFrame>,
    memory: Memory,
}

fn view((start, len): Place) -> View {
    View {
        at: start,
        end: start + len,
    }
}

/// Compares how a copy ended.
fn agree(real: Result<usize, (Error, usize)>, wanted: Progress) -> Result<(), String> {
    let found = match real {
        Ok(done) => Some((done, false)),
        Err((Error::PageFault, done)) => Some((done, true)),
        Err(_) => None,
    };
    match found == Some((wanted.done, wanted.faulted)) {
        true => Ok(()),
        false => Err(format!("it said {real:?} and not {wanted:?}")),
    }
}

/// Compares how a value fared.
fn agree_on_value<T: PartialEq + std::fmt::Debug>(
    real: Result<T, Error>,
    wanted: Result<T, NotThere>,
) -> Result<(), String> {
    let wanted = wanted.map_err(|why| match why {
        NotThere::TooShort => Error::InvalidArgs,
        NotThere::Faulted => Error::PageFault,
    });
    match real == wanted {
        true => Ok(()),
        false => Err(format!("it said {real:?} and not {wanted:?}")),
    }
}

fn stands_at(what: &str, real: usize, wanted: View) -> Result<(), String> {
    match real == wanted.at {
        true => Ok(()),
        false => Err(format!(
            "the {what} stands at {real:#x}, not {:#x}",
            wanted.at
        )),
    }
}

impl World {
    fn new(layout: &Layout) -> Self {
        let space = Arc::new(VmSpace::new().expect("there is memory at first"));
        let frame = |_| -> UFrame {
            let frame = FrameAllocOptions::new().alloc_frame();
            frame.expect("there is memory at first").into()
        };
        let frames: Vec<_> = (0..FRAMES).map(frame).collect();
        let mut memory = Memory {
            page: PAGE_SIZE,
            pages: [].into(),
            frames: vec![vec![0; PAGE_SIZE]; FRAMES],
        };
        let guard = disable_preempt();
        let range = START..START + PAGES * PAGE_SIZE;
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        for (number, page) in layout.iter().enumerate() {
            let at = START + number * PAGE_SIZE;
            let Some((frame, writable)) = *page else {
                continue;
            };
            let flags = if writable {
                PageFlags::RW
            } else {
                PageFlags::R
            };
            let prop = PageProperty::new_user(flags, CachePolicy::Writeback);
            cursor.jump(at).expect("it is in the range");
            cursor
                .map(frames[frame].clone(), prop)
                .expect("there is memory at first");
            memory.pages.insert(at, Page { frame, writable });
        }
        drop(cursor);
        space.activate();
        Self {
            space,
            frames,
            memory,
        }
    }

    fn reader(&self, (start, len): Place) -> Result<VmReader<'_, Fallible>, String> {
        let reader = self.space.reader(start, len);
        reader.map_err(|why| format!("no reader of user memory: {why:?}"))
    }

    fn writer(&self, (start, len): Place) -> Result<VmWriter<'_, Fallible>, String> {
        let writer = self.space.writer(start, len);
        writer.map_err(|why| format!("no writer of user memory: {why:?}"))
    }

    fn apply(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Read(place, room) => self.read(*place, *room)?,
            Op::Write(place, bytes) => self.memory = self.write(*place, bytes)?,
            Op::Copy(from, to) => self.memory = self.copy(*from, *to)?,
            Op::Zero(place, len) => self.memory = self.zero(*place, *len)?,
            Op::ReadValue(place) => self.read_value(*place)?,
            Op::WriteValue(place, value) => self.memory = self.write_value(*place, *value)?,
            Op::LimitAndSkip(place, most, count) => self.limit_and_skip(*place, *most, *count)?,
        }
        self.compare()
    }

    fn read(&self, place: Place, room: usize) -> Result<(), String> {
        let (mut from, mut buffer) = (self.reader(place)?, vec![0; room]);
        let real = from.read_fallible(&mut VmWriter::from(&mut buffer[..]));
        let (left, bytes, progress) = access::read(&self.memory, view(place), room);
        agree(real, progress)?;
        stands_at("reader", from.cursor().addr(), left)?;
        match buffer[..bytes.len()] == bytes {
            true => Ok(()),
            false => Err(format!("it read {buffer:x?} and not {bytes:x?}")),
        }
    }

    fn write(&self, place: Place, bytes: &[u8]) -> Result<Memory, String> {
        let mut to = self.writer(place)?;
        let real = to.write_fallible(&mut VmReader::from(bytes));
        let (memory, left, progress) = access::write(&self.memory, view(place), bytes);
        agree(real, progress)?;
        stands_at("writer", to.cursor().addr(), left)?;
        Ok(memory)
    }

    fn copy(&self, source: Place, target: Place) -> Result<Memory, String> {
        let (mut from, mut to) = (self.reader(source)?, self.writer(target)?);
        let real = from.read_fallible(&mut to);
        let (memory, from_left, to_left, progress) =
            access::copy(&self.memory, view(source), view(target));
        agree(real, progress)?;
        stands_at("reader", from.cursor().addr(), from_left)?;
        stands_at("writer", to.cursor().addr(), to_left)?;
        Ok(memory)
    }

    fn zero(&self, place: Place, len: usize) -> Result<Memory, String> {
        let mut to = self.writer(place)?;
        let real = to.fill_zeros(len);
        let (memory, left, progress) = access::fill_zeros(&self.memory, view(place), len);
        agree(real, progress)?;
        stands_at("writer", to.cursor().addr(), left)?;
        Ok(memory)
    }

    fn read_value(&self, place: Place) -> Result<(), String> {
        let mut from = self.reader(place)?;
        let real = from.read_val::<u64>();
        let wanted = access::read_value(&self.memory, view(place), 8);
        let left = wanted.as_ref().map_or(view(place), |(left, _)| *left);
        agree_on_value(
            real.map(|value| value.to_le_bytes().to_vec()),
            wanted.map(|(_, bytes)| bytes),
        )?;
        stands_at("reader", from.cursor().addr(), left)
    }

    fn write_value(&self, place: Place, value: u64) -> Result<Memory, String> {
        let mut to = self.writer(place)?;
        let real = to.write_val(&value);
        let wanted = access::write_value(&self.memory, view(place), &value.to_le_bytes());
        let (memory, left, wanted) = match wanted {
            Ok((memory, left)) => (memory, left, Ok(())),
            Err((memory, why)) => (memory, view(place), Err(why)),
        };
        agree_on_value(real, wanted)?;
        stands_at("writer", to.cursor().addr(), left)?;
        Ok(memory)
    }

    fn limit_and_skip(&self, place: Place, most: usize, count: usize) -> Result<(), String> {
        let limited = view(place).limit(most);
        let mut from = self.reader(place)?;
        from.limit(most);
        // Skipping beyond the end is misuse, which panics.
        let left = match limited.skip(count) {
            Some(left) => {
                from.skip(count);
                left
            }
            None => limited,
        };
        stands_at("reader", from.cursor().addr(), left)?;
        match from.remain() == left.left() {
            true => Ok(()),
            false => Err(format!(
                "{} bytes are left, not {}",
                from.remain(),
                left.left()
            )),
        }
    }

    /// Compares every byte of every frame.
    fn compare(&self) -> Result<(), String> {
        let mut bytes = vec![0; PAGE_SIZE];
        for (number, frame) in self.frames.iter().enumerate() {
            frame
                .read_bytes(0, &mut bytes)
                .map_err(|why| format!("a frame cannot be read: {why:?}"))?;
            let wanted = &self.memory.frames[number];
            if let Some(place) = (0..PAGE_SIZE).find(|place| bytes[*place] != wanted[*place]) {
                return Err(format!(
                    "byte {place:#x} of frame {number} is {:#x}, not {:#x}",
                    bytes[place], wanted[place]
                ));
            }
        }
        Ok(())
    }
}

/// Runs so many random scripts; says how many operations they had.
///
/// # Errors
///
/// The shortest script found on which the two disagree, and how.
pub fn search(scripts: Scripts) -> Result<u64, String> {
    let strategy = (layout(), proptest::collection::vec(op(), 1..20));
    let print = |script: &(Layout, Vec<Op>)| format!("{script:x?}");
    scripts.search(
        &strategy,
        Bench::default(),
        print,
        |bench, (layout, ops)| {
            bench.run(|| {
                let mut world = World::new(layout);
                ops.iter().try_for_each(|op| {
                    world.apply(op).map_err(|text| format!("{op:x?}: {text}"))
                })?;
                VmSpace::deactivate_current();
                Ok(())
            })?;
            Ok(ops.len() as u64)
        },
    )
}

/// Runs random scripts.
#[must_use]
pub fn run(effort: Effort) -> Vec<Row> {
    let cases = match effort {
        Effort::Short => 4_000,
        Effort::Deep => 400_000,
    };
    let scripts = Scripts { cases, seed: 5 };
    let found = search(scripts);
    vec![scripts.row(
        "readers and writers transfer what the specification says",
        "random accesses",
        "operations",
        found,
    )]
}
