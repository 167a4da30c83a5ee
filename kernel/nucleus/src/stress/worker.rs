//! A worker: what it does at random, one step after the other.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use rand_core::{Rng, SeedableRng};
use rand_xorshift::XorShiftRng;

use super::board::{Access, Board, Note, Stale, judge};
use super::tag::{Supply, Tag, WORDS, write_words};
use crate::cpu::disable_preempt;
use crate::irq;
use crate::mm::page_table::MappedItem;
use crate::mm::tlb::TlbFlushOp;
use crate::mm::vm_space::CursorMut;
use crate::mm::{CachePolicy, PAGE_SIZE, PageFlags, PageProperty, UFrame, Vaddr, VmSpace};

/// Pages that are worked on, half of them in one table and half in the next.
pub(crate) const PAGES: usize = 48;
const M2: usize = 2 << 20;
/// Where the second table begins.
const MIDDLE: Vaddr = 1 << 33;
const START: Vaddr = MIDDLE - PAGES / 2 * PAGE_SIZE;
/// Most pages of one change.
const MOST: usize = 6;
/// How many steps a worker stays with one of its spaces, on average.
const STAY: u32 = 64;

/// A space that is worked on, and its board.
pub(crate) struct Arena {
    space: Arc<VmSpace>,
    board: Board,
    supply: Supply,
}

impl Arena {
    /// Makes an arena in which nothing is mapped; `number` is the space's in tags.
    pub(crate) fn new(number: u32, supply: Supply) -> Arc<Self> {
        Arc::new(Self {
            space: Arc::new(VmSpace::new().expect("there is memory for a space")),
            board: Board::new(number, PAGES),
            supply,
        })
    }

    /// Has something done to pages by a cursor on a window that has them, with the
    /// board told before and after; `change` returns what the pages become.
    fn change(
        &self,
        pages: &Range<usize>,
        window: &Range<Vaddr>,
        change: impl FnOnce(&mut CursorMut<'_>) -> Becomes,
    ) {
        let mut taken = Vec::new();
        let guard = disable_preempt();
        let mut cursor = self
            .space
            .cursor_mut(&guard, window)
            .expect("a legal range");
        for page in pages.clone() {
            self.board.set(page, self.board.get(page).begun());
        }
        if self.supply.wants_back() {
            taken = frames_in(&cursor, window);
        }
        let becomes = change(&mut cursor);
        if matches!(becomes, Becomes::Protected(_)) {
            taken.clear();
        }
        cursor.flusher().dispatch_tlb_flush();
        if becomes != Becomes::GoneSoon {
            cursor.flusher().sync_tlb_flush();
        }
        for page in pages.clone() {
            self.board.set(page, becomes.note(self.board.get(page)));
        }
        drop(cursor);
        self.supply.give_back(taken);
    }

    /// Maps new frames at pages, in place of what is there. Does nothing when there
    /// are too few.
    fn map(&self, pages: &Range<usize>, access: Access) {
        let mut frames: Vec<UFrame> = pages.clone().map_while(|_| self.supply.take()).collect();
        if frames.len() < pages.len() {
            return self.supply.give_back(frames);
        }
        self.change(pages, &window_of(pages), |cursor| {
            for (page, frame) in pages.clone().zip(frames.drain(..)) {
                let generation = self.board.get(page).generation() + 1;
                write_words(&frame, Tag::new(self.board.space, page, generation).word());
                let prop = PageProperty::new_user(flags(access), CachePolicy::Writeback);
                cursor
                    .map(frame, prop)
                    .expect("there is memory for a table");
            }
            Becomes::Mapped(access)
        });
    }

    /// Unmaps what is there in a window, and waits for the other processors or not.
    fn unmap(&self, pages: &Range<usize>, window: &Range<Vaddr>, is_waiting: bool) {
        let is_waiting = is_waiting || self.supply.wants_back();
        self.change(pages, window, |cursor| {
            let unmapped = cursor.unmap(window.end - window.start);
            unmapped.expect("no huge page is there to be split");
            if is_waiting {
                Becomes::Gone
            } else {
                Becomes::GoneSoon
            }
        });
    }

    fn protect(&self, pages: &Range<usize>, access: Access) {
        let window = window_of(pages);
        self.change(pages, &window, |cursor| {
            let change = |old| PageProperty {
                flags: flags(access),
                ..old
            };
            let changed = cursor.protect(window.end - window.start, change);
            changed.expect("no huge page is there to be split");
            cursor
                .flusher()
                .issue_tlb_flush(TlbFlushOp::Range(window.clone()));
            Becomes::Protected(access)
        });
    }

    /// Reads a word of a page, or stores to it, and judges what was seen. The space is
    /// active. Returns the word.
    fn access(&self, page: usize, offset: usize, store: Option<u32>) -> Result<Option<u32>, Stale> {
        let va = START + page * PAGE_SIZE + offset;
        let reader = self.space.reader(va, 4).expect("the space is active");
        let before = self.board.get(page);
        let (wanted, seen) = match store {
            None => (Access::Read, reader.atomic_load().ok()),
            Some(old) => {
                let writer = self.space.writer(va, 4).expect("the space is active");
                let new = old ^ Tag::STORED;
                let replaced = writer.atomic_compare_exchange(&reader, old, new);
                (Access::Write, replaced.ok().map(|(seen, _)| seen))
            }
        };
        let notes = (before, self.board.get(page));
        judge((self.board.space, page), wanted, notes, seen)?;
        Ok(seen)
    }
}

/// What pages become by a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// Nobody is waited for: they are gone, but not yet for all processors.
    GoneSoon,
    Gone,
    /// They are mapped once more, and may be used so.
    Mapped(Access),
    /// Those that are mapped may be used so.
    Protected(Access),
}

