//! Every state of a tiny table, under every operation.
//!
//! The table has three levels of two entries: eight pages, and huge pages of two.
//! A *state* is what the table maps and by which nodes, the cursor's intent, range
//! and place, and the node that the real cursor remembers, which nobody can see.
//! Where a leaf leads makes no difference to any operation, so states are equal
//! that differ in that alone: each leaf leads to the frames of its place.
//!
//! Breadth first from the empty table: each state is built, each operation applied
//! to it in both worlds, and the table that comes out is a new one to begin with.
//! A cursor can be opened on any range, and jump anywhere in it, so all places are
//! reached in each table; that the real one may remember any node of its range is
//! taken for granted, which are more states than can be reached.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use model::cursor::target_level;
use model::{Intent, Leaf, Level, Op, Property, Table};

use crate::Effort;
use crate::pair::{Pair, geometry, is_change};
use crate::report::{Row, grouped};
use crate::script::{Bench, describe};

/// Entries of a node.
const ENTRIES: usize = 2;
/// Pages of the table.
const PAGES: usize = 8;
const PAGE: usize = 4096;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Properties that leaves may have.
    pub properties: Property,
}

/// How far an exploration came.
#[derive(Debug, Default)]
struct Counts {
    states: AtomicU64,
    steps: AtomicU64,
}

/// A place in a table from which operations start.
#[derive(Clone, Debug)]
struct Start<'a> {
    table: &'a Table,
    range: Range<usize>,
    at: usize,
    remembered: Level,
}

/// Explores a scope; says how many tables, states and steps there were.
///
/// # Errors
///
/// A script that leads to a disagreement, and what does not agree.
pub fn explore(scope: Scope) -> Result<(usize, u64, u64), String> {
    let counts = Counts::default();
    let empty = Table::empty(geometry(ENTRIES));
    let mut known = HashSet::from([empty.clone()]);
    let mut frontier = vec![empty];
    while !frontier.is_empty() {
        let next = Mutex::new(HashSet::new());
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let part = frontier.len().div_ceil(threads);
        let results: Vec<Result<(), String>> = thread::scope(|threads| {
            let (known, next, counts) = (&known, &next, &counts);
            let work =
                |tables| threads.spawn(move || explore_all(scope, tables, known, next, counts));
            let handles: Vec<_> = frontier.chunks(part).map(work).collect();
            let gone = |_| Err("a thread panicked outside of the machine".to_owned());
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap_or_else(gone))
                .collect()
        });
        results.into_iter().collect::<Result<(), _>>()?;
        frontier = next.into_inner().unwrap_or_default().into_iter().collect();
        // The same order each time, whatever the threads did.
        frontier.sort();
        known.extend(frontier.iter().cloned());
        eprintln!(
            "  {} tables, {} states, {} steps",
            grouped(known.len() as u64),
            grouped(counts.states.load(Ordering::Relaxed)),
            grouped(counts.steps.load(Ordering::Relaxed)),
        );
    }
    Ok((
        known.len(),
        counts.states.into_inner(),
        counts.steps.into_inner(),
    ))
}

/// Explores some tables; `next` gets those that come out and are not known.
fn explore_all(
    scope: Scope,
    tables: &[Table],
    known: &HashSet<Table>,
    next: &Mutex<HashSet<Table>>,
    counts: &Counts,
) -> Result<(), String> {
    let mut bench = Bench::default();
    let mut found = BTreeSet::new();
    let mut explore_some = |tables: &[Table]| {
        bench.run(|| {
            let mut explorer = Explorer {
                scope,
                pair: Pair::empty(),
                built: Table::empty(geometry(ENTRIES)),
                as_built: Table::empty(geometry(ENTRIES)),
                counts,
                found: BTreeSet::new(),
            };
            tables
                .iter()
                .try_for_each(|table| explorer.explore(table))?;
            found.append(&mut explorer.found);
            Ok(())
        })
    };
    tables.chunks(64).try_for_each(&mut explore_some)?;
    found.retain(|table| !known.contains(table));
    let mut next = next.lock().unwrap_or_else(|broken| broken.into_inner());
    next.extend(found);
    bench.end()
}

