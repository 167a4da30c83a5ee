//! Tests of what the screen shows: read off QEMU's picture of it, and compared with what
//! the serial line says.

mod metal;

use std::time::Duration;

use anyhow::Result;

use crate::artifacts::{self, ImageSpec, Kernel, KernelKind};
use crate::emulator::Boot;
use crate::flags::{EmulatorKind, MachineOptions, TestOptions};
use crate::interrupt;
use crate::run;
use crate::screen::glyphs::{self, ScreenText};
use crate::screen::session::{self, Seen, Step};
use crate::shell::Progress;
use crate::stream::Stream;
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;

/// Time for a boot and what is looked at.
const LIMIT: Duration = Duration::from_secs(180);
/// A program that says a line and ends.
const PROGRAM: &str = "/bin/hello";
const ITS_LINE: &str = "Hello from ring 3!";
/// What the kernel says last after a panic, without QEMU's device that would end it.
const STANDS_STILL: &str = "you may switch it off now";

/// A boot whose screen is looked at.
struct Case {
    name: &'static str,
    kernel: KernelKind,
    cmdline: &'static str,
    uefi: bool,
    has_serial: bool,
    steps: fn() -> Vec<Step>,
    /// Returns what is wrong with what was seen.
    judge: fn(&Seen) -> Result<(), String>,
}

const CASES: [Case; 5] = [
    Case {
        name: "screen=log",
        kernel: KernelKind::Release,
        cmdline: "log=debug -- /bin/hello",
        uefi: false,
        has_serial: true,
        steps: until_exit,
        judge: shows_the_log,
    },
    Case {
        name: "screen=log, uefi",
        kernel: KernelKind::Release,
        cmdline: "log=debug -- /bin/hello",
        uefi: true,
        has_serial: true,
        steps: until_exit,
        judge: shows_the_log,
    },
    Case {
        name: "screen=panic",
        kernel: KernelKind::Release,
        cmdline: "crash=null",
        uefi: false,
        has_serial: true,
        steps: until_panic,
        judge: shows_the_panic,
    },
    Case {
        name: "screen=no serial port",
        kernel: KernelKind::Release,
        cmdline: "-- /bin/hello",
        uefi: false,
        has_serial: false,
        steps: until_exit,
        judge: shows_the_whole_run,
    },
    Case {
        name: "screen=tests on the metal",
        kernel: KernelKind::Tests,
        cmdline: metal::CMDLINE,
        uefi: false,
        has_serial: false,
        steps: metal::steps,
        judge: metal::judge,
    },
];

pub(crate) fn run(toolchain: &Toolchain, options: &TestOptions) -> Result<Vec<Outcome>> {
    let machine = &options.machine;
    let wanted = CASES.iter().filter(|case| options.selects(case.name));
    let wanted: Vec<_> = wanted.filter(|case| case.uefi || !machine.uefi).collect();
    if wanted.is_empty() || machine.emulator() != EmulatorKind::Qemu {
        return Ok(Vec::new());
    }
    let mut outcomes = Vec::new();
    for case in wanted {
        if interrupt::is_requested() {
            break;
        }
        let kernel = artifacts::kernel(toolchain, case.kernel)?;
        let mut machine = machine.clone();
        machine.uefi = case.uefi;
        let seen = boot(toolchain, &kernel, &machine, case)?;
        let verdict = match seen.complaint().map_or_else(|| (case.judge)(&seen), Err) {
            Ok(()) => Verdict::Passed,
            Err(problem) => Verdict::Failed(problem),
        };
        outcomes.push(Outcome::new("kernel", case.name, verdict).on(&machine.label()));
    }
    Ok(outcomes)
}

fn boot(
    toolchain: &Toolchain,
    kernel: &Kernel,
    machine: &MachineOptions,
    case: &Case,
) -> Result<Seen> {
    let image = artifacts::image(
        toolchain,
        &ImageSpec {
            kernel,
            cmdline: case.cmdline.to_owned(),
            files: match case.kernel {
                KernelKind::Release | KernelKind::Bench => run::files(PROGRAM)?,
                KernelKind::Tests => Vec::new(),
            },
            rootfs: None,
        },
    )?;
    let progress = Progress::start(&format!("looking at the screen: {}", case.name));
    let boot = Boot {
        has_serial: case.has_serial,
        ..Boot::unattended(image)
    };
    let stream = Stream::new(kernel.symbols.clone(), false);
    let seen = session::run(machine, boot, stream, (case.steps)(), LIMIT)?;
    progress.finish();
    Ok(seen)
}

