//! The machines of the matrix.

use super::row::{BOCHS, End, QEMU, Row, UEFI};
use crate::flags::Medium;

/// Returns all of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    [PROCESSORS, MEDIA, DEVICES, FIRMWARE].into_iter().flatten()
}

/// Models of processors, old and new.
const PROCESSORS: &[Row] = &[
    Row {
        name: "qemu64",
        cpu: "qemu64",
        ..QEMU
    },
    Row {
        name: "core2duo",
        cpu: "core2duo",
        ..QEMU
    },
    Row {
        name: "Nehalem",
        cpu: "Nehalem",
        ..QEMU
    },
    Row {
        name: "Westmere",
        cpu: "Westmere",
        ..QEMU
    },
    Row {
        name: "Haswell",
        cpu: "Haswell",
        ..QEMU
    },
    Row {
        name: "Skylake-Server",
        cpu: "Skylake-Server",
        ..QEMU
    },
    Row {
        name: "Opteron_G1",
        cpu: "Opteron_G1",
        ..QEMU
    },
    Row {
        name: "EPYC",
        cpu: "EPYC",
        ..QEMU
    },
    Row {
        name: "no-nx",
        cpu: "max,-nx",
        end: End::OutOfReach("the loader itself needs no-execute pages"),
        ..QEMU
    },
    Row {
        name: "skylake-x",
        says: &["pcid invpcid"],
        ..BOCHS
    },
];

/// Ways to start the one image, besides a disk of a machine with BIOS.
const MEDIA: &[Row] = &[
    Row {
        name: "uefi",
        ..UEFI
    },
    Row {
        name: "usb",
        medium: Medium::Usb,
        ..QEMU
    },
    Row {
        name: "usb-uefi",
        medium: Medium::Usb,
        ..UEFI
    },
];

/// Devices that are missing.
const DEVICES: &[Row] = &[Row {
    name: "peer_103_no_serial_port",
    has_serial: false,
    ..QEMU
}];
/// Firmware that is odd; `odd.rs` has what takes more than the kernel's word.
const FIRMWARE: &[Row] = &[
    Row {
        name: "five-levels",
        firmware: "five-levels",
        ..UEFI
    },
    Row {
        name: "peer_104_screen_in_ram_above_4_gib",
        firmware: "screen=ram",
        memory: "6G",
        says: &["screen: at 0x100000000, 1088 pixels from line to line"],
        ..UEFI
    },
    Row {
        name: "peer_104_screen_of_a_format_given_by_masks",
        firmware: "screen=masks",
        says: &["screen: 1024 x 768, Rgb"],
        ..UEFI
    },
    Row {
        name: "peer_104_screen_for_the_firmware_alone",
        firmware: "screen=blt-only",
        says: &["screen: none"],
        ..UEFI
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;

    #[test]
    fn rows_have_names_of_their_own() {
        let names: BTreeSet<_> = all().map(|row| row.name).collect();
        assert_eq!(names.len(), all().count());
        let is_word = |name: &&str| !name.is_empty() && !name.contains(char::is_whitespace);
        assert!(names.iter().all(is_word));
    }
}