struct Explorer<'a> {
    scope: Scope,
    pair: Pair<ENTRIES>,
    /// The table that was built last, in canonical form and as it is.
    built: Table,
    as_built: Table,
    counts: &'a Counts,
    found: BTreeSet<Table>,
}

impl Explorer<'_> {
    fn explore(&mut self, table: &Table) -> Result<(), String> {
        table.check();
        for start in 0..PAGES {
            for end in start + 1..=PAGES {
                for intent in [Intent::Read, Intent::Change] {
                    self.explore_range(table, intent, start..end)?;
                }
            }
        }
        Ok(())
    }

    /// Explores what a cursor on a range can do. If opening it makes nodes, the
    /// table with them is explored for itself.
    fn explore_range(
        &mut self,
        table: &Table,
        intent: Intent,
        range: Range<usize>,
    ) -> Result<(), String> {
        let open = Op::Open(intent, range.clone());
        self.build(table)?;
        self.run(table, std::slice::from_ref(&open))?;
        if self.canonical() != *table {
            self.found.insert(self.canonical());
            return Ok(());
        }
        for at in range.clone() {
            let covering = target_level(table, &(range.start * PAGE..range.end * PAGE), intent);
            let deepest = table.deepest(at * PAGE).min(covering);
            for remembered in deepest..=covering {
                let start = Start {
                    table,
                    range: range.clone(),
                    at,
                    remembered,
                };
                self.explore_state(intent, &start)?;
            }
        }
        self.explore_end(table, intent, range)
    }

    fn explore_state(&mut self, intent: Intent, start: &Start<'_>) -> Result<(), String> {
        self.counts.states.fetch_add(1, Ordering::Relaxed);
        let rest = start.range.end - start.at;
        let mut ops = vec![Op::Query];
        ops.extend((0..=rest + 1).map(Op::Find));
        ops.extend((0..=PAGES).map(Op::Jump));
        for op in ops {
            self.step(intent, start, op)?;
        }
        if intent == Intent::Read {
            return Ok(());
        }
        let mut ops = Vec::new();
        for pages in 0..=rest + 1 {
            ops.extend([Op::Take(pages), Op::Split(pages)]);
            for prop in 0..self.scope.properties {
                ops.extend([Op::Protect(pages, prop), Op::ProtectAll(pages, prop)]);
                ops.push(Op::Copy(pages, prop));
            }
        }
        for prop in 0..self.scope.properties {
            ops.extend([Op::Map(1, prop), Op::Map(2, prop)]);
        }
        for op in ops {
            self.step(intent, start, op)?;
        }
        Ok(())
    }

    /// At the end of the range, nothing is left to be done.
    fn explore_end(
        &mut self,
        table: &Table,
        intent: Intent,
        range: Range<usize>,
    ) -> Result<(), String> {
        let Some(way) = way_to_the_end(table, intent, &range) else {
            return Ok(());
        };
        self.counts.states.fetch_add(1, Ordering::Relaxed);
        let mut script = vec![Op::Open(intent, range)];
        script.extend(way);
        let mut ops = vec![Op::Query, Op::Find(0), Op::Find(1)];
        ops.extend((0..=PAGES).map(Op::Jump));
        if intent == Intent::Change {
            ops.extend([Op::Map(1, 0), Op::Take(0), Op::Take(1)]);
            ops.extend([Op::Protect(1, 0), Op::ProtectAll(1, 0), Op::Split(1)]);
            ops.extend([Op::Copy(0, 0), Op::Copy(1, 0)]);
        }
        for op in ops {
            self.counts.steps.fetch_add(1, Ordering::Relaxed);
            self.build(table)?;
            script.push(op);
            self.run(table, &script)?;
            script.pop();
        }
        Ok(())
    }

    /// Applies an operation to a state.
    fn step(&mut self, intent: Intent, start: &Start<'_>, op: Op) -> Result<(), String> {
        self.counts.steps.fetch_add(1, Ordering::Relaxed);
        let changes = is_change(&op);
        let mut script = vec![Op::Open(intent, start.range.clone()), Op::Jump(start.at)];
        if intent == Intent::Change {
            script.push(Op::Remember(start.remembered));
        }
        script.push(op);
        // The table is as it was after the last step, unless that changed it.
        self.build(start.table)?;
        self.run(start.table, &script)?;
        if changes && self.pair.book.model != self.as_built {
            let after = self.canonical();
            if after != *start.table {
                self.found.insert(after);
            }
        }
        Ok(())
    }

    /// Makes the table, unless it is there.
    fn build(&mut self, table: &Table) -> Result<(), String> {
        if self.built == *table && self.pair.book.model == self.as_built {
            return Ok(());
        }
        self.pair.start_over();
        let script = recipe(table);
        self.pair.run(&script).map_err(|(step, text)| {
            format!("{}\n{}", describe(&script, step, &text), print(&script))
        })?;
        assert_eq!(self.canonical(), *table, "the recipe makes the table");
        self.built.clone_from(table);
        self.as_built.clone_from(&self.pair.book.model);
        Ok(())
    }

    fn run(&mut self, table: &Table, script: &[Op]) -> Result<(), String> {
        let trusted = script.len() - 1;
        self.pair
            .run_trusting(script, trusted)
            .map_err(|(step, text)| {
                let mut whole = recipe(table);
                whole.extend_from_slice(script);
                format!("{}\n{}", describe(script, step, &text), print(&whole))
            })
    }

    /// Returns the table as it is, with each leaf leading to its place.
    fn canonical(&self) -> Table {
        let mut table = self.pair.book.model.clone();
        for (start, leaf) in &mut table.leaves {
            leaf.paddr = *start;
        }
        table
    }
}

