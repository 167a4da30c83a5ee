//! `cargo xtask bench --vs linux`: what memory calls cost a program on Vostok and on
//! Debian's Linux, in the same emulator.
//!
//! Both run the same `mmbench`, on one processor with 1 GiB, with pages of 4 KiB
//! alone, and count instructions. Beside them stands what Asterinas 0.18 took for the
//! same when it was measured that way; it is not run here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::artifacts::{self, ImageSpec, KernelKind};
use crate::debian;
use crate::emulator::{self, Boot};
use crate::flags::{BenchOptions, EmulatorKind, MachineOptions};
use crate::guest::{self, Ending, Limits};
use crate::shell::Progress;
use crate::stream::{Event, Stream};
use crate::system::System;
use crate::toolchain::Toolchain;

/// The package that depends on the kernel that Debian has at the time.
const LINUX: &str = "linux-image-amd64";

/// The name of the program that counts.
const PROGRAM: &str = "mmbench";

/// What Linux is told: a console, one size of pages, and what to run.
const LINUX_OPTIONS: &str =
    "console=ttyS0 quiet transparent_hugepage=never panic=-1 rdinit=/bin/init --";

/// The longest silence: a row may take some hundred million instructions.
const SILENCE: Duration = Duration::from_secs(120);

/// How a row's figure is to compare with that of Linux.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    /// It says whether instructions are counted.
    Calibration,
    /// At most half: what memory management is about.
    Half,
    /// Not more.
    Equal,
}

/// What Asterinas takes: at once, and later, when it frees what was taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Asterinas {
    at_once: u64,
    later: u64,
}

/// Something that `mmbench` counts.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    goal: Goal,
    asterinas: Option<Asterinas>,
}

const fn row(name: &'static str, goal: Goal) -> Row {
    Row {
        name,
        goal,
        asterinas: None,
    }
}

impl Row {
    const fn asterinas(self, at_once: u64) -> Self {
        self.asterinas_later(at_once, 0)
    }

    const fn asterinas_later(self, at_once: u64, later: u64) -> Self {
        let asterinas = Some(Asterinas { at_once, later });
        Self { asterinas, ..self }
    }
}

const ROWS: [Row; 21] = [
    row("calib_loop_10000", Goal::Calibration),
    row("null_getpid", Goal::Equal).asterinas(604),
    row("mmap_munmap_4k_untouched", Goal::Half),
    row("mmap_4k", Goal::Half).asterinas(2258),
    row("munmap_4k_untouched", Goal::Half).asterinas(3171),
    row("mmap_touch_munmap_4k", Goal::Half).asterinas(8359),
    row("pf_seq_16m", Goal::Half).asterinas(2532),
    row("munmap_touched_16m", Goal::Half).asterinas_later(55, 426),
    row("pf_seq_2m", Goal::Half),
    row("munmap_touched_2m", Goal::Half).asterinas_later(427, 333),
    row("pf_rand_16m", Goal::Half),
    row("mmap_populate_16m", Goal::Half),
    row("mprotect_1_page", Goal::Half).asterinas(4048),
    row("mprotect_2m", Goal::Half).asterinas(419),
    row("mprotect_16m", Goal::Half),
    row("fork_exit_wait_small", Goal::Half).asterinas(856_000),
    row("fork_exit_wait_16m", Goal::Half),
    row("cow_fault_16m", Goal::Half).asterinas(4330),
    row("pf_sparse_1g", Goal::Half),
    row("munmap_sparse_1g", Goal::Half),
    row("ctx_switch_yield", Goal::Equal),
];

/// Figures by the names of their rows.
type Figures = BTreeMap<String, u64>;

pub(super) fn run(options: &BenchOptions) -> Result<u8> {
    let toolchain = Toolchain::find_or_install()?;
    let system = System::build()?;
    let words: Vec<_> = options
        .filter
        .iter()
        .flat_map(|text| text.split('|'))
        .collect();
    let package = debian::first_dependency(LINUX)?;
    let linux = count_on_linux(&toolchain, &package, &system, &words)?;
    let vostok = count_on_vostok(&toolchain, &system, &words)?;

    let wanted = ROWS.iter().filter(|row| options.selects(row.name));
    let rows: Vec<_> = wanted.copied().collect();
    println!("\ninstructions an operation or page; Linux is {package}\n");
    let (text, missed) = table(&rows, &vostok, &linux);
    print!("{text}");
    if let Some(path) = &options.json {
        let report = json(&rows, &vostok, &linux);
        super::write_report(path, &report)?;
    }
    println!("{missed} goals missed");
    Ok(u8::from(missed > 0))
}

