//! The archive that the initramfs is: a cpio file, read by the crate `cpio_reader`.
//!
//! It is read once, into a tree: so that a name is found without a walk through the
//! whole archive, and a directory can be listed. Nothing about an archive is trusted.
//! One that is damaged ends where the damage is; a name with a part that is no name,
//! and one below a file, is left out; of two files of one name the first counts.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use nucleus::planted::{Bug, is_planted};

/// The type of a file among the bits of its mode, and types.
pub(crate) const TYPE_MASK: u32 = 0o170_000;
pub(crate) const DIRECTORY: u32 = 0o040_000;
pub(crate) const LINK: u32 = 0o120_000;
pub(crate) const REGULAR: u32 = 0o100_000;

/// The longest name of an archive that counts.
const MAX_NAME: usize = 4096;

/// A file of an archive, or a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File<'a> {
    /// Its name in its directory; empty for the root.
    pub(crate) name: &'a str,
    pub(crate) contents: &'a [u8],
    /// Type and permissions, as `stat` reports them.
    pub(crate) mode: u32,
    /// Its directory; the root is in itself.
    pub(crate) parent: usize,
    /// What is in it, if it is a directory, by name.
    pub(crate) children: BTreeMap<&'a str, usize>,
}

/// The files of an archive. The first one is the root directory.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    files: Vec<File<'a>>,
}

impl<'a> File<'a> {
    const fn directory(name: &'a str, parent: usize) -> Self {
        Self {
            name,
            contents: &[],
            mode: DIRECTORY | 0o755,
            parent,
            children: BTreeMap::new(),
        }
    }

    pub(crate) const fn is_directory(&self) -> bool {
        self.mode & TYPE_MASK == DIRECTORY
    }
}

impl<'a> Tree<'a> {
    /// Reads an archive.
    pub(crate) fn new(archive: &'a [u8]) -> Self {
        let mut tree = Self {
            files: [File::directory("", 0)].into(),
        };
        for entry in cpio_reader::iter_files(archive) {
            tree.add(entry.name(), entry.file(), entry.mode().bits());
        }
        tree
    }

    /// Returns all files, the root first; they are known by their places here.
    pub(crate) fn files(&self) -> &[File<'a>] {
        &self.files
    }

    /// Finds what is in a directory under a name.
    pub(crate) fn lookup(&self, directory: usize, name: &str) -> Option<usize> {
        let children = &self.files.get(directory)?.children;
        if is_planted(Bug::NamePrefix) {
            let mut names = children.iter();
            return names
                .find(|(other, _)| other.starts_with(name))
                .map(|(_, index)| *index);
        }
        children.get(name).copied()
    }

    /// Adds a file, and the directories that its name implies.
    fn add(&mut self, path: &'a str, contents: &'a [u8], mode: u32) {
        let path = path.trim_start_matches("./").trim_matches('/');
        let is_name = |part: &str| !matches!(part, "" | "." | "..");
        if path.len() > MAX_NAME || !path.split('/').all(is_name) {
            return;
        }
        let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut parent = 0;
        for part in directories.split('/').filter(|part| !part.is_empty()) {
            let next = self.child(parent, part);
            parent = next.unwrap_or_else(|| self.push(File::directory(part, parent)));
            if !self.files[parent].is_directory() {
                return;
            }
        }
        let new = File {
            contents,
            mode,
            ..File::directory(name, parent)
        };
        match self.child(parent, name) {
            None => {
                self.push(new);
            }
            // A directory that was implied by what is in it says what its mode is.
            Some(old) if self.files[old].is_directory() && new.is_directory() => {
                self.files[old].mode = mode;
            }
            Some(_) => {}
        }
    }

    fn child(&self, directory: usize, name: &str) -> Option<usize> {
        self.files[directory].children.get(name).copied()
    }

    fn push(&mut self, file: File<'a>) -> usize {
        let index = self.files.len();
        self.files[file.parent].children.insert(file.name, index);
        self.files.push(file);
        index
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::boot;
    use nucleus::prelude::*;

    use super::{File, Tree};

    fn find<'t>(tree: &'t Tree<'t>, path: &str) -> Option<&'t File<'t>> {
        let mut parts = path.split('/');
        let index = parts.try_fold(0, |directory, name| tree.lookup(directory, name))?;
        tree.files().get(index)
    }

    #[ktest]
    fn command_line_is_a_file_of_the_archive() {
        let tree = Tree::new(boot::initramfs());
        let file = find(&tree, "boot/cmdline").expect("xtask puts it there");
        assert!(core::str::from_utf8(file.contents).is_ok_and(|text| text.contains("ktest")));
        assert!(find(&tree, "boot").is_some_and(File::is_directory));
        assert_eq!(find(&tree, "boot/other"), None);
    }

    #[ktest]
    fn truncated_archive_is_harmless() {
        let archive = boot::initramfs();
        for len in (0..archive.len().min(2000)).chain([archive.len() - 1]) {
            let _ = Tree::new(&archive[..len]);
        }
    }

    #[ktest]
    fn garbage_is_an_empty_archive() {
        let garbage: [&[u8]; 2] = [
            &[0xff; 300],
            b"070701 and then nothing that is hexadecimal at all ....",
        ];
        for archive in garbage {
            assert_eq!(Tree::new(archive).files().len(), 1);
        }
    }
}