impl Becomes {
    fn note(self, old: Note) -> Note {
        let (access, generation) = (old.access(), old.generation());
        match self {
            Self::GoneSoon => old.going(),
            Self::Gone => old.settled(Access::None, generation),
            Self::Mapped(access) => old.settled(access, generation + 1),
            Self::Protected(_) if access == Access::None => old.settled(access, generation),
            Self::Protected(access) => old.settled(access, generation),
        }
    }
}

fn flags(access: Access) -> PageFlags {
    match access {
        Access::Write => PageFlags::RW,
        Access::Read | Access::None => PageFlags::R,
    }
}

fn window_of(pages: &Range<usize>) -> Range<Vaddr> {
    START + pages.start * PAGE_SIZE..START + pages.end * PAGE_SIZE
}

/// Returns the frames that are mapped in a cursor's range, where it then is again.
fn frames_in(cursor: &CursorMut<'_>, window: &Range<Vaddr>) -> Vec<UFrame> {
    let mut frames = Vec::new();
    while let Some(va) = cursor.find_next(window.end - cursor.virt_addr()) {
        if let Ok((_, Some(MappedItem::MappedRam { frame, .. }))) = cursor.query() {
            frames.push(frame);
        }
        if cursor.jump(va + PAGE_SIZE).is_err() {
            break;
        }
    }
    cursor.jump(window.start).expect("it begins there");
    frames
}

/// How often a worker did what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Changes of any kind.
    pub(crate) changes: u32,
    /// Accesses that saw a word.
    pub(crate) words: u32,
    /// Accesses that failed, as they should.
    pub(crate) faults: u32,
}

impl Tally {
    /// # Panics
    ///
    /// Panics when a run of some length has not tried everything: nothing was shown.
    pub(crate) fn check(&self) {
        let Self {
            changes,
            words,
            faults,
        } = *self;
        let least = (changes + words + faults) / 20;
        assert!(
            changes > least && words > least && faults > least,
            "{self:?}"
        );
    }
}

