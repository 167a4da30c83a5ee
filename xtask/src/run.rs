//! `cargo xtask run`: boots Vostok, or runs one program in it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::artifacts::{self, ImageSpec, KernelKind};
use crate::emulator::{self, Boot};
use crate::flags::{EmulatorKind, RunOptions};
use crate::guest::{self, Limits};
use crate::shell;
use crate::stream::Stream;
use crate::system::{self, System};
use crate::toolchain::Toolchain;

/// Time for a program, unless the user says otherwise.
const PROGRAM_TIMEOUT_S: u64 = 120;

pub(crate) fn run(options: &RunOptions) -> Result<u8> {
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Release)?;
    let program = options.program.first();
    let program = program.map_or(system::DEFAULT_PROGRAM, String::as_str);
    let image = artifacts::image(
        &toolchain,
        &ImageSpec {
            kernel: &kernel,
            cmdline: command_line(options)?,
            files: files(program)?,
            rootfs: options.rootfs.clone(),
        },
    )?;

    let boot = Boot {
        window: wants_window(options),
        interactive: options.machine.emulator() == EmulatorKind::Qemu,
        icount: options.icount,
        ..Boot::unattended(image)
    };
    let emulator = emulator::prepare(&options.machine, &boot)?;
    let has_program = !options.program.is_empty();
    let seconds = options.timeout.or(has_program.then_some(PROGRAM_TIMEOUT_S));
    let limits = Limits {
        total: seconds.map(Duration::from_secs),
        silence: None,
    };
    let hide_marks = has_program && !shell::is_verbose();
    let mut stream = Stream::new(kernel.symbols, hide_marks);
    let ending = guest::run(emulator, limits, &mut stream, &mut guest::show)?;
    if let Some((status, complaint)) = guest::complaint(ending, &stream.facts) {
        eprintln!("error: {complaint}");
        return Ok(status);
    }
    Ok(stream.facts.exit_status.unwrap_or(0))
}

/// Returns what is in the initramfs besides what the user adds.
pub(crate) fn files(program: &str) -> Result<Vec<(String, PathBuf)>> {
    let files = System::build()?.files_for(program);
    if files.is_empty() {
        return Ok(artifacts::files_for(&artifacts::programs()?, program));
    }
    Ok(files)
}

/// With a program the kernel keeps quiet, so that its output can be used.
fn command_line(options: &RunOptions) -> Result<String> {
    let has_program = !options.program.is_empty();
    let quiet = if has_program && !shell::is_verbose() {
        "log=warn"
    } else {
        ""
    };
    let machine = emulator::kernel_options(options.machine.emulator());
    // Figures repeat: addresses are the same each time.
    let fixed = if options.icount { "nokaslr" } else { "" };
    let words = [machine, quiet, fixed, &options.append];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    words.extend(options.trace.iter().map(|groups| format!("trace={groups}")));
    words.retain(|word| !word.is_empty());
    words.extend(program_words(&options.program)?);
    Ok(words.join(" "))
}

/// Returns the words of the kernel's command line that name a program and its arguments;
/// none if there is no program.
pub(crate) fn program_words(program: &[String]) -> Result<Vec<String>> {
    let mut words = Vec::new();
    if !program.is_empty() {
        words.push("--".to_owned());
    }
    for word in program {
        words.push(artifacts::quote(word)?);
    }
    Ok(words)
}

fn wants_window(options: &RunOptions) -> bool {
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if !options.headless && !has_display && options.machine.emulator() == EmulatorKind::Qemu {
        eprintln!("note: there is no display, so there is no window (--headless says so)");
    }
    !options.headless && has_display
}
