//! `cargo xtask verify`: runs the checkers of the memory core, which are programs
//! of their own, and shows one table of what they found.
//!
//! A checker writes a line for each thing it has checked: `row`, the claim, the
//! checker, at how many cases or states it looked, and `ok` or what is wrong, with
//! tabulators between them. What else it writes is shown where it failed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::flags::VerifyOptions;
use crate::shell::{self, Progress};
use crate::test::{Outcome, Verdict};
use crate::{artifacts, flags, interrupt};

/// The packages that are checkers, in the order in which they run.
const PACKAGES: [&str; 4] = ["verify", "fuzz", "concurrency-loom", "concurrency"];

/// What a checker says about one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    claim: String,
    checker: String,
    cases: String,
    /// `ok`, or what is wrong.
    result: String,
}

impl Row {
    fn is_ok(&self) -> bool {
        self.result == "ok"
    }
}

pub(crate) fn run(options: &VerifyOptions) -> Result<u8> {
    let mut rows = Vec::new();
    for package in PACKAGES {
        rows.extend(run_package(package, options)?);
    }
    let selected: Vec<_> = rows
        .into_iter()
        .filter(|row| options.selects(&row.checker))
        .collect();
    print!("{}", table(&selected));
    let failed = selected.iter().filter(|row| !row.is_ok()).count();
    println!("{} checks, {failed} failed", selected.len());
    if interrupt::is_requested() {
        return Ok(130);
    }
    Ok(u8::from(failed > 0 || selected.is_empty()))
}

/// Runs the checkers as a ring of tests.
pub(crate) fn outcomes(filter: Option<&str>) -> Result<Vec<Outcome>> {
    let options = VerifyOptions::default();
    let mut outcomes = Vec::new();
    for package in PACKAGES {
        for row in run_package(package, &options)? {
            let name = format!("{} ({})", row.claim, row.checker);
            let verdict = match row.is_ok() {
                true => Verdict::Passed,
                false => Verdict::Failed(row.result),
            };
            if flags::selects(filter, &name) {
                outcomes.push(Outcome::new("checkers", &name, verdict));
            }
        }
    }
    Ok(outcomes)
}

/// Builds a checker and runs it; returns its rows.
fn run_package(package: &str, options: &VerifyOptions) -> Result<Vec<Row>> {
    let profile = "--profile=verify";
    let mut build = artifacts::host_cargo();
    build.args(["build", profile, "--package", package]);
    shell::step(&format!("building the checkers: {package}"), &mut build)?;
    let mut checker = artifacts::host_cargo();
    checker.args(["run", "--quiet", profile, "--package", package, "--"]);
    if options.deep {
        checker.arg("--deep");
    }
    let (rows, rest, is_well) = follow(package, &mut checker)?;
    let failed = rows.iter().any(|row| !row.is_ok());
    if failed || !is_well {
        rest.iter().for_each(|line| println!("{line}"));
    }
    if !is_well && !failed && !interrupt::is_requested() {
        bail!("the checker {package} ended early");
    }
    Ok(rows)
}

/// Runs a checker and shows how far it is; returns its rows, its other lines, and
/// whether it said that all is well.
fn follow(package: &str, checker: &mut Command) -> Result<(Vec<Row>, Vec<String>, bool)> {
    shell::show(checker);
    let progress = Progress::start(&format!("checking: {package}"));
    let stderr = match shell::is_verbose() {
        true => Stdio::inherit(),
        false => Stdio::null(),
    };
    let mut child = checker
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .context("cannot run a checker")?;
    let (mut rows, mut rest) = (Vec::new(), Vec::new());
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
    {
        let line = line.context("cannot read what a checker says")?;
        match read_row(&line) {
            Some(row) => {
                progress.update(&format!("checking: {} ({})", row.claim, row.checker));
                rows.push(row);
            }
            None => rest.push(line),
        }
    }
    let status = child.wait().context("cannot wait for a checker")?;
    progress.finish();
    Ok((rows, rest, status.success()))
}

fn read_row(line: &str) -> Option<Row> {
    let mut fields = line.strip_prefix("row\t")?.split('\t').map(str::to_owned);
    Some(Row {
        claim: fields.next()?,
        checker: fields.next()?,
        cases: fields.next()?,
        result: fields.next()?,
    })
}

/// Returns the table, its columns as wide as they have to be.
fn table(rows: &[Row]) -> String {
    let width = |field: fn(&Row) -> &str| {
        let widths = rows.iter().map(|row| field(row).chars().count());
        widths.max().unwrap_or(0)
    };
    let claim = width(|row| &row.claim);
    let checker = width(|row| &row.checker);
    let cases = width(|row| &row.cases);
    let line = |row: &Row| {
        format!(
            "{:claim$}  {:checker$}  {:cases$}  {}\n",
            row.claim, row.checker, row.cases, row.result
        )
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Row, read_row, table};

    fn row(claim: &str, result: &str) -> Row {
        Row {
            claim: claim.to_owned(),
            checker: "all states".to_owned(),
            cases: "1 000 000".to_owned(),
            result: result.to_owned(),
        }
    }

    #[test]
    fn rows_are_read_and_other_lines_are_not() {
        let line = "row\tlost frames\tall states\t1 000 000\tok";
        assert_eq!(read_row(line), Some(row("lost frames", "ok")));
        assert_eq!(read_row("row\ttoo\tshort"), None);
        assert_eq!(read_row("anything else"), None);
    }

    #[test]
    fn columns_of_the_table_are_as_wide_as_needed() {
        let text = table(&[row("a", "ok"), row("long", "FAILED: x")]);
        let wanted = "a     all states  1 000 000  ok\n\
                      long  all states  1 000 000  FAILED: x\n";
        assert_eq!(text, wanted);
    }
}
