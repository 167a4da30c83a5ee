//! Where Vostok differs from Linux on purpose: the table of `kernel/docs/linux.md`.
//!
//! A row names a case, a line that it prints on Linux, the line that it has to print on
//! Vostok instead, and why. A difference that is listed has to be there: a case that
//! prints Linux's line after all fails, and so does one whose line Linux never printed.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::frames::Observed;
use crate::shell;

/// Where the table is.
const TABLE: &str = "kernel/docs/linux.md";

/// A line that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    linux: String,
    vostok: String,
}

/// The rows of the table, by the name of the case.
#[derive(Debug)]
pub(super) struct Differences(BTreeMap<String, Vec<Difference>>);

impl Differences {
    /// Reads the table.
    pub(super) fn read() -> Result<Self> {
        let path = shell::root().join(TABLE);
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {TABLE}"))?;
        Ok(Self::parse(&text))
    }

    /// Reads the rows that start with a case in back quotes and have four cells.
    fn parse(text: &str) -> Self {
        let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in text.lines() {
            let cells: Vec<_> = line
                .split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ']))
                .collect();
            let quoted = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
            let [case, linux, vostok, _] = cells.as_slice() else {
                continue;
            };
            if let (Some(case), Some(linux), Some(vostok)) =
                (quoted(case), quoted(linux), quoted(vostok))
            {
                rows.entry(case)
                    .or_default()
                    .push(Difference { linux, vostok });
            }
        }
        Self(rows)
    }

    /// Returns what a case has to do on Vostok, given what it did on Linux.
    pub(super) fn applied(
        &self,
        case: &str,
        linux: &Result<Observed, String>,
    ) -> Result<Observed, String> {
        let mut expected = linux.clone()?;
        for difference in self.0.get(case).into_iter().flatten() {
            let mut lines: Vec<_> = expected.output.lines().collect();
            let found = lines.iter_mut().find(|line| **line == difference.linux);
            let line = found.ok_or_else(|| {
                format!(
                    "{TABLE} says that Linux prints `{}`, and it does not",
                    difference.linux
                )
            })?;
            *line = &difference.vostok;
            expected.output = lines.iter().map(|line| format!("{line}\n")).collect();
        }
        Ok(expected)
    }

    /// Returns the cases that have rows and are not among these.
    pub(super) fn unknown(&self, names: &[String]) -> Vec<String> {
        let cases = self.0.keys().filter(|case| !names.contains(case));
        cases.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::{Differences, Observed};
    use crate::shell;

    const TEXT: &str = "# Title\n| case | Linux | Vostok | why |\n|---|---|---|---|\n\
                        | `conform x` | `a = 1` | `a = ENOSYS` | not there |\n";

    fn observed(output: &str) -> Result<Observed, String> {
        Ok(Observed {
            output: output.to_owned(),
            end: "exit 0".to_owned(),
        })
    }

    #[test]
    fn listed_line_is_replaced_and_others_stay() {
        let table = Differences::parse(TEXT);
        let linux = observed("a = 2\na = 1\n");
        assert_eq!(
            table.applied("conform x", &linux),
            observed("a = 2\na = ENOSYS\n")
        );
        assert_eq!(table.applied("conform y", &linux), linux);
    }

    #[test]
    fn line_that_linux_does_not_print_is_a_complaint() {
        let table = Differences::parse(TEXT);
        let complaint = table.applied("conform x", &observed("b\n")).unwrap_err();
        assert!(complaint.contains("`a = 1`"), "{complaint}");
    }

    #[test]
    fn rows_of_cases_that_are_not_there_are_found() {
        let table = Differences::parse(TEXT);
        assert_eq!(table.unknown(&[]), ["conform x"]);
        assert_eq!(table.unknown(&["conform x".to_owned()]), [""; 0]);
    }

    #[test]
    fn document_names_the_calls_that_the_kernel_has() {
        let text = |path: &str| fs::read_to_string(shell::root().join(path)).unwrap();
        let document = text(super::TABLE);
        let (_, rest) = document.split_once("## Calls").unwrap();
        let (section, _) = rest.split_once("\n## ").unwrap();
        let documented: BTreeSet<_> = section
            .lines()
            .filter(|line| line.starts_with("**"))
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .map(str::to_owned)
            .collect();
        let numbers = text("kernel/src/syscall/number.rs");
        let names = numbers.lines().filter_map(|line| line.split_once(" = "));
        let is_name = |name: &str| {
            !name.is_empty() && !name.contains(|c: char| c.is_lowercase() || c.is_whitespace())
        };
        let there: BTreeSet<_> = names
            .map(|(name, _)| name.trim())
            .filter(|name| is_name(name))
            .map(str::to_lowercase)
            .collect();
        assert!(there.len() > 80, "{there:?}");
        assert_eq!(documented, there);
    }

    #[test]
    fn table_of_the_repository_can_be_read() {
        Differences::read().expect("it is there");
    }
}
