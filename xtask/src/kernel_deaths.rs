//! The deliberate deaths of the kernel that is shipped, what it says of them, and where
//! its image was: each boot at another base, unless the command line fixes it.
//!
//! The functions in the reports are found by the base, so that each death shows that it
//! was the right one.

use anyhow::Result;

use crate::artifacts::{self, Kernel, KernelKind};
use crate::flags::{EmulatorKind, MachineOptions, TestOptions};
use crate::interrupt;
use crate::kernel_tests::{self, BootSpec, SILENCE};
use crate::run;
use crate::shell::Progress;
use crate::stream::Event;
use crate::symbolize::DEFAULT_BASE;
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;

/// Deaths on purpose: the option, and what the report has to contain.
const DEATHS: [(&str, &[&str]); 12] = [
    (
        "null",
        &[
            "page fault",
            "kernel read of a page that is not mapped",
            "that address is next to zero",
            "boot::crash::read_null",
        ],
    ),
    (
        "panic",
        &["the command line asked for it", "boot::crash::die"],
    ),
    (
        "other-panic",
        &[
            "another processor asked for it",
            "boot::crash::panic_elsewhere",
        ],
    ),
    (
        "message",
        &[
            "half of a line, and ",
            "a message asked for it",
            "boot::crash::panic_in_a_message",
        ],
    ),
    (
        "stack-overflow",
        &["kernel stack overflow", "boot::crash::recurse_for_ever"],
    ),
    (
        "double-fault",
        &["double fault", "boot::crash::fault_without_a_stack"],
    ),
    (
        "write-text",
        &[
            "kernel write to a page that may not be written",
            "that address is in the kernel's text",
            "boot::crash::write_text",
        ],
    ),
    (
        "run-data",
        &[
            "kernel instruction fetch from a page that may not be executed",
            "that address is in the kernel's data",
            "boot::crash::die",
        ],
    ),
    (
        "guard-page",
        &[
            "kernel read of a page that is not mapped",
            "that address is in a guard page of a kernel stack",
            "boot::crash::read_guard_page",
        ],
    ),
    (
        "canary",
        &[
            "the stack of its own for NonMaskable has overflowed",
            "trap::handle_trap_on_own_stack",
        ],
    ),
    (
        "nested-trap",
        &[
            "debug exception (vector 1), nested",
            "it struck while its own handler ran",
            "trap::handle_trap_on_own_stack",
        ],
    ),
    // The kernel records without being asked to.
    (
        "after-program -- /bin/hello",
        &[
            "the command line asked for it, after the program",
            "boot::crash::crash_after_program",
            "the last 16 events of ",
            " cpu 0: switch from task ",
        ],
    ),
];

/// What some of them run before.
const PROGRAM: &str = "/bin/hello";

pub(crate) fn run(toolchain: &Toolchain, options: &TestOptions) -> Result<Vec<Outcome>> {
    let kernel = artifacts::kernel(toolchain, KernelKind::Release)?;
    let mut machines = vec![options.machine.clone()];
    if !options.machine.is_chosen() {
        // The other processors have to stop, and must not tear the report.
        let memory = &options.machine.memory;
        machines.push(MachineOptions::new(EmulatorKind::Qemu, 2, memory));
    }
    let mut outcomes = Vec::new();
    let mut bases = Vec::new();
    let fixed = "nokaslr crash=panic".to_owned();
    let files = run::files(PROGRAM)?;
    for machine in &machines {
        let ways = DEATHS.map(|(way, expected)| (format!("crash={way}"), expected));
        for (cmdline, expected) in ways.into_iter().chain([(fixed.clone(), DEATHS[1].1)]) {
            if options.selects(&cmdline) && !interrupt::is_requested() {
                let spec = BootSpec {
                    machine,
                    cmdline: &cmdline,
                    files: &files,
                    silence: SILENCE,
                };
                let death = die(toolchain, &kernel, &spec, expected)?;
                bases.push((cmdline == fixed, death.image_base));
                let outcome = Outcome::new("kernel", &cmdline, death.verdict);
                outcomes.push(outcome.on(&machine.label()));
            }
        }
    }
    if bases.len() > 1 {
        let name = "image's base is another in each boot, and fixed by nokaslr";
        let outcome = Outcome::new("kernel", name, judge_bases(&bases));
        outcomes.push(outcome.on(&machines[0].label()));
    }
    Ok(outcomes)
}

/// Looks at the bases of several boots, of which some were to be fixed.
fn judge_bases(bases: &[(bool, Option<u64>)]) -> Verdict {
    let mut seen = Vec::new();
    for (is_fixed, base) in bases {
        let is_right = match base {
            Some(base) if *is_fixed => *base == DEFAULT_BASE,
            Some(base) => *base != DEFAULT_BASE && !seen.contains(base),
            None => false,
        };
        if !is_right {
            return Verdict::Failed(format!("{bases:x?}"));
        }
        seen.extend(base.filter(|_| !is_fixed));
    }
    Verdict::Passed
}

/// What became of a kernel that was to die.
struct Death {
    verdict: Verdict,
    /// Where its image was, if it said so.
    image_base: Option<u64>,
}

/// Has the kernel die by an option, and looks for what its report has to contain.
fn die(
    toolchain: &Toolchain,
    kernel: &Kernel,
    spec: &BootSpec<'_>,
    expected: &[&str],
) -> Result<Death> {
    let progress = Progress::start(&format!("a deliberate death: {}", spec.cmdline));
    let mut text = String::new();
    let mut handle = |event: Event| {
        if let Event::Bytes(bytes) = event {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    };
    let (_, facts) = kernel_tests::boot(toolchain, kernel, spec, &mut handle)?;
    progress.finish();
    let missing = expected.iter().find(|part| !text.contains(**part));
    let verdict = match missing {
        None if facts.panicked => Verdict::Passed,
        None => Verdict::Failed(format!("no panic was reported:\n{text}")),
        Some(part) => Verdict::Failed(format!("the report lacks `{part}`:\n{text}")),
    };
    Ok(Death {
        verdict,
        image_base: facts.image_base,
    })
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_BASE, judge_bases};
    use crate::test::Verdict;

    #[test]
    fn bases_of_boots_differ_unless_they_are_fixed() {
        let is_right = |bases: &[(bool, Option<u64>)]| judge_bases(bases) == Verdict::Passed;
        let fixed = (true, Some(DEFAULT_BASE));
        assert!(is_right(&[
            (false, Some(1)),
            fixed,
            (false, Some(2)),
            fixed
        ]));
        assert!(!is_right(&[(false, Some(1)), (false, Some(1))]));
        assert!(!is_right(&[(false, Some(1)), (false, None)]));
        assert!(!is_right(&[(false, Some(1)), (true, Some(2))]));
        assert!(!is_right(&[(false, Some(DEFAULT_BASE)), (false, Some(1))]));
    }
}
