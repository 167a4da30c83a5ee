//! `cargo xtask claims`: which claims of `kernel/docs/claims.md`, and which bugs of
//! others in `kernel/docs/peers.md`, have a test that carries their number.
//!
//! * [`facts`]: the claims and choices, `K91` and `L4`.
//! * [`peers`]: the bugs of others.
//! * `names`: how a test carries a number.

mod facts;
mod names;
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

/// The kind of the bugs of others.
const PEER: char = 'P';

pub(crate) fn run() -> Result<u8> {
    let root = shell::root();
    let tested = tested_numbers(root)?;
    let mut status = 0;
    for (report, is_complete) in [
        facts::report(&facts::read_list(&text_of(root, facts::LIST)?), &tested),
        peers::report(&peers::read_list(&text_of(root, peers::LIST)?), &tested),
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

/// Returns the numbers that tests carry, with the tests.
fn tested_numbers(root: &Path) -> Result<Tested> {
    let mut tested = Tested::new();
    for directory in ["boot/", "kernel/", "xtask/"] {
        for text in tidy::texts_below(root, directory)? {
            for (number, test) in names::numbers_of_tests(&text) {
                tested.entry(number).or_default().insert(test);
            }
        }
    }
    Ok(tested)
}
