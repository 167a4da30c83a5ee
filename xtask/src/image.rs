//! `cargo xtask image`: the disk images, with the default command line.

use std::fs;

use anyhow::{Context, Result};

use crate::artifacts::{self, ImageSpec, KernelKind};
use crate::flags::ImageOptions;
use crate::system::{self, System};
use crate::toolchain::Toolchain;

pub(crate) fn run(options: &ImageOptions) -> Result<u8> {
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Release)?;
    let files = System::build()?.files_for(system::DEFAULT_PROGRAM);
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the directory {}", options.out.display()))?;
    for uefi in [false, true] {
        let image = artifacts::image(
            &toolchain,
            &ImageSpec {
                kernel: &kernel,
                cmdline: String::new(),
                files: files.clone(),
                rootfs: None,
                uefi,
            },
        )?;
        let name = if uefi {
            "vostok-uefi.img"
        } else {
            "vostok-bios.img"
        };
        let target = options.out.join(name);
        fs::copy(&image, &target).with_context(|| format!("cannot write {}", target.display()))?;
        println!(
            "{} ({} bytes)",
            target.display(),
            fs::metadata(&target)?.len()
        );
    }
    let stripped = fs::metadata(&kernel.stripped)?.len();
    println!("{} ({stripped} bytes)", kernel.stripped.display());
    Ok(0)
}
