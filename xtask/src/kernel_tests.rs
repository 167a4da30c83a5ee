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

pub(crate) fn run(options: &TestOptions) -> Result<Vec<Outcome>> {
    let toolchain = Toolchain::find_or_install()?;
    let mut outcomes = run_ktests(&toolchain, options)?;
    outcomes.extend(run_deaths(&toolchain, options)?);
    Ok(outcomes)
}

fn run_ktests(toolchain: &Toolchain, options: &TestOptions) -> Result<Vec<Outcome>> {
    let kernel = artifacts::kernel(toolchain, KernelKind::Tests)?;
    let filter = artifacts::quote(&format!(
        "ktest={}",
        options.filter.as_deref().unwrap_or("")
    ))?;
    let mut report = Report::default();
    let mut from = 1;
    loop {
        let cmdline = format!("{filter} ktest.from={from}");
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
        let (complaint, _) = boot(toolchain, &kernel, &options.machine, &cmdline, &mut handle)?;
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
        let (_, facts) = boot(toolchain, &kernel, &options.machine, &name, &mut handle)?;
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
    machine: &MachineOptions,
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
    let boot = Boot {
        image,
        window: false,
        interactive: false,
        icount: false,
        extra: Vec::new(),
    };
    let emulator = emulator::prepare(machine, &boot)?;
    let limits = Limits {
        total: None,
        silence: Some(SILENCE),
    };
    let mut stream = Stream::new(kernel.symbols.clone(), false);
    let ending = guest::run(emulator, limits, &mut stream, handle)?;
    let complaint = guest::complaint(ending, &stream.facts).map(|(_, text)| text);
    Ok((complaint, stream.facts))
}
