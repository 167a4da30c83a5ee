//! The whole command line in one file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Builds, runs, tests and checks Vostok.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", version)]
pub(crate) struct Flags {
    /// Show the commands that are run, and all that the guest prints
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Boot Vostok; with a program, run it and exit with its status
    Run(RunOptions),
    /// Run the tests: host, kernel, programs, checkers
    Test(TestOptions),
    /// Boot Vostok without a window, and make a picture of its screen
    Screenshot(ScreenshotOptions),
    /// Count the instructions of the memory core's operations
    Bench(BenchOptions),
    /// Make random system calls, and look whether the kernel lives and loses no frame
    FuzzSyscalls(FuzzOptions),
    /// Make the disk image for real machines
    Image(ImageOptions),
    /// Write the disk image to a USB stick
    Usb(UsbOptions),
    /// Boot each machine of the matrix, and print a table of what came of it
    Matrix(MatrixOptions),
    /// Boot with gdb attached, stopped at the kernel's first function, with its symbols
    Gdb(GdbOptions),
    /// Format, lints, house rules, documentation
    Check,
    /// List the memory core's claims, and the bugs of others, that no test carries the number of
    Claims,
    /// Run the checkers, which try to break the memory core
    Verify(VerifyOptions),
    /// Install what the other commands need, which they also do by themselves
    Setup(SetupOptions),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EmulatorKind {
    Qemu,
    Bochs,
}

/// What the image is on, for the machine that boots from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Medium {
    /// A disk, behind AHCI in QEMU and ATA in Bochs
    Disk,
    /// A USB stick, behind xHCI
    Usb,
}

/// The machine to boot.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineOptions {
    /// Boot by UEFI instead of BIOS
    #[arg(long)]
    pub(crate) uefi: bool,
    /// What the image is on
    #[arg(long, value_enum, default_value_t = Medium::Disk)]
    pub(crate) medium: Medium,
    /// Number of processors, 1 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: Option<u32>,
    /// Size of memory, for example 512M or 4G
    #[arg(long, default_value = "512M", value_parser = parse_memory)]
    pub(crate) memory: String,
    /// Which emulator, qemu unless given
    #[arg(long, value_enum)]
    emulator: Option<EmulatorKind>,
    /// Model of the processor, as the emulator calls it
    #[arg(long, value_name = "MODEL")]
    pub(crate) cpu: Option<String>,
    /// Add an argument for QEMU, or a line to Bochs' configuration
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) extra: Vec<String>,
}

impl MachineOptions {
    /// Returns a machine of this emulator that boots by BIOS.
    pub(crate) fn new(emulator: EmulatorKind, smp: u32, memory: &str) -> Self {
        Self {
            uefi: false,
            medium: Medium::Disk,
            smp: Some(smp),
            memory: memory.to_owned(),
            emulator: Some(emulator),
            cpu: None,
            extra: Vec::new(),
        }
    }

    /// Returns which emulator.
    pub(crate) fn emulator(&self) -> EmulatorKind {
        self.emulator.unwrap_or(EmulatorKind::Qemu)
    }

    /// Returns the number of processors.
    pub(crate) fn smp(&self) -> u32 {
        self.smp.unwrap_or(1)
    }

    /// Returns whether the user wants this machine and no other.
    pub(crate) fn is_chosen(&self) -> bool {
        let is_special = self.cpu.is_some() || !self.extra.is_empty();
        let has_firmware = self.uefi || self.medium == Medium::Usb;
        has_firmware || self.smp.is_some() || self.emulator.is_some() || is_special
    }

    /// Returns what the machine is called in reports, such as `bochs, 2 cpus`.
    pub(crate) fn label(&self) -> String {
        let mut label = match self.emulator() {
            EmulatorKind::Qemu => "qemu".to_owned(),
            EmulatorKind::Bochs => "bochs".to_owned(),
        };
        if self.uefi {
            label.push_str(", uefi");
        }
        if self.medium == Medium::Usb {
            label.push_str(", usb");
        }
        if self.smp() > 1 {
            label.push_str(&format!(", {} cpus", self.smp()));
        }
        label
    }
}

