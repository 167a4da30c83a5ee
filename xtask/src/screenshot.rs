//! `cargo xtask screenshot`: boots without a window and makes a picture of the screen.
//!
//! The picture is QEMU's own dump of what its display shows, stored as PNG.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::artifacts::{self, ImageSpec, KernelKind};
use crate::emulator::Boot;
use crate::flags::{EmulatorKind, ScreenshotOptions};
use crate::guest;
use crate::run;
use crate::screen::keys;
use crate::screen::session::{self, Step};
use crate::stream::Stream;
use crate::system;
use crate::toolchain::Toolchain;

pub(crate) fn run(options: &ScreenshotOptions) -> Result<u8> {
    if options.machine.emulator() != EmulatorKind::Qemu {
        bail!("Bochs makes no pictures: leave --emulator out");
    }
    let steps = steps(options)?;
    let toolchain = Toolchain::find_or_install()?;
    let (kind, files) = match &options.tests {
        Some(_) => (KernelKind::Tests, Vec::new()),
        None => {
            let program = options.program.first();
            let program = program.map_or(system::DEFAULT_PROGRAM, String::as_str);
            (KernelKind::Release, run::files(program)?)
        }
    };
    let kernel = artifacts::kernel(&toolchain, kind)?;
    let image = artifacts::image(
        &toolchain,
        &ImageSpec {
            kernel: &kernel,
            cmdline: command_line(options)?,
            files,
            rootfs: options.rootfs.clone(),
        },
    )?;
    let stream = Stream::new(kernel.symbols, false);
    let limit = Duration::from_secs(options.timeout);
    let boot = Boot::unattended(image);
    let seen = session::run(&options.machine, boot, stream, steps, limit)?;
    if let Some(complaint) = seen.complaint() {
        eprintln!("error: {complaint}");
        let status = guest::complaint(seen.ending, &seen.facts);
        return Ok(status.map_or(1, |(status, _)| status));
    }
    if let Some(picture) = seen.pictures.last() {
        picture.write_png(&options.out)?;
        let (width, height) = (picture.width(), picture.height());
        println!("{} ({width} x {height})", options.out.display());
    }
    Ok(0)
}

/// Returns what is waited for and typed.
fn steps(options: &ScreenshotOptions) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(keys) = &options.keys {
        let keys = keys::parse(keys)?;
        // Who says that it waits for a key is not always waiting yet.
        steps.extend([Step::UntilReady, Step::UntilRest, Step::Press(keys)]);
    }
    match (&options.after, options.at) {
        (Some(text), _) => steps.extend([Step::UntilSerial(text.clone()), Step::UntilRest]),
        (None, Some(seconds)) => steps.push(Step::UntilTime(Duration::from_secs(seconds))),
        (None, None) => steps.extend([Step::UntilReady, Step::UntilRest]),
    }
    steps.push(Step::Keep);
    Ok(steps)
}

/// As for a run, but that the kernel says what it does.
fn command_line(options: &ScreenshotOptions) -> Result<String> {
    let mut words = Vec::new();
    if let Some(filter) = &options.tests {
        words.push(artifacts::quote(&format!("ktest={filter}"))?);
    }
    words.extend((!options.append.is_empty()).then(|| options.append.clone()));
    words.extend(run::program_words(&options.program)?);
    Ok(words.join(" "))
}
