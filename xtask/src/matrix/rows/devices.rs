//! Devices that are missing, or unusual ones; screens; and numbers of processors.

use super::super::row::{End, QEMU, Row, UEFI};

/// Chip sets, and devices that are missing.
pub(super) const DEVICES: &[Row] = &[
    Row {
        name: "q35",
        arguments: &["-machine", "q35"],
        ..QEMU
    },
    Row {
        name: "old-chip-set",
        cpu: "Conroe",
        arguments: &["-machine", "pc-i440fx-2.0"],
        ..QEMU
    },
    Row {
        name: "iommu",
        arguments: &["-machine", "q35", "-device", "intel-iommu"],
        ..QEMU
    },
    Row {
        name: "no-acpi",
        arguments: &["-machine", "pc,acpi=off"],
        says: &["1 processors, 0 I/O APICs"],
        ..QEMU
    },
    Row {
        name: "no-keyboard-controller",
        arguments: &[
            "-machine",
            "q35,i8042=off",
            "-device",
            "nec-usb-xhci",
            "-device",
            "usb-kbd",
        ],
        says: &["usb: controller"],
        ..QEMU
    },
    Row {
        name: "peer_103_no_serial_port",
        has_serial: false,
        ..QEMU
    },
];

/// Timers that are missing. One timer that lies, and counts that make no sense, are
/// left to the tests in the kernel: no emulator has them.
pub(super) const TIMERS: &[Row] = &[
    Row {
        name: "no-event-timer",
        arguments: &["-machine", "pc,hpet=off"],
        says: &["by 2 timers"],
        ..QEMU
    },
    Row {
        name: "peer_108_no_interval_timer",
        arguments: &["-machine", "pc,pit=off"],
        says: &["by 2 timers"],
        warns: &["clock: the interval timer says nothing sane"],
        ..QEMU
    },
    Row {
        name: "peer_108_acpi_timer_alone",
        arguments: &["-machine", "pc,pit=off,hpet=off"],
        says: &["by 1 timers"],
        warns: &["clock: the interval timer says nothing sane"],
        ..QEMU
    },
];

/// Display adapters, and firmware.
pub(super) const SCREENS: &[Row] = &[
    Row {
        name: "cirrus",
        arguments: &["-vga", "cirrus"],
        says: &["screen: 800 x 600"],
        ..QEMU
    },
    Row {
        name: "vmware-svga",
        arguments: &["-vga", "vmware"],
        ..QEMU
    },
    Row {
        name: "qxl",
        arguments: &["-vga", "qxl"],
        ..QEMU
    },
    Row {
        name: "virtio-vga",
        arguments: &["-vga", "virtio"],
        ..QEMU
    },
    Row {
        name: "large-video-memory",
        arguments: &["-vga", "none", "-device", "VGA,vgamem_mb=256"],
        ..QEMU
    },
    Row {
        name: "no-display",
        arguments: &["-vga", "none"],
        end: End::OutOfReach("the loader panics without the graphics calls of a BIOS"),
        ..QEMU
    },
    Row {
        name: "uefi-no-display",
        arguments: &["-vga", "none"],
        says: &["screen: none"],
        ..UEFI
    },
    Row {
        name: "uefi-ramfb",
        arguments: &["-vga", "none", "-device", "ramfb"],
        ..UEFI
    },
    Row {
        name: "uefi-bochs-display",
        arguments: &["-vga", "none", "-device", "bochs-display"],
        ..UEFI
    },
    Row {
        name: "uefi-cirrus",
        arguments: &["-vga", "cirrus"],
        says: &["screen: none"],
        ..UEFI
    },
];

/// Processors that are numbered with gaps, absent, or too many.
pub(super) const SEVERAL: &[Row] = &[
    Row {
        name: "peer_106_ids_with_gaps",
        smp: 6,
        arguments: &["-smp", "6,sockets=2,cores=3"],
        says: &["processors: 6 of 6"],
        ..QEMU
    },
    Row {
        name: "peer_106_disabled_processors",
        smp: 2,
        arguments: &["-smp", "2,maxcpus=8"],
        says: &["2 processors and 6 disabled", "processors: 2 of 2"],
        ..QEMU
    },
    Row {
        name: "peer_106_more_than_the_kernel_has_room_for",
        smp: 66,
        says: &["64 processors and 2 left out", "processors: 64 of 66"],
        ..QEMU
    },
    Row {
        name: "peer_106_ids_above_254",
        smp: 300,
        end: End::OutOfReach("QEMU emulates no x2APIC, which such ids need"),
        ..QEMU
    },
];
