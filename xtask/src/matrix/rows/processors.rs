//! Models of processors, old and new, and processors that lack something.
//!
//! What QEMU's emulation has of a model is less than what the model has: no PCID and
//! no x2APIC, and nothing of a model's errors. Bochs' models are complete.

use super::super::row::{BOCHS, End, QEMU, Row};

/// In QEMU.
pub(super) const OF_QEMU: &[Row] = &[
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
        name: "nehalem",
        cpu: "Nehalem",
        ..QEMU
    },
    Row {
        name: "westmere",
        cpu: "Westmere",
        ..QEMU
    },
    Row {
        name: "sandybridge",
        cpu: "SandyBridge",
        ..QEMU
    },
    Row {
        name: "haswell",
        cpu: "Haswell",
        ..QEMU
    },
    Row {
        name: "skylake-server",
        cpu: "Skylake-Server",
        ..QEMU
    },
    Row {
        name: "denverton",
        cpu: "Denverton",
        ..QEMU
    },
    Row {
        name: "opteron-g1",
        cpu: "Opteron_G1",
        ..QEMU
    },
    Row {
        name: "phenom",
        cpu: "phenom",
        ..QEMU
    },
    // QEMU 7.2 takes the bit that switches `xsave` on for a reserved one where there is no
    // `xsaveopt`, and then does not go on, without a fault.
    Row {
        name: "opteron-g5",
        cpu: "Opteron_G5,+xsaveopt",
        ..QEMU
    },
    Row {
        name: "epyc",
        cpu: "EPYC",
        smp: 2,
        ..QEMU
    },
    Row {
        name: "no-1g-pages",
        cpu: "max,-pdpe1gb",
        memory: "4096M",
        says: &["pages up to level 2"],
        ..QEMU
    },
    Row {
        name: "no-protections",
        cpu: "max,-smap,-smep,-umip",
        ..QEMU
    },
    Row {
        name: "no-random-numbers",
        cpu: "max,-rdrand,-rdseed",
        ..QEMU
    },
    Row {
        name: "no-fsgsbase",
        cpu: "max,-fsgsbase",
        ..QEMU
    },
    Row {
        name: "no-avx",
        cpu: "max,-avx,-xsave",
        ..QEMU
    },
    Row {
        name: "no-pat",
        cpu: "max,-pat",
        ..QEMU
    },
    Row {
        name: "no-global-pages",
        cpu: "max,-pge",
        ..QEMU
    },
    Row {
        name: "no-apic",
        cpu: "max,-apic",
        says: &["apic: there is none", "tick: interval timer"],
        ..QEMU
    },
    Row {
        name: "no-fxsr",
        cpu: "max,-fxsr",
        end: End::Refused("the processor lacks fxsr"),
        ..QEMU
    },
    Row {
        name: "no-syscall",
        cpu: "max,-syscall",
        end: End::Refused("the processor lacks syscall"),
        ..QEMU
    },
    Row {
        name: "no-nx",
        cpu: "max,-nx",
        end: End::OutOfReach("the loader itself needs no-execute pages, and resets"),
        ..QEMU
    },
];

/// In Bochs.
pub(super) const OF_BOCHS: &[Row] = &[
    Row {
        name: "athlon64",
        cpu: "athlon64_clawhammer",
        ..BOCHS
    },
    Row {
        name: "pentium4",
        cpu: "p4_prescott_celeron_336",
        ..BOCHS
    },
    Row {
        name: "penryn",
        cpu: "core2_penryn_t9600",
        ..BOCHS
    },
    Row {
        name: "toliman",
        cpu: "phenom_8650_toliman",
        ..BOCHS
    },
    Row {
        name: "lynnfield",
        cpu: "corei5_lynnfield_750",
        ..BOCHS
    },
    Row {
        name: "sandy-bridge-2600k",
        cpu: "corei7_sandy_bridge_2600k",
        says: &["pat pcid avx"],
        ..BOCHS
    },
    Row {
        name: "ryzen",
        cpu: "ryzen",
        smp: 2,
        ..BOCHS
    },
    Row {
        name: "ice-lake",
        cpu: "corei7_icelake_u",
        says: &["pcid invpcid"],
        ..BOCHS
    },
];
