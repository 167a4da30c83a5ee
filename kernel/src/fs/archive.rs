//! The archive that the initramfs is: a cpio file, by the crate `cpio_reader`.
//!
//! Nothing about it is trusted; one that is damaged ends where the damage is.

use nucleus::planted::{Bug, is_planted};

/// A file of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File<'a> {
    pub(crate) name: &'a str,
    pub(crate) contents: &'a [u8],
    /// Type and permissions, as `stat` reports them.
    pub(crate) mode: u32,
    pub(crate) inode: u32,
}

const TYPE_MASK: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;

impl File<'_> {
    pub(crate) const fn is_directory(&self) -> bool {
        self.mode & TYPE_MASK == DIRECTORY
    }
}

/// Finds a file of an archive by its path from the root.
pub(crate) fn find<'a>(archive: &'a [u8], path: &str) -> Option<File<'a>> {
    let wanted = path.trim_matches('/');
    let is_wanted = |name: &str| match is_planted(Bug::NamePrefix) {
        false => name == wanted,
        true => name.starts_with(wanted),
    };
    cpio_reader::iter_files(archive)
        .find(|entry| is_wanted(entry.name().trim_start_matches("./").trim_matches('/')))
        .map(|entry| File {
            name: entry.name(),
            contents: entry.file(),
            mode: entry.mode().bits(),
            inode: entry.ino(),
        })
}
