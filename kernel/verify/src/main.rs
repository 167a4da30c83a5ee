//! Runs the checkers.

use std::process::ExitCode;

use clap::Parser;
use verify::{Effort, access, exhaustive, faults, frames, planted, random, report, script, spaces};

/// Runs the nucleus beside its specification, and tries to break it.
#[derive(Parser)]
struct Arguments {
    /// Minutes instead of seconds.
    #[arg(long)]
    deep: bool,
    /// Checkers to run; all if none is named.
    checkers: Vec<String>,
}

type Checker = fn(Effort) -> Vec<report::Row>;

const CHECKERS: [(&str, Checker); 8] = [
    ("kept", script::run),
    ("random", random::run),
    ("exhaustive", exhaustive::run),
    ("faults", faults::run),
    ("frames", frames::run),
    ("spaces", spaces::run),
    ("access", access::run),
    ("planted", planted::run),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let effort = match arguments.deep {
        true => Effort::Deep,
        false => Effort::Short,
    };
    report::note_panics();
    let mut is_well = true;
    for (name, checker) in CHECKERS {
        let is_wanted = arguments.checkers.iter().any(|wanted| wanted == name);
        if is_wanted || arguments.checkers.is_empty() {
            eprintln!("{name} …");
            for row in checker(effort) {
                is_well &= row.print();
            }
        }
    }
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