fn machine() -> MachineOptions {
    MachineOptions::new(EmulatorKind::Qemu, 1, "1024M")
}

fn count_on_linux(
    toolchain: &Toolchain,
    package: &str,
    system: &System,
    words: &[&str],
) -> Result<Figures> {
    let version = package.trim_start_matches("linux-image-");
    let kernel = debian::fetch(package, &format!("boot/vmlinuz-{version}"))?;
    let initramfs = artifacts::target().join("debian/initramfs.cpio");
    let files = [system.file("init")?, system.file(PROGRAM)?];
    artifacts::initramfs(toolchain, &files, &initramfs)?;
    let cmdline = format!("{LINUX_OPTIONS} /bin/{PROGRAM} {}", words.join(" "));
    let boot = Boot {
        icount: true,
        ..Boot::linux(kernel, initramfs, cmdline)
    };
    let mut stream = Stream::of_another_kernel();
    let (figures, ending) = count("counting on Linux", &boot, &mut stream)?;
    let is_well = ending == Ending::Exited(Some(0)) && !figures.is_empty();
    ensure!(
        is_well,
        "Linux: {ending:?} after: {}",
        stream.facts.last_line
    );
    Ok(figures)
}

fn count_on_vostok(toolchain: &Toolchain, system: &System, words: &[&str]) -> Result<Figures> {
    let kernel = artifacts::kernel(toolchain, KernelKind::Release)?;
    let options = emulator::kernel_options(EmulatorKind::Qemu);
    let words = words.join(" ");
    let image = artifacts::image(
        toolchain,
        &ImageSpec {
            kernel: &kernel,
            cmdline: format!("{options} nokaslr log=off -- /bin/{PROGRAM} {words}"),
            files: system.files_for(&format!("/bin/{PROGRAM}")),
            rootfs: None,
        },
    )?;
    let boot = Boot {
        icount: true,
        ..Boot::unattended(image)
    };
    let mut stream = Stream::new(kernel.symbols, true);
    let (figures, ending) = count("counting on Vostok", &boot, &mut stream)?;
    if let Some((_, complaint)) = guest::complaint(ending, &stream.facts) {
        bail!("Vostok: {complaint}");
    }
    // What there is can be shown; what is missing counts as missed.
    if stream.facts.exit_status != Some(0) {
        eprintln!("warning: {PROGRAM} did not come to its end on Vostok");
    }
    Ok(figures)
}

/// Boots, and reads the rows that are printed.
fn count(what: &str, boot: &Boot, stream: &mut Stream) -> Result<(Figures, Ending)> {
    let emulator = emulator::prepare(&machine(), boot)?;
    let progress = Progress::start(what);
    let mut figures = Figures::new();
    let mut handle = |event: Event| {
        if let Event::Line(line) = event {
            if let Some((name, value)) = read_row(&line) {
                progress.update(&format!("{what}: {name}"));
                figures.insert(name, value);
            } else if line.starts_with(PROGRAM) {
                eprintln!("{line}");
            }
        }
    };
    let limits = Limits {
        total: None,
        silence: Some(SILENCE),
    };
    let ending = guest::run(emulator, limits, stream, &mut handle)?;
    progress.finish();
    Ok((figures, ending))
}

/// Reads `ROW VALUE`, if there is such a row.
fn read_row(line: &str) -> Option<(String, u64)> {
    let (name, value) = line.trim_end().split_once(' ')?;
    let is_row = ROWS.iter().any(|row| row.name == name);
    let value = value.parse().ok().filter(|_| is_row)?;
    Some((name.to_owned(), value))
}

/// Returns what is wrong with a figure, compared with its goals.
fn complaints(row: &Row, ours: u64, linux: Option<u64>) -> Vec<String> {
    let mut complaints = Vec::new();
    let most = match row.goal {
        Goal::Calibration if ours != 3 => vec!["NO INSTRUCTIONS".to_owned()],
        Goal::Calibration => Vec::new(),
        Goal::Half | Goal::Equal => {
            let factor = if row.goal == Goal::Half { 2 } else { 1 };
            let is_missed = linux.is_some_and(|linux| ours * factor > linux);
            let text = if factor == 2 {
                "MISSES 0.50"
            } else {
                "MISSES 1.00"
            };
            is_missed.then(|| text.to_owned()).into_iter().collect()
        }
    };
    complaints.extend(most);
    let beaten = |theirs: Asterinas| ours < theirs.at_once + theirs.later;
    if row.asterinas.is_some_and(|theirs| !beaten(theirs)) {
        complaints.push("ASTERINAS IS BETTER".to_owned());
    }
    complaints
}

