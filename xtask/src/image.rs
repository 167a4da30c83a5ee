//! `cargo xtask image`: the disk images for real machines, which start by BIOS and
//! by UEFI: the system, and the tests in the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::artifacts::{self, ImageSpec, KernelKind};
use crate::flags::ImageOptions;
use crate::system::{self, System};
use crate::toolchain::Toolchain;

/// The command line of the image with tests: run them, and wait for someone who
/// reads the screen.
const TESTS: &str = "ktest ktest.wait";

pub(crate) fn run(options: &ImageOptions) -> Result<u8> {
    let toolchain = Toolchain::find_or_install()?;
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the directory {}", options.out.display()))?;
    system(&toolchain, &options.out.join("vostok.img"))?;
    if options.tests {
        tests(&toolchain, &options.out.join("vostok-tests.img"))?;
    }
    Ok(0)
}

/// Writes the image that comes up with a shell.
pub(crate) fn system(toolchain: &Toolchain, target: &Path) -> Result<()> {
    let files = System::build()?.files_for(system::DEFAULT_PROGRAM);
    write(toolchain, KernelKind::Release, "", files, target)
}

/// Writes the image that runs the tests in the kernel.
fn tests(toolchain: &Toolchain, target: &Path) -> Result<()> {
    write(toolchain, KernelKind::Tests, TESTS, Vec::new(), target)
}

fn write(
    toolchain: &Toolchain,
    kind: KernelKind,
    cmdline: &str,
    files: Vec<(String, PathBuf)>,
    target: &Path,
) -> Result<()> {
    let kernel = artifacts::kernel(toolchain, kind)?;
    let spec = ImageSpec {
        kernel: &kernel,
        cmdline: cmdline.to_owned(),
        files,
        rootfs: None,
    };
    let image = artifacts::image(toolchain, &spec)?;
    fs::copy(&image, target).with_context(|| format!("cannot write {}", target.display()))?;
    let (image, kernel) = (size(target)?, size(&kernel.stripped)?);
    println!(
        "{} ({image} bytes, of which the kernel is {kernel})",
        target.display()
    );
    Ok(())
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.len())
}
