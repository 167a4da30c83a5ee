//! What speaks against writing to a device.
//!
//! | objection | by `--force` |
//! |---|---|
//! | a file, no device | written |
//! | not removable, and not on USB | written |
//! | mounted; used by another device, such as a mapped one | written |
//! | a partition; no medium; too small; read-only; no place for bytes at all | never |
//! | the running system is on it, or memory is swapped to it | never |

use std::fmt::{self, Display, Formatter};

use indicatif::HumanBytes;

use super::device::{Target, Use};

/// A reason not to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    File,
    NoDevice,
    /// A part of this disk.
    Partition(String),
    NoMedium,
    TooSmall {
        has: u64,
        needs: u64,
    },
    ReadOnly,
    NotRemovable,
    /// The running system's files are on it, at this mount point.
    System(String),
    InUse(Use),
}

impl Objection {
    /// Returns whether the user may know better.
    pub(super) fn yields_to_force(&self) -> bool {
        match self {
            Self::File | Self::NotRemovable => true,
            Self::InUse(use_) => !matches!(use_, Use::Swap { .. }),
            Self::NoDevice
            | Self::Partition(_)
            | Self::NoMedium
            | Self::TooSmall { .. }
            | Self::ReadOnly
            | Self::System(_) => false,
        }
    }
}

impl Display for Objection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("it is a file, not a device"),
            Self::NoDevice => f.write_str("it is neither a disk nor a file"),
            Self::Partition(disk) => write!(
                f,
                "it is a partition: firmware starts whole disks, so give /dev/{disk}"
            ),
            Self::NoMedium => f.write_str("there is no medium in it"),
            Self::TooSmall { has, needs } => write!(
                f,
                "it is too small: the image takes {}, and it has {}",
                HumanBytes(*needs),
                HumanBytes(*has)
            ),
            Self::ReadOnly => f.write_str("it is read-only: some have a switch on their side"),
            Self::NotRemovable => {
                f.write_str("it is a disk of this machine: neither removable nor on USB")
            }
            Self::System(at) => write!(f, "the running system is on it, mounted at {at}"),
            Self::InUse(Use::Mount { what, at }) => {
                write!(f, "{what} is mounted at {at}: unmount it first")
            }
            Self::InUse(Use::Swap { what }) => {
                write!(f, "memory is swapped to {what}: run `swapoff` first")
            }
            Self::InUse(Use::Holder { what }) => write!(
                f,
                "{what} lies on it: close that first (`cryptsetup close`, `vgchange -an`, `mdadm --stop`)"
            ),
        }
    }
}

/// Where the files of a running system are.
const SYSTEM: [&str; 7] = ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/home"];

/// Returns all that speaks against writing so many bytes to a target.
pub(super) fn objections(target: &Target, needs: u64) -> Vec<Objection> {
    let mut found = Vec::new();
    let disk = match target {
        Target::Other => return vec![Objection::NoDevice],
        Target::Partition { of } => return vec![Objection::Partition(of.clone())],
        Target::File { bytes: has } => {
            if *has < needs {
                found.push(Objection::TooSmall { has: *has, needs });
            }
            found.push(Objection::File);
            return found;
        }
        Target::Disk(disk) => disk,
    };
    if disk.bytes == 0 {
        found.push(Objection::NoMedium);
    } else if disk.bytes < needs {
        let has = disk.bytes;
        found.push(Objection::TooSmall { has, needs });
    }
    if disk.is_read_only {
        found.push(Objection::ReadOnly);
    }
    if !disk.is_removable && !disk.is_usb {
        found.push(Objection::NotRemovable);
    }
    for use_ in &disk.uses {
        found.push(match use_ {
            Use::Mount { at, .. } if SYSTEM.contains(&at.as_str()) => Objection::System(at.clone()),
            _ => Objection::InUse(use_.clone()),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Objection, objections};
    use crate::usb::device::{Disk, Target, Use};

    fn stick() -> Disk {
        Disk {
            number: (8, 16),
            model: "A Stick".to_owned(),
            bytes: 1 << 30,
            is_removable: true,
            is_usb: true,
            is_read_only: false,
            partitions: Vec::new(),
            uses: Vec::new(),
        }
    }

    /// Returns the only objection to a disk, and whether force overrides it.
    #[track_caller]
    fn only(change: impl FnOnce(&mut Disk)) -> (String, bool) {
        let mut disk = stick();
        change(&mut disk);
        let found = objections(&Target::Disk(disk), 1 << 20);
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].to_string(), found[0].yields_to_force())
    }

    #[track_caller]
    fn assert_objection(change: impl FnOnce(&mut Disk), text: &str, yields: bool) {
        let (found, found_yields) = only(change);
        assert!(found.contains(text), "{found}");
        assert_eq!(found_yields, yields, "{found}");
    }

    #[test]
    fn nothing_speaks_against_an_unused_stick() {
        for (is_removable, is_usb) in [(true, true), (false, true), (true, false)] {
            let disk = Disk {
                is_removable,
                is_usb,
                ..stick()
            };
            assert_eq!(objections(&Target::Disk(disk), 1 << 30), []);
        }
    }

    #[test]
    fn each_objection_has_its_message_and_some_yield_to_force() {
        let mount = |at: &str| Use::Mount {
            what: "sdb1".to_owned(),
            at: at.to_owned(),
        };
        let what = || "dm-0".to_owned();
        assert_objection(|disk| disk.bytes = 0, "no medium", false);
        assert_objection(|disk| disk.bytes = 4096, "too small", false);
        assert_objection(|disk| disk.is_read_only = true, "read-only", false);
        let inside = |disk: &mut Disk| (disk.is_removable, disk.is_usb) = (false, false);
        assert_objection(inside, "neither removable", true);
        let mounted = "sdb1 is mounted at /media/x";
        assert_objection(|disk| disk.uses = vec![mount("/media/x")], mounted, true);
        for at in ["/", "/boot/efi", "/home"] {
            assert_objection(|disk| disk.uses = vec![mount(at)], "running system", false);
        }
        let swap = Use::Swap { what: what() };
        assert_objection(|disk| disk.uses = vec![swap], "swapoff", false);
        let holder = Use::Holder { what: what() };
        assert_objection(|disk| disk.uses = vec![holder], "dm-0 lies on it", true);
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        let of = "sdb".to_owned();
        let partition = objections(&Target::Partition { of }, 0);
        assert!(partition[0].to_string().contains("give /dev/sdb"));
        assert!(!partition[0].yields_to_force());
        assert_eq!(objections(&Target::Other, 0), [Objection::NoDevice]);
        assert!(!Objection::NoDevice.yields_to_force());
        assert_eq!(objections(&Target::File { bytes: 9 }, 9), [Objection::File]);
        assert!(Objection::File.yields_to_force());
        assert_eq!(objections(&Target::File { bytes: 9 }, 10).len(), 2);
    }

    #[test]
    fn all_objections_are_told_at_once() {
        let disk = Disk {
            bytes: 1,
            is_read_only: true,
            is_removable: false,
            is_usb: false,
            ..stick()
        };
        assert_eq!(objections(&Target::Disk(disk), 2).len(), 3);
    }
}
