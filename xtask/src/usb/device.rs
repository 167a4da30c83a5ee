//! What the kernel knows of a device: its size and kind, and who uses it.
//!
//! All of it is text below two directories, `/proc` and `/sys`, which tests put
//! elsewhere:
//!
//! ```text
//! sys/dev/block/8:16      a link to the device's directory, by its number
//!       …/block/sdb/      size, ro, removable; the way to it leads over `usb`
//!               holders/  links to devices that lie on it
//!               sdb1/     a partition: has the file `partition`, and holders, too
//! proc/self/mountinfo     what is mounted, by number and by name
//! proc/swaps              what memory is swapped to, by name
//! ```

use std::fmt::Write;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::HumanBytes;
use rustix::fs::{major, minor};

/// The unit of sizes in sysfs, whatever the device's own is.
const SECTOR: u64 = 512;

/// Where the system tells of its devices.
#[derive(Debug)]
pub(super) struct System {
    proc: PathBuf,
    sys: PathBuf,
}

/// A device's number: major and minor.
type Number = (u32, u32);

/// What could be written to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Disk(Disk),
    Partition { of: String },
    File { bytes: u64 },
    Other,
}

/// A whole device of blocks.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) number: Number,
    /// Its maker and model, as far as they are known.
    pub(super) model: String,
    pub(super) bytes: u64,
    /// The medium comes out of the device.
    pub(super) is_removable: bool,
    /// The device comes out of the machine.
    pub(super) is_usb: bool,
    pub(super) is_read_only: bool,
    /// Names and sizes.
    pub(super) partitions: Vec<(String, u64)>,
    pub(super) uses: Vec<Use>,
}

/// What a device, or one that lies on it, is in use for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Mount {
        what: String,
        at: String,
    },
    Swap {
        what: String,
    },
    /// Another device lies on it: an encrypted one, a volume, a part of an array.
    Holder {
        what: String,
    },
}

