//! The checkers of what weak memory orders allow. The handshakes of the nucleus
//! run here by *all* executions that the language's memory model has for them, as
//! far as `loom` knows it: loads may find values that are old already.
//!
//! The files of the nucleus that are handshakes are parts of this program: the
//! very files, with names around them (`sync`, `arch`, `cpu`, `mm`) that stand for
//! what they import. The atomics under those names are `loom`'s.
//!
//! * `users`: joining the users of a table and walking it, against changing the
//!   table and reading its users.
//! * `sections`: read sections, against taking a node out and freeing it.
//! * `flushes`: asking for a flush, doing it, waiting for it.
//! * `locks`: the lock of a node.

#![forbid(unsafe_code)]
#![expect(
    dead_code,
    unreachable_pub,
    reason = "the files of the nucleus are more than their handshakes, and a library's"
)]

mod arch;
mod cpu;
mod flushes;
mod irq;
mod locks;
mod mm;
#[path = "../../../nucleus/src/planted.rs"]
mod planted;
mod sections;
mod sync;
mod users;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::planted::Bug;

/// A check.
struct Check {
    /// What should be true.
    claim: &'static str,
    scenario: fn(),
    /// The bug that is planted, and has to be found.
    finds: Option<Bug>,
}

const CHECKS: &[Check] = &[
    Check {
        claim: "whoever walks the old table is seen as its user",
        scenario: users::join_and_change,
        finds: None,
    },
    Check {
        claim: "each of two that join is seen as a user",
        scenario: users::two_join,
        finds: None,
    },
    Check {
        claim: "whoever loads a table with what is cached of it is asked to flush",
        scenario: users::load_and_change,
        finds: None,
    },
    Check {
        claim: "each of two that load it is asked to flush",
        scenario: users::two_load,
        finds: None,
    },
    Check {
        claim: "a lazy processor that uses its table again is asked to flush",
        scenario: users::resume_and_change,
        finds: None,
    },
    Check {
        claim: "whoever loads a table has seen each change that it is not asked for",
        scenario: users::load_and_two_change,
        finds: None,
    },
    Check {
        claim: "whoever looks at a node has a section that is waited for",
        scenario: sections::look_and_free,
        finds: None,
    },
    Check {
        claim: "whoever looks in a section within another is waited for",
        scenario: sections::look_within,
        finds: None,
    },
    Check {
        claim: "a flush that is done is done: its page is not used any more",
        scenario: flushes::ask_and_wait,
        finds: None,
    },
    Check {
        claim: "flushes that two ask for at once are done for both",
        scenario: flushes::two_ask,
        finds: None,
    },
    Check {
        claim: "what a node's lock protects is seen by the next holder",
        scenario: locks::two_hold,
        finds: None,
    },
    Check {
        claim: "finds: a change is counted by reading, then writing",
        scenario: users::load_and_change,
        finds: Some(Bug::UnorderedUsers),
    },
    Check {
        claim: "finds: a change is counted after the users were read",
        scenario: users::load_and_change,
        finds: Some(Bug::LateGeneration),
    },
    Check {
        claim: "finds: the generation is read before joining",
        scenario: users::load_and_change,
        finds: Some(Bug::EarlyGeneration),
    },
    Check {
        claim: "finds: a section is announced by a plain store",
        scenario: sections::look_and_free,
        finds: Some(Bug::UnorderedSection),
    },
    Check {
        claim: "finds: a processor answers, and then flushes",
        scenario: flushes::ask_and_wait,
        finds: Some(Bug::EarlyAnswer),
    },
    Check {
        claim: "finds: a lock is taken by looking, then writing",
        scenario: locks::two_hold,
        finds: Some(Bug::TornLock),
    },
];

/// How many executions of a scenario are tried at most.
const MOST_EXECUTIONS: usize = 1_000_000;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let preemptions = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Some(3),
        ["--deep"] => None,
        _ => {
            eprintln!("usage: concurrency-loom [--deep]");
            return ExitCode::FAILURE;
        }
    };
    let mut is_well = true;
    for check in CHECKS {
        eprintln!("{} …", check.claim);
        is_well &= run(check, preemptions);
    }
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs a check with so many preemptions at most, and prints its row; returns
/// whether all is well.
fn run(check: &Check, preemptions: Option<usize>) -> bool {
    let _bug = check.finds.map(planted::plant);
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    let scenario = check.scenario;
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.max_permutations = Some(MOST_EXECUTIONS);
    let result = catch_unwind(AssertUnwindSafe(|| {
        model.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            scenario();
        });
    }));
    let is_well = result.is_err() == check.finds.is_some();
    let verdict = match (is_well, check.finds) {
        (true, _) => "ok",
        (false, Some(_)) => "FAILED: nothing was found",
        (false, None) => "FAILED: an execution goes wrong",
    };
    let bound = preemptions.map_or(String::new(), |number| {
        format!(", up to {number} preemptions")
    });
    let executions = executions.load(Ordering::Relaxed);
    let is_all = check.finds.is_none() && executions < MOST_EXECUTIONS;
    let all = if is_all { ", which are all" } else { "" };
    println!(
        "row\t{}\tloom{bound}\t{executions} executions{all}\t{verdict}",
        check.claim
    );
    is_well
}
