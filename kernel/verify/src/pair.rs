//! The real page table beside its specification.
//!
//! A [`Pair`] applies operations to both and compares everything that can be
//! seen: what the operation says, where the cursor stands, every mapping, every
//! node and its number of children, every reference count, the number of free
//! frames.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use model::cursor::{self, Answer, Ends, Fragment};
use model::{Cursor, Geometry, Intent, Leaf, Op, Property, Refusal, Table};
use nucleus::check::{Driver, Subject, Taken};
use nucleus::cpu::{DisabledPreemptGuard, disable_preempt};
use nucleus::mm::frame::{AnyFrameMeta, frame_counts};
use nucleus::mm::page_table::tiny::{TinyItem, TinyPtConfig};
use nucleus::mm::page_table::{self, PageTableError, Visited};
use nucleus::mm::{
    CachePolicy, Frame, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, PrivilegedPageFlags,
    Segment,
};

/// What does not agree, in words.
pub type Disagreement = String;

/// Returns the shape of the tables with so many entries a node.
pub fn geometry(entries: usize) -> Geometry {
    Geometry {
        page: PAGE_SIZE,
        levels: 3,
        entries,
        highest_leaf: 2,
        managed: (0, PAGE_SIZE * entries.pow(3) - 1),
    }
}

/// Returns the property of a number.
pub fn property(number: Property) -> PageProperty {
    const CACHES: [CachePolicy; 5] = [
        CachePolicy::Writeback,
        CachePolicy::Writethrough,
        CachePolicy::WriteCombining,
        CachePolicy::Uncacheable,
        CachePolicy::WriteProtected,
    ];
    PageProperty {
        flags: PageFlags::from_bits_truncate(u16::from(number % 8)),
        cache: CACHES[usize::from(number / 8) % CACHES.len()],
        priv_flags: PrivilegedPageFlags::USER,
    }
}

/// How many properties there are to choose from.
pub const NR_PROPERTIES: Property = 40;

fn number_of(prop: PageProperty) -> Result<Property, Disagreement> {
    (0..NR_PROPERTIES)
        .find(|number| property(*number) == prop)
        .ok_or_else(|| format!("nobody mapped anything with {prop:?}"))
}

/// A table and its specification.
#[derive(Debug)]
pub struct Pair<const ENTRIES: usize> {
    /// The table.
    pub subject: Subject<ENTRIES>,
    /// Its specification.
    pub book: Book,
}

/// The specification's side, and what is needed to compare.
#[derive(Debug)]
pub struct Book {
    /// The table as it should be.
    pub model: Table,
    /// A handle of each item that was mapped.
    items: Vec<Segment<()>>,
    free_at_first: usize,
    /// Frames that were taken away to make memory run out.
    pub hogged: usize,
    /// Whether nothing is compared at the moment.
    is_trusting: bool,
}

/// The real cursor.
#[derive(Debug)]
pub enum Real<'a, const ENTRIES: usize> {
    /// One that only looks.
    Read(page_table::Cursor<'a, TinyPtConfig<ENTRIES>>),
    /// One that may change mappings.
    Change(Driver<'a, ENTRIES>),
}

/// What the real code said to an operation.
#[derive(Debug)]
pub enum Said {
    /// It said so.
    Answer(Answer),
    /// The input is bad.
    Refused,
    /// A rule of the caller is broken.
    Panicked,
    /// There was no memory for it.
    NoMemory,
}

/// What the specification says to an operation.
enum Wanted {
    Ends(Ends),
    Refused,
    Panicked,
}

/// What came of opening a cursor.
#[derive(Debug)]
pub enum Opened<'a, const ENTRIES: usize> {
    /// The real one, and the specification's.
    Cursors(Real<'a, ENTRIES>, Cursor),
    /// Both say that the range is bad.
    Refused,
    /// There was no memory for it.
    NoMemory,
}

/// Whether an operation was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was, in one of the ways that are allowed.
    Yes,
    /// There was no memory for it.
    NoMemory,
}

