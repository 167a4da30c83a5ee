//! Reading and writing a user's memory.
//!
//! A [`View`] is what a reader or a writer has left of its range. A copy is of as
//! many bytes as both sides have, byte by byte upwards, and ends before the first
//! byte that may not be read or written; both sides then stand at that byte. A
//! value is read or written as a whole or not at all, as far as positions go.
//! Where two pages lead to one frame, what is written by one is read by the other.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Address;

/// A page of a user: where it leads, and whether it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// The number of the frame.
    pub frame: usize,
    /// Whether it may be written. All pages may be read.
    pub writable: bool,
}

/// A user's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of a page.
    pub page: usize,
    /// The pages that are mapped, by their first addresses.
    pub pages: BTreeMap<Address, Page>,
    /// What is in the frames.
    pub frames: Vec<Vec<u8>>,
}

/// What a reader or a writer has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The address of the next byte.
    pub at: Address,
    /// The end of the range.
    pub end: Address,
}

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// How many bytes were copied.
    pub done: usize,
    /// Whether the byte after them faulted.
    pub faulted: bool,
}

/// Why a value could not be had. Positions stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotThere {
    /// Fewer bytes are left.
    TooShort,
    /// A byte of it faulted.
    Faulted,
}

impl Memory {
    /// Returns the frame and the place in it of a byte that may be accessed.
    fn place(&self, at: Address, write: bool) -> Option<(usize, usize)> {
        let page = self.pages.get(&(at - at % self.page))?;
        (page.writable || !write).then_some((page.frame, at % self.page))
    }

    /// Returns a byte, if it may be read.
    #[must_use]
    pub fn load(&self, at: Address) -> Option<u8> {
        let (frame, offset) = self.place(at, false)?;
        Some(self.frames[frame][offset])
    }

    /// Returns the memory with another byte, if it may be written.
    #[must_use]
    pub fn store(&self, at: Address, byte: u8) -> Option<Self> {
        let (frame, offset) = self.place(at, true)?;
        let mut memory = self.clone();
        memory.frames[frame][offset] = byte;
        Some(memory)
    }
}

impl View {
    /// Returns how many bytes are left.
    #[must_use]
    pub const fn left(self) -> usize {
        self.end - self.at
    }

    /// Returns the view that ends after so many more bytes, if it did not before.
    #[must_use]
    pub fn limit(self, most: usize) -> Self {
        Self {
            end: self.at + most.min(self.left()),
            ..self
        }
    }

    /// Returns the view without so many bytes; nothing if it has fewer, which is
    /// misuse.
    #[must_use]
    pub fn skip(self, count: usize) -> Option<Self> {
        (count <= self.left()).then_some(Self {
            at: self.at + count,
            ..self
        })
    }

    fn moved(self, count: usize) -> Self {
        Self {
            at: self.at + count,
            ..self
        }
    }
}

/// Reads as many bytes as there are, into a buffer of so many.
#[must_use]
pub fn read(memory: &Memory, view: View, room: usize) -> (View, Vec<u8>, Progress) {
    let len = view.left().min(room);
    let bytes: Vec<_> = (view.at..view.at + len)
        .map_while(|at| memory.load(at))
        .collect();
    let progress = Progress {
        done: bytes.len(),
        faulted: bytes.len() < len,
    };
    (view.moved(progress.done), bytes, progress)
}

/// Writes as many of some bytes as there is room for.
#[must_use]
pub fn write(memory: &Memory, view: View, bytes: &[u8]) -> (Memory, View, Progress) {
    let len = view.left().min(bytes.len());
    let (mut memory, mut done) = (memory.clone(), 0);
    while done < len
        && let Some(next) = memory.store(view.at + done, bytes[done])
    {
        (memory, done) = (next, done + 1);
    }
    let faulted = done < len;
    (memory, view.moved(done), Progress { done, faulted })
}

/// Copies from one place of the memory to another.
#[must_use]
pub fn copy(memory: &Memory, from: View, to: View) -> (Memory, View, View, Progress) {
    let len = from.left().min(to.left());
    let (mut memory, mut done) = (memory.clone(), 0);
    while done < len
        && let Some(byte) = memory.load(from.at + done)
        && let Some(next) = memory.store(to.at + done, byte)
    {
        (memory, done) = (next, done + 1);
    }
    let faulted = done < len;
    let progress = Progress { done, faulted };
    (memory, from.moved(done), to.moved(done), progress)
}

/// Writes zeros to at most so many bytes.
#[must_use]
pub fn fill_zeros(memory: &Memory, view: View, len: usize) -> (Memory, View, Progress) {
    let zeros = alloc::vec![0; view.left().min(len)];
    write(memory, view, &zeros)
}

/// Reads a value of so many bytes.
///
/// # Errors
///
/// [`NotThere`], of which being too short comes first.
pub fn read_value(memory: &Memory, view: View, size: usize) -> Result<(View, Vec<u8>), NotThere> {
    if view.left() < size {
        return Err(NotThere::TooShort);
    }
    match read(memory, view, size) {
        (view, bytes, progress) if !progress.faulted => Ok((view, bytes)),
        _ => Err(NotThere::Faulted),
    }
}

/// Writes a value. When it faults, the bytes before the fault have been written.
///
/// # Errors
///
/// [`NotThere`] with the memory afterwards.
pub fn write_value(
    memory: &Memory,
    view: View,
    value: &[u8],
) -> Result<(Memory, View), (Memory, NotThere)> {
    if view.left() < value.len() {
        return Err((memory.clone(), NotThere::TooShort));
    }
    match write(memory, view, value) {
        (memory, view, progress) if !progress.faulted => Ok((memory, view)),
        (memory, ..) => Err((memory, NotThere::Faulted)),
    }
}
