//! Makes Vostok's disk image: the kernel, an initramfs, and the loader of the
//! crate `bootloader` around them. One image starts on BIOS and on UEFI, from a
//! disk or a USB stick; `disk.rs` draws it.
//!
//! What is asked for is made and nothing else; the same inputs give the same
//! bytes. `xtask` decides when an image has to be made anew.

#![forbid(unsafe_code)]

mod disk;
mod fat;
mod identity;
mod initramfs;
mod loader;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bootloader::BootConfig;
use bootloader_boot_config::LevelFilter;
use clap::Parser;

use crate::fat::Files;
use crate::initramfs::Archive;
use crate::loader::Loader;

/// Where the kernel finds its command line.
const CMDLINE: &str = "boot/cmdline";

/// What UEFI firmware starts from a disk that it knows nothing else about.
const UEFI_DEFAULT: &str = "efi/boot/bootx64.efi";
/// Where the loader is if something else is started before it.
const UEFI_LOADER: &str = "efi/boot/vostok.efi";

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
    /// Where to write the initramfs, which the image is made from
    #[arg(long, value_name = "OUT")]
    initramfs: PathBuf,
    /// Where to write the disk image
    #[arg(long, value_name = "OUT")]
    image: Option<PathBuf>,
    /// What UEFI firmware starts instead of the loader, which is then efi/boot/vostok.efi
    #[arg(long, value_name = "EFI")]
    preloader: Option<PathBuf>,
    /// Another file of the image's FAT volume and where its contents come from
    #[arg(long = "fat-file", value_name = "DEST=SRC")]
    fat_files: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let archive = initramfs(&options)?;
    write(&options.initramfs, &archive)?;
    if let Some(path) = &options.image {
        let loader = Loader::extract(&boot_config()).context("cannot take the loader apart")?;
        let files = fat_files(&options, &loader, archive)?;
        write(path, &disk::image(&loader, &files)?)?;
    }
    Ok(())
}

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Takes `DEST=SRC` apart.
fn destination_and_source<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a Path)> {
    let parts = text.split_once('=');
    let (destination, source) =
        parts.with_context(|| format!("`--{option} {text}` is not of the form DEST=SRC"))?;
    Ok((destination, Path::new(source)))
}

/// Collects the files; single ones win over those of the tree.
fn initramfs(options: &Options) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    if let Some(directory) = &options.rootfs {
        archive.add_tree(directory)?;
    }
    for file in &options.files {
        let (name, source) = destination_and_source("file", file)?;
        archive.add_from(name, source)?;
    }
    archive.add_file(CMDLINE, 0o644, options.cmdline.clone().into_bytes())?;
    archive.into_bytes()
}

/// Returns what is on the volume that the firmware, or the loader's second stage,
/// reads. The names are the loader's.
fn fat_files(options: &Options, loader: &Loader, initramfs: Vec<u8>) -> Result<Files> {
    let kernel = options.kernel.as_ref().context("an image needs --kernel")?;
    if !kernel.is_file() {
        bail!("there is no kernel at {}", kernel.display());
    }
    let mut files = Files::new();
    let mut add = |name: &str, contents| match files.insert(name.to_owned(), contents) {
        Some(_) => bail!("{name} is there twice"),
        None => Ok(()),
    };
    for (name, contents) in &loader.stages {
        add(name, contents.clone())?;
    }
    add("kernel-x86_64", read(kernel)?)?;
    add("ramdisk", initramfs)?;
    add("boot.json", loader.config.clone())?;
    if let Some(preloader) = &options.preloader {
        add(UEFI_DEFAULT, read(preloader)?)?;
        add(UEFI_LOADER, loader.application.clone())?;
    } else {
        add(UEFI_DEFAULT, loader.application.clone())?;
    }
    for file in &options.fat_files {
        let (name, source) = destination_and_source("fat-file", file)?;
        add(name, read(source)?)?;
    }
    Ok(files)
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
