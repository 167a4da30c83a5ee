//! The ring of tests inside the kernel, and of its deliberate deaths.

use std::time::Duration;

use anyhow::Result;

use crate::artifacts::{self, ImageSpec, Kernel, KernelKind};
use crate::emulator::{self, Boot};
use crate::flags::{MachineOptions, TestOptions};
use crate::guest::{self, Limits};
use crate::interrupt;
use crate::ktap::{Next, Report};
use crate::shell::Progress;
use crate::stream::{Event, Facts, Stream};
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;

/// A guest that prints nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// Deaths on purpose: the option, and what the report has to contain.
const DEATHS: [(&str, &[&str]); 4] = [
    (
        "null",
        &[
            "page fault",
            "kernel read of a page that is not mapped",
            "boot::crash::read_null",
        ],
    ),
    (
        "panic",
        &["the command line asked for it", "boot::crash::die"],
    ),
    (
        "stack-overflow",
        &["kernel stack overflow", "boot::crash::recurse_for_ever"],
    ),
    (
        "double-fault",
        &["double fault", "boot::crash::fault_without_a_stack"],
    ),
];

/// Tests that end on purpose in ways other than passing: their names, and part of
/// what is reported of them.
const BAD_ENDS: [(&str, &str); 11] = [
    ("panics", "on purpose"),
    ("does_not_panic", "did not panic"),
    ("faults", "page fault"),
    (
        "claim_162_kernel_fault_outside_of_user_space_ends_it",
        "page fault",
    ),
    ("overflows_its_stack", "double fault"),
    ("hangs", "timed out"),
    ("hangs_without_interrupts", "took too long"),
    ("dies_with_a_lock_held", "on purpose"),
    ("leaks", "leaked 1 frames"),
    ("leaves_a_task_behind", "1 tasks"),
    ("times_out_asleep", "timed out"),
];

/// The deliberate tests that end well, among the bad ones.
const GOOD_ENDS: [&str; 3] = ["passes", "panics_as_it_should", "skips"];

pub(crate) fn run(options: &TestOptions) -> Result<Vec<Outcome>> {
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Tests)?;
    let filter = options.filter.as_deref().unwrap_or("");
    let selection = artifacts::quote(&format!("ktest={filter}"))?;
    let mut outcomes = run_ktests(&toolchain, &kernel, &options.machine, &selection, SILENCE)?;
    if options.selects("runner") {
        outcomes.push(run_bad_ends(&toolchain, &kernel, &options.machine)?);
    }
    outcomes.extend(run_deaths(&toolchain, options)?);
    Ok(outcomes)
}

fn run_ktests(
    toolchain: &Toolchain,
    kernel: &Kernel,
    machine: &MachineOptions,
    selection: &str,
    silence: Duration,
) -> Result<Vec<Outcome>> {
    let mut report = Report::default();
    let mut from = 1;
    loop {
        let cmdline = format!("{selection} ktest.from={from}");
        let progress = Progress::start("running the tests in the kernel");
        let mut handle = |event: Event| match event {
            Event::Line(line) => {
                if let Some(name) = line.strip_prefix("# run ") {
                    progress.update(name);
                }
                report.line(&line);
            }
            Event::Bytes(bytes) => {
                // Lines that are not the guest's own explain its backtraces.
                if bytes.starts_with(b"       ") {
                    report.explanation(&String::from_utf8_lossy(&bytes));
                }
            }
        };
        let (complaint, _) = boot(toolchain, kernel, (machine, silence), &cmdline, &mut handle)?;
        progress.finish();
        match report.end_boot(complaint.as_deref()) {
            Next::BootFrom(next) if !interrupt::is_requested() => from = next,
            Next::Finished | Next::BootFrom(_) => return Ok(report.outcomes),
            Next::NothingRan => {
                let reason = complaint.unwrap_or_else(|| "no test was reached".to_owned());
                return Ok(vec![Outcome::new(
                    "kernel",
                    "boot",
                    Verdict::Failed(reason),
                )]);
            }
        }
    }
}

