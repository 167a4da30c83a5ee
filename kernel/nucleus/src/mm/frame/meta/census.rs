//! A census: how many frames there are of each kind, so that a leak names its culprit.
//!
//! The slots of all frames are looked at, one after another, without locks and without
//! holding anything, so that it can be done anywhere: in an interrupt, or in a machine
//! that stands still. A frame's kind is what its type says it is
//! ([`AnyFrameMeta::kind`](super::super::AnyFrameMeta::kind)), found by the number in its
//! slot.
//!
//! ```text
//!  managed = free + at_hand + in_transit + the sum of all kinds
//! ```
//!
//! **While others run** it is no picture of a moment: a frame that changes hands behind
//! the census and again before it may be counted as what it was, or twice as another.
//! But each frame that is managed is counted once, as something, so the sum is always
//! what is managed: either by itself, or within a free block, which is passed over as a
//! whole. A block is free as a whole at the moment when its first slot says so.
//!
//! **What it costs**: nothing where frames are allocated. A frame that is looked at costs
//! a few instructions; memory that is free in large blocks costs nothing.

use core::fmt;

use super::{MetaSlot, REF_COUNT_BUSY, REF_COUNT_UNUSED, slot_of};
use crate::mm::frame::meta_type::{FrameKind, MetaVtable};
use crate::mm::{PAGE_SIZE, PagingLevel};
use crate::sync::atomic::Ordering;

/// Rows of a census: kinds, and levels of those that have levels. What finds no row is
/// counted as [`OTHERS`].
const ROWS: usize = 40;

/// What frames are called that find no row.
const OTHERS: &str = "others";

/// The number of a slot's type before there was one.
const NO_TYPE: u32 = 0;

/// How many frames there are of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Census {
    /// Free in the pool, as its blocks.
    pub free: usize,
    /// Free, and in a processor's cache, or on the way from or to it. With a pool of
    /// somebody else's, all that are free.
    pub at_hand: usize,
    /// Being made or destroyed.
    pub in_transit: usize,
    rows: [Row; ROWS],
    len: usize,
}

/// Frames of a type, and of a level where the type has levels.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The number of the type.
    number: u32,
    /// Whether the level counts.
    has_levels: bool,
    count: KindCount,
}

/// How many frames there are of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindCount {
    /// What they are called.
    pub name: &'static str,
    /// The level of paging that they are nodes of; zero where there are no levels.
    pub level: PagingLevel,
    /// How many there are.
    pub frames: usize,
}

impl fmt::Display for KindCount {
    /// Writes the name, with the level behind a dash where there are levels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            0 => f.write_str(self.name),
            level => write!(f, "{}-{level}", self.name),
        }
    }
}

/// What a slot says of its frame.
enum Sight {
    /// It was never given to the allocator.
    NotManaged,
    /// It is the first of so many free ones.
    Free(usize),
    AtHand,
    InTransit,
    /// It is somebody's, of the type with this number.
    Of(u32),
}

/// Counts all frames. Takes no lock and no memory, and may be called anywhere.
///
/// Exact when nobody allocates or frees meanwhile; see the module's documentation.
pub fn census() -> Census {
    let mut census = Census::new();
    let mut paddr = 0;
    while let Ok(slot) = slot_of(paddr) {
        paddr += census.count(slot) * PAGE_SIZE;
    }
    census.join_rows();
    census
}

impl Census {
    const fn new() -> Self {
        let nobody = Row {
            number: NO_TYPE,
            has_levels: false,
            count: KindCount {
                name: OTHERS,
                level: 0,
                frames: 0,
            },
        };
        Self {
            free: 0,
            at_hand: 0,
            in_transit: 0,
            rows: [nobody; ROWS],
            len: 0,
        }
    }

    /// Returns a census that found these kinds, for tests of those who tell of one.
    #[cfg(any(test, ktest))]
    pub(crate) fn of(kinds: &[KindCount]) -> Self {
        let mut census = Self::new();
        census.len = kinds.len();
        for (row, count) in census.rows.iter_mut().zip(kinds) {
            row.count = *count;
        }
        census
    }

    /// Returns what is somebody's, in no order; kinds that have no frames are left out.
    pub fn kinds(&self) -> impl Iterator<Item = KindCount> {
        self.rows[..self.len].iter().map(|row| row.count)
    }

    /// Returns how many frames are of a kind, of all levels.
    pub fn of_kind(&self, name: &str) -> usize {
        let of_kind = self.kinds().filter(|kind| kind.name == name);
        of_kind.map(|kind| kind.frames).sum()
    }

