//! Bugs on purpose, each of which a checker has to find.

use nucleus::planted::{Bug, plant};

use crate::report::Row;
use crate::search::Scripts;
use crate::{Effort, access, exhaustive, faults, frames, random, spaces};

/// A checker, as far as it says what is wrong.
type Search = fn() -> Result<(), String>;

fn random_scripts() -> Result<(), String> {
    random::search(Scripts {
        cases: 20_000,
        seed: 1,
    })
    .map(drop)
}

fn all_states() -> Result<(), String> {
    exhaustive::explore(exhaustive::Scope { properties: 1 }).map(drop)
}

fn failing_allocations() -> Result<(), String> {
    faults::search(Scripts {
        cases: 2_000,
        seed: 2,
    })
    .map(drop)
}

fn random_handles() -> Result<(), String> {
    frames::search(Scripts {
        cases: 20_000,
        seed: 3,
    })
    .map(drop)
}

fn three_processors() -> Result<(), String> {
    let scripts = Scripts {
        cases: 10_000,
        seed: 4,
    };
    spaces::search(scripts, true).map(drop)
}

fn random_accesses() -> Result<(), String> {
    access::search(Scripts {
        cases: 4_000,
        seed: 5,
    })
    .map(drop)
}

const PLANTED: &[(&str, Bug, &str, Search)] = &[
    (
        "finds: a child that is counted for ever",
        Bug::WrongChildCount,
        "random scripts",
        random_scripts,
    ),
    (
        "finds: a window that is a page too long",
        Bug::WindowTooLong,
        "random scripts",
        random_scripts,
    ),
    (
        "finds: a huge page split out of order",
        Bug::SplitOutOfOrder,
        "random scripts",
        random_scripts,
    ),
    (
        "finds: a reference that nobody counted",
        Bug::UncountedReference,
        "random scripts",
        random_scripts,
    ),
    (
        "finds: a child that is counted for ever",
        Bug::WrongChildCount,
        "all states of 8 pages",
        all_states,
    ),
    (
        "finds: a window that is a page too long",
        Bug::WindowTooLong,
        "all states of 8 pages",
        all_states,
    ),
    (
        "finds: a huge page split out of order",
        Bug::SplitOutOfOrder,
        "all states of 8 pages",
        all_states,
    ),
    (
        "finds: a cursor that a failure has moved",
        Bug::MovedByFailure,
        "each allocation fails",
        failing_allocations,
    ),
    (
        "finds: an item that a failure has lost",
        Bug::LeakedByFailure,
        "each allocation fails",
        failing_allocations,
    ),
    (
        "finds: a slice without all of its references",
        Bug::UncountedSlice,
        "random handles",
        random_handles,
    ),
    (
        "finds: a reader that does not stand where it faulted",
        Bug::LostPlace,
        "random accesses",
        random_accesses,
    ),
    (
        "finds: a processor that does not flush",
        Bug::SkippedFlush,
        "random scripts, 3 processors",
        three_processors,
    ),
    (
        "finds: processors that are not asked to flush",
        Bug::SkippedRequest,
        "random scripts, 3 processors",
        three_processors,
    ),
    (
        "finds: a frame freed before all have flushed",
        Bug::EarlyFree,
        "random scripts, 3 processors",
        three_processors,
    ),
    (
        "finds: a space loaded again as if it had not changed",
        Bug::UncheckedLoad,
        "random scripts, 3 processors",
        three_processors,
    ),
    (
        "finds: a processor that was lazy and does not look",
        Bug::UncheckedReturn,
        "random scripts, 3 processors",
        three_processors,
    ),
    (
        "finds: a copy that nobody counted",
        Bug::UncountedCopy,
        "random scripts",
        random_scripts,
    ),
    (
        "finds: what is copied keeps its rights",
        Bug::WritableSource,
        "random scripts",
        random_scripts,
    ),
    (
        "finds: what is copied is not flushed",
        Bug::UnflushedCopy,
        "random scripts, 3 processors",
        three_processors,
    ),
    (
        "finds: what one other shares is written in place",
        Bug::SharedWrite,
        "random scripts, 3 processors",
        three_processors,
    ),
    (
        "finds: a page replaced before all have flushed it",
        Bug::EarlyReplacement,
        "random scripts, 3 processors",
        three_processors,
    ),
];

/// Returns the beginning of a text's first line.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(56) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Plants one after the other.
#[must_use]
pub fn run(_effort: Effort) -> Vec<Row> {
    let find = |(claim, bug, checker, search): &(&'static str, Bug, &'static str, Search)| {
        let planted = plant(*bug);
        let found = search();
        drop(planted);
        Row {
            claim,
            checker,
            cases: match &found {
                Err(text) => shortened(text),
                Ok(()) => String::new(),
            },
            result: match found {
                Err(_) => Ok(()),
                Ok(()) => Err("the bug was not found".to_owned()),
            },
        }
    };
    PLANTED.iter().map(find).collect()
}
