//! What is done at random, the same each time.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use model::Cursor;
use rand_core::{Rng, SeedableRng};
use rand_xorshift::XorShiftRng;

use super::TABLE;
use super::pair::{Disagreement, Move, Pair};
use super::props::{Change, NR_PROPERTIES, R};
use super::view::{Access, OFFSETS, Ring};
use crate::mm::{NR_ENTRIES, PAGE_SIZE, USER_END, Vaddr};

/// The addresses that a script is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: Vaddr,
    pub(super) end: Vaddr,
}

/// A source of decisions.
pub(super) struct Dice(XorShiftRng);

impl Dice {
    /// Returns the source with a number.
    pub(super) fn new(seed: u64) -> Self {
        Self(XorShiftRng::seed_from_u64(seed))
    }

    /// Returns a number below a bound.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.next_u32() as usize % bound
    }

    fn page_of(&mut self, range: &Range<Vaddr>) -> Vaddr {
        range.start + self.below(range.len() / PAGE_SIZE) * PAGE_SIZE
    }

    /// Returns an address of a window at which something may begin or end: at or
    /// near a border of a table as often as anywhere else.
    fn edge(&mut self, Window { start, end }: Window) -> Vaddr {
        let borders = (start.next_multiple_of(TABLE)..=end).step_by(TABLE);
        let count = borders.clone().count();
        let anywhere = start..end + PAGE_SIZE;
        if count == 0 || self.below(count + 1) == 0 {
            return self.page_of(&anywhere);
        }
        let border = borders.clone().nth(self.below(count)).unwrap_or(start);
        let near = match self.below(6) {
            0 => border - PAGE_SIZE,
            1 => border + PAGE_SIZE,
            _ => border,
        };
        near.clamp(start, end)
    }

    /// Returns a range of a window, which is rarely empty.
    fn range(&mut self, window: Window) -> Range<Vaddr> {
        let (one, other) = (self.edge(window), self.edge(window));
        match self.below(4) {
            0 => window.start..window.end,
            _ => one.min(other)..one.max(other),
        }
    }

    /// Returns how far an operation goes, in bytes.
    fn len(&mut self, cursor: &Cursor, window: Window) -> usize {
        let rest = cursor.barrier.end - cursor.va;
        let len = match self.below(4) {
            0 => rest,
            1 => PAGE_SIZE,
            2 => self.edge(window).saturating_sub(cursor.va),
            _ => self.below(8) * PAGE_SIZE,
        };
        len.min(rest)
    }

    fn change(&mut self) -> Change {
        Change {
            to: self.property(),
            keeps_marks: self.below(2) == 0,
        }
    }

    /// Returns a property, more often one that allows something.
    fn property(&mut self) -> u8 {
        let any = self.below(NR_PROPERTIES) as u8;
        if self.below(3) == 0 { any } else { any | R }
    }

    /// Returns what to do next with a cursor.
    fn next(&mut self, pair: &Pair, cursor: &Cursor, window: Window) -> Move {
        let len = self.len(cursor, window);
        let pages = (cursor.barrier.end - cursor.va) / PAGE_SIZE;
        let is_huge = cursor.va.is_multiple_of(TABLE) && pages >= NR_ENTRIES;
        if is_huge && self.below(3) == 0 {
            let count = (NR_ENTRIES + self.below(5)).min(pages);
            let frames = pair.frames(self.below(2), 0, count);
            return Move::MapSegment(frames, self.property());
        }
        match self.below(17) {
            0..3 => Move::Jump(self.edge(window)),
            3 => Move::Find(len),
            4 => Move::Query,
            5..9 if pages > 0 => {
                let frame = pair.frame(self.below(64));
                Move::Map(frame, self.property())
            }
            9..11 if pages > 0 => {
                let (first, count) = (self.below(NR_ENTRIES), 1 + self.below(4));
                let frames = pair.frames(self.below(2), first, count.min(pages));
                Move::MapSegment(frames, self.property())
            }
            11..13 => Move::Unmap(len),
            13..15 => Move::Protect(len, self.change()),
            _ => Move::ProtectNext(len, self.change()),
        }
    }

    /// Returns who looks at a page, and how.
    fn look(&mut self) -> (Ring, Access, usize) {
        let (ring, access) = match self.below(5) {
            0 => (Ring::Kernel, Access::Load),
            1 => (Ring::Kernel, Access::Store),
            2 => (Ring::Program, Access::Load),
            3 => (Ring::Program, Access::Store),
            _ => (Ring::Program, Access::Fetch),
        };
        (ring, access, OFFSETS[self.below(OFFSETS.len())])
    }
}

/// Opens so many cursors one after the other, does a few things with each, and
/// looks at pages before and after; unmaps all in the end.
pub(super) fn run(
    pair: &mut Pair,
    seed: u64,
    window: Window,
    cursors: usize,
) -> Result<(), Disagreement> {
    let mut dice = Dice::new(seed);
    for number in 0..cursors {
        let range = dice.range(window);
        run_cursor(pair, &mut dice, window, &range)
            .map_err(|text| format!("cursor {number} on {range:x?}: {text}"))?;
    }
    let all = TABLE..USER_END + PAGE_SIZE;
    let mut unmap = Some(Move::Unmap(all.len()));
    pair.with_cursor(&all, |_, _| unmap.take())?;
    let pages = (window.start..window.end).step_by(PAGE_SIZE);
    let pages: Vec<_> = pages.step_by(7).collect();
    look_at(pair, &mut dice, &pages)?;
    pair.compare_frames()
}

fn run_cursor(
    pair: &mut Pair,
    dice: &mut Dice,
    window: Window,
    range: &Range<Vaddr>,
) -> Result<(), Disagreement> {
    // What is cached before and changed must not be found after.
    let mut pages = Vec::new();
    for _ in 0..3 {
        pages.push(dice.page_of(&(window.start..window.end)));
    }
    if !range.is_empty() {
        pages.push(dice.page_of(range));
    }
    look_at(pair, dice, &pages)?;

    let (count, mut done) = (1 + dice.below(4), Vec::new());
    pair.with_cursor(range, |pair, cursor| {
        if done.len() == count {
            return None;
        }
        let next = dice.next(pair, cursor, window);
        pages.extend(pages_of(cursor, &next));
        done.push((cursor.va, next.clone()));
        Some(next)
    })?;
    look_at(pair, dice, &pages).map_err(|text| format!("{text}, after {done:x?}"))
}

/// Returns the first and the last page of an operation, and their neighbours.
fn pages_of(cursor: &Cursor, next: &Move) -> [Vaddr; 4] {
    let len = match next {
        Move::Jump(_) | Move::Find(_) | Move::Query => 0,
        Move::Map(..) => PAGE_SIZE,
        Move::MapSegment(frames, _) => frames.size(),
        Move::Unmap(len) | Move::Protect(len, _) | Move::ProtectNext(len, _) => *len,
    };
    let (start, end) = (cursor.va, cursor.va + len);
    [start - PAGE_SIZE, start, end - PAGE_SIZE, end]
}

/// Looks at pages, each in a way of its own, and compares what was marked.
fn look_at(pair: &mut Pair, dice: &mut Dice, pages: &[Vaddr]) -> Result<(), Disagreement> {
    for page in pages {
        let (ring, access, offset) = dice.look();
        let is_unfit = access == Access::Fetch && pair.has_had_huge_page(*page);
        let page = if is_unfit { page - page % TABLE } else { *page };
        pair.look(page + offset, ring, access)?;
    }
    pair.compare()
}
