//! The initramfs, as far as the nucleus needs it: the command line.

/// Where the command line is in the archive.
const COMMAND_LINE: &str = "boot/cmdline";

/// Returns the text of the command line; empty when there is none that is text.
#[must_use]
pub fn command_line(archive: &[u8]) -> &str {
    cpio_reader::iter_files(archive)
        .find(|entry| {
            let name = entry.name().trim_start_matches("./");
            name.trim_start_matches('/') == COMMAND_LINE
        })
        .and_then(|entry| core::str::from_utf8(entry.file()).ok())
        .unwrap_or("")
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::command_line;
    use crate::prelude::*;

    /// Makes an archive of one file.
    fn archive(name: &str) -> String {
        let mut archive = String::from("070701");
        let [mode, size, name_size] = [0o100_644, 2, name.len() + 1];
        for number in [0, mode, 0, 0, 0, 0, size, 0, 0, 0, 0, name_size, 0] {
            archive += &format!("{number:08X}");
        }
        archive += name;
        archive.push('\0');
        while !archive.len().is_multiple_of(4) {
            archive.push('\0');
        }
        archive + "hi\0\0"
    }

    #[ktest]
    fn command_line_is_found_from_the_root() {
        for name in ["boot/cmdline", "./boot/cmdline", "/boot/cmdline"] {
            assert_eq!(command_line(archive(name).as_bytes()), "hi", "{name}");
        }
    }

    #[ktest]
    fn hidden_directory_does_not_hold_the_command_line() {
        // Found by `kernel/fuzz`.
        assert_eq!(command_line(archive(".boot/cmdline").as_bytes()), "");
    }
}
