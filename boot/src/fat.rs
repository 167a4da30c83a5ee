//! The volume of files: a FAT of 12 or 16 bits, with large clusters.
//!
//! The loader's second stage reads it by calls of the BIOS, which sets the limits:
//!
//! * It knows FATs of 12 and 16 bits, not of 32, and takes names of its files in
//!   one entry of 13 characters.
//! * It reads 16 KiB for each cluster, however small, and two sectors of the
//!   table for each step to the next one. Clusters of 16 KiB are read once and
//!   whole; those of 2 KiB, which such volumes have elsewhere, eight times over.
//! * It takes a volume of 65536 sectors or more for one of 32 bits, and the four
//!   bytes at 36 for the length of the table; it goes on as it should if they are
//!   zero. In a FAT of 16 bits they are the drive's number, a reserved byte, the
//!   mark 0x29, and a byte of the volume's number. The mark says that number and
//!   label follow; a volume without mark has neither, which is all that a large
//!   volume of ours loses.
//!
//! Firmware for UEFI reads FATs of 12, 16 and 32 bits alike: hybrid images of
//! installers have long had small ones of 12.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Write};

use anyhow::{Context, Result, bail, ensure};
use fatfs::{Date, DateTime, Dir, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};

use crate::disk::SECTOR;

/// The files of a volume, by path, with `/` between the parts.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What the second stage reads at once.
pub(crate) const CLUSTER: usize = 16 << 10;
const MEBIBYTE: usize = 1 << 20;
/// The largest size with less than 65525 clusters, from which on a FAT has 32 bits.
const MAX_MEBIBYTES: usize = 1023;
/// Entries of the root directory, which has a fixed place; the second stage has
/// room for just as many.
const ROOT_ENTRIES: u16 = 512;
/// Sectors from which on the field of 16 bits does not hold their number.
const LARGE: usize = 1 << 16;
const LABEL: [u8; 11] = *b"VOSTOK     ";

/// The one time that all files are of: the first that a FAT can say.
#[derive(Debug)]
struct Beginning;

static BEGINNING: Beginning = Beginning;

impl TimeProvider for Beginning {
    fn get_current_date(&self) -> Date {
        let (year, month, day) = (1980, 1, 1);
        Date { year, month, day }
    }

    fn get_current_date_time(&self) -> DateTime {
        let (hour, min, sec, millis) = (0, 0, 0, 0);
        let time = Time {
            hour,
            min,
            sec,
            millis,
        };
        let date = self.get_current_date();
        DateTime { date, time }
    }
}

/// Makes a volume of this number that holds these files; it starts at this sector
/// of its disk.
///
/// # Errors
///
/// Too large, or a path that names no file.
pub(crate) fn volume(files: &Files, number: u32, start: u32) -> Result<Vec<u8>> {
    let sizes = files.iter().map(|(path, contents)| (path, contents.len()));
    let mut bytes = vec![0; MEBIBYTE * mebibytes(sizes)?];
    let format = FormatVolumeOptions::new()
        .bytes_per_cluster(CLUSTER as u32)
        .max_root_dir_entries(ROOT_ENTRIES)
        .sectors_per_track(63)
        .heads(255)
        .volume_id(number)
        .volume_label(LABEL);
    fatfs::format_volume(Cursor::new(&mut bytes), format)?;
    let options = FsOptions::new().time_provider(&BEGINNING);
    let volume = FileSystem::new(Cursor::new(&mut bytes), options)?;
    for (path, contents) in files {
        add(&volume.root_dir(), path, contents).with_context(|| format!("cannot add {path}"))?;
    }
    volume.unmount()?;

    // How far into the disk the volume is.
    bytes[28..32].copy_from_slice(&start.to_le_bytes());
    if bytes.len() / SECTOR >= LARGE {
        // What the mark announces goes with it: the kind, which nobody reads, too.
        bytes[36..62].fill(0);
    }
    Ok(bytes)
}

/// Returns the size of a volume for files of these paths and lengths.
fn mebibytes<'a>(files: impl Iterator<Item = (&'a String, usize)>) -> Result<usize> {
    let mut directories = BTreeSet::new();
    let mut clusters = 0_usize;
    for (path, len) in files {
        let ends = path.match_indices('/').map(|(end, _)| end);
        directories.extend(ends.map(|end| &path[..end]));
        clusters += len.div_ceil(CLUSTER);
    }
    clusters += directories.len();
    // One boot sector, two tables of up to 16 bits an entry, the root directory.
    let tables = 2 * (clusters + 128).div_ceil(SECTOR / 2);
    let sectors = 1 + tables + usize::from(ROOT_ENTRIES) * 32 / SECTOR;
    let mebibytes = (clusters * CLUSTER + sectors * SECTOR).div_ceil(MEBIBYTE);
    ensure!(
        mebibytes <= MAX_MEBIBYTES,
        "the files take {mebibytes} MiB, and the loader reads volumes up to {MAX_MEBIBYTES} MiB"
    );
    // 4085 clusters divide 12 bits from 16, and not all readers agree to the last
    // one: 64 MiB is too near.
    Ok(if mebibytes == 64 { 65 } else { mebibytes })
}

