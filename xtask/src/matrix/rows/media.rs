//! Firmware, and what it starts from.

use super::super::row::{BOCHS, QEMU, Row, UEFI};
use crate::flags::Medium;

/// A shell with all that it can start, of an image as people use it.
const SHELL: &str = "/bin/sh -c true";

/// Ways to start the one image.
pub(super) const MEDIA: &[Row] = &[
    Row {
        name: "disk",
        program: SHELL,
        ..QEMU
    },
    Row {
        name: "usb",
        medium: Medium::Usb,
        program: SHELL,
        ..QEMU
    },
    Row {
        name: "disk-uefi",
        program: SHELL,
        ..UEFI
    },
    Row {
        name: "usb-uefi",
        medium: Medium::Usb,
        program: SHELL,
        ..UEFI
    },
    Row {
        name: "disk-bochs",
        program: SHELL,
        ..BOCHS
    },
];

/// Firmware that is odd; `odd.rs` has what takes more than the kernel's word.
pub(super) const FIRMWARE: &[Row] = &[
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
