//! The ring of tests inside the kernel, on each of its machines, and of its deaths.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::artifacts::{self, ImageSpec, Kernel, KernelKind};
use crate::emulator::{self, Boot};
use crate::flags::{EmulatorKind, MachineOptions, TestOptions};
use crate::guest::{self, Limits};
use crate::ktap::{Next, Report};
use crate::machines::{self, Station};
use crate::shell::Progress;
use crate::stream::{Event, Facts, Stream};
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;
use crate::{console_tests, gdb_tests, interrupt, kernel_deaths, matrix, screen_tests};

/// A guest that prints nothing for so long hangs.
pub(crate) const SILENCE: Duration = Duration::from_secs(120);

/// Tests that end on purpose in ways other than passing: their names, and part of
/// what is reported of them.
const BAD_ENDS: [(&str, &str); 12] = [
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
    (
        "loses_frames_of_a_kind_of_their_own",
        "3 more frames of kind deliberately-lost",
    ),
    ("leaves_a_task_behind", "1 tasks"),
    ("times_out_asleep", "timed out"),
];

/// The deliberate tests that end well, among the bad ones.
const GOOD_ENDS: [&str; 3] = ["passes", "panics_as_it_should", "skips"];

pub(crate) fn run(options: &TestOptions) -> Result<Vec<Outcome>> {
    if matrix::is_all_that_is_wanted(options) {
        return matrix::outcomes(options);
    }
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Tests)?;
    let stations = machines::stations(options);
    let mut outcomes = Vec::new();
    for station in &stations {
        if interrupt::is_requested() {
            return Ok(outcomes);
        }
        let label = station.label();
        let of_station = match emulator::need(&station.machine) {
            Err(error) if station.is_optional(options) => {
                let reason = format!("{error:#}");
                vec![Outcome::new("kernel", "boot", Verdict::Skipped(reason))]
            }
            needed => {
                needed?;
                run_ktests(&toolchain, &kernel, &Selection::new(options, station)?)?
            }
        };
        outcomes.extend(of_station.into_iter().map(|outcome| outcome.on(&label)));
    }
    // What follows runs on one machine.
    if let Some(first) = stations.first().filter(|_| options.stress.is_none()) {
        let label = first.label();
        if options.selects("runner") {
            let outcome = run_bad_ends(&toolchain, &kernel, &first.machine)?;
            outcomes.push(outcome.on(&label));
        }
        outcomes.extend(kernel_deaths::run(&toolchain, options)?);
        outcomes.extend(screen_tests::run(&toolchain, options)?);
        outcomes.extend(gdb_tests::run(&toolchain, options)?);
        outcomes.extend(console_tests::run(&toolchain, options)?);
    }
    outcomes.extend(matrix::outcomes(options)?);
    Ok(outcomes)
}

/// Which tests run, on which machine, and how long they may take.
struct Selection<'a> {
    machine: &'a MachineOptions,
    /// The options of the kernel's command line.
    words: String,
    silence: Duration,
}

impl<'a> Selection<'a> {
    fn new(options: &TestOptions, station: &'a Station) -> Result<Self> {
        let filter = options.filter.as_deref().unwrap_or("");
        let mut words = vec![artifacts::quote(&format!("ktest={filter}"))?];
        words.extend((!station.options.is_empty()).then(|| station.options.to_owned()));
        words.push(format!("ktest.among={}", station.among));
        let mut silence = SILENCE;
        if station.machine.emulator() == EmulatorKind::Bochs && options.stress.is_none() {
            // It interprets, and some tests go through a gibibyte.
            words.push("ktest.timeout=100".to_owned());
        }
        if let Some(operations) = options.stress {
            // Some thousand operations a second, at the very least.
            let seconds = 60 + operations / 500;
            words.push(format!("ktest.stress={operations} ktest.timeout={seconds}"));
            silence += Duration::from_secs(seconds.into());
        }
        Ok(Self {
            machine: &station.machine,
            words: words.join(" "),
            silence,
        })
    }
}

fn run_ktests(
    toolchain: &Toolchain,
    kernel: &Kernel,
    selection: &Selection<'_>,
) -> Result<Vec<Outcome>> {
    let Selection {
        machine, silence, ..
    } = *selection;
    let label = machine.label();
    let mut report = Report::default();
    let mut from = 1;
    loop {
        let cmdline = format!("{} ktest.from={from}", selection.words);
        let progress = Progress::start(&format!("running the tests in the kernel ({label})"));
        let mut handle = |event: Event| match event {
            Event::Line(line) => {
                if let Some(name) = line.strip_prefix("# run ") {
                    progress.update(&format!("{label}: {name}"));
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
        let spec = BootSpec {
            machine,
            cmdline: &cmdline,
            files: &[],
            silence,
        };
        let (complaint, _) = boot(toolchain, kernel, &spec, &mut handle)?;
        progress.finish();
        match report.end_boot(complaint.as_deref()) {
            Next::BootFrom(next) if !interrupt::is_requested() => from = next,
            Next::Finished | Next::BootFrom(_) => return Ok(report.outcomes),
            Next::NothingRan => {
                let reason = complaint.unwrap_or_else(|| "no test was reached".to_owned());
                let verdict = Verdict::Failed(reason);
                return Ok(vec![Outcome::new("kernel", "boot", verdict)]);
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
    let selection = Selection {
        machine,
        words: "ktest=deliberate:: ktest.timeout=2".to_owned(),
        silence: QUIET,
    };
    let outcomes = run_ktests(toolchain, kernel, &selection)?;
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

/// A boot, as far as the kernel does not decide about it.
pub(crate) struct BootSpec<'a> {
    pub(crate) machine: &'a MachineOptions,
    /// The options of the kernel's command line that the emulator does not decide.
    pub(crate) cmdline: &'a str,
    /// Files that the programs are among.
    pub(crate) files: &'a [(String, PathBuf)],
    /// How long the guest may print nothing.
    pub(crate) silence: Duration,
}

/// Boots a kernel; returns what is wrong with its ending.
pub(crate) fn boot(
    toolchain: &Toolchain,
    kernel: &Kernel,
    spec: &BootSpec<'_>,
    handle: &mut dyn FnMut(Event),
) -> Result<(Option<String>, Facts)> {
    let machine = spec.machine;
    let options = emulator::kernel_options(machine.emulator());
    let image = artifacts::image(
        toolchain,
        &ImageSpec {
            kernel,
            cmdline: format!("{options} {}", spec.cmdline),
            files: spec.files.to_vec(),
            rootfs: None,
        },
    )?;
    let emulator = emulator::prepare(machine, &Boot::unattended(image))?;
    let limits = Limits {
        total: None,
        silence: Some(spec.silence),
    };
    let mut stream = Stream::new(kernel.symbols.clone(), false);
    let ending = guest::run(emulator, limits, &mut stream, handle)?;
    let complaint = guest::complaint(ending, &stream.facts).map(|(_, text)| text);
    Ok((complaint, stream.facts))
}
