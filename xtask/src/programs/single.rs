//! A boot for one program: the ways it can die, which the machine has to outlive, and
//! the most processors that the kernel takes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::frames::{Observed, without_thread_ids};
use super::{Target, compare};
use crate::artifacts::{self, ImageSpec};
use crate::emulator::{self, Boot};
use crate::flags::{EmulatorKind, MachineOptions, TestOptions};
use crate::guest::{self, Limits};
use crate::interrupt;
use crate::shell::Progress;
use crate::stream::{Event, Stream};
use crate::test::{Outcome, Verdict};

/// Programs and their arguments: those that die as the only process.
const CASES: &[&[&str]] = &[
    &["hello"],
    &["exit-with", "7"],
    &["panic"],
    &["abort"],
    &["fault", "kernel-read"],
    &["fault", "divide"],
];

/// Where a case that is the only process runs, in reports.
const ALONE: &str = "alone";

/// Time for a case, the boot included.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The most processors that the kernel takes.
const MOST_CPUS: u32 = 64;

/// Runs each case in a boot of its own, on one processor.
pub(super) fn run(
    options: &TestOptions,
    target: Target<'_>,
    programs: &[(String, PathBuf)],
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for case in CASES {
        let name = case.join(" ");
        if !options.selects(&name) || interrupt::is_requested() {
            continue;
        }
        let (_, path) = programs
            .iter()
            .find(|(program, _)| program == case[0])
            .with_context(|| format!("there is no program {} in user/", case[0]))?;
        let progress = Progress::start(&format!("running `{name}` on Linux and on Vostok"));
        let expected = on_host(path, &case[1..])?;
        let actual = on_vostok(target, path, case);
        progress.finish();
        let verdict = compare(&Ok(expected), &actual?);
        outcomes.push(Outcome::new("programs", &name, verdict).on(ALONE));
    }
    let is_wanted = options.selects("hello") && !options.machine.is_chosen();
    if is_wanted && !interrupt::is_requested() {
        let machine = &MachineOptions::new(EmulatorKind::Qemu, MOST_CPUS, &options.machine.memory);
        let verdict = run_with_all_cpus(Target { machine, ..target }, programs)?;
        outcomes.push(Outcome::new("programs", "hello", verdict).on(&machine.label()));
    }
    Ok(outcomes)
}

/// Runs a program on as many processors as the kernel takes, which have to start.
fn run_with_all_cpus(target: Target<'_>, programs: &[(String, PathBuf)]) -> Result<Verdict> {
    let hello = programs.iter().find(|(name, _)| name == "hello");
    let (_, path) = hello.context("there is no program hello in user/")?;
    let progress = Progress::start(&format!("running `hello` on {MOST_CPUS} processors"));
    let ended = boot(target, "info", path, &["hello"])?;
    progress.finish();
    let (lines, status) = match ended {
        Ok(ended) => ended,
        Err(complaint) => return Ok(Verdict::Failed(complaint)),
    };
    let said = lines.iter().find_map(|line| started_cpus(line));
    Ok(match said {
        _ if status != 0 => Verdict::Failed(format!("status {status}\n{}", lines.join("\n"))),
        Some((MOST_CPUS, MOST_CPUS)) => Verdict::Passed,
        Some((started, found)) => Verdict::Failed(format!("{started} of {found} were started")),
        None => Verdict::Failed("the kernel does not say that it started any".to_owned()),
    })
}

/// Reads how many processors of how many were started, from a line that says so.
fn started_cpus(line: &str) -> Option<(u32, u32)> {
    let (_, text) = line.split_once("processors: ")?;
    let (started, found) = text.split_once(" of ")?;
    Some((started.parse().ok()?, found.trim().parse().ok()?))
}

