//! Tests of what somebody at the machine does: typing, the debug menu, restarting and
//! powering off, in a QEMU whose keys are pressed by its monitor.
//!
//! A restart is real: the machine starts again, and says its first line once more. Each
//! way to restart is tried by itself; one that did nothing would be followed by a line
//! about the next, before the machine starts.

use std::time::Duration;

use anyhow::Result;

use crate::artifacts::{self, ImageSpec, Kernel, KernelKind};
use crate::emulator::{self, Boot};
use crate::flags::{EmulatorKind, MachineOptions, Medium, TestOptions};
use crate::guest::{self, Ending, Limits};
use crate::interrupt;
use crate::run;
use crate::screen::keys;
use crate::screen::session::{self, Seen, Step};
use crate::shell::Progress;
use crate::stream::Stream;
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;

/// Time for a boot or two, and what is done there.
const LIMIT: Duration = Duration::from_secs(180);
/// What the kernel's first line begins with.
const FIRST_LINE: &str = "Vostok ";
/// What it says before it tries a way to restart.
const RESTART: &str = "vostok: restart: by ";
/// What it says when it could not power off.
const IN_VAIN: &str = "vostok: it does not";

/// A boot that somebody sits at.
struct Case {
    name: &'static str,
    cmdline: &'static str,
    /// It is started by UEFI, from a stick.
    is_from_stick: bool,
    /// More arguments for QEMU.
    arguments: &'static [&'static str],
    /// The way to restart that has to work, if it says so.
    way: Option<&'static str>,
    steps: fn() -> Result<Vec<Step>>,
}

const CASES: [Case; 7] = [
    Case {
        name: "console=keys",
        cmdline: "log=info",
        is_from_stick: false,
        arguments: &[],
        way: None,
        steps: type_and_restart,
    },
    Case {
        name: "console=keymap",
        cmdline: "log=info keymap=de",
        is_from_stick: false,
        arguments: &[],
        way: None,
        steps: type_german,
    },
    Case {
        name: "console=usb",
        cmdline: "log=info",
        is_from_stick: true,
        arguments: &[
            "-machine",
            "q35,i8042=off",
            "-device",
            "usb-hub,bus=xhci.0,port=3",
            "-device",
            "usb-kbd,bus=xhci.0,port=3.2,id=first",
        ],
        way: None,
        steps: type_on_usb,
    },
    Case {
        name: "restart=acpi",
        cmdline: "log=info reset=acpi -- /bin/reboot",
        is_from_stick: false,
        // The tables of QEMU's usual machine name no register for it.
        arguments: &["-machine", "q35"],
        way: Some("acpi"),
        steps: || Ok(until_restarted("acpi")),
    },
    Case {
        name: "restart=keyboard",
        cmdline: "log=info reset=keyboard -- /bin/reboot",
        is_from_stick: false,
        arguments: &[],
        way: Some("keyboard"),
        steps: || Ok(until_restarted("keyboard")),
    },
    Case {
        name: "restart=cf9",
        cmdline: "log=info reset=cf9 -- /bin/reboot",
        is_from_stick: false,
        arguments: &[],
        way: Some("cf9"),
        steps: || Ok(until_restarted("cf9")),
    },
    Case {
        name: "restart=triple-fault",
        cmdline: "log=info reset=triple-fault -- /bin/reboot",
        is_from_stick: false,
        arguments: &[],
        way: Some("triple-fault"),
        steps: || Ok(until_restarted("triple-fault")),
    },
];

/// The boot that is to end by itself.
const POWER_OFF: &str = "power-off=acpi";

pub(crate) fn run(toolchain: &Toolchain, options: &TestOptions) -> Result<Vec<Outcome>> {
    let machine = &options.machine;
    let is_wanted = |name: &str| options.selects(name) && !interrupt::is_requested();
    let has_any = CASES
        .iter()
        .map(|case| case.name)
        .chain([POWER_OFF])
        .any(is_wanted);
    if !has_any || machine.emulator() != EmulatorKind::Qemu {
        return Ok(Vec::new());
    }
    let kernel = artifacts::kernel(toolchain, KernelKind::Release)?;
    let mut outcomes = Vec::new();
    let mut note = |name: &str, verdict: Result<(), String>| {
        let verdict = verdict.map_or_else(Verdict::Failed, |()| Verdict::Passed);
        outcomes.push(Outcome::new("kernel", name, verdict).on(&machine.label()));
    };
    for case in CASES.iter().filter(|case| is_wanted(case.name)) {
        let seen = attend(toolchain, &kernel, machine, case)?;
        note(
            case.name,
            seen.complaint().map_or_else(|| judge(case, &seen), Err),
        );
    }
    if is_wanted(POWER_OFF) {
        note(POWER_OFF, power_off(toolchain, &kernel, machine)?);
    }
    Ok(outcomes)
}

/// Boots a case and does what its steps say.
fn attend(
    toolchain: &Toolchain,
    kernel: &Kernel,
    machine: &MachineOptions,
    case: &Case,
) -> Result<Seen> {
    let progress = Progress::start(&format!("sitting at the console: {}", case.name));
    let mut boot = Boot::unattended(image(toolchain, kernel, case.cmdline)?);
    // A reset is one, whatever was said before of it.
    let arguments = ["-action", "reboot=reset"].iter().chain(case.arguments);
    boot.extra.extend(arguments.map(|&word| word.to_owned()));
    let mut machine = machine.clone();
    if case.is_from_stick {
        machine.uefi = true;
        machine.medium = Medium::Usb;
    }
    let stream = Stream::new(kernel.symbols.clone(), false);
    let seen = session::run(&machine, boot, stream, (case.steps)()?, LIMIT)?;
    progress.finish();
    Ok(seen)
}

