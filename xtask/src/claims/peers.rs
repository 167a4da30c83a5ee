//! The bugs of others, `kernel/docs/peers.md`: what they hit, that we test for.
//!
//! A bug has tests, or a reason why it has none. A reason that starts with
//! `later:` names the issue that brings the tests; a part of them may be there
//! already. Any other reason says why the bug cannot occur, and then no test
//! carries its number.

use std::collections::BTreeMap;

use super::{PEER, Tested, cells};

/// Where the bugs are.
pub(super) const LIST: &str = "kernel/docs/peers.md";

/// The later issues that bring tests, as the list calls them.
const ISSUES: [&str; 3] = ["several processors", "processes", "real machines"];

/// A bug of the list.
pub(super) struct Peer {
    title: String,
    coverage: Coverage,
}

/// What there is instead of a test, or beside it.
#[derive(Debug, PartialEq, Eq)]
enum Coverage {
    /// Nothing: a test carries the number.
    Test,
    /// An issue of this name brings the tests.
    Later(String),
    /// It cannot occur.
    Impossible,
}

impl Coverage {
    fn read(reason: &str) -> Self {
        match reason.strip_prefix("later:") {
            Some(issue) => Self::Later(issue.trim().to_owned()),
            None if reason.is_empty() => Self::Test,
            None => Self::Impossible,
        }
    }
}

/// Reads the table's rows.
pub(super) fn read_list(text: &str) -> BTreeMap<u32, Peer> {
    let row = |line: &str| {
        let mut cells = cells(line)?;
        let number = cells.next()?.parse().ok()?;
        let peer = Peer {
            title: cells.next()?.to_owned(),
            coverage: Coverage::read(cells.next().unwrap_or("")),
        };
        Some((number, peer))
    };
    text.lines().filter_map(row).collect()
}

/// Says what is missing, and whether nothing is; the last lines count.
pub(super) fn report(peers: &BTreeMap<u32, Peer>, tested: &Tested) -> (String, bool) {
    let mut complaints: Vec<_> = peers
        .iter()
        .filter_map(|(number, peer)| complaint(*number, peer, tested))
        .collect();
    let numbers = tested.keys().filter(|(kind, _)| *kind == PEER);
    let unknown = numbers.filter(|(_, number)| !peers.contains_key(number));
    complaints.extend(
        unknown.map(|(_, number)| format!("peer {number} is tested, and is not in {LIST}")),
    );

    let count = |wanted: &Coverage| {
        let coverages = peers.values().map(|peer| &peer.coverage);
        coverages.filter(|coverage| *coverage == wanted).count()
    };
    let has_test = |number: &&u32| tested.contains_key(&(PEER, **number));
    let mut text: String = complaints.iter().map(|line| format!("{line}\n")).collect();
    text += &format!(
        "{} of {} bugs of others covered by tests, {} cannot occur, {} complaints\n",
        peers.keys().filter(has_test).count(),
        peers.len(),
        count(&Coverage::Impossible),
        complaints.len()
    );
    for issue in ISSUES {
        let later = count(&Coverage::Later(issue.to_owned()));
        text += &format!("later, with {issue}: {later}\n");
    }
    (text, complaints.is_empty())
}

/// Returns what is wrong with the tests of a bug.
fn complaint(number: u32, peer: &Peer, tested: &Tested) -> Option<String> {
    let title = &peer.title;
    match (&peer.coverage, tested.get(&(PEER, number))) {
        (Coverage::Test, None) => Some(format!("peer {number} has no test: {title}")),
        (Coverage::Impossible, Some(tests)) => {
            let first = tests.first().map_or("", String::as_str);
            Some(format!(
                "peer {number} cannot occur, and has a test: {first}"
            ))
        }
        (Coverage::Later(issue), _) if !ISSUES.contains(&issue.as_str()) => Some(format!(
            "peer {number} waits for `{issue}`, which is no issue"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Coverage, LIST, read_list, report};
    use crate::claims::{Tested, tested_numbers, text_of};
    use crate::shell;

    fn tests_of(numbers: &[u32]) -> Tested {
        let test = |number: &u32| (('P', *number), [format!("test_{number}")].into());
        numbers.iter().map(test).collect()
    }

    #[test]
    fn rows_are_read_with_their_reasons() {
        let list = "| peer | what | reason |\n|---|---|---|\n| 1 | one | |\n\
                    | 22 | two | later: processes |\n| 3 | three | no such lock |\n";
        let peers = read_list(list);
        assert_eq!(peers.len(), 3);
        assert_eq!(peers[&1].coverage, Coverage::Test);
        assert_eq!(peers[&22].coverage, Coverage::Later("processes".to_owned()));
        assert_eq!(peers[&3].coverage, Coverage::Impossible);
        assert_eq!(peers[&3].title, "three");
    }

    #[test]
    fn bug_with_a_test_or_a_reason_is_quiet() {
        let peers = read_list(
            "| 1 | a | |\n| 2 | b | later: processes |\n| 3 | c | why |\n\
             | 4 | d | later: real machines |\n",
        );
        let (text, is_complete) = report(&peers, &tests_of(&[1, 4]));
        assert!(is_complete, "{text}");
        assert!(text.contains("2 of 4 bugs of others covered by tests, 1 cannot occur, 0 compl"));
        assert!(text.contains("later, with processes: 1\n"));
        assert!(text.contains("later, with several processors: 0\n"));
    }

    #[track_caller]
    fn assert_complaint(list: &str, tested: &[u32], complaint: &str) {
        let (text, is_complete) = report(&read_list(list), &tests_of(tested));
        assert!(!is_complete && text.contains(complaint), "{text}");
    }

    #[test]
    fn missing_unknown_and_contradicted_ones_are_complaints() {
        assert_complaint("| 1 | a race | |", &[], "peer 1 has no test: a race");
        assert_complaint("", &[7], "peer 7 is tested, and is not in");
        assert_complaint(
            "| 1 | a | no such lock |",
            &[1],
            "peer 1 cannot occur, and has a test: test_1",
        );
        assert_complaint("| 1 | a | later: some day |", &[], "which is no issue");
    }

    #[test]
    fn every_bug_of_the_list_has_a_test_or_a_reason() {
        let list = text_of(shell::root(), LIST).expect("it is there");
        let peers = read_list(&list);
        assert!(peers.keys().copied().eq(1..=111), "one row a number");
        let (tested, _) = tested_numbers(shell::root()).expect("sources can be read");
        let (text, is_complete) = report(&peers, &tested);
        assert!(is_complete, "{text}");
    }
}
