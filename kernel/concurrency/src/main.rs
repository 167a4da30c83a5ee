//! The checkers of what several processors do at once. They run the nucleus
//! itself on simulated machines, and choose at each operation on memory that
//! processors share who goes on. `cargo xtask verify` calls them.
//!
//! * `search`, `exhaustive`: how schedules are chosen.
//! * `cursors`, `serial`: cursors that overlap, and whether what they said is what
//!   they could have said one after the other.
//! * `frames`: reference counts, and the allocator.
//! * `spaces`: flushes, activation, and grace periods.
//! * `forks`: forks, and first writes to what they share.
//! * `sleepers`: locks whose takers sleep, and wake-ups.
//! * `checks`: the list of all checks, and of the bugs that they have to find.
//!
//! All operations are in one order here, as if each were `SeqCst`; what weaker
//! orders allow is the business of `kernel/concurrency/loom`.
//!
//! Each check runs in a process of its own: whatever becomes of it, the others run.

#![forbid(unsafe_code)]

mod checks;
mod cursors;
mod exhaustive;
mod forks;
mod frames;
mod search;
mod serial;
mod sleepers;
mod spaces;

use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use nucleus::arch::sim::{Config, Machine};
use nucleus::planted;
use verify::report::{Row, grouped};

use self::checks::{CHECKS, Check};

/// Runs the nucleus with several processors, by many schedules.
#[derive(Parser)]
struct Arguments {
    /// Minutes instead of seconds.
    #[arg(long)]
    deep: bool,
    /// Run one check in this process, by so many schedules at most.
    #[arg(long, requires = "checks")]
    here: Option<usize>,
    /// Run one check by a schedule that a failure has written.
    #[arg(long, requires = "checks")]
    replay: Option<String>,
    /// Checks to run, by the starts of their names; all if none is named.
    checks: Vec<String>,
}

/// Makes a machine on which everything is checked that can be.
fn machine(cpus: usize) -> Machine {
    Machine::new(Config {
        ram: 3 << 20,
        cpus,
        checked: true,
        identifiers: true,
        ..Config::default()
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_wanted = |check: &&Check| {
        let is_named = |name: &String| check.name.starts_with(name.as_str());
        arguments.checks.is_empty() || arguments.checks.iter().any(is_named)
    };
    let mut wanted = CHECKS.iter().filter(is_wanted);
    if let Some(schedule) = &arguments.replay {
        let check = wanted.next().expect("there is a check of that name");
        let _bug = check.finds.map(planted::plant);
        search::replay(check.scenario, schedule);
        return ExitCode::SUCCESS;
    }
    if let Some(schedules) = arguments.here {
        let check = wanted.next().expect("there is a check of that name");
        let _bug = check.finds.map(planted::plant);
        let (schedules, is_all) = check.search.run(check.scenario, schedules);
        println!("{schedules} {is_all}");
        return ExitCode::SUCCESS;
    }
    let schedules = match arguments.deep {
        true => 1_000_000,
        false => 20_000,
    };
    let mut is_well = true;
    for check in wanted {
        eprintln!("{} …", check.name);
        is_well &= in_a_process(check, schedules).print();
    }
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs a check in a process of its own.
fn in_a_process(check: &Check, schedules: usize) -> Row {
    let program = std::env::current_exe().expect("this program has a file");
    let output = Command::new(program)
        .arg(format!("--here={schedules}"))
        .arg(check.name)
        .stdin(Stdio::null())
        .output()
        .expect("this program can be run again");
    let is_found = !output.status.success();
    let text = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    let mut words = said.split_whitespace();
    let schedules = words.next().and_then(|word| word.parse().ok());
    let mut cases = schedules.map_or("until found".into(), |number| {
        format!("{} schedules", grouped(number))
    });
    if words.next() == Some("true") {
        cases += ", which are all";
    }
    if check.finds.is_some() && is_found {
        eprintln!("found: {}", first_complaint(&text));
    }
    let result = match (check.finds, is_found) {
        (Some(_), true) | (None, false) => Ok(()),
        (Some(_), false) => Err("nothing was found".into()),
        (None, true) => Err(format!("{}\n{text}", first_complaint(&text))),
    };
    Row {
        claim: check.claim,
        checker: check.search.name(),
        cases,
        result,
    }
}

/// Returns the line that says what is wrong.
fn first_complaint(text: &str) -> &str {
    let mut lines = text.lines();
    lines
        .find(|line| line.contains("panicked at"))
        .and_then(|_| lines.next())
        .unwrap_or("it ended without a word")
}
