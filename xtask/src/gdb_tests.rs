//! Does gdb find its way in the kernel, wherever its image is?
//!
//! Two boots: one that gdb enters at the kernel's first function, and one that it has
//! from the reset on, with a breakpoint that is set before there is a kernel in memory.

use std::io::Read;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::flags::{EmulatorKind, GdbOptions, MachineOptions, TestOptions};
use crate::gdb::Session;
use crate::interrupt;
use crate::shell::Progress;
use crate::symbolize::DEFAULT_BASE;
use crate::test::{Outcome, Verdict};
use crate::toolchain::{self, Toolchain};

/// A gdb that takes longer waits for a breakpoint that is never reached.
const LIMIT: Duration = Duration::from_secs(120);

/// A use of gdb.
struct Case {
    name: &'static str,
    from_reset: bool,
    append: &'static str,
    commands: &'static [&'static str],
    /// What the output has to contain, in this order.
    expected: &'static [&'static str],
}

const CASES: [Case; 2] = [
    Case {
        name: "gdb finds functions and lines, walks tables and reads events at the random base",
        from_reset: false,
        append: "",
        commands: &[
            "backtrace",
            "hbreak __vostok_main",
            "continue",
            "backtrace",
            "walk $rip",
            "walk 0xffff800000100000",
            "walk 0xffffffff80000000",
            "events 1",
        ],
        expected: &[
            "nucleus::boot::start::first_half",
            "at kernel/nucleus/src/",
            "kernel::__vostok_main () at kernel/src/main.rs:",
            "nucleus::boot::start::go_on::",
            "at kernel/nucleus/src/boot/start.rs:",
            ": kernel image + 0x",
            "page of 4 KiB: read-only, kernel, executable, ",
            "accessed, write-back",
            ": linear map of physical 0x100000",
            "writable, kernel, no-execute, ",
            "  physical 0x100000\n",
            ": kernel image as the loader leaves it",
            "not mapped",
            "the last 1 events of ",
            " cpu 0: switch from task ",
        ],
    },
    Case {
        name: "gdb's breakpoints follow the image that moves",
        from_reset: true,
        append: "",
        commands: &[
            "hbreak nucleus::boot::start::go_on",
            // One stop where the image moves, one at the breakpoint.
            "continue",
            "continue",
            "info breakpoints",
        ],
        expected: &[
            "Hardware assisted breakpoint 1 at 0xffffffff8",
            "the kernel's image goes to 0xfff",
            "hw breakpoint",
            "in nucleus::boot::start::go_on at kernel/nucleus/src/boot/start.rs:",
            "breakpoint already hit 1 time",
        ],
    },
];

pub(crate) fn run(toolchain: &Toolchain, options: &TestOptions) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    if options.machine.emulator() != EmulatorKind::Qemu {
        return Ok(outcomes);
    }
    for case in CASES.iter().filter(|case| options.selects(case.name)) {
        if interrupt::is_requested() {
            break;
        }
        let verdict = match toolchain::need_gdb() {
            Ok(()) => judge(case, &output(toolchain, case, &options.machine)?),
            Err(error) => Verdict::Skipped(format!("{error:#}")),
        };
        outcomes.push(Outcome::new("kernel", case.name, verdict).on("qemu"));
    }
    Ok(outcomes)
}

/// Returns what gdb prints.
fn output(toolchain: &Toolchain, case: &Case, machine: &MachineOptions) -> Result<String> {
    let progress = Progress::start(case.name);
    let options = GdbOptions {
        machine: MachineOptions::new(EmulatorKind::Qemu, 1, &machine.memory),
        from_reset: case.from_reset,
        append: case.append.to_owned(),
        batch: case.commands.iter().copied().map(str::to_owned).collect(),
    };
    let mut session = Session::start(toolchain, &options)?;
    session.gdb.stdin(Stdio::null());
    session.gdb.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut gdb = session.gdb.spawn().context("cannot start gdb")?;
    let readers = [read(gdb.stdout.take()), read(gdb.stderr.take())];
    end_within(&mut gdb, LIMIT);
    let texts = readers.map(|reader| reader.join().unwrap_or_default());
    progress.finish();
    Ok(texts.concat())
}

/// Reads all of a pipe, beside.
fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is shown.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end of a process, and ends it if that takes too long.
fn end_within(child: &mut Child, limit: Duration) {
    let start = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if start.elapsed() > limit || interrupt::is_requested() {
            // One that has ended meanwhile is what is wanted.
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Looks for what is expected, in its order.
fn judge(case: &Case, text: &str) -> Verdict {
    let mut rest = text;
    for part in case.expected {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return Verdict::Failed(format!("`{part}` is not there:\n{text}")),
        }
    }
    let loader_base = format!("image goes to {DEFAULT_BASE:#x}");
    if text.contains(&loader_base) {
        return Verdict::Failed(format!("the image did not move:\n{text}"));
    }
    Verdict::Passed
}

#[cfg(test)]
mod tests {
    use super::{CASES, judge};
    use crate::test::Verdict;

    #[test]
    fn output_of_gdb_has_to_have_all_parts_in_their_order() {
        let case = &CASES[1];
        let whole = case.expected.join("\n");
        assert_eq!(judge(case, &whole), Verdict::Passed);
        let mut parts = case.expected.to_vec();
        parts.reverse();
        assert_ne!(judge(case, &parts.join("\n")), Verdict::Passed);
        assert_ne!(judge(case, case.expected[0]), Verdict::Passed);
        let stayed = whole + "image goes to 0xffffffff80000000";
        assert_ne!(judge(case, &stayed), Verdict::Passed);
    }
}
