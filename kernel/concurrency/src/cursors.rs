//! Cursors of several processors on one tiny table.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use model::{Intent, Op, Table};
use nucleus::arch::sim::interleave::in_parallel;
use nucleus::arch::sim::{Config, Machine};
use nucleus::check::Subject;
use nucleus::cpu::disable_preempt;
use nucleus::mm::frame::AnyFrameMeta;
use nucleus::mm::page_table::tiny::TinyItem;
use nucleus::mm::{Frame, FrameAllocOptions, PAGE_SIZE, Segment};
use shuttle::rand::{Rng, thread_rng};
use verify::pair::{NR_PROPERTIES, Real, Said, abstraction, geometry, property, say};

use crate::serial::{Section, Step, repeat};

/// A table of three levels, with so many entries a node, and its history.
struct Stage<const ENTRIES: usize> {
    machine: Machine,
    subject: Subject<ENTRIES>,
    /// How many cursors have each page.
    owners: Vec<AtomicUsize>,
    clock: AtomicUsize,
    sections: Mutex<Vec<Section>>,
    /// A handle of each item, mapped or not.
    items: Mutex<Vec<Segment<()>>>,
}

impl<const ENTRIES: usize> Stage<ENTRIES> {
    const PAGES: usize = ENTRIES.pow(3);

    fn new(cpus: usize) -> Self {
        let machine = Machine::new(Config {
            ram: 3 << 20,
            cpus,
            checked: true,
            identifiers: true,
            ..Config::default()
        });
        let subject = machine.on(0, || Subject::new().expect("there is memory"));
        Self {
            machine,
            subject,
            owners: (0..Self::PAGES).map(|_| AtomicUsize::new(0)).collect(),
            clock: AtomicUsize::new(0),
            sections: Mutex::new(Vec::new()),
            items: Mutex::new(Vec::new()),
        }
    }

