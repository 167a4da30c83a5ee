//! The machines that the tests in the kernel run on, and which of them on each.
//!
//! All of them run in QEMU on one processor. What is about several processors runs
//! on 2, 4 and 8 of them, too. Bochs, an x86 by other authors, is slow and has what
//! QEMU lacks (PCID, INVPCID, x2APIC, a TLB that really keeps translations), so the
//! tests run there that are about these, and those that compare the kernel with the
//! processor. A few run with the 8259 controller instead of the APIC,
//! and a few with the kernel's image where the loader puts it.
//!
//! A machine that the user chooses by options is the only one, and runs all tests.

use crate::flags::{EmulatorKind, MachineOptions, TestOptions};

/// What is about several processors.
const SEVERAL: &str = "smp|stress|::cpu|tlb|rcu|::task|::sync::|::vm_space::|apic";
/// What is about the processor itself, or about several of them.
const PROCESSOR: &str = "pcid|apic|smp|stress|model_tests|tlb|peer_|::arch::|::task|kaslr";
/// What the interrupt controller matters to.
const INTERRUPTS: &str = "timer|irq|::pic|trap|::task|::time";
/// What the base of the kernel's image matters to.
const IMAGE: &str = "kaslr|::kspace::";

/// A machine, and what runs on it.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) machine: MachineOptions,
    /// Options of the kernel's command line.
    pub(crate) options: &'static str,
    /// Tests run whose names contain one of these; `|` stands between them.
    pub(crate) among: &'static str,
}

impl Station {
    /// Returns what the machine is called in reports.
    pub(crate) fn label(&self) -> String {
        let mut label = self.machine.label();
        if !self.options.is_empty() {
            label.push_str(", ");
            label.push_str(self.options);
        }
        label
    }

    /// Returns whether the tests can do without this machine: then it is skipped
    /// where it cannot be installed.
    pub(crate) fn is_optional(&self, options: &TestOptions) -> bool {
        self.machine.emulator() == EmulatorKind::Bochs && !options.machine.is_chosen()
    }
}

/// Returns the machines that the tests run on, the one for all tests first.
pub(crate) fn stations(options: &TestOptions) -> Vec<Station> {
    use EmulatorKind::{Bochs, Qemu};
    let station = |machine, options, among| Station {
        machine,
        options,
        among,
    };
    let is_long = options.stress.is_some();
    if options.machine.is_chosen() {
        let among = if is_long { "stress" } else { "" };
        return vec![station(options.machine.clone(), "", among)];
    }
    let new = |emulator, smp| MachineOptions::new(emulator, smp, &options.machine.memory);
    if is_long {
        let machines = [new(Qemu, 2), new(Qemu, 4), new(Qemu, 8), new(Bochs, 2)];
        return machines
            .map(|machine| station(machine, "", "stress"))
            .into();
    }
    vec![
        station(new(Qemu, 1), "", ""),
        station(new(Qemu, 2), "", SEVERAL),
        station(new(Qemu, 4), "", SEVERAL),
        station(new(Qemu, 8), "", SEVERAL),
        station(new(Bochs, 2), "", PROCESSOR),
        station(new(Qemu, 1), "no-apic", INTERRUPTS),
        station(new(Qemu, 1), "nokaslr", IMAGE),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Station, stations};
    use crate::flags::{Command, Flags};

    fn stations_of(arguments: &[&str]) -> Vec<Station> {
        let words = ["xtask", "test"].iter().chain(arguments);
        match Flags::try_parse_from(words).unwrap().command {
            Command::Test(options) => stations(&options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_emulators_and_several_processors_are_used() {
        let labels: Vec<_> = stations_of(&[]).iter().map(Station::label).collect();
        let wanted = [
            "qemu",
            "qemu, 2 cpus",
            "qemu, 4 cpus",
            "qemu, 8 cpus",
            "bochs, 2 cpus",
            "qemu, no-apic",
            "qemu, nokaslr",
        ];
        assert_eq!(labels, wanted);
        assert_eq!(stations_of(&[])[0].among, "");
    }

    #[test]
    fn chosen_machine_is_the_only_one_and_runs_all_tests() {
        for (arguments, label) in [
            (&["--emulator", "qemu"][..], "qemu"),
            (&["--smp", "1"], "qemu"),
            (&["--uefi", "--smp", "3"], "qemu, uefi, 3 cpus"),
            (&["--emulator=bochs"], "bochs"),
            (&["--uefi", "--medium=usb"], "qemu, uefi, usb"),
        ] {
            let stations = stations_of(arguments);
            assert_eq!((stations.len(), stations[0].among), (1, ""));
            assert_eq!(stations[0].label(), label);
        }
    }

    #[test]
    fn long_run_has_the_stress_tests_alone() {
        let stations = stations_of(&["--stress"]);
        assert!(stations.iter().all(|station| station.among == "stress"));
        assert_eq!(stations.len(), 4);
        assert_eq!(stations_of(&["--stress=5", "--smp", "2"]).len(), 1);
    }
}
