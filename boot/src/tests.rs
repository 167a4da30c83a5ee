//! The image as its readers see it: firmware, the loader's stages, and tools.

use std::fs;
use std::io::{Cursor, Read};
use std::sync::LazyLock;

use clap::{CommandFactory, Parser};
use fatfs::{FileSystem, FsOptions};

use crate::disk::{self, SECTOR};
use crate::loader::{BOOT_CODE, Loader};
use crate::{Options, boot_config, fat_files, initramfs};

static LOADER: LazyLock<Loader> =
    LazyLock::new(|| Loader::extract(&boot_config()).expect("the loader's crate is as it was"));

/// Makes an image of a kernel that is none, with more options.
fn image(more: &[&str]) -> anyhow::Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let kernel = directory.path().join("kernel");
    fs::write(&kernel, [7; 50_000])?;
    let kernel = kernel.display().to_string();
    let words = ["boot", "--initramfs", "x", "--kernel", &kernel];
    let options = Options::try_parse_from(words.iter().chain(more))?;
    let files = fat_files(&options, &LOADER, initramfs(&options)?)?;
    disk::image(&LOADER, &files)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn sectors(disk: &[u8], start: u64, count: u64) -> &[u8] {
    &disk[start as usize * SECTOR..][..count as usize * SECTOR]
}

/// An entry of the boot sector's table: active, type, first sector, sectors.
fn entry(disk: &[u8], index: usize) -> (u8, u8, u64, u64) {
    let entry = &disk[446 + 16 * index..][..16];
    let (start, count) = (u32_at(entry, 8), u32_at(entry, 12));
    (entry[0], entry[4], start.into(), count.into())
}

/// Reads a file of the FAT in the boot sector's second entry.
fn file(disk: &[u8], path: &str) -> Option<Vec<u8>> {
    let (_, _, start, count) = entry(disk, 1);
    let volume = Cursor::new(sectors(disk, start, count).to_vec());
    let volume = FileSystem::new(volume, FsOptions::new()).unwrap();
    let mut contents = Vec::new();
    let mut file = volume.root_dir().open_file(path).ok()?;
    file.read_to_end(&mut contents).unwrap();
    Some(contents)
}

/// Checks a header of the GPT at a sector against UEFI 2.10, section 5.3.2; returns
/// the partitions: type, first and last sector.
#[track_caller]
fn check_gpt(disk: &[u8], at: u64, other: u64) -> Vec<([u8; 16], u64, u64)> {
    let last = (disk.len() / SECTOR) as u64 - 1;
    let header = &sectors(disk, at, 1)[..92];
    assert_eq!(&header[..8], b"EFI PART");
    assert_eq!((u32_at(header, 8), u32_at(header, 12)), (0x1_0000, 92));
    let mut unsigned = header.to_vec();
    unsigned[16..20].fill(0);
    assert_eq!(u32_at(header, 16), crc32fast::hash(&unsigned));
    assert_eq!((u64_at(header, 24), u64_at(header, 32)), (at, other));
    let usable = u64_at(header, 40)..=u64_at(header, 48);
    let (entries, count, size) = (u64_at(header, 72), u32_at(header, 80), u32_at(header, 84));
    assert!(count * size >= 16384 && size == 128);
    let table = sectors(disk, entries, 32);
    assert_eq!(u32_at(header, 88), crc32fast::hash(table));
    // The entries are outside of what partitions may use, and on the disk.
    assert!(entries > *usable.end() || entries + 32 <= *usable.start());
    assert!(entries + 31 <= last && *usable.end() < last - 32);

    let used = table.chunks(128).filter(|entry| entry[..16] != [0; 16]);
    let partition = |entry: &[u8]| {
        let (first, end) = (u64_at(entry, 32), u64_at(entry, 40));
        assert!(usable.contains(&first) && usable.contains(&end) && first <= end);
        (entry[..16].try_into().unwrap(), first, end)
    };
    used.map(partition).collect()
}

#[test]
fn both_tables_are_whole_and_agree_with_the_boot_sector() {
    let disk = image(&[]).unwrap();
    assert_eq!(disk.len() % (1 << 20), 0);
    let last = (disk.len() / SECTOR) as u64 - 1;
    let partitions = check_gpt(&disk, 1, last);
    assert_eq!(check_gpt(&disk, last, 1), partitions);

    // "BIOS boot" and "EFI System", as they lie on a disk.
    let bios = *b"Hah!IdontNeedEFI";
    let efi = 0x3bc9_3ec9_a000_4bba_11d2_f81f_c12a_7328_u128;
    let kinds: Vec<_> = partitions.iter().map(|partition| partition.0).collect();
    assert_eq!(kinds, [bios, efi.to_le_bytes()]);
    for (index, (_, first, end)) in partitions.into_iter().enumerate() {
        let (_, _, start, count) = entry(&disk, index);
        assert_eq!((start, start + count - 1), (first, end));
        assert_eq!(first % 2048, 0);
    }
}

