//! Running scripts on simulated machines, and the scripts that are kept.

use model::Op;
use nucleus::arch::sim::{Config, Machine};
use nucleus::mm::frame::frame_counts;

use crate::pair::Pair;
use crate::report::{Row, caught};
use crate::{Effort, faults};

/// Entries of a node in the tables that scripts are about: 64 pages in all.
pub const ENTRIES: usize = 4;

/// Scripts that found something once, and some that are worth keeping, by name.
pub const KEPT: &[(&str, &str)] = &[
    (
        "huge-page-in-parts",
        include_str!("../scripts/huge-page-in-parts.script"),
    ),
    (
        "take-without-memory",
        include_str!("../scripts/take-without-memory.script"),
    ),
];

/// Runs the kept scripts, once as they are and once with failing allocations.
#[must_use]
pub fn run(_effort: Effort) -> Vec<Row> {
    let replay = |(name, text): &(&str, &str)| {
        let ops = model::script::parse(text)?;
        let mut bench = Bench::default();
        bench
            .check(&ops)
            .and_then(|()| faults::check(&mut bench, &ops))
            .and_then(|_| bench.end())
            .map_err(|text| format!("{name}: {text}"))
    };
    vec![Row {
        claim: "scripts that found a bug once find none",
        checker: "kept scripts",
        cases: format!("{} scripts", KEPT.len()),
        result: KEPT.iter().try_for_each(replay),
    }]
}

/// A machine to run scripts on, one after the other. It is replaced when
/// something has gone wrong on it.
#[derive(Debug)]
pub struct Bench {
    config: Config,
    machine: Option<Machine>,
}

impl Default for Bench {
    /// Makes a bench for page tables that no processor loads.
    fn default() -> Self {
        Self::of(Config {
            ram: 4 << 20,
            cpus: 1,
            checked: false,
            identifiers: true,
            ..Config::default()
        })
    }
}

impl Bench {
    /// Makes a bench whose machines are like this.
    #[must_use]
    pub fn of(config: Config) -> Self {
        Self {
            config,
            machine: None,
        }
    }

    /// Runs a script; says where the real table and the specification disagree.
    ///
    /// # Errors
    ///
    /// What does not agree, with the operation.
    pub fn check(&mut self, script: &[Op]) -> Result<(), String> {
        self.run(|| {
            Pair::<ENTRIES>::empty()
                .run(script)
                .map_err(|(step, text)| describe(script, step, &text))
        })
    }

    /// Runs something as the first processor, that has to leave as many frames
    /// free as there were.
    ///
    /// # Errors
    ///
    /// What the body says, how it panicked, or what it left behind.
    pub fn run<R>(&mut self, body: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
        self.run_outside(|machine| machine.on(0, body))
    }

    /// As [`Self::run`], for a body that decides which processor it is.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_outside<R>(
        &mut self,
        body: impl FnOnce(&Machine) -> Result<R, String>,
    ) -> Result<R, String> {
        let config = self.config;
        let machine = self.machine.take().unwrap_or_else(|| Machine::new(config));
        let checked = || {
            let free = machine.on(0, frame_counts).free;
            let result = body(&machine)?;
            match machine.on(0, frame_counts).free {
                now if now == free => Ok(result),
                now => Err(format!("{now} frames are free in the end, not {free}")),
            }
        };
        let result = caught(checked).flatten();
        if result.is_ok() {
            self.machine = Some(machine);
        } else {
            // Locks may be held, and frames be owned by nobody.
            std::mem::forget(machine);
        }
        result
    }

    /// Ends the machine.
    ///
    /// # Errors
    ///
    /// What was left behind: guards, read sections, frames that wait.
    pub fn end(mut self) -> Result<(), String> {
        caught(|| drop(self.machine.take()))
    }
}

/// Says at which operation of a script something is wrong.
#[must_use]
pub fn describe(script: &[Op], step: usize, text: &str) -> String {
    let op = script.get(step).map(Op::to_string).unwrap_or_default();
    format!("line {}, `{op}`: {text}", step + 1)
}