impl<const ENTRIES: usize> Pair<ENTRIES> {
    /// Makes an empty table, on the machine that the thread is a processor of.
    pub fn empty() -> Self {
        let subject = Subject::new().expect("there is memory at first");
        let book = Book {
            model: Table::empty(geometry(ENTRIES)),
            items: Vec::new(),
            free_at_first: frame_counts().free,
            hogged: 0,
            is_trusting: false,
        };
        Self { subject, book }
    }

    /// Begins again with an empty table; what was mapped is freed.
    ///
    /// # Panics
    ///
    /// Panics when there is no memory for its root.
    pub fn start_over(&mut self) {
        self.subject = Subject::new().expect("there is memory, since nothing is mapped");
        self.book.model = Table::empty(geometry(ENTRIES));
        self.book.items.clear();
    }

    /// Runs a script; says at which operation the two first disagree.
    ///
    /// # Errors
    ///
    /// The index of the operation, and what does not agree.
    pub fn run(&mut self, script: &[Op]) -> Result<(), (usize, Disagreement)> {
        self.run_trusting(script, 0)
    }

    /// As [`Self::run`], but compares nothing after the first operations, of which
    /// somebody else takes care.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_trusting(
        &mut self,
        script: &[Op],
        trusted: usize,
    ) -> Result<(), (usize, Disagreement)> {
        let Self { subject, book } = self;
        let mut rest = script.iter().enumerate().peekable();
        while let Some((step, op)) = rest.next() {
            let Op::Open(intent, pages) = op else {
                continue;
            };
            book.is_trusting = step < trusted;
            let guard = disable_preempt();
            let opened = book.open(subject, &guard, (*intent, pages));
            let Opened::Cursors(mut real, mut cursor) = opened.map_err(|text| (step, text))? else {
                continue;
            };
            while let Some((step, op)) = rest.next_if(|(_, op)| !matches!(op, Op::Open(..))) {
                if *op == Op::Close {
                    break;
                }
                if *intent == Intent::Read && is_change(op) {
                    continue;
                }
                book.is_trusting = step < trusted;
                let item = book.item::<ENTRIES>(op);
                if item.is_none() && matches!(op, Op::Map(..)) {
                    return Err((step, "there is no memory for an item".to_owned()));
                }
                let done = book.step((subject, &mut real), &mut cursor, (op, item));
                done.map_err(|text| (step, text))?;
            }
            drop(real);
            book.compare(subject).map_err(|text| (step, text))?;
        }
        Ok(())
    }
}