/// Returns the table, and how many goals are missed.
fn table(rows: &[Row], vostok: &Figures, linux: &Figures) -> (String, usize) {
    let mut text = format!(
        "{:<26} {:>9} {:>9} {:>6}  {:>13}\n",
        "", "Vostok", "Linux", "ratio", "Asterinas"
    );
    let mut missed = 0;
    let shown = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    for row in rows {
        let (ours, theirs) = (vostok.get(row.name).copied(), linux.get(row.name).copied());
        let ratio = match (ours, theirs) {
            (Some(ours), Some(theirs)) => format!("{:.2}", ours as f64 / theirs as f64),
            _ => "-".to_owned(),
        };
        let asterinas = row.asterinas.map_or(String::new(), |theirs| {
            if theirs.later == 0 {
                theirs.at_once.to_string()
            } else {
                format!("{} (+{})", theirs.at_once, theirs.later)
            }
        });
        let complaints = match ours {
            Some(ours) => complaints(row, ours, theirs),
            None => vec!["NOT MEASURED".to_owned()],
        };
        missed += complaints.len();
        let line = format!(
            "{:<26} {:>9} {:>9} {ratio:>6}  {asterinas:>13}  {}",
            row.name,
            shown(ours),
            shown(theirs),
            complaints.join(", ")
        );
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str("\n(+n): what it frees later, at a switch of tasks\n");
    (text, missed)
}

/// Writes the figures as JSON: names need no escapes.
fn json(rows: &[Row], vostok: &Figures, linux: &Figures) -> String {
    let number = |value: Option<u64>| value.map_or("null".to_owned(), |value| value.to_string());
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let asterinas = row.asterinas.map(|theirs| theirs.at_once + theirs.later);
            format!(
                "    {{\"name\": \"{}\", \"vostok\": {}, \"linux\": {}, \"asterinas\": {}}}",
                row.name,
                number(vostok.get(row.name).copied()),
                number(linux.get(row.name).copied()),
                number(asterinas)
            )
        })
        .collect();
    format!("{{\n  \"vs-linux\": [\n{}\n  ]\n}}\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::{Figures, Goal, Row, json, read_row, row, table};

    const SMALL: [Row; 2] = [
        row("null_getpid", Goal::Equal).asterinas(604),
        row("munmap_touched_2m", Goal::Half).asterinas_later(427, 333),
    ];

    fn figures(getpid: u64, munmap: u64) -> Figures {
        let pairs = [("null_getpid", getpid), ("munmap_touched_2m", munmap)];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    #[test]
    fn rows_are_read_and_nothing_else() {
        assert_eq!(read_row("mmap_4k 12\r"), Some(("mmap_4k".to_owned(), 12)));
        for line in ["mmap_4k", "mmap_4k x", "mmap_5k 12", "", "[ 1.0] x 12"] {
            assert_eq!(read_row(line), None, "{line}");
        }
    }

    #[test]
    fn goals_that_are_met_are_quiet() {
        let (text, missed) = table(&SMALL, &figures(300, 500), &figures(300, 1000));
        assert_eq!(missed, 0, "{text}");
        assert!(text.contains("427 (+333)") && text.contains("0.50"));
    }

    #[test]
    fn each_goal_that_is_missed_counts() {
        let (text, missed) = table(&SMALL, &figures(604, 760), &figures(315, 1241));
        assert_eq!(missed, 4, "{text}");
        assert_eq!(text.matches("ASTERINAS IS BETTER").count(), 2);
        let (_, missed) = table(&SMALL, &Figures::new(), &figures(1, 1));
        assert_eq!(missed, 2);
    }

    #[test]
    fn report_is_json() {
        let text = json(&SMALL, &figures(300, 500), &Figures::new());
        assert!(text.contains("\"vostok\": 500, \"linux\": null, \"asterinas\": 760}"));
        assert!(text.starts_with("{\n") && text.ends_with("  ]\n}\n"));
    }
}
