//! Machines whose success takes more than the kernel's word: firmware that is made odd
//! (`preloader::oddities`), and a judgement on what came of it.
//!
//! * Without the pre-loader, 5-level paging must not come to the kernel: the firmware is
//!   odd indeed, and it is the pre-loader that helps.
//! * The regions of a memory map with more than 300 entries are counted.
//! * A screen at a high address is the memory of QEMU's `ivshmem-plain`, a PCI device
//!   whose memory is a file of the host. OVMF puts it near the end of what the
//!   processor can address, behind another entry of the root than memory and loader;
//!   afterwards the screen's text is read from that file, by the font.
//!
//! What no emulator here has: firmware that turns 5-level paging on by itself, memory
//! encryption, and a display whose own memory is at such an address.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::PREFIX;
use crate::artifacts::{self, ImageSpec, Kernel, KernelKind};
use crate::emulator::{self, Boot};
use crate::firmware::Applications;
use crate::flags::{EmulatorKind, MachineOptions};
use crate::guest::{self, Limits};
use crate::screen::glyphs::ScreenText;
use crate::screen::picture::Picture;
use crate::shell::Progress;
use crate::stream::{Event, Facts, Stream};
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;
use crate::{interrupt, run};

const PROGRAM: &str = "/bin/hello";
const ITS_LINE: &str = "Hello from ring 3!";

/// A boot that takes longer hangs, however busy the host is.
const LIMIT: Duration = Duration::from_secs(180);

/// The shape of an odd screen, as `preloader::oddities` makes it: pixels in a line, from
/// one line to the next, and lines.
const WIDTH: usize = 1024;
const STRIDE: usize = 1088;
const HEIGHT: usize = 768;
const PIXEL: usize = 4;

/// A piece of firmware, and what has to come of booting on it.
struct Case {
    name: &'static str,
    /// What is odd.
    firmware: &'static str,
    /// The machine has the device whose memory can be a screen.
    has_device: bool,
    /// Options of the kernel's command line.
    options: &'static str,
    /// Judges what the guest said, and the memory of the device.
    judge: fn(&Seen) -> Result<(), String>,
}

/// What came of a boot.
struct Seen {
    lines: Vec<String>,
    facts: Facts,
    /// What is wrong with the ending, if something is.
    complaint: Option<String>,
    device: PathBuf,
}

const CASES: [Case; 3] = [
    Case {
        name: "five-levels-stop-the-loader-alone",
        firmware: "five-levels no-preloader",
        has_device: false,
        options: "",
        judge: does_not_start,
    },
    Case {
        name: "map-of-300-entries",
        firmware: "fragments=320",
        has_device: false,
        options: "log=debug",
        judge: knows_many_regions,
    },
    Case {
        name: "peer_104_peer_110_screen_behind_another_entry_of_the_root",
        firmware: "screen=device five-levels",
        has_device: true,
        options: "",
        judge: draws_on_the_device,
    },
];

