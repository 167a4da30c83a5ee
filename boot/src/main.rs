//! Makes Vostok's disk images: the kernel, an initramfs, and a loader for BIOS
//! or UEFI around them, by the crate `bootloader`.
//!
//! What is asked for is made and nothing else; the same inputs give the same
//! initramfs. `xtask` decides when an image has to be made anew.

#![forbid(unsafe_code)]

mod initramfs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bootloader::{BootConfig, DiskImageBuilder};
use bootloader_boot_config::LevelFilter;
use clap::Parser;

use crate::initramfs::Archive;

/// Where the kernel finds its command line.
const CMDLINE: &str = "boot/cmdline";

/// Makes disk images that boot Vostok.
#[derive(Parser, Debug)]
struct Options {
    /// The kernel, an ELF file
    #[arg(long, value_name = "ELF")]
    kernel: Option<PathBuf>,
    /// A file of the initramfs and where its contents come from; a link stays one
    #[arg(long = "file", value_name = "DEST=SRC")]
    files: Vec<String>,
    /// A directory whose whole tree goes into the initramfs
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// The kernel's command line
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    cmdline: String,
    /// Where to write the initramfs, which the images are made from
    #[arg(long, value_name = "OUT")]
    initramfs: PathBuf,
    /// Where to write the image for BIOS
    #[arg(long, value_name = "OUT")]
    bios: Option<PathBuf>,
    /// Where to write the image for UEFI
    #[arg(long, value_name = "OUT")]
    uefi: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let archive = initramfs(&options)?;
    let path = &options.initramfs;
    fs::write(path, archive).with_context(|| format!("cannot write {}", path.display()))?;
    if options.bios.is_some() || options.uefi.is_some() {
        write_images(&options)?;
    }
    Ok(())
}

/// Collects the files; single ones win over those of the tree.
fn initramfs(options: &Options) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    if let Some(directory) = &options.rootfs {
        archive.add_tree(directory)?;
    }
    for file in &options.files {
        let (name, source) = file
            .split_once('=')
            .with_context(|| format!("`--file {file}` is not of the form DEST=SRC"))?;
        archive.add_from(name, Path::new(source))?;
    }
    archive.add_file(CMDLINE, 0o644, options.cmdline.clone().into_bytes())?;
    archive.into_bytes()
}

fn write_images(options: &Options) -> Result<()> {
    let kernel = options.kernel.as_ref().context("an image needs --kernel")?;
    if !kernel.is_file() {
        bail!("there is no kernel at {}", kernel.display());
    }
    let mut builder = DiskImageBuilder::new(kernel.clone());
    builder.set_ramdisk(options.initramfs.clone());
    builder.set_boot_config(&boot_config());
    if let Some(path) = &options.bios {
        let result = builder.create_bios_image(path);
        result.with_context(|| format!("cannot make the BIOS image {}", path.display()))?;
    }
    if let Some(path) = &options.uefi {
        let result = builder.create_uefi_image(path);
        result.with_context(|| format!("cannot make the UEFI image {}", path.display()))?;
    }
    Ok(())
}

/// The loader keeps quiet unless something is wrong, and asks for a screen of a
/// size that every firmware has; the firmware's largest one is slow to draw on.
fn boot_config() -> BootConfig {
    let mut config = BootConfig::default();
    config.log_level = LevelFilter::Error;
    config.frame_buffer.minimum_framebuffer_width = Some(1024);
    config.frame_buffer.minimum_framebuffer_height = Some(768);
    config
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Options, initramfs};

    #[test]
    fn command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn command_line_of_the_kernel_may_start_with_a_hyphen() {
        let options =
            Options::try_parse_from(["boot", "--initramfs", "x", "--cmdline", "-- /bin/hello"]);
        assert_eq!(options.expect("valid options").cmdline, "-- /bin/hello");
    }

    #[test]
    fn file_without_source_and_missing_source_are_named() {
        for bad in ["bin/a", "bin/a=/nonexistent/a"] {
            let options = Options::try_parse_from(["boot", "--initramfs", "x", "--file", bad])
                .expect("valid options");
            let error = initramfs(&options).expect_err("no such file");
            let name = bad.split('=').next_back().expect("at least one part");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
