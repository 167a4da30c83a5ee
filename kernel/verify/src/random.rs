//! Long random scripts.
//!
//! When the real table and the specification disagree, the script is shrunk to
//! one that is about as short as can be, and printed, to be kept
//! ([`KEPT`](crate::script::KEPT)).

use std::ops::Range;

use model::{Intent, Op};
use proptest::prelude::*;

use crate::Effort;
use crate::pair::NR_PROPERTIES;
use crate::report::Row;
use crate::script::{Bench, ENTRIES};
use crate::search::Scripts;

/// Pages of the tables that scripts are about.
const PAGES: usize = ENTRIES.pow(3);

/// Returns a range of pages: mostly a legal one, and often one of whole nodes.
fn range() -> impl Strategy<Value = Range<usize>> {
    let any = (0..=PAGES, 0..=PAGES).prop_map(|(a, b)| a.min(b)..a.max(b));
    let aligned = (0..3_u32, 0..PAGES, 1..4_usize).prop_map(|(order, start, count)| {
        let size = ENTRIES.pow(order);
        let start = start / size * size;
        start..(start + count * size).min(PAGES)
    });
    let odd = (0..PAGES * 2, 0..PAGES * 2).prop_map(|(start, end)| start..end);
    prop_oneof![6 => any, 6 => aligned, 1 => odd, 3 => Just(0..PAGES)]
}

/// Returns a length in pages, as likely short as long.
fn pages() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..=2_usize,
        4 => 3..=PAGES / 4,
        2 => PAGES / 4..=PAGES,
        1 => PAGES..=PAGES + 2,
    ]
}

/// Returns an operation.
pub fn op() -> impl Strategy<Value = Op> {
    let intent = prop_oneof![5 => Just(Intent::Change), 1 => Just(Intent::Read)];
    let prop = || 0..NR_PROPERTIES;
    prop_oneof![
        3 => (intent, range()).prop_map(|(intent, range)| Op::Open(intent, range)),
        1 => Just(Op::Close),
        3 => Just(Op::Query),
        3 => pages().prop_map(Op::Find),
        5 => (0..=PAGES).prop_map(Op::Jump),
        10 => (1..=2_u8, prop()).prop_map(|(level, prop)| Op::Map(level, prop)),
        5 => pages().prop_map(Op::Take),
        3 => (pages(), prop()).prop_map(|(pages, prop)| Op::Protect(pages, prop)),
        3 => (pages(), prop()).prop_map(|(pages, prop)| Op::ProtectAll(pages, prop)),
        2 => pages().prop_map(Op::Split),
        2 => (pages(), prop()).prop_map(|(pages, prop)| Op::Copy(pages, prop)),
        2 => (1..=3_u8).prop_map(Op::Remember),
    ]
}

/// Returns a script that opens a cursor first.
pub fn any_script() -> impl Strategy<Value = Vec<Op>> {
    (range(), proptest::collection::vec(op(), 1..60)).prop_map(|(range, mut ops)| {
        ops.insert(0, Op::Open(Intent::Change, range));
        ops
    })
}

/// Runs so many random scripts; says how many operations they had.
///
/// # Errors
///
/// The shortest script found on which the two disagree, and how.
pub fn search(scripts: Scripts) -> Result<u64, String> {
    let print = |ops: &Vec<Op>| model::script::print(ops);
    scripts.search(&any_script(), Bench::default(), print, |bench, ops| {
        bench.check(ops).map(|()| ops.len() as u64)
    })
}

/// Runs random scripts.
#[must_use]
pub fn run(effort: Effort) -> Vec<Row> {
    let cases = match effort {
        Effort::Short => 20_000,
        Effort::Deep => 2_000_000,
    };
    let scripts = Scripts { cases, seed: 1 };
    let found = search(scripts);
    vec![scripts.row(
        "page tables and cursors do what the specification says",
        "random scripts",
        "operations",
        found,
    )]
}
