//! What a frame says of itself: its tag, and poison when it is freed.

use alloc::vec::Vec;

use crate::mm::frame::{AnyFrameMeta, AnyUFrameMeta, DropHook};
use crate::mm::{FrameAllocOptions, Infallible, PAGE_SIZE, UFrame, UntypedMem, VmReader, VmWriter};
use crate::sync::SpinLock;

/// What a freed frame is filled with. No tag has its upper bit clear.
pub(crate) const POISON: u32 = 0x0bad_0bad;

/// The tags of pages: which page of which space, mapped for the how-manieth time.
///
/// ```text
///  31   30       29..25  24..19  18..0
///  1  stored-to  space   page    generation, modulo 2¹⁹
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

/// Spaces that can be told apart.
pub(crate) const MAX_SPACES: u32 = 1 << 5;
/// Pages of a space that can be told apart.
pub(crate) const MAX_PAGES: usize = 1 << 6;
/// Generations that can be told apart.
pub(crate) const GENERATIONS: u32 = 1 << 19;
const LIVE: u32 = 1 << 31;

impl Tag {
    /// The bit that users of the page may change.
    pub(crate) const STORED: u32 = 1 << 30;

    /// # Panics
    ///
    /// Panics when the space or the page is too large a number.
    pub(crate) fn new(space: u32, page: usize, generation: u32) -> Self {
        assert!(
            space < MAX_SPACES && page < MAX_PAGES,
            "there is no such page"
        );
        Self(LIVE | space << 25 | (page as u32) << 19 | (generation % GENERATIONS))
    }

    /// Returns the word that stands in the frame.
    pub(crate) const fn word(self) -> u32 {
        self.0
    }

    /// Reads the word of a frame, stored to or not; poison and what else is no tag
    /// is none.
    pub(crate) fn read(word: u32) -> Option<Self> {
        (word & LIVE != 0).then_some(Self(word & !Self::STORED))
    }

    /// Returns its generation, modulo [`GENERATIONS`].
    pub(crate) const fn generation(self) -> u32 {
        self.0 % GENERATIONS
    }

    /// Returns whether it is of this page of this space, in any generation.
    pub(crate) fn is_of(self, space: u32, page: usize) -> bool {
        Self::new(space, page, self.generation()) == self
    }
}

/// Where in a frame its tag stands: the first word, the last, and two between.
pub(crate) const WORDS: [usize; 4] = [0, 1364, 2728, PAGE_SIZE - 4];

/// Writes a word to all places of a frame where its tag stands.
pub(crate) fn write_words(frame: &UFrame, word: u32) {
    WORDS
        .iter()
        .for_each(|offset| write_word(frame.writer(), *offset, word));
}

fn write_word(mut writer: VmWriter<'_, Infallible>, offset: usize, word: u32) {
    let written = writer.skip(offset).write_once(&word);
    written.expect("the word is in the frame");
}

/// The type of frames that fill themselves with poison when they are freed.
#[derive(Debug)]
struct Poisoned;

// SAFETY: 1. the bytes are touched by readers and writers alone, and by the hook when
// nobody else does; 2. the hook leaves poison, and does not say zeros.
unsafe impl AnyFrameMeta for Poisoned {
    fn on_drop(&mut self, reader: &mut VmReader<'_, Infallible>) {
        let start = reader.cursor().cast_mut();
        // SAFETY: The reader is of the whole frame, which has no user left.
        let writer = || unsafe { VmWriter::from_kernel_space(start, PAGE_SIZE) };
        WORDS
            .iter()
            .for_each(|offset| write_word(writer(), *offset, POISON));
    }

    fn is_untyped(&self) -> bool {
        true
    }

    fn drop_hook() -> DropHook {
        DropHook::Runs
    }
}

// SAFETY: It is untyped, see above.
unsafe impl AnyUFrameMeta for Poisoned {}

/// Where the frames to map come from, and go to when they are not mapped any more.
#[derive(Debug)]
pub(crate) enum Supply {
    /// The allocator, by way of whoever keeps them until all have flushed.
    Allocator,
    /// A number of frames that are never freed: for runs with a planted bug, where a
    /// frame that is freed too early would be harm done. Poisoned when they are back.
    Pool(SpinLock<Vec<UFrame>>),
}

impl Supply {
    /// Makes a pool of so many frames.
    pub(crate) fn new_pool(frames: usize) -> Self {
        let make = |_| allocate().expect("there is memory for the pool");
        Self::Pool(SpinLock::new((0..frames).map(make).collect()))
    }

    /// Makes a supply of the same kind.
    pub(crate) fn same_kind(&self) -> Self {
        match self {
            Self::Allocator => Self::Allocator,
            Self::Pool(frames) => Self::new_pool(frames.lock().len()),
        }
    }

    /// Takes a frame; none when they have run out.
    pub(crate) fn take(&self) -> Option<UFrame> {
        match self {
            Self::Allocator => allocate(),
            Self::Pool(frames) => frames.lock().pop(),
        }
    }

    /// Returns whether frames have to be given back.
    pub(crate) fn wants_back(&self) -> bool {
        matches!(self, Self::Pool(_))
    }

    /// Gives frames back that no processor should be able to reach any more. The one
    /// given first is taken next.
    pub(crate) fn give_back(&self, mut given: Vec<UFrame>) {
        if let Self::Pool(frames) = self {
            given.iter().for_each(|frame| write_words(frame, POISON));
            frames.lock().append(&mut given);
        }
    }
}

fn allocate() -> Option<UFrame> {
    let frame = FrameAllocOptions::new()
        .zeroed(false)
        .alloc_frame_with(Poisoned)
        .ok()?;
    Some(frame.into())
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{GENERATIONS, POISON, Tag};
    use crate::prelude::*;

    #[ktest]
    fn tag_tells_spaces_pages_and_generations_apart() {
        let tag = Tag::new(3, 17, 5);
        assert_eq!(Tag::read(tag.word()), Some(tag));
        assert_eq!(Tag::read(tag.word() ^ Tag::STORED), Some(tag));
        assert_ne!(tag.word(), tag.word() ^ Tag::STORED);
        assert!(tag.is_of(3, 17) && !tag.is_of(2, 17) && !tag.is_of(3, 16));
        assert_eq!(Tag::new(3, 17, 5 + GENERATIONS), tag);
        assert_eq!((Tag::read(POISON), Tag::read(0)), (None, None));
    }
}
