//! The command lines of the emulators.
//!
//! Each emulator is a child that dies with `xtask`, whatever ends `xtask`:
//! `setpriv`, part of Debian's base system, asks the kernel for that.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::artifacts;
use crate::flags::{EmulatorKind, MachineOptions, Medium};
use crate::{shell, toolchain};

/// What a boot needs besides the machine.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    pub(crate) payload: Payload,
    /// A window, if there is a display.
    pub(crate) window: bool,
    /// The guest's serial input is this process's standard input.
    pub(crate) interactive: bool,
    /// Time is the count of instructions.
    pub(crate) icount: bool,
    /// There is a serial port.
    pub(crate) has_serial: bool,
    /// More arguments for QEMU, of this boot and not of the machine.
    pub(crate) extra: Vec<String>,
}

/// What is booted.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// An image with a loader.
    Image(PathBuf),
    /// A kernel of Linux, which QEMU loads itself.
    Linux {
        kernel: PathBuf,
        initramfs: PathBuf,
        cmdline: String,
    },
}

impl Boot {
    /// Boots an image with nobody at the console, in real time.
    pub(crate) fn unattended(image: PathBuf) -> Self {
        Self::of(Payload::Image(image))
    }

    /// Boots a kernel of Linux with nobody at the console, in real time.
    pub(crate) fn linux(kernel: PathBuf, initramfs: PathBuf, cmdline: String) -> Self {
        Self::of(Payload::Linux {
            kernel,
            initramfs,
            cmdline,
        })
    }

    fn of(payload: Payload) -> Self {
        Self {
            payload,
            window: false,
            interactive: false,
            icount: false,
            has_serial: true,
            extra: Vec::new(),
        }
    }
}

/// A prepared emulator.
#[derive(Debug)]
pub(crate) struct Emulator {
    pub(crate) command: Command,
    /// The file that the guest's serial output goes to, if it is not standard
    /// output.
    pub(crate) serial_file: Option<PathBuf>,
}

/// Returns the option that tells the kernel how this emulator is ended.
pub(crate) fn kernel_options(kind: EmulatorKind) -> &'static str {
    match kind {
        EmulatorKind::Qemu => "debug-exit",
        EmulatorKind::Bochs => "",
    }
}

/// Makes sure that the emulator of a machine is there.
///
/// # Errors
///
/// Says how to install it, where this program cannot.
pub(crate) fn need(machine: &MachineOptions) -> Result<()> {
    match machine.emulator() {
        EmulatorKind::Qemu => toolchain::need_qemu(machine.uefi),
        EmulatorKind::Bochs => toolchain::need_bochs(),
    }
}

/// Prepares an emulator, and installs it if it can.
pub(crate) fn prepare(machine: &MachineOptions, boot: &Boot) -> Result<Emulator> {
    need(machine)?;
    match machine.emulator() {
        EmulatorKind::Qemu => qemu(machine, boot),
        EmulatorKind::Bochs => bochs(machine, boot),
    }
}

