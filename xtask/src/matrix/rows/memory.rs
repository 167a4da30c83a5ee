//! Little memory, much memory, and holes in it.

use super::super::row::{End, QEMU, Row, UEFI};

/// By size.
pub(super) const MEMORY: &[Row] = &[
    Row {
        name: "32M",
        memory: "32M",
        ..QEMU
    },
    Row {
        name: "64M",
        memory: "64M",
        ..QEMU
    },
    Row {
        name: "64M-uefi",
        memory: "64M",
        ..UEFI
    },
    Row {
        name: "3.5G",
        memory: "3584M",
        ..QEMU
    },
    Row {
        name: "6G",
        memory: "6144M",
        says: &["for 6143 MiB of RAM"],
        ..QEMU
    },
    Row {
        name: "6G-uefi",
        memory: "6144M",
        ..UEFI
    },
    Row {
        name: "hole-from-1G-to-4G",
        memory: "4096M",
        arguments: &["-machine", "pc,max-ram-below-4g=1G"],
        says: &["for 4095 MiB of RAM"],
        ..QEMU
    },
    Row {
        name: "room-for-more-modules",
        memory: "1024M",
        arguments: &[
            "-m",
            "1G,slots=4,maxmem=64G",
            "-object",
            "memory-backend-ram,id=more,size=512M",
            "-device",
            "pc-dimm,memdev=more",
        ],
        ..QEMU
    },
    Row {
        name: "two-nodes",
        smp: 2,
        memory: "2048M",
        arguments: &[
            "-object",
            "memory-backend-ram,size=1G,id=near",
            "-object",
            "memory-backend-ram,size=1G,id=far",
            "-numa",
            "node,memdev=near,cpus=0",
            "-numa",
            "node,memdev=far,cpus=1",
        ],
        ..QEMU
    },
    Row {
        name: "64G",
        memory: "65536M",
        says: &["for 65535 MiB of RAM"],
        ..QEMU
    },
    Row {
        name: "too-little-for-the-loader",
        memory: "20M",
        end: End::OutOfReach("the loader maps memory by 4 MiB of tables, and panics below 23 MiB"),
        ..QEMU
    },
];
