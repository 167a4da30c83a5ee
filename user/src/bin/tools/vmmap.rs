//! `vmmap [PID]`: a process's address space as a tree of mappings, and as a picture.
//!
//! Mappings of the same file stand below it; what is between is shown as gaps. Each
//! has its size, what of it is present, alone or with others, in which size of pages,
//! and a bar: solid where a page is present for this process alone, half where others
//! have it too, light where nothing is there yet. Colours say what it is for.

use std::ffi::OsString;
use std::fmt::Write;
use std::io::IsTerminal;

use crate::basics;
use crate::proc::{self, Mapping};

/// Width of the longest bar, in characters.
const BAR: u64 = 24;
/// Width of the picture.
const PICTURE: usize = 64;
const HUGE_KIB: u64 = 2048;

/// What a mapping is for, by its permissions and name; each has a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Code,
    Constants,
    Data,
    Heap,
    Stack,
    Anonymous,
    Shared,
    Kernel,
    Guard,
}

impl Use {
    const ALL: [Self; 9] = [
        Self::Code,
        Self::Constants,
        Self::Data,
        Self::Heap,
        Self::Stack,
        Self::Anonymous,
        Self::Shared,
        Self::Kernel,
        Self::Guard,
    ];

    fn of(mapping: &Mapping) -> Self {
        let has = |letter| mapping.permissions.contains(letter);
        match mapping.name.as_str() {
            "[heap]" => Self::Heap,
            name if name.starts_with("[stack") => Self::Stack,
            name if name.starts_with("[v") => Self::Kernel,
            _ if mapping.permissions.starts_with("---") => Self::Guard,
            _ if has('s') => Self::Shared,
            _ if has('x') => Self::Code,
            "" => Self::Anonymous,
            name if name.starts_with('[') => Self::Anonymous,
            _ if has('w') => Self::Data,
            _ => Self::Constants,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Constants => "constants",
            Self::Data => "data",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Anonymous => "anonymous",
            Self::Shared => "shared",
            Self::Kernel => "kernel's",
            Self::Guard => "no access",
        }
    }

    /// Returns the number of a colour of terminals.
    fn color(self) -> u8 {
        match self {
            Self::Code => 32,
            Self::Constants => 36,
            Self::Data => 33,
            Self::Heap => 31,
            Self::Stack => 35,
            Self::Anonymous => 34,
            Self::Shared => 95,
            Self::Kernel => 37,
            Self::Guard => 90,
        }
    }
}

/// Whether colours are shown.
#[derive(Clone, Copy, Debug)]
struct Palette {
    is_colored: bool,
}

impl Palette {
    fn paint(self, usage: Use, text: &str) -> String {
        if self.is_colored {
            format!("\x1b[{}m{text}\x1b[0m", usage.color())
        } else {
            text.to_owned()
        }
    }
}

pub(crate) fn run(arguments: &[OsString]) -> u8 {
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let is_plain = words.iter().any(|word| word == "--plain");
    let who = words.iter().find(|word| !word.starts_with('-'));
    let who = who.map_or("self", |word| word.as_ref());
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{who}/{name}"));
    let text = match read("smaps").or_else(|_| read("maps")) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("vmmap: /proc/{who}/smaps: {error}");
            return 1;
        }
    };
    let mappings = proc::mappings(&text);
    let name = read("status")
        .map(|text| proc::Status::parse(&text))
        .unwrap_or_default();
    // On a console that is no terminal by its own account, there is one all the same.
    let is_console = std::env::var("TERM").is_ok_and(|term| term == "ansi");
    let is_colored = !is_plain && (std::io::stdout().is_terminal() || is_console);
    let report = report(&mappings, Palette { is_colored });
    let command = proc::command_line(&name);
    basics::print(
        "vmmap",
        &format!("process {}, {command}\n{report}", name.pid),
    )
}

/// Returns the tree, the picture and what the colours mean.
fn report(mappings: &[Mapping], palette: Palette) -> String {
    let mut text = format!(
        "{:<33} {:>9} {:>9} {:>9} {:>9} {:>9}  {:<10}\n",
        "", "size", "present", "private", "shared", "dirty", "pages"
    );
    let mut end = 0;
    for group in mappings.chunk_by(|a, b| a.name == b.name && is_near(a, b)) {
        if let Some(first) = group.first() {
            gap(&mut text, end, first.start);
        }
        heading(&mut text, group);
        for (index, mapping) in group.iter().enumerate() {
            let is_last = index + 1 == group.len();
            line(&mut text, mapping, is_last, palette);
            end = mapping.end;
        }
    }
    totals(&mut text, mappings);
    picture(&mut text, mappings, palette);
    text
}