/// A worker. It works as one task, or takes turns with others.
pub(crate) struct Worker {
    dice: XorShiftRng,
    /// The space of all workers, and one of its own.
    arenas: [Arc<Arena>; 2],
    /// Which of them is active.
    here: usize,
    pub(crate) tally: Tally,
}

impl Worker {
    /// Makes the worker with a number; the same seed makes it do the same.
    pub(crate) fn new(shared: &Arc<Arena>, number: u32, seed: u64) -> Self {
        let own = Arena::new(1 + number, shared.supply.same_kind());
        Self {
            dice: XorShiftRng::seed_from_u64(seed ^ u64::from(number) << 32),
            arenas: [Arc::clone(shared), own],
            here: 0,
            tally: Tally::default(),
        }
    }

    /// Does one thing, in task context with nothing held.
    ///
    /// # Errors
    ///
    /// What was seen and should not have been.
    pub(crate) fn step(&mut self) -> Result<(), Stale> {
        // On the simulated machine, interrupts that are due arrive here.
        drop(irq::disable_local());
        if self.roll(STAY) == 0 {
            self.here = usize::from(self.roll(4) == 0);
            if self.roll(4) == 0 {
                VmSpace::deactivate_current();
            }
        }
        let arena = Arc::clone(&self.arenas[self.here]);
        arena.space.activate();
        match self.roll(100) {
            0..50 => self.read(&arena),
            50..68 => self.store(&arena),
            68..72 => {
                let _irq_off = irq::disable_local();
                (0..3).try_for_each(|_| self.read(&arena))
            }
            choice => {
                self.change(&arena, choice);
                Ok(())
            }
        }
    }

    /// Ends its work: leaves the space.
    pub(crate) fn end(self) -> Tally {
        VmSpace::deactivate_current();
        self.tally
    }

    /// Changes some pages.
    fn change(&mut self, arena: &Arena, choice: u32) {
        self.tally.changes += 1;
        let pages = self.some_pages();
        let access = [Access::Read, Access::Write][self.roll(2) as usize];
        match choice {
            0..85 => arena.map(&pages, access),
            85..93 => arena.unmap(&pages, &window_of(&pages), self.roll(2) == 0),
            93..99 => arena.protect(&pages, access),
            // With a bug planted, a table that goes could be walked and marked by a
            // processor that was not told.
            _ if arena.supply.wants_back() => arena.protect(&pages, access),
            // Both tables go.
            _ => arena.unmap(&(0..PAGES), &(MIDDLE - M2..MIDDLE + M2), self.roll(2) == 0),
        }
    }

    fn read(&mut self, arena: &Arena) -> Result<(), Stale> {
        let (page, offset) = self.some_word();
        let seen = arena.access(page, offset, None)?;
        self.count(seen);
        Ok(())
    }

    /// Reads a word and replaces it by another that is legal there.
    fn store(&mut self, arena: &Arena) -> Result<(), Stale> {
        let (page, offset) = self.some_word();
        let Some(old) = arena.access(page, offset, None)? else {
            return Ok(());
        };
        let seen = arena.access(page, offset, Some(old))?;
        self.count(seen);
        Ok(())
    }

    fn count(&mut self, seen: Option<u32>) {
        match seen {
            Some(_) => self.tally.words += 1,
            None => self.tally.faults += 1,
        }
    }

    fn some_word(&mut self) -> (usize, usize) {
        let page = self.roll(PAGES as u32) as usize;
        (page, WORDS[self.roll(WORDS.len() as u32) as usize])
    }

    fn some_pages(&mut self) -> Range<usize> {
        let count = 1 + self.roll(MOST as u32) as usize;
        let start = self.roll((PAGES - count + 1) as u32) as usize;
        start..start + count
    }

    /// Returns a number below `sides`.
    fn roll(&mut self, sides: u32) -> u32 {
        self.dice.next_u32() % sides
    }
}
