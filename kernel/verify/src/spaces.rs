//! Address spaces and TLBs beside their specification, on several processors.
//!
//! Random scripts map, replace, unmap and protect pages of two spaces, copy from one
//! to the other and break what they share, load them on three processors, leave them for tasks without a space, hold interrupts off for
//! a while, and access pages; with identifiers of address spaces and without. The
//! simulated TLBs keep every translation as long as they may, and a translation
//! that is kept is used. So an access has to give what the table says, or what it
//! said before while the specification allows the processor to believe that; and
//! never anything else. That no frame is freed while a processor can reach it is
//! the simulated machine's own check.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use model::cursor::{self, Cursor};
use model::tlb::Tlb;
use model::{Geometry, Intent, Leaf, Table};
use nucleus::arch::sim::{Config, Machine};
use nucleus::check::switch_to_kernel_task;
use nucleus::cpu::disable_preempt;
use nucleus::irq::{self, DisabledLocalIrqGuard};
use nucleus::mm::frame::AnyFrameMeta;
use nucleus::mm::tlb::{TableUsers, TlbFlushOp, TlbFlusher};
use nucleus::mm::{
    CachePolicy, Frame, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, USER_END,
    VmIo, VmSpace,
};
use nucleus::{Error, Result as NucleusResult};
use proptest::prelude::*;

use crate::Effort;
use crate::report::Row;
use crate::script::Bench;
use crate::search::Scripts;

const CPUS: usize = 3;
const SPACES: usize = 2;
/// Pages that scripts are about, on both sides of the border of two tables.
const PAGES: usize = 4;
const FIRST: usize = (2 << 20) - 2 * PAGE_SIZE;

/// What can be done, as which processor.
#[derive(Clone, Debug)]
enum Op {
    Activate(usize, usize),
    Deactivate(usize),
    /// A task without a space runs.
    Rest(usize),
    HoldInterrupts(usize),
    TakeInterrupts(usize),
    Map(usize, usize, usize, bool),
    Unmap(usize, usize, (usize, usize), bool),
    Protect(usize, usize, (usize, usize), bool),
    /// Pages of the first space are copied to the second one.
    Fork(usize, (usize, usize), bool),
    /// A page is made writable as a first write does.
    Break(usize, usize, usize),
    Load(usize, usize),
    Store(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let cpu = || 0..CPUS;
    let space = || 0..SPACES;
    let range = || (0..PAGES, 1..=PAGES).prop_map(|(start, len)| (start, len.min(PAGES - start)));
    prop_oneof![
        3 => (cpu(), space()).prop_map(|(cpu, space)| Op::Activate(cpu, space)),
        1 => cpu().prop_map(Op::Deactivate),
        2 => cpu().prop_map(Op::Rest),
        1 => cpu().prop_map(Op::HoldInterrupts),
        2 => cpu().prop_map(Op::TakeInterrupts),
        5 => (cpu(), space(), 0..PAGES, any::<bool>())
            .prop_map(|(cpu, space, page, write)| Op::Map(cpu, space, page, write)),
        3 => (cpu(), space(), range(), any::<bool>())
            .prop_map(|(cpu, space, range, sync)| Op::Unmap(cpu, space, range, sync)),
        2 => (cpu(), space(), range(), any::<bool>())
            .prop_map(|(cpu, space, range, write)| Op::Protect(cpu, space, range, write)),
        2 => (cpu(), range(), any::<bool>())
            .prop_map(|(cpu, range, sync)| Op::Fork(cpu, range, sync)),
        3 => (cpu(), space(), 0..PAGES)
            .prop_map(|(cpu, space, page)| Op::Break(cpu, space, page)),
        5 => (cpu(), 0..PAGES).prop_map(|(cpu, page)| Op::Load(cpu, page)),
        3 => (cpu(), 0..PAGES).prop_map(|(cpu, page)| Op::Store(cpu, page)),
    ]
}

/// What the specification knows of a processor.
#[derive(Default)]
pub(crate) struct Cpu {
    active: Option<usize>,
    /// The space that it left for a task without one.
    rested: Option<usize>,
    tlb: Tlb,
    /// Holds its interrupts off, while there is one.
    pub(crate) irq_off: Option<DisabledLocalIrqGuard>,
}

pub(crate) struct World<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) spaces: Vec<Arc<VmSpace>>,
    pub(crate) tables: Vec<Table>,
    pub(crate) cpus: Vec<Cpu>,
    /// The number that was stored last.
    stores: u64,
}

