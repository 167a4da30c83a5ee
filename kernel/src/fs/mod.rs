//! Files: those of the initramfs, which can be read.

use nucleus::boot;

/// A file of the initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) contents: &'static [u8],
    /// Type and permissions, as `stat` reports them.
    pub(crate) mode: u32,
    pub(crate) inode: u32,
}

const TYPE_MASK: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;

impl File {
    pub(crate) const fn is_directory(&self) -> bool {
        self.mode & TYPE_MASK == DIRECTORY
    }
}

/// Finds a file by its path from the root.
pub(crate) fn find(path: &str) -> Option<File> {
    find_in(boot::initramfs(), path)
}

fn find_in(archive: &'static [u8], path: &str) -> Option<File> {
    let wanted = path.trim_matches('/');
    cpio_reader::iter_files(archive)
        .find(|entry| entry.name().trim_start_matches("./").trim_matches('/') == wanted)
        .map(|entry| File {
            name: entry.name(),
            contents: entry.file(),
            mode: entry.mode().bits(),
            inode: entry.ino(),
        })
}

#[cfg(ktest)]
mod tests {
    use nucleus::boot;
    use nucleus::prelude::*;

    use super::{find, find_in};

    #[ktest]
    fn command_line_is_a_file_of_the_archive() {
        let file = find("/boot/cmdline").expect("xtask puts it there");
        assert!(core::str::from_utf8(file.contents).is_ok_and(|text| text.contains("ktest")));
        assert!(find("boot").is_some_and(|directory| directory.is_directory()));
        assert_eq!(find("/boot/other"), None);
    }

    #[ktest]
    fn truncated_archive_is_harmless() {
        let archive = boot::initramfs();
        for len in (0..archive.len().min(2000)).chain([archive.len() - 1]) {
            let _ = find_in(&archive[..len], "/nowhere");
        }
    }

    #[ktest]
    fn garbage_is_an_empty_archive() {
        assert_eq!(find_in(&[0xff; 300], "x"), None);
        assert_eq!(
            find_in(
                b"070701 and then nothing that is hexadecimal at all ....",
                "x"
            ),
            None
        );
    }
}