impl Book {
    /// Opens both cursors.
    pub fn open<'a, const ENTRIES: usize>(
        &mut self,
        subject: &'a Subject<ENTRIES>,
        guard: &'a DisabledPreemptGuard,
        (intent, pages): (Intent, &Range<usize>),
    ) -> Result<Opened<'a, ENTRIES>, Disagreement> {
        let range = pages.start.wrapping_mul(PAGE_SIZE)..pages.end.wrapping_mul(PAGE_SIZE);
        let real = match intent {
            Intent::Read => subject.cursor(guard, &range).map(Real::Read),
            Intent::Change => subject.cursor_mut(guard, &range).map(Real::Change),
        };
        let opened = match (real, cursor::open(&self.model, &range, intent)) {
            (Ok(real), Ok((table, cursor))) => {
                self.model = table;
                Opened::Cursors(real, cursor)
            }
            (Err(PageTableError::NoMemory), Ok(_)) => {
                return self.lost_nothing(subject).map(|()| Opened::NoMemory);
            }
            (Err(PageTableError::InvalidVaddrRange(..)), Err(Refusal::Range))
            | (Err(PageTableError::UnalignedVaddr), Err(Refusal::Unaligned)) => Opened::Refused,
            (real, wanted) => {
                return Err(format!(
                    "opening {range:#x?} gave {:?} and not {wanted:?}",
                    real.map(|_| "a cursor")
                ));
            }
        };
        self.compare(subject)?;
        Ok(opened)
    }

    /// Applies an operation to both; one that maps maps the item.
    pub fn step<const ENTRIES: usize>(
        &mut self,
        (subject, real): (&Subject<ENTRIES>, &mut Real<'_, ENTRIES>),
        cursor: &mut Cursor,
        (op, item): (&Op, Option<TinyItem>),
    ) -> Result<Done, Disagreement> {
        if let Op::Copy(pages, prop) = *op {
            return self.copy((subject, real), cursor, (pages, prop));
        }
        let paddr = item.as_ref().map_or(0, |item| item.frames.start_paddr());
        let wanted = self.wanted(cursor, op, paddr);
        let said = catch_unwind(AssertUnwindSafe(|| say(real, op, item)));
        let said = said.unwrap_or(Ok(Said::Panicked))?;
        let at = real.cursor().virt_addr();
        if let (true, Wanted::Ends(ends)) = (self.is_trusting, &wanted) {
            self.model = ends[0].table.clone();
            cursor.va = at;
            return Ok(Done::Yes);
        }
        let table = abstraction(subject)?;
        match (said, wanted) {
            (Said::Answer(answer), Wanted::Ends(ends)) => {
                let is_it = |end: &&cursor::End| {
                    end.answer == answer && end.at.contains(&at) && end.table == table
                };
                let Some(end) = ends.iter().find(is_it) else {
                    return Err(format!(
                        "it said {answer:x?} at {at:#x} with {table:x?}\nallowed: {ends:x?}"
                    ));
                };
                self.model = end.table.clone();
                cursor.va = at;
                self.compare_frames()?;
                Ok(Done::Yes)
            }
            (Said::NoMemory, Wanted::Ends(_)) => {
                self.lost_nothing(subject)?;
                match at == cursor.va {
                    true => Ok(Done::NoMemory),
                    false => Err(format!("without memory, the cursor moved to {at:#x}")),
                }
            }
            (Said::Refused, Wanted::Refused) | (Said::Panicked, Wanted::Panicked)
                if at == cursor.va =>
            {
                self.compare(subject)?;
                Ok(Done::Yes)
            }
            (said, _) => Err(format!(
                "it said {said:x?} at {at:#x}, which is not allowed"
            )),
        }
    }

    /// Makes the item that an operation maps, if it maps one, and keeps a handle
    /// of it as long as it is mapped. Without memory, there is none.
    pub fn item<const ENTRIES: usize>(&mut self, op: &Op) -> Option<TinyItem> {
        let Op::Map(level, prop) = *op else {
            return None;
        };
        let leaves: BTreeSet<_> = self.model.leaves.values().map(|leaf| leaf.paddr).collect();
        self.items
            .retain(|item| leaves.range(item.paddr_range()).next().is_some());
        let pages = if level == 1 { 1 } else { ENTRIES };
        let frames: Segment<()> = FrameAllocOptions::new()
            .zeroed(false)
            .align(pages * PAGE_SIZE)
            .alloc_segment(pages)
            .ok()?;
        self.items.push(frames.clone());
        Some(TinyItem {
            frames,
            prop: property(prop),
        })
    }

    /// Says what the specification allows.
    fn wanted(&self, cursor: &Cursor, op: &Op, paddr: usize) -> Wanted {
        let table = &self.model;
        let ends = match *op {
            Op::Query => match cursor::query(table, cursor) {
                Ok(ends) => Ok(ends),
                Err(_) => return Wanted::Refused,
            },
            Op::Find(pages) => cursor::find_next(table, cursor, pages * PAGE_SIZE),
            Op::Jump(page) => match cursor::jump(table, cursor, page * PAGE_SIZE) {
                Ok(Ok(ends)) => Ok(ends),
                Ok(Err(_)) => return Wanted::Refused,
                Err(misuse) => Err(misuse),
            },
            Op::Map(level, prop) => cursor::map(table, cursor, Leaf { level, paddr, prop }),
            Op::Take(pages) => cursor::take_next(table, cursor, pages * PAGE_SIZE),
            Op::Protect(pages, prop) => {
                cursor::protect_next(table, cursor, pages * PAGE_SIZE, |_| prop)
            }
            Op::ProtectAll(pages, prop) => {
                cursor::protect(table, cursor, pages * PAGE_SIZE, |_| prop)
            }
            Op::Split(pages) => cursor::split_edges(table, cursor, pages * PAGE_SIZE),
            Op::Open(..) | Op::Close | Op::Copy(..) | Op::Remember(_) => {
                cursor::find_next(table, cursor, 0)
            }
        };
        ends.map_or(Wanted::Panicked, Wanted::Ends)
    }

    /// Compares everything.
    pub fn compare<const ENTRIES: usize>(
        &self,
        subject: &Subject<ENTRIES>,
    ) -> Result<(), Disagreement> {
        if self.is_trusting {
            return Ok(());
        }
        let table = abstraction(subject)?;
        if table != self.model {
            return Err(format!(
                "the table is {table:x?}\nand not {:x?}",
                self.model
            ));
        }
        self.compare_frames()
    }

    /// Compares what matters after memory ran out: nodes may be there that need
    /// not be, and leaves may be split, but every address translates as before.
    fn lost_nothing<const ENTRIES: usize>(
        &mut self,
        subject: &Subject<ENTRIES>,
    ) -> Result<(), Disagreement> {
        let table = abstraction(subject)?;
        let (first, last) = table.geometry.managed;
        for va in (first..last).step_by(PAGE_SIZE) {
            if table.translate(va) != self.model.translate(va) {
                return Err(format!("without memory, {va:#x} translates differently"));
            }
        }
        self.model = table;
        self.compare_frames()
    }

    fn compare_frames(&self) -> Result<(), Disagreement> {
        self.compare_frames_with(None)
    }

    /// Compares the frames while there is another table, too.
    pub(crate) fn compare_frames_with(&self, other: Option<&Table>) -> Result<(), Disagreement> {
        let mut mapped = BTreeMap::<_, u32>::new();
        let mut nodes = 0;
        for table in other.into_iter().chain([&self.model]) {
            nodes += table.nodes.len();
            for start in table.leaves.keys() {
                let paddr = table.leaves[start].paddr;
                for offset in (0..table.extent(*start).len()).step_by(PAGE_SIZE) {
                    *mapped.entry(paddr + offset).or_default() += 1;
                }
            }
        }
        // The other one's root.
        nodes += usize::from(other.is_some());
        for paddr in self
            .items
            .iter()
            .flat_map(|item| item.paddr_range().step_by(PAGE_SIZE))
        {
            let handle = Frame::<dyn AnyFrameMeta>::from_in_use(paddr);
            let handle = handle.map_err(|error| format!("frame {paddr:#x} is {error:?}"))?;
            // This handle, the item's, and the mappings.
            let wanted = 2 + mapped.remove(&paddr).unwrap_or(0);
            let count = handle.reference_count();
            if count != wanted {
                return Err(format!(
                    "frame {paddr:#x} has {count} references, not {wanted}"
                ));
            }
        }
        let items: usize = self.items.iter().map(|item| item.size() / PAGE_SIZE).sum();
        let wanted = self.free_at_first - nodes - items - self.hogged;
        let free = frame_counts().free;
        if free != wanted {
            return Err(format!("{free} frames are free, not {wanted}"));
        }
        Ok(())
    }
}

