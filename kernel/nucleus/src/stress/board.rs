//! The board: what may be seen at each page of a space, and the judge.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::tag::{GENERATIONS, Tag};

/// What users of a page may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    None = 0,
    Read = 1,
    Write = 2,
}

/// What the board says of a page.
///
/// ```text
///  63..24   23..4       3  2..1    0
///  changes  generation  0  access  under way
/// ```
///
/// *Changes* counts the notes, so that a page that looks the same before and after an
/// access was the same all the time. While a change is under way, access and
/// generation are those before it, but that what is gone and not flushed has no access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note(u64);

impl Note {
    pub(crate) const ABSENT: Self = Self(0);

    pub(crate) fn is_under_way(self) -> bool {
        self.0 & 1 != 0
    }

    pub(crate) fn access(self) -> Access {
        match self.0 >> 1 & 3 {
            0 => Access::None,
            1 => Access::Read,
            _ => Access::Write,
        }
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 4) as u32 % GENERATIONS
    }

    /// Returns the note after this one that says that a change has begun.
    pub(crate) fn begun(self) -> Self {
        Self((self.0 | 1).wrapping_add(1 << 24))
    }

    /// Returns the note after this one, of a change that has begun, that says that the
    /// page is not mapped any more, but that some processors may not know.
    pub(crate) fn going(self) -> Self {
        Self(self.settled(Access::None, self.generation()).0 | 1)
    }

    /// Returns the note after this one that says what the page is from now on.
    pub(crate) fn settled(self, access: Access, generation: u32) -> Self {
        let changes = (self.0 >> 24).wrapping_add(1) << 24;
        Self(changes | u64::from(generation % GENERATIONS) << 4 | (access as u64) << 1)
    }
}

/// The notes of a space's pages. Each is written by whoever holds a cursor on the
/// page, so that only one does at a time.
pub(crate) struct Board {
    /// The space's number in tags.
    pub(crate) space: u32,
    notes: Box<[AtomicU64]>,
}

impl Board {
    /// Makes a board that says that all pages are absent.
    pub(crate) fn new(space: u32, pages: usize) -> Self {
        let notes = (0..pages).map(|_| AtomicU64::new(Note::ABSENT.0)).collect();
        Self { space, notes }
    }

    pub(crate) fn get(&self, page: usize) -> Note {
        // SeqCst: what is seen in between, or before, counts; and simplest to think
        // about.
        Note(self.notes[page].load(Ordering::SeqCst))
    }

    /// Replaces a note; the caller holds a cursor on the page.
    pub(crate) fn set(&self, page: usize, note: Note) {
        // SeqCst: as in `get`.
        self.notes[page].store(note.0, Ordering::SeqCst);
    }
}

/// An access that was not legal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stale {
    space: u32,
    page: usize,
    before: Note,
    after: Note,
    seen: Option<u32>,
    wanted: Access,
}

impl fmt::Debug for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            space,
            page,
            before,
            after,
            wanted,
            ..
        } = self;
        write!(f, "{wanted:?} of page {page} of space {space} ")?;
        match self.seen {
            None => f.write_str("failed")?,
            Some(word) => write!(f, "saw {word:#x} {:?}", Tag::read(word))?,
        }
        let show = |note: &Note| (note.access(), note.generation(), note.is_under_way());
        write!(
            f,
            "; on the board: {:?}, then {:?}",
            show(before),
            show(after)
        )
    }
}

/// Judges an access that saw a word, or failed, with the notes before and after it.
/// A store is wanted as [`Access::Write`], and saw what it replaced.
pub(crate) fn judge(
    (space, page): (u32, usize),
    wanted: Access,
    (before, after): (Note, Note),
    seen: Option<u32>,
) -> Result<(), Stale> {
    let is_settled = before == after && !before.is_under_way();
    let is_allowed = before.access() >= wanted;
    let is_legal = match seen {
        None => !(is_settled && is_allowed),
        Some(_) if is_settled && !is_allowed => false,
        Some(word) => Tag::read(word).is_some_and(|tag| {
            tag.is_of(space, page) && is_between(tag.generation(), before, after)
        }),
    };
    let stale = Stale {
        space,
        page,
        before,
        after,
        seen,
        wanted,
    };
    is_legal.then_some(()).ok_or(stale)
}

