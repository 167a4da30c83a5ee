//! `cargo xtask usb`: writes the image to a USB stick, and reads it back.
//!
//! What a stick holds is lost by that, and a name such as `/dev/sdb` is easily
//! mistaken, so:
//!
//! 1. All that the kernel knows of the device is looked up ([`device`]), down to
//!    what lies on its partitions: file systems, swap, mapped and combined devices.
//! 2. Whatever speaks against it is said ([`objections`]), each with what to do.
//!    `--force` overrides some, never those by which the running system or the
//!    stick's use could suffer.
//! 3. The device is shown, with what will be lost, and the user has to agree.
//! 4. It is opened for this program alone, which the kernel refuses for a device
//!    that is in use, and must still be the one that was looked at.
//! 5. The image is written, and read back from the medium itself ([`copy`]).

mod copy;
mod device;
mod objections;

use std::fs;
use std::io::{IsTerminal, Write, stderr, stdin};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::flags::UsbOptions;
use crate::toolchain::Toolchain;
use crate::{artifacts, image};

use device::{System, Target};
use objections::{Objection, objections};

pub(crate) fn run(options: &UsbOptions) -> Result<u8> {
    let system = System::running();
    let Some(path) = &options.device else {
        return list(&system);
    };
    let target = system.target(path)?;
    println!("{}", target.describe(path));
    // Before the image is built, which takes a while.
    let told = check(&target, 0, &[], options)?;

    let image = match &options.image {
        Some(image) => image.clone(),
        None => build()?,
    };
    let len = image_len(&image)?;
    check(&target, len, &told, options)?;
    let what = format!("{} ({})", image.display(), HumanBytes(len));
    if options.dry_run {
        println!("everything is ready to write {what}; nothing was written");
        return Ok(0);
    }
    if !options.yes && !confirm(path)? {
        println!("nothing was written");
        return Ok(1);
    }
    let mut source = fs::File::open(&image)?;
    let file = open(path, &target, options.force)?;
    with_bar("writing", len, |progress| {
        copy::write(&mut source, &file, len, progress)
    })?;
    drop(file);
    let check = with_bar("reading back", len, |progress| {
        copy::verify(&mut source, path, len, progress)
    })?;
    println!("{what} is on {}, {check}", path.display());
    Ok(0)
}

/// Lists what could be written to.
fn list(system: &System) -> Result<u8> {
    let mut disks = system.disks()?;
    disks.retain(|(_, target)| objections(target, 0).is_empty());
    if disks.is_empty() {
        println!("--device DEV says where to; there is no stick that could be written to");
        return Ok(2);
    }
    println!("--device DEV says where to; what could be written to:");
    for (path, target) in disks {
        println!("{}", target.describe(&path));
    }
    Ok(2)
}

/// Tells what speaks against the target, but for what was told; stops if something
/// of it is not overridden.
fn check(
    target: &Target,
    len: u64,
    told: &[Objection],
    options: &UsbOptions,
) -> Result<Vec<Objection>> {
    let mut objections = objections(target, len);
    objections.retain(|objection| !told.contains(objection));
    let mut stops = false;
    for objection in &objections {
        let is_overridden = options.force && objection.yields_to_force();
        stops |= !is_overridden;
        let kind = if is_overridden { "warning" } else { "refused" };
        let hint = if !options.force && objection.yields_to_force() {
            " (--force writes all the same)"
        } else {
            ""
        };
        eprintln!("{kind}: {objection}{hint}");
    }
    ensure!(!stops, "nothing was written");
    Ok(objections)
}

/// Builds the image that comes up with a shell.
fn build() -> Result<PathBuf> {
    let directory = artifacts::target().join("images");
    fs::create_dir_all(&directory)?;
    let image = directory.join("vostok.img");
    image::system(&Toolchain::find_or_install()?, &image)?;
    Ok(image)
}

