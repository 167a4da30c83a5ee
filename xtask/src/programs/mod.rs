//! The ring of programs: each case runs on the host's Linux and on Vostok, and
//! output and status have to be the same.
//!
//! | file | what |
//! |---|---|
//! | `cases` | which cases there are |
//! | `foreign` | programs that are not Rust of ours: C, and Debian's |
//! | `batch` | runs many cases in one boot, by `run-cases` |
//! | `frames` | reads what `run-cases` reports |
//! | `differences` | where the two systems differ on purpose |
//! | `single` | boots for one program: the ways it can die, and the most processors |
//!
//! Linux runs the list first, by the same runner, and what it did is what Vostok has
//! to do, on one processor and on several.

mod batch;
mod cases;
mod differences;
mod foreign;
mod frames;
mod single;

use anyhow::Result;

use self::batch::Batch;
use self::cases::Case;
use self::differences::Differences;
use self::frames::Observed;
use crate::artifacts::{self, Kernel, KernelKind};
use crate::flags::{EmulatorKind, MachineOptions, TestOptions};
use crate::interrupt;
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;

/// How many processors the list runs on, besides one.
const SEVERAL: u32 = 4;

/// A kernel, and the machine to boot it on.
#[derive(Clone, Copy)]
struct Target<'a> {
    toolchain: &'a Toolchain,
    kernel: &'a Kernel,
    machine: &'a MachineOptions,
}

pub(crate) fn run(options: &TestOptions) -> Result<Vec<Outcome>> {
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Release)?;
    let programs = artifacts::programs()?;
    let target = Target {
        toolchain: &toolchain,
        kernel: &kernel,
        machine: &options.machine,
    };
    let mut outcomes = single::run(options, target, &programs)?;

    let mut cases = cases::all(&programs)?;
    cases.select(options);
    for (case, reason) in &cases.missing {
        let verdict = Verdict::Skipped(reason.clone());
        outcomes.push(Outcome::new("programs", &case.name(), verdict));
    }
    if cases.list.is_empty() || interrupt::is_requested() {
        return Ok(outcomes);
    }
    let names: Vec<_> = cases.list.iter().map(Case::name).collect();
    let differences = Differences::read()?;
    if options.filter.is_none() {
        outcomes.extend(differences.unknown(&names).iter().map(|case| {
            let complaint = "the table of differences names it, and it is no case".to_owned();
            Outcome::new("programs", case, Verdict::Failed(complaint))
        }));
    }
    let batch = Batch::new(cases)?;
    let expected = batch.on_linux()?;
    for machine in machines(&options.machine) {
        if interrupt::is_requested() {
            break;
        }
        let machine = &machine;
        let run = batch.on_vostok(Target { machine, ..target })?;
        let compared = batch.cases.list.iter().zip(&expected).zip(&run.cases);
        for (number, ((case, expected), actual)) in compared.enumerate() {
            let name = case.name();
            let mut verdict = compare(&differences.applied(&name, expected), actual);
            if let (Verdict::Failed(text), Some(messages)) =
                (&mut verdict, run.messages.get(&number))
            {
                text.push_str(messages);
            }
            outcomes.push(Outcome::new("programs", &name, verdict).on(&machine.label()));
        }
        let leaks = Outcome::new("programs", "frames in use afterwards", run.frames);
        outcomes.push(leaks.on(&machine.label()));
    }
    Ok(outcomes)
}

/// Returns the machines that the list runs on.
fn machines(options: &MachineOptions) -> Vec<MachineOptions> {
    let mut machines = vec![options.clone()];
    if !options.is_chosen() {
        let several = MachineOptions::new(EmulatorKind::Qemu, SEVERAL, &options.memory);
        machines.push(several);
    }
    machines
}

/// Compares what a case has to do with what it did; an error says why one of the
/// two is not known.
fn compare(expected: &Result<Observed, String>, actual: &Result<Observed, String>) -> Verdict {
    match (expected, actual) {
        (Ok(expected), Ok(actual)) if expected == actual => Verdict::Passed,
        (Ok(expected), Ok(actual)) => Verdict::Failed(expected.differences(actual)),
        (Err(complaint), _) | (_, Err(complaint)) => Verdict::Failed(complaint.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::compare;
    use super::frames::Observed;
    use crate::test::Verdict;

    #[test]
    fn only_equal_output_and_end_pass() {
        let observed = |output: &str, end: &str| {
            Ok(Observed {
                output: output.to_owned(),
                end: end.to_owned(),
            })
        };
        let good = observed("a\n", "exit 0");
        assert_eq!(compare(&good, &good), Verdict::Passed);
        for other in [
            observed("b\n", "exit 0"),
            observed("a", "exit 0"),
            observed("a\n", "exit 1"),
            Err("the kernel died".to_owned()),
        ] {
            assert!(matches!(compare(&good, &other), Verdict::Failed(_)));
            assert!(matches!(compare(&other, &good), Verdict::Failed(_)));
        }
    }
}
