//! Long random scripts.
//!
//! When the real table and the specification disagree, the script is shrunk to
//! one that is about as short as can be, and printed, to be kept
//! ([`KEPT`](crate::script::KEPT)).

use std::cell::{Cell, RefCell};
use std::ops::Range;

use model::{Intent, Op};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::Effort;
use crate::pair::NR_PROPERTIES;
use crate::report::{Row, grouped};
use crate::script::{Bench, ENTRIES};

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

/// Returns a source of scripts that is the same each time.
#[must_use]
pub fn runner(cases: u32, seed: u8) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    TestRunner::new_with_rng(config, rng)
}

/// Runs so many random scripts; says how many operations they had.
///
/// # Errors
///
/// The shortest script found on which the two disagree, and how.
pub fn search(cases: u32, seed: u8) -> Result<u64, String> {
    let operations = Cell::new(0);
    let bench = RefCell::new(Bench::default());
    let result = runner(cases, seed).run(&any_script(), |ops| {
        operations.set(operations.get() + ops.len() as u64);
        bench.borrow_mut().check(&ops).map_err(TestCaseError::fail)
    });
    conclude(result, bench.into_inner()).map(|()| operations.get())
}

/// Says what a search has found.
///
/// # Errors
///
/// The shortest script found, and what is wrong with it.
pub fn conclude(result: Result<(), TestError<Vec<Op>>>, bench: Bench) -> Result<(), String> {
    match result {
        Ok(()) => bench.end(),
        Err(TestError::Fail(reason, ops)) => {
            Err(format!("{reason}\n{}", model::script::print(&ops)))
        }
        Err(TestError::Abort(reason)) => Err(format!("given up: {reason}")),
    }
}

/// Runs random scripts.
#[must_use]
pub fn run(effort: Effort) -> Vec<Row> {
    let cases = match effort {
        Effort::Short => 20_000,
        Effort::Deep => 2_000_000,
    };
    let found = search(cases, 1);
    let operations = found.as_ref().map_or(0, |count| *count);
    vec![Row {
        claim: "page tables and cursors do what the specification says",
        checker: "random scripts",
        cases: format!(
            "{} scripts, {} operations",
            grouped(u64::from(cases)),
            grouped(operations)
        ),
        result: found.map(drop),
    }]
}
