//! Files of Debian's packages: fetched by name when they are wanted, and kept in
//! `target`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{artifacts, shell, toolchain};

/// Returns a file of a package, which is fetched unless it is there. The file's name
/// has no `/` in front.
pub(crate) fn fetch(package: &str, file: &str) -> Result<PathBuf> {
    let directory = artifacts::target().join("debian").join(package);
    let path = directory.join("tree").join(file);
    if path.is_file() {
        return Ok(path);
    }
    need_debian(package)?;
    fs::create_dir_all(&directory)?;
    let mut download = Command::new("apt-get");
    download
        .args(["-q", "download", package])
        .current_dir(&directory);
    if shell::step(&format!("fetching {package}"), &mut download).is_err() {
        toolchain::update_packages()?;
        shell::step(&format!("fetching {package} again"), &mut download)?;
    }
    let archive = archive_in(&directory)?;
    extract(&archive, &directory.join("tree"), file)?;
    if !path.is_file() {
        bail!("{package} holds no {file}");
    }
    fs::remove_file(archive)?;
    Ok(path)
}

/// Returns what a package that is only a name for others depends on first.
pub(crate) fn first_dependency(package: &str) -> Result<String> {
    need_debian(package)?;
    let ask = || {
        let mut apt = Command::new("apt-cache");
        apt.args(["depends", "--important", package]);
        shell::capture(&format!("looking {package} up"), &mut apt)
    };
    let found = ask().ok().and_then(|text| read_dependency(&text));
    if let Some(name) = found {
        return Ok(name);
    }
    toolchain::update_packages()?;
    read_dependency(&ask()?).with_context(|| format!("{package} depends on nothing"))
}

/// Reads the name in the first line like `  Depends: name`.
fn read_dependency(text: &str) -> Option<String> {
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    let mut real = names.filter(|name| !name.starts_with('<'));
    real.next().map(|name| name.trim().to_owned())
}

fn need_debian(package: &str) -> Result<()> {
    if shell::find_program("apt-get").is_none() || shell::find_program("dpkg-deb").is_none() {
        bail!("{package}: this is no Debian system");
    }
    Ok(())
}

/// Takes one file out of a package: some of them are large.
fn extract(archive: &Path, tree: &Path, file: &str) -> Result<()> {
    fs::create_dir_all(tree)?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--fsys-tarfile").arg(archive);
    shell::show(&unpack);
    let mut files = unpack
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(tree).arg(format!("./{file}"));
    if let Some(output) = files.stdout.take() {
        tar.stdin(output);
    }
    let taken = shell::step(&format!("extracting {file}"), &mut tar);
    // It ends when nobody reads any more; `tar` says whether that was too early.
    files.wait().context("dpkg-deb is lost")?;
    taken
}

/// Returns the package file in a directory.
fn archive_in(directory: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths = files.iter().map(fs::DirEntry::path);
    let archive = paths.find(|path| path.extension().is_some_and(|name| name == "deb"));
    archive.with_context(|| format!("no package came to {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::{archive_in, read_dependency};

    #[test]
    fn package_file_is_found() {
        let directory = tempfile::tempdir().unwrap();
        assert!(archive_in(directory.path()).is_err());
        let archive = directory.path().join("a_1_amd64.deb");
        std::fs::write(&archive, "").unwrap();
        assert_eq!(archive_in(directory.path()).unwrap(), archive);
    }

    #[test]
    fn first_dependency_that_is_real_is_read() {
        let text =
            "linux-image-amd64\n  Depends: <virtual>\n  Depends: linux-image-6.1\n  Depends: x\n";
        assert_eq!(read_dependency(text).as_deref(), Some("linux-image-6.1"));
        assert_eq!(read_dependency("linux-image-amd64\n"), None);
    }
}
