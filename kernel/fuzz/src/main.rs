//! Runs the fuzz targets: a fixed number of inputs, from a fixed seed.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use fuzz::engine;
use fuzz::targets::TARGETS;
use verify::{Effort, report};

/// Feeds arbitrary bytes to what must never break.
#[derive(Parser)]
struct Arguments {
    /// Minutes instead of seconds.
    #[arg(long)]
    deep: bool,
    /// Targets to run; all if none is named.
    targets: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let effort = match arguments.deep {
        true => Effort::Deep,
        false => Effort::Short,
    };
    let is_known = |name: &String| TARGETS.iter().any(|target| target.name == name);
    if let Some(name) = arguments.targets.iter().find(|name| !is_known(name)) {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("there is no target `{name}`, but {}", names.join(", "));
        return ExitCode::from(2);
    }
    report::note_panics();
    let mut is_well = true;
    for target in &TARGETS {
        let is_wanted = arguments.targets.iter().any(|wanted| wanted == target.name);
        if !is_wanted && !arguments.targets.is_empty() {
            continue;
        }
        let start = Instant::now();
        match engine::run(target, effort) {
            Ok(rows) => rows.iter().for_each(|row| is_well &= row.print()),
            Err(error) => {
                eprintln!("{}: {error}", target.name);
                is_well = false;
            }
        }
        eprintln!("{}: {:.1} s", target.name, start.elapsed().as_secs_f32());
    }
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
