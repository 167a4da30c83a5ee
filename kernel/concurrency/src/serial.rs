//! Whether what cursors said is what they could have said one after the other.
//!
//! A cursor owns its range from the moment that it is open until it is closed. So
//! cursors that overlap run in the order of their openings, and for those that do
//! not the order makes no difference. All of them are repeated in that order on the
//! specification, each as a whole.
//!
//! One thing is not as if one after the other, and need not be: nodes on the way to
//! a range are made *before* its cursor is open, empty, and others may see them, or
//! take them out. So the specification may have such nodes earlier as well. It may
//! then be in any of several states, all of which are followed.

use std::collections::BTreeSet;
use std::ops::Range;

use model::cursor::{self, Answer, Ends};
use model::{Cursor, Intent, Leaf, Op, Table};
use nucleus::mm::PAGE_SIZE;

/// What happened between the opening of a cursor and its closing.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) intent: Intent,
    pub(crate) range: Range<usize>,
    /// When somebody began to open the cursor.
    pub(crate) invoked: usize,
    /// When it was open.
    pub(crate) opened: usize,
    /// When it was about to be closed.
    pub(crate) closed: usize,
    pub(crate) steps: Vec<Step>,
}

/// An operation, and what came of it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) op: Op,
    /// Where the item is that was to be mapped.
    pub(crate) paddr: usize,
    /// What it said.
    pub(crate) answer: Answer,
    /// Where the cursor stood afterwards.
    pub(crate) at: usize,
}

/// Repeats all sections on the specification; returns the states that it can be in.
///
/// # Panics
///
/// Panics when it cannot have said what the cursors said.
pub(crate) fn repeat(empty: Table, sections: &mut [Section]) -> BTreeSet<Table> {
    sections.sort_by_key(|section| section.opened);
    let mut states = BTreeSet::from([empty]);
    for (number, section) in sections.iter().enumerate() {
        let is_pending = |other: &&Section| {
            other.intent == Intent::Change
                && other.opened > section.opened
                && other.invoked < section.closed
        };
        let pending: Vec<_> = sections.iter().filter(is_pending).collect();
        let expanded = with_nodes_made_early(states, &pending);
        let mut open = expanded
            .iter()
            .map(|table| {
                cursor::open(table, &section.range, section.intent).expect("the range is legal")
            })
            .collect::<Vec<_>>();
        for step in &section.steps {
            let mut after = Vec::new();
            for (table, cursor) in open {
                for table in with_nodes_made_early(BTreeSet::from([table]), &pending) {
                    after.extend(ends_of(&table, &cursor, step));
                }
            }
            assert!(
                !after.is_empty(),
                "cursor {number} cannot have said {step:x?} in any order: {sections:#x?}"
            );
            after.sort_by(|one, other| one.0.cmp(&other.0));
            after.dedup();
            open = after;
        }
        states = open.into_iter().map(|(table, _)| table).collect();
    }
    states
}

/// Returns the tables with any of the nodes that pending openings may have made.
fn with_nodes_made_early(tables: BTreeSet<Table>, pending: &[&Section]) -> BTreeSet<Table> {
    let mut all = tables;
    for section in pending {
        let va = section.range.start;
        for table in all.clone() {
            if table.leaf_at(va).is_some() {
                continue;
            }
            let lowest = cursor::target_level(&table, &section.range, section.intent);
            for level in lowest..table.geometry.levels {
                all.insert(table.with_path(va, level));
            }
        }
    }
    all
}

/// Returns the states after a step, if it can have said what it did.
fn ends_of(table: &Table, cursor: &Cursor, step: &Step) -> Vec<(Table, Cursor)> {
    let is_it = |end: &cursor::End| end.answer == step.answer && end.at.contains(&step.at);
    let barrier = cursor.barrier.clone();
    ends(table, cursor, step)
        .into_iter()
        .filter(is_it)
        .map(|end| {
            let cursor = Cursor {
                barrier: barrier.clone(),
                va: step.at,
            };
            (end.table, cursor)
        })
        .collect()
}

/// Returns all ways in which a step may end.
fn ends(table: &Table, at: &Cursor, step: &Step) -> Ends {
    let ends = match step.op {
        Op::Query => return cursor::query(table, at).expect("it is not at its end"),
        Op::Find(pages) => cursor::find_next(table, at, pages * PAGE_SIZE),
        Op::Jump(page) => cursor::jump(table, at, page * PAGE_SIZE)
            .map(|ends| ends.expect("the page is in the range")),
        Op::Map(level, prop) => {
            let paddr = step.paddr;
            cursor::map(table, at, Leaf { level, paddr, prop })
        }
        Op::Take(pages) => cursor::take_next(table, at, pages * PAGE_SIZE),
        Op::Protect(pages, prop) => cursor::protect_next(table, at, pages * PAGE_SIZE, |_| prop),
        Op::ProtectAll(pages, prop) => cursor::protect(table, at, pages * PAGE_SIZE, |_| prop),
        Op::Split(pages) => cursor::split_edges(table, at, pages * PAGE_SIZE),
        Op::Open(..) | Op::Close | Op::Copy(..) | Op::Remember(_) => {
            unreachable!("no step of a section")
        }
    };
    ends.expect("only legal operations are chosen")
}
