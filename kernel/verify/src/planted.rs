//! Bugs on purpose, each of which a checker has to find.

use nucleus::planted::{Bug, plant};

use crate::report::Row;
use crate::{Effort, exhaustive, faults, random};

/// A checker, as far as it says what is wrong.
type Search = fn() -> Result<(), String>;

fn random_scripts() -> Result<(), String> {
    random::search(20_000, 1).map(drop)
}

fn all_states() -> Result<(), String> {
    exhaustive::explore(exhaustive::Scope { properties: 1 }).map(drop)
}

fn failing_allocations() -> Result<(), String> {
    faults::search(2_000, 2).map(drop)
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
];

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
                Err(text) => text
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(60)
                    .collect(),
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
