//! The claims and choices of `kernel/docs/claims.md`.
//!
//! A claim without a test is a complaint, and so is a test of a claim that is not
//! in the list.

use std::collections::BTreeMap;

use super::{Number, PEER, Tested, cells};

/// Where the claims are.
pub(super) const LIST: &str = "kernel/docs/claims.md";

/// A claim of the list.
pub(super) struct Claim {
    text: String,
    /// Why it does not apply, if it does not.
    not_applicable: Option<String>,
}

/// Reads the table's rows.
pub(super) fn read_list(text: &str) -> BTreeMap<Number, Claim> {
    let row = |line: &str| {
        let mut cells = cells(line)?;
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

/// Says what is missing, and whether nothing is; the last line counts.
pub(super) fn report(claims: &BTreeMap<Number, Claim>, tested: &Tested) -> (String, bool) {
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
    let is_unknown = |number: &&Number| number.0 != PEER && !claims.contains_key(number);
    for (kind, number) in tested.keys().filter(is_unknown) {
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
    use super::{LIST, read_list, report};
    use crate::claims::{tested_numbers, text_of};
    use crate::shell;

    #[test]
    fn missing_and_unknown_claims_are_complaints() {
        let claims = read_list("| K1 | one | |\n| K2 | two | why |\n| L3 | three | |\n| x |\n");
        assert_eq!(claims.len(), 3);
        let tested = [
            (('K', 1), ["a".to_owned()].into()),
            (('K', 9), ["b".to_owned()].into()),
            (('P', 7), ["c".to_owned()].into()),
        ];
        let (text, is_complete) = report(&claims, &tested.into());
        assert!(!is_complete && text.contains("L3 has no test") && text.contains("K9 is tested"));
        assert!(text.ends_with("1 of 3 claims covered by tests, 1 not applicable, 2 missing\n"));
    }

    #[test]
    fn every_claim_of_the_list_has_a_test() {
        let list = text_of(shell::root(), LIST).expect("it is there");
        let (tested, _) = tested_numbers(shell::root()).expect("sources can be read");
        let (text, is_complete) = report(&read_list(&list), &tested);
        assert!(is_complete, "{text}");
    }
}