impl<'a, const ENTRIES: usize> Real<'a, ENTRIES> {
    /// Returns what both kinds have.
    pub fn cursor(&self) -> &page_table::Cursor<'a, TinyPtConfig<ENTRIES>> {
        match self {
            Self::Read(cursor) => cursor,
            Self::Change(driver) => driver.cursor(),
        }
    }
}

/// Returns whether a cursor that only looks lacks an operation.
pub fn is_change(op: &Op) -> bool {
    !matches!(op, Op::Query | Op::Find(_) | Op::Jump(_))
}

/// Applies an operation to the real cursor, which has it.
///
/// # Errors
///
/// That the answer makes no sense.
pub fn say<const ENTRIES: usize>(
    real: &mut Real<'_, ENTRIES>,
    op: &Op,
    item: Option<TinyItem>,
) -> Result<Said, Disagreement> {
    let looked = match *op {
        Op::Query => match real.cursor().query() {
            Ok((range, None)) => Answer::Slot(range, None),
            Ok((range, Some(item))) => {
                let level = if item.frames.size() == PAGE_SIZE {
                    1
                } else {
                    2
                };
                let paddr = item.frames.start_paddr();
                let prop = number_of(item.prop)?;
                Answer::Slot(range, Some(Leaf { level, paddr, prop }))
            }
            Err(_) => return Ok(Said::Refused),
        },
        Op::Find(pages) => match real.cursor().find_next(pages * PAGE_SIZE) {
            Some(va) => Answer::At(va),
            None => Answer::Nothing,
        },
        Op::Jump(page) => match real.cursor().jump(page * PAGE_SIZE) {
            Ok(()) => Answer::Nothing,
            Err(_) => return Ok(Said::Refused),
        },
        _ => {
            let Real::Change(driver) = real else {
                return Err(format!("a cursor that only looks has no `{op}`"));
            };
            return match change(driver, op, item) {
                Ok(answer) => Ok(Said::Answer(answer?)),
                Err(PageTableError::NoMemory) => Ok(Said::NoMemory),
                Err(_) => Ok(Said::Refused),
            };
        }
    };
    Ok(Said::Answer(looked))
}