/// Mappings that touch, or almost so, are parts of one thing.
fn is_near(a: &Mapping, b: &Mapping) -> bool {
    b.start.saturating_sub(a.end) < HUGE_KIB * 1024
}

// Writing to a string does not fail, here and below.

fn gap(text: &mut String, end: u64, start: u64) {
    let kib = start.saturating_sub(end) / 1024;
    if kib > 0 {
        let _ = writeln!(text, "  · {} of nothing", size(kib));
    }
}

fn heading(text: &mut String, group: &[Mapping]) {
    let Some(first) = group.first() else {
        return;
    };
    let name = if first.name.is_empty() {
        "anonymous"
    } else {
        &first.name
    };
    let kib = group.iter().map(Mapping::size_kib).sum();
    let resident = group.iter().map(|mapping| mapping.resident_kib).sum();
    let _ = writeln!(text, "{name}: {}, {} present", size(kib), size(resident));
}

fn line(text: &mut String, mapping: &Mapping, is_last: bool, palette: Palette) {
    let branch = if is_last { "└─" } else { "├─" };
    let usage = Use::of(mapping);
    let _ = write!(
        text,
        "{branch} {:012x}-{:012x} {}",
        mapping.start, mapping.end, mapping.permissions
    );
    let parts = [
        mapping.size_kib(),
        mapping.resident_kib,
        mapping.private_kib,
        mapping.shared_kib,
        mapping.dirty_kib,
    ];
    for part in parts {
        let shown = if part == 0 {
            "-".to_owned()
        } else {
            size(part)
        };
        let _ = write!(text, " {shown:>9}");
    }
    let bar = palette.paint(usage, &bar(mapping));
    let _ = writeln!(text, "  {:<10} {bar}", pages(mapping));
}

/// Returns what the present part is made of.
fn pages(mapping: &Mapping) -> String {
    let huge = mapping.huge_kib / HUGE_KIB;
    let small = mapping.resident_kib.saturating_sub(mapping.huge_kib) / 4;
    match (huge, small) {
        (0, 0) => "-".to_owned(),
        (0, _) => format!("{small}x4K"),
        (_, 0) => format!("{huge}x2M"),
        _ => format!("{huge}x2M+{small}x4K"),
    }
}

/// Returns a bar whose length grows with the logarithm of the size, so that a page
/// and a gibibyte both can be seen.
fn bar(mapping: &Mapping) -> String {
    let pages = (mapping.size_kib() / 4).max(1);
    let cells = (1 + u64::from(pages.ilog2())).min(BAR);
    // What is there at all shows.
    let part = |kib: u64| (kib * cells).div_ceil(mapping.size_kib().max(1)).min(cells);
    let private = part(mapping.private_kib);
    let shared = part(mapping.shared_kib).min(cells - private);
    let repeat = |text: &str, count: u64| text.repeat(count as usize);
    repeat("█", private) + &repeat("▓", shared) + &repeat("░", cells - private - shared)
}

fn totals(text: &mut String, mappings: &[Mapping]) {
    let sum = |part: fn(&Mapping) -> u64| size(mappings.iter().map(part).sum());
    let _ = writeln!(
        text,
        "\n{} mappings of {}; present {}: {} private, {} shared, {} in pages of 2 MiB",
        mappings.len(),
        sum(Mapping::size_kib),
        sum(|mapping| mapping.resident_kib),
        sum(|mapping| mapping.private_kib),
        sum(|mapping| mapping.shared_kib),
        sum(|mapping| mapping.huge_kib),
    );
}

/// Draws all mappings one after the other, each as long as its bar.
fn picture(text: &mut String, mappings: &[Mapping], palette: Palette) {
    let mut column = 0;
    for mapping in mappings {
        let mut cells: Vec<char> = bar(mapping).chars().collect();
        while !cells.is_empty() {
            let room = PICTURE - column % PICTURE;
            let part: String = cells.drain(..room.min(cells.len())).collect();
            column += part.chars().count();
            text.push_str(&palette.paint(Use::of(mapping), &part));
            text.push_str(if column % PICTURE == 0 { "\n" } else { "" });
        }
    }
    text.push_str(if column % PICTURE == 0 { "" } else { "\n" });
    let used = Use::ALL.into_iter().filter(|usage| {
        let is_of = |mapping| Use::of(mapping) == *usage;
        mappings.iter().any(is_of)
    });
    let legend: Vec<_> = used
        .map(|usage| palette.paint(usage, &format!("█ {}", usage.name())))
        .collect();
    let _ = writeln!(text, "{}", legend.join("  "));
    let _ = writeln!(text, "█ private  ▓ shared  ░ not present");
}