fn qemu(machine: &MachineOptions, boot: &Boot) -> Result<Emulator> {
    let mut command = dying_with_us("qemu-system-x86_64");
    let cpu = machine.cpu.as_deref().unwrap_or("max");
    command.args(["-cpu", cpu, "-no-reboot", "-net", "none"]);
    if let Some(backend) = lazy_memory(&machine.memory) {
        command.args(["-object", &backend, "-machine", "memory-backend=ram"]);
    }
    command.args(["-m", &machine.memory, "-smp", &machine.smp().to_string()]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    command.args(if boot.icount {
        ["-accel", "tcg,thread=single", "-icount", "shift=0"]
    } else {
        ["-accel", "tcg,thread=multi", "-boot", "order=c"]
    });
    match &boot.payload {
        Payload::Image(image) => attach(&mut command, machine.medium, image),
        Payload::Linux {
            kernel,
            initramfs,
            cmdline,
        } => {
            command.arg("-kernel").arg(kernel);
            command.arg("-initrd").arg(initramfs);
            command.args(["-append", cmdline]);
        }
    }
    if machine.uefi {
        let firmware = toolchain::ovmf_firmware().context("there is no UEFI firmware")?;
        command.arg("-bios").arg(firmware);
    }
    if !boot.window {
        command.args(["-display", "none"]);
    }
    // The monitor shares the terminal: Ctrl-A X ends QEMU, Ctrl-A C shows it.
    command.args(["-chardev", "stdio,id=console,mux=on,signal=on"]);
    let serial = if boot.has_serial {
        "chardev:console"
    } else {
        "none"
    };
    command.args(["-serial", serial, "-mon", "chardev=console"]);
    command.args(&boot.extra).args(&machine.extra);
    if !boot.interactive {
        command.stdin(Stdio::null());
    }
    Ok(Emulator {
        command,
        serial_file: None,
    })
}

/// Attaches an image to QEMU's machine, which may write to it: nothing stays.
fn attach(command: &mut Command, medium: Medium, image: &Path) {
    let image = image.display();
    let drive = format!("if=none,id=image,format=raw,snapshot=on,file={image}");
    command.args(["-drive", &drive]);
    match medium {
        // Behind AHCI, as the firmware reads an IDE disk word by word, which takes
        // almost a minute for an initramfs of 20 MiB.
        Medium::Disk => {
            command.args(["-device", "ahci,id=ahci"]);
            command.args(["-device", "ide-hd,drive=image,bus=ahci.0"]);
        }
        Medium::Usb => {
            command.args(["-device", "qemu-xhci,id=xhci"]);
            command.args(["-device", "usb-storage,drive=image,bus=xhci.0,removable=on"]);
        }
    }
}

/// Returns what memory QEMU has to make for a guest that may have more than the host:
/// none of it is reserved, so that only what the guest touches is taken.
fn lazy_memory(size: &str) -> Option<String> {
    const LARGE_MIB: u64 = 8 << 10;
    let mebibytes: u64 = size.strip_suffix('M')?.parse().ok()?;
    (mebibytes > LARGE_MIB).then(|| format!("memory-backend-ram,id=ram,size={size},reserve=off"))
}

/// Bochs wants whole cylinders, a configuration file, and a display even if
/// nobody looks at it; and Debian's build starts in its debugger.
fn bochs(machine: &MachineOptions, boot: &Boot) -> Result<Emulator> {
    const SECTOR: u64 = 512;
    const CYLINDER: u64 = 16 * 63 * SECTOR;
    anyhow::ensure!(
        !machine.uefi,
        "Bochs has no UEFI firmware: leave --uefi out"
    );
    anyhow::ensure!(
        machine.medium == Medium::Disk,
        "Bochs boots from disks alone: leave --medium out"
    );
    let Payload::Image(image) = &boot.payload else {
        anyhow::bail!("Bochs boots disks alone");
    };

    let directory = artifacts::target().join("bochs");
    fs::create_dir_all(&directory)?;
    let disk = directory.join("disk.img");
    let _ = fs::remove_file(disk.with_extension("img.lock"));
    fs::copy(image, &disk).context("cannot copy the image for Bochs")?;
    let cylinders = fs::metadata(&disk)?.len().div_ceil(CYLINDER);
    fs::File::options()
        .write(true)
        .open(&disk)?
        .set_len(cylinders * CYLINDER)?;

    let serial = directory.join("serial.txt");
    fs::write(&serial, "")?;
    let config = directory.join("bochsrc.txt");
    let debugger = directory.join("debugger.txt");
    fs::write(&config, bochs_config(machine, &disk, &serial, cylinders))?;
    fs::write(&debugger, "c\n")?;

    let mut command = dying_with_us("xvfb-run");
    command
        .args(["--auto-servernum", "bochs", "-q", "-f"])
        .arg(&config);
    command.arg("-rc").arg(&debugger);
    command.stdin(Stdio::null()).current_dir(&directory);
    Ok(Emulator {
        command,
        serial_file: Some(serial),
    })
}

fn bochs_config(machine: &MachineOptions, disk: &Path, serial: &Path, cylinders: u64) -> String {
    let memory = machine.memory.trim_end_matches('M');
    let model = machine.cpu.as_deref().unwrap_or("corei7_skylake_x");
    let more = machine.extra.join("\n");
    let log = serial.with_file_name("bochs.log");
    let log = log.display();
    let (disk, serial, smp) = (disk.display(), serial.display(), machine.smp());
    // A triple fault stops the machine, as it does in QEMU by `-no-reboot`.
    // The guest's time passes about as fast as ours.
    format!(
        "cpu: model={model}, count={smp}, ips=40000000, reset_on_triple_fault=0\n\
         memory: guest={memory}, host={memory}\n\
         romimage: file=/usr/share/bochs/BIOS-bochs-latest\n\
         vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest\n\
         ata0-master: type=disk, path={disk}, mode=flat, cylinders={cylinders}, heads=16, spt=63\n\
         boot: disk\n\
         display_library: x\n\
         com1: enabled=1, mode=file, dev={serial}\n\
         log: {log}\n\
         {more}\n"
    )
}

/// Returns a command in a process group of its own, whose process is killed
/// when this one dies.
fn dying_with_us(program: &str) -> Command {
    let mut command = if shell::find_program("setpriv").is_some() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]);
        command
    } else {
        Command::new(program)
    };
    // `xvfb-run` starts a display and an emulator; a group ends them together.
    if program == "xvfb-run" {
        command.process_group(0);
    }
    command
}
