//! Booting the rows, some of them at the same time.
//!
//! Bochs has one directory for its files, so its rows come one after the other, in the
//! first of the lanes; all lanes share the rows of QEMU.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::row::{End, Row};
use super::rows;
use crate::artifacts::{self, ImageSpec, Kernel, KernelKind};
use crate::emulator::{self, Boot};
use crate::firmware::Applications;
use crate::flags::EmulatorKind;
use crate::guest::{self, Director, Ending, Limits};
use crate::interrupt;
use crate::shell::Progress;
use crate::stream::{Event, Facts, Stream};
use crate::test::Verdict;
use crate::toolchain::Toolchain;

/// The program that tries the machine.
const PROGRAM: &str = "/bin/machine";

/// A boot that takes longer hangs, however busy the host is.
const LIMIT: Duration = Duration::from_secs(180);

/// Time for an emulator to end after the kernel's last word.
const GRACE: Duration = Duration::from_secs(3);

/// The emulator's status when the program ended well: QEMU's debug-exit device makes
/// it of the kernel's exit code 0x10.
const STATUS_OF_SUCCESS: i32 = 0x10 << 1 | 1;

/// A row, and what came of it.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) row: &'static Row,
    pub(crate) verdict: Verdict,
    /// From the emulator's start to the kernel's first line.
    pub(crate) started: Option<Duration>,
    /// From the emulator's start to the program's.
    pub(crate) program_started: Option<Duration>,
}