fn until_exit() -> Vec<Step> {
    vec![Step::until_screen(&["vostok: exit status 0"]), Step::Keep]
}

fn until_panic() -> Vec<Step> {
    vec![Step::until_screen(&[STANDS_STILL]), Step::Keep]
}

/// The log's lines and those of the program are on the screen, and nothing else is.
fn shows_the_log(seen: &Seen) -> Result<(), String> {
    let screen = only_picture(seen)?;
    same_as_serial(&screen, &seen.lines)?;
    expect(&screen, &["memory: ", ITS_LINE, "vostok: exit status 0"])
}

fn shows_the_panic(seen: &Seen) -> Result<(), String> {
    let screen = only_picture(seen)?;
    same_as_serial(&screen, &seen.lines)?;
    expect(
        &screen,
        &[
            "page fault",
            "backtrace of processor 0",
            "vostok: panic",
            STANDS_STILL,
        ],
    )
}

/// Without a serial port the screen alone tells, and says so.
fn shows_the_whole_run(seen: &Seen) -> Result<(), String> {
    if !seen.lines.is_empty() {
        return Err(format!("there was a serial port: {:?}", seen.lines));
    }
    let expected = ["no port answers at COM1", "memory: ", ITS_LINE];
    expect(&only_picture(seen)?, &expected)
}

fn only_picture(seen: &Seen) -> Result<ScreenText, String> {
    let picture = seen.pictures.last().ok_or("there is no picture")?;
    Ok(ScreenText::read(picture))
}

/// Looks for texts on the screen.
fn expect(screen: &ScreenText, texts: &[&str]) -> Result<(), String> {
    match texts.iter().find(|text| !screen.contains(text)) {
        None => Ok(()),
        Some(text) => Err(format!("the screen lacks `{text}`:\n{}", screen.text())),
    }
}

/// Compares the screen with the last lines on serial, row by row.
fn same_as_serial(screen: &ScreenText, lines: &[String]) -> Result<(), String> {
    let all = glyphs::rows_of(lines.iter().map(String::as_str), screen.columns);
    let used = screen.used();
    // The cursor's row may be empty.
    let fewest = all.len().min(screen.rows.len().saturating_sub(1));
    if used.len() < fewest || used.len() > all.len() {
        return Err(format!(
            "{} rows on the screen, {} on serial; the screen:\n{}",
            used.len(),
            all.len(),
            screen.text()
        ));
    }
    let said = &all[all.len() - used.len()..];
    let mut pairs = used.iter().zip(said).enumerate();
    match pairs.find(|(_, (shown, said))| shown != said) {
        None => Ok(()),
        Some((row, (shown, said))) => Err(format!(
            "row {row} of the screen: {shown}\non serial it is:     {said}\nthe screen:\n{}",
            screen.text()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{ScreenText, same_as_serial};

    fn compare(rows: &[&str], lines: &[&str]) -> Result<(), String> {
        let screen = ScreenText {
            columns: 5,
            rows: rows.iter().map(|row| (*row).to_owned()).collect(),
        };
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        same_as_serial(&screen, &lines)
    }

    #[test]
    fn screen_that_shows_the_end_of_the_log_is_accepted() {
        assert!(compare(&["b", "cccdd", "dd", ""], &["a", "b", "cccdddd"]).is_ok());
        assert!(compare(&["a", "b", "", ""], &["a", "b"]).is_ok());
        assert!(compare(&["a", "b"], &["a", "b"]).is_ok());
    }

    #[test]
    fn screen_that_shows_something_else_is_refused() {
        for (rows, lines) in [
            (&["b", "x", "", "", ""][..], &["a", "b", "c"][..]),
            (&["c", "", "", "", ""], &["a", "b", "c"]),
            (&["a", "b", "c", "d", "", ""], &["a", "b"]),
            (&["", "", "", ""], &["a", "b"]),
            (&["b", "", "", "", ""], &["a", "b"]),
            (&["bb", "", "", "", ""], &["a", "b"]),
        ] {
            assert!(compare(rows, lines).is_err(), "{rows:?} {lines:?}");
        }
    }
}
