//! A space of the machine beside its specification.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use model::cursor::{self, Answer};
use model::{Cursor, Ends, Geometry, Intent, Leaf, Property, Refusal, Table};

use super::props::{Change, R, X, number_of, property};
use super::{TABLE, ring3, view};
use crate::arch::mmu;
use crate::cpu::disable_preempt;
use crate::error::Error;
use crate::mm::frame::AnyFrameMeta;
use crate::mm::page_table::{MappedItem, Visited};
use crate::mm::tlb::TlbFlushOp;
use crate::mm::vm_space::{CursorMut, VmSpace};
use crate::mm::{
    Frame, FrameAllocOptions, NR_ENTRIES, NR_LEVELS, PAGE_SIZE, Paddr, UFrame, USER_END, USegment,
    UntypedMem, Vaddr,
};

/// What does not agree, in words.
pub(super) type Disagreement = String;

/// An operation of a cursor. Lengths are in bytes.
#[derive(Clone, Debug)]
pub(super) enum Move {
    Jump(Vaddr),
    Find(usize),
    Query,
    Map(UFrame, Property),
    MapSegment(USegment, Property),
    Unmap(usize),
    Protect(usize, Change),
    ProtectNext(usize, Change),
}

/// A space of the machine, and its specification.
pub(super) struct Pair {
    space: Arc<VmSpace>,
    /// The table as it should be.
    pub(super) model: Table,
    /// The frames that scripts map: some for single pages, and two huge pages with
    /// a few more each.
    pool: Vec<USegment>,
    /// The words of the frames that are looked at, by their addresses.
    pub(super) memory: BTreeMap<Paddr, u64>,
    /// Where huge pages have begun.
    huge: BTreeSet<Vaddr>,
    /// The kinds of views that there were.
    pub(super) kinds: BTreeSet<view::Kind>,
    /// The last number given to a word.
    last_tag: u32,
    /// Whether nothing is compared but what the processor sees.
    pub(super) sees_only: bool,
}

impl Pair {
    /// Runs with an empty space active, in which the program is mapped; returns
    /// what the body says.
    pub(super) fn beside_active_space(
        body: impl FnOnce(&mut Self) -> Result<(), Disagreement>,
    ) -> Result<(), Disagreement> {
        let mut pair = Self::empty();
        pair.space.set_page_fault_handler(view::record_fault);
        pair.space.activate();
        let result = pair.map(ring3::HOME, ring3::program(), R | X);
        let result = result.and_then(|()| body(&mut pair));
        VmSpace::deactivate_current();
        result
    }

    fn empty() -> Self {
        let (page, entries) = (PAGE_SIZE, NR_ENTRIES);
        let frames = |count: usize| {
            let align = if count < entries { page } else { TABLE };
            let frames = FrameAllocOptions::new()
                .zeroed(false)
                .align(align)
                .alloc_segment(count);
            USegment::from(frames.expect("enough memory"))
        };
        let mut pair = Self {
            space: Arc::new(VmSpace::new().expect("enough memory")),
            model: Table::empty(Geometry {
                page,
                levels: NR_LEVELS,
                entries,
                highest_leaf: mmu::highest_leaf_level(),
                managed: (0, USER_END + page - 1),
            }),
            pool: [12, entries + 4, entries + 4].map(frames).into(),
            memory: BTreeMap::new(),
            huge: BTreeSet::new(),
            kinds: BTreeSet::new(),
            last_tag: 0,
            sees_only: false,
        };
        let ranges: Vec<_> = pair
            .pool
            .iter()
            .map(|frames| frames.paddr_range())
            .collect();
        for paddr in ranges.into_iter().flat_map(|range| range.step_by(page)) {
            for offset in view::OFFSETS {
                let word = pair.new_word();
                let mut writer = pair.frames_at(paddr).writer();
                let at = paddr + offset - pair.frames_at(paddr).start_paddr();
                writer.skip(at).write_val(&word).expect("it has room");
                pair.memory.insert(paddr + offset, word);
            }
        }
        pair
    }

    /// Returns the space.
    pub(super) fn space(&self) -> Arc<VmSpace> {
        Arc::clone(&self.space)
    }

    /// Returns a word that no frame has had.
    pub(super) fn new_word(&mut self) -> u64 {
        self.last_tag += 1;
        ring3::word(self.last_tag)
    }