/// Returns the length of a file that is a disk image by its first sectors.
fn image_len(path: &Path) -> Result<u64> {
    let context = || format!("cannot read {}", path.display());
    let file = fs::File::open(path).with_context(context)?;
    let mut start = [0; 1024];
    let is_image = file.read_exact_at(&mut start, 0).is_ok()
        && start[510..512] == [0x55, 0xaa]
        && start[512..520] == *b"EFI PART";
    ensure!(
        is_image,
        "{} is no image that `cargo xtask image` made",
        path.display()
    );
    Ok(file.metadata().with_context(context)?.len())
}

/// Asks on the terminal.
fn confirm(path: &Path) -> Result<bool> {
    if !stdin().is_terminal() {
        bail!("there is nobody to ask: give --yes");
    }
    let name = path.display();
    eprint!("All that is on {name} will be lost. Type `yes` to write to it: ");
    stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Opens the target to be written, alone unless forced, and makes sure that it is
/// what was looked at.
fn open(path: &Path, target: &Target, force: bool) -> Result<fs::File> {
    let file = copy::open_to_write(path, target.is_disk() && !force).with_context(|| {
        let name = path.display();
        format!("cannot open {name}: is it in use, or are you not root?")
    })?;
    ensure!(
        target.is_still(&file.metadata()?),
        "{} changed meanwhile",
        path.display()
    );
    Ok(file)
}

/// Runs a step that tells how many bytes are done.
fn with_bar<T>(
    what: &str,
    len: u64,
    step: impl FnOnce(&mut dyn FnMut(u64)) -> Result<T>,
) -> Result<T> {
    let bar = if stderr().is_terminal() {
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        ProgressBar::new(len).with_style(ProgressStyle::with_template(template)?)
    } else {
        eprintln!("{what} …");
        ProgressBar::hidden()
    };
    bar.set_message(what.to_owned());
    let result = step(&mut |done| bar.set_position(done));
    bar.finish_and_clear();
    result
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{image_len, run};
    use crate::flags::UsbOptions;

    fn image(directory: &tempfile::TempDir) -> PathBuf {
        let image = directory.path().join("image");
        let mut bytes: Vec<u8> = (0..3_000_001_u32).map(|at| (at / 7) as u8).collect();
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[512..520].copy_from_slice(b"EFI PART");
        std::fs::write(&image, bytes).unwrap();
        image
    }

    fn options(device: PathBuf, image: PathBuf) -> UsbOptions {
        UsbOptions {
            device: Some(device),
            image: Some(image),
            force: true,
            dry_run: false,
            yes: true,
        }
    }

    #[test]
    fn file_is_written_by_force_alone_and_never_by_a_dry_run() {
        let directory = tempfile::tempdir().unwrap();
        let image = image(&directory);
        let file = directory.path().join("file");
        std::fs::write(&file, vec![9; 4_000_000]).unwrap();
        let options = options(file.clone(), image.clone());
        let unforced = UsbOptions {
            force: false,
            ..options.clone()
        };
        assert!(run(&unforced).is_err());
        let dry = UsbOptions {
            dry_run: true,
            ..options.clone()
        };
        assert_eq!(run(&dry).unwrap(), 0);
        assert!(std::fs::read(&file).unwrap().iter().all(|byte| *byte == 9));

        assert_eq!(run(&options).unwrap(), 0);
        let written = std::fs::read(&file).unwrap();
        let wanted = std::fs::read(&image).unwrap();
        assert!(written[..wanted.len()] == wanted);
        assert!(written[wanted.len()..].iter().all(|byte| *byte == 9));
    }

    #[test]
    fn too_small_a_file_is_refused_even_by_force() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, vec![9; 3_000_000]).unwrap();
        assert!(run(&options(file.clone(), image(&directory))).is_err());
        assert!(std::fs::read(&file).unwrap().iter().all(|byte| *byte == 9));
        assert!(run(&options("/dev/null".into(), image(&directory))).is_err());
    }

    #[test]
    fn what_is_no_image_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for contents in [vec![], vec![0; 5000]] {
            std::fs::write(&file, contents).unwrap();
            assert!(image_len(&file).is_err());
        }
        assert_eq!(image_len(&image(&directory)).unwrap(), 3_000_001);
    }
}