/// Where in a page numbers are stored; the frame's own address comes before.
const NUMBER: usize = 8;
pub(crate) const READ_ONLY: u8 = 0;
pub(crate) const WRITABLE: u8 = 1;

pub(crate) fn property(write: bool) -> PageProperty {
    let flags = if write { PageFlags::RW } else { PageFlags::R };
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

pub(crate) fn address(page: usize) -> usize {
    FIRST + page * PAGE_SIZE
}

fn geometry() -> Geometry {
    Geometry {
        page: PAGE_SIZE,
        levels: 4,
        entries: 512,
        highest_leaf: 2,
        managed: (0, USER_END - 1),
    }
}

impl<'a> World<'a> {
    fn new(machine: &'a Machine) -> Self {
        let space = |_| Arc::new(VmSpace::new().expect("there is memory at first"));
        Self {
            machine,
            spaces: machine.on(0, || (0..SPACES).map(space).collect()),
            tables: vec![Table::empty(geometry()); SPACES],
            cpus: (0..CPUS).map(|_| Cpu::default()).collect(),
            stores: 0,
        }
    }

    /// Some pages of a space's table were changed: every processor that uses it
    /// may believe in what was mapped there. The one that changed them flushes,
    /// and all do if it waits for them.
    fn changed(
        &mut self,
        by: usize,
        space: usize,
        after: Table,
        (start, len): (usize, usize),
        sync: bool,
    ) {
        // Where nothing was mapped, nothing is flushed.
        let was_mapped = |page: &usize| self.tables[space].leaf_at(address(*page)).is_some();
        let flushed: Vec<_> = (start..start + len).filter(was_mapped).collect();
        self.changed_and_flushed(by, space, after, &flushed, sync);
    }

    /// As [`Self::changed`], where these pages are flushed.
    pub(crate) fn changed_and_flushed(
        &mut self,
        by: usize,
        space: usize,
        after: Table,
        flushed: &[usize],
        sync: bool,
    ) {
        let before = std::mem::replace(&mut self.tables[space], after);
        for (number, cpu) in self.cpus.iter_mut().enumerate() {
            if cpu.active != Some(space) {
                continue;
            }
            cpu.tlb = cpu.tlb.after_change(&before, &self.tables[space]);
            if number == by || sync {
                for page in flushed {
                    let range = address(*page)..address(page + 1);
                    cpu.tlb = cpu.tlb.after_flush(&range);
                }
            }
        }
    }

    /// A processor that takes interrupts does so when it begins to run.
    pub(crate) fn runs(&mut self, cpu: usize) {
        if self.cpus[cpu].irq_off.is_none() {
            self.cpus[cpu].tlb = Tlb::default();
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Activate(cpu, space) => {
                self.runs(cpu);
                self.machine.on(cpu, || self.spaces[space].activate());
                self.cpus[cpu].rested = None;
                if self.cpus[cpu].active.replace(space) != Some(space) {
                    // What was unmapped meanwhile is known; what was kept under the
                    // space's identifier is good.
                    self.cpus[cpu].tlb = self.cpus[cpu].tlb.after_flush_of_all();
                }
            }
            Op::Deactivate(cpu) => {
                self.runs(cpu);
                self.machine.on(cpu, VmSpace::deactivate_current);
                (self.cpus[cpu].active, self.cpus[cpu].rested) = (None, None);
                self.cpus[cpu].tlb = self.cpus[cpu].tlb.after_flush_of_all();
            }
            Op::Rest(cpu) => {
                self.runs(cpu);
                self.machine.on(cpu, switch_to_kernel_task);
                if let Some(space) = self.cpus[cpu].active.take() {
                    self.cpus[cpu].rested = Some(space);
                }
                // It uses nothing that it may still have.
                self.cpus[cpu].tlb = self.cpus[cpu].tlb.after_flush_of_all();
                self.refuses_access(cpu)?;
            }
            Op::HoldInterrupts(cpu) => {
                self.runs(cpu);
                let guard = self.machine.on(cpu, irq::disable_local);
                // One at a time: the guard before goes after this one came.
                let before = self.cpus[cpu].irq_off.replace(guard);
                self.machine.on(cpu, || drop(before));
            }
            Op::TakeInterrupts(cpu) => {
                let guard = self.cpus[cpu].irq_off.take();
                self.machine.on(cpu, || drop(guard));
                self.runs(cpu);
            }
            Op::Map(cpu, space, page, write) => self.map(cpu, space, page, write)?,
            Op::Unmap(cpu, space, range, sync) => self.unmap(cpu, space, range, sync)?,
            Op::Protect(cpu, space, range, write) => self.protect(cpu, space, range, write)?,
            Op::Fork(cpu, range, sync) => self.fork(cpu, range, sync)?,
            Op::Break(cpu, space, page) => self.break_sharing(cpu, space, page)?,
            Op::Load(cpu, page) => self.load(cpu, page)?,
            Op::Store(cpu, page) => self.store(cpu, page)?,
        }
        self.compare()?;
        self.compare_counts()
    }

    /// A processor whose task has no space must not access that of the one before.
    fn refuses_access(&self, cpu: usize) -> Result<(), String> {
        let Some(space) = self.cpus[cpu].rested else {
            return Ok(());
        };
        let reader = |space: &VmSpace| space.reader(address(0), PAGE_SIZE).is_ok();
        match self.machine.on(cpu, || reader(&self.spaces[space])) {
            true => Err("a lazy processor may read user memory".into()),
            false => Ok(()),
        }
    }

    /// Opens a cursor of the specification.
    pub(crate) fn open(
        &self,
        space: usize,
        (start, len): (usize, usize),
    ) -> Result<(Table, Cursor), String> {
        let range = address(start)..address(start + len);
        cursor::open(&self.tables[space], &range, Intent::Change)
            .map_err(|why| format!("the specification refuses: {why:?}"))
    }

    fn map(&mut self, cpu: usize, space: usize, page: usize, write: bool) -> Result<(), String> {
        self.runs(cpu);
        let target = Arc::clone(&self.spaces[space]);
        let paddr = self.machine.on(cpu, || -> NucleusResult<usize> {
            let frame: UFrame = FrameAllocOptions::new().alloc_frame()?.into();
            let paddr = frame.start_paddr();
            // Which frame it is, for whoever reads it.
            frame.write_val(0, &paddr)?;
            let guard = disable_preempt();
            let range = address(page)..address(page + 1);
            target
                .cursor_mut(&guard, &range)?
                .map(frame, property(write))?;
            Ok(paddr)
        });
        let paddr = paddr.map_err(|why| format!("it is not mapped: {why:?}"))?;
        let (table, cursor) = self.open(space, (page, 1))?;
        let prop = if write { WRITABLE } else { READ_ONLY };
        let leaf = Leaf {
            level: 1,
            paddr,
            prop,
        };
        let ends = cursor::map(&table, &cursor, leaf).map_err(|why| format!("{why:?}"))?;
        self.changed(cpu, space, ends[0].table.clone(), (page, 1), false);
        Ok(())
    }

    pub(crate) fn unmap(
        &mut self,
        cpu: usize,
        space: usize,
        (start, len): (usize, usize),
        sync: bool,
    ) -> Result<(), String> {
        self.runs(cpu);
        // Whoever waits for a processor that takes no interrupts waits for ever.
        let sync = sync && self.all_answer();
        let target = Arc::clone(&self.spaces[space]);
        let real = self.machine.on(cpu, || -> NucleusResult<usize> {
            let guard = disable_preempt();
            let range = address(start)..address(start + len);
            let mut cursor = target.cursor_mut(&guard, &range)?;
            let count = cursor.unmap(len * PAGE_SIZE)?;
            if sync {
                cursor.flusher().sync_tlb_flush();
            }
            Ok(count)
        });
        let (table, cursor) = self.open(space, (start, len))?;
        let ends = cursor::unmap(&table, &cursor, len * PAGE_SIZE, |_| true)
            .map_err(|why| format!("{why:?}"))?;
        let wanted = cursor::Answer::Count(real.unwrap_or(usize::MAX));
        if ends[0].answer != wanted {
            return Err(format!("it said {real:?} and not {:?}", ends[0].answer));
        }
        self.changed(cpu, space, ends[0].table.clone(), (start, len), sync);
        Ok(())
    }

    fn protect(
        &mut self,
        cpu: usize,
        space: usize,
        (start, len): (usize, usize),
        write: bool,
    ) -> Result<(), String> {
        self.runs(cpu);
        let target = Arc::clone(&self.spaces[space]);
        let real = self.machine.on(cpu, || -> NucleusResult<usize> {
            let guard = disable_preempt();
            let range = address(start)..address(start + len);
            let mut cursor = target.cursor_mut(&guard, &range)?;
            let count = cursor.protect(len * PAGE_SIZE, |old| PageProperty {
                flags: property(write).flags | (old.flags & !PageFlags::RW),
                ..old
            })?;
            cursor.flusher().issue_tlb_flush(TlbFlushOp::Range(range));
            Ok(count)
        });
        let (table, cursor) = self.open(space, (start, len))?;
        let prop = if write { WRITABLE } else { READ_ONLY };
        let ends = cursor::protect(&table, &cursor, len * PAGE_SIZE, |_| prop)
            .map_err(|why| format!("{why:?}"))?;
        let wanted = cursor::Answer::Count(real.unwrap_or(usize::MAX));
        if ends[0].answer != wanted {
            return Err(format!("it said {real:?} and not {:?}", ends[0].answer));
        }
        self.changed(cpu, space, ends[0].table.clone(), (start, len), false);
        Ok(())
    }

    /// Returns the frames that a processor may find at a page.
    fn believed(&self, cpu: usize, page: usize, must_write: bool) -> (BTreeSet<usize>, bool) {
        let Cpu { active, tlb, .. } = &self.cpus[cpu];
        let va = address(page);
        let allows = |prop: u8| !must_write || prop == WRITABLE;
        let now = active.and_then(|space| self.tables[space].translate(va));
        let now = now.filter(|(_, prop)| allows(*prop));
        let stale = tlb
            .stale
            .iter()
            .filter(|(start, end, leaf)| (*start..*end).contains(&va) && allows(leaf.prop));
        let mut frames: BTreeSet<_> = stale
            .map(|(start, _, leaf)| leaf.paddr + va - start)
            .collect();
        frames.extend(now.map(|(paddr, _)| paddr));
        // Whether an access may fault: a stale translation may as well be gone.
        (frames, now.is_none())
    }

    fn load(&mut self, cpu: usize, page: usize) -> Result<(), String> {
        self.runs(cpu);
        let Some(space) = self.cpus[cpu].active else {
            return Ok(());
        };
        let space = Arc::clone(&self.spaces[space]);
        let found = self.machine.on(cpu, || -> NucleusResult<usize> {
            space.reader(address(page), PAGE_SIZE)?.read_val()
        });
        self.check_access(found, self.believed(cpu, page, false))
    }

    /// Stores a number that was never stored before, and looks where it went.
    fn store(&mut self, cpu: usize, page: usize) -> Result<(), String> {
        self.runs(cpu);
        let Some(space) = self.cpus[cpu].active else {
            return Ok(());
        };
        self.stores += 1;
        let (space, number) = (Arc::clone(&self.spaces[space]), self.stores);
        let believed = self.believed(cpu, page, true);
        let found = self.machine.on(cpu, || -> NucleusResult<usize> {
            let mut writer = space.writer(address(page) + NUMBER, PAGE_SIZE - NUMBER)?;
            writer.write_val(&number)?;
            let holds_it = |paddr: &&usize| {
                let frame = Frame::<dyn AnyFrameMeta>::from_in_use(**paddr);
                let frame = frame.ok().and_then(|frame| UFrame::try_from(frame).ok());
                frame.is_some_and(|frame| frame.read_val(NUMBER) == Ok(number))
            };
            Ok(believed.0.iter().find(holds_it).copied().unwrap_or(0))
        });
        self.check_access(found, believed)
    }

    fn check_access(
        &self,
        found: NucleusResult<usize>,
        (frames, may_fault): (BTreeSet<usize>, bool),
    ) -> Result<(), String> {
        match found {
            Ok(frame) if frames.contains(&frame) => Ok(()),
            Err(Error::PageFault) if may_fault => Ok(()),
            found => Err(format!(
                "it found {found:x?}; allowed are {frames:x?}{}",
                if may_fault { " and a fault" } else { "" }
            )),
        }
    }

    /// No processor believes what it must not.
    fn compare(&self) -> Result<(), String> {
        for number in 0..CPUS {
            for (va, paddr) in self.machine.stale_translations(number) {
                let tlb = &self.cpus[number].tlb;
                let is_allowed =
                    |(start, _, leaf): &(usize, usize, Leaf)| *start == va && leaf.paddr == paddr;
                if !tlb.stale.iter().any(is_allowed) {
                    return Err(format!(
                        "processor {number} still finds {paddr:#x} at {va:#x}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Leaves everything, so that all frames come back.
    fn end(mut self) {
        for cpu in 0..CPUS {
            let guard = self.cpus[cpu].irq_off.take();
            self.machine.on(cpu, || {
                drop(guard);
                VmSpace::deactivate_current();
            });
        }
        self.machine.on(0, || drop(self.spaces));
        // Frames that were kept for others are freed by whoever kept them, the
        // next time that it looks.
        for cpu in 0..CPUS {
            self.machine.on(cpu, || {
                let (users, guard) = (TableUsers::new(), disable_preempt());
                TlbFlusher::new(&users, &guard).sync_tlb_flush();
            });
        }
    }
}

/// Runs so many random scripts; says how many operations they had.
///
/// # Errors
///
/// The shortest script found on which the two disagree, and how.
pub fn search(scripts: Scripts, has_identifiers: bool) -> Result<u64, String> {
    let bench = Bench::of(Config {
        ram: 4 << 20,
        cpus: CPUS,
        checked: true,
        identifiers: has_identifiers,
        ..Config::default()
    });
    let strategy = proptest::collection::vec(op(), 1..60);
    let print = |ops: &Vec<Op>| format!("{ops:?}");
    scripts.search(&strategy, bench, print, |bench, ops| {
        bench.run_outside(|machine| {
            // Of no use where something is wrong: its parts belong to processors.
            let mut world = ManuallyDrop::new(World::new(machine));
            ops.iter()
                .try_for_each(|op| world.apply(op).map_err(|text| format!("{op:?}: {text}")))?;
            ManuallyDrop::into_inner(world).end();
            Ok(())
        })?;
        Ok(ops.len() as u64)
    })
}

/// Runs random scripts.
#[must_use]
pub fn run(effort: Effort) -> Vec<Row> {
    let cases = match effort {
        Effort::Short => 10_000,
        Effort::Deep => 1_000_000,
    };
    let scripts = Scripts { cases, seed: 4 };
    [
        (true, "random scripts, 3 processors"),
        (false, "random scripts, 3 processors without identifiers"),
    ]
    .map(|(has_identifiers, checker)| {
        let found = search(scripts, has_identifiers);
        scripts.row(
            "no processor uses a translation that it was told to flush",
            checker,
            "operations",
            found,
        )
    })
    .into()
}
