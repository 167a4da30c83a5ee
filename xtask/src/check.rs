//! `cargo xtask check`: format, lints, house rules, documentation.

use std::process::Command;

use anyhow::Result;

use crate::artifacts::{self, BARE_TARGET, KernelKind, RUSTFLAGS_VARIABLE};
use crate::firmware::FIRMWARE_TARGET;
use crate::toolchain::Toolchain;
use crate::{shell, tidy};

/// Crates that build for the host by the user's own toolchain.
const HOST_CRATES: [&str; 10] = [
    "xtask",
    "user",
    "model",
    "nucleus",
    "nucleus-macros",
    "preloader",
    "verify",
    "fuzz",
    "concurrency",
    "concurrency-loom",
];

pub(crate) fn run() -> Result<u8> {
    let toolchain = Toolchain::find_or_install()?;
    shell::step("checking the format", &mut format_check())?;

    let complaints = tidy::run(shell::root())?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    if !complaints.is_empty() {
        println!("{} house rules are broken", complaints.len());
        return Ok(1);
    }

    for package in HOST_CRATES {
        let mut clippy = artifacts::host_cargo();
        clippy.args([
            "clippy",
            "--all-targets",
            "--package",
            package,
            "--",
            "-Dwarnings",
        ]);
        shell::step(&format!("clippy: {package}"), &mut clippy)?;
    }
    let mut clippy = toolchain.clippy();
    clippy.args([
        "--release",
        "--all-targets",
        "--package=boot",
        "--target-dir",
    ]);
    clippy
        .arg(artifacts::target().join("boot"))
        .args(["--", "-Dwarnings"]);
    shell::step("clippy: boot", &mut clippy)?;
    let mut clippy = toolchain.clippy();
    clippy.args(FIRMWARE_TARGET).arg("--target-dir");
    clippy.arg(artifacts::target().join("check"));
    clippy.args(["--", "-Dwarnings"]);
    shell::step("clippy: preloader", &mut clippy)?;
    for kind in [KernelKind::Release, KernelKind::Tests, KernelKind::Bench] {
        let mut clippy = toolchain.clippy();
        clippy
            .args(BARE_TARGET)
            .arg("--package=nucleus")
            .arg("--target-dir");
        clippy.arg(artifacts::target().join("check"));
        clippy.env(RUSTFLAGS_VARIABLE, artifacts::kernel_rustflags(kind));
        clippy.args(["--", "-Dwarnings"]);
        shell::step(&format!("clippy: kernel ({kind:?})"), &mut clippy)?;
    }
    shell::step("documentation", &mut documentation(&toolchain))?;
    println!("{}", tidy::unsafe_audit(shell::root())?);
    println!("everything is in order");
    Ok(0)
}

fn format_check() -> Command {
    let mut cargo = artifacts::host_cargo();
    cargo.args(["fmt", "--all", "--check", "--", "--config-path", ".cargo"]);
    cargo
}

fn documentation(toolchain: &Toolchain) -> Command {
    let mut cargo = toolchain.cargo();
    cargo
        .arg("doc")
        .args(BARE_TARGET)
        .args(["--package=nucleus", "--package=model", "--no-deps"]);
    cargo.args(["--document-private-items", "--target-dir"]);
    cargo.arg(artifacts::target().join("check"));
    cargo.env(
        RUSTFLAGS_VARIABLE,
        artifacts::kernel_rustflags(KernelKind::Release),
    );
    cargo.env("RUSTDOCFLAGS", "-Dwarnings");
    cargo
}
