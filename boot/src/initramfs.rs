//! The initramfs: a cpio archive of the kind `newc`.
//!
//! The same inputs give the same bytes: entries are sorted by name, owned by
//! root, and of no particular time. A directory comes before what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};
use cpio::NewcBuilder;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
/// The name of what comes last.
const TRAILER: &str = "TRAILER!!!";

/// The files of an archive, by name.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    contents: Vec<u8>,
}

impl Archive {
    /// Adds a file; one of the same name is replaced.
    pub(crate) fn add_file(
        &mut self,
        name: &str,
        permissions: u32,
        contents: Vec<u8>,
    ) -> Result<()> {
        let mode = REGULAR | permissions;
        self.add(name, Entry { mode, contents })
    }

    /// Adds a file, or a symbolic link as it is, from a place in a file system.
    pub(crate) fn add_from(&mut self, name: &str, source: &Path) -> Result<()> {
        let context = || format!("cannot read {}", source.display());
        let metadata = fs::symlink_metadata(source).with_context(context)?;
        let permissions = metadata.permissions().mode() & 0o7777;
        if metadata.is_symlink() {
            let target = fs::read_link(source).with_context(context)?;
            let contents = target.as_os_str().as_bytes().to_vec();
            let mode = SYMLINK | permissions;
            return self.add(name, Entry { mode, contents });
        }
        let contents = fs::read(source).with_context(context)?;
        self.add_file(name, permissions, contents)
    }

