//! What is built: kernel, programs, disk images, each only when it has to be.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::firmware::Applications;
use crate::toolchain::Toolchain;
use crate::{shell, system};

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelKind {
    /// The one that is shipped.
    Release,
    /// The one with its tests, and with every assertion.
    Tests,
    /// The one that is shipped, with benchmarks linked in.
    Bench,
}

impl KernelKind {
    fn profile(self) -> &'static str {
        match self {
            Self::Release | Self::Bench => "release",
            Self::Tests => "ktest",
        }
    }
}

/// A kernel that was built.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// With symbols, for people and tools.
    pub(crate) symbols: PathBuf,
    /// Without, for the image.
    pub(crate) stripped: PathBuf,
}

/// What a disk image is made of.
#[derive(Clone, Debug)]
pub(crate) struct ImageSpec<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) cmdline: String,
    /// Names in the initramfs, and where their contents are.
    pub(crate) files: Vec<(String, PathBuf)>,
    pub(crate) rootfs: Option<PathBuf>,
}

/// Returns the directory that everything is built in.
pub(crate) fn target() -> PathBuf {
    shell::root().join("target/vostok")
}

/// Options that build for the bare target.
pub(crate) const BARE_TARGET: [&str; 4] = [
    "--target=x86_64-unknown-none",
    "-Zbuild-std=core,alloc,compiler_builtins",
    "-Zbuild-std-features=compiler-builtins-mem",
    "--package=kernel",
];

/// Returns the compiler's flags for a kernel: backtraces need frame pointers.
pub(crate) fn kernel_rustflags(kind: KernelKind) -> &'static str {
    match kind {
        KernelKind::Release => "-Cforce-frame-pointers=yes",
        KernelKind::Tests => "-Cforce-frame-pointers=yes --cfg=ktest",
        KernelKind::Bench => "-Cforce-frame-pointers=yes --cfg=bench",
    }
}

/// The variable that holds flags for the bare target alone.
pub(crate) const RUSTFLAGS_VARIABLE: &str = "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS";

/// Builds a kernel.
pub(crate) fn kernel(toolchain: &Toolchain, kind: KernelKind) -> Result<Kernel> {
    let directory = target().join(match kind {
        KernelKind::Release | KernelKind::Tests => "kernel",
        KernelKind::Bench => "kernel-bench",
    });
    let mut cargo = toolchain.cargo();
    cargo
        .arg("build")
        .args(BARE_TARGET)
        .arg(format!("--profile={}", kind.profile()));
    cargo.arg("--target-dir").arg(&directory);
    cargo.env(RUSTFLAGS_VARIABLE, kernel_rustflags(kind));
    shell::step(
        &format!("building the kernel ({})", kind.profile()),
        &mut cargo,
    )?;

    let symbols = directory
        .join("x86_64-unknown-none")
        .join(kind.profile())
        .join("kernel");
    let stripped = directory.join(format!("{}.stripped", kind.profile()));
    let mut strip = toolchain.llvm_tool("llvm-objcopy");
    strip.arg("--strip-all").arg(&symbols).arg(&stripped);
    shell::step("stripping the kernel", &mut strip)?;
    Ok(Kernel { symbols, stripped })
}

