//! Files: those of the initramfs, which can be read.

mod archive;

use nucleus::boot;

/// A file of the initramfs.
pub(crate) type File = archive::File<'static>;

/// Finds a file by its path from the root.
pub(crate) fn find(path: &str) -> Option<File> {
    archive::find(boot::initramfs(), path)
}

#[cfg(ktest)]
mod tests {
    use nucleus::boot;
    use nucleus::prelude::*;

    use super::archive::find as find_in;
    use super::find;

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