impl Target {
    pub(super) fn is_disk(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// Returns whether an open file is this target.
    pub(super) fn is_still(&self, metadata: &Metadata) -> bool {
        match self {
            Self::Disk(disk) => {
                metadata.file_type().is_block_device() && number_of(metadata) == disk.number
            }
            Self::File { bytes } => metadata.is_file() && metadata.len() == *bytes,
            Self::Partition { .. } | Self::Other => false,
        }
    }

    /// Tells what it is, and what would be lost.
    pub(super) fn describe(&self, path: &Path) -> String {
        let mut text = format!("{}: ", path.display());
        let Self::Disk(disk) = self else {
            text.push_str(match self {
                Self::File { .. } => "a file",
                Self::Partition { .. } => "a partition",
                Self::Disk(_) | Self::Other => "no disk",
            });
            return text;
        };
        let kind = match (disk.is_usb, disk.is_removable) {
            (true, true) => "removable, on USB",
            (true, false) => "a fixed disk on USB",
            (false, true) => "removable",
            (false, false) => "a fixed disk",
        };
        let (model, size) = (&disk.model, HumanBytes(disk.bytes));
        // Writing to a string does not fail.
        let _ = write!(text, "{model}, {size}, {kind}");
        for (name, bytes) in &disk.partitions {
            let _ = write!(text, "\n  {name}: {}", HumanBytes(*bytes));
            for use_ in &disk.uses {
                if let Use::Mount { what, at } = use_
                    && what == name
                {
                    let _ = write!(text, ", mounted at {at}");
                }
            }
        }
        text
    }
}

impl System {
    /// Returns the one that runs.
    pub(super) fn running() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
        }
    }

    /// Looks a path up.
    pub(super) fn target(&self, path: &Path) -> Result<Target> {
        let context = || format!("there is no {}", path.display());
        let metadata = fs::metadata(path).with_context(context)?;
        if metadata.is_file() {
            let bytes = metadata.len();
            return Ok(Target::File { bytes });
        }
        if metadata.file_type().is_block_device() {
            return self.device(number_of(&metadata));
        }
        Ok(Target::Other)
    }

    /// Lists all whole devices.
    pub(super) fn disks(&self) -> Result<Vec<(PathBuf, Target)>> {
        let mut disks = Vec::new();
        for entry in fs::read_dir(self.sys.join("block"))? {
            let directory = entry?.path();
            if let Some(number) = number_in(&directory)
                && let Ok(target) = self.device(number)
            {
                disks.push((Path::new("/dev").join(name_of(&directory)), target));
            }
        }
        disks.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(disks)
    }

    /// Looks a device of blocks up by its number.
    fn device(&self, number: Number) -> Result<Target> {
        let (major, minor) = number;
        let link = self.sys.join(format!("dev/block/{major}:{minor}"));
        let directory = fs::canonicalize(&link)
            .with_context(|| format!("the kernel tells nothing of device {major}:{minor}"))?;
        if is_partition(&directory) {
            let of = directory.parent().map(name_of).unwrap_or_default();
            return Ok(Target::Partition { of });
        }
        let is_set = |file: &str| text(&directory.join(file)).as_deref() == Some("1");
        let told = |file: &str| text(&directory.join(file));
        // Without a model, the maker is a number.
        let model = told("device/model").map(|model| match told("device/vendor") {
            Some(maker) => format!("{maker} {model}"),
            None => model,
        });
        let partitions = children(&directory).into_iter();
        let partitions = partitions.map(|part| (name_of(&part), bytes_of(&part)));
        Ok(Target::Disk(Disk {
            number,
            model: model.unwrap_or_else(|| "of no known model".to_owned()),
            bytes: bytes_of(&directory),
            is_removable: is_set("removable"),
            is_usb: is_on_usb(&directory),
            is_read_only: is_set("ro"),
            partitions: partitions.collect(),
            uses: self.uses(&directory)?,
        }))
    }

    /// Finds out what a device is in use for, and all that lies on it.
    fn uses(&self, directory: &Path) -> Result<Vec<Use>> {
        let mut layers = Vec::new();
        collect_layers(directory, &mut layers);
        let mut uses = Vec::new();
        let mounts = self.read("self/mountinfo")?;
        for mount in mounts.lines().filter_map(Mount::parse) {
            let is_it = |layer: &&Layer| layer.number == mount.number || layer.name == mount.source;
            if let Some(layer) = layers.iter().find(is_it) {
                let what = layer.name.clone();
                uses.push(Use::Mount { what, at: mount.at });
            }
        }
        // The first line is a heading.
        for line in self.read("swaps")?.lines().skip(1) {
            let source = device_name(line.split_whitespace().next().unwrap_or_default());
            if let Some(layer) = layers.iter().find(|layer| layer.name == source) {
                let what = layer.name.clone();
                uses.push(Use::Swap { what });
            }
        }
        for layer in layers.into_iter().filter(|layer| layer.is_holder) {
            let what = layer.name;
            uses.push(Use::Holder { what });
        }
        Ok(uses)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.proc.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// The device itself, a partition of it, or one that lies on these.
#[derive(Debug)]
struct Layer {
    name: String,
    number: Number,
    is_holder: bool,
}

/// Collects a device and all above it, each once.
fn collect_layers(start: &Path, layers: &mut Vec<Layer>) {
    let mut left = vec![(start.to_owned(), false)];
    while let Some((directory, is_holder)) = left.pop() {
        let name = name_of(&directory);
        let Some(number) = number_in(&directory) else {
            continue;
        };
        if layers.iter().any(|layer| layer.number == number) {
            continue;
        }
        layers.push(Layer {
            name,
            number,
            is_holder,
        });
        let parts = children(&directory).into_iter();
        left.extend(parts.map(|part| (part, is_holder)));
        let holders = entries(&directory.join("holders")).into_iter();
        let holders = holders.filter_map(|link| fs::canonicalize(link).ok());
        left.extend(holders.map(|holder| (holder, true)));
    }
}

/// A line of `mountinfo`.
#[derive(Debug)]
struct Mount {
    number: Number,
    at: String,
    /// The name of the device, where the file system has made up a number.
    source: String,
}

impl Mount {
    /// Takes a line apart: `36 35 8:17 / /mnt rw,noatime shared:1 - ext4 /dev/sdb1 rw`.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let number = parse_number(before.next()?)?;
        let at = unescape(before.nth(1)?);
        let source = device_name(&unescape(after.split(' ').nth(1)?));
        Some(Self { number, at, source })
    }
}

/// Undoes the octal of blanks, `\040`.
fn unescape(text: &str) -> String {
    let codes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let undo = |text: String, (code, plain): (&str, &str)| text.replace(code, plain);
    codes.into_iter().fold(text.to_owned(), undo)
}

/// Returns the kernel's name of a device by its path, which may be a link.
fn device_name(path: &str) -> String {
    let path = Path::new(path);
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if real.starts_with("/dev") {
        name_of(&real)
    } else {
        // Of a file system without a device, such as `tmpfs`.
        String::new()
    }
}

/// Returns whether a device's directory lies below a controller of USB.
fn is_on_usb(directory: &Path) -> bool {
    let mut parts = directory.iter().filter_map(|part| part.to_str());
    parts.any(|part| {
        let number = part.strip_prefix("usb");
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    })
}

fn number_of(metadata: &Metadata) -> Number {
    (major(metadata.rdev()), minor(metadata.rdev()))
}

fn number_in(directory: &Path) -> Option<Number> {
    parse_number(&text(&directory.join("dev"))?)
}

fn parse_number(text: &str) -> Option<Number> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn bytes_of(directory: &Path) -> u64 {
    let sectors = text(&directory.join("size")).and_then(|text| text.parse::<u64>().ok());
    sectors.unwrap_or(0).saturating_mul(SECTOR)
}

fn is_partition(directory: &Path) -> bool {
    directory.join("partition").exists()
}

/// Returns the directories of a device's partitions, in order.
fn children(directory: &Path) -> Vec<PathBuf> {
    let mut children = entries(directory);
    children.retain(|child| is_partition(child));
    children.sort();
    children
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Returns what a file of one line says.
fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