    /// Returns the frames of the pool to which an address belongs.
    fn frames_at(&self, paddr: Paddr) -> &USegment {
        let frames = self.pool.iter();
        let mut has = frames.filter(|frames| frames.paddr_range().contains(&paddr));
        has.next().expect("it is the pool's")
    }

    /// Returns the word at a physical address, by the linear map.
    pub(super) fn word_at(&self, paddr: Paddr) -> u64 {
        let frames = self.frames_at(paddr);
        let mut reader = frames.reader();
        let reader = reader.skip(paddr - frames.start_paddr());
        reader.read_val().expect("the frames have it")
    }

    /// Returns one of the frames for single pages.
    pub(super) fn frame(&self, index: usize) -> UFrame {
        let frames = &self.pool[0];
        let start = index * PAGE_SIZE % frames.size();
        let mut frame = frames.slice(&(start..start + PAGE_SIZE));
        frame.next().expect("the slice has one")
    }

    /// Returns some of the frames for huge pages.
    pub(super) fn frames(&self, index: usize, first: usize, pages: usize) -> USegment {
        let frames = &self.pool[1 + index % 2];
        frames.slice(&(first * PAGE_SIZE..(first + pages) * PAGE_SIZE))
    }

    /// Maps a page, by a cursor of its own.
    pub(super) fn map_page(&mut self, va: Vaddr, number: Property) -> Result<(), Disagreement> {
        self.map(va, self.frame(0), number)
    }

    fn map(&mut self, va: Vaddr, frame: UFrame, number: Property) -> Result<(), Disagreement> {
        let mut next = Some(Move::Map(frame, number));
        self.with_cursor(&(va..va + PAGE_SIZE), |_, _| next.take())
    }

    /// Has the specification say something else of a leaf, to see that it shows.
    pub(super) fn tell(&mut self, va: Vaddr, change: impl FnOnce(&mut Leaf)) {
        change(self.model.leaves.get_mut(&va).expect("it is mapped"));
    }

    /// Opens both cursors and does what `next` says, until it says no more.
    pub(super) fn with_cursor(
        &mut self,
        range: &Range<Vaddr>,
        mut next: impl FnMut(&Self, &Cursor) -> Option<Move>,
    ) -> Result<(), Disagreement> {
        let (space, guard) = (self.space(), disable_preempt());
        let real = space.cursor_mut(&guard, range);
        let (mut real, mut cursor) = match (real, cursor::open(&self.model, range, Intent::Change))
        {
            (Ok(real), Ok((table, cursor))) => {
                self.model = table;
                (real, cursor)
            }
            (Err(Error::AccessDenied), Err(Refusal::Range | Refusal::Unaligned)) => return Ok(()),
            (real, wanted) => {
                return Err(format!(
                    "opening {range:x?}: {:?}, not {wanted:?}",
                    real.err()
                ));
            }
        };
        self.compare()?;
        while let Some(next) = next(self, &cursor) {
            self.step(&mut real, &mut cursor, &next)
                .map_err(|text| format!("{next:x?}: {text}"))?;
        }
        Ok(())
    }

    /// Does something with both cursors.
    fn step(
        &mut self,
        real: &mut CursorMut<'_>,
        cursor: &mut Cursor,
        next: &Move,
    ) -> Result<(), Disagreement> {
        let said = say(real, next).map_err(|error| format!("{error:?}"))?;
        let (at, table) = (real.virt_addr(), abstraction(&self.space)?);
        let Some(ends) = self.wanted(cursor, next, &table)? else {
            return match said {
                None if at == cursor.va => self.compare(),
                said => Err(format!("it said {said:x?} at {at:#x}, and not no")),
            };
        };
        let found = ends.iter().find(|end| {
            let is_same = said.as_ref() == Some(&end.answer) && end.table == table;
            end.at.contains(&at) && (self.sees_only || is_same)
        });
        let Some(end) = found else {
            let wanted = ends.iter().map(|end| (&end.answer, &end.at));
            let wanted: Vec<_> = wanted.collect();
            return Err(format!(
                "it said {said:x?} at {at:#x}, not one of {wanted:x?}"
            ));
        };
        self.model = end.table.clone();
        let leaves = self.model.leaves.iter();
        let huge = leaves.filter(|(_, leaf)| leaf.level > 1);
        self.huge.extend(huge.map(|(va, _)| *va));
        cursor.va = at;
        Ok(())
    }