/// Returns operations by which a cursor comes to the end of its range and leaves the
/// table as it is, if there are any.
fn way_to_the_end(table: &Table, intent: Intent, range: &Range<usize>) -> Option<Vec<Op>> {
    let last = range.end - 1;
    let Some(start) = table.leaf_at(last * PAGE) else {
        return Some(vec![Op::Jump(last), Op::Find(1)]);
    };
    let first = start / PAGE;
    let is_within = range.start <= first && table.extent(start).end == range.end * PAGE;
    let same = table.leaves[&start].prop;
    (is_within && intent == Intent::Change)
        .then(|| vec![Op::Jump(first), Op::Protect(range.end - first, same)])
}

/// Returns operations that make a table of the empty one.
fn recipe(table: &Table) -> Vec<Op> {
    let mut script = Vec::new();
    for (level, start) in &table.nodes {
        // A range for which this is the lowest node that covers it: two slots,
        // without being a slot of the level above that could be a huge page.
        let pages = table.geometry.slot_size(*level) / PAGE;
        let start = start / PAGE;
        let range = match level {
            1 => start..start + 1,
            _ => start + pages - 1..start + pages + 1,
        };
        script.extend([Op::Open(Intent::Change, range), Op::Close]);
    }
    script.push(Op::Open(Intent::Change, 0..PAGES));
    for (start, Leaf { level, prop, .. }) in &table.leaves {
        script.extend([Op::Jump(start / PAGE), Op::Map(*level, *prop)]);
    }
    script.push(Op::Close);
    script
}

fn print(script: &[Op]) -> String {
    model::script::print(script)
}

/// Explores all of it.
#[must_use]
pub fn run(effort: Effort) -> Vec<Row> {
    let properties = match effort {
        Effort::Short => 1,
        Effort::Deep => 2,
    };
    let explored = explore(Scope { properties });
    let cases = explored.as_ref().map_or_else(
        |_| "given up".to_owned(),
        |(tables, states, steps)| {
            format!(
                "{} states of {} tables, {} steps",
                grouped(*states),
                grouped(*tables as u64),
                grouped(*steps)
            )
        },
    );
    vec![Row {
        claim: "page tables and cursors do what the specification says",
        checker: "all states of 8 pages",
        cases,
        result: explored.map(drop),
    }]
}