/// Returns a size in a unit that keeps it short.
fn size(kib: u64) -> String {
    let units = [(30, "TiB"), (20, "GiB"), (10, "MiB")];
    for (shift, unit) in units {
        if kib >> shift > 0 {
            let tenths = (u128::from(kib) * 10) >> shift;
            let (whole, rest) = (tenths / 10, tenths % 10);
            return if rest == 0 || whole >= 100 {
                format!("{whole} {unit}")
            } else {
                format!("{whole}.{rest} {unit}")
            };
        }
    }
    format!("{kib} KiB")
}

#[cfg(test)]
mod tests {
    use super::{Palette, Use, bar, pages, report, size};
    use crate::proc::{Mapping, mappings};

    const PLAIN: Palette = Palette { is_colored: false };

    fn mapping(line: &str) -> Mapping {
        mappings(line).pop().expect("a mapping")
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(4), "4 KiB");
        assert_eq!(size(1536), "1.5 MiB");
        assert_eq!(size(2 << 20), "2 GiB");
        assert_eq!(size(127 << 30), "127 TiB");
        assert_eq!(size(u64::MAX), "17179869183 TiB");
    }

    #[test]
    fn mappings_have_their_uses() {
        let usage = |line: &str| Use::of(&mapping(line));
        assert_eq!(usage("1000-2000 r-xp 0 0:0 0 /bin/a"), Use::Code);
        assert_eq!(usage("1000-2000 r--p 0 0:0 0 /bin/a"), Use::Constants);
        assert_eq!(usage("1000-2000 rw-p 0 0:0 0 /bin/a"), Use::Data);
        assert_eq!(usage("1000-2000 rw-p 0 0:0 0 [heap]"), Use::Heap);
        assert_eq!(usage("1000-2000 rw-s 0 0:0 0 "), Use::Shared);
        assert_eq!(usage("1000-2000 ---p 0 0:0 0 "), Use::Guard);
        assert_eq!(usage("1000-2000 rw-p 0 0:0 0 "), Use::Anonymous);
    }

    #[test]
    fn bar_shows_what_is_present() {
        let mut four = mapping("1000-5000 rw-p 0 0:0 0 ");
        assert_eq!(bar(&four), "░░░");
        (four.private_kib, four.shared_kib) = (4, 4);
        assert_eq!(bar(&four), "█▓░");
        four.private_kib = 16;
        assert_eq!(bar(&four), "███");
        let mut large = mapping("0-7fffffff0000 rw-p 0 0:0 0 ");
        large.private_kib = 4;
        assert_eq!(bar(&large).chars().count(), 24);
    }

    #[test]
    fn pages_of_both_sizes_are_counted() {
        let mut mapping = mapping("0-800000 rw-p 0 0:0 0 ");
        assert_eq!(pages(&mapping), "-");
        mapping.resident_kib = 2048 + 8;
        mapping.huge_kib = 2048;
        assert_eq!(pages(&mapping), "1x2M+2x4K");
    }

    #[test]
    fn tree_names_files_once_and_shows_gaps() {
        let text = "400000-401000 r--p 0 0:0 7 /bin/a\n401000-402000 r-xp 0 0:0 7 /bin/a\n\
                    7ff000000000-7ff000001000 rw-p 0 0:0 0 [stack]\n";
        let report = report(&mappings(text), PLAIN);
        assert_eq!(report.matches("/bin/a").count(), 1, "{report}");
        assert_eq!(report.matches("of nothing").count(), 2, "{report}");
        assert_eq!(
            report.matches("├─").count() + report.matches("└─").count(),
            3
        );
        assert!(report.contains("3 mappings of 12 KiB"), "{report}");
        assert!(!report.contains('\x1b'));
    }

    #[test]
    fn nothing_makes_a_short_report() {
        assert!(report(&[], Palette { is_colored: true }).contains("0 mappings of 0 KiB"));
    }
}