/// Runs the tests that end badly on purpose: each has to be reported for what
/// it is, and the others have to run all the same.
fn run_bad_ends(
    toolchain: &Toolchain,
    kernel: &Kernel,
    machine: &MachineOptions,
) -> Result<Outcome> {
    const QUIET: Duration = Duration::from_secs(15);
    let selection = "ktest=deliberate:: ktest.timeout=2";
    let outcomes = run_ktests(toolchain, kernel, machine, selection, QUIET)?;
    let problems: Vec<_> = outcomes.iter().filter_map(bad_end_problem).collect();
    let expected = BAD_ENDS.len() + GOOD_ENDS.len();
    let verdict = if outcomes.len() == expected && problems.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(format!(
            "{} of {expected} tests reported\n{}",
            outcomes.len(),
            problems.join("\n")
        ))
    };
    Ok(Outcome::new(
        "kernel",
        "runner survives and reports tests that end badly",
        verdict,
    ))
}

/// Returns what is wrong with the verdict on a test that ends badly on purpose.
fn bad_end_problem(outcome: &Outcome) -> Option<String> {
    let name = outcome.name.rsplit("::").next().unwrap_or("");
    let expected = BAD_ENDS
        .iter()
        .find(|(bad, _)| *bad == name)
        .map(|(_, text)| *text);
    let is_right = match (&outcome.verdict, expected) {
        (Verdict::Failed(text), Some(expected)) => text.contains(expected),
        (Verdict::Passed | Verdict::Skipped(_), None) => {
            GOOD_ENDS.contains(&name)
                && matches!(outcome.verdict, Verdict::Skipped(_)) == (name == "skips")
        }
        _ => false,
    };
    (!is_right).then(|| format!("{name}: {:?}", outcome.verdict))
}

fn run_deaths(toolchain: &Toolchain, options: &TestOptions) -> Result<Vec<Outcome>> {
    let kernel = artifacts::kernel(toolchain, KernelKind::Release)?;
    let mut outcomes = Vec::new();
    for (way, expected) in DEATHS {
        let name = format!("crash={way}");
        if !options.selects(&name) || interrupt::is_requested() {
            continue;
        }
        let progress = Progress::start(&format!("a deliberate death: {name}"));
        let mut text = String::new();
        let mut handle = |event: Event| {
            if let Event::Bytes(bytes) = event {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        let (_, facts) = boot(
            toolchain,
            &kernel,
            (&options.machine, SILENCE),
            &name,
            &mut handle,
        )?;
        progress.finish();
        let missing = expected.iter().find(|part| !text.contains(**part));
        let verdict = match missing {
            None if facts.panicked => Verdict::Passed,
            None => Verdict::Failed(format!("no panic was reported:\n{text}")),
            Some(part) => Verdict::Failed(format!("the report lacks `{part}`:\n{text}")),
        };
        outcomes.push(Outcome::new("kernel", &name, verdict));
    }
    Ok(outcomes)
}

/// Boots a kernel with these options; returns what is wrong with its ending.
fn boot(
    toolchain: &Toolchain,
    kernel: &Kernel,
    (machine, silence): (&MachineOptions, Duration),
    cmdline: &str,
    handle: &mut dyn FnMut(Event),
) -> Result<(Option<String>, Facts)> {
    let image = artifacts::image(
        toolchain,
        &ImageSpec {
            kernel,
            cmdline: format!("{} {cmdline}", emulator::kernel_options(machine.emulator)),
            files: Vec::new(),
            rootfs: None,
            uefi: machine.uefi,
        },
    )?;
    let emulator = emulator::prepare(machine, &Boot::unattended(image))?;
    let limits = Limits {
        total: None,
        silence: Some(silence),
    };
    let mut stream = Stream::new(kernel.symbols.clone(), false);
    let ending = guest::run(emulator, limits, &mut stream, handle)?;
    let complaint = guest::complaint(ending, &stream.facts).map(|(_, text)| text);
    Ok((complaint, stream.facts))
}
