//! The initramfs, as far as the nucleus needs it: the command line.

/// Where the command line is in the archive.
const COMMAND_LINE: &str = "boot/cmdline";

/// Returns the text of the command line; empty when there is none that is text.
#[must_use]
pub fn command_line(archive: &[u8]) -> &str {
    cpio_reader::iter_files(archive)
        .find(|entry| entry.name().trim_start_matches(['.', '/']) == COMMAND_LINE)
        .and_then(|entry| core::str::from_utf8(entry.file()).ok())
        .unwrap_or("")
}
