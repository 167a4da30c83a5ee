//! `cargo xtask test`: the rings of tests, and one summary.

use std::process::Command;
use std::{fmt, fs};

use anyhow::{Context, Result};

use crate::flags::TestOptions;
use crate::shell::{self, Progress};
use crate::toolchain::Toolchain;
use crate::{
    artifacts, interrupt, junit, kernel_tests, matrix, programs, starve, syscall_fuzz, verify,
};

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
    /// What it ran on, if the ring has several machines.
    pub(crate) machine: Option<String>,
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
}

impl Outcome {
    pub(crate) fn new(ring: &'static str, name: &str, verdict: Verdict) -> Self {
        let name = name.to_owned();
        Self {
            ring,
            machine: None,
            name,
            verdict,
        }
    }

    /// Says on which machine it came to this.
    pub(crate) fn on(self, machine: &str) -> Self {
        let machine = Some(machine.to_owned());
        Self { machine, ..self }
    }

    /// Returns the ring, with the machine if it has several.
    pub(crate) fn place(&self) -> String {
        match &self.machine {
            Some(machine) => format!("{}[{machine}]", self.ring),
            None => self.ring.to_owned(),
        }
    }

    /// Returns a line about the test, if it failed: where, and how that begins.
    fn failure(&self) -> Option<String> {
        let Verdict::Failed(reason) = &self.verdict else {
            return None;
        };
        let first = reason.lines().next().unwrap_or("");
        // A mark of the kernel's report.
        let first = first.trim_start_matches("# ");
        Some(format!("{}: {} ({first})", self.place(), self.name))
    }

    /// Returns the places where a test that was skipped here did run.
    pub(crate) fn elsewhere(&self, outcomes: &[Self]) -> Vec<String> {
        let ran = |other: &&Self| {
            let is_same = (other.ring, &other.name) == (self.ring, &self.name);
            is_same && !matches!(other.verdict, Verdict::Skipped(_))
        };
        let is_skipped = matches!(self.verdict, Verdict::Skipped(_));
        let others = outcomes.iter().filter(|_| is_skipped).filter(ran);
        others.map(Self::place).collect()
    }
}

impl TestOptions {
    /// Returns whether a test of this name is to run.
    pub(crate) fn selects(&self, name: &str) -> bool {
        crate::flags::selects(self.filter.as_deref(), name)
    }
}

pub(crate) fn run(options: &TestOptions) -> Result<u8> {
    if options.starve {
        starve::enable();
    }
    let is_long = options.stress.is_some();
    let one = options.host || options.kernel || options.programs || options.checkers;
    // No other ring has tests of such names.
    let is_matrix = matrix::is_all_that_is_wanted(options);
    let all = !one && !is_long && !is_matrix;
    let mut outcomes = Vec::new();
    if all || options.host {
        outcomes.extend(show(run_host(options)?));
    }
    if all || options.kernel || is_long || is_matrix {
        outcomes.extend(show(kernel_tests::run(options)?));
    }
    if all || options.programs {
        outcomes.extend(show(programs::run(options)?));
        outcomes.extend(show(syscall_fuzz::outcomes(options)?));
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
        let name = format!("{}: {}", outcome.place(), outcome.name);
        match &outcome.verdict {
            Verdict::Passed if shell::is_verbose() => println!("ok      {name}"),
            Verdict::Passed => {}
            Verdict::Skipped(reason) => match outcome.elsewhere(&outcomes).as_slice() {
                [] => println!("skipped {name} ({reason})"),
                places => println!("skipped {name} ({reason}; ran in {})", places.join(" and ")),
            },
            Verdict::Failed(reason) => {
                println!("FAILED  {name}");
                reason.lines().for_each(|line| println!("    {line}"));
            }
        }
    }
    outcomes
}