/// Tries the wanted rows, so many at a time; returns them in their order.
pub(crate) fn try_all(is_wanted: impl Fn(&str) -> bool, jobs: usize) -> Result<Vec<Tried>> {
    let wanted: Vec<_> = rows::all().filter(|row| is_wanted(row.name)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Release)?;
    let images = Images::make(&toolchain, &kernel, &wanted)?;
    let progress = Progress::start("booting the machines of the matrix");
    let of = |kind| {
        wanted
            .iter()
            .copied()
            .filter(move |row| row.emulator == kind)
    };
    let bochs = Queue::new(of(EmulatorKind::Bochs));
    let qemu = Queue::new(of(EmulatorKind::Qemu));
    let tried = Mutex::new(Vec::new());
    let work = |queues: &[&Queue]| -> Result<()> {
        while let Some(row) = queues.iter().find_map(|queue| queue.next()) {
            progress.update(&format!("booting {}", row.name));
            let result = try_row(row, &kernel, &images)?;
            if let Ok(mut tried) = tried.lock() {
                tried.push(result);
            }
            if interrupt::is_requested() {
                break;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let work = &work;
        let (bochs, qemu) = (&bochs, &qemu);
        let others: Vec<_> = (1..jobs)
            .map(|_| scope.spawn(move || work(&[qemu])))
            .collect();
        let first = work(&[bochs, qemu]);
        let join = |lane: thread::ScopedJoinHandle<'_, Result<()>>| match lane.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        others.into_iter().map(join).fold(first, Result::and)
    })?;
    progress.finish();
    let mut tried = tried.into_inner().context("a lane panicked")?;
    let place = |tried: &Tried| wanted.iter().position(|row| row.name == tried.row.name);
    tried.sort_by_key(place);
    Ok(tried)
}

/// Rows that lanes take one after the other.
struct Queue {
    rows: Vec<&'static Row>,
    next: AtomicUsize,
}

impl Queue {
    fn new(rows: impl Iterator<Item = &'static Row>) -> Self {
        Self {
            rows: rows.collect(),
            next: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> Option<&'static Row> {
        // Relaxed: each number is handed out once, and the rows never change.
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.rows.get(index).copied()
    }
}

/// The images that the rows boot. They differ in the kernel's command line, and in what
/// makes the firmware odd; the same file starts by BIOS and by UEFI, from a disk and from a
/// stick.
struct Images(Vec<(String, PathBuf)>);

impl Images {
    /// Makes them before anything boots, each a file of its own.
    fn make(toolchain: &Toolchain, kernel: &Kernel, rows: &[&Row]) -> Result<Self> {
        let directory = artifacts::target().join("matrix");
        fs::create_dir_all(&directory)?;
        let files = artifacts::files_for(&artifacts::programs()?, PROGRAM);
        let mut images = Vec::new();
        for row in rows {
            let name = Self::name(row);
            if images.iter().any(|(made, _)| *made == name) {
                continue;
            }
            let spec = ImageSpec {
                kernel,
                cmdline: command_line(row),
                files: files.clone(),
                rootfs: None,
            };
            let applications = match row.firmware {
                "" => Applications::usual(toolchain)?,
                words => Applications::odd(toolchain, words)?,
            };
            let made = artifacts::image_with(toolchain, &spec, &applications)?;
            let image = directory.join(format!("{}.img", images.len()));
            fs::copy(&made, &image).context("cannot copy an image for the matrix")?;
            images.push((name, image));
        }
        Ok(Self(images))
    }

    /// Returns what tells an image from the others.
    fn name(row: &Row) -> String {
        format!("{} {}", row.firmware, command_line(row))
    }

    fn of(&self, row: &Row) -> Result<PathBuf> {
        let name = Self::name(row);
        let image = self.0.iter().find(|(made, _)| *made == name);
        let image = image.with_context(|| format!("{} has no image", row.name))?;
        Ok(image.1.clone())
    }
}

fn command_line(row: &Row) -> String {
    let machine = emulator::kernel_options(row.emulator);
    format!("{machine} {} -- {PROGRAM}", row.options)
}

/// Boots a row, where its emulator is there or can be installed.
fn try_row(row: &'static Row, kernel: &Kernel, images: &Images) -> Result<Tried> {
    let not_tried = |reason: String| Tried {
        row,
        verdict: Verdict::Skipped(reason),
        started: None,
        program_started: None,
    };
    if let End::OutOfReach(reason) = row.end {
        return Ok(not_tried(reason.to_owned()));
    }
    let machine = row.machine();
    match emulator::need(&machine) {
        Err(error) if row.emulator == EmulatorKind::Bochs => {
            return Ok(not_tried(format!("{error:#}")));
        }
        needed => needed?,
    }
    let boot = Boot {
        has_serial: row.has_serial,
        ..Boot::unattended(images.of(row)?)
    };
    let emulator = emulator::prepare(&machine, &boot)?;
    let limits = Limits {
        total: Some(LIMIT),
        silence: None,
    };
    let mut stream = Stream::new(kernel.symbols.clone(), false);
    let mut watcher = Watcher::new();
    let ending = guest::direct(emulator, limits, &mut stream, &mut watcher)?;
    let complaint = if row.has_serial {
        let unfinished = (row.end == End::Works).then(|| guest::complaint(ending, &stream.facts));
        let unfinished = unfinished.flatten().map(|(_, text)| text);
        unfinished.or_else(|| row.complaint(&watcher.lines))
    } else {
        let is_good = ending == Ending::Exited(Some(STATUS_OF_SUCCESS));
        (!is_good).then(|| format!("the emulator's end is {ending:?}"))
    };
    let verdict = match complaint {
        None => Verdict::Passed,
        Some(complaint) => Verdict::Failed(format!("{complaint}\n{}", watcher.text)),
    };
    Ok(Tried {
        row,
        verdict,
        started: watcher.started,
        program_started: watcher.program_started,
    })
}

/// Notes what the guest says, and when it came how far.
struct Watcher {
    start: Instant,
    lines: Vec<String>,
    /// With the places that lines of a backtrace stand for.
    text: String,
    started: Option<Duration>,
    program_started: Option<Duration>,
    finished: Option<Duration>,
}

impl Watcher {
    /// Starts with the emulator, but for the moment that starting it takes.
    fn new() -> Self {
        Self {
            start: Instant::now(),
            lines: Vec::new(),
            text: String::new(),
            started: None,
            program_started: None,
            finished: None,
        }
    }
}

impl Director for Watcher {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Line(line) => self.lines.push(line),
            Event::Bytes(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
        }
    }

    fn is_done(&mut self, facts: &Facts) -> Result<bool> {
        let now = self.start.elapsed();
        for (is_there, at) in [
            (facts.started, &mut self.started),
            (facts.program_started, &mut self.program_started),
            (facts.is_finished(), &mut self.finished),
        ] {
            *at = at.or_else(|| is_there.then_some(now));
        }
        Ok(self.finished.is_some_and(|finished| now - finished > GRACE))
    }
}