/// Boots the cases that are wanted, one after the other.
pub(super) fn outcomes(is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Outcome>> {
    let wanted: Vec<_> = CASES.iter().filter(|case| is_wanted(case.name)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let toolchain = Toolchain::find_or_install()?;
    let kernel = artifacts::kernel(&toolchain, KernelKind::Release)?;
    let mut outcomes = Vec::new();
    for case in wanted {
        if interrupt::is_requested() {
            break;
        }
        let progress = Progress::start(&format!("booting on odd firmware: {}", case.name));
        let seen = boot(&toolchain, &kernel, case)?;
        progress.finish();
        let verdict = match (case.judge)(&seen) {
            Ok(()) => Verdict::Passed,
            Err(problem) => Verdict::Failed(format!("{problem}\n{}", seen.lines.join("\n"))),
        };
        let name = format!("{PREFIX}{}", case.name);
        outcomes.push(Outcome::new("kernel", &name, verdict).on("matrix"));
    }
    Ok(outcomes)
}

fn boot(toolchain: &Toolchain, kernel: &Kernel, case: &Case) -> Result<Seen> {
    let mut machine = MachineOptions::new(EmulatorKind::Qemu, 1, "256M");
    machine.uefi = true;
    let spec = ImageSpec {
        kernel,
        cmdline: format!(
            "{} {} -- {PROGRAM}",
            emulator::kernel_options(EmulatorKind::Qemu),
            case.options
        ),
        files: run::files(PROGRAM)?,
        rootfs: None,
    };
    let applications = Applications::odd(toolchain, case.firmware)?;
    let image = artifacts::image_with(toolchain, &spec, &applications)?;
    let device = artifacts::target().join("odd-screen");
    let mut boot = Boot::unattended(image);
    if case.has_device {
        // QEMU makes the file; what an earlier boot left must not pass for a picture.
        let _ = fs::remove_file(&device);
        boot.extra = device_arguments(&device);
    }
    let emulator = emulator::prepare(&machine, &boot)?;
    let limits = Limits {
        total: Some(LIMIT),
        silence: None,
    };
    let mut stream = Stream::new(kernel.symbols.clone(), false);
    let mut lines = Vec::new();
    let mut handle = |event: Event| {
        if let Event::Line(line) = event {
            lines.push(line);
        }
    };
    let ending = guest::run(emulator, limits, &mut stream, &mut handle)?;
    let complaint = guest::complaint(ending, &stream.facts).map(|(_, text)| text);
    Ok(Seen {
        lines,
        facts: stream.facts,
        complaint,
        device,
    })
}

fn device_arguments(file: &Path) -> Vec<String> {
    let memory = format!(
        "memory-backend-file,id=screen,size=16M,share=on,mem-path={}",
        file.display()
    );
    let arguments = ["-object", &memory, "-device", "ivshmem-plain,memdev=screen"];
    arguments.map(str::to_owned).into()
}

impl Seen {
    /// Fails unless a line contains this.
    fn expect(&self, part: &str) -> Result<(), String> {
        let is_there = self.lines.iter().any(|line| line.contains(part));
        let complaint = || format!("no line says `{part}`");
        is_there.then_some(()).ok_or_else(complaint)
    }

    /// Returns where the odd firmware says that its screen is.
    fn screen_address(&self) -> Result<u64, String> {
        let find = |line: &String| {
            let (_, address) = line.split_once("odd firmware: a screen at 0x")?;
            u64::from_str_radix(address.trim(), 16).ok()
        };
        let address = self.lines.iter().find_map(find);
        address.ok_or_else(|| "odd firmware made no screen".to_owned())
    }
}

fn works(seen: &Seen) -> Result<(), String> {
    if let Some(complaint) = &seen.complaint {
        return Err(complaint.clone());
    }
    seen.expect(ITS_LINE)
}

fn does_not_start(seen: &Seen) -> Result<(), String> {
    if seen.facts.started {
        return Err("the kernel started".to_owned());
    }
    seen.expect("starting Boot")
}

fn knows_many_regions(seen: &Seen) -> Result<(), String> {
    works(seen)?;
    let is_region = |line: &&String| {
        let kinds = [" Usable", " Reserved", " Reclaimable"];
        line.contains("..0x") && kinds.iter().any(|kind| line.trim_end().ends_with(kind))
    };
    let count = seen.lines.iter().filter(is_region).count();
    if count < 300 {
        return Err(format!("the memory map has {count} regions"));
    }
    match seen.lines.iter().find(|line| line.contains("given up")) {
        Some(line) => Err(format!("memory is lost: {line}")),
        None => Ok(()),
    }
}

fn draws_on_the_device(seen: &Seen) -> Result<(), String> {
    const END_OF_FIRST_ENTRY: u64 = 1 << 39;
    works(seen)?;
    let address = seen.screen_address()?;
    if address < END_OF_FIRST_ENTRY {
        return Err(format!("the screen is at {address:#x}"));
    }
    seen.expect("screen: 1024 x 768, Bgr")?;
    let bytes = fs::read(&seen.device).map_err(|error| format!("the screen is lost: {error}"))?;
    let screen = read_screen(&bytes)?;
    match screen.contains(ITS_LINE) {
        true => Ok(()),
        false => Err(format!("the screen shows:\n{}", screen.text())),
    }
}

/// Reads the text of an odd screen's memory, in which nothing may be drawn behind the
/// visible part of a line; the loader clears that.
fn read_screen(bytes: &[u8]) -> Result<ScreenText, String> {
    let lines = bytes.chunks_exact(STRIDE * PIXEL).take(HEIGHT);
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT);
    for (number, line) in lines.enumerate() {
        let (visible, hidden) = line.split_at(WIDTH * PIXEL);
        if hidden.iter().any(|byte| *byte != 0) {
            return Err(format!("line {number} is drawn on behind its end"));
        }
        let (visible, _) = visible.as_chunks::<PIXEL>();
        pixels.extend(
            visible
                .iter()
                .map(|[blue, green, red, _]| [*red, *green, *blue]),
        );
    }
    if pixels.len() != WIDTH * HEIGHT {
        return Err("the screen is too short".to_owned());
    }
    Ok(ScreenText::read(&Picture::new(WIDTH, pixels)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{CASES, HEIGHT, PIXEL, STRIDE, WIDTH, read_screen};

    #[test]
    fn cases_have_names_of_their_own() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn screen_is_refused_that_is_short_or_drawn_on_behind_a_line() {
        let mut bytes = vec![0; STRIDE * HEIGHT * PIXEL];
        assert!(read_screen(&bytes).is_ok());
        assert!(read_screen(&bytes[1..]).is_err());
        bytes[WIDTH * PIXEL] = 1;
        assert!(read_screen(&bytes).is_err());
    }
}
