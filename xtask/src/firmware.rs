//! What UEFI firmware starts: the pre-loader, and in tests what makes firmware odd.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::artifacts;
use crate::shell;
use crate::toolchain::Toolchain;

/// Options that build for UEFI firmware.
pub(crate) const FIRMWARE_TARGET: [&str; 5] = [
    "--target=x86_64-unknown-uefi",
    "-Zbuild-std=core,compiler_builtins",
    "-Zbuild-std-features=compiler-builtins-mem",
    "--package=preloader",
    "--features=firmware",
];

/// Applications of an image, and what they read.
#[derive(Debug)]
pub(crate) struct Applications {
    /// What firmware starts.
    pub(crate) first: PathBuf,
    /// Names of more files of the volume, and where their contents are.
    pub(crate) others: Vec<(&'static str, PathBuf)>,
}

impl Applications {
    /// Returns the pre-loader alone.
    ///
    /// # Errors
    ///
    /// It cannot be built.
    pub(crate) fn usual(toolchain: &Toolchain) -> Result<Self> {
        Ok(Self {
            first: build(toolchain)?.join("preloader.efi"),
            others: Vec::new(),
        })
    }

    /// Returns what makes firmware odd, as the words say, and starts the pre-loader
    /// then; `preloader::oddities` lists the words.
    ///
    /// # Errors
    ///
    /// They cannot be built, or the words not be written.
    pub(crate) fn odd(toolchain: &Toolchain, words: &str) -> Result<Self> {
        let built = build(toolchain)?;
        let path = artifacts::target().join("odd.txt");
        fs::write(&path, words).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            first: built.join("odd-firmware.efi"),
            others: vec![
                ("efi/boot/preload.efi", built.join("preloader.efi")),
                ("efi/boot/odd.txt", path),
            ],
        })
    }

    /// Returns all of the files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.first).chain(self.others.iter().map(|(_, path)| path))
    }
}

/// Builds the applications, once; returns the directory that they are in.
fn build(toolchain: &Toolchain) -> Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built.clone());
    }
    let directory = artifacts::target().join("preloader");
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--profile=tools", "--target-dir"])
        .arg(&directory)
        .args(FIRMWARE_TARGET);
    shell::step("building the pre-loader", &mut cargo)?;
    let built = directory.join("x86_64-unknown-uefi/tools");
    Ok(BUILT.get_or_init(|| built).clone())
}