    /// Returns how many frames are somebody's.
    pub fn used(&self) -> usize {
        self.kinds().map(|kind| kind.frames).sum()
    }

    /// Returns how many frames were counted: all that were ever given to the allocator.
    pub fn managed(&self) -> usize {
        self.free + self.at_hand + self.in_transit + self.used()
    }

    /// Returns what has become more since another census, and by how much.
    pub fn growth_since(&self, before: &Self) -> impl Iterator<Item = KindCount> {
        self.kinds().filter_map(|kind| {
            let is_same = |other: &KindCount| (other.name, other.level) == (kind.name, kind.level);
            let other = before.kinds().find(is_same);
            let frames = kind.frames - other.map_or(0, |other| other.frames).min(kind.frames);
            (frames > 0).then_some(KindCount { frames, ..kind })
        })
    }

    /// Counts the frame of a slot; returns how many frames that settles, one at least.
    fn count(&mut self, slot: &MetaSlot) -> usize {
        match slot.sight() {
            Sight::NotManaged => {}
            Sight::Free(frames) => {
                self.free += frames;
                return frames;
            }
            Sight::AtHand => self.at_hand += 1,
            Sight::InTransit => self.in_transit += 1,
            Sight::Of(number) => self.row_of(number, slot).count.frames += 1,
        }
        1
    }

    /// Returns the row of a slot's frame, a new one if need be.
    fn row_of(&mut self, number: u32, slot: &MetaSlot) -> &mut Row {
        // Relaxed: a snapshot.
        let level = slot.level.load(Ordering::Relaxed);
        let is_its =
            |row: &Row| row.number == number && (!row.has_levels || row.count.level == level);
        let index = match self.rows[..self.len].iter().position(is_its) {
            Some(index) => index,
            None if self.len == ROWS => ROWS - 1,
            None => {
                self.rows[self.len] = Row::new(number, level, self.len == ROWS - 1);
                self.len += 1;
                self.len - 1
            }
        };
        &mut self.rows[index]
    }

    /// Joins rows of the same kind: several types may be of one, and the compiler may
    /// give a type several numbers.
    fn join_rows(&mut self) {
        let mut len = 0;
        for index in 0..self.len {
            let row = self.rows[index];
            let is_same = |other: &&mut Row| {
                (other.count.name, other.count.level) == (row.count.name, row.count.level)
            };
            match self.rows[..len].iter_mut().find(is_same) {
                Some(other) => other.count.frames += row.count.frames,
                None => {
                    self.rows[len] = row;
                    len += 1;
                }
            }
        }
        self.len = len;
    }
}

impl Row {
    /// Returns a row for the type of a number; the last row is for whatever comes.
    fn new(number: u32, level: PagingLevel, is_last: bool) -> Self {
        let kind = if is_last {
            FrameKind::named(OTHERS)
        } else {
            // SAFETY: A slot had the number, which is no zero: so it is a vtable's.
            (unsafe { MetaVtable::by_number(number) }.kind)()
        };
        Self {
            number,
            has_levels: kind.has_levels,
            count: KindCount {
                name: kind.name,
                level: if kind.has_levels { level } else { 0 },
                frames: 0,
            },
        }
    }
}

impl MetaSlot {
    /// Says which level of paging the frame is a node of, for a census.
    pub(in crate::mm) fn set_level(&self, level: PagingLevel) {
        // Relaxed: a number for people.
        self.level.store(level, Ordering::Relaxed);
    }

    /// Looks at what the frame is at this moment.
    fn sight(&self) -> Sight {
        if let Some(order) = self.free_order() {
            return Sight::Free(1 << order);
        }
        // Acquire: who sees references sees the type, too, that was there before them.
        let state = self.ref_count.load(Ordering::Acquire);
        match state {
            REF_COUNT_UNUSED => Sight::AtHand,
            REF_COUNT_BUSY if !self.is_managed() => Sight::NotManaged,
            REF_COUNT_BUSY => Sight::InTransit,
            _ => match self.vtable.load(Ordering::Relaxed) {
                // One that just became unique, and whose type is not seen yet.
                NO_TYPE => Sight::InTransit,
                number => Sight::Of(number),
            },
        }
    }

    /// Returns whether the frame was ever given to the allocator.
    fn is_managed(&self) -> bool {
        !matches!(
            self.mark(),
            Some(super::Mark::NotRam | super::Mark::Reserved)
        )
    }
}

#[cfg(any(test, ktest))]
mod tests;
