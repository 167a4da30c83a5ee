//! `cargo xtask fuzz-syscalls`, and its short run in the ring of programs: random
//! system calls by many threads and processes, which the kernel has to live through
//! without losing a frame.
//!
//! The program is `syscall-fuzz` of `user/`, as the only one; it says itself whether
//! frames are lost. What is left to see here is
//! whether the kernel panics or falls silent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::artifacts::{self, ImageSpec, KernelKind};
use crate::emulator::{self, Boot};
use crate::flags::{EmulatorKind, FuzzOptions, MachineOptions, TestOptions};
use crate::guest::{self, Limits};
use crate::shell::{self, Progress};
use crate::stream::{Event, Stream};
use crate::system::System;
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;

const PROGRAM: &str = "syscall-fuzz";

/// The program says every few seconds how far it is.
const SILENCE: Duration = Duration::from_secs(120);

/// The run in the ring: long enough for each call to come hundreds of times.
const SHORT_CALLS: u64 = 60_000;
const SHORT_SEED: u64 = 6;

/// Processors of the run in the ring, unless others are wanted.
const SHORT_CPUS: u32 = 2;

/// The command.
pub(crate) fn run(options: &FuzzOptions) -> Result<u8> {
    let seed = options.seed.unwrap_or_else(seed_of_now);
    let mut words = vec![format!("--calls {} --seed {seed}", options.calls)];
    words.extend(options.only.map(|worker| format!("--only {worker}")));
    words.extend(options.threads.map(|count| format!("--threads {count}")));
    words.extend(options.trace.then(|| "--trace".to_owned()));
    let complaint = boot(&options.machine, &words.join(" "), &mut guest::show)?;
    let Some(complaint) = complaint else {
        return Ok(0);
    };
    println!("error: {complaint}");
    println!(
        "Again: cargo xtask fuzz-syscalls --calls {} --seed {seed}",
        options.calls
    );
    println!("One worker alone: add --only WORKER; each of its calls: --trace");
    Ok(1)
}

/// The short run.
pub(crate) fn outcomes(options: &TestOptions) -> Result<Vec<Outcome>> {
    if !options.selects(PROGRAM) || options.machine.emulator() == EmulatorKind::Bochs {
        return Ok(Vec::new());
    }
    let machine = if options.machine.is_chosen() {
        options.machine.clone()
    } else {
        MachineOptions::new(EmulatorKind::Qemu, SHORT_CPUS, &options.machine.memory)
    };
    let progress = Progress::start("making random system calls");
    let mut said = String::new();
    let mut handle = |event: Event| {
        if let Event::Line(line) = event {
            said.push_str(&line);
            said.push('\n');
        }
    };
    let words = format!("--calls {SHORT_CALLS} --seed {SHORT_SEED}");
    let complaint = boot(&machine, &words, &mut handle)?;
    progress.finish();
    let verdict = match complaint {
        None => Verdict::Passed,
        Some(complaint) => Verdict::Failed(format!("{said}{complaint}")),
    };
    let outcome = Outcome::new("programs", PROGRAM, verdict);
    Ok(vec![outcome.on(&machine.label())])
}

/// Boots with the program; returns what is wrong.
fn boot(
    machine: &MachineOptions,
    words: &str,
    handle: &mut dyn FnMut(Event),
) -> Result<Option<String>> {
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Release)?;
    let system = System::build()?;
    // The program opens others.
    let mut files = system.files_for("/bin/true");
    files.push(system.file(PROGRAM)?);
    let options = emulator::kernel_options(machine.emulator());
    let image = artifacts::image(
        &toolchain,
        &ImageSpec {
            kernel: &kernel,
            cmdline: format!("{options} log=error -- /bin/{PROGRAM} {words}"),
            files,
            rootfs: None,
        },
    )?;
    let emulator = emulator::prepare(machine, &Boot::unattended(image))?;
    let limits = Limits {
        total: None,
        silence: Some(SILENCE),
    };
    let mut stream = Stream::new(kernel.symbols, !shell::is_verbose());
    let ending = guest::run(emulator, limits, &mut stream, handle)?;
    if let Some((_, complaint)) = guest::complaint(ending, &stream.facts) {
        return Ok(Some(complaint));
    }
    let status = stream.facts.exit_status.unwrap_or(0);
    Ok((status != 0).then(|| format!("{PROGRAM} ended with status {status}")))
}

fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}