fn change<const ENTRIES: usize>(
    driver: &mut Driver<'_, ENTRIES>,
    op: &Op,
    item: Option<TinyItem>,
) -> Result<Result<Answer, Disagreement>, PageTableError> {
    Ok(match *op {
        Op::Map(..) => match item {
            Some(item) => answer_of(driver.map(item)?),
            None => Ok(Answer::Nothing),
        },
        Op::Take(pages) => answer_of(driver.take_next(pages * PAGE_SIZE)?),
        Op::Protect(pages, prop) => {
            let changed = driver.protect_next(pages * PAGE_SIZE, |_| property(prop))?;
            Ok(changed.map_or(Answer::Nothing, Answer::Changed))
        }
        Op::ProtectAll(pages, prop) => {
            let count = driver.protect_all(pages * PAGE_SIZE, |_| property(prop))?;
            Ok(Answer::Count(count))
        }
        Op::Split(pages) => {
            driver.split_edges(pages * PAGE_SIZE)?;
            Ok(Answer::Nothing)
        }
        Op::Remember(level) if driver.cursor().virt_addr() < driver.cursor().barrier().end => {
            driver.remember(level);
            Ok(Answer::Nothing)
        }
        _ => Ok(Answer::Nothing),
    })
}

fn answer_of(taken: Option<Taken>) -> Result<Answer, Disagreement> {
    Ok(match taken {
        None => Answer::Nothing,
        Some(Taken::Mapped(va, size, paddr, prop)) => {
            let level = if size == PAGE_SIZE { 1 } else { 2 };
            let prop = number_of(prop)?;
            let leaf = Leaf { level, paddr, prop };
            Answer::Taken(Fragment::Mapped { va, leaf })
        }
        Some(Taken::Stray(va, len, mappings)) => {
            Answer::Taken(Fragment::Stray { va, len, mappings })
        }
    })
}

/// Returns the specification's view of a real table.
///
/// # Errors
///
/// What is wrong with it: a count of children, or a property that nobody mapped.
pub fn abstraction<const ENTRIES: usize>(
    subject: &Subject<ENTRIES>,
) -> Result<Table, Disagreement> {
    let mut table = Table::empty(geometry(ENTRIES));
    let mut children = Vec::new();
    let mut unknown = None;
    subject
        .table()
        .visit(&mut |va, level, visited| match visited {
            Visited::Node(count) => {
                table.nodes.insert((level, va));
                children.push(((level, va), count));
            }
            Visited::Leaf(paddr, prop) => match number_of(prop) {
                Ok(prop) => {
                    table.leaves.insert(va, Leaf { level, paddr, prop });
                }
                Err(text) => unknown = Some(text),
            },
        });
    if let Some(text) = unknown {
        return Err(text);
    }
    for (node, count) in children {
        let wanted = table.children(node);
        if usize::from(count) != wanted {
            return Err(format!(
                "{node:x?} counts {count} children, and has {wanted}"
            ));
        }
    }
    Ok(table)
}
