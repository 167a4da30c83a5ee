//! `cargo xtask test`: the rings of tests, and one summary.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::flags::TestOptions;
use crate::shell::{self, Progress};
use crate::toolchain::Toolchain;
use crate::{artifacts, interrupt, junit, kernel_tests, programs, verify};

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// With what it said.
    Failed(String),
    /// With the reason.
    Skipped(String),
}

/// A test and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) ring: &'static str,
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
}

impl Outcome {
    pub(crate) fn new(ring: &'static str, name: &str, verdict: Verdict) -> Self {
        let name = name.to_owned();
        Self {
            ring,
            name,
            verdict,
        }
    }
}

impl TestOptions {
    /// Returns whether a test of this name is to run.
    pub(crate) fn selects(&self, name: &str) -> bool {
        crate::flags::selects(self.filter.as_deref(), name)
    }
}

pub(crate) fn run(options: &TestOptions) -> Result<u8> {
    let one = options.host || options.kernel || options.programs || options.checkers;
    let all = !one;
    let mut outcomes = Vec::new();
    if all || options.host {
        outcomes.extend(show(run_host(options)?));
    }
    if all || options.kernel {
        outcomes.extend(show(kernel_tests::run(options)?));
    }
    if all || options.programs {
        outcomes.extend(show(programs::run(options)?));
    }
    if all || options.checkers {
        outcomes.extend(show(verify::outcomes(options.filter.as_deref())?));
    }
    if let Some(path) = &options.junit {
        fs::write(path, junit::report(&outcomes))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(summarise(&outcomes))
}

/// Shows what failed and what was skipped in a ring.
fn show(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    for outcome in &outcomes {
        let name = format!("{}: {}", outcome.ring, outcome.name);
        match &outcome.verdict {
            Verdict::Passed if shell::is_verbose() => println!("ok      {name}"),
            Verdict::Passed => {}
            Verdict::Skipped(reason) => println!("skipped {name} ({reason})"),
            Verdict::Failed(reason) => {
                println!("FAILED  {name}");
                reason.lines().for_each(|line| println!("    {line}"));
            }
        }
    }
    outcomes
}

/// Prints the counts, ring by ring and then of all, and returns the status.
fn summarise(outcomes: &[Outcome]) -> u8 {
    for ring in ["host", "kernel", "programs", "checkers"] {
        let of_ring: Vec<_> = outcomes
            .iter()
            .filter(|outcome| outcome.ring == ring)
            .collect();
        if !of_ring.is_empty() {
            println!("{ring}: {}", counts(&of_ring));
        }
    }
    let all: Vec<_> = outcomes.iter().collect();
    println!("{}", counts(&all));
    let failed = all
        .iter()
        .any(|outcome| matches!(outcome.verdict, Verdict::Failed(_)));
    if interrupt::is_requested() {
        return 130;
    }
    u8::from(failed || all.is_empty())
}

fn counts(outcomes: &[&Outcome]) -> String {
    let count = |wanted: fn(&Verdict) -> bool| {
        outcomes
            .iter()
            .filter(|outcome| wanted(&outcome.verdict))
            .count()
    };
    let passed = count(|verdict| matches!(verdict, Verdict::Passed));
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
    let rest = if skipped > 0 {
        format!(", {skipped} skipped")
    } else {
        String::new()
    };
    format!("{passed} passed, {failed} failed{rest}")
}

/// Runs the tests of the crates that build for the host.
fn run_host(options: &TestOptions) -> Result<Vec<Outcome>> {
    let mut cargo = artifacts::host_cargo();
    cargo.args([
        "test",
        "--package=nucleus",
        "--package=nucleus-macros",
        "--package=model",
        "--package=verify",
        "--package=xtask",
    ]);
    let mut outcomes = cargo_test("the host's tests", cargo, options)?;

    let toolchain = Toolchain::find_or_install()?;
    let mut cargo = toolchain.cargo();
    cargo.args(["test", "--release", "--package=boot", "--target-dir"]);
    cargo.arg(artifacts::target().join("boot"));
    outcomes.extend(cargo_test("the image builder's tests", cargo, options)?);
    Ok(outcomes)
}

/// Runs a `cargo test` and reads its verdicts.
fn cargo_test(what: &str, mut cargo: Command, options: &TestOptions) -> Result<Vec<Outcome>> {
    cargo.arg("--no-fail-fast");
    if let Some(filter) = &options.filter {
        cargo.args(["--", filter]);
    }
    shell::show(&cargo);
    let progress = Progress::start(what);
    let output = cargo.output().context("cannot run cargo")?;
    progress.finish();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcomes: Vec<_> = text.lines().filter_map(verdict).collect();
    let failed = outcomes
        .iter()
        .any(|outcome| matches!(outcome.verdict, Verdict::Failed(_)));
    if !output.status.success() {
        let details = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
        match outcomes
            .iter_mut()
            .find(|outcome| matches!(outcome.verdict, Verdict::Failed(_)))
        {
            Some(first) if failed => first.verdict = Verdict::Failed(details),
            _ => outcomes.push(Outcome::new("host", what, Verdict::Failed(details))),
        }
    }
    Ok(outcomes)
}

/// Reads a line like `test a::b ... ok`.
fn verdict(line: &str) -> Option<Outcome> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.trim_end_matches(" - should panic");
    let verdict = match result {
        "ok" => Verdict::Passed,
        "FAILED" => Verdict::Failed(String::new()),
        _ => Verdict::Skipped(result.to_owned()),
    };
    Some(Outcome::new("host", name, verdict))
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Verdict, counts, verdict};

    #[test]
    fn verdicts_of_cargo_are_read() {
        let read = |line| verdict(line).map(|outcome| (outcome.name, outcome.verdict));
        assert_eq!(
            read("test a::b ... ok"),
            Some(("a::b".to_owned(), Verdict::Passed))
        );
        let panics = read("test a - should panic ... ok");
        assert_eq!(panics, Some(("a".to_owned(), Verdict::Passed)));
        let failed = Some(("a".to_owned(), Verdict::Failed(String::new())));
        assert_eq!(read("test a ... FAILED"), failed);
        assert_eq!(read("test result: ok. 3 passed"), None);
        assert_eq!(read("running 3 tests"), None);
    }

    #[test]
    fn summary_names_skipped_tests_only_if_there_are_any() {
        let passed = Outcome::new("host", "a", Verdict::Passed);
        let skipped = Outcome::new("host", "b", Verdict::Skipped("why".to_owned()));
        assert_eq!(counts(&[&passed]), "1 passed, 0 failed");
        assert_eq!(
            counts(&[&passed, &skipped]),
            "1 passed, 0 failed, 1 skipped"
        );
    }
}
