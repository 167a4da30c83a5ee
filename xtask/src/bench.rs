//! `cargo xtask bench`: executed instructions of the memory core's operations, on
//! the host under callgrind and in the kernel under QEMU's `-icount`.
//!
//! Counts repeat, so a budget is a number and not a range. Those of the host have
//! budgets of their own; those of the kernel are compared with a third of what
//! OSTD takes, memory really freed included. Figures that are no instructions, such as
//! interrupts, bytes and ratios, are shown beside and have no budgets. `--vs linux`
//! compares whole system calls with another kernel's.

mod vs_linux;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artifacts::{self, ImageSpec, KernelKind};
use crate::emulator::{self, Boot};
use crate::flags::{BenchOptions, EmulatorKind, MachineOptions, Rival};
use crate::guest::{self, Limits};
use crate::shell::{self, Progress};
use crate::stream::{Event, Stream};
use crate::toolchain::{self, Toolchain};

/// What was counted.
#[derive(Clone, Debug, PartialEq)]
struct Count {
    name: String,
    operations: u64,
    instructions: u64,
}

impl Count {
    fn per_operation(&self) -> f64 {
        self.instructions as f64 / self.operations as f64
    }
}

/// What was counted or compared, and is no number of instructions.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    name: String,
    /// A number, as it was printed.
    value: String,
    unit: String,
}

/// What one of the two machines said.
#[derive(Clone, Debug, Default, PartialEq)]
struct Results {
    counts: Vec<Count>,
    figures: Vec<Figure>,
}

/// The most that an operation may take on the host.
const HOST_BUDGETS: [(&str, f64); 8] = [
    ("map/512/one-cursor", 45.0),
    ("unmap/512/one-cursor/shared", 50.0),
    ("protect/512/one-cursor", 25.0),
    ("find-next+query/512/one-cursor", 40.0),
    ("map/512/fresh-cursors", 260.0),
    ("unmap/512/fresh-cursors/shared", 280.0),
    ("query/512/fresh-cursors", 180.0),
    ("frame/alloc+free", 60.0),
];

/// The most that an operation may take in the kernel: a third of OSTD's total for
/// the same, or what was set instead.
const KERNEL_BUDGETS: [(&str, f64); 24] = [
    ("map/1/leaf-table-there", 851.0 / 3.0),
    ("map/1/one-table-made", 1596.0 / 3.0),
    ("map/1/three-tables-made", 3022.0 / 3.0),
    ("map/512/one-cursor", 340.0 / 3.0),
    ("unmap/1/inactive", (1941.0 + 851.0) / 3.0),
    ("unmap/1/active", (2217.0 + 855.0) / 3.0),
    ("unmap/512/one-cursor/freed", (424.0 + 333.0) / 3.0),
    ("unmap/512/whole-table/freed", (4.8 + 417.0) / 3.0),
    ("unmap/1g/8-full-tables", (19.0 + 426.0) / 3.0),
    ("unmap/1g/512-tables-of-a-page", (493.0 + 15_608.0) / 3.0),
    ("unmap/1g/empty", 74_418.0 / 3.0),
    ("query/1/fresh-cursor", 572.0 / 3.0),
    ("find-next+jump/512/one-cursor", 205.0 / 3.0),
    ("protect/1/not-flushed", 860.0 / 3.0),
    ("protect/1/flushed", 1391.0 / 3.0),
    ("protect/512/one-cursor", 346.0 / 3.0),
    ("cursor/1-page", 407.0 / 3.0),
    ("cursor/1g/empty", 500.0),
    ("cursor/1g/512-tables", 80_860.0 / 3.0),
    ("vm-space/new+drop", 2500.0),
    ("frame/alloc+free", 181.0 / 3.0),
    ("frame/alloc+free/zeroed", 719.0 / 3.0),
    ("map/512/fresh-cursors", 851.0 / 3.0),
    // A tenth of what a console took that drew each pixel by itself.
    ("console/line", 51_919_695.0 / 10.0),
];