    /// Returns whether a huge page has ever covered an address.
    ///
    /// QEMU keeps translated code by its virtual address. Its `invlpg` of a huge
    /// page flushes the whole of it, but forgets the code of the one page of 4 KiB
    /// alone, and runs that of the others without another walk; Bochs does not.
    pub(super) fn has_had_huge_page(&self, va: Vaddr) -> bool {
        self.huge.contains(&(va - va % TABLE))
    }

    /// Says what the specification allows; nothing if it refuses. Of the nodes
    /// that are unmapped, those stay that stayed in the real table.
    fn wanted(
        &self,
        cursor: &Cursor,
        next: &Move,
        real: &Table,
    ) -> Result<Option<Ends>, Disagreement> {
        let table = &self.model;
        let ends = match next {
            Move::Query => return Ok(cursor::query(table, cursor).ok()),
            Move::Jump(va) => cursor::jump(table, cursor, *va).map(Result::ok),
            Move::Find(len) => cursor::find_next(table, cursor, *len).map(Some),
            Move::Map(frame, prop) => {
                let leaf = Leaf {
                    level: 1,
                    paddr: frame.start_paddr(),
                    prop: *prop,
                };
                cursor::map(table, cursor, leaf).map(|ends| Some(without_answers(ends)))
            }
            Move::MapSegment(frames, prop) => {
                return self.wanted_of_segment(cursor, frames.paddr_range(), *prop);
            }
            Move::Unmap(len) => {
                cursor::unmap(table, cursor, *len, |node| real.nodes.contains(&node)).map(Some)
            }
            Move::Protect(len, change) => {
                cursor::protect(table, cursor, *len, |old| change.of_number(old)).map(Some)
            }
            Move::ProtectNext(len, change) => {
                cursor::protect_next(table, cursor, *len, |old| change.of_number(old)).map(Some)
            }
        };
        ends.map_err(|misuse| format!("the script breaks a rule: {misuse:?}"))
    }

    /// Maps frames by the largest pages that fit, one after the other.
    fn wanted_of_segment(
        &self,
        cursor: &Cursor,
        mut frames: Range<Paddr>,
        prop: Property,
    ) -> Result<Option<Ends>, Disagreement> {
        let (mut table, mut cursor) = (self.model.clone(), cursor.clone());
        let geometry = table.geometry;
        while !frames.is_empty() {
            let fits = |level: &u8| {
                let size = geometry.slot_size(*level);
                (cursor.va | frames.start).is_multiple_of(size) && size <= frames.len()
            };
            let level = (1..=geometry.highest_leaf).rev().find(fits).unwrap_or(1);
            let paddr = frames.start;
            let ends = cursor::map(&table, &cursor, Leaf { level, paddr, prop });
            let ends = ends.map_err(|misuse| format!("the script breaks a rule: {misuse:?}"))?;
            (table, cursor.va) = (ends[0].table.clone(), *ends[0].at.start());
            frames.start += geometry.slot_size(level);
        }
        Ok(Some(Vec::from([cursor::End {
            table,
            at: cursor.va..=cursor.va,
            answer: Answer::Nothing,
        }])))
    }

    /// Compares the tables, marks included.
    pub(super) fn compare(&self) -> Result<(), Disagreement> {
        if self.sees_only {
            return Ok(());
        }
        let table = abstraction(&self.space)?;
        if table.nodes != self.model.nodes {
            let differ: Vec<_> = table
                .nodes
                .symmetric_difference(&self.model.nodes)
                .collect();
            return Err(format!("only one of the two has the nodes {differ:x?}"));
        }
        let all = table.leaves.keys().chain(self.model.leaves.keys());
        let differs = |va: &&Vaddr| table.leaves.get(va) != self.model.leaves.get(va);
        match all.clone().find(differs) {
            None => Ok(()),
            Some(va) => Err(format!(
                "the table has {:x?} at {va:#x}, not {:x?}",
                table.leaves.get(va),
                self.model.leaves.get(va)
            )),
        }
    }

