//! `cargo xtask gdb`: gdb attached to the kernel, with its symbols where its image is.
//!
//! The image moves itself to a random base (`boot/kaslr.rs` of the nucleus). Scripts for
//! gdb, in Python, load the symbols at the loader's base, wait for the move by a hardware
//! breakpoint, which works before there is memory to put another into, and load them
//! again. They also add the commands `walk`, for page tables, and `events`, for what
//! was traced.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
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

/// The scripts, in the order in which they are loaded.
const SCRIPTS: [(&str, &str); 3] = [
    ("symbols.py", include_str!("gdb/symbols.py")),
    ("walk.py", include_str!("gdb/walk.py")),
    ("events.py", include_str!("gdb/events.py")),
];

pub(crate) fn run(options: &GdbOptions) -> Result<u8> {
    let toolchain = Toolchain::find_or_install()?;
    let mut session = Session::start(&toolchain, options)?;
    eprintln!(
        "the guest's serial output goes to {}",
        serial_log().display()
    );
    let status = session.gdb.status().context("cannot start gdb")?;
    Ok(u8::from(!status.success()))
}

/// A guest that waits for gdb, and a gdb that is ready to be started.
pub(crate) struct Session {
    pub(crate) gdb: Command,
    _guest: Ended,
    _running: RunningGuest,
}

impl Session {
    /// Builds the kernel, boots it stopped, and prepares gdb.
    pub(crate) fn start(toolchain: &Toolchain, options: &GdbOptions) -> Result<Self> {
        anyhow::ensure!(
            options.machine.emulator() == EmulatorKind::Qemu,
            "gdb attaches to QEMU only"
        );
        toolchain::need_gdb()?;
        let kernel = artifacts::kernel(toolchain, KernelKind::Release)?;
        let image = artifacts::image(
            toolchain,
            &ImageSpec {
                kernel: &kernel,
                cmdline: format!("debug-exit {}", options.append),
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
        emulator.stdout(File::create(serial_log())?);
        shell::show(&emulator);
        // Ctrl-C is gdb's: it stops the guest.
        let running = RunningGuest::new();
        let guest = Ended(emulator.spawn().context("cannot start QEMU")?);
        let gdb = gdb(&kernel, port, options)?;
        shell::show(&gdb);
        Ok(Self {
            gdb,
            _guest: guest,
            _running: running,
        })
    }
}

/// Returns the file that the guest's serial output goes to, as gdb has the terminal.
fn serial_log() -> PathBuf {
    artifacts::target().join("gdb-serial.txt")
}

fn gdb(kernel: &Kernel, port: u16, options: &GdbOptions) -> Result<Command> {
    let symbols = kernel.symbols.display();
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx"]);
    if !options.batch.is_empty() {
        gdb.arg("-batch");
    }
    let mut lines = vec![
        "set confirm off".to_owned(),
        "set pagination off".to_owned(),
        // An emulator on a busy host may take long to listen, and to answer.
        "set tcp connect-timeout 60".to_owned(),
        "set remotetimeout 60".to_owned(),
        "set architecture i386:x86-64".to_owned(),
    ];
    for script in scripts()? {
        lines.push(format!("source {}", script.display()));
    }
    lines.push(format!("target remote 127.0.0.1:{port}"));
    lines.push(format!("kernel-symbols {symbols} {DEFAULT_BASE:#x}"));
    if !options.from_reset {
        lines.push("to-kernel".to_owned());
    }
    for line in lines.iter().chain(&options.batch) {
        gdb.arg("-ex").arg(line);
    }
    Ok(gdb)
}

/// Puts the scripts where gdb finds them; returns the places.
fn scripts() -> Result<Vec<PathBuf>> {
    let directory = artifacts::target().join("gdb");
    fs::create_dir_all(&directory)?;
    let write = |(name, text)| {
        let path = directory.join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    SCRIPTS.into_iter().map(write).collect()
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}

/// An emulator that is ended with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // One that has ended by itself is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use nucleus::mm::kspace::layout::{
        IMAGE_BASE, IMAGE_RANGE, KVIRT_RANGE, LINEAR_MAP_BASE, LINEAR_MAP_SIZE, META_BASE,
        META_SIZE, USER_END,
    };

    use super::SCRIPTS;
    use crate::symbolize::DEFAULT_BASE;

    /// Returns the numbers of a line `NAME = …` of a script.
    fn numbers(name: &str) -> Vec<usize> {
        let (_, script) = SCRIPTS.iter().find(|(file, _)| *file == "walk.py").unwrap();
        let start = format!("{name} = ");
        let line = script.lines().find_map(|line| line.strip_prefix(&start));
        let words = line.unwrap().split(',');
        let words = words.map(|word| word.trim().trim_matches(['(', ')']).replace('_', ""));
        words
            .filter_map(|word| usize::from_str_radix(word.strip_prefix("0x")?, 16).ok())
            .collect()
    }

    #[test]
    fn ranges_of_the_script_for_page_tables_are_the_kernels() {
        let linear_map = [LINEAR_MAP_BASE, LINEAR_MAP_BASE + LINEAR_MAP_SIZE];
        assert_eq!(numbers("LINEAR_MAP"), linear_map);
        assert_eq!(numbers("KVIRT"), [KVIRT_RANGE.start, KVIRT_RANGE.end]);
        assert_eq!(numbers("METADATA"), [META_BASE, META_BASE + META_SIZE]);
        assert_eq!(numbers("IMAGE"), [IMAGE_RANGE.start, IMAGE_RANGE.end]);
        assert_eq!(numbers("LOADER_IMAGE"), [IMAGE_BASE]);
        assert_eq!(numbers("USER_END"), [USER_END]);
    }

    #[test]
    fn symbols_start_at_the_base_that_the_loader_uses() {
        assert_eq!(DEFAULT_BASE, IMAGE_BASE as u64);
    }
}
