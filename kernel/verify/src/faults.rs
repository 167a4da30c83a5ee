//! Every allocation of every operation fails once.
//!
//! Before an operation, all free frames but *n* are taken away. With n = 0 its
//! first allocation fails, with n = 1 its second, and so on until it succeeds. An
//! operation that fails says so, leaves the cursor where it was and every address
//! translating as before, and loses no frame.

use std::cell::{Cell, RefCell};

use model::{Intent, Op};
use nucleus::cpu::disable_preempt;
use nucleus::mm::{Frame, FrameAllocOptions};
use proptest::test_runner::TestCaseError;

use crate::Effort;
use crate::pair::{Book, Done, Opened, Pair, is_change};
use crate::random::{any_script, conclude, runner};
use crate::report::{Row, grouped};
use crate::script::{Bench, ENTRIES, describe};

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
pub fn search(cases: u32, seed: u8) -> Result<u64, String> {
    let failures = Cell::new(0);
    let bench = RefCell::new(Bench::default());
    let result = runner(cases, seed).run(&any_script(), |ops| {
        let run =
            || run_failing(&ops, &failures).map_err(|(step, text)| describe(&ops, step, &text));
        let result = bench.borrow_mut().run(run);
        result.map_err(TestCaseError::fail)
    });
    conclude(result, bench.into_inner()).map(|()| failures.get())
}

/// Runs a script in which every allocation fails once.
///
/// # Errors
///
/// What a failure did, with the operation.
pub fn check(bench: &mut Bench, script: &[Op], failures: &Cell<u64>) -> Result<(), String> {
    bench
        .run(|| run_failing(script, failures).map_err(|(step, text)| describe(script, step, &text)))
}

/// Has memory run out everywhere.
#[must_use]
pub fn run(effort: Effort) -> Vec<Row> {
    let scripts = match effort {
        Effort::Short => 10_000,
        Effort::Deep => 1_000_000,
    };
    let found = search(scripts, 2);
    let failures = found.as_ref().map_or(0, |count| *count);
    vec![Row {
        claim: "memory that runs out is an error, and nothing has changed then",
        checker: "each allocation fails",
        cases: format!(
            "{} scripts, {} failures",
            grouped(u64::from(scripts)),
            grouped(failures)
        ),
        result: found.map(drop),
    }]
}