#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    /// No window
    #[arg(long)]
    pub(crate) headless: bool,
    /// Give up after so many seconds; 120 with a program, never without
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Count instructions as time, so that figures repeat (QEMU)
    #[arg(long)]
    pub(crate) icount: bool,
    /// Add a directory's tree to the files of the guest
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Record events, and end with a summary: fault,tlb,task or all
    #[arg(long, value_name = "GROUPS")]
    pub(crate) trace: Option<String>,
    /// Add options to the kernel's command line
    #[arg(long, value_name = "OPTIONS", default_value = "")]
    pub(crate) append: String,
    /// The program to run, by its path in the guest, and its arguments
    #[arg(last = true)]
    pub(crate) program: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ScreenshotOptions {
    /// Where to put the picture
    #[arg(long, value_name = "FILE", default_value = "vostok.png")]
    pub(crate) out: PathBuf,
    /// Wait for this text on serial, instead of the program's end or the shell's prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "at")]
    pub(crate) after: Option<String>,
    /// Wait so many seconds from the start of the emulator
    #[arg(long, value_name = "SECONDS")]
    pub(crate) at: Option<u64>,
    /// Type this first, once the shell waits: `\n` is Enter, `\<shift-pgup>` keys together
    #[arg(long = "type", value_name = "KEYS")]
    pub(crate) keys: Option<String>,
    /// Run the tests in the kernel that pass this filter, instead of a program
    #[arg(long, value_name = "FILTER", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    #[arg(conflicts_with = "program")]
    pub(crate) tests: Option<String>,
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    /// Add a directory's tree to the files of the guest
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Add options to the kernel's command line
    #[arg(long, value_name = "OPTIONS", default_value = "")]
    pub(crate) append: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    /// The program to run, by its path in the guest, and its arguments
    #[arg(last = true)]
    pub(crate) program: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct TestOptions {
    /// Run only tests whose names contain this, or one of several: A|B
    pub(crate) filter: Option<String>,
    /// Only the tests of the host
    #[arg(long)]
    pub(crate) host: bool,
    /// Only the tests in the kernel
    #[arg(long)]
    pub(crate) kernel: bool,
    /// Only the programs, run on Linux and on Vostok
    #[arg(long)]
    pub(crate) programs: bool,
    /// Only the checkers, for some tens of seconds each
    #[arg(long)]
    pub(crate) checkers: bool,
    /// Only the stress tests in the kernel, on each machine, this many operations each
    #[arg(long, value_name = "OPERATIONS", num_args = 0..=1, require_equals = true, default_missing_value = "1000000")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["host", "programs", "checkers"])]
    pub(crate) stress: Option<u32>,
    /// Have threads of the emulators stand still now and then, as on a busy host
    #[arg(long)]
    pub(crate) starve: bool,
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

/// Returns whether a filter, if there is one, lets a name through: one of its
/// alternatives, between which `|` stands, has to be a part of the name.
pub(crate) fn selects(filter: Option<&str>, name: &str) -> bool {
    filter.is_none_or(|filter| filter.split('|').any(|part| name.contains(part)))
}

#[derive(Args, Debug)]
pub(crate) struct BenchOptions {
    /// Count only those whose names contain this
    pub(crate) filter: Option<String>,
    /// Only on the host, under callgrind
    #[arg(long)]
    pub(crate) host: bool,
    /// Only in the kernel, under QEMU's -icount
    #[arg(long)]
    pub(crate) kernel: bool,
    /// Count what memory calls cost beside another kernel, in the same emulator
    #[arg(long, value_name = "KERNEL", conflicts_with_all = ["host", "kernel"])]
    pub(crate) vs: Option<Rival>,
    /// Write the counts as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A kernel to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rival {
    /// Debian's
    Linux,
}

impl BenchOptions {
    /// Returns whether a benchmark of this name is to be counted.
    pub(crate) fn selects(&self, name: &str) -> bool {
        selects(self.filter.as_deref(), name)
    }
}

#[derive(Args, Debug, Default)]
pub(crate) struct VerifyOptions {
    /// Show only checkers whose names contain this
    pub(crate) filter: Option<String>,
    /// Minutes instead of seconds
    #[arg(long)]
    pub(crate) deep: bool,
}

impl VerifyOptions {
    /// Returns whether a checker of this name is to be shown.
    pub(crate) fn selects(&self, name: &str) -> bool {
        selects(self.filter.as_deref(), name)
    }
}

#[derive(Args, Debug)]
pub(crate) struct FuzzOptions {
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    /// How many calls
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) calls: u64,
    /// What the calls follow from; the time unless given
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Run this worker alone
    #[arg(long, value_name = "N")]
    pub(crate) only: Option<u64>,
    /// Threads of each worker; one repeats exactly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) threads: Option<u32>,
    /// Show each call before it is made
    #[arg(long)]
    pub(crate) trace: bool,
}

#[derive(Args, Debug)]
pub(crate) struct MatrixOptions {
    /// Boot only machines whose names contain this, or one of several: A|B
    pub(crate) filter: Option<String>,
    /// Boot so many at a time, which makes times longer
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) jobs: usize,
}

