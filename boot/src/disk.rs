//! The disk: one image that BIOS and UEFI firmware start, from a disk or a stick.
//!
//! ```text
//!   sector 0      boot sector: 440 bytes of code, and a hybrid table
//!          1      GPT: header, 32 sectors of entries
//!          2048   "BIOS boot": the loader's second stage, which the code loads
//!          4096   "EFI System": a FAT with the kernel, the initramfs, the stages
//!                 that the second one loads, and efi/boot/bootx64.efi
//!          end    GPT: entries and header again
//! ```
//!
//! # Who reads what
//!
//! **BIOS** loads sector 0 and jumps to it. Its code loads what the *first* entry of
//! the boot sector's table says, and that stage looks for the entry of type 0x20
//! and takes the *next* one for its FAT, which has to have a FAT's type. So these
//! two entries come first:
//!
//! | entry | type | what | sectors |
//! |---|---|---|---|
//! | 1 | 0x20 | second stage | 2048… |
//! | 2 | 0x0e, active | FAT by linear addresses | 4096… |
//! | 3 | 0xee | the GPT | 1 to 2047 |
//! | 4 | 0 | | |
//!
//! Just one entry is active: some BIOSes start no stick without one, and take a
//! table with two for damaged. Places are told by cylinder, head and sector, too,
//! for 255 heads and 63 sectors, by which some tell a disk from a floppy.
//!
//! **UEFI** (specification 2.10, section 5.2.3 and 5.3) takes a disk for one with a
//! GPT if an entry of the boot sector has type 0xee, starts at sector 1, and is
//! not active. The specification wants no other entries beside it; firmware and
//! operating systems have lived with them for long, as many installers come on such
//! hybrid disks. Firmware that does not see a GPT here sees the table of the boot
//! sector (section 5.2.1), where entries must neither overlap nor leave the disk,
//! so 0xee covers what is before the first partition and no more, and finds the
//! same FAT there. It starts the one file that it looks for on any medium,
//! `efi/boot/bootx64.efi`.
//!
//! On a medium that is larger than the image the second GPT is not in the last
//! sectors. Its place is in the header of the first one, where firmware and Linux
//! look; tools for partitions offer to move it.
//!
//! Everything that could be random follows from what is on the disk
//! ([`Identity`]).

use std::collections::BTreeMap;
use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::{PartRecord, ProtectiveMBR};
use gpt::partition::Partition;
use gpt::partition_types;

use crate::fat::{self, Files};
use crate::identity::Identity;
use crate::loader::Loader;

/// Bytes in a sector.
pub(crate) const SECTOR: usize = 512;
/// Where the table in the boot sector is.
pub(crate) const MBR_TABLE: usize = 446;
/// The type of partition that the loader keeps its second stage in.
pub(crate) const STAGE_TYPE: u8 = 0x20;
/// A FAT of at most 16 bits, to be read by sector numbers; the one with 12 bits
/// has no such type.
const FAT_TYPE: u8 = 0x0e;
const ACTIVE: u8 = 0x80;

/// Partitions, and the disk itself, are of whole mebibytes, as the flash of a
/// stick likes it.
const ALIGNMENT: u32 = 2048;
/// Sectors of the second GPT.
const BACKUP: u32 = 33;

/// A run of sectors.
#[derive(Clone, Copy, Debug)]
struct Extent {
    start: u32,
    sectors: u32,
}

impl Extent {
    /// Returns the place of contents that start at a sector.
    fn of(start: u32, contents: &[u8]) -> Result<Self> {
        let sectors = u32::try_from(contents.len().div_ceil(SECTOR))?;
        ensure!(sectors > 0, "an empty partition");
        Ok(Self { start, sectors })
    }

    fn end(self) -> u32 {
        self.start + self.sectors
    }
}

