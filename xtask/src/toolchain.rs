//! The compiler of the kernel and of the loader, and the emulators: found, or
//! installed, or else asked for by the exact command.
//!
//! The bare target is built with `-Zbuild-std`, which takes the source of the
//! standard library, by a compiler of version 1.96.0: rustup's, if it has or can
//! fetch that toolchain, or else Debian's packages. The loader's build looks for
//! `llvm-objcopy` in the compiler's own directory, and the compiler for
//! `rust-lld`; Debian has both elsewhere, so they are linked there.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// The version that the loader and the kernel are built with.
const VERSION: &str = "1.96.0";
const COMPONENTS: [&str; 4] = ["rust-src", "llvm-tools", "clippy", "rustfmt"];
const COMPILER_PACKAGES: &str =
    "rustc-web cargo-web rust-web-src rust-web-clippy rustfmt-web lld-22 llvm-22";
const QEMU_PACKAGES: &str = "qemu-system-x86 ovmf";
const BOCHS_PACKAGES: &str = "bochs bochs-x bochsbios vgabios xvfb xauth";
/// Where Debian keeps the tools of LLVM 22.
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22/bin";

/// A compiler that can build the bare target.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// Where its programs are.
    bin: PathBuf,
    /// Where its LLVM tools are.
    llvm_bin: PathBuf,
}

impl Toolchain {
    /// Finds the toolchain, and installs it if it can.
    pub(crate) fn find_or_install() -> Result<Self> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        eprintln!("The kernel needs rustc {VERSION} with the source of its standard library.");
        if install_by_rustup()
            && let Some(found) = Self::find()
        {
            return Ok(found);
        }
        install_packages(COMPILER_PACKAGES)?;
        link_debian_tools()?;
        Self::find().with_context(|| {
            format!(
                "no usable rustc {VERSION}; on a machine with rustup, run\n  \
                 rustup toolchain install {VERSION} --profile minimal --component {}",
                COMPONENTS.join(",")
            )
        })
    }

    fn find() -> Option<Self> {
        let rustup = by_rustup().into_iter();
        let system = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
        rustup.chain(system).find_map(|bin| Self::at(&bin))
    }

    /// Accepts a directory of programs if all that is needed is there.
    fn at(bin: &Path) -> Option<Self> {
        let version = output(Command::new(bin.join("rustc")).arg("--version"))?;
        if !version.starts_with(&format!("rustc {VERSION}")) {
            return None;
        }
        let sysroot = output(Command::new(bin.join("rustc")).args(["--print", "sysroot"]))?;
        let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
        let llvm_bin = rustlib.join(host_triple()).join("bin");
        let needed = [
            bin.join("cargo"),
            bin.join("cargo-clippy"),
            rustlib.join("src/rust/library/core/src/lib.rs"),
            llvm_bin.join("rust-lld"),
            llvm_bin.join("llvm-objcopy"),
        ];
        let bin = bin.to_owned();
        needed
            .iter()
            .all(|file| file.exists())
            .then_some(Self { bin, llvm_bin })
    }

    /// Returns a command of this toolchain, with `RUSTC_BOOTSTRAP` set for the
    /// standard library's sake.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        let mut path = vec![self.bin.clone()];
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command
            .current_dir(shell::root())
            .env("RUSTC", self.bin.join("rustc"))
            .env("RUSTDOC", self.bin.join("rustdoc"))
            .env("CARGO", self.bin.join("cargo"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env_remove("RUSTUP_TOOLCHAIN")
            // The loader's build runs cargo itself, which must not wait for the
            // lock of the directory that this cargo builds in.
            .env_remove("CARGO_TARGET_DIR");
        command
    }

    /// Returns this toolchain's cargo.
    pub(crate) fn cargo(&self) -> Command {
        self.command("cargo")
    }

    /// Returns this toolchain's clippy; cargo would find another one's first.
    pub(crate) fn clippy(&self) -> Command {
        let mut command = self.command("cargo-clippy");
        command.arg("clippy");
        command
    }

    /// Returns one of this toolchain's LLVM tools.
    pub(crate) fn llvm_tool(&self, name: &str) -> Command {
        Command::new(self.llvm_bin.join(name))
    }
}

/// Makes sure that QEMU and its firmware are there.
pub(crate) fn need_qemu(uefi: bool) -> Result<()> {
    let missing =
        shell::find_program("qemu-system-x86_64").is_none() || (uefi && ovmf_firmware().is_none());
    if missing {
        install_packages(QEMU_PACKAGES)?;
    }
    Ok(())
}

/// Makes sure that Bochs and a display for it are there.
pub(crate) fn need_bochs() -> Result<()> {
    let programs = ["bochs", "xvfb-run", "xauth"];
    if programs
        .iter()
        .any(|program| shell::find_program(program).is_none())
    {
        install_packages(BOCHS_PACKAGES)?;
    }
    Ok(())
}

