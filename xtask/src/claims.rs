//! `cargo xtask claims`: which claims of `kernel/docs/claims.md` have a test that
//! carries their number.
//!
//! A test says so by its name: `claim_91_…`, `claims_91_92_…`,
//! `claims_113_to_116_…`, `choice_l4_…`. A claim without a test is a complaint,
//! and so is a test of a claim that is not in the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{shell, tidy};

/// Where the claims are.
const LIST: &str = "kernel/docs/claims.md";

/// The number of a claim: `K91`, `L4`.
type Number = (char, u32);

/// A claim of the list.
struct Claim {
    text: String,
    /// Why it does not apply, if it does not.
    not_applicable: Option<String>,
}

pub(crate) fn run() -> Result<u8> {
    let path = shell::root().join(LIST);
    let list = fs::read_to_string(&path).with_context(|| format!("cannot read {LIST}"))?;
    let claims = read_list(&list);
    let tested = tested_claims(shell::root())?;
    let (report, is_complete) = report(&claims, &tested);
    print!("{report}");
    Ok(u8::from(!is_complete))
}

/// Reads the table's rows.
fn read_list(text: &str) -> BTreeMap<Number, Claim> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let number = read_number(cells.next()?)?;
        let claim = Claim {
            text: cells.next()?.to_owned(),
            not_applicable: cells
                .next()
                .filter(|reason| !reason.is_empty())
                .map(str::to_owned),
        };
        Some((number, claim))
    };
    text.lines().filter_map(row).collect()
}

fn read_number(cell: &str) -> Option<Number> {
    let kind = cell.chars().next().filter(|kind| "KL".contains(*kind))?;
    Some((kind, cell[1..].parse().ok()?))
}

/// Returns the numbers that names of tests carry, with the tests.
fn tested_claims(root: &Path) -> Result<BTreeMap<Number, BTreeSet<String>>> {
    let mut tested: BTreeMap<Number, BTreeSet<String>> = BTreeMap::new();
    for text in tidy::texts_below(root, "kernel/")? {
        for name in names_of_functions(&text) {
            for number in numbers_in(name) {
                tested.entry(number).or_default().insert(name.to_owned());
            }
        }
    }
    Ok(tested)
}

fn names_of_functions(text: &str) -> impl Iterator<Item = &str> {
    let name =
        |line: &'_ str| -> Option<usize> { line.trim_start().strip_prefix("fn ").map(str::len) };
    text.lines().filter_map(move |line| {
        let rest = name(line)?;
        let signature = &line[line.len() - rest..];
        signature.split(['(', '<']).next()
    })
}

/// Reads the numbers at the start of a test's name, and after the words that
/// announce them.
fn numbers_in(name: &str) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut kind = None;
    let mut range_from = None;
    for word in name.split('_') {
        match (word, kind) {
            ("claim" | "claims", _) => kind = Some('K'),
            ("choice" | "choices", _) => kind = Some('L'),
            ("to", Some('K')) => range_from = numbers.last().map(|(_, last)| *last),
            (word, Some('K')) if word.parse::<u32>().is_ok() => {
                let last = word.parse().unwrap_or_default();
                let first = range_from.take().map_or(last, |before: u32| before + 1);
                numbers.extend((first..=last).map(|number| ('K', number)));
            }
            (word, Some('L'))
                if word
                    .strip_prefix('l')
                    .is_some_and(|n| n.parse::<u32>().is_ok()) =>
            {
                numbers.push(('L', word[1..].parse().unwrap_or_default()));
            }
            _ => kind = None,
        }
    }
    numbers
}

/// Says what is missing; the last line counts.
fn report(
    claims: &BTreeMap<Number, Claim>,
    tested: &BTreeMap<Number, BTreeSet<String>>,
) -> (String, bool) {
    let mut text = String::new();
    let (mut covered, mut not_applicable, mut missing) = (0, 0, 0);
    for ((kind, number), claim) in claims {
        match (tested.get(&(*kind, *number)), &claim.not_applicable) {
            (Some(_), _) => covered += 1,
            (None, Some(_)) => not_applicable += 1,
            (None, None) => {
                missing += 1;
                text += &format!("{kind}{number} has no test: {}\n", claim.text);
            }
        }
    }
    let unknown = tested.keys().filter(|number| !claims.contains_key(number));
    for (kind, number) in unknown {
        missing += 1;
        text += &format!("{kind}{number} is tested, and is not in {LIST}\n");
    }
    text += &format!(
        "{covered} of {} claims covered by tests, {not_applicable} not applicable, {missing} missing\n",
        claims.len()
    );
    (text, missing == 0)
}

#[cfg(test)]
mod tests {
    use super::{numbers_in, read_list, report, tested_claims};
    use crate::shell;

    #[test]
    fn numbers_are_read_from_names() {
        let k = |numbers: &[u32]| {
            numbers
                .iter()
                .map(|number| ('K', *number))
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers_in("claim_9_leaves_are_of_3_levels"), k(&[9]));
        assert_eq!(numbers_in("claims_1_11_12_nodes"), k(&[1, 11, 12]));
        assert_eq!(
            numbers_in("claims_113_to_116_121_x"),
            k(&[113, 114, 115, 116, 121])
        );
        assert_eq!(
            numbers_in("claims_97_98_choice_l1_mapping"),
            [k(&[97, 98]), vec![('L', 1)]].concat()
        );
        assert_eq!(numbers_in("peer_045_choice_l16_every"), [('L', 16)]);
        assert_eq!(numbers_in("it_is_no_claim"), []);
    }

    #[test]
    fn missing_and_unknown_claims_are_complaints() {
        let claims = read_list("| K1 | one | |\n| K2 | two | why |\n| L3 | three | |\n| x |\n");
        assert_eq!(claims.len(), 3);
        let tested = [
            (('K', 1), ["a".to_owned()].into()),
            (('K', 9), ["b".to_owned()].into()),
        ];
        let (text, is_complete) = report(&claims, &tested.into());
        assert!(!is_complete && text.contains("L3 has no test") && text.contains("K9 is tested"));
        assert!(text.ends_with("1 of 3 claims covered by tests, 1 not applicable, 2 missing\n"));
    }

    #[test]
    fn every_claim_of_the_list_has_a_test() {
        let list = std::fs::read_to_string(shell::root().join(super::LIST)).expect("it is there");
        let tested = tested_claims(shell::root()).expect("sources can be read");
        let (text, is_complete) = report(&read_list(&list), &tested);
        assert!(is_complete, "{text}");
    }
}