pub(crate) fn run(options: &BenchOptions) -> Result<u8> {
    if options.vs == Some(Rival::Linux) {
        return vs_linux::run(options);
    }
    let both = !options.host && !options.kernel;
    let mut report = BTreeMap::new();
    let mut missed = 0;
    if both || options.host {
        let results = count_on_host(options)?;
        missed += show("host, callgrind", &results, &HOST_BUDGETS);
        report.insert("host", results);
    }
    if both || options.kernel {
        let results = count_in_kernel(options)?;
        missed += show("kernel, -icount", &results, &KERNEL_BUDGETS);
        report.insert("kernel", results);
    }
    if let Some(path) = &options.json {
        write_report(path, &json(&report))?;
    }
    println!("{missed} budgets missed");
    Ok(u8::from(missed > 0))
}

fn write_report(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints tables; returns how many budgets were missed.
fn show(title: &str, results: &Results, budgets: &[(&str, f64)]) -> usize {
    println!("\n{title}: instructions an operation");
    let mut missed = 0;
    for count in &results.counts {
        let each = count.per_operation();
        let budget = budgets.iter().find(|(name, _)| *name == count.name);
        let verdict = match budget {
            None => String::new(),
            Some((_, most)) if each <= *most => format!("<= {most:.1}"),
            Some((_, most)) => {
                missed += 1;
                format!("MISSES {most:.1}")
            }
        };
        println!("{:<38} {each:>10.1}   {verdict}", count.name);
    }
    if !results.figures.is_empty() {
        println!("\n{title}: other figures");
    }
    for Figure { name, value, unit } in &results.figures {
        println!("{name:<48} {value:>10} {unit}");
    }
    missed
}

fn count_on_host(options: &BenchOptions) -> Result<Results> {
    toolchain::need_valgrind()?;
    let program = build_host_benchmarks()?;
    let listed = shell::capture("listing the benchmarks", &mut Command::new(&program))?;
    let mut counts = Vec::new();
    for line in listed.lines() {
        let Some((name, operations)) = line.split_once(' ') else {
            continue;
        };
        if !options.selects(name) {
            continue;
        }
        let progress = Progress::start(&format!("counting {name}"));
        let instructions = callgrind(&program, name)?;
        progress.finish();
        counts.push(Count {
            name: name.to_owned(),
            operations: operations.trim().parse().context("the list is odd")?,
            instructions,
        });
    }
    let mut other = Command::new(&program);
    other.arg("--figures").args(&options.filter);
    let printed = shell::capture("measuring what is no count", &mut other)?;
    Ok(Results {
        counts,
        figures: printed.lines().filter_map(read_figure).collect(),
    })
}

/// Builds the benchmarks; returns the program.
fn build_host_benchmarks() -> Result<PathBuf> {
    let mut cargo = artifacts::host_cargo();
    cargo.args([
        "build",
        "--package=nucleus",
        "--example=paging",
        "--profile=measure",
        "--message-format=json",
    ]);
    let text = shell::capture("building the benchmarks", &mut cargo)?;
    let is_program =
        |line: &&str| line.contains("\"name\":\"paging\"") && line.contains("\"executable\":\"");
    let line = text
        .lines()
        .find(is_program)
        .context("cargo built no benchmarks")?;
    let (_, rest) = line.split_once("\"executable\":\"").unwrap_or_default();
    let (path, _) = rest.split_once('"').unwrap_or_default();
    Ok(PathBuf::from(path))
}

/// Counts the instructions that a benchmark's measured part executes.
fn callgrind(program: &PathBuf, name: &str) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--collect-atstart=no")
        .arg("--toggle-collect=*paging*measured*")
        .arg(program)
        .arg(name);
    shell::show(&valgrind);
    let output = valgrind.output().context("cannot run valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, number)| number.trim().parse().ok());
    match collected {
        Some(count) if output.status.success() => Ok(count),
        _ => bail!("callgrind counted nothing of {name}:\n{text}"),
    }
}

fn count_in_kernel(options: &BenchOptions) -> Result<Results> {
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Bench)?;
    let filter = options.filter.as_deref().unwrap_or("");
    let machine = MachineOptions::new(EmulatorKind::Qemu, 1, "512M");
    let bench = artifacts::quote(&format!("bench={filter}"))?;
    let image = artifacts::image(
        &toolchain,
        &ImageSpec {
            kernel: &kernel,
            cmdline: format!(
                "{} nokaslr {bench}",
                emulator::kernel_options(machine.emulator())
            ),
            files: Vec::new(),
            rootfs: None,
        },
    )?;
    let boot = Boot {
        icount: true,
        ..Boot::unattended(image)
    };
    let emulator = emulator::prepare(&machine, &boot)?;
    let progress = Progress::start("counting in the kernel");
    let (mut results, mut is_done) = (Results::default(), false);
    let mut handle = |event: Event| {
        if let Event::Line(line) = event {
            is_done |= line == "bench done";
            results.counts.extend(read_line(&line));
            results.figures.extend(read_figure(&line));
        }
    };
    let limits = Limits {
        total: None,
        silence: Some(std::time::Duration::from_secs(120)),
    };
    let mut stream = Stream::new(kernel.symbols.clone(), false);
    let ending = guest::run(emulator, limits, &mut stream, &mut handle)?;
    progress.finish();
    if !is_done {
        let why = guest::complaint(ending, &stream.facts).map(|(_, text)| text);
        bail!(
            "the kernel did not finish its benchmarks: {}",
            why.unwrap_or_default()
        );
    }
    Ok(results)
}

