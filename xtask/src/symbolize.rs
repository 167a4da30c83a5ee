//! Addresses in reports turned into functions and places in the source.

use std::path::PathBuf;

use addr2line::Loader;

use crate::shell;

/// Where the loader puts the kernel, and where it is unless it says otherwise.
pub(crate) const DEFAULT_BASE: u64 = 0xffff_ffff_8000_0000;

/// Explains the lines of backtraces.
pub(crate) struct Symbolizer {
    symbols: PathBuf,
    base: u64,
    /// Loaded when the first backtrace appears.
    loader: Option<Loader>,
}

impl Symbolizer {
    pub(crate) fn new(symbols: PathBuf) -> Self {
        Self {
            symbols,
            base: DEFAULT_BASE,
            loader: None,
        }
    }

    /// Returns lines that explain a line, if it is one of a backtrace.
    pub(crate) fn explain(&mut self, line: &str) -> Vec<String> {
        if let Some(base) = image_base(line) {
            self.base = base;
        }
        let Some(address) = frame_address(line) else {
            return Vec::new();
        };
        if self.loader.is_none() {
            self.loader = Loader::new(&self.symbols).ok();
        }
        let Some((loader, offset)) = self.loader.as_ref().zip(address.checked_sub(self.base))
        else {
            return Vec::new();
        };
        explain_offset(loader, offset)
    }
}

fn explain_offset(loader: &Loader, offset: u64) -> Vec<String> {
    let mut lines = Vec::new();
    if let Ok(mut frames) = loader.find_frames(offset) {
        while let Ok(Some(frame)) = frames.next() {
            let name = frame
                .function
                .as_ref()
                .and_then(|name| name.demangle().ok());
            let name = name.map_or_else(|| "?".to_owned(), |name| without_hash(&name));
            let place = frame.location.as_ref().map_or_else(String::new, place);
            lines.push(format!("       {name}{place}"));
        }
    }
    if lines.is_empty()
        && let Some(symbol) = loader.find_symbol(offset)
    {
        lines.push(format!(
            "       {}",
            without_hash(&addr2line::demangle_auto(symbol.into(), None))
        ));
    }
    lines
}

fn place(location: &addr2line::Location<'_>) -> String {
    let root = format!("{}/", shell::root().display());
    let file = location.file.unwrap_or("?");
    let file = file.strip_prefix(&root).unwrap_or(file);
    format!(" ({file}:{})", location.line.unwrap_or(0))
}

/// Leaves the disambiguating hash of a symbol out.
fn without_hash(name: &str) -> String {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
            path.to_owned()
        }
        _ => name.to_owned(),
    }
}

/// Returns the base that the kernel's first line tells, and the head of each backtrace.
pub(crate) fn image_base(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("(image base 0x")?;
    u64::from_str_radix(rest.split_once(')')?.0, 16).ok()
}

/// Returns the address of a line like `  #3 0xffffffff80012345`.
fn frame_address(line: &str) -> Option<u64> {
    let rest = line.trim_start().strip_prefix('#')?;
    let (number, address) = rest.split_once(' ')?;
    number.parse::<u32>().ok()?;
    u64::from_str_radix(address.trim().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{frame_address, image_base, without_hash};

    #[test]
    fn backtrace_lines_are_recognised() {
        assert_eq!(
            frame_address("  #3 0xffffffff80012345"),
            Some(0xffff_ffff_8001_2345)
        );
        for other in [
            "# run #1 0x10",
            "#x 0x10",
            "  #3 12",
            "ok 1 a #2",
            "  #3 0xzz",
            "",
        ] {
            assert_eq!(frame_address(other), None, "{other}");
        }
    }

    #[test]
    fn base_is_read_from_the_first_line_and_from_backtraces() {
        let line = "[    0.000001] INFO  nucleus: Vostok 0.1.0 (image base 0xffffffff90000000)";
        assert_eq!(image_base(line), Some(0xffff_ffff_9000_0000));
        let head = "backtrace of processor 3 (image base 0xfffff0fc16780000):";
        assert_eq!(image_base(head), Some(0xffff_f0fc_1678_0000));
        assert_eq!(image_base("Vostok"), None);
    }

    #[test]
    fn hashes_are_left_out() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::hello"), "a::hello");
    }
}