/// Makes the disk.
///
/// # Errors
///
/// The files are too many or too large for the loader, or have bad names.
pub(crate) fn image(loader: &Loader, files: &Files) -> Result<Vec<u8>> {
    let identity = identity(loader, files);
    let stage = Extent::of(ALIGNMENT, &loader.second_stage)?;
    let start = stage.end().next_multiple_of(ALIGNMENT);
    let volume = fat::volume(files, identity.number("volume"), start)?;
    let fat = Extent::of(start, &volume)?;

    let sectors = (fat.end() + BACKUP).next_multiple_of(ALIGNMENT);
    let mut disk = vec![0; SECTOR * usize::try_from(sectors)?];
    for (extent, contents) in [(stage, &loader.second_stage), (fat, &volume)] {
        let from = SECTOR * usize::try_from(extent.start)?;
        disk[from..from + contents.len()].copy_from_slice(contents);
    }
    disk[..SECTOR].copy_from_slice(&boot_sector(loader, identity, stage, fat));
    write_gpt(&mut disk, identity, stage, fat).context("cannot write the table of partitions")?;
    Ok(disk)
}

fn identity(loader: &Loader, files: &Files) -> Identity {
    let start = Identity::new().with("/code", &loader.boot_code);
    let start = start.with("/stage", &loader.second_stage);
    let add =
        |identity: Identity, (name, contents): (&String, &Vec<u8>)| identity.with(name, contents);
    files.iter().fold(start, add)
}

fn boot_sector(loader: &Loader, identity: Identity, stage: Extent, fat: Extent) -> [u8; SECTOR] {
    let tables = Extent {
        start: 1,
        sectors: stage.start - 1,
    };
    let mut sector = ProtectiveMBR::new();
    sector.set_bootcode(loader.boot_code);
    sector.set_disk_signature(identity.number("disk").to_le_bytes());
    sector.set_partition(0, entry(STAGE_TYPE, 0, stage));
    sector.set_partition(1, entry(FAT_TYPE, ACTIVE, fat));
    sector.set_partition(2, entry(0xee, 0, tables));
    sector.to_bytes()
}

fn entry(os_type: u8, boot_indicator: u8, extent: Extent) -> PartRecord {
    let [start_head, start_sector, start_track] = cylinder_head_sector(extent.start);
    let [end_head, end_sector, end_track] = cylinder_head_sector(extent.end() - 1);
    PartRecord {
        boot_indicator,
        start_head,
        start_sector,
        start_track,
        os_type,
        end_head,
        end_sector,
        end_track,
        lb_start: extent.start,
        lb_size: extent.sectors,
    }
}

/// Returns a place as old tables have it: the head; six bits of the sector, counted
/// from 1, below two of the cylinder; the other eight of the cylinder. What is
/// beyond has the largest cylinder, head and sector.
fn cylinder_head_sector(sector: u32) -> [u8; 3] {
    const HEADS: u32 = 255;
    const SECTORS: u32 = 63;
    let (mut cylinder, mut head, mut in_track) = (
        sector / (HEADS * SECTORS),
        sector / SECTORS % HEADS,
        sector % SECTORS + 1,
    );
    if cylinder > 1023 {
        (cylinder, head, in_track) = (1023, HEADS - 1, SECTORS);
    }
    let [low, high, ..] = cylinder.to_le_bytes();
    [head as u8, in_track as u8 | high << 6, low]
}

/// Writes both tables; the boot sector stays as it is.
fn write_gpt(disk: &mut [u8], identity: Identity, stage: Extent, fat: Extent) -> Result<()> {
    let partition = |name: &str, part_type_guid, extent: Extent| Partition {
        part_type_guid,
        part_guid: identity.guid(name),
        first_lba: extent.start.into(),
        last_lba: u64::from(extent.end() - 1),
        flags: 0,
        name: name.to_owned(),
    };
    let partitions = [
        partition("BIOS boot", partition_types::BIOS, stage),
        partition("EFI System", partition_types::EFI, fat),
    ];
    let config = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(Cursor::new(disk), Some(identity.guid("disk")))?;
    table.update_partitions(BTreeMap::from_iter((1..).zip(partitions)))?;
    table.write()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::cylinder_head_sector;

    #[test]
    fn old_places_of_sectors() {
        assert_eq!(cylinder_head_sector(0), [0, 1, 0]);
        assert_eq!(cylinder_head_sector(2048), [32, 33, 0]);
        // Cylinder 300: 256 + 44.
        assert_eq!(cylinder_head_sector(300 * 255 * 63), [0, 1 | 1 << 6, 44]);
        let largest = [254, 63 | 3 << 6, 255];
        assert_eq!(cylinder_head_sector(1024 * 255 * 63 - 1), largest);
        assert_eq!(cylinder_head_sector(u32::MAX), largest);
    }
}