/// Reads `bench NAME OPERATIONS INSTRUCTIONS`.
fn read_line(line: &str) -> Option<Count> {
    let mut words = line.strip_prefix("bench ")?.split(' ');
    Some(Count {
        name: words.next()?.to_owned(),
        operations: words.next()?.parse().ok()?,
        instructions: words.next()?.parse().ok()?,
    })
}

/// Reads `figure NAME VALUE UNIT`, whose unit may have spaces.
fn read_figure(line: &str) -> Option<Figure> {
    let mut words = line.strip_prefix("figure ")?.splitn(3, ' ');
    let (name, value, unit) = (words.next()?, words.next()?, words.next()?);
    value.parse::<f64>().ok()?;
    let [name, value, unit] = [name, value, unit].map(str::to_owned);
    Some(Figure { name, value, unit })
}

/// Writes the results as JSON: names and units need no escapes.
fn json(report: &BTreeMap<&str, Results>) -> String {
    let ring = |(ring, results): (&&str, &Results)| {
        let counts = results.counts.iter().map(|count| {
            format!(
                "    {{\"name\": \"{}\", \"operations\": {}, \"instructions\": {}}}",
                count.name, count.operations, count.instructions
            )
        });
        let figures = results.figures.iter().map(|Figure { name, value, unit }| {
            format!("    {{\"name\": \"{name}\", \"value\": {value}, \"unit\": \"{unit}\"}}")
        });
        let rows: Vec<_> = counts.chain(figures).collect();
        format!("  \"{ring}\": [\n{}\n  ]", rows.join(",\n"))
    };
    let rings: Vec<_> = report.iter().map(ring).collect();
    format!("{{\n{}\n}}\n", rings.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::{Count, Figure, Results, json, read_figure, read_line};

    fn count() -> Count {
        Count {
            name: "map/512".to_owned(),
            operations: 512,
            instructions: 20_480,
        }
    }

    #[test]
    fn counts_of_the_kernel_are_read() {
        assert_eq!(read_line("bench map/512 512 20480"), Some(count()));
        assert_eq!(read_line("bench done"), None);
        assert!((count().per_operation() - 40.0).abs() < 1e-9);
    }

    fn figure() -> Figure {
        Figure {
            name: "ipis/2-cpus".to_owned(),
            value: "1.5".to_owned(),
            unit: "an unmap".to_owned(),
        }
    }

    #[test]
    fn figures_are_read_with_their_units() {
        assert_eq!(
            read_figure("figure ipis/2-cpus 1.5 an unmap"),
            Some(figure())
        );
        assert_eq!(read_figure("figure ipis/2-cpus many an unmap"), None);
        assert_eq!(read_figure("bench map/512 512 20480"), None);
    }

    #[test]
    fn report_is_json() {
        let results = Results {
            counts: vec![count(), count()],
            figures: vec![figure()],
        };
        let text = json(&[("host", results)].into());
        assert!(text.contains("\"value\": 1.5, \"unit\": \"an unmap\""));
        assert_eq!(text.matches("\"instructions\": 20480").count(), 2);
        assert!(text.starts_with("{\n  \"host\": [\n") && text.ends_with("  ]\n}\n"));
    }
}