/// Builds the programs of `user/` that are there to be tested with, as anybody's
/// programs are built; returns them by name. [`crate::system`] has the others.
pub(crate) fn programs() -> Result<Vec<(String, PathBuf)>> {
    let mut names = Vec::new();
    for source in fs::read_dir(shell::root().join("user/src/bin"))? {
        let path = source?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.filter(|name| !system::PROGRAMS.contains(name));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    let built = build_programs("release", &names)?;
    let place = |name: String| {
        let path = built.join(&name);
        (name, path)
    };
    Ok(names.into_iter().map(place).collect())
}

/// Builds programs of `user/` by a profile; returns the directory that they are in.
pub(crate) fn build_programs(profile: &str, names: &[String]) -> Result<PathBuf> {
    let directory = target().join("user");
    let mut cargo = host_cargo();
    cargo.args(["build", "--package=user", "--profile", profile]);
    cargo.arg("--target=x86_64-unknown-linux-gnu");
    cargo.arg("--target-dir").arg(&directory);
    for name in names {
        cargo.args(["--bin", name]);
    }
    let flags = "-Ctarget-feature=+crt-static -Crelocation-model=static -Cstrip=symbols";
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
    shell::step(&format!("building the programs ({profile})"), &mut cargo)?;
    Ok(directory.join("x86_64-unknown-linux-gnu").join(profile))
}

/// Returns the file of the initramfs that a program by this path in the guest
/// is, if it is one of those: a loader that reads by BIOS calls is slow, so the others
/// stay out.
pub(crate) fn files_for(programs: &[(String, PathBuf)], path: &str) -> Vec<(String, PathBuf)> {
    let wanted = programs
        .iter()
        .filter(|(name, _)| path == format!("/bin/{name}"));
    wanted
        .map(|(name, path)| (format!("bin/{name}"), path.clone()))
        .collect()
}

/// Returns the cargo of the user's own toolchain.
pub(crate) fn host_cargo() -> std::process::Command {
    let mut cargo = std::process::Command::new("cargo");
    cargo.current_dir(shell::root());
    cargo
}

/// Makes the disk image, which starts by BIOS and by UEFI, unless one of the same
/// inputs is there; returns where.
pub(crate) fn image(toolchain: &Toolchain, spec: &ImageSpec<'_>) -> Result<PathBuf> {
    image_with(toolchain, spec, &Applications::usual(toolchain)?)
}

/// Makes the disk image with these applications of UEFI; returns where.
pub(crate) fn image_with(
    toolchain: &Toolchain,
    spec: &ImageSpec<'_>,
    applications: &Applications,
) -> Result<PathBuf> {
    if let Some(rootfs) = &spec.rootfs
        && !rootfs.is_dir()
    {
        bail!("--rootfs: there is no directory {}", rootfs.display());
    }
    let boot = boot_program(toolchain)?;
    let fingerprint = format!("{:016x}", fingerprint(spec, &boot, applications)?);
    let image = target().join("vostok.img");
    let stamp = target().join("vostok.stamp");
    let is_current = fs::read_to_string(&stamp).is_ok_and(|old| old == fingerprint);
    if is_current && image.exists() {
        return Ok(image);
    }

    let _ = fs::remove_file(&stamp);
    let mut command = std::process::Command::new(boot);
    command.arg("--kernel").arg(&spec.kernel.stripped);
    command.arg("--cmdline").arg(&spec.cmdline);
    command.arg("--image").arg(&image);
    command.arg("--preloader").arg(&applications.first);
    for (name, path) in &applications.others {
        let file = format!("{name}={}", path.display());
        command.arg("--fat-file").arg(file);
    }
    command
        .arg("--initramfs")
        .arg(target().join("initramfs.cpio"));
    for (name, path) in &spec.files {
        command
            .arg("--file")
            .arg(format!("{name}={}", path.display()));
    }
    if let Some(rootfs) = &spec.rootfs {
        command.arg("--rootfs").arg(rootfs);
    }
    shell::step("making the disk image", &mut command)?;
    fs::write(&stamp, fingerprint).context("cannot note what the image was made of")?;
    Ok(image)
}

/// Makes an initramfs alone.
pub(crate) fn initramfs(
    toolchain: &Toolchain,
    files: &[(String, PathBuf)],
    path: &Path,
) -> Result<()> {
    let mut command = std::process::Command::new(boot_program(toolchain)?);
    command.arg("--initramfs").arg(path);
    for (name, source) in files {
        let file = format!("{name}={}", source.display());
        command.arg("--file").arg(file);
    }
    shell::step("making an initramfs", &mut command)
}

/// Builds the program that makes images, with the loader in it, once.
fn boot_program(toolchain: &Toolchain) -> Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built.clone());
    }
    let directory = target().join("boot");
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--release", "--package=boot", "--target-dir"])
        .arg(&directory);
    shell::step("building the loader", &mut cargo)?;
    let built = directory.join("release/boot");
    Ok(BUILT.get_or_init(|| built).clone())
}

