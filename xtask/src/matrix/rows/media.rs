//! Firmware, and what it starts from.

use super::super::row::{QEMU, Row, UEFI};
use crate::flags::Medium;

/// Ways to start the one image, besides a disk of a machine with BIOS.
pub(super) const MEDIA: &[Row] = &[
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

/// Firmware that is odd; `odd.rs` has what takes more than the kernel's word.
pub(super) const FIRMWARE: &[Row] = &[
    Row {
        name: "five-levels",
        firmware: "five-levels",
        smp: 2,
        ..UEFI
    },
    Row {
        name: "peer_104_screen_in_ram_above_4_gib",
        firmware: "screen=ram",
        memory: "6G",
        says: &["a screen at 0x1", "screen: 1024 x 768, Bgr"],
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