/// Returns whether a generation may have been mapped at some time between two notes.
fn is_between(generation: u32, before: Note, after: Note) -> bool {
    // What was gone and settled before the first note does not come back.
    let was_there = before.is_under_way() || before.access() != Access::None;
    let first = before.generation() + u32::from(!was_there);
    // A change that is under way may have mapped the next one already.
    let last = after.generation() + u32::from(after.is_under_way());
    let distance = |to: u32| (to + GENERATIONS - first % GENERATIONS) % GENERATIONS;
    distance(generation) <= distance(last)
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{Access, Note, judge};
    use crate::prelude::*;
    use crate::stress::tag::{GENERATIONS, POISON, Tag};

    const PAGE: (u32, usize) = (1, 2);

    fn note(access: Access, generation: u32) -> Note {
        Note::ABSENT.settled(access, generation)
    }

    fn word(generation: u32) -> Option<u32> {
        Some(Tag::new(PAGE.0, PAGE.1, generation).word())
    }

    fn is_legal(wanted: Access, before: Note, after: Note, seen: Option<u32>) -> bool {
        judge(PAGE, wanted, (before, after), seen).is_ok()
    }

    #[ktest]
    fn settled_page_shows_what_the_board_says_and_nothing_else() {
        let is_legal = |wanted, note, seen| is_legal(wanted, note, note, seen);
        let (absent, read) = (note(Access::None, 4), note(Access::Read, 4));
        assert!(is_legal(Access::Read, absent, None));
        assert!(!is_legal(Access::Read, absent, word(4)));
        assert!(is_legal(Access::Read, read, word(4)));
        assert!(!is_legal(Access::Read, read, None));
        assert!(!is_legal(Access::Read, read, word(3)));
        assert!(!is_legal(Access::Read, read, word(5)));
        assert!(is_legal(Access::Write, read, None));
        assert!(!is_legal(Access::Write, read, word(4)));
        assert!(is_legal(Access::Write, note(Access::Write, 4), word(4)));
        for strange in [
            POISON,
            0,
            Tag::new(1, 3, 4).word(),
            Tag::new(2, 2, 4).word(),
        ] {
            assert!(!is_legal(Access::Read, read, Some(strange)));
        }
    }

    #[ktest]
    fn change_under_way_shows_the_old_page_the_new_one_or_none() {
        let before = note(Access::Read, 4);
        let during = before.begun();
        let after = during.settled(Access::Write, 5);
        for (from, to) in [
            (before, during),
            (during, during),
            (during, after),
            (before, after),
        ] {
            assert!(is_legal(Access::Read, from, to, None));
            assert!(is_legal(Access::Read, from, to, word(4)));
            assert!(is_legal(Access::Read, from, to, word(5)));
            assert!(!is_legal(Access::Read, from, to, word(3)));
            assert!(!is_legal(Access::Read, from, to, word(6)));
            assert!(!is_legal(Access::Read, from, to, Some(POISON)));
        }
    }

    #[ktest]
    fn page_that_was_settled_as_gone_does_not_come_back() {
        let gone = note(Access::None, 4);
        let during = gone.begun();
        let mapped = during.settled(Access::Read, 5);
        assert!(!is_legal(Access::Read, gone, mapped, word(4)));
        assert!(is_legal(Access::Read, gone, mapped, word(5)));
        assert!(is_legal(Access::Read, gone, during, word(5)));
        assert!(!is_legal(Access::Read, gone, during, word(4)));
    }

    #[ktest]
    fn change_and_change_back_is_seen_on_the_board() {
        let before = note(Access::Read, 4);
        let after = before.begun().settled(Access::Write, 4);
        let back = after.begun().settled(Access::Read, 4);
        assert_ne!(before, back);
        assert!(is_legal(Access::Write, before, back, word(4)));
        assert!(!is_legal(Access::Write, before, before, word(4)));
    }

    #[ktest]
    fn generations_wrap() {
        let before = note(Access::Read, GENERATIONS - 1);
        let after = before.begun().settled(Access::Read, GENERATIONS);
        assert_eq!(after.generation(), 0);
        assert!(is_legal(Access::Read, before, after, word(GENERATIONS - 1)));
        assert!(is_legal(Access::Read, before, after, word(0)));
        assert!(!is_legal(Access::Read, before, after, word(1)));
    }
}