    /// Returns the time, which is another one each time. No place to switch.
    fn now(&self) -> usize {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Makes an item, and keeps a handle of it.
    fn item(&self, level: u8, prop: u8) -> TinyItem {
        let pages = if level == 1 { 1 } else { ENTRIES };
        let frames = FrameAllocOptions::new()
            .zeroed(false)
            .align(pages * PAGE_SIZE)
            .alloc_segment(pages)
            .expect("there is memory");
        let handle = frames.clone();
        self.items
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(handle);
        let prop = property(prop);
        TinyItem { frames, prop }
    }

    /// Opens a cursor on pages and has it do what `next` says, which is told where
    /// it stands.
    fn section(
        &self,
        (intent, pages): (Intent, Range<usize>),
        mut next: impl FnMut(Range<usize>) -> Option<Op>,
    ) {
        let range = pages.start * PAGE_SIZE..pages.end * PAGE_SIZE;
        let guard = disable_preempt();
        let invoked = self.now();
        let cursor = match intent {
            Intent::Read => self.subject.cursor(&guard, &range).map(Real::Read),
            Intent::Change => self.subject.cursor_mut(&guard, &range).map(Real::Change),
        };
        let mut cursor = cursor.expect("there is memory, and the range is legal");
        let opened = self.now();
        for owner in &self.owners[pages.clone()] {
            let before = owner.fetch_add(1, Ordering::SeqCst);
            assert_eq!(before, 0, "two cursors have one page");
        }
        let mut steps = Vec::new();
        loop {
            let at = cursor.cursor().virt_addr();
            let rest = at / PAGE_SIZE..pages.end;
            let Some(op) = next(rest) else {
                break;
            };
            let item = match op {
                Op::Map(level, prop) => Some(self.item(level, prop)),
                _ => None,
            };
            let paddr = item.as_ref().map_or(0, |item| item.frames.start_paddr());
            let said = say(&mut cursor, &op, item).expect("the answer makes sense");
            let Said::Answer(answer) = said else {
                panic!("{op} is legal, and there is memory, but it said {said:?}");
            };
            let at = cursor.cursor().virt_addr();
            steps.push(Step {
                op,
                paddr,
                answer,
                at,
            });
        }
        for owner in &self.owners[pages] {
            owner.fetch_sub(1, Ordering::SeqCst);
        }
        let closed = self.now();
        let section = Section {
            intent,
            range,
            invoked,
            opened,
            closed,
            steps,
        };
        self.sections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(section);
        drop(cursor);
    }

    /// As [`Self::section`], for given operations.
    fn script(&self, intent: Intent, pages: Range<usize>, ops: &[Op]) {
        let mut ops = ops.iter();
        self.section((intent, pages), |_| ops.next().cloned());
    }

    /// As [`Self::section`], for some operations of some cursors, at random.
    fn at_random(&self) {
        for _ in 0..thread_rng().gen_range(1..=2) {
            let intent = match thread_rng().gen_range(0..4) {
                0 => Intent::Read,
                _ => Intent::Change,
            };
            let mut left = thread_rng().gen_range(1..=3);
            self.section((intent, self.some_pages()), |rest| {
                left -= 1;
                (left >= 0).then(|| some_op::<ENTRIES>(intent, &rest))
            });
        }
    }

    /// Returns a range: often one that is a node's, since there is the difficulty.
    fn some_pages(&self) -> Range<usize> {
        let size = ENTRIES.pow(thread_rng().gen_range(0..=3));
        let start = thread_rng().gen_range(0..Self::PAGES) / size * size;
        match thread_rng().gen_range(0..3) {
            0 => start..thread_rng().gen_range(start + 1..=Self::PAGES),
            _ => start..start + size,
        }
    }

    /// Compares the end with what the specification says, and counts references.
    fn check(self) {
        let Self {
            machine,
            subject,
            sections,
            items,
            ..
        } = self;
        let mut sections = sections
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let items = items.into_inner().unwrap_or_else(PoisonError::into_inner);
        for cpu in 0..machine.nr_cpus() {
            // What waits for readers is looked at when a cursor ends.
            machine.on(cpu, || {
                let guard = disable_preempt();
                drop(subject.cursor(&guard, &(0..PAGE_SIZE)));
            });
        }
        machine.on(0, || {
            subject.table().validate();
            let table = abstraction(&subject).expect("the table makes sense");
            let states = repeat(Table::empty(geometry(ENTRIES)), &mut sections);
            assert!(
                states.contains(&table),
                "it ended as {table:x?}\nand not as {states:x?}\nafter {sections:x?}"
            );
            check_counts(&table, &items);
            drop(items);
            drop(subject);
        });
    }
}

/// Checks that each frame has a reference for its handle, and one for each mapping.
fn check_counts(table: &Table, items: &[Segment<()>]) {
    let frames = |range: Range<usize>| range.step_by(PAGE_SIZE);
    let mapped: Vec<_> = table
        .leaves
        .iter()
        .flat_map(|(va, leaf)| frames(leaf.paddr..leaf.paddr + table.extent(*va).len()))
        .collect();
    for paddr in items.iter().flat_map(|item| frames(item.paddr_range())) {
        let frame = Frame::<dyn AnyFrameMeta>::from_in_use(paddr).expect("it has a handle");
        let mappings = mapped.iter().filter(|frame| **frame == paddr).count();
        let count = frame.reference_count() as usize;
        assert_eq!(count, 2 + mappings, "references of {paddr:#x}");
    }
}

/// Returns an operation that is legal where a cursor stands with the rest of its
/// pages before it.
fn some_op<const ENTRIES: usize>(intent: Intent, rest: &Range<usize>) -> Op {
    let mut rng = thread_rng();
    if rest.is_empty() {
        return Op::Find(0);
    }
    let pages = match rng.gen_range(0..2) {
        0 => rest.len(),
        _ => rng.gen_range(1..=rest.len()),
    };
    let prop = rng.gen_range(0..NR_PROPERTIES);
    let is_huge = rest.start.is_multiple_of(ENTRIES) && rest.len() >= ENTRIES;
    let choice = match intent {
        Intent::Read => rng.gen_range(0..3),
        Intent::Change => rng.gen_range(0..10),
    };
    match choice {
        0 => Op::Query,
        1 => Op::Find(pages),
        2 => Op::Jump(rng.gen_range(rest.clone())),
        3..=5 => Op::Map(
            if is_huge && rng.gen_range(0..2) == 0 {
                2
            } else {
                1
            },
            prop,
        ),
        6..=7 => Op::Take(pages),
        8 => Op::Protect(pages, prop),
        _ => Op::ProtectAll(pages, prop),
    }
}

fn random<const ENTRIES: usize>(cpus: usize) {
    let stage = Stage::<ENTRIES>::new(cpus);
    let body = || stage.at_random();
    in_parallel(
        &stage.machine,
        (0..cpus).map(|_| Box::new(body) as _).collect(),
    );
    stage.check();
}

pub(crate) fn two() {
    random::<2>(2);
}

pub(crate) fn three() {
    random::<2>(3);
}

pub(crate) fn wide() {
    random::<4>(3);
}

/// One takes all out while another is on its way down.
pub(crate) fn stray() {
    let stage = Stage::<2>::new(2);
    let map = [Op::Map(1, 1), Op::Map(1, 2)];
    stage
        .machine
        .on(0, || stage.script(Intent::Change, 0..2, &map));
    in_parallel(
        &stage.machine,
        vec![
            Box::new(|| stage.script(Intent::Change, 0..8, &[Op::Take(8)])),
            Box::new(|| stage.script(Intent::Change, 0..1, &[Op::Map(1, 3), Op::Find(0)])),
        ],
    );
    stage.check();
}

/// Two take things out, one in the other's range, while a third looks.
pub(crate) fn strays() {
    let stage = Stage::<2>::new(3);
    let map = [Op::Map(1, 1), Op::Map(1, 2), Op::Map(1, 3)];
    stage
        .machine
        .on(0, || stage.script(Intent::Change, 0..4, &map));
    in_parallel(
        &stage.machine,
        vec![
            Box::new(|| {
                stage.script(
                    Intent::Change,
                    0..8,
                    &[Op::Take(8), Op::Jump(0), Op::Map(1, 4)],
                )
            }),
            Box::new(|| {
                stage.script(
                    Intent::Change,
                    0..4,
                    &[Op::Take(4), Op::Jump(0), Op::Map(2, 5)],
                )
            }),
            Box::new(|| {
                stage.script(Intent::Change, 0..1, &[Op::Map(1, 6)]);
                stage.script(Intent::Read, 1..2, &[Op::Query]);
            }),
        ],
    );
    stage.check();
}

/// One takes all out while another walks without locks.
pub(crate) fn walk() {
    let stage = Stage::<2>::new(2);
    stage
        .machine
        .on(0, || stage.script(Intent::Change, 0..1, &[Op::Map(1, 1)]));
    let walk = || {
        let guard = disable_preempt();
        let found = stage.subject.table().page_walk(&guard, 0);
        let items = stage.items.lock().unwrap_or_else(PoisonError::into_inner);
        let mapped = items[0].start_paddr();
        assert!(found.is_none_or(|(paddr, _)| paddr == mapped));
    };
    in_parallel(
        &stage.machine,
        vec![
            Box::new(|| stage.script(Intent::Change, 0..8, &[Op::Take(8)])),
            Box::new(walk),
        ],
    );
    stage.check();
}