/// Makes sure that valgrind is there.
pub(crate) fn need_valgrind() -> Result<()> {
    if shell::find_program("valgrind").is_none() {
        install_packages("valgrind")?;
    }
    Ok(())
}

/// Makes sure that a C compiler and a static C library are there.
pub(crate) fn need_gcc() -> Result<()> {
    if shell::find_program("gcc").is_none() {
        install_packages("gcc libc6-dev")?;
    }
    Ok(())
}

/// Makes sure that gdb is there.
pub(crate) fn need_gdb() -> Result<()> {
    if shell::find_program("gdb").is_none() {
        install_packages("gdb")?;
    }
    Ok(())
}

/// Returns the UEFI firmware for QEMU.
pub(crate) fn ovmf_firmware() -> Option<PathBuf> {
    let names = [
        "ovmf/OVMF.fd",
        "OVMF/OVMF.fd",
        "edk2/x64/OVMF.4m.fd",
        "edk2/ovmf/OVMF_CODE.fd",
    ];
    let mut files = names.iter().map(|name| Path::new("/usr/share").join(name));
    files.find(|file| file.exists())
}

/// Installs everything; the command `setup`.
pub(crate) fn setup(all: bool) -> Result<u8> {
    let toolchain = Toolchain::find_or_install()?;
    println!("compiler: {}", toolchain.bin.join("rustc").display());
    need_qemu(true)?;
    println!("QEMU and UEFI firmware: there");
    if all {
        need_bochs()?;
        need_gdb()?;
        println!("Bochs and gdb: there");
    }
    Ok(0)
}

/// Returns where rustup keeps the toolchain's programs, if it has it.
fn by_rustup() -> Option<PathBuf> {
    let mut which = Command::new("rustup");
    which
        .args(["which", "--toolchain", VERSION, "rustc"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    let rustc = PathBuf::from(output(&mut which)?.trim());
    rustc.parent().map(Path::to_owned)
}

fn install_by_rustup() -> bool {
    if shell::find_program("rustup").is_none() {
        return false;
    }
    let mut command = Command::new("timeout");
    command.args([
        "300",
        "rustup",
        "toolchain",
        "install",
        VERSION,
        "--profile",
        "minimal",
    ]);
    for component in COMPONENTS {
        command.args(["--component", component]);
    }
    shell::show(&command);
    eprintln!("Trying rustup …");
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Installs Debian packages, as root or by `sudo` without a password.
fn install_packages(packages: &str) -> Result<()> {
    let install = format!("apt-get install -y --no-install-recommends {packages}");
    let by_hand =
        || format!("cannot install them here; run\n  sudo apt-get update && sudo {install}");
    if shell::find_program("apt-get").is_none() {
        bail!("this is no Debian system; install what these packages hold: {packages}");
    }
    eprintln!("Installing Debian packages: {packages}");
    for line in ["apt-get update", &install] {
        let mut command = privileged(line).with_context(by_hand)?;
        command.env("DEBIAN_FRONTEND", "noninteractive");
        shell::step(line, &mut command).with_context(by_hand)?;
    }
    Ok(())
}

/// Reads the lists of Debian packages anew, as root or by `sudo` without a password.
pub(crate) fn update_packages() -> Result<()> {
    let line = "apt-get update";
    let mut command = privileged(line).with_context(|| format!("run as root: {line}"))?;
    shell::step(line, &mut command)
}

/// Links the tools that Debian keeps elsewhere to where the compiler, and the
/// loader's build, look for them.
fn link_debian_tools() -> Result<()> {
    let directory = Path::new("/usr/lib/rustlib")
        .join(host_triple())
        .join("bin");
    let tools = [
        ("lld", "rust-lld"),
        ("llvm-objcopy", "llvm-objcopy"),
        ("llvm-objdump", "llvm-objdump"),
    ];
    for (source, name) in tools {
        let (source, link) = (Path::new(DEBIAN_LLVM).join(source), directory.join(name));
        if link.exists() || !source.exists() {
            continue;
        }
        let direct = std::fs::create_dir_all(&directory).and_then(|()| symlink(&source, &link));
        if direct.is_err() {
            let line = format!(
                "install -d {} && ln -sf {} {}",
                directory.display(),
                source.display(),
                link.display()
            );
            let mut command = privileged(&line).with_context(|| format!("run as root: {line}"))?;
            shell::step("linking LLVM's tools", &mut command)?;
        }
    }
    Ok(())
}

/// Returns a shell with root's rights, if there is one without a password.
fn privileged(line: &str) -> Option<Command> {
    if output(Command::new("id").arg("-u"))?.trim() == "0" {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        return Some(command);
    }
    let can_sudo = output(Command::new("sudo").args(["-n", "true"])).is_some();
    can_sudo.then(|| {
        let mut command = Command::new("sudo");
        command.args(["-n", "sh", "-c", line]);
        command
    })
}

/// Returns what a command prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

const fn host_triple() -> &'static str {
    "x86_64-unknown-linux-gnu"
}
