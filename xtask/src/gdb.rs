//! `cargo xtask gdb`: the kernel stopped before its first instruction, with gdb
//! attached.
//!
//! The kernel is position independent and its base is known, so its symbols are
//! loaded there; hardware breakpoints work before the loader has put it there.

use std::net::TcpListener;
use std::process::{Child, Command};

use anyhow::{Context, Result};

use crate::artifacts::{self, ImageSpec, Kernel, KernelKind};
use crate::emulator::{self, Boot};
use crate::flags::{EmulatorKind, GdbOptions};
use crate::interrupt::RunningGuest;
use crate::shell;
use crate::symbolize::DEFAULT_BASE;
use crate::system::{self, System};
use crate::toolchain::{self, Toolchain};

pub(crate) fn run(options: &GdbOptions) -> Result<u8> {
    anyhow::ensure!(
        options.machine.emulator() == EmulatorKind::Qemu,
        "gdb attaches to QEMU only"
    );
    toolchain::need_gdb()?;
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Release)?;
    let image = artifacts::image(
        &toolchain,
        &ImageSpec {
            kernel: &kernel,
            cmdline: "debug-exit".to_owned(),
            files: System::build()?.files_for(system::DEFAULT_PROGRAM),
            rootfs: None,
        },
    )?;

    let port = free_port()?;
    let boot = Boot {
        extra: vec![
            "-S".to_owned(),
            "-gdb".to_owned(),
            format!("tcp:127.0.0.1:{port}"),
        ],
        ..Boot::unattended(image)
    };
    let mut emulator = emulator::prepare(&options.machine, &boot)?.command;
    let log = artifacts::target().join("gdb-serial.txt");
    let file = std::fs::File::create(&log)?;
    emulator.stdout(file);
    shell::show(&emulator);
    // Ctrl-C is gdb's: it stops the guest.
    let _running = RunningGuest::new();
    let mut guest = Ended(emulator.spawn().context("cannot start QEMU")?);
    eprintln!("the guest's serial output goes to {}", log.display());
    let mut gdb = gdb(&kernel, port, &options.batch);
    shell::show(&gdb);
    let status = gdb.status().context("cannot start gdb")?;
    guest.end();
    Ok(u8::from(!status.success()))
}

fn gdb(kernel: &Kernel, port: u16, batch: &[String]) -> Command {
    let symbols = kernel.symbols.display();
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx"]);
    if !batch.is_empty() {
        gdb.arg("-batch");
    }
    for line in [
        "set confirm off".to_owned(),
        "set architecture i386:x86-64".to_owned(),
        format!("add-symbol-file {symbols} -o {DEFAULT_BASE:#x}"),
        format!("target remote 127.0.0.1:{port}"),
        "hbreak nucleus::boot::start::start".to_owned(),
    ] {
        gdb.arg("-ex").arg(line);
    }
    for line in batch {
        gdb.arg("-ex").arg(line);
    }
    gdb
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}

/// An emulator that is ended with this value.
struct Ended(Child);

impl Ended {
    fn end(&mut self) {
        // One that has ended by itself is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}