/// Adds a file, and the directories that it is in.
fn add<T: fatfs::ReadWriteSeek>(root: &Dir<'_, T>, path: &str, contents: &[u8]) -> Result<()> {
    let mut directory = root.clone();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        if matches!(part, "" | "." | "..") {
            bail!("`{path}` does not name a file");
        }
        if parts.peek().is_some() {
            directory = directory.create_dir(part)?;
            continue;
        }
        // Names that differ in case are one.
        ensure!(directory.open_file(part).is_err(), "there are two of it");
        directory.create_file(part)?.write_all(contents)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use fatfs::{FatType, FileSystem, FsOptions};

    use super::{CLUSTER, Files, MAX_MEBIBYTES, MEBIBYTE, mebibytes, volume};

    fn files(entries: &[(&str, usize)]) -> Files {
        let file = |(name, len): &(&str, usize)| {
            let contents = (0..*len).map(|at| (at / CLUSTER + at) as u8).collect();
            ((*name).to_owned(), contents)
        };
        entries.iter().map(file).collect()
    }

    /// Reads every file of a volume back and compares it.
    #[track_caller]
    fn assert_holds(bytes: &[u8], files: &Files) {
        let read = FileSystem::new(Cursor::new(bytes.to_vec()), FsOptions::new()).unwrap();
        for (path, contents) in files {
            let mut found = Vec::new();
            let mut file = read.root_dir().open_file(path).unwrap();
            file.read_to_end(&mut found).unwrap();
            assert!(found == *contents, "{path}");
        }
        assert_eq!(read.cluster_size() as usize, CLUSTER);
    }

    #[test]
    fn files_are_read_back() {
        let files = files(&[
            ("kernel-x86_64", 3 * CLUSTER + 1),
            ("empty", 0),
            ("efi/boot/bootx64.efi", 100_000),
            ("efi/boot/another long name.txt", 1),
        ]);
        let bytes = volume(&files, 1, 4096).unwrap();
        assert_eq!(bytes.len(), MEBIBYTE);
        assert_holds(&bytes, &files);
        assert_eq!(bytes[28..32], 4096_u32.to_le_bytes());
        assert_eq!(bytes[39..43], 1_u32.to_le_bytes());
        let times = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        let entry = times.root_dir().iter().next().unwrap().unwrap();
        assert_eq!(entry.modified().date.year, 1980);
        assert_eq!(
            (entry.modified().date.month, entry.created().date.day),
            (1, 1)
        );
    }

    #[test]
    fn volume_grows_with_its_files_and_is_never_too_small() {
        // A cluster more or less around whole mebibytes.
        for clusters in [61, 62, 63, 64, 65, 126, 127, 128, 129] {
            let files = files(&[("a/b/c", clusters * CLUSTER)]);
            let bytes = volume(&files, 0, 0).unwrap();
            assert!(bytes.len() <= (clusters + 68) * CLUSTER);
            assert_holds(&bytes, &files);
        }
    }

    #[test]
    fn second_stage_finds_its_way_in_volumes_of_any_size() {
        for (size, kind) in [
            (20, FatType::Fat12),
            (31, FatType::Fat12),
            (40, FatType::Fat12),
            (62, FatType::Fat12),
            (63, FatType::Fat16),
            (70, FatType::Fat16),
        ] {
            let files = files(&[("ramdisk", size * MEBIBYTE)]);
            let bytes = volume(&files, u32::MAX, 0).unwrap();
            assert_holds(&bytes, &files);
            // Exactly one of the numbers of sectors is given. By the one of 32 bits
            // the second stage expects the table's length at 36: zero lets it use
            // the length at 22, which there is.
            let short = u16::from_le_bytes([bytes[19], bytes[20]]);
            assert_eq!(short == 0, bytes.len() >= 32 * MEBIBYTE);
            assert_eq!(bytes[32..36] == [0; 4], short != 0);
            assert!(short != 0 || bytes[36..40] == [0; 4]);
            assert_ne!(bytes[22..24], [0; 2]);
            let read = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
            assert_eq!(read.fat_type(), kind);
            // Not near the numbers where readers disagree.
            let clusters = read.stats().unwrap().total_clusters();
            assert!(clusters.abs_diff(4085) > 16, "{size}: {clusters}");
        }
    }

    #[test]
    fn largest_volume_has_16_bits_and_a_larger_one_is_refused() {
        let clusters = |mebibytes: usize| mebibytes * MEBIBYTE / CLUSTER;
        assert!(clusters(MAX_MEBIBYTES) + 16 < 65525);
        let name = "a".to_owned();
        let of = |len| mebibytes([(&name, len)].into_iter());
        assert_eq!(of((MAX_MEBIBYTES - 1) * MEBIBYTE).unwrap(), MAX_MEBIBYTES);
        let error = of(MAX_MEBIBYTES * MEBIBYTE).unwrap_err();
        assert!(error.to_string().contains("1024 MiB"), "{error}");
    }

    #[test]
    fn paths_that_name_no_file_and_names_given_twice_are_refused() {
        for bad in ["", "/a", "a/", "a//b", "../a", "a/./b"] {
            assert!(volume(&files(&[(bad, 1)]), 0, 0).is_err(), "{bad}");
        }
        for twice in [[("A", 1), ("a", 1)], [("b", 1), ("b/c", 1)]] {
            assert!(volume(&files(&twice), 0, 0).is_err(), "{twice:?}");
        }
    }
}