    fn add(&mut self, name: &str, entry: Entry) -> Result<()> {
        let name = name.trim_start_matches('/');
        let mut parts = name.split('/');
        if parts.any(|part| matches!(part, "" | "." | "..")) {
            bail!("`{name}` does not name a file in the initramfs");
        }
        self.entries.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Adds everything below a directory: files, directories, symbolic links.
    pub(crate) fn add_tree(&mut self, root: &Path) -> Result<()> {
        if !root.is_dir() {
            bail!("{} is not a directory", root.display());
        }
        self.add_directory(root, root)
    }

    fn add_directory(&mut self, root: &Path, directory: &Path) -> Result<()> {
        let context = || format!("cannot read {}", directory.display());
        for child in fs::read_dir(directory).with_context(context)? {
            let path = child.with_context(context)?.path();
            let metadata = fs::symlink_metadata(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let permissions = metadata.permissions().mode() & 0o7777;
            let name = name_below(root, &path)?;
            let kind = metadata.file_type();
            let (mode, contents) = if kind.is_dir() {
                self.add_directory(root, &path)?;
                (DIRECTORY, Vec::new())
            } else if kind.is_symlink() {
                let target = fs::read_link(&path)?;
                (SYMLINK, target.as_os_str().as_bytes().to_vec())
            } else if kind.is_file() {
                let contents = fs::read(&path);
                (
                    REGULAR,
                    contents.with_context(|| format!("cannot read {}", path.display()))?,
                )
            } else {
                bail!(
                    "{} is neither a file nor a directory nor a link",
                    path.display()
                );
            };
            let mode = mode | permissions;
            self.entries.insert(name, Entry { mode, contents });
        }
        Ok(())
    }

    /// Writes the archive, with the directories that files imply.
    pub(crate) fn into_bytes(mut self) -> Result<Vec<u8>> {
        for directory in self.implied_directories() {
            self.entries.entry(directory).or_insert(Entry {
                mode: DIRECTORY | 0o755,
                contents: Vec::new(),
            });
        }
        if self.entries.contains_key(TRAILER) {
            bail!("a file of the name `{TRAILER}` would end the initramfs");
        }
        let mut bytes = Cursor::new(Vec::new());
        for (number, (name, entry)) in (1..).zip(&self.entries) {
            let len = u32::try_from(entry.contents.len());
            let len = len.with_context(|| format!("{name} has more than 4 GiB"))?;
            let builder = NewcBuilder::new(name).ino(number).mode(entry.mode).nlink(1);
            let mut writer = builder.write(&mut bytes, len);
            writer.write_all(&entry.contents)?;
            writer.finish()?;
        }
        cpio::newc::trailer(&mut bytes)?;
        Ok(bytes.into_inner())
    }

    fn implied_directories(&self) -> BTreeSet<String> {
        let parents = self
            .entries
            .keys()
            .flat_map(|name| Path::new(name).ancestors().skip(1));
        let names = parents
            .filter_map(Path::to_str)
            .filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }
}

/// Returns a path's name in the archive, which has to be text.
fn name_below(root: &Path, path: &Path) -> Result<String> {
    let relative = path.strip_prefix(root)?;
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    match relative.to_str() {
        Some(name) if plain => Ok(name.to_owned()),
        _ => bail!("the name of {} is not text", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::Archive;

    /// Reads an archive back with the reader of the crate that wrote it.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut rest = bytes;
        let mut entries = Vec::new();
        loop {
            let mut reader = cpio::NewcReader::new(rest).expect("a valid entry");
            if reader.entry().is_trailer() {
                return entries;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents).expect("all of the entry");
            entries.push((name, mode, contents));
            rest = reader.finish().expect("a next entry");
        }
    }

    #[test]
    fn files_and_the_directories_that_they_imply_read_back() {
        let mut archive = Archive::default();
        archive
            .add_file("/usr/bin/b", 0o755, b"two".to_vec())
            .expect("a good name");
        archive
            .add_file("a", 0o644, Vec::new())
            .expect("a good name");
        let bytes = archive.into_bytes().expect("small files");
        let expected = [
            ("a", 0o100_644, &b""[..]),
            ("usr", 0o040_755, b""),
            ("usr/bin", 0o040_755, b""),
            ("usr/bin/b", 0o100_755, b"two"),
        ];
        let expected = expected.map(|(name, mode, bytes)| (name.to_owned(), mode, bytes.to_vec()));
        assert_eq!(entries(&bytes), expected);
    }

    #[test]
    fn tree_keeps_links_and_modes() {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(root.path().join("etc")).expect("a directory");
        fs::write(root.path().join("etc/motd"), "hi\n").expect("a file");
        symlink("motd", root.path().join("etc/link")).expect("a link");
        let mut archive = Archive::default();
        archive.add_tree(root.path()).expect("a readable tree");
        let entries = entries(&archive.into_bytes().expect("small files"));
        let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["etc", "etc/link", "etc/motd"]);
        assert_eq!(
            (entries[1].1 & 0o170_000, &entries[1].2[..]),
            (0o120_000, &b"motd"[..])
        );
    }

    #[test]
    fn single_file_that_is_a_link_stays_one() {
        let root = tempfile::tempdir().expect("a temporary directory");
        symlink("tools", root.path().join("ls")).expect("a link");
        let mut archive = Archive::default();
        let added = archive.add_from("bin/ls", &root.path().join("ls"));
        added.expect("a link that leads nowhere");
        let entries = entries(&archive.into_bytes().expect("small files"));
        let (name, mode, target) = &entries[1];
        assert_eq!((name.as_str(), mode & 0o170_000), ("bin/ls", 0o120_000));
        assert_eq!(target, b"tools");
    }

    #[test]
    fn same_inputs_give_the_same_bytes() {
        let make = |names: [&str; 2]| {
            let mut archive = Archive::default();
            for name in names {
                let contents = name.as_bytes().to_vec();
                archive
                    .add_file(name, 0o644, contents)
                    .expect("a good name");
            }
            archive.into_bytes().expect("small files")
        };
        assert_eq!(make(["x", "y"]), make(["y", "x"]));
    }

    #[test]
    fn names_that_leave_the_archive_are_refused() {
        for name in ["", "/", "..", "a/../b", "a//b", "./a"] {
            assert!(
                Archive::default()
                    .add_file(name, 0o644, Vec::new())
                    .is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn name_that_ends_an_archive_is_refused() {
        // Found by `kernel/fuzz`: the rest of the files were missing.
        for name in ["TRAILER!!!", "TRAILER!!!/x"] {
            let mut archive = Archive::default();
            archive
                .add_file(name, 0o644, Vec::new())
                .expect("a name like others");
            assert!(archive.into_bytes().is_err(), "{name}");
        }
    }

    #[test]
    fn missing_directory_is_an_error() {
        let error = Archive::default()
            .add_tree("/nonexistent/tree".as_ref())
            .unwrap_err();
        assert!(error.to_string().contains("is not a directory"));
    }
}