    /// Compares the frames: what is in them, and how often they are referred to.
    pub(super) fn compare_frames(&self) -> Result<(), Disagreement> {
        for (paddr, word) in &self.memory {
            let seen = self.word_at(*paddr);
            if seen != *word {
                return Err(format!("{paddr:#x} holds {seen:#x}, not {word:#x}"));
            }
        }
        let mut mapped = BTreeMap::<Paddr, u32>::new();
        for (va, leaf) in &self.model.leaves {
            for offset in (0..self.model.extent(*va).len()).step_by(PAGE_SIZE) {
                *mapped.entry(leaf.paddr + offset).or_default() += 1;
            }
        }
        let ranges = self.pool.iter().map(|frames| frames.paddr_range());
        for paddr in ranges.flat_map(|range| range.step_by(PAGE_SIZE)) {
            let handle = Frame::<dyn AnyFrameMeta>::from_in_use(paddr);
            let handle = handle.map_err(|error| format!("frame {paddr:#x} is {error:?}"))?;
            // This handle, the pool's, and the mappings.
            let wanted = 2 + mapped.get(&paddr).unwrap_or(&0);
            let count = handle.reference_count();
            if count != wanted {
                return Err(format!(
                    "frame {paddr:#x} has {count} references, not {wanted}"
                ));
            }
        }
        Ok(())
    }
}

/// Applies an operation to the real cursor, and flushes what it leaves to be
/// flushed; nothing if it refuses.
fn say(real: &mut CursorMut<'_>, next: &Move) -> Result<Option<Answer>, Error> {
    let start = real.virt_addr();
    Ok(Some(match next {
        Move::Jump(va) => match real.jump(*va) {
            Ok(()) => Answer::Nothing,
            Err(_) => return Ok(None),
        },
        Move::Find(len) => real.find_next(*len).map_or(Answer::Nothing, Answer::At),
        Move::Query => match real.query() {
            Ok((range, item)) => Answer::Slot(range, item.as_ref().and_then(leaf_of)),
            Err(_) => return Ok(None),
        },
        Move::Map(frame, prop) => {
            real.map(frame.clone(), property(*prop))?;
            Answer::Nothing
        }
        Move::MapSegment(frames, prop) => {
            real.map_segment(frames.clone(), property(*prop))?;
            Answer::Nothing
        }
        Move::Unmap(len) => Answer::Count(real.unmap(*len)?),
        Move::Protect(len, change) => {
            let count = real.protect(*len, |old| change.of_property(old))?;
            if *len > 0 {
                flush(real, start..start + len);
            }
            Answer::Count(count)
        }
        Move::ProtectNext(len, change) => {
            let changed = real.protect_next(*len, |old| change.of_property(old))?;
            if let Some(range) = changed.clone() {
                flush(real, range);
            }
            changed.map_or(Answer::Nothing, Answer::Changed)
        }
    }))
}

fn flush(real: &CursorMut<'_>, range: Range<Vaddr>) {
    let flusher = real.flusher();
    flusher.issue_tlb_flush(TlbFlushOp::Range(range));
    flusher.dispatch_tlb_flush();
    flusher.sync_tlb_flush();
}

fn leaf_of(item: &MappedItem) -> Option<Leaf> {
    let (paddr, size) = match item {
        MappedItem::MappedRam { frame, .. } => (frame.start_paddr(), PAGE_SIZE),
        MappedItem::MappedHuge { frames, .. } => (frames.start_paddr(), frames.size()),
        MappedItem::MappedIoMem { .. } => return None,
    };
    Some(Leaf {
        level: if size == PAGE_SIZE { 1 } else { 2 },
        paddr,
        prop: number_of(item.prop()).ok()?,
    })
}

/// A space's `map` does not say what it replaced.
fn without_answers(mut ends: Ends) -> Ends {
    for end in &mut ends {
        end.answer = Answer::Nothing;
    }
    ends
}

/// Returns the specification's view of a real table.
fn abstraction(space: &VmSpace) -> Result<Table, Disagreement> {
    let mut table = Table::empty(Geometry {
        page: PAGE_SIZE,
        levels: NR_LEVELS,
        entries: NR_ENTRIES,
        highest_leaf: mmu::highest_leaf_level(),
        managed: (0, USER_END + PAGE_SIZE - 1),
    });
    let mut unknown = None;
    space
        .page_table()
        .visit(&mut |va, level, visited| match visited {
            Visited::Node(_) => {
                table.nodes.insert((level, va));
            }
            Visited::Leaf(paddr, prop) => match number_of(prop) {
                Ok(prop) => {
                    table.leaves.insert(va, Leaf { level, paddr, prop });
                }
                Err(text) => unknown = Some(text),
            },
        });
    match unknown {
        None => Ok(table),
        Some(text) => Err(text),
    }
}