#[test]
fn uefi_takes_the_boot_sector_for_one_of_a_gpt_and_old_firmware_for_a_table() {
    let disk = image(&[]).unwrap();
    assert_eq!(disk[510..512], [0x55, 0xaa]);
    let entries: Vec<_> = (0..4).map(|index| entry(&disk, index)).collect();
    let (stage, fat, gpt, none) = (entries[0], entries[1], entries[2], entries[3]);
    assert_eq!(none, (0, 0, 0, 0));
    assert_eq!((gpt.0, gpt.1, gpt.2), (0, 0xee, 1));
    // The loader's stages want these types in this order.
    assert_eq!((stage.0, stage.1), (0, 0x20));
    assert_eq!((fat.0, fat.1), (0x80, 0x0e));
    // Entries neither overlap nor leave the disk.
    let mut extents: Vec<_> = [stage, fat, gpt]
        .map(|entry| entry.2..entry.2 + entry.3)
        .into();
    extents.sort_by_key(|extent| extent.start);
    assert!(extents.is_sorted_by(|before, after| before.end <= after.start));
    assert!(extents[2].end as usize * SECTOR < disk.len());
}

#[test]
fn loader_finds_its_parts() {
    let disk = image(&["--cmdline", "a b"]).unwrap();
    assert_eq!(disk[..BOOT_CODE], LOADER.boot_code);
    assert_ne!(disk[..4], [0; 4]);
    let (_, _, start, count) = entry(&disk, 0);
    let stage = sectors(&disk, start, count);
    assert!(stage.starts_with(&LOADER.second_stage) && LOADER.second_stage.len() > 1000);
    for (name, contents) in &LOADER.stages {
        assert_eq!(file(&disk, name).as_ref(), Some(contents));
    }
    assert_eq!(file(&disk, "kernel-x86_64"), Some(vec![7; 50_000]));
    let ramdisk = file(&disk, "ramdisk").unwrap();
    assert!(ramdisk.windows(3).any(|window| window == b"a b"));
    let config = file(&disk, "boot.json").unwrap();
    assert!(config.windows(4).any(|window| window == b"1024"));
    let application = file(&disk, "EFI/BOOT/BOOTX64.EFI").unwrap();
    assert!(application == LOADER.application && application.starts_with(b"MZ"));
    assert_eq!(file(&disk, "efi/boot/vostok.efi"), None);
    // The volume knows where it lies.
    let (_, _, start, _) = entry(&disk, 1);
    assert_eq!(u64::from(u32_at(sectors(&disk, start, 1), 28)), start);
}

#[test]
fn preloader_takes_the_loaders_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pre.efi");
    fs::write(&path, b"MZ, first").unwrap();
    let path = path.display().to_string();
    let extra = format!("efi/odd/extra.efi={path}");
    let disk = image(&["--preloader", &path, "--fat-file", &extra]).unwrap();
    let first = Some(b"MZ, first".to_vec());
    assert_eq!(file(&disk, "efi/boot/bootx64.efi"), first);
    assert_eq!(file(&disk, "efi/odd/extra.efi"), first);
    let loader = file(&disk, "efi/boot/vostok.efi");
    assert_eq!(loader.as_ref(), Some(&LOADER.application));

    let twice = format!("ramdisk={path}");
    let error = image(&["--fat-file", &twice]).unwrap_err();
    assert!(error.to_string().contains("ramdisk is there twice"));
}

#[test]
fn same_inputs_give_the_same_bytes_and_others_other_numbers() {
    let disk = image(&[]).unwrap();
    assert!(image(&[]).unwrap() == disk);
    let other = image(&["--cmdline", "x"]).unwrap();
    let numbers = |disk: &[u8]| {
        let table = sectors(disk, 2, 1);
        let (_, _, start, _) = entry(disk, 1);
        let signature = u32_at(disk, 440);
        let volume = u32_at(sectors(disk, start, 1), 39);
        let guids = [
            &sectors(disk, 1, 1)[56..72],
            &table[16..32],
            &table[144..160],
        ];
        (signature, volume, guids.map(<[u8]>::to_vec))
    };
    let (signature, volume, guids) = numbers(&disk);
    let (other_signature, other_volume, other_guids) = numbers(&other);
    assert!(signature != 0 && signature != other_signature && volume != other_volume);
    for (guid, other) in guids.iter().zip(&other_guids) {
        assert!(guid != other && *guid != [0; 16]);
    }
    assert_ne!(guids[1], guids[2]);
}

#[test]
fn image_without_kernel_is_refused() {
    let options = |words: &[&str]| Options::try_parse_from(words).unwrap();
    let none = options(&["boot", "--initramfs", "x"]);
    assert!(fat_files(&none, &LOADER, Vec::new()).is_err());
    let missing = options(&["boot", "--initramfs", "x", "--kernel", "/nonexistent/k"]);
    let error = fat_files(&missing, &LOADER, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/k"));
}

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