fn image(toolchain: &Toolchain, kernel: &Kernel, cmdline: &str) -> Result<std::path::PathBuf> {
    let program = cmdline
        .split_once("-- ")
        .map_or("/bin/init", |(_, program)| program);
    artifacts::image(
        toolchain,
        &ImageSpec {
            kernel,
            cmdline: cmdline.to_owned(),
            files: run::files(program)?,
            rootfs: None,
        },
    )
}

/// Boots without a debug-exit device, so that QEMU ends when the machine powers off.
fn power_off(
    toolchain: &Toolchain,
    kernel: &Kernel,
    machine: &MachineOptions,
) -> Result<Result<(), String>> {
    let progress = Progress::start("powering off");
    let image = image(toolchain, kernel, "log=info -- /bin/poweroff")?;
    let emulator = emulator::prepare(machine, &Boot::unattended(image))?;
    let limits = Limits {
        total: Some(LIMIT),
        silence: None,
    };
    let mut stream = Stream::new(kernel.symbols.clone(), true);
    let mut complaints = String::new();
    let mut handle = |event: crate::stream::Event| {
        if let crate::stream::Event::Line(line) = event
            && line.contains(IN_VAIN)
        {
            complaints = line;
        }
    };
    let ending = guest::run(emulator, limits, &mut stream, &mut handle)?;
    progress.finish();
    Ok(match ending {
        Ending::Exited(Some(0)) if complaints.is_empty() && stream.facts.is_finished() => Ok(()),
        _ => Err(format!(
            "{ending:?}; {complaints}; the last line was: {}",
            stream.facts.last_line
        )),
    })
}

/// Fails if the machine restarted in another way than it had to.
fn judge(case: &Case, seen: &Seen) -> Result<(), String> {
    let ways = seen
        .lines
        .iter()
        .filter_map(|line| line.split_once(RESTART));
    let mut others = ways.filter(|(_, way)| case.way.is_some_and(|wanted| wanted != way.trim()));
    match others.next() {
        None => Ok(()),
        Some((_, way)) => Err(format!("it had to restart by {way}")),
    }
}

fn press(text: &str) -> Result<Step> {
    Ok(Step::Press(keys::parse(text)?))
}

fn until(text: &str) -> Step {
    Step::UntilSerial(text.to_owned())
}

/// Types to the shell, opens the debug menu in each way, and restarts.
fn type_and_restart() -> Result<Vec<Step>> {
    Ok(vec![
        until(FIRST_LINE),
        Step::UntilReady,
        press("echo Typed-'&'-edx\\<backspace>ited | cat\\n")?,
        // What was typed is echoed with the quotes, and the answer has none.
        until("\nTyped-&-edited"),
        Step::UntilReady,
        press("\\<print>")?,
        until("debug: type a letter"),
        press("t")?,
        until("task"),
        until("reaper"),
        press("\\<ctrl-alt-f12>")?,
        until("debug: type a letter"),
        press("m")?,
        until("frames: "),
        Step::Break,
        until("debug: type a letter"),
        press("echo on\\n")?,
        until("\non"),
        press("\\<ctrl-alt-delete>")?,
        until(RESTART),
        until(FIRST_LINE),
    ])
}

/// Types keys of an American keyboard that a German one has elsewhere.
fn type_german() -> Result<Vec<Step>> {
    Ok(vec![
        Step::UntilReady,
        press("echo y-z\\n")?,
        until("\nz"),
        until("y"),
    ])
}

/// Types text and presses Enter, on a USB keyboard: each key when the one before has been
/// echoed. QEMU's keyboard holds few keys that nobody fetches, and cannot be asked about
/// them.
fn type_echoed(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for key in text.chars().map(String::from) {
        steps.extend([press(&key)?, until(&key)]);
    }
    steps.push(press("\\n")?);
    Ok(steps)
}

/// Types on USB keyboards of a machine without any other: one behind a hub from the start,
/// beside the stick that the machine was started from; and, when that is pulled out, one
/// that is plugged in at the controller.
fn type_on_usb() -> Result<Vec<Step>> {
    // When the shell waits is not known: the kernel says when it finds a keyboard.
    let keyboard = || until("usb: keyboard \"QEMU USB Keyboard\"");
    let typed = type_echoed("echo Typed-'&'-edited | cat")?;
    let on_first = [
        until("\nTyped-&-edited"),
        Step::UntilReady,
        press("\\<print>")?,
        until("debug: type a letter"),
        press("m")?,
        until("frames: "),
        Step::Unplug("first"),
        until("is gone"),
        Step::PlugKeyboard("second", "4"),
        keyboard(),
        press("\\n")?,
        Step::UntilReady,
        press("x\\<backspace>")?,
    ];
    let first = [keyboard(), press("\\n")?, Step::UntilReady];
    let last = [until("\nAnother"), Step::UntilReady];
    let steps = first.into_iter().chain(typed).chain(on_first);
    let steps = steps.chain(type_echoed("echo 'An'other")?).chain(last);
    Ok(steps.collect())
}

fn until_restarted(way: &str) -> Vec<Step> {
    vec![
        until(FIRST_LINE),
        until(&format!("{RESTART}{way}")),
        until(FIRST_LINE),
        until(&format!("{RESTART}{way}")),
    ]
}
