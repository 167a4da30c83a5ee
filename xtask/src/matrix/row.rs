//! A row of the matrix: a machine as data, and what the kernel has to make of it.

use crate::flags::{EmulatorKind, MachineOptions, Medium};

/// A machine, and what has to come of booting it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// A word of its own; with `peer_NNN_` in front if it simulates that bug's machine.
    pub(crate) name: &'static str,
    pub(crate) emulator: EmulatorKind,
    /// The model of the processor, as the emulator calls it; empty for the usual one.
    pub(crate) cpu: &'static str,
    pub(crate) uefi: bool,
    /// What the image is on.
    pub(crate) medium: Medium,
    /// What is made odd about UEFI firmware, in words of `preloader::oddities`.
    pub(crate) firmware: &'static str,
    pub(crate) smp: u32,
    /// In mebibytes, as in `512M`.
    pub(crate) memory: &'static str,
    /// More arguments for QEMU, or lines of Bochs' configuration.
    pub(crate) arguments: &'static [&'static str],
    /// Without one the emulator's status is all that is heard of the kernel.
    pub(crate) has_serial: bool,
    /// Options of the kernel's command line.
    pub(crate) options: &'static str,
    /// What lines of the log have to contain.
    pub(crate) says: &'static [&'static str],
    /// What warnings and errors have to be there; any other one is a failure.
    pub(crate) warns: &'static [&'static str],
    pub(crate) end: End,
}

/// How a boot has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The program finds that the machine works.
    Works,
    /// The kernel stops, and one of its lines contains this.
    Refused(&'static str),
    /// The machine cannot get as far as the kernel, for this reason; it is not booted.
    OutOfReach(&'static str),
}

/// The usual machine of QEMU, from which rows differ.
pub(crate) const QEMU: Row = Row {
    name: "",
    emulator: EmulatorKind::Qemu,
    cpu: "",
    uefi: false,
    medium: Medium::Disk,
    firmware: "",
    smp: 1,
    memory: "512M",
    arguments: &[],
    has_serial: true,
    options: "",
    says: &[],
    warns: &[],
    end: End::Works,
};

/// The usual machine of QEMU with UEFI firmware.
pub(crate) const UEFI: Row = Row { uefi: true, ..QEMU };

/// The usual machine of Bochs.
pub(crate) const BOCHS: Row = Row {
    emulator: EmulatorKind::Bochs,
    memory: "256M",
    ..QEMU
};

/// Warnings that come of an emulator that had to wait for its host, in any row.
const OF_THE_HOST: [&str; 1] = ["clock: the interval timer says nothing sane"];

impl Row {
    /// Returns what this machine is to the emulators.
    pub(crate) fn machine(&self) -> MachineOptions {
        let mut machine = MachineOptions::new(self.emulator, self.smp, self.memory);
        machine.uefi = self.uefi;
        machine.medium = self.medium;
        machine.cpu = (!self.cpu.is_empty()).then(|| match self.emulator {
            // What it does not simulate of a model is no news.
            EmulatorKind::Qemu => format!("{},check=off", self.cpu),
            EmulatorKind::Bochs => self.cpu.to_owned(),
        });
        let arguments = self.arguments.iter();
        machine.extra = arguments.map(|&argument| argument.to_owned()).collect();
        machine
    }

    /// Returns what it is called that the boot came to what it has to.
    pub(crate) fn success(&self) -> String {
        match self.end {
            End::Works => "works".to_owned(),
            End::Refused(reason) => format!("refused: {reason}"),
            End::OutOfReach(reason) => reason.to_owned(),
        }
    }

    /// Returns what is wrong with what the kernel and the program said.
    pub(crate) fn complaint(&self, lines: &[String]) -> Option<String> {
        let is_there = |part: &str| lines.iter().any(|line| line.contains(part));
        let last_word = match self.end {
            End::Works => "the machine works",
            End::Refused(reason) => reason,
            End::OutOfReach(_) => return None,
        };
        let others = self.says.iter().chain(self.warns).copied();
        let mut wanted = std::iter::once(last_word).chain(others);
        if let Some(part) = wanted.find(|part| !is_there(part)) {
            return Some(format!("no line says `{part}`"));
        }
        let mut warnings = lines.iter().filter(|line| is_warning(line));
        let is_expected = |line: &&String| {
            let mut parts = self.warns.iter().chain(&OF_THE_HOST);
            parts.any(|part| line.contains(part))
        };
        let unexpected = warnings.find(|line| !is_expected(line))?;
        Some(format!("nobody expected `{unexpected}`"))
    }
}

/// Returns whether a line is a warning or an error of the kernel's log.
fn is_warning(line: &str) -> bool {
    let level = line.split_once("] ").map_or("", |(_, rest)| rest);
    line.starts_with('[') && (level.starts_with("WARN ") || level.starts_with("ERROR "))
}

#[cfg(test)]
mod tests {
    use super::{End, QEMU, Row};

    const ROW: Row = Row {
        says: &["16 GiB"],
        warns: &["no clock"],
        ..QEMU
    };

    #[track_caller]
    fn assert_complaint(row: Row, lines: &[&str], expected: Option<&str>) {
        let lines: Vec<_> = lines.iter().map(|&line| line.to_owned()).collect();
        assert_eq!(row.complaint(&lines).as_deref(), expected);
    }

    #[test]
    fn row_fails_that_lacks_a_line_or_has_a_warning_too_many() {
        let clock = "[    0.1] WARN  time: no clock";
        let good = ["[    0.0] INFO  mm: 16 GiB", clock, "the machine works"];
        assert_complaint(ROW, &good, None);
        assert_complaint(ROW, &good[..2], Some("no line says `the machine works`"));
        assert_complaint(ROW, &[good[0], good[2]], Some("no line says `no clock`"));
        assert_complaint(ROW, &good[1..], Some("no line says `16 GiB`"));
        let more = [&good[..], &["[    0.2] ERROR mm: lost"]].concat();
        let complaint = "nobody expected `[    0.2] ERROR mm: lost`";
        assert_complaint(ROW, &more, Some(complaint));
        let quoted = [&good[..], &["a program says WARN  nothing"]].concat();
        assert_complaint(ROW, &quoted, None);
    }

    #[test]
    fn refusal_has_to_give_its_reason() {
        let refused = Row {
            end: End::Refused("too little memory"),
            ..QEMU
        };
        assert_complaint(refused, &["panic: too little memory"], None);
        let works = Some("no line says `too little memory`");
        assert_complaint(refused, &["the machine works"], works);
    }

    #[test]
    fn model_and_arguments_reach_the_emulator() {
        let row = Row {
            cpu: "Nehalem",
            arguments: &["-vga", "none"],
            ..QEMU
        };
        let machine = row.machine();
        assert_eq!(machine.cpu.as_deref(), Some("Nehalem,check=off"));
        assert_eq!(machine.extra, ["-vga", "none"]);
        assert_eq!(QEMU.machine().cpu, None);
    }
}
