//! Every allocation of every operation fails once.
//!
//! Before an operation, all free frames but *n* are taken away. With n = 0 its
//! first allocation fails, with n = 1 its second, and so on until it succeeds. An
//! operation that fails says so, leaves the cursor where it was and every address
//! translating as before, and loses no frame.

use std::cell::Cell;

use model::{Intent, Op};
use nucleus::cpu::disable_preempt;
use nucleus::mm::{Frame, FrameAllocOptions};

use crate::Effort;
use crate::pair::{Book, Done, Opened, Pair, is_change};
use crate::random::any_script;
use crate::report::Row;
use crate::script::{Bench, ENTRIES, describe};
use crate::search::Scripts;

/// How many times at most memory may run out in one operation: an operation
/// makes fewer nodes than that.
const MOST_FAILURES: usize = 100;

/// The frames that nobody else is to have.
#[derive(Debug)]
struct Hog(Vec<Frame<()>>);

impl Hog {
    /// Takes all free frames but so many.
    fn all_but(left: usize) -> Self {
        let mut frames = Vec::new();
        while let Ok(frame) = FrameAllocOptions::new().zeroed(false).alloc_frame() {
            frames.push(frame);
        }
        frames.truncate(frames.len().saturating_sub(left));
        Self(frames)
    }
}

/// Runs something with ever more free frames until it is done; counts how often
/// it was not.
fn until_done(
    book: &mut Book,
    failures: &Cell<u64>,
    mut attempt: impl FnMut(&mut Book, usize) -> Result<Done, String>,
) -> Result<(), String> {
    for left in 0..MOST_FAILURES {
        match attempt(book, left)? {
            Done::Yes => return Ok(()),
            Done::NoMemory => failures.set(failures.get() + 1),
        }
    }
    Err(format!("{MOST_FAILURES} frames are not enough"))
}

fn run_failing(script: &[Op], failures: &Cell<u64>) -> Result<(), (usize, String)> {
    let Pair { subject, mut book } = Pair::<ENTRIES>::empty();
    let mut rest = script.iter().enumerate().peekable();
    while let Some((step, op)) = rest.next() {
        let Op::Open(intent, pages) = op else {
            continue;
        };
        let guard = disable_preempt();
        let mut opened = None;
        let attempt = |book: &mut Book, left| {
            let hog = Hog::all_but(left);
            book.hogged = hog.0.len();
            let result = book.open(&subject, &guard, (*intent, pages));
            book.hogged = 0;
            match result? {
                Opened::Cursors(real, cursor) => opened = Some((real, cursor)),
                Opened::NoMemory => return Ok(Done::NoMemory),
                Opened::Refused => {}
            }
            Ok(Done::Yes)
        };
        until_done(&mut book, failures, attempt).map_err(|text| (step, text))?;
        let Some((mut real, mut cursor)) = opened else {
            continue;
        };
        while let Some((step, op)) = rest.next_if(|(_, op)| !matches!(op, Op::Open(..))) {
            if *op == Op::Close {
                break;
            }
            if *intent == Intent::Read && is_change(op) {
                continue;
            }
            let attempt = |book: &mut Book, left| {
                let item = book.item::<ENTRIES>(op);
                let hog = Hog::all_but(left);
                book.hogged = hog.0.len();
                let done = book.step((&subject, &mut real), &mut cursor, (op, item));
                book.hogged = 0;
                done
            };
            until_done(&mut book, failures, attempt).map_err(|text| (step, text))?;
        }
    }
    Ok(())
}

/// Runs so many random scripts; says how many operations failed.
///
/// # Errors
///
/// The shortest script found in which a failure does harm, and how.
pub fn search(scripts: Scripts) -> Result<u64, String> {
    let print = |ops: &Vec<Op>| model::script::print(ops);
    scripts.search(&any_script(), Bench::default(), print, |bench, ops| {
        check(bench, ops)
    })
}

/// Runs a script in which every allocation fails once; says how many failed.
///
/// # Errors
///
/// What a failure did, with the operation.
pub fn check(bench: &mut Bench, script: &[Op]) -> Result<u64, String> {
    let failures = Cell::new(0);
    bench.run(|| {
        run_failing(script, &failures).map_err(|(step, text)| describe(script, step, &text))
    })?;
    Ok(failures.get())
}

/// Has memory run out everywhere.
#[must_use]
pub fn run(effort: Effort) -> Vec<Row> {
    let cases = match effort {
        Effort::Short => 10_000,
        Effort::Deep => 1_000_000,
    };
    let scripts = Scripts { cases, seed: 2 };
    let found = search(scripts);
    vec![scripts.row(
        "memory that runs out is an error, and nothing has changed then",
        "each allocation fails",
        "failures",
        found,
    )]
}