#[derive(Args, Debug)]
pub(crate) struct ImageOptions {
    /// Where to put it
    #[arg(long, value_name = "DIR", default_value = "target/vostok/images")]
    pub(crate) out: PathBuf,
    /// Also make one that runs the tests in the kernel
    #[arg(long)]
    pub(crate) tests: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct UsbOptions {
    /// The whole device, such as /dev/sdb; without it, those that there are are listed
    #[arg(long, value_name = "DEV")]
    pub(crate) device: Option<PathBuf>,
    /// Another image than the one with the shell, which is built for it
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// Write even to a fixed disk, to one in use, or to a file
    #[arg(long)]
    pub(crate) force: bool,
    /// Do all but write
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct GdbOptions {
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    /// Stop at the processor's reset, not at the kernel's first function
    #[arg(long)]
    pub(crate) from_reset: bool,
    /// Add options to the kernel's command line
    #[arg(long, value_name = "OPTIONS", default_value = "")]
    pub(crate) append: String,
    /// Run these gdb commands and leave
    #[arg(long, value_name = "COMMAND")]
    pub(crate) batch: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct SetupOptions {
    /// Also what is needed for Bochs and gdb
    #[arg(long)]
    pub(crate) all: bool,
}

/// Accepts a number of mebibytes or gibibytes; returns mebibytes with their unit.
fn parse_memory(text: &str) -> Result<String, String> {
    let (digits, factor) = match text.strip_suffix(['M', 'm']) {
        Some(digits) => (digits, 1),
        None => match text.strip_suffix(['G', 'g']) {
            Some(digits) => (digits, 1024),
            None => return Err("give a size such as 512M or 4G".to_owned()),
        },
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{digits}` is not a number"))?;
    let mebibytes = number
        .checked_mul(factor)
        .filter(|size| (32..=1 << 24).contains(size));
    mebibytes
        .map(|size| format!("{size}M"))
        .ok_or_else(|| "give at least 32M and at most 16384G".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{EmulatorKind, Flags, MachineOptions, parse_memory, selects};

    #[test]
    fn command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn filter_has_alternatives() {
        assert!(selects(None, "a") && selects(Some(""), "a"));
        assert!(selects(Some("x|b"), "abc") && !selects(Some("x|y"), "abc"));
    }

    #[test]
    fn machine_is_named_by_what_is_special_about_it() {
        let label = |emulator, smp| MachineOptions::new(emulator, smp, "64M").label();
        assert_eq!(label(EmulatorKind::Qemu, 1), "qemu");
        assert_eq!(label(EmulatorKind::Bochs, 2), "bochs, 2 cpus");
    }

    #[test]
    fn memory_sizes_are_checked() {
        assert_eq!(parse_memory("4G").as_deref(), Ok("4096M"));
        for bad in [
            "",
            "M",
            "512",
            "1M",
            "-4G",
            "99999999999999999999G",
            "17000G",
        ] {
            assert!(parse_memory(bad).is_err(), "{bad}");
        }
    }
}