/// Digests everything that an image depends on.
fn fingerprint(spec: &ImageSpec<'_>, boot: &Path, applications: &Applications) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(spec.cmdline.as_bytes());
    for file in [boot, &spec.kernel.stripped] {
        hash_file(&mut hasher, file)?;
    }
    for file in applications.files() {
        hash_file(&mut hasher, file)?;
    }
    for (name, path) in &spec.files {
        hasher.write(name.as_bytes());
        hash_file(&mut hasher, path)?;
    }
    if let Some(rootfs) = &spec.rootfs {
        hash_tree(&mut hasher, rootfs)?;
    }
    Ok(hasher.finish())
}

fn hash_file(hasher: &mut DefaultHasher, path: &Path) -> Result<()> {
    let contents = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    hasher.write_usize(contents.len());
    hasher.write(&contents);
    Ok(())
}

fn hash_tree(hasher: &mut DefaultHasher, directory: &Path) -> Result<()> {
    let mut children = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    children.sort_by_key(fs::DirEntry::file_name);
    for child in children {
        let path = child.path();
        hasher.write(path.as_os_str().as_encoded_bytes());
        let kind = child.file_type()?;
        // The image has the permissions, too.
        hasher.write_u32(child.metadata()?.permissions().mode());
        if kind.is_dir() {
            hash_tree(hasher, &path)?;
        } else if kind.is_symlink() {
            hasher.write(fs::read_link(&path)?.as_os_str().as_encoded_bytes());
        } else {
            hash_file(hasher, &path)?;
        }
    }
    Ok(())
}

/// Quotes a word for the kernel's command line.
pub(crate) fn quote(word: &str) -> Result<String> {
    let is_plain =
        !word.is_empty() && !word.contains(char::is_whitespace) && !word.starts_with(['"', '\'']);
    if is_plain {
        return Ok(word.to_owned());
    }
    let quotes = ['"', '\''];
    let quote = quotes.into_iter().find(|quote| !word.contains(*quote));
    let quote = quote.with_context(|| format!("`{word}` has quotes of both kinds"))?;
    Ok(format!("{quote}{word}{quote}"))
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;
    use std::fs;
    use std::hash::Hasher;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{hash_tree, quote};

    #[test]
    fn fingerprint_of_a_tree_sees_names_contents_and_permissions() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let digest = |directory: &Path| {
            let mut hasher = DefaultHasher::new();
            hash_tree(&mut hasher, directory).unwrap();
            hasher.finish()
        };
        let chmod = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(&file, "a").unwrap();
        chmod(0o644);
        let first = digest(directory.path());
        assert_eq!(digest(directory.path()), first);
        chmod(0o755);
        assert_ne!(digest(directory.path()), first);
        chmod(0o644);
        assert_eq!(digest(directory.path()), first);
        fs::write(&file, "b").unwrap();
        assert_ne!(digest(directory.path()), first);
        fs::write(&file, "a").unwrap();
        fs::rename(&file, directory.path().join("other")).unwrap();
        assert_ne!(digest(directory.path()), first);
    }

    #[test]
    fn words_are_quoted_when_they_must_be() {
        assert_eq!(quote("a=b").unwrap(), "a=b");
        assert_eq!(quote("a b").unwrap(), "\"a b\"");
        assert_eq!(quote("say \"a\"").unwrap(), "'say \"a\"'");
        assert_eq!(quote("").unwrap(), "\"\"");
        assert!(quote("'\" ").is_err());
    }
}
