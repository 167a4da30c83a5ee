//! `cargo xtask claims`: which claims of `kernel/docs/claims.md`, and which bugs of
//! others in `kernel/docs/peers.md`, have a test that carries their number.
//!
//! * [`facts`]: the claims and choices, `K91` and `L4`.
//! * [`peers`]: the bugs of others.
//! * [`open`]: what the seeds leave unproven.
//! * `names`: how a test carries a number.

mod facts;
mod names;
mod open;
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{shell, tidy};

/// Which list a number is of, and the number: `K91`, `L4`; the bugs of others are
/// of the list `P`.
type Number = (char, u32);

/// The tests that carry each number.
type Tested = BTreeMap<Number, BTreeSet<String>>;

/// Where the checkers are.
const CHECKERS: [&str; 3] = ["kernel/verify/", "kernel/fuzz/", "kernel/concurrency/"];

/// Where the machines are that the kernel has to boot on.
const MACHINES: &str = "xtask/src/matrix/";

/// The kind of the bugs of others.
const PEER: char = 'P';

pub(crate) fn run() -> Result<u8> {
    let root = shell::root();
    let (tested, names) = tested_numbers(root)?;
    let mut status = 0;
    for (report, is_complete) in [
        facts::report(&facts::read_list(&text_of(root, facts::LIST)?), &tested),
        peers::report(&peers::read_list(&text_of(root, peers::LIST)?), &tested),
        open::report(&open::read_list(&text_of(root, open::LIST)?), &names),
    ] {
        print!("{report}");
        status |= u8::from(!is_complete);
    }
    Ok(status)
}

fn text_of(root: &Path, list: &str) -> Result<String> {
    fs::read_to_string(root.join(list)).with_context(|| format!("cannot read {list}"))
}

/// Returns the cells of a row of a table, without white space around them.
fn cells(line: &str) -> Option<impl Iterator<Item = &str>> {
    Some(line.strip_prefix('|')?.split('|').map(str::trim))
}

/// Returns the numbers that tests carry, with the tests; and the names of all
/// tests and checkers.
fn tested_numbers(root: &Path) -> Result<(Tested, BTreeSet<String>)> {
    let (mut tested, mut all) = (Tested::new(), BTreeSet::new());
    for directory in ["boot/", "kernel/", "xtask/"] {
        for text in tidy::texts_below(root, directory)? {
            for (number, test) in names::numbers_of_tests(&text) {
                tested.entry(number).or_default().insert(test);
            }
            all.extend(names::tests(&text).map(str::to_owned));
        }
    }
    for text in tidy::texts_below(root, MACHINES)? {
        for (number, machine) in names::numbers_of_machines(&text) {
            tested.entry(number).or_default().insert(machine);
        }
    }
    for directory in CHECKERS {
        for text in tidy::texts_below(root, directory)? {
            all.extend(names::checkers(&text).map(str::to_owned));
        }
    }
    Ok((tested, all))
}
