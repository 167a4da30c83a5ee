//! The parts of the loader, which is the crate `bootloader`.
//!
//! The crate makes whole disks, one for BIOS and one for UEFI, and keeps the
//! parts to itself; so it makes both without a kernel, and the parts are read out
//! of them. Nothing is known here of what is in a part.

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bootloader::{BootConfig, DiskImageBuilder};
use fatfs::{FileSystem, FsOptions};
use gpt::mbr::PartRecord;

use crate::disk::{MBR_TABLE, SECTOR, STAGE_TYPE};

/// Length of the code in a boot sector; the disk's signature and the table of
/// partitions follow.
pub(crate) const BOOT_CODE: usize = 440;

/// What the second stage loads from the root directory besides the kernel.
const BIOS_STAGES: [&str; 2] = ["boot-stage-3", "boot-stage-4"];

/// What firmware starts, and what that starts.
#[derive(Debug)]
pub(crate) struct Loader {
    /// BIOS: what the firmware loads.
    pub(crate) boot_code: [u8; BOOT_CODE],
    /// BIOS: what that loads, in whole sectors.
    pub(crate) second_stage: Vec<u8>,
    /// BIOS: the stages that are files, by name.
    pub(crate) stages: Vec<(&'static str, Vec<u8>)>,
    /// UEFI: an application.
    pub(crate) application: Vec<u8>,
    /// Both: the file `boot.json`.
    pub(crate) config: Vec<u8>,
}

impl Loader {
    /// Takes the loader out of its crate.
    ///
    /// # Errors
    ///
    /// No place for temporary files, or a crate that makes other disks than this
    /// one was written for.
    pub(crate) fn extract(config: &BootConfig) -> Result<Self> {
        let directory = tempfile::tempdir().context("no place for temporary files")?;
        let mut builder = DiskImageBuilder::empty();
        builder.set_boot_config(config);

        let uefi = directory.path().join("uefi");
        builder.create_uefi_tftp_folder(&uefi)?;
        let application = read(&uefi.join("bootloader"))?;
        let config = read(&uefi.join("boot.json"))?;

        let bios = directory.path().join("bios");
        builder.create_bios_image(&bios)?;
        let disk = read(&bios)?;
        let boot_sector = disk.get(..SECTOR).context("the BIOS disk is empty")?;
        let boot_code = boot_sector[..BOOT_CODE].try_into()?;
        let rest = &boot_sector[BOOT_CODE..MBR_TABLE];
        ensure!(
            rest.iter().all(|byte| *byte == 0),
            "the boot code is too long"
        );
        let second_stage = partition(&disk, 0, Some(STAGE_TYPE))?.to_vec();
        let volume = Cursor::new(partition(&disk, 1, None)?.to_vec());
        let volume = FileSystem::new(volume, FsOptions::new())?;
        let mut stages = Vec::new();
        for name in BIOS_STAGES {
            let mut contents = Vec::new();
            let file = volume.root_dir().open_file(name);
            file.with_context(|| format!("there is no {name}"))?
                .read_to_end(&mut contents)?;
            stages.push((name, contents));
        }
        Ok(Self {
            boot_code,
            second_stage,
            stages,
            application,
            config,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("the loader made no {}", path.display()))
}

/// Returns a partition's contents by its place in the table of the boot sector.
fn partition(disk: &[u8], index: usize, kind: Option<u8>) -> Result<&[u8]> {
    let entry = &disk[MBR_TABLE + 16 * index..][..16];
    let entry = PartRecord::from_bytes(entry)?;
    ensure!(
        kind.is_none_or(|kind| kind == entry.os_type),
        "partition {index} of the loader's disk is of type {:#x}",
        entry.os_type
    );
    let start = SECTOR * usize::try_from(entry.lb_start)?;
    let len = SECTOR * usize::try_from(entry.lb_size)?;
    let rest = disk.get(start..).unwrap_or_default();
    // The last sector may be cut short.
    let contents = &rest[..len.min(rest.len())];
    ensure!(!contents.is_empty(), "partition {index} has no contents");
    Ok(contents)
}
