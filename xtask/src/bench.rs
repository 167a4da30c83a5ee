//! `cargo xtask bench`: executed instructions of the memory core's operations, on
//! the host under callgrind and in the kernel under QEMU's `-icount`.
//!
//! Counts repeat, so a budget is a number and not a range. Those of the host have
//! budgets of their own; those of the kernel are compared with a third of what
//! OSTD takes, memory really freed included.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artifacts::{self, ImageSpec, KernelKind};
use crate::emulator::{self, Boot};
use crate::flags::{BenchOptions, EmulatorKind, MachineOptions};
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
const KERNEL_BUDGETS: [(&str, f64); 23] = [
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
];

pub(crate) fn run(options: &BenchOptions) -> Result<u8> {
    let both = !options.host && !options.kernel;
    let mut report = BTreeMap::new();
    let mut missed = 0;
    if both || options.host {
        let counts = count_on_host(options)?;
        missed += show("host, callgrind", &counts, &HOST_BUDGETS);
        report.insert("host", counts);
    }
    if both || options.kernel {
        let counts = count_in_kernel(options)?;
        missed += show("kernel, -icount", &counts, &KERNEL_BUDGETS);
        report.insert("kernel", counts);
    }
    if let Some(path) = &options.json {
        fs::write(path, json(&report))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{missed} budgets missed");
    Ok(u8::from(missed > 0))
}

/// Prints a table; returns how many budgets were missed.
fn show(title: &str, counts: &[Count], budgets: &[(&str, f64)]) -> usize {
    println!("\n{title}: instructions an operation");
    let mut missed = 0;
    for count in counts {
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
    missed
}

fn count_on_host(options: &BenchOptions) -> Result<Vec<Count>> {
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
    Ok(counts)
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

fn count_in_kernel(options: &BenchOptions) -> Result<Vec<Count>> {
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Bench)?;
    let filter = options.filter.as_deref().unwrap_or("");
    let machine = MachineOptions::new(EmulatorKind::Qemu, 1, "512M");
    let bench = artifacts::quote(&format!("bench={filter}"))?;
    let image = artifacts::image(
        &toolchain,
        &ImageSpec {
            kernel: &kernel,
            cmdline: format!("{} {bench}", emulator::kernel_options(machine.emulator())),
            files: Vec::new(),
            rootfs: None,
            uefi: false,
        },
    )?;
    let boot = Boot {
        icount: true,
        ..Boot::unattended(image)
    };
    let emulator = emulator::prepare(&machine, &boot)?;
    let progress = Progress::start("counting in the kernel");
    let (mut counts, mut is_done) = (Vec::new(), false);
    let mut handle = |event: Event| {
        if let Event::Line(line) = event {
            is_done |= line == "bench done";
            counts.extend(read_line(&line));
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
    Ok(counts)
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

/// Writes the counts as JSON: names need no escapes.
fn json(report: &BTreeMap<&str, Vec<Count>>) -> String {
    let ring = |(ring, counts): (&&str, &Vec<Count>)| {
        let rows: Vec<_> = counts
            .iter()
            .map(|count| {
                format!(
                    "    {{\"name\": \"{}\", \"operations\": {}, \"instructions\": {}}}",
                    count.name, count.operations, count.instructions
                )
            })
            .collect();
        format!("  \"{ring}\": [\n{}\n  ]", rows.join(",\n"))
    };
    let rings: Vec<_> = report.iter().map(ring).collect();
    format!("{{\n{}\n}}\n", rings.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::{Count, json, read_line};

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

    #[test]
    fn report_is_json() {
        let text = json(&[("host", vec![count(), count()])].into());
        assert_eq!(text.matches("\"instructions\": 20480").count(), 2);
        assert!(text.starts_with("{\n  \"host\": [\n") && text.ends_with("  ]\n}\n"));
    }
}