/// Prints the counts, place by place, what failed, and the counts of all; returns the
/// status.
fn summarise(outcomes: &[Outcome]) -> u8 {
    let mut places: Vec<String> = Vec::new();
    for place in outcomes.iter().map(Outcome::place) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    for place in places {
        let there = outcomes.iter().filter(|outcome| outcome.place() == place);
        let counts = Counts::of(there, outcomes);
        match counts.elsewhere {
            0 => println!("{place}: {counts}"),
            elsewhere => println!("{place}: {counts} ({elsewhere} more skipped here only)"),
        }
    }
    // Once more at the end, which is what is read first of a long output.
    let failures = outcomes.iter().filter_map(Outcome::failure);
    failures.for_each(|failure| println!("FAILED  {failure}"));
    println!("{}", Counts::of(outcomes.iter(), outcomes));
    let failed = outcomes
        .iter()
        .any(|outcome| matches!(outcome.verdict, Verdict::Failed(_)));
    if interrupt::is_requested() {
        return 130;
    }
    u8::from(failed || outcomes.is_empty())
}

/// What came of some tests.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    /// Skipped wherever they were to run.
    skipped: usize,
    /// Skipped here, and run elsewhere.
    elsewhere: usize,
}

impl Counts {
    /// Counts some outcomes, among all.
    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>, all: &[Outcome]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            let count = match &outcome.verdict {
                Verdict::Passed => &mut counts.passed,
                Verdict::Failed(_) => &mut counts.failed,
                Verdict::Skipped(_) if outcome.elsewhere(all).is_empty() => &mut counts.skipped,
                Verdict::Skipped(_) => &mut counts.elsewhere,
            };
            *count += 1;
        }
        counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

/// Runs the tests of the crates that build for the host.
fn run_host(options: &TestOptions) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    // The checkers by themselves: they have bugs planted in the nucleus.
    for (what, packages) in [
        (
            "the host's tests",
            &["nucleus", "nucleus-macros", "model", "preloader", "xtask"][..],
        ),
        ("the checkers' own tests", &["verify", "fuzz"]),
    ] {
        let mut cargo = artifacts::host_cargo();
        cargo.arg("test");
        cargo.args(packages.iter().map(|name| format!("--package={name}")));
        outcomes.extend(cargo_test(what, cargo, options)?);
    }

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
        // Cargo's runner takes alternatives as words.
        cargo.arg("--").args(filter.split('|'));
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
        // What passed would hide what did not.
        let is_news = |line: &&str| !line.ends_with(" ... ok");
        let news: Vec<_> = text.lines().filter(is_news).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        let details = format!("{}\n{errors}", news.join("\n"));
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
    use super::{Counts, Outcome, Verdict, verdict};

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
        let all = [passed, skipped];
        let counts = |all: &[Outcome]| Counts::of(all.iter(), all).to_string();
        assert_eq!(counts(&all[..1]), "1 passed, 0 failed");
        assert_eq!(counts(&all), "1 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn failure_is_told_in_a_line_with_its_place() {
        let reason = "# panicked: oh\nbacktrace".to_owned();
        let failed = Outcome::new("kernel", "a", Verdict::Failed(reason)).on("qemu");
        let line = Some("kernel[qemu]: a (panicked: oh)".to_owned());
        assert_eq!(failed.failure(), line);
        assert_eq!(Outcome::new("host", "b", Verdict::Passed).failure(), None);
    }

    #[test]
    fn test_that_ran_on_another_machine_is_not_skipped_altogether() {
        let skipped = Verdict::Skipped("no PCID".to_owned());
        let here = Outcome::new("kernel", "a", skipped.clone()).on("qemu");
        let there = Outcome::new("kernel", "a", Verdict::Passed).on("bochs, 2 cpus");
        let nowhere = Outcome::new("kernel", "b", skipped).on("qemu");
        let all = [here, there, nowhere];
        assert_eq!(all[0].elsewhere(&all), ["kernel[bochs, 2 cpus]"]);
        assert_eq!(all[1].elsewhere(&all).len(), 0);
        assert_eq!(all[2].elsewhere(&all).len(), 0);
        let counts = Counts::of(all.iter(), &all);
        assert_eq!(counts.to_string(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(counts.elsewhere, 1);
    }
}
