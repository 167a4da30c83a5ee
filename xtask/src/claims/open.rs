//! What the seeds leave unproven, `kernel/model/open-list.md`: which tests and
//! checkers try to break it here.
//!
//! A line names them, or says why there is none. A name is that of a test, or of a
//! checker as it stands in the checker's source.

use std::collections::BTreeSet;

use super::cells;

/// Where the list is.
pub(super) const LIST: &str = "kernel/model/open-list.md";

/// How many lines it has to have.
const LINES: usize = 46;

/// A line of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Open {
    number: String,
    checks: Vec<String>,
    reason: String,
}

/// Reads the table's rows.
pub(super) fn read_list(text: &str) -> Vec<Open> {
    let row = |line: &str| {
        let mut cells = cells(line)?;
        let number = cells.next()?;
        number.strip_prefix('F')?.parse::<u32>().ok()?;
        let _what = cells.next()?;
        // Every other part of a cell is between two ticks.
        let checks = cells.next()?.split('`').skip(1).step_by(2);
        Some(Open {
            number: number.to_owned(),
            checks: checks.map(str::to_owned).collect(),
            reason: cells.next().unwrap_or("").to_owned(),
        })
    };
    text.lines().filter_map(row).collect()
}

/// Says what is missing, and whether nothing is; `names` are those of all tests
/// and checkers.
pub(super) fn report(list: &[Open], names: &BTreeSet<String>) -> (String, bool) {
    let mut complaints = Vec::new();
    for (index, line) in list.iter().enumerate() {
        let Open {
            number,
            checks,
            reason,
        } = line;
        if *number != format!("F{}", index + 1) {
            complaints.push(format!("{number} is out of order"));
        }
        for check in checks.iter().filter(|check| !names.contains(*check)) {
            complaints.push(format!("{number} names `{check}`, which is nowhere"));
        }
        if checks.is_empty() == reason.is_empty() {
            complaints.push(format!("{number} has to have checks, or a reason"));
        }
    }
    if list.len() != LINES {
        complaints.push(format!("{LIST} has {} lines, not {LINES}", list.len()));
    }
    let checked = list.iter().filter(|line| !line.checks.is_empty()).count();
    let mut report: String = complaints.iter().map(|line| format!("{line}\n")).collect();
    report += &format!(
        "{checked} of {} open assumptions checked, {} complaints\n",
        list.len(),
        complaints.len()
    );
    (report, complaints.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{LINES, LIST, read_list, report};
    use crate::claims::{tested_numbers, text_of};
    use crate::shell;

    fn list(third: &str) -> String {
        let line = |number| match number {
            3 => format!("| F3 | x | {third}\n"),
            _ => format!("| F{number} | x | `a`, `b c` | |\n"),
        };
        (1..=LINES).map(line).collect()
    }

    fn complaints(third: &str) -> Vec<String> {
        let names = BTreeSet::from(["a".to_owned(), "b c".to_owned()]);
        let (text, _) = report(&read_list(&list(third)), &names);
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.pop();
        lines
    }

    #[test]
    fn lines_have_checks_that_exist_or_a_reason() {
        assert!(complaints("`a` | |").is_empty());
        assert!(complaints(" | why |").is_empty());
        assert_eq!(
            complaints("`c` | |"),
            ["F3 names `c`, which is nowhere".to_owned()]
        );
        assert_eq!(
            complaints(" | |"),
            ["F3 has to have checks, or a reason".to_owned()]
        );
        assert_eq!(
            complaints("`a` | why |"),
            ["F3 has to have checks, or a reason".to_owned()]
        );
    }

    #[test]
    fn missing_line_is_a_complaint() {
        let text = list("`a` | |").replace("| F46 |", "| F47 |");
        let names = BTreeSet::from(["a".to_owned(), "b c".to_owned()]);
        let (text, is_complete) = report(&read_list(&text), &names);
        assert!(text.starts_with("F47 is out of order") && !is_complete);
    }

    #[test]
    fn every_line_of_the_list_names_what_is_there() {
        let list = text_of(shell::root(), LIST).expect("it is there");
        let (_, names) = tested_numbers(shell::root()).expect("sources can be read");
        let (text, is_complete) = report(&read_list(&list), &names);
        assert!(is_complete, "{text}");
    }
}