fn on_host(path: &Path, arguments: &[&str]) -> Result<Observed> {
    use std::os::unix::process::ExitStatusExt;
    // On Vostok, output and errors go to the same serial line.
    let output = Command::new("sh")
        .args(["-c", "exec \"$0\" \"$@\" 2>&1"])
        .arg(path)
        .args(arguments)
        .env_clear()
        .env("PATH", "/bin")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", path.display()))?;
    let status = output.status;
    let signal = status.signal().map(|signal| 128 + signal);
    Ok(Observed {
        output: without_thread_ids(&String::from_utf8_lossy(&output.stdout)),
        end: exit(status.code().or(signal).unwrap_or(0) as u8),
    })
}

/// Runs a case as the only process; the error is what is wrong with the guest.
fn on_vostok(target: Target<'_>, path: &Path, case: &[&str]) -> Result<Result<Observed, String>> {
    let ended = boot(target, "off", path, case)?;
    Ok(ended.map(|(lines, status)| Observed {
        output: without_thread_ids(&program_output(&lines)),
        end: exit(status),
    }))
}

/// Says how a program ended, of which the shell and the kernel tell a status alone.
fn exit(status: u8) -> String {
    format!("exit {status}")
}

/// Boots with a program; returns all that was printed, and the status.
fn boot(
    target: Target<'_>,
    log: &str,
    path: &Path,
    case: &[&str],
) -> Result<Result<(Vec<String>, u8), String>> {
    let Target {
        toolchain,
        kernel,
        machine,
    } = target;
    let options = emulator::kernel_options(machine.emulator());
    let mut words = vec![format!("{options} log={log} -- /bin/{}", case[0])];
    for argument in &case[1..] {
        words.push(artifacts::quote(argument)?);
    }
    let image = artifacts::image(
        toolchain,
        &ImageSpec {
            kernel,
            cmdline: words.join(" "),
            files: vec![(format!("bin/{}", case[0]), path.to_owned())],
            rootfs: None,
        },
    )?;
    let emulator = emulator::prepare(machine, &Boot::unattended(image))?;
    let limits = Limits {
        total: Some(TIMEOUT),
        silence: None,
    };
    let mut stream = Stream::new(kernel.symbols.clone(), true);
    let mut lines = Vec::new();
    let mut handle = |event: Event| {
        if let Event::Line(line) = event {
            lines.push(line);
        }
    };
    let ending = guest::run(emulator, limits, &mut stream, &mut handle)?;
    if let Some((_, complaint)) = guest::complaint(ending, &stream.facts) {
        return Ok(Err(complaint));
    }
    let status = stream.facts.exit_status.unwrap_or(0);
    Ok(Ok((lines, status)))
}

/// Returns what the program printed, from between the kernel's marks.
fn program_output(lines: &[String]) -> String {
    let start = lines
        .iter()
        .position(|line| line.starts_with("vostok: start "));
    let end = lines
        .iter()
        .rposition(|line| line.starts_with("vostok: exit status "));
    let (Some(start), Some(end)) = (start, end) else {
        return String::new();
    };
    let mut output = lines[start + 1..end].join("\n");
    let has_newline = !lines[end].ends_with("(no newline)");
    if has_newline && end > start + 1 {
        output.push('\n');
    }
    output
}

#[cfg(test)]
mod tests {
    use super::{program_output, started_cpus};

    fn output(lines: &[&str]) -> String {
        program_output(
            &lines
                .iter()
                .map(|line| (*line).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn number_of_processors_is_read() {
        assert_eq!(started_cpus("info: processors: 63 of 64"), Some((63, 64)));
        assert_eq!(started_cpus("processors: 1"), None);
    }

    #[test]
    fn output_is_what_stands_between_the_marks() {
        let start = "vostok: start /bin/x";
        assert_eq!(
            output(&[start, "a", "b", "vostok: exit status 0"]),
            "a\nb\n"
        );
        assert_eq!(
            output(&[start, "a", "vostok: exit status 0 (no newline)"]),
            "a"
        );
        assert_eq!(output(&[start, "vostok: exit status 0"]), "");
        let forged = [start, "vostok: exit status 3", "vostok: exit status 0"];
        assert_eq!(output(&forged), "vostok: exit status 3\n");
        assert_eq!(output(&["nothing"]), "");
    }
}
